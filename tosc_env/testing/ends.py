"""What schemes and stages have in common, two ends of a link, and the small games that they are checked in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from tosc_env.channels import Channel
from tosc_env.channels.flat import AWGN, Rayleigh
from tosc_env.data.base import Source
from tosc_env.game import Game
from tosc_env.pipeline import Pipeline
from tosc_env.rows import take
from tosc_env.testing import laws
from tosc_env.testing.laws import Subject
from tosc_env.types import Context, Link, Round, SystemSpec


def unit_csi(snr_db: Tensor, length: int) -> Tensor:
    """CSI [B, length] of the SNR and gains of 1."""
    gains = [torch.full_like(snr_db, float(i % 2 == 0)) for i in range(length - 1)]
    return torch.stack([snr_db, *gains], dim=1)


class UnitGain(AWGN):
    """AWGN for a scheme that expects the CSI of a fading link: its gains are known to be 1."""

    def __init__(self, num_csi: int) -> None:
        super().__init__()
        self._length = num_csi

    def num_csi(self, num_symbols: int) -> int:
        return self._length

    def csi(self, link: Link) -> Tensor:
        return unit_csi(link.snr_db, self._length)


def channels_for(spec: SystemSpec) -> dict[str, Channel]:
    """By name: AWGN, and Rayleigh if some coherence gives as many CSI numbers as the spec says."""
    fading = (Rayleigh(coherence=uses) for uses in range(1, spec.num_symbols + 1))
    fitting = (channel for channel in fading if channel.num_csi(spec.num_symbols) == spec.num_csi)
    found = {"AWGN": UnitGain(spec.num_csi), "Rayleigh": next(fitting, None)}
    return {name: channel for name, channel in found.items() if channel is not None}


def noise_game(scheme: Pipeline, channel: Channel, device: torch.device | str) -> Game:
    """A game for a scheme on as many noise images as its classes need, with balanced labels."""
    spec = scheme.spec
    count = max(32, 2 * spec.num_outputs)
    stream = laws.generator(count)
    images = torch.randint(0, 256, (count, *spec.image_shape), dtype=torch.uint8, generator=stream)
    source = Source.from_arrays(images, torch.arange(count) % spec.num_outputs, name="noise", device=device)
    return Game(source, channel=channel, num_symbols=spec.num_symbols, constellation=scheme.constellation)


def context_of(game: Game, round_: Round, seed: int) -> Context:
    """The context of a round, with a generator of that seed."""
    return game.context(round_, laws.generator(seed, round_.snr_db.device))


class Ends(Subject, ABC):
    """The two ends of a link in eval mode.

    ``methods`` are the names of the transmitter's method and of the receiver's, ``width`` is the length of the latter's
    answer to a message; ``draws`` becomes True once the transmitter has drawn from its context's generator.
    """

    methods: ClassVar[tuple[str, str]]
    width: int
    draws = False

    @abstractmethod
    def given(self, count: int) -> Tensor:
        """The transmitter's inputs, a row per message."""

    @abstractmethod
    def context(self, count: int, later: int = 0) -> Context:
        """Its context, with another generator and message number for another ``later``."""

    @abstractmethod
    def transmit(self, sent: Tensor) -> tuple[Tensor, Tensor]:
        """Received symbols [B, 2n] and CSI [B, c] of sent symbols [B, 2n]."""

    def agree(self, one: Tensor, other: Tensor, tolerance: float) -> bool:
        """Compare two batches of sent symbols up to rounding."""
        return laws.same(one, other, tolerance)

    def send(self, given: Tensor, context: Context) -> Tensor:
        """Run the transmitter on ``given``, and check its symbols."""
        name, stream = self.methods[0], context.generator
        assert stream is not None
        before = stream.get_state()
        sent = self.run(name, given, context)
        self.draws = self.draws or not torch.equal(before, stream.get_state())
        shape = len(given), 2 * self.obj.spec.num_symbols
        return self.tensor(sent, shape, f"what {name} returns for {len(given)} messages")

    def receive(self, received: Tensor, csi: Tensor, context: Context, at: str = "") -> Tensor:
        """Run the receiver on a reception (``at`` names an unusual one), and check its answer."""
        name = self.methods[1]
        answer = self.run(name, received, csi, context, hint=at)
        what = f"what {name} returns for {len(received)} messages{at}"
        return self.tensor(answer, (len(received), self.width), what)

    def check_messages(self) -> None:
        """Require that both ends depend on their arguments alone, row by row, in batches of any size."""
        for count in laws.BATCH_SIZES:
            self._check_batch(count)

    def _check_batch(self, count: int) -> None:
        sends, receives = self.methods
        given = self.given(count)
        sent = self.send(given, self.context(count))
        with self.step("sending its symbols"):
            received, csi = self.transmit(sent)
        answer = self.receive(received, csi, self.context(count))
        self.require(sent.device == answer.device == self.device, f"outputs must be on {self.device}.")
        again = self.send(given, self.context(count))
        told = "gives other symbols for the same input, context and generator state."
        self.require(laws.same(again, sent), f"{sends} {told}")
        # Something else is sent last: a module that remembers it would answer from memory, not from the reception.
        self.send(given.flip(-1), self.context(count))
        again = self.receive(received, csi, self.context(count))
        told = "depends on something else than reception, CSI and context."
        self.require(laws.same(again, answer), f"{receives} {told}")

        def context(part: slice) -> Context:
            return replace(take(part, self.context(count)), generator=laws.generator(self.seed, self.device))

        if not self.draws:
            self.rows(sends, sent, lambda part: self.send(given[part], context(part)), self.agree)
        self.rows(receives, answer, lambda part: self.receive(received[part], csi[part], context(part)))

    def check_any_reception(self) -> None:
        """Require finite answers to any reception."""
        _, usual = self.transmit(self.send(self.given(3), self.context(3)))
        for what, received, csi in laws.receptions(usual, self.obj.spec.num_symbols, self.seed):
            self.receive(received, csi, replace(self.context(3), snr_db=csi[:, 0]), f" {what}")

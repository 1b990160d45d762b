"""The common laws of a scheme (encode and decode) and a stage (protect and recover)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from tosc_env.rows import take
from tosc_env.testing import laws
from tosc_env.testing.laws import fail
from tosc_env.types import Context


class Ends(ABC):
    """The two ends of a link in eval mode: a scheme or stage, called ``who`` in sentences.

    ``methods`` are the names of the transmitter's method and of the receiver's; ``draws`` becomes True once the
    transmitter has drawn from its context's generator.
    """

    methods: ClassVar[tuple[str, str]]

    def __init__(self, module: Any, device: torch.device, seed: int, who: str) -> None:
        self.module, self.spec, self.device, self.seed, self.who = module, module.spec, device, seed, who
        self.draws = False

    @abstractmethod
    def given(self, count: int) -> Tensor:
        """The transmitter's inputs, a row per message."""

    @abstractmethod
    def context(self, count: int, later: int = 0) -> Context:
        """Its context, with another generator and message number for another ``later``."""

    @abstractmethod
    def transmit(self, sent: Tensor) -> tuple[Tensor, Tensor]:
        """Received symbols [B, 2n] and CSI [B, c] of sent symbols [B, 2n]."""

    @abstractmethod
    def width(self) -> int:
        """The length of the receiver's answer to a message."""

    def agree(self, one: Tensor, other: Tensor, tolerance: float) -> bool:
        """Compare two batches of sent symbols up to rounding."""
        return laws.same(one, other, tolerance)

    def send(self, given: Tensor, context: Context) -> Tensor:
        """Run the transmitter on ``given``, and check its symbols."""
        name, stream = self.methods[0], context.generator
        assert stream is not None
        before = stream.get_state()
        sent = laws.undisturbed(f"{self.who}: {name}", getattr(self.module, name), given, context)
        self.draws = self.draws or not torch.equal(before, stream.get_state())
        what = f"{self.who}: what {name} returns for {len(given)} messages"
        return laws.require_tensor(sent, (len(given), 2 * self.spec.num_symbols), what)

    def receive(self, received: Tensor, csi: Tensor, context: Context, at: str = "") -> Tensor:
        """Run the receiver on a reception (``at`` names an unusual one), and check its answer."""
        name, who = self.methods[1], f"{self.who} {at}".rstrip()
        answer = laws.undisturbed(f"{who}: {name}", getattr(self.module, name), received, csi, context)
        return laws.require_tensor(
            answer, (len(received), self.width()), f"{who}: what {name} returns for {len(received)} messages"
        )

    def check_messages(self) -> None:
        """Require that both ends depend on their arguments alone, row by row, in batches of any size."""
        for count in laws.BATCH_SIZES:
            self._check_batch(count)

    def _check_batch(self, count: int) -> None:
        sends, receives = (f"{self.who}: {name}" for name in self.methods)
        given = self.given(count)
        sent = self.send(given, self.context(count))
        with laws.step(f"{self.who}: sending its symbols"):
            received, csi = self.transmit(sent)
        answer = self.receive(received, csi, self.context(count))
        if not (sent.device == answer.device == self.device):
            fail(f"{self.who}: outputs must be on {self.device}.")
        if not laws.same(self.send(given, self.context(count)), sent):
            fail(f"{sends} gives other symbols for the same input, context and generator state.")
        # Something else is sent last: a module that remembers it would answer from memory, not from the reception.
        self.send(given.flip(-1), self.context(count))
        if not laws.same(self.receive(received, csi, self.context(count)), answer):
            fail(f"{receives} depends on something else than reception, CSI and context.")

        def context(part: slice) -> Context:
            return replace(take(part, self.context(count)), generator=laws.generator(self.seed, self.device))

        if not self.draws:
            laws.require_rows(sends, sent, lambda part: self.send(given[part], context(part)), self.agree)
        laws.require_rows(
            receives, answer, lambda part: self.receive(received[part], csi[part], context(part))
        )

    def check_any_reception(self) -> None:
        """Require finite answers to any reception."""
        _, usual = self.transmit(self.send(self.given(3), self.context(3)))
        for what, received, csi in laws.receptions(usual, self.spec.num_symbols, self.seed):
            self.receive(received, csi, replace(self.context(3), snr_db=csi[:, 0]), what)

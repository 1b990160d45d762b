"""The laws of a wiretap channel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from tosc_env.channels import Channel
from tosc_env.rows import take
from tosc_env.testing import laws
from tosc_env.testing.laws import fail
from tosc_env.types import Link

_ROWS = 2048
_NODES = ("receiver", "eavesdropper")
_SEVERAL: dict[str, Any] = {"antennas": (3, 2), "transmit_antennas": 2}


def check_channel(obj: Channel, num_symbols: int = 64) -> None:
    """Check a :class:`~tosc_env.Channel`: randomness, shapes, gradients and physics, for messages of n channel uses.

    The laws: all randomness comes from the generator given to ``draw``, in an amount that does not depend on
    ``restart`` or ``previous``; rows do not depend on one another; symbols get a gradient; noise has the power N0 and
    the gain E|h|^2 = 1 (measured with the equaliser off, within five standard errors), at each of several antennas
    too; receiver and eavesdropper have noise of their own; a lower SNR is worse; CSI begins with the SNR.

    Example:
        >>> from tosc_env.channels.flat import Rayleigh
        >>> check_channel(Rayleigh(coherence=16), num_symbols=32)
    """
    if not isinstance(obj, Channel):
        fail(f"a channel must derive from tosc_env.Channel, and {type(obj).__name__} does not.")
    who = f"the channel {type(obj).__name__}"
    channel = laws.duplicate(obj, who)
    with laws.step(f"{who}.check({num_symbols})"):
        channel.check(num_symbols)
    check = _Check(channel, num_symbols, who)
    check.draws()
    check.restarts()
    for count in laws.BATCH_SIZES:
        check.shapes(count)
    check.rows()
    check.gradient()
    check.physics()
    check.antennas()


class _Check:
    """The laws of one channel for messages of n channel uses."""

    def __init__(self, channel: Channel, n: int, who: str) -> None:
        self.channel, self.n, self.who = channel, n, who

    def draw(self, count: int, stream: int | torch.Generator, **more: Any) -> list[Link]:
        """Links of ``count`` messages to two nodes, from a generator or a seed of one."""
        stream = stream if isinstance(stream, torch.Generator) else laws.generator(stream)
        snr_db = torch.full((count,), 10.0)
        with laws.step(f"{self.who}.draw"):
            links = list(self.channel.draw([snr_db, snr_db], self.n, generator=stream, **more))
        if not (len(links) == 2 and all(isinstance(link, Link) for link in links)):
            fail(f"{self.who}.draw must return a Link for each node, and for two it gives {links!r:.200}.")
        return links

    def apply(self, waves: Tensor, link: Link, to: str = "") -> Tensor:
        """Apply a link to waves [B, T, n]: the antennas' signals [B, A, n]."""
        raw = laws.undisturbed(f"{self.who}.apply{to}", self.channel.apply, waves, link)
        shape = (len(waves), link.noise.shape[1], self.n)
        return laws.require_tensor(raw, shape, f"what {self.who}.apply returns{to}", torch.complex64)

    def _apply_to(self, waves: Tensor, link: Link, row: slice) -> Tensor:
        return self.apply(waves[row], take(row, link))

    def symbols(self, count: int) -> Tensor:
        """QPSK [B, n]: every symbol has exactly unit energy."""
        bits = torch.randint(0, 2, (count, self.n, 2), generator=laws.generator(0)).float() * 2 - 1
        return torch.view_as_complex(bits / math.sqrt(2))

    def draws(self) -> None:
        with laws.global_streams_untouched(f"{self.who}.draw"):
            first = self.draw(7, 1)
        if not _equal(first, self.draw(7, 1)):
            fail(
                f"{self.who} draws other links from the same generator state; it must depend on nothing else."
            )
        if torch.equal(first[0].noise, self.draw(7, 2)[0].noise):
            fail(f"{self.who} draws the same noise from another seed.")
        copied = _Check(laws.duplicate(self.channel, self.who), self.n, self.who)
        if not _equal(first, copied.draw(7, 1)):
            fail(f"a copy of {self.who} draws other links from the same generator state.")

    def restarts(self) -> None:
        previous = self.draw(6, 3)
        mixed = torch.tensor([True, False, True, False, False, True])
        restarts = {"none": None, "no row": mixed & False, "some rows": mixed, "all rows": mixed | True}
        stream = laws.generator(4)
        self.draw(6, stream)
        usual, drawn = stream.get_state(), {}
        for name, restart in restarts.items():
            stream = laws.generator(4)
            drawn[name] = self.draw(6, stream, previous=previous, restart=restart)
            if not torch.equal(stream.get_state(), usual):
                fail(
                    f"{self.who}.draw takes another amount of random numbers when restarting ({name}); one row's reset "
                    "would then move every other row's stream."
                )
        if not (
            _equal(drawn["some rows"], drawn["all rows"], mixed)
            and _equal(drawn["some rows"], drawn["no row"], ~mixed)
        ):
            fail(f"{self.who}.draw gives a row other links when other rows restart.")

    def shapes(self, count: int) -> None:
        who, n, channel = self.who, self.n, self.channel
        snr_db = torch.linspace(-20.0, 60.0, count)
        symbols = self.symbols(count)[:, None]
        for link in self.draw(count, count):
            link = replace(link, snr_db=snr_db)
            for waves in (symbols, 0.0 * symbols):
                if not torch.equal(self.apply(waves, link), self.apply(waves, link)):
                    fail(f"{who}.apply gives two answers to the same link; all randomness belongs into draw.")
            with laws.step(f"{who}.csi"):
                csi, length = channel.csi(link), channel.num_csi(n)
            laws.require_tensor(csi, (count, length), f"what {who}.csi returns (num_csi says {length})")
            if not torch.equal(csi[:, 0], snr_db):
                fail(f"{who}.csi: its first number must be the SNR in dB.")
            gains, known = channel.gains(link, n), channel.num_fades(n)
            laws.require_tensor(gains, (count, 1, 1, n), f"what {who}.gains returns", torch.complex64)
            if not (sorted(set(channel.fade_of_use(n).tolist())) == list(range(known)) or not known):
                fail(f"{who}.fade_of_use must name each of the {known} fades, and no other.")
        waves = self.symbols(2 * count).unflatten(0, (count, 2))
        for link, antennas in zip(self.draw(count, 0, **_SEVERAL), _SEVERAL["antennas"], strict=True):
            raw = self.apply(waves, link, f" to {antennas} antennas")
            with laws.step(f"{who}.observe with {antennas} antennas"):
                reception = channel.observe(raw, link, torch.ones_like(waves))
            source = f"{who}.observe makes of {antennas} antennas"
            laws.require_tensor(reception.received, (count, 2 * n), f"what {source}")
            laws.require_tensor(reception.csi, (count, channel.num_csi(n)), f"the CSI that {source}")

    def rows(self) -> None:
        waves = self.symbols(5)[:, None]
        changed = torch.cat([-waves[:1], waves[1:]])
        for link in self.draw(5, 5):
            link = replace(link, snr_db=torch.tensor([0.0, 5.0, 10.0, 15.0, 20.0]))
            received = self.apply(waves, link)
            if not laws.same(self.apply(changed, link)[1:], received[1:], 1e-5):
                fail(f"{self.who}.apply mixes rows: one message changes what another row receives.")
            laws.require_rows(f"{self.who}.apply", received, partial(self._apply_to, waves, link))

    def gradient(self) -> None:
        # Many rows: a link may be silent for a message, and no channel use for all of them.
        for node, link in zip(_NODES, self.draw(64, 6), strict=True):
            symbols = self.symbols(64).requires_grad_()
            with laws.step(f"the gradient of {self.who}.apply in the symbols"):
                _receive(self.channel, symbols, link).abs().square().sum().backward()
            grad = symbols.grad
            if not (
                grad is not None and torch.view_as_real(grad).isfinite().all() and (grad != 0).any(0).all()
            ):
                fail(
                    f"{self.who} gives some symbols of the {node}'s link no finite, non-zero gradient, so no scheme "
                    "can be trained through it."
                )

    def physics(self) -> None:
        who, links, symbols = self.who, self.draw(_ROWS, 7), self.symbols(_ROWS)
        silence = torch.zeros_like(symbols)
        unequalised = laws.duplicate(self.channel, who)
        unequalised.equaliser = None  # with it on, h and N0 cannot be told apart
        for node, link in zip(_NODES, links, strict=True):
            for level in (0.0, 10.0):
                noise = torch.view_as_real(_receive(unequalised, silence, _at(link, level)))
                for part, name in zip(noise.unbind(-1), ("real", "imaginary"), strict=True):
                    _require_mean(
                        part.square() * 2.0 * 10.0 ** (level / 10.0),
                        f"{who} adds noise to the {node}'s link whose {name} part has {{:.3f}} times "
                        f"the power N0/2 at {level:g} dB",
                    )
            clear = _receive(unequalised, symbols, _at(link, 80.0)).abs().square()
            _require_mean(clear, f"{who} passes {{:.3f}} times the energy to the {node}: E|h|^2 must be 1")
            errors = [
                float((_receive(self.channel, symbols, _at(link, level)) - symbols).abs().square().mean())
                for level in (-5.0, 5.0, 15.0, 25.0)
            ]
            if not all(low > high for low, high in pairwise(errors)):
                fail(
                    f"{who} is not worse at a lower SNR: mean square errors {errors} at -5, 5, 15 and 25 dB."
                )
        first, second = (_receive(unequalised, silence, _at(link, 0.0)) for link in links)
        for one, other, sentence in (
            (first, second, "gives receiver and eavesdropper correlated noise; each has its own"),
            (first[1:], first[:-1], "gives different rows correlated noise"),
            (first, first.conj(), "has noise that is not circular: real and imaginary part depend"),
        ):
            power = one.abs().square().mean() * other.abs().square().mean()
            correlation = float((one.conj() * other).mean().abs() / power.sqrt())
            # Zero, within five standard errors.
            if not correlation < 5.0 * math.sqrt(2.0 / one.numel()):
                fail(f"{who} {sentence} (correlation {correlation:.3f}).")

    def antennas(self) -> None:
        silence = torch.zeros(_ROWS, 2, self.n, dtype=torch.complex64)
        for link, count in zip(self.draw(_ROWS, 8, **_SEVERAL), _SEVERAL["antennas"], strict=True):
            who = f"{self.who}, where a node has {count} antennas,"
            for noise in self.channel.apply(silence, _at(link, 0.0)).abs().square().unbind(1):
                _require_mean(noise, f"{who} adds noise of {{:.3f}} times the power N0 to one")
            for transmit in range(2):
                waves = silence.clone()
                waves[:, transmit] = self.symbols(_ROWS)
                for clear in self.channel.apply(waves, _at(link, 80.0)).abs().square().unbind(1):
                    _require_mean(clear, f"{who} passes {{:.3f}} times the energy to one: E|h|^2 must be 1")


def _at(link: Link, level: float) -> Link:
    """The same link at another SNR."""
    return replace(link, snr_db=torch.full_like(link.snr_db, level))


def _receive(channel: Channel, symbols: Tensor, link: Link) -> Tensor:
    """Send symbols [B, n] over a link: complex [B, n] as a node observes them."""
    reception = channel.observe(channel.apply(symbols[:, None], link), link)
    return torch.view_as_complex(reception.received.unflatten(1, (-1, 2)))


def _equal(a: Sequence[Link], b: Sequence[Link], rows: Tensor | slice = slice(None)) -> bool:
    return all(
        torch.equal(getattr(take(rows, one), f.name), getattr(take(rows, other), f.name))
        for one, other in zip(a, b, strict=True)
        for f in fields(one)
    )


def _require_mean(values: Tensor, sentence: str) -> None:
    """Require that [B, n] values with independent rows have the mean 1, within five standard errors."""
    rows = values.mean(1).double()
    mean, error = float(rows.mean()), float(rows.std() / math.sqrt(len(rows)))
    if not abs(mean - 1.0) < 5.0 * error + 1e-3:
        fail(f"{sentence.format(mean)} (standard error {error:.4f}).")

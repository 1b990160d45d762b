"""The laws of a wiretap channel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from tosc_env.channels import Channel
from tosc_env.rows import take
from tosc_env.testing import laws
from tosc_env.testing.laws import Subject
from tosc_env.types import Link

_ROWS = 2048
_NODES = ("receiver", "eavesdropper")
_ANTENNAS = (3, 2)


def check_channel(obj: Channel, num_symbols: int = 64) -> None:
    """Check a :class:`~tosc_env.Channel`: randomness, shapes, gradients and physics, for messages of n channel uses.

    The laws: all randomness comes from the generator given to ``draw``, in an amount that does not depend on
    ``restart`` or ``previous``; rows do not depend on one another; symbols get a gradient; noise has the power N0 and
    the gain is E|h|^2 = 1 at each of one or several antennas (before equalisation, within five standard errors);
    receiver and eavesdropper have noise of their own; a lower SNR is worse; CSI begins with the SNR.

    Example:
        >>> from tosc_env.channels.flat import Rayleigh
        >>> check_channel(Rayleigh(coherence=16), num_symbols=32)
    """
    check = _Check(obj, num_symbols, laws.subject(obj, Channel, "channel"))
    with check.step(f"check({num_symbols})"):
        check.obj.check(num_symbols)
    check.draws()
    check.restarts()
    for count in laws.BATCH_SIZES:
        check.shapes(count, several=False)
        check.shapes(count, several=True)
    check.independent_rows()
    check.gradient()
    check.noise_and_gain(several=False)
    check.noise_and_gain(several=True)
    check.independent_noise()


class _Check(Subject):
    """A channel, and messages of n channel uses over it."""

    def __init__(self, channel: Channel, n: int, who: str) -> None:
        super().__init__(channel, who)
        self.n = n

    def draw(
        self, count: int, stream: int | torch.Generator, several: bool = False, **more: Any
    ) -> list[Link]:
        """Links of ``count`` messages to two nodes, of several antennas each if asked, from a generator or a seed."""
        if several:
            more |= {"antennas": _ANTENNAS, "transmit_antennas": 2}
        stream = stream if isinstance(stream, torch.Generator) else laws.generator(stream)
        snr_db = torch.full((count,), 10.0)
        with self.step("draw"):
            links = list(self.obj.draw([snr_db, snr_db], self.n, generator=stream, **more))
        lawful = len(links) == 2 and all(isinstance(link, Link) for link in links)
        self.require(lawful, f"draw must return a Link for each node, and for two it gives {links!r:.200}.")
        return links

    def apply(self, waves: Tensor, link: Link) -> Tensor:
        """Apply a link to waves [B, T, n]: the antennas' signals [B, A, n]."""
        antennas = link.noise.shape[1]
        what = f"what apply returns to {antennas} antennas"
        return self.tensor(
            self.run("apply", waves, link), (len(waves), antennas, self.n), what, torch.complex64
        )

    def receive(self, symbols: Tensor, link: Link, snr_db: float | None = None) -> Tensor:
        """Symbols [B, n] as a node observes them over a link (at another SNR), complex [B, n]."""
        link = link if snr_db is None else _at(link, snr_db)
        reception = self.obj.observe(self.obj.apply(symbols[:, None], link), link)
        return torch.view_as_complex(reception.received.unflatten(1, (-1, 2)))

    def symbols(self, count: int) -> Tensor:
        """QPSK [B, n]: every symbol has exactly unit energy."""
        bits = torch.randint(0, 2, (count, self.n, 2), generator=laws.generator(0)).float() * 2 - 1
        return torch.view_as_complex(bits / math.sqrt(2))

    def draws(self) -> None:
        with laws.global_streams_untouched(f"{self.who}: draw"):
            first = self.draw(7, 1)
        again, copied = self.draw(7, 1), _Check(self.obj, self.n, self.who).draw(7, 1)
        told = "draws other links from the same generator state; it must depend on nothing else."
        self.require(_equal(first, again), told)
        self.require(_equal(first, copied), f"a copy {told}")
        differs = not torch.equal(first[0].noise, self.draw(7, 2)[0].noise)
        self.require(differs, "draws the same noise from another seed.")

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
            alike = torch.equal(stream.get_state(), usual)
            self.require(alike, f"draw takes another amount of random numbers when restarting ({name}).")
        some = drawn["some rows"]
        alike = _equal(some, drawn["all rows"], mixed) and _equal(some, drawn["no row"], ~mixed)
        self.require(alike, "draw gives a row other links when other rows restart.")

    def shapes(self, count: int, several: bool) -> None:
        n, channel, transmit = self.n, self.obj, 2 if several else 1
        snr_db = torch.linspace(-20.0, 60.0, count)
        waves = self.symbols(transmit * count).unflatten(0, (count, transmit))
        for link in self.draw(count, count, several):
            link, antennas = replace(link, snr_db=snr_db), link.noise.shape[1]
            for sent in (0.0 * waves, waves):
                raw = self.apply(sent, link)
                alike = torch.equal(raw, self.apply(sent, link))
                self.require(alike, "apply gives two answers to the same link; randomness belongs into draw.")
            if not several:
                with self.step("csi"):
                    csi, length = channel.csi(link), channel.num_csi(n)
                self.tensor(csi, (count, length), f"what csi returns (num_csi says {length})")
                self.require(torch.equal(csi[:, 0], snr_db), "csi: its first number must be the SNR in dB.")
            source = f"observe makes of {antennas} antennas"
            with self.step(source):
                reception = channel.observe(raw, link, torch.ones_like(waves))
            self.tensor(reception.received, (count, 2 * n), f"what {source}")
            self.tensor(reception.csi, (count, channel.num_csi(n)), f"the CSI that {source}")
            shape = (count, antennas, transmit, n)
            self.tensor(channel.gains(link, n), shape, "what gains returns", torch.complex64)
        known = channel.num_fades(n)
        lawful = not known or sorted(set(channel.fade_of_use(n).tolist())) == list(range(known))
        self.require(lawful, f"fade_of_use must name each of the {known} fades, and no other.")

    def independent_rows(self) -> None:
        waves = self.symbols(5)[:, None]
        changed = torch.cat([-waves[:1], waves[1:]])
        for link in self.draw(5, 5):
            link = replace(link, snr_db=torch.tensor([0.0, 5.0, 10.0, 15.0, 20.0]))
            received = self.apply(waves, link)
            alike = laws.same(self.apply(changed, link)[1:], received[1:], 1e-5)
            self.require(alike, "apply mixes rows: one message changes what another row receives.")
            alone = [self.apply(waves[i : i + 1], take(slice(i, i + 1), link)) for i in range(5)]
            self.rows("apply", received, torch.cat(alone).__getitem__)

    def gradient(self) -> None:
        # Many rows: a link may be silent for a message, and no channel use for all of them.
        for node, link in zip(_NODES, self.draw(64, 6), strict=True):
            symbols = self.symbols(64).requires_grad_()
            with self.step("the gradient of apply in the symbols"):
                self.receive(symbols, link).abs().square().sum().backward()
            grad = symbols.grad
            lawful = (
                grad is not None and torch.view_as_real(grad).isfinite().all() and (grad != 0).any(0).all()
            )
            self.require(lawful, f"some symbols of the {node}'s link get no finite, non-zero gradient.")

    def noise_and_gain(self, several: bool) -> None:
        links = self.draw(_ROWS, 7, several)
        waves = torch.zeros(_ROWS, 2 if several else 1, self.n, dtype=torch.complex64)
        for node, link in zip(_NODES, links, strict=True):
            where = f"at an antenna of the {node}, which has {link.noise.shape[1]},"
            for level in (0.0, 10.0):
                noise = torch.view_as_real(self.obj.apply(waves, _at(link, level)))
                for part in (*noise[..., 0].unbind(1), *noise[..., 1].unbind(1)):
                    told = f"{where} real or imaginary part of the noise have {{}} times the power N0/2 at {level:g} dB"
                    self.mean_of_one(part.square() * 2.0 * 10.0 ** (level / 10.0), told)
            for transmit in range(waves.shape[1]):
                sent = waves.index_copy(1, torch.tensor([transmit]), self.symbols(_ROWS)[:, None])
                for clear in self.obj.apply(sent, _at(link, 80.0)).abs().square().unbind(1):
                    self.mean_of_one(clear, f"{where} passes {{}} times the energy: E|h|^2 must be 1")

    def independent_noise(self) -> None:
        links, symbols = self.draw(_ROWS, 7), self.symbols(_ROWS)
        for link in links:
            levels = (-5.0, 5.0, 15.0, 25.0)
            errors = [
                float((self.receive(symbols, link, at) - symbols).abs().square().mean()) for at in levels
            ]
            worse = all(low > high for low, high in pairwise(errors))
            self.require(worse, f"is not worse at a lower SNR: mean square errors {errors} at {levels} dB.")
        silence = torch.zeros_like(symbols)[:, None]
        first, second = (self.obj.apply(silence, _at(link, 0.0))[:, 0] for link in links)
        for one, other, sentence in (
            (first, second, "gives receiver and eavesdropper correlated noise; each has its own"),
            (first[1:], first[:-1], "gives different rows correlated noise"),
            (first, first.conj(), "has noise that is not circular: real and imaginary part depend"),
        ):
            power = one.abs().square().mean() * other.abs().square().mean()
            correlation = float((one.conj() * other).mean().abs() / power.sqrt())
            # Zero, within five standard errors.
            none = correlation < 5.0 * math.sqrt(2.0 / one.numel())
            self.require(none, f"{sentence} (correlation {correlation:.3f}).")

    def mean_of_one(self, values: Tensor, sentence: str) -> None:
        """Require that [B, n] values with independent rows have the mean 1, within five standard errors."""
        rows = values.mean(1).double()
        mean, error = float(rows.mean()), float(rows.std() / math.sqrt(len(rows)))
        near = abs(mean - 1.0) < 5.0 * error + 1e-3
        self.require(near, f"{sentence.format(f'{mean:.3f}')} (standard error {error:.4f}).")


def _at(link: Link, level: float) -> Link:
    """The same link at another SNR."""
    return replace(link, snr_db=torch.full_like(link.snr_db, level))


def _equal(a: Sequence[Link], b: Sequence[Link], rows: Tensor | slice = slice(None)) -> bool:
    return all(
        torch.equal(getattr(take(rows, one), f.name), getattr(take(rows, other), f.name))
        for one, other in zip(a, b, strict=True)
        for f in fields(one)
    )

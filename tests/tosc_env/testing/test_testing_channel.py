"""check_channel passes every lawful channel and catches each broken law."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from torch import Tensor

from tosc_env.channels.flat import AWGN, Rayleigh, Rician
from tosc_env.channels.sionna import TDL
from tosc_env.errors import InputError
from tosc_env.testing import check_channel
from tosc_env.types import Link


@dataclass(frozen=True)
class JammedLink(Link):
    """A link that remembers what a jammer says, complex64 [B, n]."""

    jam: Tensor


class Jammed(AWGN):
    """An honest channel whose links have a field more: half of the noise comes from a jammer, alike at all antennas."""

    def draw(self, snr_db, num_symbols, *, generator=None, **more):
        links = super().draw(snr_db, num_symbols, generator=generator, **more)
        return [self._jammed(link, generator) for link in links]

    def _jammed(self, link, generator):
        jam = torch.randn(link.noise[:, 0].shape, dtype=torch.complex64, generator=generator)
        return JammedLink(link.fades, link.noise * 0.5**0.5, link.snr_db, link.age, jam)

    def apply(self, waves, link):
        amplitude = 0.5**0.5 * 10 ** (-link.snr_db / 20)
        return super().apply(waves, link) + (amplitude[:, None] * link.jam)[:, None]


HONEST = [
    AWGN(),
    Rayleigh(equaliser=None),
    Rayleigh(equaliser="zf", coherence=5),
    Rayleigh(coherence=128, correlation=1.0),
    TDL(),
    TDL(model="D", correlation=0.5, equaliser="zf", num_subcarriers=16),
    TDL(speed=30.0, num_subcarriers=12),
    Rician(k_factor_db=10.0, coherence=1, correlation=0.5),
    Jammed(),
]


@pytest.mark.parametrize("channel", HONEST, ids=lambda c: f"{type(c).__name__}-{c.equaliser}-{c.coherence}")
def test_honest_channels_pass(channel):
    check_channel(channel)


def test_checking_leaves_the_channel_and_the_global_stream_as_they_were():
    channel = Rayleigh()
    state = torch.get_rng_state()
    check_channel(channel)
    assert channel.equaliser == "mmse" and torch.equal(torch.get_rng_state(), state)


# -- broken ones ------------------------------------------------------------------------------------------------------


def but(base, **members):
    return type("Broken", (base,), members)


def applies(change, base=AWGN):
    """A channel that applies ``change(waves, link)``: other waves over another link."""
    return but(base, apply=lambda self, waves, link: base.apply(self, *change(waves, link)))


def returns(change):
    """A channel that makes ``change(an honest reception, waves)`` of waves."""
    return but(AWGN, apply=lambda self, waves, link: change(AWGN.apply(self, waves, link), waves))


def draws(change, base=AWGN):
    """A channel that draws ``change(honest links)``."""
    return but(base, draw=lambda self, *args, **more: change(base.draw(self, *args, **more)))


def tells(change):
    """A channel whose CSI is ``change(the honest CSI)``."""
    return but(Rayleigh, csi=lambda self, link: change(Rayleigh.csi(self, link)))


def fades(change):
    """A channel that fades by ``change(honest fades)``."""
    return but(
        Rayleigh, draw_fades=lambda self, *args: [change(one) for one in Rayleigh.draw_fades(self, *args)]
    )


def seeded(make):
    """A channel that draws from another generator than it is given."""

    def draw(self, *args, generator=None, **more):
        return AWGN.draw(self, *args, generator=make(), **more)

    return but(AWGN, draw=draw)


def at(link, change):
    return replace(link, snr_db=change(link.snr_db))


class Counting(AWGN):
    calls = 0

    def draw(self, *args, **more):
        first, *others = super().draw(*args, **more)
        self.calls += 1
        return [replace(first, noise=first.noise * self.calls), *others]


class DrawsLessOnRestart(Rayleigh):
    def draw(self, *args, restart=None, generator=None, **more):
        if restart is not None and restart.any():
            torch.rand(1, generator=generator)
        return super().draw(*args, restart=restart, generator=generator, **more)


class RestartsAll(Rayleigh):
    def draw(self, *args, restart=None, **more):
        return super().draw(*args, restart=None if restart is None else restart | restart.any(), **more)


class DeafObserver(AWGN):
    """Its observation is noisier over a better link."""

    def observe(self, raw, link, *more):
        extra = 2.0 - 2.0 * 10.0 ** (-link.snr_db / 20.0)
        return super().observe(raw + extra[:, None, None] * link.noise, link, *more)


class RemembersApply(AWGN):
    calls = 0

    def apply(self, waves, link):
        self.calls += 1
        return super().apply(waves, link) + 1e-3 * self.calls


class Swollen(Rayleigh):
    def csi(self, link):
        return torch.cat([super().csi(link), link.noise.abs().flatten(1)[:, 64:]], dim=1)


def raises(error):
    """A method that does so."""

    def method(self, *args):
        raise error

    return method


def one_part(link):
    return replace(link, noise=torch.complex(link.noise.real, link.noise.real))


def quieter(link):
    return replace(link, noise=link.noise / link.noise.shape[1] ** 0.5)


def shared(links):
    return [replace(link, noise=links[0].noise[:, :1].expand_as(link.noise)) for link in links]


def in_every_row(links):
    return [replace(link, noise=link.noise[:1].expand_as(link.noise)) for link in links]


def jammed_alike(links):
    return [replace(link, jam=links[0].jam) for link in links]


def half_silent(waves):
    return waves * (torch.arange(waves.shape[2]) % 2)


BROKEN = [
    ("global random generator of torch", seeded(lambda: None)),
    ("the same noise from another seed", seeded(lambda: torch.Generator().manual_seed(0))),
    ("other links from the same generator state", Counting),
    ("another amount of random numbers", DrawsLessOnRestart),
    ("other links when other rows restart", partial(RestartsAll, coherence=256)),
    ("must return a Link for each node", draws(lambda links: links[:1])),
    ("global random generator", returns(lambda raw, waves: waves + torch.randn_like(waves))),
    ("two answers", RemembersApply),
    ("writes into", returns(lambda raw, waves: raw + (0 if waves.requires_grad else waves.mul_(0.5)))),
    ("must be torch.complex64", returns(lambda raw, waves: raw.to(torch.complex128))),
    ("must have the shape", returns(lambda raw, waves: torch.view_as_real(raw))),
    ("returns to 3 antennas must have the shape", returns(lambda raw, waves: raw[:, :1])),
    ("num_csi says", tells(lambda csi: csi[:, :1])),
    ("must be the SNR in dB", tells(lambda csi: csi.flip(1))),
    ("csi returns .* is not finite", tells(lambda csi: csi / 0.0)),
    ("CSI .* 3 antennas must have the shape", Swollen),
    ("mixes rows", returns(lambda raw, waves: raw + 0.1 * waves.mean((0, 1)))),
    ("mixes rows|a row alone", returns(lambda raw, waves: raw / raw.abs().square().mean().sqrt())),
    ("gradient", applies(lambda waves, link: (waves.detach(), link))),
    ("no finite, non-zero gradient", applies(lambda waves, link: (half_silent(waves), link))),
    ("N0/2", applies(lambda waves, link: (waves, at(link, lambda snr_db: snr_db - 3.0)))),
    ("N0/2", applies(lambda waves, link: (waves, at(link, lambda snr_db: snr_db + 3.0103)))),
    ("N0/2|not worse at a lower SNR", applies(lambda waves, link: (waves, at(link, torch.neg)))),
    ("not worse at a lower SNR", DeafObserver),
    ("not circular", draws(lambda links: [one_part(link) for link in links])),
    (r"E\|h\|\^2 must be 1", fades(lambda fades: 1.5 * fades)),
    ("receiver and eavesdropper correlated noise", draws(shared)),
    ("receiver and eavesdropper correlated noise", draws(jammed_alike, Jammed)),
    ("different rows correlated noise|standard error", draws(in_every_row)),
    (
        "receiver, which has 3, real or imaginary part of the noise have 0.33. times the power N0/2",
        draws(lambda links: [quieter(link) for link in links]),
    ),
    (
        r"receiver, which has 3, passes [23]\.\d+ times the energy: E\|h\|\^2 must be 1",
        fades(lambda fades: fades * fades.shape[1] ** 0.5),
    ),
    ("deepcopy", but(AWGN, __deepcopy__=raises(TypeError("no")))),
    ("apply failed with RuntimeError: boom", but(AWGN, apply=raises(RuntimeError("boom")))),
    (r"check\(64\) failed with InputError", but(AWGN, check=raises(InputError("not 64.")))),
    (r"must derive from tosc_env\.Channel", object),
]


@pytest.mark.parametrize(("sentence", "kind"), BROKEN)
def test_broken_channels_are_caught_with_the_right_sentence(sentence, kind):
    with pytest.raises(AssertionError, match=sentence):
        check_channel(kind())


class Erasing(Rayleigh):
    """Silent for a message now and then."""

    def draw_fades(self, sizes, generator, device):
        def one(size):
            heard = torch.rand(size, generator=generator) < 0.9
            return torch.where(heard, 0.9**-0.5, 0.0).to(torch.complex64)

        return [one(size) for size in sizes]


def test_a_link_that_is_silent_at_times_is_honest():
    check_channel(Erasing())

"""check_channel passes every honest channel and catches each broken law."""

from __future__ import annotations

import pytest
import torch

from tosc_env.channels.flat import AWGN, Rayleigh, Rician
from tosc_env.testing import check_channel
from tosc_env.types import Link, Links

HONEST = [
    AWGN(),
    Rayleigh(),
    Rayleigh(equaliser=None),
    Rayleigh(equaliser="zf", coherence=5),
    Rayleigh(coherence=128, correlation=1.0),
    Rician(k_factor_db=10.0, coherence=1, correlation=0.5),
]


@pytest.mark.parametrize("channel", HONEST, ids=lambda c: f"{type(c).__name__}-{c.equaliser}-{c.coherence}")
@pytest.mark.parametrize("num_symbols", [1, 64])
def test_honest_channels_pass(channel, num_symbols):
    if channel.coherence and channel.coherence > num_symbols and channel.coherence % num_symbols:
        pytest.skip("this coherence does not fit the message")
    check_channel(channel, num_symbols)


def test_checking_leaves_the_channel_and_the_global_stream_as_they_were():
    channel = Rayleigh()
    state = torch.get_rng_state()
    check_channel(channel)
    assert channel.equaliser == "mmse" and torch.equal(torch.get_rng_state(), state)


class GlobalNoise(AWGN):
    """global random generator of torch"""

    def draw(self, *args, generator=None, **more):
        return super().draw(*args, generator=None, **more)


class Ignorant(AWGN):
    """the same noise from another seed"""

    def draw(self, *args, generator=None, **more):
        return super().draw(*args, generator=torch.Generator().manual_seed(0), **more)


class Counting(AWGN):
    """other links from the same generator state"""

    calls = 0

    def draw(self, *args, **more):
        links = super().draw(*args, **more)
        self.calls += 1
        return Links(
            Link(links.receiver.fades, links.receiver.noise * self.calls), links.eavesdropper, links.age
        )


class DrawsLessOnRestart(Rayleigh):
    """another amount of random numbers"""

    def draw(self, *args, restart=None, generator=None, **more):
        if restart is not None and restart.any():
            torch.rand(1, generator=generator)
        return super().draw(*args, restart=restart, generator=generator, **more)


class RestartsAll(Rayleigh):
    """other links when other rows restart"""

    def draw(self, *args, restart=None, **more):
        return super().draw(*args, restart=None if restart is None else restart | restart.any(), **more)


class DoubleNoise(AWGN):
    """N0/2"""

    def apply(self, symbols, link, snr_db):
        return super().apply(symbols, link, snr_db - 3.0)


class ThreeDBAsInOtherCode(AWGN):
    """N0/2"""

    def apply(self, symbols, link, snr_db):
        return super().apply(symbols, link, snr_db + 3.0103)


class RealNoise(AWGN):
    """not circular"""

    def apply(self, symbols, link, snr_db):
        noise = torch.complex(link.noise.real, link.noise.real)
        return super().apply(symbols, Link(link.fades, noise), snr_db)


class Amplifier(Rayleigh):
    r"""E\|h\|\^2 must be 1"""

    def draw_fades(self, *args):
        return tuple(1.5 * f for f in super().draw_fades(*args))


class SharedNoise(AWGN):
    """receiver and eavesdropper correlated noise"""

    def draw(self, *args, **more):
        links = super().draw(*args, **more)
        return Links(links.receiver, links.receiver, links.age)


class SameNoiseInEveryRow(AWGN):
    """different rows correlated noise|standard error"""

    def draw(self, *args, **more):
        links = super().draw(*args, **more)
        noise = links.receiver.noise[:1].expand_as(links.receiver.noise)
        return Links(Link(links.receiver.fades, noise), links.eavesdropper, links.age)


class ShortCSI(Rayleigh):
    """num_csi says"""

    def csi(self, link, snr_db):
        return snr_db[:, None]


class UnorderedCSI(Rayleigh):
    """must be the SNR in dB"""

    def csi(self, link, snr_db):
        return super().csi(link, snr_db).flip(1)


class InfiniteCSI(AWGN):
    """not finite"""

    def csi(self, link, snr_db):
        return super().csi(link, snr_db) / 0.0


class Detached(AWGN):
    """gradient"""

    def apply(self, symbols, link, snr_db):
        return super().apply(symbols.detach(), link, snr_db)


class LosesHalf(AWGN):
    """no finite, non-zero gradient"""

    def apply(self, symbols, link, snr_db):
        mask = torch.ones(symbols.shape[1])
        mask[: len(mask) // 2] = 0
        return super().apply(symbols * mask, link, snr_db)


class Interfering(AWGN):
    """mixes rows"""

    def apply(self, symbols, link, snr_db):
        return super().apply(symbols, link, snr_db) + 0.1 * symbols.mean(0)


class NormalisesBatch(AWGN):
    """mixes rows|a row alone"""

    def apply(self, symbols, link, snr_db):
        received = super().apply(symbols, link, snr_db)
        return received / received.abs().square().mean().sqrt()


class Upside(AWGN):
    """N0/2|not worse at a lower SNR"""

    def apply(self, symbols, link, snr_db):
        return super().apply(symbols, link, -snr_db)


class DeafEqualiser(AWGN):
    """not worse at a lower SNR"""

    def __init__(self):
        super().__init__()
        self.equaliser = "zf"

    def apply(self, symbols, link, snr_db):
        if self.equaliser:
            snr_db = torch.full_like(snr_db, 10.0)
        return super().apply(symbols, link, snr_db)


class Double(AWGN):
    """complex64"""

    def apply(self, symbols, link, snr_db):
        return super().apply(symbols, link, snr_db).to(torch.complex128)


class Real(AWGN):
    """shape"""

    def apply(self, symbols, link, snr_db):
        return torch.view_as_real(super().apply(symbols, link, snr_db))


class NoisyApply(AWGN):
    """global random generator|two answers"""

    def apply(self, symbols, link, snr_db):
        return symbols + torch.randn_like(symbols)


class RemembersApply(AWGN):
    """two answers"""

    calls = 0

    def apply(self, symbols, link, snr_db):
        self.calls += 1
        return super().apply(symbols, link, snr_db) + 1e-3 * self.calls


class InPlace(AWGN):
    """writes into"""

    def apply(self, symbols, link, snr_db):
        return super().apply(symbols.mul_(0.5) if not symbols.requires_grad else symbols, link, snr_db)


class Uncopyable(AWGN):
    """deepcopy"""

    def __deepcopy__(self, memo):
        raise TypeError("no")


class Crashes(AWGN):
    """apply failed with RuntimeError: boom"""

    def apply(self, symbols, link, snr_db):
        raise RuntimeError("boom")


class WrongReturn(AWGN):
    """must return Links"""

    def draw(self, *args, **more):
        links = super().draw(*args, **more)
        return links.receiver, links.eavesdropper


class Stretch(AWGN):
    """check\\(64\\) failed with InputError"""

    def check(self, num_symbols):
        from tosc_env.errors import InputError

        raise InputError("messages must have 63 channel uses.")


BROKEN = [
    GlobalNoise, Ignorant, Counting, DrawsLessOnRestart, DoubleNoise, ThreeDBAsInOtherCode, RealNoise,
    Amplifier, SharedNoise, SameNoiseInEveryRow, ShortCSI, UnorderedCSI, InfiniteCSI, Detached,
    LosesHalf, Interfering, NormalisesBatch, Upside, DeafEqualiser, Double, Real, NoisyApply,
    RemembersApply, InPlace, Uncopyable, Crashes, WrongReturn, Stretch,
]  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_channels_are_caught_with_the_right_sentence(broken):
    with pytest.raises(AssertionError, match=broken.__doc__):
        check_channel(broken())


def test_a_row_that_restarts_with_others_is_caught():
    with pytest.raises(AssertionError, match=RestartsAll.__doc__):
        check_channel(RestartsAll(coherence=256))


def test_anything_else_than_a_channel_is_caught():
    with pytest.raises(AssertionError, match=r"must derive from tosc_env\.Channel"):
        check_channel(object())

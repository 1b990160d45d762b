"""Flat channels against closed forms and against Sionna's own blocks."""

from __future__ import annotations

import math

import pytest
import torch
from links import draw, receive, seeded
from physics import theoretical_ser
from refusals import refused
from scipy import stats

from tosc_env.channels.flat import AWGN, Rayleigh, Rician
from tosc_env.channels.sionna_rng import import_sionna, lend_generator
from tosc_env.modulation import constellation_points, hard_decision, modulate


def fades(channel, count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """``count`` independent fades of both links."""
    one, other = draw(channel, count, 1, generator=seed)
    return one.fades[:, 0, 0, 0], other.fades[:, 0, 0, 0]


def test_awgn_noise_is_n0_half_per_real_dimension(snr_db=12.0):
    link, _ = draw(AWGN(), 100, 2000, snr_db=snr_db)
    sent = torch.full((100, 2000), 0.6 - 0.8j, dtype=torch.complex64)
    noise = receive(AWGN(), sent, link) - sent
    half = 10 ** (-snr_db / 10) / 2
    # The variance of 200,000 Gaussian numbers is known to sqrt(2 / 200,000) = 0.3 %.
    assert noise.real.var().item() == pytest.approx(half, rel=0.016)
    assert noise.imag.var().item() == pytest.approx(half, rel=0.016)
    assert abs((noise.real * noise.imag).mean().item()) < 5 * half / math.sqrt(200_000)
    scaled = (noise.real / math.sqrt(half)).flatten()[:20_000]
    assert stats.kstest(scaled.numpy(), "norm").pvalue > 1e-3


def test_rayleigh_power_is_exponential_and_its_phase_uniform():
    for h in fades(Rayleigh(), 20_000):
        assert stats.kstest(h.abs().square().numpy(), "expon").pvalue > 1e-3
        assert stats.kstest(h.angle().numpy(), "uniform", args=(-math.pi, 2 * math.pi)).pvalue > 1e-3


@pytest.mark.parametrize("k_factor_db", [-10.0, 3.0, 10.0])
def test_rician_moments(k_factor_db):
    # E h = sqrt(K/(K+1)), E|h|^2 = 1, E|h|^4 = (K^2 + 4 K + 2) / (K + 1)^2.
    k = 10 ** (k_factor_db / 10)
    for h in fades(Rician(k_factor_db=k_factor_db), 200_000):
        power = h.abs().square()
        assert h.mean().real.item() == pytest.approx(math.sqrt(k / (k + 1)), abs=0.01)
        assert h.mean().imag.item() == pytest.approx(0.0, abs=0.01)
        assert power.mean().item() == pytest.approx(1.0, abs=0.015)
        assert power.square().mean().item() == pytest.approx((k * k + 4 * k + 2) / (k + 1) ** 2, rel=0.04)


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_correlation_of_the_links_is_that_of_sionnas_kronecker_model(correlation):
    count = 100_000
    ours = torch.stack(fades(Rayleigh(correlation=correlation), count), dim=1)
    channel = import_sionna("sionna.phy.channel")
    matrix = torch.tensor([[1.0, correlation], [correlation, 1.0]], dtype=torch.complex64)
    model = channel.KroneckerModel(None, matrix)
    block = channel.GenerateFlatFadingChannel(1, 2, model, precision="single", device="cpu")
    with lend_generator(seeded(1), "cpu"):
        theirs = block(count)[:, :, 0]
    expected = [1.0, 1.0, correlation, 1 + correlation**2]
    for h in (ours, theirs):
        b, e = h[:, 0], h[:, 1]
        power = h.abs().square()
        measured = [power[:, 0].mean(), power[:, 1].mean(), (e * b.conj()).mean(), power.prod(1).mean()]
        for value, wanted in zip(measured, expected, strict=True):
            assert abs(complex(value) - wanted) < 0.04


def test_rician_correlates_the_scattered_part_alone():
    assert torch.equal(*fades(Rayleigh(correlation=1.0), 100))
    for value in (float("nan"), float("inf"), 4000.0, -101, "3", None, True):
        with refused(f"k_factor_db {value!r}"):
            Rician(k_factor_db=value)
    one, other = fades(Rician(k_factor_db=3.0, correlation=0.6), 100_000)
    line = math.sqrt(10**0.3 / (10**0.3 + 1))
    scattered = ((other - line) * (one - line).conj()).mean() / (one - line).abs().square().mean()
    assert abs(complex(scattered) - 0.6) < 0.02


# Uncoded square 16-QAM over AWGN, rounded: 1 - (1 - 3/2 Q(sqrt(Es/N0 / 5)))^2 (Proakis, section 5.2).
KNOWN = {0: 0.74, 12: 0.11, 20: 0.0}


@pytest.mark.parametrize("snr_db", KNOWN)
def test_symbol_error_rate_of_16_qam(snr_db):
    generator, points = seeded(snr_db), constellation_points("16qam")
    sent = torch.randint(16, (2000, 64), generator=generator)
    symbols = modulate(sent, points)
    link, _ = draw(AWGN(), 2000, 64, snr_db=snr_db, generator=generator)
    waves = torch.view_as_complex(symbols.unflatten(1, (64, 2)))
    received = receive(AWGN(), waves, link)
    decided = hard_decision(torch.view_as_real(received).flatten(1), points)
    theory = theoretical_ser(16, snr_db)
    measured = (decided != sent).float().mean().item()
    assert measured == pytest.approx(theory, abs=5 * math.sqrt(theory * (1 - theory) / sent.numel()) + 1e-5)
    assert round(theory, 3 if snr_db >= 16 else 2) == KNOWN[snr_db]

"""Laws of the CSI of each channel use: decisions by it err as often as those by the channel's own gains."""

from __future__ import annotations

import math

import pytest
import torch
from links import draw, seeded

from tosc_env.channels.base import matched, noise_power, to_constellation
from tosc_env.channels.flat import AWGN, Rayleigh, Rician
from tosc_env.channels.sionna import TDL
from tosc_env.errors import InputError
from tosc_env.modulation import constellation_points, hard_decision, modulate
from tosc_env.types import CSILayout

POINTS = constellation_points("16qam")
EQUALISERS = ("mmse", "zf", None)
CHANNELS = {
    "Rayleigh": (Rayleigh, {}, (1, 64, 100)),
    "Rayleigh, a fade for each use": (Rayleigh, {"coherence": 1}, (7, 64)),
    "Rayleigh, blocks of 16": (Rayleigh, {"coherence": 16}, (64, 100, 24)),
    "Rayleigh, blocks that do not divide the message": (Rayleigh, {"coherence": 24}, (64, 100, 128)),
    "Rician": (Rician, {"coherence": 5, "k_factor_db": 3.0}, (64, 13)),
    "TDL, 64 subcarriers": (TDL, {}, (32, 64, 128, 100)),
    "TDL, 16 subcarriers": (TDL, {"num_subcarriers": 16}, (64, 100, 15)),
    "TDL, moving": (TDL, {"num_subcarriers": 16, "speed": 30.0}, (64, 100)),
}


def sent_over(channel, count, n, snr_db):
    """Indices of points [B, n], what is received of them, its CSI, and the points with noise over the true gains."""
    link, _ = draw(channel, count, n, snr_db=snr_db)
    index = torch.randint(16, (count, n), generator=seeded(3))
    waves = torch.view_as_complex(modulate(index, POINTS).unflatten(1, (n, 2)))[:, None]
    raw = channel.apply(waves, link)
    reception = channel.observe(raw, link)
    ideal = raw[:, 0] / channel.gains(link, n)[:, 0, 0]
    return index, reception, torch.view_as_real(ideal).flatten(1)


def error_rate(received, index):
    return float((hard_decision(received, POINTS) != index).float().mean())


@pytest.mark.parametrize("equaliser", EQUALISERS)
@pytest.mark.parametrize("name", CHANNELS)
def test_decisions_by_csi_are_those_by_the_true_gains(name, equaliser):
    kind, options, lengths = CHANNELS[name]
    for n in lengths:
        channel = kind(equaliser=equaliser, **options)
        index, reception, ideal = sent_over(channel, 60, n, snr_db=20.0)
        back = to_constellation(reception.received, reception.csi, channel.layout(n))
        same = hard_decision(back, POINTS) == hard_decision(ideal, POINTS)
        assert float(same.float().mean()) > 0.999, f"{n} channel uses"
        assert error_rate(back, index) == pytest.approx(error_rate(ideal, index), abs=1e-3)


def rayleigh_error_rate(snr_db, points=16):
    """Of square M-QAM over Rayleigh fading (Simon and Alouini, Digital Communication over Fading Channels, 8.2.1.3)."""
    snr = 10 ** (snr_db / 10)
    inside = 1.5 * snr / (points - 1)
    a, share = math.sqrt(inside / (1 + inside)), 1 - 1 / math.sqrt(points)
    return 2 * share * (1 - a) - share**2 * (1 - 4 / math.pi * a * math.atan(1 / a))


@pytest.mark.parametrize("equaliser", EQUALISERS)
@pytest.mark.parametrize(
    ("kind", "options", "n"),
    [
        (Rayleigh, {"coherence": 1}, 64),
        (Rayleigh, {"coherence": 24}, 100),
        (TDL, {"num_subcarriers": 16}, 100),
    ],
)
def test_symbol_error_rates_are_the_closed_form(kind, options, n, equaliser):
    """TDL-A's subcarriers are Rayleigh too; fades within a message are alike, so that many messages are sent."""
    for snr_db in (10.0, 20.0):
        channel = kind(equaliser=equaliser, **options)
        index, reception, _ = sent_over(channel, 4000, n, snr_db)
        rate = error_rate(to_constellation(reception.received, reception.csi, channel.layout(n)), index)
        assert rate == pytest.approx(rayleigh_error_rate(snr_db), rel=0.06)


def test_without_fading_there_is_nothing_to_undo():
    channel = AWGN()
    index, reception, ideal = sent_over(channel, 500, 64, snr_db=15.0)
    assert channel.layout(64) == CSILayout()
    assert torch.equal(
        to_constellation(reception.received, reception.csi, channel.layout(64)), reception.received
    )
    filtered, power = matched(reception.received, reception.csi, channel.layout(64))
    assert torch.equal(filtered, reception.received) and bool((power == 1).all())
    snr = 1 / float(noise_power(torch.tensor(15.0)))
    tail = 0.5 * math.erfc(math.sqrt(snr / 10))  # Q(sqrt(3 SNR / (M - 1)))
    assert error_rate(reception.received, index) == pytest.approx(3 * tail - 2.25 * tail**2, rel=0.1)
    assert torch.allclose(ideal, reception.received)


def test_csi_of_another_layout_is_refused():
    received, csi = torch.zeros(2, 20), torch.ones(2, 1 + 2 * 4)
    for layout in (CSILayout(), CSILayout((0, 1, 2, 3))):
        with pytest.raises(InputError, match="4 fades each of 10"):
            matched(received, csi, layout)

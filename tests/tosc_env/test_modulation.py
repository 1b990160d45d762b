"""QAM: Sionna's points and labels, decisions equal to its demappers, checks, error rates."""

from __future__ import annotations

import math

import pytest
import torch
from physics import theoretical_ser

from tosc_env.channels.sionna_rng import import_sionna
from tosc_env.errors import InputError
from tosc_env.modulation import (
    CONSTELLATIONS,
    check_points,
    constellation_for,
    constellation_points,
    hard_decision,
    modulate,
    peak,
)

NAMES = sorted(CONSTELLATIONS)
SIZES = sorted(set(CONSTELLATIONS.values()))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points_of(size: int) -> torch.Tensor:
    return constellation_points(constellation_for(size))


def noisy(size: int, scale: float = 0.5) -> torch.Tensor:
    """Received symbols [256, 128], some of them far outside the constellation."""
    generator = seeded(size)
    symbols = modulate(torch.randint(size, (256, 64), generator=generator), points_of(size))
    return symbols + scale * torch.randn(symbols.shape, generator=generator)


@pytest.mark.parametrize("name", NAMES)
def test_points_have_unit_mean_energy_and_zero_mean(name):
    points = constellation_points(name)
    assert points.shape == (CONSTELLATIONS[name],)
    assert points.dtype == torch.complex64
    assert points.abs().square().mean().item() == pytest.approx(1.0, abs=1e-6)
    assert points.mean().abs().item() == pytest.approx(0.0, abs=1e-6)
    assert constellation_points(name, torch.device("cpu")) is points


@pytest.mark.parametrize("size", SIZES)
def test_point_i_carries_the_bits_of_i_as_in_sionnas_mapper(size):
    width = size.bit_length() - 1
    bits = (torch.arange(size)[:, None] >> torch.arange(width - 1, -1, -1)) & 1
    mapper = import_sionna("sionna.phy.mapping").Mapper("qam", width, precision="single", device="cpu")
    assert torch.equal(mapper(bits.float())[:, 0], points_of(size))


@pytest.mark.parametrize("size", SIZES)
def test_neighbours_differ_in_one_bit(size):
    points = points_of(size)
    distance = (points[:, None] - points[None, :]).abs()
    nearest = distance[distance > 1e-4].min()
    for i, j in ((distance - nearest).abs() < 1e-4).nonzero().tolist():
        assert (i ^ j).bit_count() == 1


@pytest.mark.parametrize("size", SIZES)
def test_modulate_and_decide_are_inverses(size):
    indices = torch.randint(size, (32, 64), generator=seeded())
    symbols = modulate(indices, points_of(size))
    assert symbols.shape == (32, 128)
    assert symbols.dtype == torch.float32
    assert torch.equal(torch.view_as_complex(symbols.unflatten(1, (64, 2))), points_of(size)[indices])
    assert torch.equal(hard_decision(symbols, points_of(size)), indices)
    half_step = peak(points_of(size)) / (math.isqrt(size) - 1) * 0.99
    assert torch.equal(hard_decision(symbols - half_step, points_of(size)), indices)


@pytest.mark.parametrize("size", SIZES)
def test_decisions_are_those_of_the_nearest_point(size):
    received, points = noisy(size), points_of(size)
    waves = torch.view_as_complex(received.unflatten(1, (64, 2)))
    decided = hard_decision(received, points)
    assert decided.shape == (256, 64)
    assert decided.dtype == torch.int64
    distance = (waves.to(torch.complex128)[..., None] - points.to(torch.complex128)).abs()
    chosen = distance.gather(2, decided[..., None])[..., 0]
    assert (chosen - distance.amin(2)).max().item() < 1e-6


@pytest.mark.parametrize("size", SIZES)
def test_decisions_are_those_of_sionnas_demappers(size):
    received, width = noisy(size), size.bit_length() - 1
    waves, no = torch.view_as_complex(received.unflatten(1, (64, 2))), torch.full((256, 1), 0.5)
    mapping = import_sionna("sionna.phy.mapping")
    kinds = {"hard_out": True, "precision": "single", "device": "cpu"}
    decided = hard_decision(received, points_of(size))
    symbols = mapping.SymbolDemapper("qam", width, **kinds)(waves, no)
    assert torch.equal(decided, symbols.long())
    bits = mapping.Demapper("maxlog", "qam", width, **kinds)(waves, no).long().unflatten(1, (64, width))
    assert torch.equal(decided, (bits << torch.arange(width - 1, -1, -1)).sum(2))


def test_decisions_survive_what_is_no_number():
    received = torch.tensor([[float("nan"), 0.1, float("inf"), -float("inf"), 1e30, -1e30]])
    decided = hard_decision(received, points_of(16))
    assert ((decided >= 0) & (decided < 16)).all()
    assert decided[0, 1] == decided[0, 2]


@pytest.mark.parametrize("name", NAMES)
def test_every_point_passes_the_check(name):
    points = constellation_points(name)
    symbols = modulate(torch.randint(len(points), (512, 64), generator=seeded()), points)
    check_points(symbols, points, name)
    check_points(symbols + 5e-5, points, name)
    check_points(symbols.double(), points, name)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.5, "0.5"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (0.9487 + 2e-4, "0.9489"),
        (2.0, "2"),
        (0.0, "0"),
    ],
)
def test_the_first_symbol_that_is_no_point_is_named(value, shown):
    points = constellation_points("16qam")
    symbols = modulate(torch.zeros(4, 8, dtype=torch.int64), points)
    symbols[2, 7] = symbols[3, 0] = value
    with pytest.raises(
        InputError, match=rf"symbol 3 of message 2 is 0.3162\+{shown}j, .*'16qam'.*-0.9487, "
    ) as caught:
        check_points(symbols, points, "16qam")
    assert "\n" not in str(caught.value)


def test_a_rescaled_constellation_is_refused():
    points = constellation_points("16qam")
    symbols = modulate(torch.randint(16, (4, 64), generator=seeded()), points)
    with pytest.raises(InputError, match="no point of '16qam'"):
        check_points(symbols * 1.01, points, "16qam")


def test_points_cached_in_inference_mode_can_be_trained_with():
    from tosc_env import modulation

    modulation._points.cache_clear()
    with torch.inference_mode():
        points = constellation_points("16qam")
    weight = torch.ones(16, requires_grad=True)
    (weight * points).abs().sum().backward()
    assert weight.grad is not None


def test_modulate_passes_gradients_to_the_points():
    points = constellation_points("qpsk").clone().requires_grad_()
    modulate(torch.tensor([[0, 1]]), points).sum().backward()
    assert (points.grad[:2].abs() > 0).all()


@pytest.mark.parametrize("size", SIZES)
def test_peak_is_the_widest_level(size):
    side = math.isqrt(size)
    assert peak(points_of(size)) == pytest.approx((side - 1) * math.sqrt(1.5 / (size - 1)), rel=1e-5)


def test_theoretical_error_rate():
    for snr_db, rate in {0: 0.741, 4: 0.589, 8: 0.354, 12: 0.109, 16: 0.007, 20: 0.0}.items():
        assert theoretical_ser(16, snr_db) == pytest.approx(rate, abs=6e-4)
    assert theoretical_ser(64, -60.0) == pytest.approx(63 / 64, abs=2e-3)
    assert 0 < theoretical_ser(4, 20.0) < 1e-20
    # QPSK: 1 - (1 - Q(sqrt(Es/N0)))^2
    q = 0.5 * math.erfc(math.sqrt(10**0.7 / 2))
    assert theoretical_ser(4, 7.0) == pytest.approx(1 - (1 - q) ** 2, rel=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_measured_error_rate_of_every_order(size):
    snr_db, generator, points = 3.0 * (size.bit_length() - 1), seeded(), points_of(size)
    sent = torch.randint(size, (1000, 64), generator=generator)
    sigma = math.sqrt(10 ** (-snr_db / 10) / 2)
    received = modulate(sent, points) + sigma * torch.randn(1000, 128, generator=generator)
    theory = theoretical_ser(size, snr_db)
    measured = (hard_decision(received, points) != sent).float().mean().item()
    assert measured == pytest.approx(theory, abs=5 * math.sqrt(theory / 64_000))


@pytest.mark.parametrize("name", ["8psk", "QPSK", "", None, 16, ["16qam"]])
def test_an_unknown_constellation_is_refused_with_the_list(name):
    with pytest.raises(InputError, match=r"unknown constellation .*16qam, 256qam, 4qam, 64qam, qpsk"):
        constellation_points(name)


@pytest.mark.parametrize("size", [0, 1, 2, 8, 32, 1024, -4, True, "16", 16.5])
def test_a_size_without_a_square_qam_is_refused(size):
    with pytest.raises(InputError, match="choose 4, 16, 64 or 256"):
        constellation_for(size)


def test_bad_tensors_are_refused():
    points = points_of(16)
    with pytest.raises(InputError, match=r"indices must lie in \[0, 15\], not 16"):
        modulate(torch.tensor([[0, 16]]), points)
    with pytest.raises(InputError, match=r"indices must lie in \[0, 15\], not -1"):
        modulate(torch.tensor([[-1, 3]]), points)
    with pytest.raises(InputError, match="indices must be whole numbers"):
        modulate(torch.tensor([[0.0]]), points)
    with pytest.raises(InputError, match=r"received must be real numbers \[B, 2n\]"):
        hard_decision(torch.zeros(2, 5), points)
    with pytest.raises(InputError, match=r"symbols must be real numbers \[B, 2n\]"):
        check_points(torch.zeros(2, 4, dtype=torch.complex64), points)
    psk = torch.polar(torch.ones(16), torch.arange(16) * math.pi / 8)
    for wrong in (psk, points[:8], points[:15], points.real, points * points[0], points[[0] * 16]):
        with pytest.raises(InputError, match="points must be those of a square QAM"):
            hard_decision(torch.zeros(2, 4), wrong)

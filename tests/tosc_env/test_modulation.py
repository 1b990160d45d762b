"""QAM: Sionna's points and labels, decisions equal to its demappers, checks, error rates."""

from __future__ import annotations

import math

import pytest
import torch
from links import seeded
from refusals import refused

from tosc_env.channels.sionna_rng import import_sionna
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
def test_modulate_and_decide_are_inverses(size):
    indices = torch.randint(size, (32, 64), generator=seeded())
    symbols = modulate(indices, points_of(size))
    assert symbols.shape == (32, 128)
    assert symbols.dtype == torch.float32
    assert torch.equal(torch.view_as_complex(symbols.unflatten(1, (64, 2))), points_of(size)[indices])
    assert torch.equal(hard_decision(symbols, points_of(size)), indices)
    side = math.isqrt(size)
    assert peak(points_of(size)) == pytest.approx((side - 1) * math.sqrt(1.5 / (size - 1)), rel=1e-5)
    half_step = peak(points_of(size)) / (side - 1) * 0.99
    assert torch.equal(hard_decision(symbols - half_step, points_of(size)), indices)


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


def test_every_point_passes_the_check_and_the_first_symbol_that_is_none_is_named():
    for name in NAMES:
        points = constellation_points(name)
        symbols = modulate(torch.randint(len(points), (512, 64), generator=seeded()), points)
        for one in (symbols, symbols + 5e-5, symbols.double()):
            check_points(one, points, name)
    points = constellation_points("16qam")
    for value, shown in (
        (0.5, "0.5"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (0.9489, "0.9489"),
        (0.0, "0"),
    ):
        symbols = modulate(torch.zeros(4, 8, dtype=torch.int64), points)
        symbols[2, 7] = symbols[3, 0] = value
        with refused(f"3 2 0.3162+{shown}j '16qam' -0.9487"):
            check_points(symbols, points, "16qam")


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


def test_what_cannot_be_is_refused():
    for name in ("8psk", "QPSK", "", None, 16, ["16qam"]):
        with refused("16qam 256qam 4qam 64qam qpsk"):
            constellation_points(name)
    for size in (0, 1, 8, 1024, -4, True, "16", 16.5):
        with refused("4 16 64 256"):
            constellation_for(size)
    points = points_of(16)
    for index, words in (([[0, 16]], "[0, 15] 16"), ([[-1, 3]], "[0, 15] -1"), ([[0.0]], "indices")):
        with refused(words):
            modulate(torch.tensor(index), points)
    with refused("received [B, 2n]"):
        hard_decision(torch.zeros(2, 5), points)
    with refused("symbols [B, 2n]"):
        check_points(torch.zeros(2, 4, dtype=torch.complex64), points)
    psk = torch.polar(torch.ones(16), torch.arange(16) * math.pi / 8)
    for wrong in (psk, points[:8], points[:15], points.real, points * points[0], points[[0] * 16]):
        with refused("points QAM"):
            hard_decision(torch.zeros(2, 4), wrong)

"""TDL over OFDM against closed forms and Sionna's own path, and the isolation of random streams."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys

import pytest
import torch
from links import draw, receive, seeded
from refusals import refused
from scipy import special

from tosc_env.channels.base import complex_normal
from tosc_env.channels.sionna import CYCLIC_PREFIX, TDL
from tosc_env.channels.sionna_rng import import_sionna, lend_generator, sionna_device

CPU = torch.device("cpu")
NOISELESS = 200.0
COUNT = 4000


def fades(channel: TDL, count: int = COUNT, num_symbols: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    one, other = draw(channel, count, num_symbols)
    return one.fades[:, 0, 0], other.fades[:, 0, 0]


def profile(model: str, delay_spread: float):
    """Sionna's own block, for its public powers and delays."""
    tdl = import_sionna("sionna.phy.channel.tr38901").TDL
    return tdl(model, delay_spread, 3.5e9, num_rx_ant=2, precision="single", device="cpu")


@pytest.mark.parametrize(("model", "delay_spread"), [("A", 300e-9), ("D", 1e-6)])
def test_frequency_correlation_is_the_transform_of_the_power_delay_profile(model, delay_spread):
    # E[h(f + d) h(f)*] = sum_l p_l exp(-j 2 pi d tau_l)
    block = profile(model, delay_spread)
    powers, delays = block.mean_powers.double(), block.delays.double()
    assert powers.sum().item() == pytest.approx(1.0, abs=1e-6)
    for h in fades(TDL(model=model, delay_spread=delay_spread)):
        for step in (1, 4, 16, 40):
            measured = (h[:, step:] * h[:, :-step].conj()).mean().item()
            expected = (powers * torch.exp(-2j * math.pi * step * 30e3 * delays)).sum().item()
            assert abs(measured - expected) < 0.05


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_a_subcarrier_with_line_of_sight_is_rician_for_both_links(correlation):
    block = profile("D", 100e-9)
    k = (block.mean_power_los / (1 - block.mean_power_los)).item()
    for h in fades(TDL(model="D", correlation=correlation)):
        power = h[:, 20].abs().square()
        # Var|h|^2 = (2 K + 1) / (K + 1)^2
        assert power.var().item() == pytest.approx((2 * k + 1) / (k + 1) ** 2, rel=0.15)
        assert power.mean().item() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize(("model", "correlation"), [("A", 0.6), ("D", 0.6), ("E", 1.0)])
def test_correlation_is_that_of_the_scattered_taps(model, correlation):
    one, other = fades(TDL(model=model, correlation=correlation))
    block = profile(model, 100e-9)
    line = block.mean_power_los.item() if block.los else 0.0
    expected = line + correlation * (1 - line)
    assert abs((other * one.conj()).mean().item() - expected) < 0.05
    # The part that differs has the power 2 (1 - rho) of the scattering.
    difference = (other - one).abs().square().mean().item()
    assert difference == pytest.approx(2 * (1 - correlation) * (1 - line), rel=0.06, abs=1e-9)


@pytest.mark.parametrize(("model", "antennas"), [("B", 2), ("E", 2)])
def test_gains_and_outputs_are_those_of_sionnas_ofdm_channel(model, antennas):
    channel, ofdm = import_sionna("sionna.phy.channel"), import_sionna("sionna.phy.ofdm")
    ours = TDL(model=model, equaliser=None)
    links = draw(ours, 8, 64, snr_db=NOISELESS)
    symbols = complex_normal(8, 64, generator=seeded(1), device=CPU)
    received = receive(ours, symbols, links[0])
    grid = ofdm.ResourceGrid(1, 64, 30e3, precision="single", device="cpu")
    theirs = channel.OFDMChannel(
        profile(model, 100e-9), grid, return_channel=True, precision="single", device="cpu"
    )
    frame = symbols[:, None, None, None, :]
    with lend_generator(seeded(), "cpu"):
        output, response = theirs(frame, 0.0)
    assert response.shape == (8, 1, antennas, 1, 1, 1, 64)
    assert torch.allclose(links[0].fades[:, 0, 0], response[:, 0, 0, 0, 0, 0], atol=1e-5)
    assert torch.allclose(links[1].fades[:, 0, 0], response[:, 0, 1, 0, 0, 0], atol=1e-5)
    assert torch.allclose(received, output[:, 0, 0, 0], atol=1e-5)
    applied = channel.ApplyOFDMChannel(precision="single", device="cpu")(frame, response)
    assert torch.allclose(received, applied[:, 0, 0, 0], atol=1e-5)


def test_a_moving_channel_is_that_of_sionnas_ofdm_channel():
    channel, ofdm = import_sionna("sionna.phy.channel"), import_sionna("sionna.phy.ofdm")
    ours = TDL(model="C", speed=30.0, num_subcarriers=128)
    h = draw(ours, 4, 300)[0].fades
    assert h.shape == (4, 1, 1, 300)
    # 9 / 128 is the cyclic prefix of 5G NR in samples of a 128-point transform.
    grid = ofdm.ResourceGrid(3, 128, 30e3, cyclic_prefix_length=9, precision="single", device="cpu")
    assert pytest.approx(9 / 128) == CYCLIC_PREFIX
    tdl = import_sionna("sionna.phy.channel.tr38901").TDL
    block = tdl(
        "C", 100e-9, 3.5e9, min_speed=30.0, max_speed=30.0, num_rx_ant=2, precision="single", device="cpu"
    )
    with lend_generator(seeded(), "cpu"):
        response = channel.GenerateOFDMChannel(block, grid, precision="single", device="cpu")(4)
    assert torch.allclose(h[:, 0, 0], response[:, 0, 0, 0, 0].flatten(1)[:, :300], atol=1e-4)


def test_ageing_follows_the_bessel_function_of_the_doppler_frequency():
    # E[h(t + d) h(t)*] = J0(2 pi f_D d) with f_D = v f_c / c (Clarke), OFDM symbols of 35.7 us.
    speed, width, symbols = 100.0, 8, 30
    channel = TDL(speed=speed, num_subcarriers=width)
    h = fades(channel, 1500, width * symbols)[0].unflatten(1, (symbols, width))
    period = (1 + CYCLIC_PREFIX) / 30e3
    doppler = speed * 3.5e9 / 299_792_458.0
    for step in (1, 5, 10, 20):
        measured = (h[:, step:] * h[:, :-step].conj()).mean().item()
        assert abs(measured - special.j0(2 * math.pi * doppler * step * period)) < 0.05


# -- random streams --------------------------------------------------------------------------------


def test_other_users_of_sionna_neither_disturb_a_draw_nor_are_disturbed():
    config, channel = import_sionna().config, TDL(model="D", correlation=0.4)
    first = draw(channel, 4, 64)
    generator = seeded()
    theirs = config.torch_rng("cpu")
    torch.rand(3, generator=theirs)
    profile("A", 100e-9)(2, 1, 1.0)
    before, world = theirs.get_state(), torch.get_rng_state()
    second = draw(channel, 4, 64, generator=generator)
    assert torch.equal(first[0].fades, second[0].fades)
    assert torch.equal(first[1].fades, second[1].fades)
    assert torch.equal(first[0].noise, second[0].noise)
    assert torch.equal(theirs.get_state(), before)
    assert torch.equal(torch.get_rng_state(), world)
    third = draw(channel, 4, 64, generator=generator)
    assert (third[0].fades != second[0].fades).all()


def test_the_generator_is_given_back_when_its_user_fails():
    theirs, generator = import_sionna().config.torch_rng("cpu"), seeded()
    before = theirs.get_state()
    with pytest.raises(KeyError), lend_generator(generator, "cpu"):
        torch.rand(5, generator=theirs)
        raise KeyError
    assert torch.equal(theirs.get_state(), before)
    expected = seeded()
    torch.rand(5, generator=expected)
    assert torch.equal(generator.get_state(), expected.get_state())


def test_no_generator_means_torchs_global_one():
    theirs = import_sionna().config.torch_rng("cpu")
    before = theirs.get_state()
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        first = TDL().draw([torch.zeros(2)], 64)
        torch.manual_seed(3)
        second = TDL().draw([torch.zeros(2)], 64)
    assert torch.equal(first[0].fades, second[0].fades)
    assert torch.equal(theirs.get_state(), before)


def test_the_first_import_changes_no_global_state():
    code = (
        "import random, numpy, torch\n"
        "from tosc_env.channels.sionna import TDL\n"
        "state = torch.get_rng_state(), random.getstate(), numpy.random.get_state()[1].copy()\n"
        "TDL().draw([torch.zeros(2)] * 2, 64, generator=torch.Generator().manual_seed(0))\n"
        "assert torch.equal(torch.get_rng_state(), state[0])\n"
        "assert random.getstate() == state[1]\n"
        "assert (numpy.random.get_state()[1] == state[2]).all()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_change_of_sionnas_global_precision_is_not_taken_over():
    config, before = import_sionna().config, draw(TDL(), 2, 64)
    config.precision = "double"
    try:
        after = draw(TDL(), 2, 64)
    finally:
        config.precision = "single"
    assert after[0].fades.dtype == torch.complex64
    assert torch.equal(after[0].fades, before[0].fades)


def test_copies_draw_the_same_numbers():
    channel = TDL(model="D", correlation=0.5)
    wanted = fades(channel, 3)[0]
    for twin in (copy.deepcopy(channel), pickle.loads(pickle.dumps(channel))):
        assert torch.equal(fades(twin, 3)[0], wanted)
    assert len(pickle.dumps(channel)) < 2000


def test_a_channel_first_used_in_inference_mode_can_be_trained_through():
    channel = TDL()
    with torch.inference_mode():
        draw(channel, 2, 64)
    link, _ = draw(channel, 2, 64, snr_db=[5.0, 9.0])
    symbols = torch.ones(2, 64, dtype=torch.complex64, requires_grad=True)
    receive(channel, symbols, link).abs().sum().backward()
    assert symbols.grad.isfinite().all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_blocks_follow_the_device():
    channel = TDL()
    on_cpu = draw(channel, 2, 64)
    theirs, world = import_sionna().config.torch_rng("cuda:0"), torch.cuda.get_rng_state("cuda:0")
    before = theirs.get_state()
    draws = [
        draw(channel, 2, 64, generator=torch.Generator(name).manual_seed(0))
        for name in ("cuda", "cuda:0", torch.device("cuda", 0))
    ]
    assert all(x[0].fades.device == torch.device("cuda:0") for x in draws)
    assert all(torch.equal(x[0].fades, draws[0][0].fades) for x in draws)
    assert torch.equal(theirs.get_state(), before)
    assert torch.equal(torch.cuda.get_rng_state("cuda:0"), world)
    assert torch.equal(draw(channel, 2, 64)[0].fades, on_cpu[0].fades)
    with refused("generator"):
        channel.draw([torch.zeros(2, device="cuda:0")], 64, generator=seeded())


def test_what_makes_no_tdl_is_refused():
    for options, words in (
        ({"model": "F"}, "'F' A B C D E"),
        ({"model": None}, "None A B C D E"),
        ({"delay_spread": -1e-9}, "delay_spread 0 -1e-09"),
        ({"delay_spread": "long"}, "delay_spread 'long'"),
        ({"speed": -1}, "speed 0 -1"),
        ({"speed": float("inf")}, "speed inf"),
        ({"carrier_frequency": 0}, "carrier_frequency 0"),
        ({"subcarrier_spacing": -30e3}, "subcarrier_spacing 0 -30000.0"),
        ({"num_subcarriers": 0}, "num_subcarriers 1 0"),
        ({"num_subcarriers": 6.5}, "num_subcarriers 6.5"),
    ):
        with refused(words):
            TDL(**options)
    TDL(coherence=64, speed=3.0).check(64)
    TDL(coherence=640).check(64)
    for coherence, speed, words in ((16, 0.0, "64 16"), (100, 0.0, "64 100"), (128, 3.0, "128 speed=0 3")):
        with refused(words):
            TDL(coherence=coherence, speed=speed).check(64)
    assert sionna_device("cpu") == sionna_device(CPU) == "cpu"
    with refused("nonsense"):
        sionna_device("nonsense")

"""Laws of every channel: what is drawn when, how long fades live, how they are undone, what is refused."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from links import draw, receive, seeded

from tosc_env.channels.base import complex_normal, equalise, noise_power, to_constellation
from tosc_env.channels.flat import AWGN, Rayleigh, Rician
from tosc_env.channels.sionna import TDL
from tosc_env.errors import InputError
from tosc_env.types import Link

CPU = torch.device("cpu")
EVERY_CHANNEL = {
    "awgn": AWGN(),
    "rayleigh": Rayleigh(),
    "rayleigh-blocks": Rayleigh(coherence=16, equaliser="zf"),
    "rician": Rician(correlation=0.5, equaliser=None),
    "tdl": TDL(),
    "tdl-los": TDL(model="D", correlation=0.5, equaliser="zf", num_subcarriers=16),
}


def same(one, other) -> bool:
    return all(
        torch.equal(getattr(a, name), getattr(b, name))
        for a, b in zip(one, other, strict=True)
        for name in ("fades", "noise", "snr_db", "age")
    )


@pytest.mark.parametrize("name", EVERY_CHANNEL)
def test_the_same_seed_gives_the_same_numbers_whatever_the_global_stream_does(name):
    channel = EVERY_CHANNEL[name]
    first = draw(channel, 5, 64)
    torch.randn(7)
    second = draw(channel, 5, 64)
    assert same(first, second)
    assert not same(first, draw(channel, 5, 64, generator=1))


@pytest.mark.parametrize("name", EVERY_CHANNEL)
def test_drawing_leaves_the_global_stream_alone(name):
    before = torch.get_rng_state()
    draw(EVERY_CHANNEL[name], 5, 64)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", EVERY_CHANNEL)
def test_shapes_csi_and_gradient(name):
    channel, generator = EVERY_CHANNEL[name], seeded()
    snr_db = torch.tensor([0.0, 10.0, 20.0])
    link, _ = draw(channel, 3, 64, snr_db=snr_db, generator=generator)
    symbols = complex_normal(3, 64, generator=generator, device=CPU).requires_grad_()
    raw = channel.apply(symbols[:, None], link)
    assert raw.shape == (3, 1, 64)
    assert raw.dtype == torch.complex64
    received = receive(channel, symbols, link)
    assert received.shape == (3, 64)
    assert received.dtype == torch.complex64
    (gradient,) = torch.autograd.grad(received.abs().square().sum(), symbols)
    assert gradient.isfinite().all()
    assert (gradient.abs() > 0).all()
    csi = channel.csi(link)
    assert csi.shape == (3, channel.num_csi(64))
    assert torch.equal(csi[:, 0], snr_db)
    fades = link.fades[:, 0, 0]
    assert torch.equal(csi[:, 1::2], fades.real)
    assert torch.equal(csi[:, 2::2], fades.imag)


@pytest.mark.parametrize("name", EVERY_CHANNEL)
def test_apply_is_pure_and_linear_in_the_symbols(name):
    channel, generator = EVERY_CHANNEL[name], seeded()
    link, _ = draw(channel, 2, 64, snr_db=[3.0, 9.0], generator=generator)
    one, two = (complex_normal(2, 64, generator=generator, device=CPU) for _ in range(2))
    silence = receive(channel, torch.zeros_like(one), link)
    separate = receive(channel, one, link) + receive(channel, two, link)
    together = receive(channel, one + two, link)
    assert torch.allclose(separate, together + silence, rtol=1e-3, atol=1e-3)


def test_links_have_noise_of_their_own():
    one, other = draw(AWGN(), 64, 64)
    cross = (one.noise * other.noise.conj()).mean().abs().item()
    assert cross < 5 / 64  # 64 * 64 products of unit variance


def test_each_link_has_its_own_snr():
    channel = AWGN()
    silence = torch.zeros(2, 50_000, dtype=torch.complex64)
    levels = [torch.tensor([12.0, 0.0]), torch.tensor([4.0, 20.0])]
    for link, snr in zip(channel.draw(levels, 50_000, generator=seeded()), levels, strict=True):
        assert torch.equal(link.snr_db, snr)
        power = receive(channel, silence, link).abs().square().mean(1)
        assert torch.allclose(power, 10 ** (-snr / 10), rtol=0.03)
    assert torch.allclose(noise_power(torch.tensor([0.0, 10.0, 20.0])), torch.tensor([1.0, 0.1, 0.01]))


@pytest.mark.parametrize(
    ("coherence", "num_symbols", "blocks"), [(16, 64, 4), (4, 10, 3), (1, 5, 5), (64, 64, 1)]
)
def test_a_fade_is_constant_within_its_coherence_and_independent_beyond(coherence, num_symbols, blocks):
    channel = Rayleigh(coherence=coherence)
    link, _ = draw(channel, 3, num_symbols)
    fades = link.fades
    assert fades.shape == (3, 1, 1, blocks)
    gains = channel.gains(link, num_symbols)
    assert gains.shape == (3, 1, 1, num_symbols)
    for use in range(num_symbols):
        assert torch.equal(gains[..., use], fades[..., use // coherence])
    assert len(fades.real.unique()) == 3 * blocks


@pytest.mark.parametrize("channel", [Rayleigh(coherence=192), TDL(coherence=192)], ids=["rayleigh", "tdl"])
def test_a_fade_lives_over_as_many_messages_as_its_coherence_holds(channel):
    generator, links, seen = seeded(), None, []
    for _ in range(6):
        links = draw(channel, 2, 64, generator=generator, previous=links)
        seen.append(links)
    for node in range(2):
        assert [int(x[node].age[0]) for x in seen] == [1, 2, 3, 1, 2, 3]
        fades = [x[node].fades for x in seen]
        assert torch.equal(fades[0], fades[1]) and torch.equal(fades[0], fades[2])
        assert torch.equal(fades[3], fades[5])
        assert (fades[2] != fades[3]).all()
    assert (seen[0][0].noise != seen[1][0].noise).all()


@pytest.mark.parametrize("channel", [Rayleigh(coherence=192), TDL(coherence=192)], ids=["rayleigh", "tdl"])
def test_a_partial_restart_renews_its_rows_and_moves_no_other(channel):
    streams = seeded(), seeded()
    begun = [draw(channel, 3, 64, generator=g) for g in streams]
    restart = torch.tensor([False, True, False])
    kept = draw(channel, 3, 64, generator=streams[0], previous=begun[0])
    mixed = draw(channel, 3, 64, generator=streams[1], previous=begun[1], restart=restart)
    assert torch.equal(streams[0].get_state(), streams[1].get_state())
    assert torch.equal(mixed[0].noise, kept[0].noise)
    for node in range(2):
        assert mixed[node].age.tolist() == [2, 1, 2]
        old, new = begun[1][node].fades, mixed[node].fades
        assert torch.equal(new[~restart], old[~restart])
        assert (new[restart] != old[restart]).all()
    later = [
        draw(channel, 3, 64, generator=g, previous=p) for g, p in zip(streams, (kept, mixed), strict=True)
    ]
    assert later[1][0].age.tolist() == [3, 2, 3]
    assert torch.equal(later[0][0].fades[~restart], later[1][0].fades[~restart])


def test_drawing_does_not_change_the_links_it_is_given():
    channel, generator = Rayleigh(coherence=128), seeded()
    previous = draw(channel, 2, 64, generator=generator)
    fades, age = previous[0].fades.clone(), previous[0].age.clone()
    restart = torch.tensor([True, False])
    draw(channel, 2, 64, generator=generator, previous=previous, restart=restart)
    assert torch.equal(previous[0].fades, fades)
    assert torch.equal(previous[0].age, age)
    assert restart.tolist() == [True, False]


def test_equalisers_against_their_formulas():
    generator = seeded()
    gain, noise, symbols = (complex_normal(4, 32, generator=generator, device=CPU) for _ in range(3))
    n0 = torch.tensor([1.0, 0.1, 0.01, 0.5])[:, None]
    received = gain * symbols + noise * n0.sqrt()
    assert torch.equal(equalise(received, gain, n0, None), received)
    assert torch.allclose(equalise(received, gain, n0, "zf"), received / gain, rtol=1e-4)
    wanted = gain.conj() * received / (gain.abs().square() + n0)
    assert torch.allclose(equalise(received, gain, n0, "mmse"), wanted, rtol=1e-4)
    assert torch.allclose(equalise(gain * symbols, gain, n0, "zf"), symbols, rtol=1e-4)


def test_zero_forcing_survives_a_fade_of_zero():
    zero = torch.zeros(1, 4, dtype=torch.complex64)
    assert torch.equal(equalise(zero + 1, zero, torch.ones(1, 1), "zf"), zero)


def test_mmse_has_the_least_mean_square_error():
    # E|s - s'|^2 = N0 / (|h|^2 + N0) for a unit-energy symbol and a known h.
    channel = Rayleigh()
    link, _ = draw(channel, 50, 4000, snr_db=5.0)
    symbols = complex_normal(50, 4000, generator=seeded(1), device=CPU)
    error = (receive(channel, symbols, link) - symbols).abs().square().mean(1)
    n0 = noise_power(link.snr_db)
    expected = n0 / (link.fades[:, 0, 0, 0].abs().square() + n0)
    assert torch.allclose(error, expected, rtol=0.1)
    forced = receive(Rayleigh(equaliser="zf"), symbols, link)
    assert ((forced - symbols).abs().square().mean(1) > error).all()


def test_a_link_of_the_users_own_making_is_applied_as_it_is():
    silence = torch.zeros(1, 1, 3, dtype=torch.complex64)
    link = Link(torch.tensor([[[[2j]]]]), silence, torch.tensor([10.0]), torch.ones(1, dtype=torch.int64))
    symbols = torch.tensor([[1 + 0j, 1j, -1 + 0j]])
    received = receive(Rayleigh(equaliser=None), symbols, link)
    assert torch.equal(received, 2j * symbols)


def test_coherence_must_fit_the_message():
    for fits in (1, 16, 50, 64, 128, 640):
        Rayleigh(coherence=fits).check(64)
    with pytest.raises(InputError, match=r"coherence of 100 .* message of 64"):
        Rayleigh(coherence=100).check(64)
    AWGN().check(64)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"coherence": 0}, "coherence must be .*, not 0"),
        ({"coherence": 2.5}, "coherence must be .*, not 2.5"),
        ({"coherence": "abc"}, "coherence must be .*, not 'abc'"),
        ({"coherence": True}, "coherence must be .*, not True"),
        ({"coherence": float("nan")}, "coherence must be .*, not nan"),
        ({"coherence": float("inf")}, "coherence must be .*, not inf"),
        ({"correlation": 1.1}, r"correlation must be a number in \[0, 1\], not 1.1"),
        ({"correlation": -0.1}, "correlation must .*, not -0.1"),
        ({"correlation": float("nan")}, "correlation must .*, not nan"),
        ({"correlation": "0.5"}, "correlation must .*, not '0.5'"),
        ({"equaliser": "dfe"}, "equaliser must be 'zf', 'mmse' or None, not 'dfe'"),
    ],
)
@pytest.mark.parametrize("kind", [Rayleigh, Rician, TDL])
def test_bad_options_are_refused_in_one_sentence(kind, options, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        kind(**options)
    assert "\n" not in str(caught.value)


def test_importing_the_channels_imports_no_sionna():
    code = (
        "import sys, tosc_env.channels, tosc_env.channels.flat, tosc_env.modulation\n"
        "import tosc_env.channels.sionna\n"
        "tosc_env.channels.sionna.TDL()\n"
        "assert not [m for m in sys.modules if m.split('.')[0] == 'sionna']"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize("equaliser", ["mmse", "zf", None])
@pytest.mark.parametrize("coherence", [1, 4, None])
def test_what_an_equaliser_leaves_is_undone_for_decisions(equaliser, coherence):
    """Without noise in the reception, the sent points come back exactly, whatever the equaliser was."""
    channel = Rayleigh(coherence=coherence, equaliser=equaliser)
    link, _ = draw(channel, 50, 8, snr_db=9.0)
    link = replace(link, noise=torch.zeros_like(link.noise))
    points = torch.randn(50, 8, dtype=torch.complex64, generator=seeded(1))
    received = torch.view_as_real(receive(channel, points, link)).flatten(1)
    csi = channel.csi(link)
    layout = channel.layout(8)
    back = to_constellation(received, csi, layout)
    assert torch.allclose(back, torch.view_as_real(points).flatten(1), atol=1e-3)
    assert torch.equal(to_constellation(received, torch.zeros_like(csi), layout), received)
    assert torch.equal(to_constellation(received, csi[:, :1], layout), received)

"""Laws of every channel: what is drawn when, how long fades live, how they are undone, what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from links import draw, receive, seeded
from refusals import refused

from tosc_env.channels.base import complex_normal, equalise, to_constellation
from tosc_env.channels.flat import AWGN, Rayleigh, Rician
from tosc_env.channels.sionna import TDL

CPU = torch.device("cpu")
EVERY_CHANNEL = {
    "awgn": AWGN(),
    "rayleigh": Rayleigh(),
    "rayleigh-blocks": Rayleigh(coherence=16, equaliser="zf"),
    "rician": Rician(correlation=0.5, equaliser=None),
    "tdl": TDL(),
    "tdl-los": TDL(model="D", correlation=0.5, equaliser="zf", num_subcarriers=16),
}


@pytest.mark.parametrize("name", EVERY_CHANNEL)
def test_apply_is_pure_and_linear_in_the_symbols(name):
    channel, generator = EVERY_CHANNEL[name], seeded()
    link, _ = draw(channel, 2, 64, snr_db=[3.0, 9.0], generator=generator)
    one, two = (complex_normal(2, 64, generator=generator, device=CPU) for _ in range(2))
    silence = receive(channel, torch.zeros_like(one), link)
    separate = receive(channel, one, link) + receive(channel, two, link)
    together = receive(channel, one + two, link)
    assert torch.allclose(separate, together + silence, rtol=1e-3, atol=1e-3)


def test_each_link_has_its_own_snr_and_its_own_noise():
    channel = AWGN()
    silence = torch.zeros(2, 50_000, dtype=torch.complex64)
    levels = [torch.tensor([12.0, 0.0]), torch.tensor([4.0, 20.0])]
    links = channel.draw(levels, 50_000, generator=seeded())
    for link, snr in zip(links, levels, strict=True):
        assert torch.equal(link.snr_db, snr)
        power = receive(channel, silence, link).abs().square().mean(1)
        assert torch.allclose(power, 10 ** (-snr / 10), rtol=0.03)
    cross = (links[0].noise * links[1].noise.conj()).mean().abs().item()
    assert cross < 5 / 100_000**0.5  # so many products of unit variance


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
    fades, age = begun[1][0].fades.clone(), begun[1][0].age.clone()
    mixed = draw(channel, 3, 64, generator=streams[1], previous=begun[1], restart=restart)
    assert torch.equal(begun[1][0].fades, fades) and torch.equal(begun[1][0].age, age), (
        "what it is given stays"
    )
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


@pytest.mark.parametrize("kind", [Rayleigh, Rician, TDL])
def test_what_makes_no_channel_is_refused(kind):
    for options, words in [
        *(({"coherence": value}, f"coherence {value!r}") for value in (0, 2.5, "abc", True, float("nan"))),
        *(
            ({"correlation": value}, f"correlation 0 1 {value!r}")
            for value in (1.1, -0.1, float("nan"), "0.5")
        ),
        ({"equaliser": "dfe"}, "equaliser 'zf' 'mmse' None 'dfe'"),
    ]:
        with refused(words):
            kind(**options)
    if kind is not TDL:
        for fits in (1, 16, 50, 64, 128, 640):
            kind(coherence=fits).check(64)
        with refused("100 64"):
            kind(coherence=100).check(64)


def test_equalisers_against_their_formulas():
    generator = seeded()
    gain, noise, symbols = (complex_normal(4, 32, generator=generator, device=CPU) for _ in range(3))
    n0 = torch.tensor([1.0, 0.1, 0.01, 0.5])[:, None]
    received = gain * symbols + noise * n0.sqrt()
    assert torch.equal(equalise(received, gain, n0, None), received)
    assert torch.allclose(equalise(received, gain, n0, "zf"), received / gain, rtol=1e-4)
    wanted = gain.conj() * received / (gain.abs().square() + n0)
    assert torch.allclose(equalise(received, gain, n0, "mmse"), wanted, rtol=1e-4)
    zero = torch.zeros(1, 4, dtype=torch.complex64)
    assert torch.equal(equalise(zero + 1, zero, torch.ones(1, 1), "zf"), zero), "a fade of zero"


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

"""Several antennas: what is drawn for each pair, what combining makes of them, and several nodes as one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from links import as_complex, at, draw, receive, seeded
from physics import rayleigh_diversity_ber

from tosc_env.channels.base import noise_power
from tosc_env.channels.flat import AWGN, Rayleigh, Rician
from tosc_env.channels.sionna import TDL
from tosc_env.channels.sionna_rng import import_sionna, lend_generator
from tosc_env.modulation import constellation_points, hard_decision, modulate
from tosc_env.types import Link

EVERY_CHANNEL = {
    "awgn": AWGN(),
    "rayleigh": Rayleigh(),
    "rayleigh-blocks": Rayleigh(coherence=5, equaliser="zf"),
    "rician": Rician(correlation=0.5, equaliser=None),
    "tdl": TDL(num_subcarriers=12),
    "tdl-los": TDL(model="D", correlation=0.5, equaliser="zf"),
    "tdl-moving": TDL(speed=30.0, num_subcarriers=12),
}


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.complex64, generator=seeded(seed))


# -- what is drawn ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY_CHANNEL)
def test_every_pair_of_antennas_has_a_fade_of_unit_power_and_every_antenna_its_noise(name):
    channel, rows = EVERY_CHANNEL[name], 1500
    links = draw(channel, rows, 24, nodes=3, antennas=[2, 3, 1], transmit_antennas=2)
    for link, antennas in zip(links, (2, 3, 1), strict=True):
        assert link.fades.shape == (rows, antennas, 2, channel.num_fades(24))
        assert link.noise.shape == (rows, antennas, 24)
        power = channel.gains(link, 24).abs().square().mean((0, 3))
        assert torch.allclose(power, torch.ones(antennas, 2), atol=5 / math.sqrt(rows))
        cross = torch.einsum("ban,bcn->ac", link.noise.conj(), link.noise) / (rows * 24)
        assert torch.allclose(cross, torch.eye(antennas, dtype=cross.dtype), atol=0.03)
    if channel.fading and not name.endswith(
        ("rician", "los")
    ):  # without a line of sight, pairs are independent
        h = links[0].fades[..., 0].flatten(1)
        cross = h.conj().T @ h / rows
        assert torch.allclose(cross, torch.eye(4, dtype=cross.dtype), atol=5 / math.sqrt(rows))


@pytest.mark.parametrize(
    ("kind", "line", "correlation"),
    [(Rayleigh, 0.0, 0.0), (lambda **o: Rician(k_factor_db=0.0, **o), 0.5, 0.6), (TDL, 0.0, 1.0)],
)
def test_each_eavesdropping_antenna_is_correlated_with_that_receiving_antenna(kind, line, correlation):
    """Antenna a with antenna a modulo the receiver's two; the scattered part alone, and for every transmit antenna."""
    channel, rows = kind(correlation=correlation), 4000
    links = draw(channel, rows, 2, nodes=3, antennas=[2, 3, 1], transmit_antennas=2)
    heard = links[0].fades[..., 0] - math.sqrt(line)
    for link in links[1:]:
        theirs = link.fades[..., 0] - math.sqrt(line)
        for a in range(theirs.shape[1]):
            for b in range(2):
                cross = torch.einsum("bt,bu->tu", heard[:, b].conj(), theirs[:, a]) / rows / (1.0 - line)
                wanted = torch.eye(2) * (correlation if b == a % 2 else 0.0)
                assert torch.allclose(cross.real, wanted, atol=0.08), (a, b)
                assert torch.allclose(cross.imag, torch.zeros(2, 2), atol=0.08)
                if correlation == 1.0 and b == a % 2:
                    assert torch.allclose(heard[:, b], theirs[:, a], atol=1e-6)


def test_several_antennas_of_a_tdl_are_those_of_sionnas(model="E"):
    channel, ofdm = import_sionna("sionna.phy.channel"), import_sionna("sionna.phy.ofdm")
    ours = TDL(model=model)
    (link,) = draw(ours, 4, 64, nodes=1, antennas=[3], transmit_antennas=2)
    tdl = import_sionna("sionna.phy.channel.tr38901").TDL(
        model, 100e-9, 3.5e9, num_rx_ant=3, num_tx_ant=2, precision="single", device="cpu"
    )
    grid = ofdm.ResourceGrid(1, 64, 30e3, precision="single", device="cpu")
    with lend_generator(seeded(), "cpu"):
        response = channel.GenerateOFDMChannel(tdl, grid, precision="single", device="cpu")(4)
    assert response.shape == (4, 1, 3, 1, 2, 1, 64)
    assert torch.allclose(link.fades, response[:, 0, :, 0, :, 0], atol=1e-5)
    # What arrives is Sionna's too: the sum over the transmitter's antennas.
    waves = noise(4, 2, 64)
    applied = channel.ApplyOFDMChannel(precision="single", device="cpu")(waves[:, None, :, None], response)
    assert torch.allclose(ours.apply(waves, at(link, 200.0)), applied[:, 0, :, 0], atol=1e-5)


@pytest.mark.parametrize(
    ("channel", "n"),
    [
        *((Rayleigh(coherence=c), n) for c, n in ((4, 10), (4, 9), (3, 7), (1, 5), (5, 5), (64, 8))),
        *((TDL(num_subcarriers=s), n) for s, n in ((24, 64), (64, 65), (64, 5))),
        (TDL(num_subcarriers=24, speed=3.0), 64),
    ],
)
def test_gains_are_the_fades_that_fade_of_use_names(channel, n):
    link, _ = draw(channel, 2, n, antennas=[2, 1], transmit_antennas=3)
    uses = channel.fade_of_use(n)
    assert uses.shape == (n,) and sorted(set(uses.tolist())) == list(range(link.fades.shape[-1]))
    assert torch.equal(channel.gains(link, n), link.fades[..., uses])


# -- combining --------------------------------------------------------------------------------------


def test_over_awgn_so_many_antennas_are_that_gain_in_snr(antennas=4):
    channel = AWGN()
    link, _ = draw(channel, 200, 500, snr_db=3.0, antennas=[antennas, 1])
    symbols = noise(200, 500)
    reception = channel.observe(channel.apply(symbols[:, None], link), link)
    gain = 10.0 * math.log10(antennas)
    assert torch.allclose(reception.csi, torch.full((200, 1), 3.0 + gain), atol=1e-5)
    error = as_complex(reception.received) - symbols
    assert error.abs().square().mean().item() == pytest.approx(10 ** (-(3.0 + gain) / 10), rel=0.016)
    assert abs((error * symbols.conj()).mean().item()) < 5 * 10 ** (-(3.0 + gain) / 20) / math.sqrt(100_000)


@pytest.mark.parametrize(("branches", "snr_db"), [(1, 6.0), (3, 4.0)])
def test_over_rayleigh_so_many_antennas_are_that_order_of_diversity(branches, snr_db):
    generator, points, channel = seeded(branches), constellation_points("qpsk"), Rayleigh(coherence=1)
    sent = torch.randint(4, (3000, 64), generator=generator)
    link, _ = draw(channel, 3000, 64, snr_db=snr_db, generator=generator, antennas=[branches, 1])
    waves = as_complex(modulate(sent, points))
    # MMSE shrinks a symbol and never turns it, so the nearest point of QPSK stays the nearest.
    decided = points[
        hard_decision(torch.view_as_real(receive(channel, waves, link)).flatten(1), points).long()
    ]
    wrong = (torch.view_as_real(decided) - torch.view_as_real(waves)).abs() > 0.1
    theory = rayleigh_diversity_ber(branches, snr_db)
    bits = wrong.numel()
    assert wrong.float().mean().item() == pytest.approx(
        theory, abs=5 * math.sqrt(theory * (1 - theory) / bits)
    )


def effective(channel, link, n: int, weights: torch.Tensor | None) -> torch.Tensor:
    """The gains [B, A, n] with which a symbol reaches each antenna."""
    gains = channel.gains(link, n)
    return gains[:, :, 0] if weights is None else (gains * weights[:, None]).sum(2)


@pytest.mark.parametrize(
    ("kind", "options", "transmit", "equaliser"),
    [
        (Rayleigh, {"coherence": 4}, 1, "mmse"),
        (Rayleigh, {"coherence": 4}, 3, "zf"),
        (Rician, {"k_factor_db": 6.0}, 3, None),
        (TDL, {"num_subcarriers": 8}, 3, "mmse"),
    ],
)
def test_what_is_combined_tells_as_much_of_a_symbol_as_all_antennas(kind, options, transmit, equaliser):
    """Zero forcing is least squares with the known gains, MMSE the linear estimate of least error from all of them."""
    channel = kind(equaliser=equaliser, **options)
    link, _ = draw(channel, 6, 16, snr_db=5.0, antennas=[3, 1], transmit_antennas=transmit)
    symbols = noise(6, 16)
    weights = None if transmit == 1 else noise(6, transmit, 1, seed=2).expand(-1, -1, 16) / 3**0.5
    waves = symbols[:, None] if weights is None else symbols[:, None] * weights
    raw = channel.apply(waves, link)
    reception = channel.observe(raw, link, weights)
    g = effective(channel, link, 16, weights).transpose(1, 2)[..., None]  # [B, n, A, 1]
    y = raw.transpose(1, 2)[..., None]
    power = g.abs().square().sum(2)[..., 0]
    least = torch.linalg.lstsq(g, y).solution[..., 0, 0]
    wanted = {
        "zf": least,
        "mmse": least * power / (power + noise_power(link.snr_db)[:, None]),
        None: least * power.sqrt(),
    }[equaliser]
    assert torch.allclose(as_complex(reception.received), wanted, atol=1e-4)
    # The CSI is that of the one antenna that would hear as much: |g|, real and positive, at the SNR of each antenna.
    assert reception.csi.shape == (6, channel.num_csi(16))
    assert torch.equal(reception.csi[:, 0], link.snr_db)
    told = torch.complex(reception.csi[:, 1::2], reception.csi[:, 2::2])[:, channel.fade_of_use(16)]
    assert torch.allclose(told, power.sqrt().to(told.dtype), atol=1e-5)
    assert reception.raw is raw


def test_over_awgn_weights_add_up_and_are_divided_out():
    """Without fading every pair has the gain 1: the symbol arrives with the sum of the weights, phase and all."""
    channel = AWGN()
    link, _ = draw(channel, 4, 20_000, snr_db=6.0, antennas=[2, 1], transmit_antennas=2)
    weights = torch.tensor([0.6 + 0.2j, 0.3 - 0.7j])[None, :, None].expand(4, -1, 20_000)
    symbols = noise(4, 20_000)
    reception = channel.observe(channel.apply(symbols[:, None] * weights, link), link, weights)
    snr_db = 6.0 + 10.0 * math.log10(2 * abs(0.9 - 0.5j) ** 2)
    assert torch.allclose(reception.csi, torch.full((4, 1), snr_db), atol=1e-4)
    error = as_complex(reception.received) - symbols
    assert error.abs().square().mean().item() == pytest.approx(10 ** (-snr_db / 10), rel=0.03)


def test_a_symbol_that_no_antenna_radiates_leaves_finite_numbers():
    for channel in (AWGN(), Rayleigh(), Rayleigh(equaliser="zf")):
        link, _ = draw(channel, 2, 4, antennas=[2, 1], transmit_antennas=2)
        silent = torch.zeros(2, 2, 4, dtype=torch.complex64)
        reception = channel.observe(channel.apply(silent, link), link, silent)
        assert reception.received.isfinite().all() and reception.csi.isfinite().all()


@pytest.mark.parametrize("name", EVERY_CHANNEL)
def test_gradients_pass_through_several_antennas(name):
    channel = EVERY_CHANNEL[name]
    link, _ = draw(channel, 3, 24, antennas=[2, 1], transmit_antennas=2)
    symbols = noise(3, 24).requires_grad_()
    weights = noise(3, 2, 24, seed=2).requires_grad_()
    reception = channel.observe(channel.apply(symbols[:, None] * weights, link), link, weights)
    for gradient in torch.autograd.grad(reception.received.square().sum(), [symbols, weights]):
        assert gradient.isfinite().all() and (gradient.abs() > 0).all()


# -- several nodes as one ---------------------------------------------------------------------------


def pooled(channel, symbols, links):
    """The combination of the nodes' symbols: complex [B, n] and CSI."""
    reception = channel.pool([channel.apply(symbols[:, None], one) for one in links], links)
    return as_complex(reception.received), reception.csi


def test_over_awgn_the_snrs_of_pooled_nodes_add_up():
    channel, levels = AWGN(), (3.0, -4.0, 9.0)
    links = channel.draw([torch.full((200,), s) for s in levels], 500, generator=seeded(), antennas=[1, 2, 1])
    symbols = noise(200, 500)
    received, csi = pooled(channel, symbols, links)
    ratio = 10**0.3 + 2 * 10**-0.4 + 10**0.9
    assert torch.allclose(csi, torch.full((200, 1), 10.0 * math.log10(ratio)), atol=1e-4)
    assert (received - symbols).abs().square().mean().item() == pytest.approx(1.0 / ratio, rel=0.016)


def test_over_fading_pooled_nodes_estimate_by_weighted_least_squares():
    """Each antenna counts by what its noise leaves: the estimate is that of the whitened system."""
    channel = Rayleigh(coherence=4, equaliser="zf")
    levels = [torch.full((5,), s) for s in (3.0, -4.0, 9.0)]
    links = channel.draw(levels, 16, generator=seeded(), antennas=[1, 2, 1])
    symbols = noise(5, 16)
    received, csi = pooled(channel, symbols, links)
    g = torch.cat(
        [channel.gains(one, 16)[:, :, 0] / noise_power(one.snr_db)[:, None, None] ** 0.5 for one in links], 1
    )
    y = torch.cat(
        [
            channel.apply(symbols[:, None], one) / noise_power(one.snr_db)[:, None, None] ** 0.5
            for one in links
        ],
        1,
    )
    wanted = (g.conj() * y).sum(1) / g.abs().square().sum(1)
    assert torch.allclose(received, wanted, atol=1e-4)
    # Together they know one fade per block, at the best node's SNR, that holds the power of all.
    total = g.abs().square().sum(1)[:, ::4] * noise_power(links[2].snr_db)[:, None]
    assert torch.allclose(csi[:, 1::2].square(), total, rtol=1e-4)


class Turned(Rayleigh):
    """Fading with a phase per antenna that is a field of its links."""

    def draw(self, *args, generator=None, **more):
        return [
            TurnedLink(**vars(one), phase=torch.rand(*one.noise.shape[:2], generator=generator) * 6.28)
            for one in super().draw(*args, generator=generator, **more)
        ]

    def gains(self, link, num_symbols):
        phase = torch.polar(torch.ones_like(link.phase), link.phase)
        return super().gains(link, num_symbols) * phase[:, :, None, None]

    def csi(self, link):
        return super().csi(link)


@dataclass(frozen=True)
class TurnedLink(Link):
    phase: torch.Tensor


def test_a_field_of_a_links_own_is_in_what_antennas_and_nodes_combine():
    channel, symbols = Turned(coherence=4, equaliser="zf"), noise(20, 16)
    links = draw(channel, 20, 16, snr_db=60.0, nodes=3, antennas=[2, 1, 3])
    for one in links:
        received = as_complex(channel.observe(channel.apply(symbols[:, None], one), one).received)
        assert (received - symbols).abs().square().median() < 1e-3
    assert (pooled(channel, symbols, links[1:])[0] - symbols).abs().square().median() < 1e-3


@pytest.mark.parametrize("name", EVERY_CHANNEL)
def test_a_node_alone_has_together_with_nobody_what_it_has(name):
    channel = EVERY_CHANNEL[name]
    link, _ = draw(channel, 3, 24, snr_db=[0.0, 5.0, 10.0])
    raw = channel.apply(noise(3, 24)[:, None], link)
    alone = channel.observe(raw, link)
    together = channel.pool([raw], [link])
    assert torch.equal(alone.received, together.received) and torch.equal(alone.csi, together.csi)

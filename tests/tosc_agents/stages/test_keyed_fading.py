"""Behind a key the amplitudes of a fading link belong to the values that met them."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from links import seeded as g
from pixels import Pixels
from tosc_agents.eavesdroppers.match_query import fading_scores
from tosc_agents.eavesdroppers.transformed import TransformedView
from tosc_agents.training.evaluate import evaluate
from tosc_agents.training.fit_eavesdropper import fit_eavesdropper
from tosc_agents.training.identification import identification_curve

from tosc_env.attackers import make_eavesdropper
from tosc_env.channels import make_channel, noise_power
from tosc_env.channels.base import matched, mixed, per_use, to_constellation
from tosc_env.data import make_source
from tosc_env.envs.vector import ToscVectorEnv
from tosc_env.exchange import known_whole, rollout
from tosc_env.game import Game
from tosc_env.metrics import reidentification
from tosc_env.mixture import Mixture
from tosc_env.modulation import constellation_points, hard_decision
from tosc_env.pipeline import make_scheme
from tosc_env.privacy.threat import ThreatModel
from tosc_env.privacy.view import View
from tosc_env.types import Context, CSILayout, SystemSpec

N = 21
CHANNELS = [
    ("rayleigh", {"coherence": 4}),
    ("rayleigh", {}),
    ("tdl", {"num_subcarriers": 16}),
]
EQUALISERS = ("mmse", "zf", None)
KEY = "5a" * 32


def links():
    for (name, options), equaliser in itertools.product(CHANNELS, EQUALISERS):
        yield make_channel(name, equaliser=equaliser, **options)


def sent_and_recovered(channel, scheme, symbols, snr_db):
    """What a pipeline makes of a reception of its symbols [B, 2n]."""
    count, snr = len(symbols), torch.full((len(symbols),), snr_db)
    numbers = torch.zeros(count, 5, dtype=torch.int64)
    numbers[:, 0] = torch.arange(count)
    context = Context(snr, numbers, layout=channel.layout(N))
    waves = torch.view_as_complex(scheme.protect(symbols, context).unflatten(1, (-1, 2)))[:, None]
    link = channel.draw([snr], N, generator=g(1))[0]
    reception = channel.observe(channel.apply(waves, link), link)
    return reception, context, scheme.recover(reception.received, reception.csi, context)


def keyed(mode: str, points: bool, lifetime: str = "per_message"):
    stages = [{"name": "keyed", "mode": mode, "lifetime": lifetime, "key": KEY}]
    options = {"codewords": 16} if points else {}
    return make_scheme(
        "lbvq" if points else "deepjscc", SystemSpec((3, 16, 16), 10, N), stages=stages, **options
    )


@pytest.mark.parametrize("points", [False, True])
@pytest.mark.parametrize("mode", ["shuffle", "shuffle+signs"])
def test_the_amplitudes_move_with_the_values(mode, points):
    """Of hardly any noise, matched gives |h|^2 s and the |h|^2 that each value met; decisions are right."""
    scheme = keyed(mode, points)
    if points:
        grid = torch.view_as_real(constellation_points("16qam"))
        symbols = grid[torch.randint(16, (40, N), generator=g())].flatten(1)
    else:
        symbols = torch.randn(40, 2 * N, generator=g())
    for channel in links():
        reception, _, (received, csi, known) = sent_and_recovered(channel, scheme, symbols, 90.0)
        filtered, power = matched(received, csi, known.layout)
        assert torch.allclose(filtered, power * symbols, atol=2e-3)
        # The same powers as before, in another order.
        _, before = matched(reception.received, reception.csi, channel.layout(N))
        assert torch.allclose(power.sort(1).values, before.sort(1).values, rtol=1e-4)
        strong = power > 1e-3
        back = to_constellation(received, csi, known.layout)
        assert torch.allclose(back[strong], symbols[strong], atol=2e-2)


def test_a_likelihood_behind_a_shuffle_is_that_in_front_of_it():
    """Nothing is lost: scores of candidates [B, N] behind the key are those of shuffled candidates without it."""
    scheme, symbols = keyed("shuffle", False, "fixed"), torch.randn(30, 2 * N, generator=g())
    for channel in links():
        reception, context, (received, csi, known) = sent_and_recovered(channel, scheme, symbols, 5.0)
        behind = fading_scores(received[:, None], csi[:, None], symbols, known.layout)
        shuffled = scheme.protect(symbols, context)
        front = fading_scores(
            reception.received[:, None], reception.csi[:, None], shuffled, channel.layout(N)
        )
        assert torch.allclose(behind, front, atol=1e-3)
        assert float(reidentification(behind).mean()) > 0.9


@pytest.mark.parametrize("mode", ["shuffle", "shuffle+signs", "rotation"])
def test_whoever_has_the_key_knows_the_likelihood_of_the_raw_reception(mode):
    """Law: -|r - h x|^2 of each candidate x under the message's own key, up to what all have in common, whatever the
    equaliser; of two keyed stages too."""
    keyed = {"name": "keyed", "key": KEY}
    both = [{**keyed, "mode": "shuffle+signs", "lifetime": "fixed"}, {**keyed, "mode": mode}]
    symbols = torch.randn(12, 2 * N, generator=g())
    for channel in links():
        for stages in ([both[1]], both):
            scheme = make_scheme("deepjscc", SystemSpec((3, 16, 16), 10, N), stages=stages)
            reception, context, _ = sent_and_recovered(channel, scheme, symbols, 5.0)
            whole = known_whole(reception.csi.shape[1], scheme, ThreatModel(keys="with-key"))
            assert whole == (mode == "rotation" and reception.csi.shape[1] > 3)
            received, csi, known = scheme.recover(
                reception.received, reception.csi, context, "keyed", whole=whole
            )
            found = fading_scores(received[:, None], csi[:, None], symbols, known.layout)
            fades = torch.view_as_complex(reception.csi[:, 1:].unflatten(1, (-1, 2)).contiguous())
            gains = per_use(fades, channel.layout(N), N)
            wanted = []
            for row in range(12):
                same = replace(context, message=context.message[[row] * 12], snr_db=context.snr_db)
                waves = torch.view_as_complex(scheme.protect(symbols, same).unflatten(1, (-1, 2)))
                wanted.append(-(reception.raw[row, 0] - gains[row] * waves).abs().square().sum(1))
            exact = torch.stack(wanted)
            assert torch.allclose(found, exact - exact.amax(1, keepdim=True), atol=2e-3)


def test_with_the_key_a_rotation_identifies_as_much_as_no_key():
    """Law: a rotation shows no less of an image to whoever undoes it; within three standard errors."""
    rules = {"channel": make_channel("rayleigh", coherence=1), "num_symbols": N, "snr_db": -3.0}
    train, test = (
        Game(make_source("shapes", num_images=count, size=16, **part), **rules)
        for count, part in ((400, {"half": "attacker"}), (400, {"split": "test"}))
    )
    threat, rates = ThreatModel(candidate_queries=True, keys="with-key", receptions=2), []
    for stages in ([], [{"name": "keyed", "mode": "rotation", "key": KEY}]):
        scheme = make_scheme(Pixels(train.spec), stages=stages)
        attacker, record = fit_eavesdropper("match-query", train, scheme, threat=threat)
        assert record["fit"]["comparison"] == "fading"
        given = {"seeds": 2, "candidates": 400, "with_ssim": False}
        found = evaluate(test, scheme, {"q": attacker}, snr_db=(-3.0,), **given).leaks["q"][-3.0]
        rates.append(found["reid_query"].mean)
        curve = identification_curve(test, scheme, {"q": attacker}, snr_db=-3.0, sizes=[400])["q"]
        assert curve.overall[400] == pytest.approx(rates[-1], abs=0.1)
    assert 0.5 < rates[0] < 0.9
    assert rates[1] == pytest.approx(rates[0], abs=3 * (2 * rates[0] * (1 - rates[0]) / 800) ** 0.5)


def test_a_rotation_tells_the_sinr_behind_an_mmse_equaliser():
    """The bias and error of each value are those of one link with the told amplitude."""
    scheme, symbols = keyed("rotation", False), torch.randn(4000, 2 * N, generator=g()) * 0.5**0.5
    for channel in links():
        _, _, (received, csi, _) = sent_and_recovered(channel, scheme, symbols, 6.0)
        power = csi[:, 1:].square()
        assert torch.allclose(power, power[:, :1].expand_as(power))
        noise = noise_power(csi[:, :1])
        bias = power / (power + noise)
        assert float((received * symbols).mean()) == pytest.approx(float(0.5 * bias.mean()), rel=0.03)
        # The error of an MMSE estimate of variance 1/2: (1 - b) / 2.
        error = (received - symbols).square().mean()
        assert float(error) == pytest.approx(float(0.5 * (1 - bias).mean()), rel=0.03)


def fading_game(**options):
    source = make_source("shapes", num_images=200)
    return Game(source, channel=make_channel("rayleigh", coherence=7, equaliser=None), **options)


def test_a_label_behind_a_key_is_read_as_well_as_without():
    """Maximum likelihood either way, over a link whose amplitude changes within the message."""
    game = fading_game(snr_db=-4.0)
    scheme = make_scheme("label-only", game.spec).eval()
    right = {}
    for mode in (None, "shuffle", "shuffle+signs"):
        stages = [] if mode is None else [{"name": "keyed", "mode": mode, "key": KEY}]
        sent = rollout(game, scheme.with_stages(stages), generator=g(3), batch_size=200)
        hits = [
            one.logits().argmax(1) == scheme.backbone.logits(one.round.batch.images).argmax(1) for one in sent
        ]
        right[mode] = float(torch.cat(hits).float().mean())
    assert right[None] > 0.9
    assert min(right.values()) > right[None] - 0.05


def test_in_a_mixture_all_rows_have_one_layout():
    game = fading_game(snr_db=80.0)
    plain = make_scheme("lbvq", game.spec)
    shuffled = make_scheme("lbvq", game.spec).with_stages([{"name": "keyed", "key": KEY}])
    mixture = Mixture([plain, shuffled], lambda context: context.message[:, 0] % 2)
    exchange = next(rollout(game, mixture, generator=g(3), batch_size=60))
    reception = exchange.transmission.receiver
    received, csi, known = mixture.recover(reception.received, reception.csi, exchange.context, "keyed")
    symbols = mixture.recover(exchange.transmission.sent, reception.csi[:, :1], exchange.context, "keyed")[0]
    assert known.layout == CSILayout(aligned=True)
    back = to_constellation(received, csi, known.layout)
    strong = csi[:, 1:] > 0.05
    assert torch.allclose(back[strong], symbols[strong], atol=2e-2)
    rotated = {"name": "keyed", "mode": "rotation", "key": KEY}
    parts = [make_scheme("deepjscc", game.spec, stages=stages) for stages in ([], [rotated])]
    exchange = next(rollout(game, Mixture(parts, mixture._choose), generator=g(3), batch_size=6))
    heard = exchange.observed(ThreatModel(keys="with-key"), whole=True)
    reals = 2 * game.num_symbols
    powers = heard.csi[:, 1 + reals :].unflatten(1, (reals, reals))
    amplitudes = heard.csi[::2, 1 : 1 + reals]
    assert torch.equal(powers[::2], torch.diag_embed(amplitudes.square())), "nothing mixes these rows"
    traces = heard.csi[:, 1 : 1 + reals].square().sum(1), powers.diagonal(dim1=1, dim2=2).sum(1)
    assert (traces[0] < traces[1] - 0.1)[1::2].all() and powers[1, 0, 1] != 0


def test_an_attacker_with_the_key_is_told_of_the_layout_and_of_denied_csi_nothing():
    game = fading_game()
    scheme = make_scheme("deepjscc", game.spec).with_stages([{"name": "keyed", "key": KEY}])
    for csi in (True, False):
        view = View(game, scheme, ThreatModel(keys="with-key", csi=csi, unkeyed_encoder=True), g())
        reception, _ = view.sample(torch.arange(5))
        assert view.unkeyed(torch.arange(5))[1].csi.shape == reception.csi.shape
        assert reception.csi.shape == (5, view.spec.num_csi) == (5, 1 + 2 * game.num_symbols)
        assert view.spec.layout.aligned and bool(reception.csi.any()) == csi


def test_the_receiver_outside_observes_what_its_space_says():
    channel = {"channel": "rayleigh", "channel_kwargs": {"coherence": 7}}
    env = ToscVectorEnv(
        "shapes", role="receiver", scheme="label-only", stages=["keyed"], num_envs=3, **channel
    )
    observation, _ = env.reset(seed=1)
    assert env.observation_space.contains({name: value.numpy() for name, value in observation.items()})
    assert observation["csi"].shape == (3, 1 + 2 * 64)


def test_a_rotations_amplitude_is_finite_whatever_the_noise():
    gains = torch.tensor([[0.5, 1.0], [0.0, 0.0]])
    for snr_db in (-50.0, 80.0, 200.0):
        found = mixed(gains, torch.full((2, 1), snr_db))
        assert found.isfinite().all() and not found[1].any()
    # Of hardly any noise the harmonic mean of the powers.
    assert float(found[0, 0].square()) == pytest.approx(2 / (4 + 1), rel=1e-4)


def test_clean_symbols_behind_the_key_are_decided_without_error():
    game = fading_game(snr_db=90.0)
    scheme = make_scheme("lbvq", game.spec).with_stages([{"name": "keyed", "key": KEY}]).eval()
    view = View(game, scheme, ThreatModel(keys="with-key", candidate_queries=True), g())
    attack = make_eavesdropper("codebook", view.spec, base_attacks=["linear"], soft=False)
    attack.learn(view, g())
    symbols = view.symbols(torch.arange(20))
    sent = hard_decision(symbols, constellation_points("16qam"))
    shown = TransformedView(view, attack).symbols(torch.arange(20))
    assert torch.equal(shown, attack.codes[sent].flatten(1))

"""Laws of each privacy scheme, small and quick, with the zoo's weights for Shapes; docs/results has CIFAR-10.

The attackers are trained here, on images of the attackers' half, for the attack that fails must be a trained one.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise

import pytest
import torch
from accuracy import accuracy_bound
from tosc_agents import evaluate, fit_eavesdropper
from tosc_agents.leaks import strongest

from tosc_env import Game, GameConfig, ThreatModel, load_scheme
from tosc_env.modulation import constellation_points

KEY = "c3" * 32
TEST = 1500
QUICK = {
    "linear": {},
    "inversion-mlp": {"steps": 600, "width": 256, "components": 48},
    "match": {"steps": 300, "stem": 8, "widths": [16, 32, 64], "blocks": [0, 0, 0], "batch_size": 250},
    "label": {"steps": 400, "width": 128},
}


def behind(name, *bases):
    """Options of a transformed attack whose base attacks have the settings that they have alone."""
    options = {base: {k: v for k, v in QUICK[base].items() if k != "width"} for base in bases}
    return {"base_attacks": list(bases), "base_attack_kwargs": options}


@lru_cache(maxsize=16)
def scheme(name, **options):
    return load_scheme(name, "ToSC-Shapes-v0", **options)


@lru_cache(maxsize=2)
def source(part):
    """The first of the attackers' images, or of the test images."""
    if part == "attacker":
        return GameConfig("shapes").source(half="attacker").subset(range(2500))
    return GameConfig("shapes").source(split="test").subset(range(TEST))


def attacked(target, attackers, seeds=2, **threat):
    """Train attackers against a scheme, and measure scheme and attackers on the test images at 12 dB."""
    rules = {"constellation": target.constellation, "snr_db": 12.0}
    train, test = (Game(source(part), **rules) for part in ("attacker", "test"))
    model = ThreatModel(**threat)
    fitted = {
        name: fit_eavesdropper(name, train, target, threat=model, options=options)[0]
        for name, options in attackers.items()
    }
    return evaluate(test, target, fitted, seeds=seeds, with_ssim=False, threat=model)


def leak(found, attacker=None):
    """The PSNR in dB that an attack gets above the mean image."""
    rows = {a: by[12.0] for a, by in found.leaks.items() if "psnr_db" in by[12.0]}
    best = max(row["psnr_db"].mean for a, row in rows.items() if attacker in (None, a))
    return best - found.floors["mean-image"]["psnr_db"]


@pytest.fixture(scope="module")
def baseline():
    return attacked(scheme("deepjscc"), {name: QUICK[name] for name in QUICK}, candidate_queries=True)


def accuracy(found):
    return found.accuracy[12.0].mean


# -- every scheme works -----------------------------------------------------------------------------


def on_few_images(target):
    """The accuracy on the first of the test images."""
    game = Game(source("test").subset(range(300)), constellation=target.constellation, snr_db=12.0)
    return accuracy(evaluate(game, target, {}, seeds=1))


def test_the_zoos_weights_of_every_scheme_beat_chance_by_far():
    for name in ("deepjscc", "label-only", "ibal", "lbvq", "dp-laplace", "encryption", "layered"):
        assert on_few_images(scheme(name)) > 0.95, name


# -- differential privacy ---------------------------------------------------------------------------


@pytest.mark.slow
def test_laplace_noise_lets_accuracy_and_leakage_rise_with_the_budget_and_stay_under_the_bound():
    budgets = (1.0, 5.0, 20.0, 100.0)
    accuracies, leaks, labels = [], [], []
    for epsilon in budgets:
        found = attacked(scheme("dp-laplace", epsilon=epsilon), {n: QUICK[n] for n in ("linear", "label")})
        accuracies.append(accuracy(found))
        leaks.append(leak(found))
        labels.append(found.leaks["label"][12.0]["infer_label"].mean)
    print("DP over epsilon 1, 5, 20, 100: accuracy", accuracies, "leak in dB", leaks, "label", labels)
    slack = 4 * math.sqrt(0.25 / (2 * TEST))
    for epsilon, ours, theirs in zip(budgets, accuracies, labels, strict=True):
        assert max(ours, theirs) <= accuracy_bound(epsilon, 10) + slack
    for rising in (accuracies, leaks):
        assert all(b > a for a, b in pairwise(rising[:3])), rising
        assert rising[3] >= rising[2] - 0.01, rising
    assert accuracies[0] < 0.25 and accuracies[2] > 0.95


# -- encryption -------------------------------------------------------------------------------------


def test_the_receiver_with_the_key_loses_nothing():
    open_ = on_few_images(scheme("deepjscc"))
    for mode in ("shuffle", "shuffle+signs", "rotation"):
        for lifetime in ("fixed", "per_message"):
            target = scheme("encryption", mode=mode, lifetime=lifetime, key=KEY)
            assert on_few_images(target) == pytest.approx(open_, abs=0.01), (mode, lifetime)


@pytest.mark.slow
def test_a_fixed_permutation_with_known_pairs_leaks_what_no_protection_leaks(baseline):
    target = scheme("encryption", mode="shuffle", lifetime="fixed", key=KEY)
    options = {**behind("unshuffle", "linear", "match"), "pairs": 500}
    found = attacked(target, {"unshuffle": options}, unkeyed_encoder=True)
    row, open_ = found.leaks["unshuffle"][12.0], baseline.leaks
    print("fixed permutation:", row["psnr_db"].mean, "open:", open_["linear"][12.0]["psnr_db"].mean)
    assert row["psnr_db"].mean == pytest.approx(open_["linear"][12.0]["psnr_db"].mean, abs=0.1)
    # Two trainings, of 600 images each: three standard errors of the difference are 0.09.
    assert row["reid_match"].mean == pytest.approx(open_["match"][12.0]["reid_match"].mean, abs=0.09)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["rotation", "shuffle", "shuffle+signs"])
def test_a_key_per_message_against_the_attack_on_its_invariants(mode, baseline):
    target = scheme("encryption", mode=mode, lifetime="per_message", key=KEY)
    attackers = {
        "sorted": behind("sorted", "inversion-mlp", "label"),
        "inversion-mlp": QUICK["inversion-mlp"],
        "label": QUICK["label"],
        "match-query": {},
    }
    found = attacked(target, attackers, candidate_queries=True)
    best = strongest(found)["12"]
    top = {name: (one["attacker"], round(one["value"], 4)) for name, one in best.items()}
    share = leak(found) / leak(baseline)
    print(f"per-message {mode}: {share:.1%} of the baseline's PSNR leak; strongest {top}")
    label = best["label"]["value"]
    if mode == "rotation":
        assert share <= 0.05 and label <= 0.12, (share, label)
        assert best["reid"]["value"] < 0.01
    else:
        # The multiset of values, or of magnitudes, stays: the attack must find something in it.
        assert label > 0.15 and share < 1.0, (share, label)


# -- intrinsic schemes ------------------------------------------------------------------------------


@pytest.mark.slow
def test_ibal_lowers_the_strongest_psnr_attack_at_a_small_price(baseline):
    found = attacked(scheme("ibal"), {n: QUICK[n] for n in ("linear", "inversion-mlp")})
    print(f"IBAL: leak {leak(found):.2f} dB of {leak(baseline):.2f} dB, accuracy {accuracy(found):.3f}")
    assert leak(found) < 0.9 * leak(baseline)
    assert accuracy(found) > accuracy(baseline) - 0.03


def test_lbvq_uses_and_has_trained_every_codeword():
    target = scheme("lbvq")
    found = attacked(target, {}, seeds=1)
    assert sum(share > 0.01 / 16 for share in found.usage) >= 14, found.usage
    start = torch.view_as_real(constellation_points("16qam")) * math.sqrt(2)
    assert float((target.codebook - start).norm(dim=1).min()) > 1e-3


@pytest.mark.slow
def test_knowing_the_codebook_an_attack_on_lbvq_still_finds_no_more_than_the_open_scheme_tells(baseline):
    found = attacked(scheme("lbvq"), {"codebook": behind("codebook", "inversion-mlp", "label")})
    assert 0.0 < leak(found) < leak(baseline) + 0.1
    assert found.leaks["codebook"][12.0]["infer_label"].mean > 0.9


@pytest.mark.slow
def test_lbvq_under_a_shuffle_keeps_its_accuracy_and_leaks_less_than_alone():
    target = scheme("layered", key=KEY)
    attackers = {"sorted": behind("sorted", "inversion-mlp", "label")}
    shuffled = attacked(target, attackers)
    alone = attacked(scheme("lbvq"), {n: QUICK[n] for n in ("inversion-mlp", "label")})
    assert accuracy(shuffled) == pytest.approx(accuracy(alone), abs=0.005)
    assert leak(shuffled) < leak(alone)

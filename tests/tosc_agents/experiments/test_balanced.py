"""Balanced accuracy gives a constant answer 1/2 and an ideal receiver its best, however rare a yes is."""

from __future__ import annotations

import pytest
import torch
from tosc_agents.experiments.table2 import accuracy, answers, balanced_accuracy, log_odds, measure
from tosc_agents.learning.seeding import weights_from

from tosc_env.data import make_source
from tosc_env.errors import InputError
from tosc_env.game import Game
from tosc_env.pipeline import make_scheme

TINY = {"stem": 4, "widths": [4, 8], "blocks": [0, 0], "receiver_width": 16, "receiver_depth": 1}
NAMES = ["Mustache", "Smiling", "Wavy_Hair"]


def rare(count=200_000, share=0.04, distance=2.0):
    """A Gaussian feature, shifted by ``distance`` where the answer is yes, and the true log-odds of a yes."""
    g = torch.Generator().manual_seed(0)
    yes = torch.rand(count, 1, generator=g) < share
    feature = torch.randn(count, 1, generator=g) + distance * yes
    prior = torch.log(torch.tensor(share / (1 - share)))
    return distance * feature - distance**2 / 2 + prior, yes.long()


def test_constant_answers_have_one_half_balanced_and_the_majority_plain():
    _, targets = rare(10_000)
    share = float(targets.float().mean())
    for constant, plain in ((-1.0, 1 - share), (1.0, share)):
        logits = torch.full(targets.shape, constant)
        assert accuracy(logits, targets).item() == pytest.approx(plain)
        assert balanced_accuracy(logits, targets, torch.zeros(1)).item() == pytest.approx(0.5)


def test_calibrated_logits_do_best_at_the_log_odds_as_theory_says():
    """Two Gaussians at a distance d: the best balanced accuracy is Phi(d / 2), at the threshold log(p / (1 - p))."""
    logits, targets = rare()
    best = torch.special.ndtr(torch.tensor(1.0)).item()
    at = {shift: balanced_accuracy(logits, targets, log_odds(targets) + shift).item() for shift in (-1, 0, 1)}
    assert at[0] == pytest.approx(best, abs=0.005)
    assert at[0] > max(at[-1], at[1])
    assert balanced_accuracy(logits, targets, torch.zeros(1)).item() < at[0] - 0.1, "at the plain threshold"


def test_attributes_are_counted_apart():
    targets = torch.tensor([[1, 0], [0, 1], [1, 1], [0, 0]])
    logits = torch.stack([targets[:, 0] * 2.0 - 1, torch.ones(4)], dim=1)
    assert accuracy(logits, targets).tolist() == [1.0, 0.5]
    assert balanced_accuracy(logits, targets, torch.zeros(2)).tolist() == [1.0, 0.5]


def test_an_attribute_without_a_yes_is_refused():
    targets = torch.tensor([[1, 0], [0, 0]])
    for call in (
        lambda: log_odds(targets),
        lambda: balanced_accuracy(targets * 1.0, targets, torch.zeros(2)),
    ):
        with pytest.raises(InputError, match=r"attribute 1 .* is the same for all 2 images"):
            call()


def game(count=300, constellation=None):
    source = make_source("shapes", split="test", size=16, num_images=count, binary_attributes=NAMES)
    return Game(
        source, task="attributes", task_kwargs={"names": NAMES}, num_symbols=16, constellation=constellation
    )


def scheme_of(name, at, **options):
    with weights_from(0):
        return make_scheme(name, at.spec, **TINY, **options).eval()


def test_answers_follow_the_noise_they_are_given():
    at = game()
    scheme = scheme_of("deepjscc", at)
    first, targets = answers(scheme, at, 0)
    assert first.shape == (300, 3) and targets.shape == (300, 3)
    assert torch.equal(answers(scheme, at, 0)[0], first) and not torch.equal(answers(scheme, at, 1)[0], first)


def test_a_scheme_that_sends_its_decision_shifts_it_before_it_is_sent():
    """Without noise label-only's balanced figures are the baseline's, at a threshold that the receiver never sees."""
    at, discrete = game(), game(constellation="qpsk")
    baseline, label = scheme_of("deepjscc", at), scheme_of("label-only", discrete)
    label.backbone.decider = decider = baseline.backbone
    decider.told_snr_db = 12.0
    quiet, quiet_discrete = (one.with_rules(snr_db=140.0) for one in (at, discrete))
    thresholds = answers(baseline, quiet, 0)[0].median(0).values
    plain, shifted = (measure(s, g, thresholds, [0]) for s, g in ((baseline, quiet), (label, quiet_discrete)))
    assert torch.allclose(plain[0], shifted[0], atol=0.01)
    assert torch.allclose(plain[1], shifted[1], atol=0.01)
    unshifted = measure(label, quiet_discrete, torch.zeros(3), [0])
    assert not torch.allclose(plain[1], unshifted[1], atol=0.01)


def test_figures_are_means_over_the_draws_of_the_noise():
    at = game(100)
    scheme = scheme_of("encryption", at, key="00" * 32)
    one, two, both = (measure(scheme, at, torch.zeros(3), seeds) for seeds in ([1], [2], [1, 2]))
    assert torch.allclose(both[0], (one[0] + two[0]) / 2)
    assert torch.allclose(both[1], (one[1] + two[1]) / 2)

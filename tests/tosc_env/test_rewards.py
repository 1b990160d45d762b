"""What each role is paid."""

from __future__ import annotations

import pytest
import torch
from refusals import refused

from tosc_env import metrics
from tosc_env.rewards import ROLES, Outcome, PrivacyUtility, make_reward, register_reward, rewards


@pytest.fixture
def outcome():
    g = torch.Generator().manual_seed(0)
    images, rebuilt = torch.rand(4, 3, 16, 16, generator=g), torch.rand(4, 3, 16, 16, generator=g)
    error = metrics.mse(rebuilt, images)
    score = torch.tensor([1.0, 0.0, 1.0, 0.5])
    return Outcome(score, error, metrics.psnr_from_mse(error), images, rebuilt, floor=0.06)


def test_the_system_gets_the_score_less_weighted_quality_and_the_eavesdropper_the_quality(outcome):
    weight = 0.5
    paid = PrivacyUtility(privacy_weight=weight)(outcome)
    q = (0.06 - outcome.mse) / (0.06 + outcome.mse)
    assert tuple(paid) == ROLES
    assert torch.allclose(paid["eavesdropper"], q)
    assert torch.allclose(paid["transmitter"], outcome.score - weight * q)
    assert torch.equal(paid["transmitter"], paid["receiver"])


def test_structural_similarity_can_be_the_quality(outcome):
    paid = make_reward("privacy-utility", quality="ssim")(outcome)
    assert torch.allclose(paid["eavesdropper"], metrics.ssim(outcome.reconstruction, outcome.images))


def test_what_makes_no_reward_is_refused():
    for weight in (-0.1, float("nan"), float("inf"), "1", None):
        with refused(f"privacy_weight 0 {weight!r}"):
            PrivacyUtility(privacy_weight=weight)
    for arguments, options, words in (
        ((), {"quality": "sim"}, "'sim' 'ssim'"),
        (("privacy-utilty",), {}, "reward 'privacy-utilty'"),
        (("privacy-utility",), {"weight": 1}, "'weight'"),
        ((3,), {}, "name Reward 3"),
        ((lambda outcome: {},), {"privacy_weight": 1.0}, "'privacy_weight'"),
    ):
        with refused(words):
            make_reward(*arguments, **options)


def test_any_callable_is_a_reward():
    def constant(outcome):
        return {role: torch.ones(4) for role in ROLES}

    assert make_reward(constant) is constant


def test_a_registered_reward_is_made_by_its_name(monkeypatch):
    monkeypatch.setattr(rewards, "_table", dict(rewards._table))

    @register_reward("constant-test-reward")
    class Constant:
        def __init__(self, value=1.0):
            self.value = value

    assert make_reward("constant-test-reward", value=2.0).value == 2.0

"""What each role is paid."""

from __future__ import annotations

import pytest
import torch

from tosc_env import metrics
from tosc_env.errors import InputError
from tosc_env.rewards import ROLES, Outcome, PrivacyUtility, make_reward, register_reward, rewards


@pytest.fixture
def outcome():
    g = torch.Generator().manual_seed(0)
    images, rebuilt = torch.rand(4, 3, 16, 16, generator=g), torch.rand(4, 3, 16, 16, generator=g)
    error = metrics.mse(rebuilt, images)
    score = torch.tensor([1.0, 0.0, 1.0, 0.5])
    return Outcome(score, error, metrics.psnr_from_mse(error), images, rebuilt, floor=0.06)


@pytest.mark.parametrize("weight", [0, 0.5, 3.0])
def test_the_system_gets_the_score_less_weighted_quality_and_the_eavesdropper_the_quality(outcome, weight):
    paid = PrivacyUtility(privacy_weight=weight)(outcome)
    q = (0.06 - outcome.mse) / (0.06 + outcome.mse)
    assert tuple(paid) == ROLES
    assert torch.allclose(paid["eavesdropper"], q)
    assert torch.allclose(paid["transmitter"], outcome.score - weight * q)
    assert torch.equal(paid["transmitter"], paid["receiver"])


def test_structural_similarity_can_be_the_quality(outcome):
    paid = make_reward("privacy-utility", quality="ssim")(outcome)
    assert torch.allclose(paid["eavesdropper"], metrics.ssim(outcome.reconstruction, outcome.images))


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf"), "1", None])
def test_a_weight_out_of_its_range_is_refused(weight):
    with pytest.raises(InputError, match="privacy_weight must be a number of at least 0"):
        PrivacyUtility(privacy_weight=weight)


def test_unknown_names_and_options_are_refused_in_one_sentence():
    with pytest.raises(InputError, match="unknown reconstruction quality 'sim', did you mean 'ssim'"):
        make_reward(quality="sim")
    with pytest.raises(InputError, match="unknown reward"):
        make_reward("privacy-utilty")
    with pytest.raises(InputError, match="no option 'weight'"):
        make_reward("privacy-utility", weight=1)
    with pytest.raises(InputError, match="as a name or a Reward"):
        make_reward(3)


def test_any_callable_is_a_reward_and_takes_no_options(outcome):
    def constant(outcome):
        return {role: torch.ones(4) for role in ROLES}

    assert make_reward(constant) is constant
    with pytest.raises(InputError, match="no further options"):
        make_reward(constant, privacy_weight=1.0)


def test_a_registered_reward_is_made_by_its_name(monkeypatch):
    monkeypatch.setattr(rewards, "_table", dict(rewards._table))

    @register_reward("constant-test-reward")
    class Constant:
        def __init__(self, value=1.0):
            self.value = value

    assert make_reward("constant-test-reward", value=2.0).value == 2.0

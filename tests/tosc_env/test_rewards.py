"""Rewards of each role."""

from __future__ import annotations

from functools import partial

import gymnasium as gym
import pytest
import torch
from fakes import SMALL, options_for
from refusals import refused

import tosc_env
from tosc_env import metrics
from tosc_env.async_checks import AsyncChecks
from tosc_env.errors import InputError
from tosc_env.rewards import (
    ROLES,
    Outcome,
    PrivacyUtility,
    checked_rewards,
    make_reward,
    register_reward,
    rewards,
)


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

        def __call__(self, outcome):
            return dict.fromkeys(ROLES, torch.full_like(outcome.score, self.value))

    assert make_reward("constant-test-reward", value=2.0).value == 2.0

    @register_reward("no-test-reward")
    def table():
        return {}

    with pytest.raises(InputError, match="'no-test-reward' must be made as a callable, not dict"):
        make_reward("no-test-reward")


def good(outcome):
    return {role: outcome.score.double() for role in ROLES}


def test_a_reward_of_ones_own_becomes_float32(outcome):
    paid = checked_rewards(good, outcome)
    assert tuple(paid) == ROLES
    assert all(torch.equal(one, outcome.score) and one.dtype == torch.float32 for one in paid.values())


WRONG = {
    "no dictionary": (
        lambda o: [o.score] * 3,
        r"must return a dictionary for transmitter, .* not \[",
    ),
    "a role missing": (
        lambda o: dict.fromkeys(ROLES[1:], o.score),
        "not {'receiver': ",
    ),
    "a role too many": (
        lambda o: {**good(o), "eve": o.score},
        "for transmitter, receiver, eavesdropper, not {",
    ),
    "one number": (
        lambda o: good(o) | {"receiver": o.score.mean()},
        r"receiver must .* real numbers \[\d\], not tensor",
    ),
    "a column": (
        lambda o: good(o) | {"receiver": o.score[:, None]},
        r"not Tensor of torch.float32 \[\d, 1\]",
    ),
    "too many rows": (
        lambda o: good(o) | {"eavesdropper": o.score.repeat(2)},
        r"of the eavesdropper must be a tensor of real numbers \[\d\], not Tensor",
    ),
    "whole numbers": (
        lambda o: good(o) | {"transmitter": o.score.long()},
        r"not Tensor of torch.int64 \[\d\]",
    ),
    "no tensor": (lambda o: good(o) | {"transmitter": 1.0}, "of the transmitter must be .* not 1.0"),
    "NaN": (
        lambda o: good(o) | {"receiver": o.score / 0 * 0},
        "of the receiver must be finite float32 numbers, and was not",
    ),
    "infinite": (
        lambda o: good(o) | {"receiver": o.score + torch.inf},
        "must be finite float32 numbers",
    ),
    "written to": (lambda o: good(o) | {"receiver": o.mse.mul_(1.0)}, "has written to its mse"),
    "beyond float32": (
        lambda o: good(o) | {"receiver": o.score.double() + 1e300},
        "must be finite float32 numbers",
    ),
}
"""Rewards that are none, and the sentence that says so."""


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_reward_is_refused_in_every_form(outcome, name):
    reward, sentence = WRONG[name]
    with pytest.raises(InputError, match=sentence):
        checked_rewards(reward, outcome)

    def alone(role, num_envs=None):
        options = options_for(role, reward_fn=reward)
        env = gym.make("ToSC-Shapes-v0", **options) if num_envs is None else None
        env = env or gym.make_vec("ToSC-Shapes-v0", num_envs, **options)
        env.reset(seed=0)
        env.step(env.action_space.sample())

    def turns():
        env = tosc_env.aec_env("ToSC-Shapes-v0", data_kwargs=SMALL, reward_fn=reward)
        env.reset(seed=0)
        for agent in env.possible_agents:
            env.step(env.action_space(agent).sample())

    def pipeline():
        env = tosc_env.parallel_env("ToSC-Shapes-v0", data_kwargs=SMALL, reward_fn=reward)
        env.reset(seed=0)
        for _ in range(2):
            env.step({agent: env.action_space(agent).sample() for agent in env.agents})

    for form in (
        *(partial(alone, role) for role in ROLES),
        *(partial(alone, role, 3) for role in ROLES),
        turns,
        pipeline,
    ):
        with pytest.raises(InputError, match=sentence):
            form()


def test_finiteness_may_be_looked_at_later(outcome):
    checks = AsyncChecks()
    with checks.collect():
        checked_rewards(lambda o: good(o) | {"receiver": o.score + torch.inf}, outcome)
    with pytest.raises(InputError, match="of the receiver must be finite float32 numbers, and was not"):
        checks.synchronize()
    with checks.collect():
        checked_rewards(good, outcome)
    checks.synchronize()

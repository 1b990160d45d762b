"""The same seed gives the same episode, bit for bit, whatever else goes on in the program."""

from __future__ import annotations

import random

import gymnasium as gym
import numpy as np
import pytest
import torch
from fakes import SMALL, FakeScheme, options_for, spec_of

import tosc_env
from tosc_env.channels import channels
from tosc_env.testing.laws import global_streams_untouched

ROLES = ("transmitter", "receiver", "eavesdropper")
CASES = [{"channel": name} for name in channels]
CASES.append({"channel": "rician", "channel_kwargs": {"coherence": 128}})
NAMES = [f"{case['channel']}{'-coherent' if len(case) > 1 else ''}" for case in CASES]


def make(role, case, **kwargs):
    options = options_for(role, **case, max_cycles=4, snr_db=[0.0, 12.0], **kwargs)
    scheme = FakeScheme(spec_of(case), stochastic=True)
    return gym.make("ToSC-Shapes-v0", **options | {"scheme": scheme})


def interfere(other):
    """Everything that must not matter: the global generators, and another environment at work."""
    torch.manual_seed(random.randrange(1000))
    torch.rand(7)
    np.random.rand(3)  # noqa: NPY002
    random.random()
    if other is not None:
        other.reset()
        other.step(other.action_space.sample())


def episode(env, seed, other=None, meddle=False):
    env.action_space.seed(seed)
    observation, info = env.reset(seed=seed)
    story = [observation, info]
    for _ in range(2):
        terminated = False
        while not terminated:
            if meddle:
                interfere(other)
            observation, reward, terminated, _, info = env.step(env.action_space.sample())
            story += [observation, reward, info]
        if meddle:
            interfere(other)
        story += env.reset()
    return story


def same(one, two):
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    return np.array_equal(one, two)


@pytest.mark.parametrize(("role", "case"), [(ROLES[k % 3], case) for k, case in enumerate(CASES)], ids=NAMES)
def test_two_episodes_in_a_row_are_reproduced_under_interference(role, case):
    quiet = episode(make(role, case), 11)
    other = make(role, case)
    other.reset(seed=1)
    noisy = episode(make(role, case), 11, other, meddle=True)
    assert len(quiet) == len(noisy)
    assert all(same(a, b) for a, b in zip(quiet, noisy, strict=True))
    assert not all(same(a, b) for a, b in zip(quiet, episode(make(role, case), 12), strict=True))


def test_stepping_leaves_the_global_generators_alone():
    for case in CASES:
        env = make("receiver", case)
        env.reset(seed=0)
        with global_streams_untouched("the environment"):
            env.reset()
            env.step(0)
            env.reset(seed=1)


def test_a_reset_without_a_seed_uses_entropy_and_not_the_global_generators():
    seen = []
    for _ in range(2):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        random.seed(0)
        seen.append(make("eavesdropper", CASES[0]).reset()[0]["received"])
    assert not np.array_equal(*seen)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_all_three_roles_outside(case):
    def turns(meddle):
        env = tosc_env.aec_env("ToSC-Shapes-v0", data_kwargs=SMALL, max_cycles=3, **case)
        env.reset(seed=5)
        for i, agent in enumerate(env.possible_agents):
            env.action_space(agent).seed(i)
        story = []
        for agent in env.agent_iter():
            if meddle:
                interfere(None)
            observation, reward, terminated, _, info = env.last()
            story += [observation, reward, info]
            env.step(None if terminated else env.action_space(agent).sample())
        return story

    assert all(same(a, b) for a, b in zip(turns(False), turns(True), strict=True))

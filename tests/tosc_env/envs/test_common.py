"""Flat observations: in every form the numbers of the usual one, in Gymnasium's order, and nothing else changes."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from fakes import SMALL, options_for
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import FlattenObservation
from refusals import refused

import tosc_env
from tosc_env.errors import InputError
from tosc_env.nodes import wiretap

ROLES = ("transmitter", "receiver", "eavesdropper")


@pytest.mark.parametrize("role", ROLES)
def test_the_single_environment_is_as_gymnasiums_wrapper_makes_it(role):
    options = options_for(role, channel="rayleigh", max_cycles=2)
    flat = gym.make("ToSC-Shapes-v0", flatten=True, **options)
    usual = gym.make("ToSC-Shapes-v0", **options)
    wrapped = FlattenObservation(usual)
    assert flat.observation_space == wrapped.observation_space
    assert isinstance(flat.observation_space, spaces.Box)
    flat.action_space.seed(0)
    one, two = flat.reset(seed=1)[0], wrapped.reset(seed=1)[0]
    for _ in range(2):
        assert one.dtype == np.float32
        assert np.array_equal(one, two)
        parts = spaces.unflatten(usual.observation_space, one)
        assert sorted(parts) == sorted(usual.observation_space)
        assert parts["csi"][0] == one[0]
        action = flat.action_space.sample()
        (one, *rest), (two, *others) = flat.step(action), wrapped.step(action)
        assert rest == others


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.name)
def test_rows_are_as_the_single_environment_has_them(role, mode):
    options = options_for(role, channel="rayleigh", max_cycles=3)
    make = {"num_envs": 3, "autoreset_mode": mode, "max_episode_steps": 2}
    flat = gym.make_vec("ToSC-Shapes-v0", flatten=True, **make, **options)
    usual = gym.make_vec("ToSC-Shapes-v0", **make, **options)
    single = usual.single_observation_space
    assert flat.single_observation_space == spaces.flatten_space(single)
    assert flat.observation_space.shape == (3, spaces.flatdim(single))

    def rows(observation):
        parts = [{key: value[i].numpy() for key, value in observation.items()} for i in range(3)]
        return torch.tensor(np.stack([spaces.flatten(single, one) for one in parts]))

    flat.action_space.seed(0)
    assert torch.equal(flat.reset(seed=1)[0], rows(usual.reset(seed=1)[0]))
    for t in range(2):
        action = flat.action_space.sample()
        one, two = flat.step(action), usual.step(action)
        assert torch.equal(one[0], rows(two[0]))
        assert torch.equal(one[1], two[1])
        if t and mode is AutoresetMode.SAME_STEP:
            assert torch.equal(one[4]["final_obs"], rows(two[4]["final_obs"]))
    assert one[3].all()


@pytest.mark.parametrize("form", [tosc_env.aec_env, tosc_env.parallel_env])
def test_agents_see_the_same_numbers(form):
    options = {"data_kwargs": SMALL, "nodes": wiretap(2), "channel": "rayleigh", "max_cycles": 2}
    flat, usual = (form("ToSC-Shapes-v0", flatten=flatten, **options) for flatten in (True, False))
    for agent in usual.possible_agents:
        parts = usual.observation_space(agent)
        assert flat.observation_space(agent) == spaces.flatten_space(parts)
        flat.action_space(agent).seed(0)
    if form is tosc_env.parallel_env:
        one, two = flat.reset(seed=1)[0], usual.reset(seed=1)[0]
        while usual.agents:
            for agent in usual.agents:
                assert np.array_equal(one[agent], spaces.flatten(usual.observation_space(agent), two[agent]))
            actions = {agent: flat.action_space(agent).sample() for agent in usual.agents}
            (one, *rest), (two, *others) = flat.step(actions), usual.step(actions)
            assert rest == others
        return
    flat.reset(seed=1), usual.reset(seed=1)
    for agent in usual.agent_iter():
        (one, *rest), (two, *others) = flat.last(), usual.last()
        assert np.array_equal(one, spaces.flatten(usual.observation_space(agent), two))
        assert rest == others
        action = None if rest[1] else flat.action_space(agent).sample()
        flat.step(action), usual.step(action)


@pytest.mark.parametrize(
    "make",
    [
        lambda **options: gym.make("ToSC-Shapes-v0", **options_for("receiver", **options)),
        lambda **options: gym.make_vec("ToSC-Shapes-v0", **options_for("receiver", **options)),
        lambda **options: tosc_env.aec_env("ToSC-Shapes-v0", **options),
        lambda **options: tosc_env.parallel_env("ToSC-Shapes-v0", **options),
    ],
)
def test_flatten_is_true_or_false(make):
    with pytest.raises(InputError, match="flatten must be True or False, not 'csi'"):
        make(flatten="csi")


def test_options_of_a_reset_that_nothing_reads_are_refused_in_every_form():
    alone = options_for("transmitter")
    played = {"data_kwargs": SMALL, "max_cycles": 2}
    forms = (
        gym.make("ToSC-Shapes-v0", disable_env_checker=True, **alone).unwrapped,
        gym.make_vec("ToSC-Shapes-v0", num_envs=2, **alone),
        tosc_env.aec_env("ToSC-Shapes-v0", **played),
        tosc_env.parallel_env("ToSC-Shapes-v0", **played),
    )
    for env in forms:
        for given, words in (
            ({"snr_db": 3}, "'snr_db' 3"),
            ({"options": 2}, "'options' 2"),
            ({"stages": "x" * 5000}, "'stages'"),
            ({1: 2}, "dictionary"),
            ([1], "dictionary [1]"),
            ("reset_mask", "dictionary"),
        ):
            with refused(words):
                env.reset(options=given)
        for given in (None, {}):
            env.reset(seed=0, options=given)
    with refused("'mask' [True] reset_mask"):
        forms[1].reset(options={"mask": [True]})

"""The pipeline: one message deep, the transmitter paid one step late, and the shift that mends it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes import SMALL
from refusals import refused

import tosc_env
from tosc_env.envs.reward_shift import shift_transmitter_rewards

AGENTS = ["transmitter_0", "receiver_0", "eavesdropper_0"]
KEYS = ["accuracy", "psnr_db", "mse", "snr_db", "stand_in"]
T = 5


def make(**kwargs):
    return tosc_env.parallel_env("ToSC-Shapes-v0", data_kwargs=SMALL, **{"max_cycles": T + 1, **kwargs})


def actions(t):
    rng = np.random.default_rng(t)
    return {
        "transmitter_0": rng.standard_normal(128).astype(np.float32),
        "receiver_0": int(rng.integers(10)),
        "eavesdropper_0": rng.random((3, 32, 32), dtype=np.float32),
    }


def play(env, seed=3):
    """An episode in which the actions for message t are ``actions(t)``, whenever they are due."""
    observations, infos = env.reset(seed=seed)
    story = [(observations, None, None, infos)]
    for t in range(T + 1):
        now, before = actions(t), actions(t - 1) if t else actions(99)
        chosen = {agent: (now if agent == "transmitter_0" else before)[agent] for agent in AGENTS}
        observations, rewards, terminations, truncations, infos = env.step(chosen)
        assert not any(truncations.values())
        assert set(terminations.values()) == {t == T}
        story.append((observations, rewards, terminations, infos))
    assert env.agents == []
    return story


def test_an_episode_of_t_messages_takes_t_plus_one_steps():
    story = play(make())
    assert set(story[1][1].values()) == {0.0}
    assert all(type(reward) is float for reward in story[1][1].values())
    for observations, _, _, infos in story:
        assert list(observations) == list(infos) == AGENTS
        assert all(list(info) == KEYS for info in infos.values())
        assert all(np.isfinite(v) for info in infos.values() for v in info.values())


@pytest.mark.parametrize("channel", ["awgn", "rician"])
def test_shifted_credit_is_that_of_the_turns(channel):
    kwargs = {"channel": channel, "snr_db": {"low": 0, "high": 20}}
    story = play(make(**kwargs))
    steps = [rewards for _, rewards, _, _ in story[1:]]
    late = shift_transmitter_rewards([step["transmitter_0"] for step in steps])
    shifted = [{**step, "transmitter_0": paid} for step, paid in zip(steps, late, strict=True)]
    turns = tosc_env.aec_env("ToSC-Shapes-v0", raw=True, data_kwargs=SMALL, max_cycles=T, **kwargs)
    turns.reset(seed=3)
    for t in range(T):
        for agent in AGENTS:
            assert turns.agent_selection == agent
            seen = turns.observe(agent)
            # The turn of message t comes one step later in the pipeline for those who receive it.
            there = story[t if agent == "transmitter_0" else t + 1][0][agent]
            assert all(np.array_equal(seen[key], there[key]) for key in seen)
            turns.step(actions(t)[agent])
        exact = turns.rewards
        assert shifted[t]["transmitter_0"] == exact["transmitter_0"]
        assert steps[t + 1]["transmitter_0"] == exact["transmitter_0"]
        for agent in AGENTS[1:]:
            assert shifted[t + 1][agent] == exact[agent]
        assert story[t + 2][3]["receiver_0"] == turns.infos["receiver_0"]
    assert shifted[T]["transmitter_0"] == 0.0


def test_the_whole_episode_is_deterministic():
    """PettingZoo's own parallel seed test looks at one step; this looks at all, and at another seed."""
    one, two, other = play(make()), play(make()), play(make(), seed=4)
    for (a, ra, _, ia), (b, rb, _, ib) in zip(one, two, strict=True):
        assert ra == rb
        assert ia == ib
        assert all(np.array_equal(a[agent][key], b[agent][key]) for agent in AGENTS for key in a[agent])
    assert one[2][1] != other[2][1]


def test_every_agent_must_act_and_acts_well():
    env = make()
    with refused("over"):
        env.step(actions(0))
    with refused("'Shapes'"):
        tosc_env.parallel_env("Shapes")
    env.reset(seed=0)
    with refused("receiver_0"):
        env.step({"transmitter_0": actions(0)["transmitter_0"]})
    with refused("eavesdropper_0 NaN"):
        env.step(actions(0) | {"eavesdropper_0": np.full((3, 32, 32), np.nan, np.float32)})


def test_an_early_reset_starts_afresh():
    env = make()
    env.reset(seed=0)
    env.step(actions(0))
    observations, infos = env.reset()
    assert not observations["receiver_0"]["received"].any()
    assert infos["receiver_0"]["mse"] == 0.0
    assert set(env.step(actions(0))[1].values()) == {0.0}


def test_shift_of_arrays_tensors_and_lists():
    rewards = [0.0, 1.0, 2.0, 0.0, 3.0]
    ends = [False, False, True, False, True]
    expected = [1.0, 2.0, 0.0, 3.0, 0.0]
    assert shift_transmitter_rewards(rewards, ends) == expected
    array = np.array(rewards, np.float32)
    moved = shift_transmitter_rewards(array, np.array(ends))
    assert moved.dtype == np.float32
    assert moved.tolist() == expected
    assert array.tolist() == rewards
    tensor = torch.tensor(rewards)
    assert shift_transmitter_rewards(tensor, torch.tensor(ends)).tolist() == expected
    assert tensor.tolist() == rewards


def test_shift_keeps_other_axes_and_ends_with_each_episode():
    assert shift_transmitter_rewards(np.arange(6.0).reshape(3, 2)).tolist() == [[2, 3], [4, 5], [0, 0]]
    # A cut rollout is paid by the step that follows.
    assert shift_transmitter_rewards([0.0, 1.0], following=5.0) == [1.0, 5.0]
    assert shift_transmitter_rewards([0.0, 1.0], terminations=[0, 1], following=5.0) == [1.0, 0.0]
    with refused("time"):
        shift_transmitter_rewards(np.float32(1.0))
    with refused("terminations"):
        shift_transmitter_rewards([1.0, 2.0], terminations=[True])

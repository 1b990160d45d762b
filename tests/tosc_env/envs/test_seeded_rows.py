"""Rows with seeds of their own are single environments, bit for bit; Gymnasium's SyncVectorEnv is the yardstick."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from fakes import FakeScheme, options_for, spec_of
from gymnasium.vector import AutoresetMode

from tosc_env.errors import InputError

MODES = list(AutoresetMode)
SEEDS = [7, 3, 11]


def both(role, mode, *, num_envs=3, limit=None, **kwargs):
    """Our vector environment and Gymnasium's of single ones, of the same rules."""
    rules = {k: v for k, v in kwargs.items() if k.startswith("channel")}
    options = options_for(role, max_cycles=3, **kwargs)
    options |= {"scheme": FakeScheme(spec_of(rules), stochastic=True)}
    ours = gym.make_vec("ToSC-Shapes-v0", num_envs, autoreset_mode=mode, max_episode_steps=limit, **options)

    def single():
        return gym.make("ToSC-Shapes-v0", max_episode_steps=limit, **options)

    return ours, gym.vector.SyncVectorEnv([single] * num_envs, autoreset_mode=mode)


def assert_same(ours, theirs):
    """Assert that two resets or steps returned the same, wherever their masks say that it means anything."""
    (observation, *rest, infos), (expected, *others, told) = ours, theirs
    for key, value in expected.items():
        assert np.array_equal(observation[key].numpy(), value), key
    for one, other in zip(rest, others, strict=True):
        assert np.array_equal(one.numpy(), other.astype(one.numpy().dtype)), (one, other)
    final = told.pop("final_obs", None)
    assert (final is None) == ("final_obs" not in infos)
    if final is not None:
        for row in np.flatnonzero(told.pop("_final_obs")):
            assert infos["_final_obs"][row]
            assert all(np.array_equal(infos["final_obs"][key][row], final[row][key]) for key in final[row])
        last, rows = told.pop("final_info"), told.pop("_final_info")
        assert np.array_equal(infos["_final_info"].numpy(), rows)
        for key in (key for key in last if not key.startswith("_")):
            assert np.array_equal(infos["final_info"][key].numpy()[rows], last[key][rows].astype(np.float32))
    for key in (key for key in told if not key.startswith("_")):
        rows = told[f"_{key}"]
        assert np.array_equal(infos[key].numpy()[rows], told[key][rows].astype(np.float32)), key


def played_alike(ours, theirs, mode):
    """Nine random steps of both, alike; what is not reset by itself is reset where it has ended."""
    for _ in range(9):
        action = ours.action_space.sample()
        one, two = ours.step(action), theirs.step(action)
        assert_same(one, two)
        ended = (one[2] | one[3]).numpy()
        if mode is AutoresetMode.DISABLED and ended.any():
            assert_same(*(env.reset(options={"reset_mask": ended.copy()}) for env in (ours, theirs)))


@pytest.mark.parametrize("role", ["transmitter", "receiver", "eavesdropper"])
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize("limit", [None, 2, 3, 5])
def test_a_list_of_seeds_gives_gymnasiums_vector_of_single_environments(role, mode, limit):
    ours, theirs = both(role, mode, limit=limit, channel="rician", snr_db={"low": 0, "high": 20})
    ours.action_space.seed(0)
    assert_same(ours.reset(seed=SEEDS), theirs.reset(seed=SEEDS))
    played_alike(ours, theirs, mode)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize("limit", [2, 3])
def test_one_row_of_one_seed_is_truncated_as_the_single_environment(mode, limit):
    ours, theirs = both("eavesdropper", mode, num_envs=1, limit=limit)
    ours.action_space.seed(0)
    assert_same(ours.reset(seed=5), theirs.reset(seed=5))
    played_alike(ours, theirs, mode)


def test_rows_are_reset_alone_and_with_seeds():
    ours, theirs = both("eavesdropper", AutoresetMode.SAME_STEP)
    ours.reset(seed=SEEDS), theirs.reset(seed=SEEDS)
    action = np.full((3, 3, 32, 32), 0.5, np.float32)
    ours.step(action), theirs.step(action)
    mask, seeds = np.array([True, False, True]), [5, None, None]
    one, two = (env.reset(seed=seeds, options={"reset_mask": mask.copy()}) for env in (ours, theirs))
    assert all(np.array_equal(one[0][key].numpy()[mask], two[0][key][mask]) for key in two[0])
    for _ in range(4):
        assert_same(ours.step(action), theirs.step(action))


def test_a_number_gives_the_batch_again_and_none_lets_either_go_on():
    env, fresh = both("eavesdropper", AutoresetMode.SAME_STEP)[0], both("eavesdropper", MODES[1])[0]
    first = env.reset(seed=4)[0]
    listed = env.reset(seed=np.array(SEEDS))[0]
    assert torch.equal(listed["received"], fresh.reset(seed=tuple(SEEDS))[0]["received"])
    going_on = env.reset()[0]
    assert torch.equal(going_on["received"], fresh.reset()[0]["received"])
    assert torch.equal(first["received"], env.reset(seed=4)[0]["received"])
    # Other seeds elsewhere change nothing in a row, and equal seeds give equal rows.
    other = fresh.reset(seed=[7, 7, 0])[0]["received"]
    assert torch.equal(other[0], listed["received"][0])
    assert torch.equal(other[0], other[1])


@pytest.mark.parametrize(
    ("seed", "sentence"),
    [
        ([1, 2], "one for each of 3 environments, not 2"),
        ([1, -2, 3], "seed must be a whole number of at least 0, not -2"),
        ([1, "2", 3], "seed must be a whole number of at least 0, not '2'"),
        ([1, 2.0, 3], "seed must be a whole number of at least 0, not 2.0"),
    ],
)
def test_wrong_seeds_change_nothing(seed, sentence):
    one, two = both("eavesdropper", MODES[1])[0], both("eavesdropper", MODES[1])[0]
    action = torch.full((3, 3, 32, 32), 0.5)
    for env in (one, two):
        env.reset(seed=SEEDS)
    with pytest.raises(InputError, match=sentence):
        one.reset(seed=seed)
    assert torch.equal(one.step(action)[0]["received"], two.step(action)[0]["received"])


def test_a_mask_needs_rows_that_have_begun():
    env = both("eavesdropper", MODES[1])[0]
    env.reset(seed=1)
    with pytest.raises(InputError, match="first reset with a list of seeds is of all rows"):
        env.reset(seed=SEEDS, options={"reset_mask": np.array([True, False, False])})
    with pytest.raises(InputError, match="takes no seed"):
        env.reset(seed=1, options={"reset_mask": np.array([True, False, False])})


def test_frames_of_rows_with_seeds():
    options = options_for("receiver")
    env = gym.make_vec("ToSC-Shapes-v0", num_envs=2, render_mode="rgb_array", **options)
    env.reset(seed=[1, 2])
    single = gym.make("ToSC-Shapes-v0", render_mode="rgb_array", **options)
    single.reset(seed=2)
    assert np.array_equal(env.render()[1], single.render())
    env.step(np.array([0, 1]))
    single.step(1)
    assert np.array_equal(env.render()[1], single.render())
    env.close()


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize("waiting", [0, 1])
def test_a_transmitter_sends_for_rows_that_are_apart_and_for_one_that_waits(mode, waiting):
    """A row that is over beside others that are not: its old transmission is let go with theirs."""
    ours, theirs = both("transmitter", mode)
    ours.action_space.seed(0)
    assert_same(ours.reset(seed=SEEDS), theirs.reset(seed=SEEDS))
    action = ours.action_space.sample()
    ours.step(action), theirs.step(action)
    mask = np.arange(3) != waiting
    for env in (ours, theirs):
        env.reset(options={"reset_mask": mask.copy()})
    played_alike(ours, theirs, mode)

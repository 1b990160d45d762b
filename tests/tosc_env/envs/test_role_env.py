"""The single environment: NumPy in and out, episodes that terminate, clear refusals, no leaks."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from fakes import options_for
from refusals import refused

import tosc_env  # noqa: F401 (registers the ids)

ROLES = ("transmitter", "receiver", "eavesdropper")
KEYS = ["accuracy", "psnr_db", "mse", "snr_db", "stand_in"]


def make(role="transmitter", **kwargs):
    return gym.make("ToSC-Shapes-v0", **options_for(role, **kwargs))


@pytest.mark.parametrize("role", ROLES)
def test_an_episode_terminates_after_max_cycles(role, max_cycles=3):
    env = make(role, max_cycles=max_cycles)
    env.action_space.seed(0)
    observation, info = env.reset(seed=0)
    assert observation in env.observation_space
    assert list(info) == KEYS
    assert info["accuracy"] == info["psnr_db"] == info["mse"] == 0.0
    for value in observation.values():
        assert value.dtype == np.float32 and value.flags.owndata and value.flags.writeable, "a copy"
    for t in range(max_cycles):
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert observation in env.observation_space
        assert type(reward) is float
        assert terminated is (t == max_cycles - 1)
        assert truncated is False
        assert list(info) == KEYS
        assert all(type(value) is float and np.isfinite(value) for value in info.values())
    with refused("episode"):
        env.step(env.action_space.sample())


def test_the_transmitter_may_be_silent_or_loud():
    env = make()
    rewards = []
    for action in (np.zeros(128, np.float32), np.full(128, 1e15, np.float32), np.ones(128, np.float32)):
        env.reset(seed=0)
        rewards.append(env.step(action)[1])
    assert np.isfinite(rewards).all()
    assert rewards[1] == pytest.approx(rewards[2], abs=1e-5)


@pytest.mark.parametrize("role", ["transmitter", "eavesdropper"])
def test_one_bad_number_is_refused_and_spoils_nothing(role, value=np.nan):
    env = make(role).unwrapped
    env.reset(seed=0)
    good = env.action_space.sample()
    bad = good.copy()
    bad.flat[-1] = value
    with refused(f"{role}_0"):
        env.step(bad)
    after = env.step(good)
    env.reset(seed=0)
    assert env.step(good)[1] == after[1]


def test_the_eavesdropper_is_told_neither_image_nor_label_nor_the_other_link():
    env = make("eavesdropper", snr_db=17.0, eavesdropper_snr_db=3.0)
    observation, info = env.reset(seed=0)
    assert set(observation) == {"received", "csi"}
    assert observation["csi"].tolist() == [3.0]
    for _ in range(2):
        assert list(info) == KEYS
        assert info["snr_db"] == 3.0
        observation, _, _, _, info = env.step(env.action_space.sample())
    image = env.unwrapped.session.present.round.batch.images
    assert observation["received"].size < image.numel()
    one = make("eavesdropper", snr_db=0.0, eavesdropper_snr_db=5.0).reset(seed=1)[0]
    two = make("eavesdropper", snr_db=20.0, eavesdropper_snr_db=5.0).reset(seed=1)[0]
    assert np.array_equal(one["received"], two["received"])
    for role in ("transmitter", "receiver"):
        observation, info = make(role, snr_db=17.0, eavesdropper_snr_db=3.0).reset(seed=0)
        assert observation["csi"].tolist() == [17.0] and info["snr_db"] == 17.0


def test_a_perfect_eavesdropper_is_paid_one():
    env = make("eavesdropper").unwrapped
    env.reset(seed=0)
    image = env.session.present.round.batch.images[0].numpy()
    _, reward, _, _, info = env.step(image)
    assert reward == pytest.approx(1.0)
    assert info["psnr_db"] == pytest.approx(100.0)


def test_a_right_receiver_is_paid_the_score_minus_the_leak():
    env = make("receiver", privacy_weight=0.0).unwrapped
    env.reset(seed=0)
    target = int(env.session.present.round.targets[0])
    _, reward, _, _, info = env.step(target)
    assert reward == info["accuracy"] == 1.0
    assert env.step((int(env.session.present.round.targets[0]) + 1) % 10)[1] == 0.0


def test_wrong_keywords_and_actions_are_refused():
    for kwargs, words in (
        ({"role": "jammer"}, "'jammer' eavesdropper receiver transmitter"),
        ({"chanel": "awgn"}, "'chanel' 'channel'"),
        ({"render_mode": "ansi"}, "render_mode 'ansi'"),
        ({"max_cycles": 0}, "max_cycles 1 0"),
        ({"role": "eavesdropper"}, "eavesdropper outside"),
    ):
        with refused(words):
            gym.make("ToSC-Shapes-v0", **(options_for("transmitter") | kwargs))
    env, points = make().unwrapped, make(constellation="16qam")
    points.action_space.seed(0)
    for one in (env, points):
        one.reset(seed=0)
    points.step(points.action_space.sample())
    for one, action, words in (
        (env, np.zeros(64, np.float32), "transmitter_0 (64,) (128,)"),
        (env, np.zeros(128, np.int64), "transmitter_0 int64"),
        (points, np.zeros(128, np.float32), "transmitter_0 16qam"),
    ):
        with refused(words):
            one.step(action)


def test_reset_goes_on_with_the_stream():
    env = make()
    first = env.reset(seed=4)[0]["image"]
    second = env.reset()[0]["image"]
    assert not np.array_equal(first, second)
    assert np.array_equal(first, env.reset(seed=4)[0]["image"])
    assert np.array_equal(second, env.reset()[0]["image"])


def test_render_gives_frames_and_says_how_when_it_cannot():
    env = make("eavesdropper", render_mode="rgb_array")
    env.reset(seed=0)
    before = env.render()
    env.step(env.action_space.sample())
    after = env.render()
    assert before.dtype == np.uint8
    assert before.ndim == 3
    assert before.shape == after.shape
    assert not np.array_equal(before, after)
    env.close()
    env.close()
    plain = make().unwrapped
    plain.reset(seed=0)
    with refused("rendering render_mode"):
        plain.render()

"""The single environment: NumPy in and out, episodes that terminate, clear refusals, no leaks."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from fakes import SMALL, FakeEavesdropper, FakeScheme, options_for

import tosc_env  # noqa: F401 (registers the ids)
from tosc_env.errors import InputError

ROLES = ("transmitter", "receiver", "eavesdropper")
KEYS = ["accuracy", "psnr_db", "mse", "snr_db", "stand_in"]


def make(role="transmitter", **kwargs):
    return gym.make("ToSC-Shapes-v0", **options_for(role, **kwargs))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("max_cycles", [1, 3])
def test_an_episode_terminates_after_max_cycles(role, max_cycles):
    env = make(role, max_cycles=max_cycles)
    env.action_space.seed(0)
    observation, info = env.reset(seed=0)
    assert observation in env.observation_space
    assert list(info) == KEYS
    assert info["accuracy"] == info["psnr_db"] == info["mse"] == 0.0
    for t in range(max_cycles):
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert observation in env.observation_space
        assert type(reward) is float
        assert terminated is (t == max_cycles - 1)
        assert truncated is False
        assert list(info) == KEYS
        assert all(type(value) is float and np.isfinite(value) for value in info.values())
    with pytest.raises(InputError, match="episode is over"):
        env.step(env.action_space.sample())


@pytest.mark.parametrize("role", ROLES)
def test_observations_are_float32_copies(role):
    env = make(role)
    observation, _ = env.reset(seed=0)
    for value in observation.values():
        assert value.dtype == np.float32
        assert value.flags.owndata
        assert value.flags.writeable


def test_the_transmitter_may_be_silent_or_loud():
    env = make()
    rewards = []
    for action in (np.zeros(128, np.float32), np.full(128, 1e15, np.float32), np.ones(128, np.float32)):
        env.reset(seed=0)
        rewards.append(env.step(action)[1])
    assert np.isfinite(rewards).all()
    assert rewards[1] == pytest.approx(rewards[2], abs=1e-5)


@pytest.mark.parametrize("role", ["transmitter", "eavesdropper"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_bad_number_is_refused_and_spoils_nothing(role, value):
    env = make(role).unwrapped
    env.reset(seed=0)
    good = env.action_space.sample()
    bad = good.copy()
    bad.flat[-1] = value
    with pytest.raises(InputError, match=f"{role}_0: action contains"):
        env.step(bad)
    after = env.step(good)
    env.reset(seed=0)
    assert env.step(good)[1] == after[1]


def test_wrong_shape_and_type_are_refused():
    env = make().unwrapped
    env.reset(seed=0)
    with pytest.raises(
        InputError, match=r"transmitter_0: action has shape \(64,\); expected float32 \(128,\)"
    ):
        env.step(np.zeros(64, np.float32))
    with pytest.raises(InputError, match="transmitter_0: action has dtype int64"):
        env.step(np.zeros(128, np.int64))


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


def test_each_role_sees_its_own_link():
    for role in ("transmitter", "receiver"):
        observation, info = make(role, snr_db=17.0, eavesdropper_snr_db=3.0).reset(seed=0)
        assert observation["csi"].tolist() == [17.0]
        assert info["snr_db"] == 17.0


def test_what_the_eavesdropper_receives_does_not_depend_on_the_receivers_link():
    one = make("eavesdropper", snr_db=0.0, eavesdropper_snr_db=5.0).reset(seed=1)[0]
    two = make("eavesdropper", snr_db=20.0, eavesdropper_snr_db=5.0).reset(seed=1)[0]
    assert np.array_equal(one["received"], two["received"])


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


def test_a_discrete_transmitter_sends_points_only():
    env = make(constellation="16qam")
    env.action_space.seed(0)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    with pytest.raises(InputError, match=r"transmitter_0: .*16qam"):
        env.step(np.zeros(128, np.float32))


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ({"role": "jammer"}, "unknown role 'jammer'; available: eavesdropper, receiver, transmitter"),
        ({"chanel": "awgn"}, "unknown keyword argument of the environment 'chanel', did you mean 'channel'"),
        ({"render_mode": "ansi"}, "unknown render_mode 'ansi'"),
        ({"max_cycles": 0}, "max_cycles must be a whole number from 1 to"),
        ({"channel": "awng"}, "unknown channel 'awng', did you mean 'awgn'"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_wrong_keywords_are_refused_in_one_sentence(kwargs, sentence):
    with pytest.raises(InputError, match=sentence):
        gym.make("ToSC-Shapes-v0", **(options_for("transmitter") | kwargs))


def test_a_policy_beside_its_own_role_is_refused():
    with pytest.raises(InputError, match="eavesdropper is played from outside"):
        gym.make(
            "ToSC-Shapes-v0",
            role="eavesdropper",
            scheme=FakeScheme(),
            eavesdropper=FakeEavesdropper(),
            data_kwargs=SMALL,
        )


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
    with pytest.raises(InputError, match="rendering needs render_mode"):
        plain.render()


def test_a_stand_in_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("TOSC_DATA_DIR", str(tmp_path))
    with pytest.warns(UserWarning, match="stand in"):
        env = gym.make("ToSC-CIFAR-v0", scheme=FakeScheme(), eavesdropper=FakeEavesdropper())
    assert env.reset(seed=0)[1]["stand_in"] == 1.0

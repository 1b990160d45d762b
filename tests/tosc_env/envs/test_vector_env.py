"""The vector environment: parity with the single one, three autoreset modes, rows that do not touch."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from fakes import FakeScheme, options_for, spec_of
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import ArrayConversion, DictInfoToList, RecordEpisodeStatistics
from refusals import refused

from tosc_env.testing.vector import FIGURES, check_vector_env

ROLES = ("transmitter", "receiver", "eavesdropper")
MODES = list(AutoresetMode)


def make(role="transmitter", num_envs=4, max_cycles=3, **kwargs):
    own = {k: kwargs.pop(k) for k in ("autoreset_mode", "validate", "max_episode_steps") if k in kwargs}
    return gym.make_vec(
        "ToSC-Shapes-v0", num_envs=num_envs, max_cycles=max_cycles, **own, **options_for(role, **kwargs)
    )


@pytest.mark.parametrize(("role", "mode"), zip(ROLES, MODES, strict=True))
def test_our_own_checker_passes(role, mode):
    check_vector_env(make(role, autoreset_mode=mode))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("channel", ["awgn", "rician"])
def test_one_row_is_the_single_environment_bit_for_bit(role, channel):
    kwargs = {"channel": channel, "max_cycles": 3, "snr_db": {"low": 0, "high": 20}, "repeat": 2}
    if channel == "rician":
        kwargs["channel_kwargs"] = {"coherence": 128}
    scheme = FakeScheme(
        spec_of({k: v for k, v in kwargs.items() if k.startswith("channel")}), stochastic=True
    )
    single = gym.make("ToSC-Shapes-v0", **options_for(role, **kwargs) | {"scheme": scheme})
    vector = make(role, num_envs=1, **kwargs | {"scheme": scheme})
    single.action_space.seed(0)
    observation, info = single.reset(seed=9)
    batch, infos = vector.reset(seed=9)
    for t in range(8):
        for key in observation:
            assert np.array_equal(observation[key], batch[key][0].numpy()), (t, key)
        for key in info:
            assert info[key] == infos[key][0].item(), (t, key)
        action = single.action_space.sample()
        observation, reward, terminated, _, info = single.step(action)
        batch, rewards, terminations, truncations, infos = vector.step(np.asarray(action)[None])
        assert reward == rewards[0].item()
        assert terminated == terminations[0].item()
        assert not truncations.any()
        if terminated:
            for key in observation:
                assert np.array_equal(observation[key], infos["final_obs"][key][0].numpy())
            for key in info:
                assert info[key] == infos["final_info"][key][0].item()
            observation, info = single.reset()


def test_everything_is_a_torch_tensor_on_the_device():
    env = make(num_envs=5, render_mode="rgb_array")
    observation, info = env.reset(seed=0)
    assert observation["image"].shape == (5, 3, 32, 32)
    assert [frame.dtype for frame in env.render()] == [np.uint8] * 5
    _, rewards, terminations, truncations, infos = env.step(torch.zeros(5, 128))
    assert rewards.dtype == torch.float32
    assert terminations.dtype == truncations.dtype == torch.bool
    assert set(info) == set(infos)
    for key, value in infos.items():
        assert value.dtype == (torch.bool if key.startswith("_") else torch.float32)
        assert value.shape == (5,)


def test_the_mode_is_attribute_and_metadata_of_the_instance():
    for mode in MODES:
        for given in (mode, mode.name, mode.value):
            env = make(autoreset_mode=given)
            assert env.autoreset_mode is mode
            assert env.metadata["autoreset_mode"] is mode
    assert make().autoreset_mode is AutoresetMode.SAME_STEP
    with refused("autoreset_mode NEXT_STEP SAME_STEP DISABLED"):
        make(autoreset_mode="never")


def test_disabled_wants_a_reset_of_what_is_over():
    env = make("eavesdropper", max_cycles=2, autoreset_mode="DISABLED")
    env.reset(seed=0)
    action = torch.full((4, 3, 32, 32), 0.5)
    env.step(action)
    terminations = env.step(action)[2]
    with refused("4 reset_mask"):
        env.step(action)
    _, infos = env.reset(options={"reset_mask": terminations})
    assert infos["_mse"].all()
    assert not env.step(action)[2].any()


def test_rows_out_of_step_restart_alone():
    env = make("eavesdropper", max_cycles=3)
    env.reset(seed=0)
    action = torch.full((4, 3, 32, 32), 0.5)
    env.step(action)
    env.reset(options={"reset_mask": np.array([True, False, False, False])})
    ends = [env.step(action)[2].tolist() for _ in range(6)]
    assert [row[0] for row in ends] == [False, False, True, False, False, True]
    assert [row[1] for row in ends] == [False, True, False, False, True, False]


def test_infos_of_ended_rows_are_those_of_the_new_episode():
    env = make("eavesdropper", max_cycles=2, snr_db={"low": 0, "high": 20})
    env.reset(seed=0)
    action = torch.full((4, 3, 32, 32), 0.5)
    env.reset(options={"reset_mask": np.array([True, False, False, False])})
    env.step(action)
    env.reset(options={"reset_mask": np.array([True, False, False, False])})
    observation, _, terminations, _, infos = env.step(action)
    assert terminations.tolist() == [False, True, True, True]
    assert (infos["mse"] == 0).tolist() == terminations.tolist()
    assert torch.equal(infos["snr_db"], observation["csi"][:, 0])
    assert not torch.equal(infos["final_info"]["snr_db"][1:], infos["snr_db"][1:])


def test_bad_actions_are_refused_unless_told_otherwise():
    env = make()
    env.reset(seed=0)
    action = torch.zeros(4, 128)
    action[2, 5] = torch.nan
    with refused("transmitter_0"):
        env.step(action)
    with refused("(4, 64) (4, 128)"):
        env.step(torch.zeros(4, 64))
    with refused("num_envs 1 0"):
        make(num_envs=0)
    discrete = make(constellation="qpsk")
    discrete.reset(seed=0)
    discrete.action_space.seed(0)
    discrete.step(discrete.action_space.sample())
    with refused("transmitter_0"):
        discrete.step(torch.full((4, 128), 0.5))
    env = make(validate=False)
    env.reset(seed=0)
    _, rewards, _, _, infos = env.step(action)
    assert rewards.isfinite().all() and all(infos[key].isfinite().all() for key in FIGURES)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_max_episode_steps_truncates(mode):
    """Equal to what a TimeLimit does, which tests/tosc_env/envs/test_seeded_rows.py checks."""
    env = make(max_cycles=16, max_episode_steps=2, autoreset_mode=mode)
    check_vector_env(env)
    env.reset(seed=0)
    env.step(torch.zeros(4, 128))
    _, _, terminations, truncations, _ = env.step(torch.zeros(4, 128))
    assert truncations.all()
    assert not terminations.any()
    if mode is AutoresetMode.DISABLED:
        with refused("4 of 4"):
            env.step(torch.zeros(4, 128))


def test_rows_out_of_step_are_truncated_alone():
    env = make("eavesdropper", max_cycles=16, max_episode_steps=3)
    env.reset(seed=0)
    action = torch.full((4, 3, 32, 32), 0.5)
    env.step(action)
    env.reset(options={"reset_mask": np.array([True, False, False, False])})
    ends = []
    for _ in range(6):
        observation, _, terminations, truncations, infos = env.step(action)
        assert not terminations.any()
        ends.append(truncations.tolist())
        if truncations.any():
            assert torch.equal(infos["_final_obs"], truncations)
            moved = (observation["received"] != infos["final_obs"]["received"]).any(1)
            assert torch.equal(moved, truncations)
    assert [row[0] for row in ends] == [False, False, True, False, False, True]
    assert [row[1] for row in ends] == [False, True, False, False, True, False]


def test_max_episode_steps_is_at_least_one():
    for limit in (0, -2, 1.5, True):
        with refused(f"max_episode_steps whole {limit!r}"):
            make(max_episode_steps=limit)
    assert not make(max_episode_steps=-1).reset(seed=0)[0]["csi"].isnan().any()


def test_library_wrappers_work_behind_array_conversion():
    env = ArrayConversion(make("receiver", max_cycles=2), env_xp=torch, target_xp=np)
    env = DictInfoToList(RecordEpisodeStatistics(env))
    env.reset(seed=0)
    env.step(env.action_space.sample())
    observation, rewards, terminations, _, infos = env.step(env.action_space.sample())
    assert isinstance(observation["received"], np.ndarray)
    assert isinstance(rewards, np.ndarray)
    assert terminations.all()
    assert infos[0]["episode"]["l"] == 2
    env.reset(options={"reset_mask": np.array([True, False, False, False])})


def test_gymnasiums_own_vectorisers_work_too():
    env = gym.make_vec(
        "ToSC-Shapes-v0", num_envs=2, vectorization_mode="sync", max_cycles=2, **options_for("receiver")
    )
    observation, _ = env.reset(seed=0)
    assert observation["received"].shape == (2, 128)
    assert not np.array_equal(observation["received"][0], observation["received"][1])
    env.step(env.action_space.sample())
    assert env.step(env.action_space.sample())[2].all()


class _Broken:
    """A vector environment with one law broken at a time."""

    def __init__(self, env, law):
        self.law = law
        self.env = env
        self.original = env.step
        env.step = self.step

    def step(self, actions):
        observation, rewards, terminations, truncations, infos = self.original(actions)
        if self.law == "noise":
            rewards = rewards + torch.rand(len(rewards))
        elif self.law == "dtype":
            rewards = rewards.double()
        elif self.law == "key":
            infos.pop("mse")
        elif self.law == "nan":
            observation["csi"][0] = torch.nan
        elif self.law == "alias":
            observation["csi"] = self.env.session.present.round.snr_db[:, None]
        elif self.law == "final":
            infos.pop("final_obs", None)
        return observation, rewards, terminations, truncations, infos


@pytest.mark.parametrize(
    ("law", "sentence"),
    [
        ("noise", "global random generator"),
        ("dtype", "rewards must be float32"),
        ("key", "lacks 'mse'|has \\["),
        ("nan", "csi is not finite"),
        ("alias", "another trajectory"),
        ("final", "final_obs"),
    ],
)
def test_the_checker_finds_a_broken_law(law, sentence):
    env = make("transmitter")
    _Broken(env, law)
    with pytest.raises(AssertionError, match=sentence):
        check_vector_env(env)

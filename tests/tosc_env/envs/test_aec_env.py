"""Turns: the order is the physics, and each role is paid for the message it acted on."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import SMALL
from pettingzoo.utils import OrderEnforcingWrapper
from refusals import refused

import tosc_env

AGENTS = ["transmitter_0", "receiver_0", "eavesdropper_0"]
KEYS = ["accuracy", "psnr_db", "mse", "snr_db", "stand_in"]


def make(**kwargs):
    return tosc_env.aec_env("ToSC-Shapes-v0", raw=True, data_kwargs=SMALL, **kwargs)


def symbols(seed):
    return np.random.default_rng(seed).standard_normal(128).astype(np.float32)


def test_agents_take_turns_and_end_together():
    env = make(max_cycles=2)
    env.reset(seed=0)
    order = []
    for agent in env.agent_iter():
        _, _, terminated, truncated, info = env.last()
        assert list(info) == KEYS
        assert all(type(v) is float for v in info.values())
        assert truncated is False
        order.append((agent, terminated))
        env.step(None if terminated else env.action_space(agent).sample())
    assert order == [(a, False) for a in AGENTS] * 2 + [(a, True) for a in AGENTS]
    assert env.agents == []


def test_credit_is_for_the_message_acted_on():
    """A receiver and an eavesdropper that know the truth of every other message are paid for just those."""
    env = make(max_cycles=4)
    env.reset(seed=0)
    paid = {agent: [] for agent in AGENTS}
    game = env.session.game
    for t in range(4):
        round_ = env.session.present.round
        right = t % 2 == 0
        for agent in AGENTS:
            observation, reward, *_ = env.last()
            paid[agent].append(reward)
            if agent == "transmitter_0":
                assert np.array_equal(observation["image"], round_.batch.images[0].numpy())
                env.step(symbols(t))
            elif agent == "receiver_0":
                env.step((int(round_.targets[0]) + (not right)) % 10)
            else:
                mean = np.full((3, 32, 32), 0.5, np.float32)
                env.step(round_.batch.images[0].numpy() if right else mean)
    for agent in AGENTS:
        paid[agent].append(env._cumulative_rewards[agent])
    eavesdropper = paid["eavesdropper_0"]
    assert eavesdropper[0] == 0
    assert eavesdropper[1] == eavesdropper[3] == pytest.approx(1.0)
    assert max(eavesdropper[2], eavesdropper[4]) < 0.5
    assert paid["receiver_0"] == paid["transmitter_0"]
    assert paid["receiver_0"][1] == pytest.approx(0.0)
    assert paid["receiver_0"][2] == pytest.approx(-eavesdropper[2])
    assert game.floor > 0


def test_receptions_exist_once_the_message_is_on_the_air():
    env = make()
    env.reset(seed=0)
    assert not env.observe("receiver_0")["received"].any()
    env.step(symbols(0))
    one, two = env.observe("receiver_0"), env.observe("eavesdropper_0")
    assert one["received"].any()
    assert not np.array_equal(one["received"], two["received"])
    env.step(0)
    env.step(np.zeros((3, 32, 32), np.float32))
    assert not env.observe("receiver_0")["received"].any()


def test_observations_keep_to_their_spaces_and_links():
    env = make(snr_db=17.0, eavesdropper_snr_db=3.0, channel="rayleigh")
    env.reset(seed=0)
    env.step(symbols(0))
    for agent, snr in zip(AGENTS, (17.0, 17.0, 3.0), strict=True):
        observation = env.observe(agent)
        assert observation in env.observation_space(agent)
        assert observation["csi"][0] == env.infos[agent]["snr_db"] == snr
    assert set(env.observe("eavesdropper_0")) == {"received", "csi"}


def test_wrong_actions_name_their_agent_and_wrong_arguments_themselves():
    env = make()
    env.reset(seed=0)
    for right, wrong, words in (
        (np.zeros(128, np.float32), np.full(128, np.nan, np.float32), "transmitter_0 NaN"),
        (np.int64(3), 99, "receiver_0 99"),
        (np.zeros((3, 32, 32), np.float32), symbols(0), "eavesdropper_0 (128,)"),
    ):
        with refused(words):
            env.step(wrong)
        env.step(right)
        assert all(np.isfinite(env.observe(agent)["csi"]).all() for agent in AGENTS), (
            "silence is an action, too"
        )
    with refused("'jammer_0'"):
        env.observe("jammer_0")
    for id, words in (("ToSC-CIFER-v0", "'ToSC-CIFER-v0' 'ToSC-CIFAR-v0'"), ("CartPole-v1", "'CartPole-v1'")):
        with refused(words):
            tosc_env.aec_env(id)
    for options, words in (({"role": "receiver"}, "'role'"), ({"scheme": "deepjscc"}, "scheme")):
        with refused(words):
            make(**options)


def test_the_wrapper_enforces_the_order():
    env = tosc_env.aec_env("ToSC-Shapes-v0", data_kwargs=SMALL)
    assert isinstance(env, OrderEnforcingWrapper)
    with pytest.raises(AttributeError, match="before reset"):
        _ = env.agents
    assert env.unwrapped.metadata["is_parallelizable"] is False

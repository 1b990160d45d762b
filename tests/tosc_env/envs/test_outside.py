"""The referee's state: all of the present messages, of fixed shape, and no agent's business."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import SMALL
from gymnasium import spaces

import tosc_env
from tosc_env.errors import InputError
from tosc_env.nodes import wiretap

OPTIONS = {"data_kwargs": SMALL, "max_cycles": 3, "channel": "rayleigh", "snr_db": {"low": 0, "high": 20}}


def told(env):
    """The state by name; it is in its space and has the same shape at any time."""
    state = env.state()
    assert state.dtype == np.float32
    assert env.state_space.contains(state)
    assert np.isfinite(state).all()
    parts = spaces.unflatten(env.state_parts, state)
    assert np.array_equal(spaces.flatten(env.state_parts, parts), state), "lossless"
    return parts


@pytest.mark.parametrize("task", ["classification", "one attribute", "attributes"])
def test_the_state_of_the_turns(task):
    options = dict(OPTIONS, nodes=wiretap(2))
    if task == "one attribute":
        options["attributes"] = "colour"
    elif task == "attributes":
        options["data_kwargs"] = {**SMALL, "binary_attributes": ["a", "b", "c"]}
        options["attributes"] = ["a", "c"]
    env = tosc_env.aec_env("ToSC-Shapes-v0", **options)
    env.reset(seed=2)
    assert list(env.state_parts) == ["message", "progress"]
    assert list(env.state_parts["message"]) == ["image", "receptions", "sent", "snr_db", "target"]
    session = env.unwrapped.session
    for turn in range(12):
        parts = told(env)
        message, agent = parts["message"], env.agent_selection
        assert parts["progress"] == np.float32(turn // 4 / 3)
        assert np.array_equal(message["image"], env.observe("transmitter_0")["image"])
        assert message["snr_db"][0] == env.observe("transmitter_0")["csi"][0]
        assert list(message["receptions"]) == ["eavesdropper_0", "eavesdropper_1", "receiver_0"]
        for name, reception in message["receptions"].items():
            assert all(np.array_equal(reception[key], part) for key, part in env.observe(name).items())
        assert message["sent"].any() == (agent != "transmitter_0")
        target = session.present.round.targets[0].numpy()
        right = message["target"].argmax() if target.ndim == 0 else message["target"]
        assert np.array_equal(right, target)
        env.step(env.action_space(agent).sample())
    assert told(env)["progress"] == 1.0


def test_the_state_of_the_pipeline_has_both_messages():
    env = tosc_env.parallel_env("ToSC-Shapes-v0", **{**OPTIONS, "max_cycles": 4})
    env.reset(seed=2)
    before = told(env)
    assert not any(part.any() for part in (before["answered"]["image"], before["answered"]["sent"]))
    assert before["progress"] == 0.0
    for t in range(3):
        observations = env.step({agent: env.action_space(agent).sample() for agent in env.agents})[0]
        after = told(env)
        assert np.array_equal(after["answered"]["image"], before["message"]["image"])
        assert np.array_equal(after["answered"]["target"], before["message"]["target"])
        heard = after["answered"]["receptions"]["receiver_0"]["received"]
        assert np.array_equal(heard, observations["receiver_0"]["received"])
        assert np.array_equal(after["message"]["image"], observations["transmitter_0"]["image"])
        assert after["progress"] == np.float32((t + 1) / 3)
        before = after


@pytest.mark.parametrize("form", [tosc_env.aec_env, tosc_env.parallel_env])
def test_looking_at_the_state_changes_nothing(form):
    def play(look):
        env = form("ToSC-Shapes-v0", **{**OPTIONS, "max_cycles": 4})
        with pytest.raises(InputError, match=r"call reset\(\) before state\(\)"):
            env.unwrapped.state()
        env.reset(seed=2)
        states = []
        for t in range(9):
            if look:
                env.state()[:] = 0
                states.append(env.state())
            if form is tosc_env.aec_env:
                env.action_space(env.agent_selection).seed(t)
                env.step(env.action_space(env.agent_selection).sample())
            elif env.agents:
                for agent in env.agents:
                    env.action_space(agent).seed(t)
                env.step({agent: env.action_space(agent).sample() for agent in env.agents})
        return env.state(), states

    (one, _), (two, states) = play(False), play(True)
    assert np.array_equal(one, two)
    assert len({state.tobytes() for state in states}) > 3


@pytest.mark.parametrize("form", [tosc_env.aec_env, tosc_env.parallel_env])
def test_a_wrapper_finds_a_generator_that_follows_the_seed(form):
    """SuperSuit's frame_skip draws from ``env.unwrapped.np_random``."""
    env = form("ToSC-Shapes-v0", **OPTIONS)

    def draws(seed):
        env.reset(seed=seed)
        return env.unwrapped.np_random.integers(2**40, size=4).tolist()

    first, more = draws(np.int64(7)), draws(None)
    assert draws(7) == first != draws(8)
    assert draws(7) == first and draws(None) == more, "without a seed it goes on"

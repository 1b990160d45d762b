"""Run by test_digits.py in an interpreter that finds a stranger's data set: every form of environment, by name.

Arguments: the checkpoints of a scheme and an attacker, as ``tosc train`` and ``tosc attack`` wrote them.
"""

from __future__ import annotations

import json
import pickle
import sys
import warnings

import gymnasium as gym
import numpy as np
import torch

import tosc_env
from tosc_env.registration import environments

BY_DATA, BY_ID = ("ToSC-Shapes-v0", {"data": "digits"}), ("ToSC-Digits-v0", {})
ROLES = ("transmitter", "receiver", "eavesdropper")


def play(id: str, options: dict, scheme: object, eavesdropper: str) -> dict[str, object]:
    """One message in every form: the shapes of what is seen and done, and the PSNR in dB."""
    seen: dict[str, object] = {}
    for role in ROLES:
        attacker = {} if role == "eavesdropper" else {"eavesdropper": eavesdropper}
        players = {"role": role, "scheme": scheme, "split": "test", **attacker, **options}
        single = gym.make(id, render_mode="rgb_array", **players)
        observation, _ = single.reset(seed=0)
        action, kept = single.action_space.sample(), pickle.dumps(single)
        assert len(pickle.dumps(single.unwrapped.session.game.source)) < 1000, "the images stay at home"
        *_, info = single.step(action)
        assert pickle.loads(kept).step(action)[4] == info
        vector = gym.make_vec(id, num_envs=3, **players)
        rows, _ = vector.reset(seed=0)
        vector.step(torch.as_tensor(vector.action_space.sample()))
        seen[role] = {
            "single": {key: np.shape(value) for key, value in observation.items()},
            "vector": {key: tuple(value.shape) for key, value in rows.items()},
            "figures": [info["stand_in"], info["psnr_db"]],
            "picture": np.shape(single.render())[2],
        }
    turns = tosc_env.aec_env(id, split="test", max_cycles=1, **options)
    turns.reset(seed=0)
    for agent in turns.agent_iter():
        _, _, terminated, truncated, info = turns.last()
        turns.step(None if terminated or truncated else turns.action_space(agent).sample())
    seen["aec"] = info["psnr_db"]
    parallel = tosc_env.parallel_env(id, split="test", max_cycles=2, **options)
    parallel.reset(seed=0)
    while parallel.agents:
        *_, infos = parallel.step({agent: parallel.action_space(agent).sample() for agent in parallel.agents})
    seen["parallel"] = infos["eavesdropper_0"]["psnr_db"]
    return seen


def main(scheme: str, eavesdropper: str) -> None:
    declared = environments()["ToSC-Digits-v0"], "tosc_digits" in sys.modules
    fresh = tosc_env.make_scheme("deepjscc", tosc_env.SystemSpec((1, 28, 28), 10))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        played = [play(*BY_DATA, fresh, eavesdropper), play(*BY_ID, scheme, eavesdropper)]
    print(json.dumps({"declared": declared, "played": played}))


if __name__ == "__main__":
    main(*sys.argv[1:])

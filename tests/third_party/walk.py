"""Run by test_walk.py in an interpreter that finds the strangers' packages: every form, by name and by file.

Arguments: the checkpoints of the strangers' scheme and attacker, as ``tosc train`` and ``tosc attack`` wrote them.
"""

from __future__ import annotations

import json
import pickle
import sys

import gymnasium as gym
import numpy as np
import torch
from tosc_agents import LoopConfig, SchemeTraining, evaluate, fit_eavesdropper, fit_scheme

import tosc_env
from tosc_env import testing
from tosc_env.registration import environments

TRAINING = SchemeTraining(LoopConfig(epochs=1, batch_size=50, learning_rate=0.01, precision="float32"))
NETWORK = {"stem": 4, "widths": (4, 8), "blocks": (0, 0), "receiver_width": 16}


def play(scheme: str, eavesdropper: str) -> dict[str, object]:
    """The strangers' parts in every role and form, beside ours."""
    seen: dict[str, object] = {}
    for name, options in {
        "file": {"scheme": scheme},
        "file under ours": {"scheme": scheme, "stages": ["keyed", {"name": "laplace", "epsilon": 50.0}]},
        "ours under theirs": {"scheme": "lbvq", "stages": ["negate"]},
    }.items():
        env = gym.make("ToSC-Shapes-v0", role="eavesdropper", split="test", **options)
        seen[name] = env.reset(seed=0)[0]["received"].tolist()[:4]
        envs = gym.make_vec(
            "ToSC-Shapes-v0", num_envs=2, role="receiver", eavesdropper=eavesdropper, **options
        )
        envs.reset(seed=0)
        envs.step(torch.zeros(2, dtype=torch.int64))
    seen |= {"aec": in_turns(scheme, eavesdropper), "parallel": at_once(scheme, eavesdropper)}
    return seen | {"by name": by_name()}


def by_name() -> list[str]:
    """The scheme and the attacker of the strangers' own zoo, with nothing but their names; who they are."""
    names = {"scheme": "thumb", "eavesdropper": "ridge"}
    env = gym.make("ToSC-Shapes-v0", role="receiver", split="test", **names)
    env.reset(seed=0)
    again = pickle.loads(pickle.dumps(env))
    info = env.step(0)[-1]
    assert info["psnr_db"] > 5 and again.step(0)[-1] == info
    envs = gym.make_vec("ToSC-Shapes-v0", num_envs=2, role="transmitter", split="test", **names)
    envs.reset(seed=0)
    envs.step(torch.zeros(2, 128))
    gym.make("ToSC-Shapes-v0", role="eavesdropper", scheme="thumb", stages=["negate"]).reset(seed=0)
    scheme = tosc_env.load_scheme("thumb", "ToSC-Shapes-v0")
    loaded = (scheme.backbone, tosc_env.load_eavesdropper("ridge", "ToSC-Shapes-v0", scheme=scheme))
    return [f"{type(one).__module__}:{type(one).__qualname__}" for one in loaded]


class Players:
    """The strangers' scheme, behind a stage of theirs, and their attacker, as agents from outside."""

    def __init__(self, scheme: str, eavesdropper: str) -> None:
        key = {"key": "11" * 32}
        self.scheme = tosc_env.load_checkpoint(scheme, stages=["negate"], options=key).policy
        self.eavesdropper = tosc_env.load_checkpoint(eavesdropper).policy

    @torch.no_grad()
    def act(self, agent: str, observation: dict) -> np.ndarray | int:
        """The action of one agent on what it sees."""
        seen = {key: torch.from_numpy(value)[None] for key, value in observation.items()}
        context = tosc_env.Context(seen["csi"][:, 0], torch.zeros(1, 5, dtype=torch.int64))
        if agent == "transmitter_0":
            return self.scheme.encode(seen["image"], context)[0].numpy()
        if agent == "receiver_0":
            return int(self.scheme.decode(seen["received"], seen["csi"], context).argmax())
        return self.eavesdropper.reconstruct(seen["received"], seen["csi"])[0].numpy()


def in_turns(scheme: str, eavesdropper: str) -> float:
    """One message in the turn-based form; what the attacker saw, PSNR in dB."""
    env, players = (
        tosc_env.aec_env("ToSC-Shapes-v0", split="test", max_cycles=1),
        Players(scheme, eavesdropper),
    )
    env.reset(seed=0)
    for agent in env.agent_iter():
        observation, _, terminated, truncated, info = env.last()
        env.step(None if terminated or truncated else players.act(agent, observation))
    return float(info["psnr_db"])


def at_once(scheme: str, eavesdropper: str) -> float:
    """The same message where all act at once: the answers come a step after the symbols."""
    env = tosc_env.parallel_env("ToSC-Shapes-v0", split="test", max_cycles=2)
    players = Players(scheme, eavesdropper)
    observations, _ = env.reset(seed=0)
    while env.agents:
        acts = {agent: players.act(agent, observations[agent]) for agent in env.agents}
        observations, _, _, _, infos = env.step(acts)
    return float(infos["eavesdropper_0"]["psnr_db"])


def jammed() -> dict[str, object]:
    """The stranger's channel by name: played in both forms, a scheme trained and attacked over it, its field kept."""
    rules = {"channel": "jammed", "channel_kwargs": {"share": 0.3}}
    scheme = tosc_env.make_scheme("thumb")
    game = tosc_env.GameConfig("shapes", {"num_images": 400}, **rules).game(half="system")
    fit_scheme(scheme, game, TRAINING, objectives=["task"])
    attacked = tosc_env.GameConfig("shapes", {"num_images": 400}, **rules).game(half="attacker")
    attacker, _ = fit_eavesdropper("ridge", attacked, scheme)
    leaks = evaluate(attacked, scheme, {"ridge": attacker}, seeds=1, with_ssim=False)
    steps = {}
    for form, env in {
        "one": gym.make("ToSC-Shapes-v0", role="receiver", scheme=scheme, eavesdropper=attacker, **rules),
        "many": gym.make_vec(
            "ToSC-Shapes-v0", num_envs=3, role="receiver", scheme=scheme, eavesdropper=attacker, **rules
        ),
    }.items():
        env.reset(seed=0)
        told = [env.step(0 if form == "one" else torch.zeros(3, dtype=torch.int64)) for _ in range(2)]
        steps[form] = sum(bool(np.all(np.asarray(info["psnr_db"]) > 0)) for *_, info in told)
        session = env.unwrapped.session
        # A partial reset mixes old links and new ones, row by row.
        session.reset(mask=np.arange(session.num_envs) == 0)
        field = type(session.present.round.links["eavesdropper"]).__name__
    return {"field": field, "psnr_db": leaks.leaks["ridge"][12.0]["psnr_db"].mean, "steps": steps}


def digits() -> dict[str, object]:
    """The stranger's data set under our id and under its own: what each role sees, in every form."""
    found: dict[str, object] = {"declared": (environments()["ToSC-Digits-v0"], "tosc_digits" in sys.modules)}
    scheme = tosc_env.make_scheme("deepjscc", tosc_env.SystemSpec((1, 28, 28), 10))
    for id, options in (("ToSC-Shapes-v0", {"data": "digits"}), ("ToSC-Digits-v0", {})):
        seen: dict[str, object] = {}
        for role in ("transmitter", "receiver", "eavesdropper"):
            attacker = {} if role == "eavesdropper" else {"eavesdropper": "mean-image"}
            players = {"role": role, "scheme": scheme, "split": "test", **attacker, **options}
            env = gym.make(id, render_mode="rgb_array", **players)
            seen[role] = {key: np.shape(value) for key, value in env.reset(seed=0)[0].items()}
            action, kept = env.action_space.sample(), pickle.dumps(env)
            assert len(pickle.dumps(env.unwrapped.session.game.source)) < 1000, "the images stay at home"
            info = env.step(action)[-1]
            assert pickle.loads(kept).step(action)[-1] == info, "as a copy that is taken elsewhere would"
            assert info["stand_in"] == 0 and np.shape(env.render())[2] == 3
            gym.make_vec(id, num_envs=3, **players).reset(seed=0)
        tosc_env.aec_env(id, split="test", **options).reset(seed=0)
        seen["agents"] = len(tosc_env.parallel_env(id, split="test", **options).reset(seed=0)[0])
        found[id] = seen
    return found


def learn() -> dict[str, float]:
    """The strangers' parts trained, attacked and evaluated through the functions, combined with ours."""
    config = tosc_env.GameConfig("shapes", {"num_images": 400})
    found = {}
    for name, options, stages, objectives in (
        ("thumb", {}, ["negate", "keyed"], ["task", "humble"]),
        ("ibal", NETWORK, ["negate"], ["task", {"name": "humble", "weight": 0.1}, "bottleneck", "adversary"]),
        ("lbvq", NETWORK, ["negate", "keyed"], ["task", "codebook", "humble"]),
    ):
        scheme = tosc_env.make_scheme(name, stages=stages, **options)
        game = config.game(half="system", constellation=scheme.constellation)
        found[f"{name} size"] = fit_scheme(scheme, game, TRAINING, objectives=objectives)["size"]
        attacked = config.game(half="attacker", constellation=scheme.constellation)
        attacker, _ = fit_eavesdropper("ridge", attacked, scheme)
        test = config.game(split="test", constellation=scheme.constellation)
        leaks = evaluate(test, scheme, {"ridge": attacker}, seeds=1, with_ssim=False)
        found[f"{name} psnr"] = leaks.leaks["ridge"][12.0]["psnr_db"].mean
    return found


def check() -> None:
    """Every public checker that there is for what the strangers brought."""
    spec = tosc_env.SystemSpec((3, 32, 32), 10)
    testing.check_scheme(tosc_env.make_scheme("thumb", spec))
    testing.check_stage(tosc_env.make_stage("negate", spec))
    testing.check_objective(tosc_env.make_objectives("humble", spec)[0], tosc_env.make_scheme("thumb", spec))
    testing.check_channel(tosc_env.make_channel("jammed"))
    game = tosc_env.GameConfig("shapes", {"num_images": 400}).game(half="attacker")
    view = tosc_env.View(game, tosc_env.make_scheme("thumb", spec), tosc_env.ThreatModel(), torch.Generator())
    testing.check_eavesdropper(tosc_env.make_eavesdropper("ridge", game.spec), view)


if __name__ == "__main__":
    check()
    played = {"digits": digits(), "played": play(*sys.argv[1:]), "learnt": learn(), "jammed": jammed()}
    print(json.dumps(played))

"""Run by test_third_party.py in an interpreter that finds the stranger's package: environments and checkers, by name.

Arguments: the checkpoints of the stranger's scheme and eavesdropper, as ``tosc train`` and ``tosc attack`` wrote them.
"""

from __future__ import annotations

import json
import pickle
import sys

import gymnasium as gym
import torch

import tosc_env
from tosc_env import testing


def play(**options: object) -> dict[str, object]:
    """An episode of three messages; where its players come from, what was paid, and the channel's options."""
    env = gym.make("ToSC-Shapes-v0", role="receiver", split="test", max_cycles=3, **options)
    env.reset(seed=0)
    again = pickle.loads(pickle.dumps(env))
    steps = [env.step(0) for _ in range(3)]
    assert [info for *_, info in steps] == [again.step(0)[4] for _ in range(3)]
    session = env.unwrapped.session
    players = (session.system.scheme.backbone, *session.system.eavesdroppers.values(), session.game.channel)
    return {
        "players": [f"{type(player).__module__}:{type(player).__qualname__}" for player in players],
        "psnr_db": [info["psnr_db"] for *_, info in steps],
        "over": [terminated for _, _, terminated, _, _ in steps],
        "rate": session.game.channel.rate,
    }


def check() -> None:
    """Every public checker that there is for what the stranger brought."""
    source = tosc_env.make_source("shapes", half="attacker", num_images=400)
    game = tosc_env.Game(source, channel="stranger-channel")
    testing.check_channel(game.channel)
    for name in ("stranger-scheme", "stranger-fixed"):
        testing.check_scheme(tosc_env.make_scheme(name, game.spec))
    target = tosc_env.make_scheme("stranger-fixed", game.spec)
    view = tosc_env.View(game, target, tosc_env.ThreatModel(), torch.Generator().manual_seed(0))
    for name in ("stranger-eavesdropper", "stranger-instant"):
        testing.check_eavesdropper(tosc_env.make_eavesdropper(name, game.spec), view)


def main(scheme: str, eavesdropper: str) -> None:
    by_name = {"scheme": "stranger-fixed", "eavesdropper": "stranger-instant"}
    by_file = {"scheme": scheme, "eavesdropper": eavesdropper}
    channel = {"channel": "stranger-channel", "channel_kwargs": {"rate": 0.25}}
    check()
    print(json.dumps({"by_name": play(**by_name, **channel), "by_file": play(**by_file, **channel)}))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A reward of your own: registered by ``tosc_env.register_reward``, or any callable given as ``reward_fn=``.

By its name a reward takes its default options; with others it is given as an object. An installed package declares
``caught = "yourpackage:Caught"`` under the entry points ``tosc_env.rewards``, and ``gym.make(..., reward_fn="caught")``
knows it. A reward is paid by the referee: it sees image, answer and reconstruction, as no agent does.

Example: python examples/extending/reward.py --messages 4000
"""

from __future__ import annotations

import gymnasium as gym
import tyro
from torch import Tensor
from tosc_agents import fit_eavesdropper

import tosc_env


@tosc_env.register_reward("caught")
class Caught:
    """Privacy as a line not to be crossed: whoever is seen at ``limit_db`` or better earns nothing for the task.

    Args:
        limit_db: the PSNR from which on an image counts as seen.
    """

    def __init__(self, limit_db: float = 15.0) -> None:
        self.limit_db = limit_db

    def __call__(self, outcome: tosc_env.Outcome) -> dict[str, Tensor]:
        seen = (outcome.psnr_db >= self.limit_db).float()
        system = outcome.score * (1.0 - seen)
        return {"transmitter": system, "receiver": system, "eavesdropper": seen}


def main(messages: int = 1000, queries: int = 2000, snr_db: float = 12.0) -> None:
    """Play a linear attacker that spent so many queries on so many test messages, under three rewards."""
    train = tosc_env.GameConfig("shapes", snr_db=snr_db).game(half="attacker")
    scheme = tosc_env.load_scheme("deepjscc", train)
    threat = tosc_env.ThreatModel(queries=queries)
    attacker, _ = fit_eavesdropper("linear", train, scheme, threat=threat)
    for told, reward in (
        ("the default", None),
        ("caught", "caught"),
        ("caught at 18 dB", Caught(limit_db=18.0)),
    ):
        env = gym.make_vec(
            "ToSC-Shapes-v0",
            num_envs=messages,
            role="eavesdropper",
            scheme=scheme,
            reward_fn=reward,
            snr_db=snr_db,
            split="test",
        )
        observation, _ = env.reset(seed=0)
        reconstruction = attacker.reconstruct(observation["received"], observation["csi"])
        _, paid, _, _, info = env.step(reconstruction)
        print(f"{told}: the attacker earns {paid.mean():+.3f} at {info['psnr_db'].mean():.2f} dB")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

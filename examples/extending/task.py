"""A task of your own: registered by ``tosc_env.register_task``, here an ordered attribute with credit for near misses.

An installed package declares ``ordered = "yourpackage:Ordered"`` under the entry points ``tosc_env.tasks``, and
``gym.make(..., task="ordered", task_kwargs=...)`` and ``tosc train ... --task ordered`` know it.

Example: python examples/extending/task.py --name size
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
import tyro
from gymnasium import spaces
from torch import Tensor
from tosc_agents import LoopConfig, SchemeTraining, evaluate, fit_scheme

import tosc_env


@tosc_env.register_task("ordered")
class Ordered(tosc_env.Task):
    """The place of an attribute's value in its order; the score falls from 1 in proportion to the distance.

    The logits are a choice of one value, but it is the median of what they say that is answered.
    """

    def __init__(self, source: tosc_env.Source, name: str) -> None:
        self.column = source.attribute_names.index(name)
        self.labels = source.attribute_values[self.column]
        self.num_outputs = len(self.labels)
        # Of always answering the middle when all values are equally frequent.
        middle = self.num_outputs // 2
        self.chance = float(self.score(torch.tensor(middle), torch.arange(self.num_outputs)).mean())

    def targets(self, batch: tosc_env.Batch) -> Tensor:
        return batch.attributes[:, self.column]

    def decide(self, logits: Tensor) -> Tensor:
        return (logits.softmax(-1).cumsum(-1) < 0.5).sum(-1).clamp_max(self.num_outputs - 1)

    def loss(self, logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        return torch.nn.functional.cross_entropy(logits.float(), targets, label_smoothing=label_smoothing)

    def score(self, decision: Tensor, targets: Tensor) -> Tensor:
        return 1.0 - (decision - targets).abs().float() / (self.num_outputs - 1)

    def space(self) -> spaces.Space[Any]:
        return spaces.Discrete(self.num_outputs)


def main(name: str = "size", num_images: int = 1600, epochs: int = 4, snr_db: float = 12.0) -> None:
    """Train a small DeepJSCC for an attribute of so many Shapes, and answer the middle in the receiver's place."""
    config = tosc_env.GameConfig(
        "shapes", {"num_images": num_images}, task="ordered", task_kwargs={"name": name}, snr_db=snr_db
    )
    game = config.game(half="system")
    torch.manual_seed(0)
    scheme = tosc_env.make_scheme("deepjscc", game.spec, stem=8, widths=(16, 32, 64), blocks=(0, 0, 0))
    loop = LoopConfig(epochs=epochs, batch_size=25, learning_rate=0.03)
    fit_scheme(scheme, game, SchemeTraining(loop, pad=2, flip=False, cutout=0))
    found = evaluate(config.game(split="test"), scheme, {}, snr_db=(snr_db,), seeds=1)
    env = gym.make_vec(
        "ToSC-Shapes-v0",
        num_envs=1000,
        role="receiver",
        scheme=scheme,
        eavesdropper="mean-image",
        task="ordered",
        task_kwargs={"name": name},
        split="test",
    )
    env.reset(seed=0)
    _, _, _, _, info = env.step(torch.full((1000,), game.task.num_outputs // 2))
    print(f"{name} ({', '.join(game.task.labels)}): score {found.accuracy[snr_db].mean:.3f} trained")
    print(f"always the middle: {info['accuracy'].mean():.3f} (expected {game.task.chance:.3f})")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

"""A scheme of your own: registered by ``tosc_env.register_scheme``, here with a thumbnail and a linear receiver.

An installed package needs no decorator: ``thumbnail = "yourpackage:Thumbnail"`` under the entry points
``tosc_env.schemes`` of its pyproject.toml, and ``tosc train thumbnail`` and ``gym.make(..., scheme=...)`` know it.

Example: python examples/extending/scheme.py --epochs 5
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor
from tosc_agents import LoopConfig, SchemeTraining, evaluate, fit_scheme

import tosc_env


@tosc_env.register_scheme("thumbnail")
class Thumbnail(tosc_env.PrivacyScheme):
    """The image, made small; the game sees to the power and the channel."""

    name = "thumbnail"

    def __init__(self, spec: tosc_env.SystemSpec, *, side: int = 6, hidden: int = 128) -> None:
        # Options go to the base class as plain values: a checkpoint keeps them and builds the scheme from them.
        super().__init__(spec, side=side, hidden=hidden)
        if spec.image_shape[0] * side**2 > 2 * spec.num_symbols:
            raise tosc_env.InputError(f"a side of {side} does not fit into {spec.num_symbols} channel uses.")
        self.side = side
        self.receiver = torch.nn.Sequential(
            torch.nn.Linear(2 * spec.num_symbols, hidden),
            torch.nn.ReLU(),
            torch.nn.Linear(hidden, spec.num_outputs),
        )

    def encode(self, images: Tensor, context: tosc_env.Context) -> Tensor:
        small = F.adaptive_avg_pool2d(images - 0.5, self.side).flatten(1)
        return F.pad(small, (0, 2 * self.spec.num_symbols - small.shape[1]))

    def decode(self, received: Tensor, csi: Tensor, context: tosc_env.Context) -> Tensor:
        return self.receiver(received)


def main(epochs: int = 10, num_images: int = 2000, snr_db: float = 12.0) -> None:
    """Check the scheme, train it for some epochs on half of num_images Shapes, and measure its accuracy."""
    config = tosc_env.GameConfig("shapes", {"num_images": num_images}, snr_db=snr_db)
    game = config.game(half="system")
    torch.manual_seed(0)
    scheme = tosc_env.make_scheme("thumbnail", game.spec, hidden=256)
    tosc_env.testing.check_scheme(scheme)
    loop = LoopConfig(epochs=epochs, batch_size=50, learning_rate=0.02)
    fit_scheme(scheme, game, SchemeTraining(loop, pad=0, flip=False, cutout=0))
    test = config.game(split="test")
    found = evaluate(test, scheme, {}, snr_db=(snr_db,), seeds=1)
    print(f"accuracy {found.accuracy[snr_db].mean:.1%} at {snr_db:g} dB (chance {test.task.chance:.0%})")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

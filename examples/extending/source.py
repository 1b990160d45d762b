"""Your own images: registered by ``tosc_env.register_source`` and ``tosc_env.register_env``.

Arrays alone need no name: ``gym.make(..., source=tosc_env.Source.from_arrays(images, labels, name="mine"))``. Under
a name they also work in ``tosc train --data gratings`` and in checkpoints. An installed package declares
``gratings = "yourpackage:load_gratings"`` under the entry points ``tosc_env.sources``, and registers its
environment id when it is imported: ``gym.make("yourpackage:ToSC-Gratings-v0")``.

Example: python examples/extending/source.py --num-images 2000
"""

from __future__ import annotations

import math

import gymnasium as gym
import torch
import tyro
from tosc_agents import LoopConfig, SchemeTraining, fit_scheme

import tosc_env


@tosc_env.register_source("gratings")
def load_gratings(split: str = "train", num_images: int = 1000) -> tosc_env.Source:
    """Stripes in one of four directions (the class), of one of three widths (private), on 16x16 pixels.

    Always the whole split: halves and devices are seen to by ``tosc_env.make_source``.
    """
    stream = torch.Generator().manual_seed(["train", "test"].index(split))
    labels = torch.arange(num_images) % 4
    widths = torch.randint(3, (num_images,), generator=stream)
    phase, shade, noise = (torch.rand(num_images, *s, generator=stream) for s in ((1, 1), (1, 1), (16, 16)))
    angle = (labels * (math.pi / 4))[:, None, None]
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    wave = (x * angle.cos() + y * angle.sin()) / (3.0 + 2.0 * widths)[:, None, None] + phase
    grey = 0.5 + (0.2 + 0.25 * shade) * torch.sin(2.0 * math.pi * wave) + 0.1 * (noise - 0.5)
    return tosc_env.Source.from_arrays(
        (grey.clamp(0.0, 1.0)[:, None] * 255).byte(),
        labels,
        name="gratings",
        split=split,
        class_names=("upright", "rising", "level", "falling"),
        attributes=widths[:, None],
        attribute_names=("width",),
        attribute_values=(("narrow", "medium", "wide"),),
        # A test split is measured against the training images: floors and mean image are theirs.
        training=None if split == "train" else (lambda: load_gratings("train").statistics),
        provenance=f"Gratings (procedural, {num_images:,} {split} images).",
    )


tosc_env.register_env("ToSC-Gratings-v0", "gratings", num_symbols=16)


def main(num_images: int = 1000, epochs: int = 2, snr_db: float = 12.0) -> None:
    """Train a small DeepJSCC on half of so many images, and play it by the new environment's id."""
    config = tosc_env.GameConfig("gratings", {"num_images": num_images}, num_symbols=16, snr_db=snr_db)
    game = config.game(half="system")
    torch.manual_seed(0)
    scheme = tosc_env.make_scheme("deepjscc", game.spec, stem=8, widths=(16, 32), blocks=(1, 1))
    loop = LoopConfig(epochs=epochs, batch_size=25)
    fit_scheme(scheme, game, SchemeTraining(loop, pad=1, flip=False, cutout=0))
    env = gym.make_vec(
        "ToSC-Gratings-v0",
        num_envs=1000,
        role="eavesdropper",
        scheme=scheme,
        snr_db=snr_db,
        split="test",
    )
    env.reset(seed=0)
    _, _, _, _, info = env.step(torch.full(env.action_space.shape, 0.5))
    print(f"{game.source.provenance} Accuracy on test images {info['accuracy'].mean():.1%} (chance 25%)")
    print(f"showing grey gives {info['psnr_db'].mean():.2f} dB")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

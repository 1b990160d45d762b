"""An attacker of your own, from the class to its reward in the environment.

It remembers its training images with the symbols they are sent as, and shows their average, each weighted by how
likely its symbols explain what was heard. Were its images the only ones ever sent, that would be the best guess
there is; for others, ``softness`` says how far a stranger's symbols may lie from those of an image that looks alike.

Example: python examples/custom_attacker.py --remember 2000
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
import tyro
from torch import Tensor

import tosc_env


@tosc_env.register_eavesdropper("likely-neighbours")
class LikelyNeighbours(tosc_env.Eavesdropper):
    """Average of remembered images, weighted by ``exp(-|y - s|^2 / (N0 + softness))``.

    Args:
        spec: the system's shapes.
        remember: how many images to have sent and to keep.
        softness: added to the noise power, above 0.
    """

    name = "likely-neighbours"

    def __init__(self, spec: tosc_env.SystemSpec, *, remember: int = 1000, softness: float = 4.0) -> None:
        # Options go to the base class as plain values: a checkpoint keeps them, and never this class's import path.
        super().__init__(spec, remember=remember, softness=softness)
        self.softness = softness
        self.register_buffer("symbols", torch.zeros(remember, 2 * spec.num_symbols))
        self.register_buffer("images", torch.full((remember, *spec.image_shape), 0.5))

    def fit(self, view: tosc_env.View, *, generator: torch.Generator, progress: Any = None) -> dict[str, Any]:
        """The view holds what the threat model allows and counts each image the encoder is asked to send."""
        count = min(len(self.symbols), view.num_images)
        chosen = torch.randperm(view.num_images, generator=generator, device=view.device)[:count]
        # Fewer images than places are remembered several times, so that the shapes stay those of the options.
        chosen = chosen[torch.arange(len(self.symbols), device=view.device) % count]
        self.symbols, self.images = view.symbols(chosen), view.images(chosen)
        return {"images": count}

    def reconstruct(self, received: Tensor, csi: Tensor) -> Tensor:
        """The first number of the CSI is the eavesdropper's own SNR in dB."""
        noise = 10.0 ** (-csi[:, :1] / 10.0)
        distance = torch.cdist(received, self.symbols, compute_mode="donot_use_mm_for_euclid_dist").square()
        weights = torch.softmax(-distance / (noise + self.softness), dim=1)
        return (weights @ self.images.flatten(1)).clamp(0.0, 1.0).unflatten(1, self.spec.image_shape)


@dataclass
class Arguments:
    """Fit the attacker, check it, and play it in the environment."""

    scheme: str = "deepjscc"
    """The system under attack: a name in the zoo ('tosc list')."""
    remember: int = 1000
    """Images the attacker has sent and remembers."""
    softness: float = 4.0
    """Tolerance of its weights."""
    messages: int = 320
    """How many test messages to play."""
    snr_db: float = 12.0
    """Es/N0 of both links in dB."""
    seed: int = 0
    """Of the attacker's choice and of the episodes."""


def play(eavesdropper: Any, arguments: Arguments) -> tuple[float, float]:
    """Mean q and PSNR of an attacker over test messages, through ``gym.make``.

    The role played from outside is the receiver's, which answers anything; its observations are its own link's.
    """
    env = gym.make(
        "ToSC-Shapes-v0",
        role="receiver",
        scheme=arguments.scheme,
        eavesdropper=eavesdropper,
        snr_db=arguments.snr_db,
        # The receiver's reward is its score minus q: with the score taken off, minus what the attacker is paid.
        privacy_weight=1.0,
        split="test",
        max_cycles=arguments.messages,
    )
    env.reset(seed=arguments.seed)
    q, psnr, terminated = 0.0, 0.0, False
    while not terminated:
        _, reward, terminated, _, info = env.step(0)
        q += info["accuracy"] - float(reward)
        psnr += info["psnr_db"]
    env.close()
    return q / arguments.messages, psnr / arguments.messages


def main(arguments: Arguments) -> None:
    """Fit, check, play."""
    game = tosc_env.Game(tosc_env.make_source("shapes", half="attacker"), snr_db=arguments.snr_db)
    scheme = tosc_env.load_scheme(arguments.scheme, game)
    channel, own = (torch.Generator().manual_seed(2 * arguments.seed + k) for k in range(2))
    view = tosc_env.View(game, scheme, tosc_env.ThreatModel(queries=arguments.remember), channel)

    attacker = tosc_env.make_eavesdropper(
        "likely-neighbours", game.spec, remember=arguments.remember, softness=arguments.softness
    )
    record = attacker.fit(view, generator=own)
    tosc_env.testing.check_eavesdropper(attacker)
    print(
        f"fitted on {record['images']} images with {view.queries} queries, and the checker has no complaint"
    )

    for name, eavesdropper in (("likely-neighbours", attacker), ("mean-image", "mean-image")):
        q, psnr = play(eavesdropper, arguments)
        print(f"{name:>18}: q {q:+.3f}, PSNR {psnr:.2f} dB over {arguments.messages} messages")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))

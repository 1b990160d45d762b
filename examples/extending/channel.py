"""A channel of your own: registered by ``tosc_env.register_channel``, here with fading by shadows.

A channel draws all its random numbers first and then applies them, so that rounds can be repeated and gradients pass.
An installed package declares ``shadowed = "yourpackage:Shadowed"`` under the entry points ``tosc_env.channels``, and
``gym.make(..., channel="shadowed")`` and ``tosc train ... --channel shadowed`` know it.

Example: python examples/extending/channel.py --snr-db 6
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import gymnasium as gym
import torch
import tyro
from torch import Tensor

import tosc_env


@tosc_env.register_channel("shadowed")
class Shadowed(tosc_env.Channel):
    """One gain per message and pair of antennas, log-normal in size and uniform in phase, E|h|^2 = 1.

    Args:
        spread_db: standard deviation of the gain in dB.
    """

    def __init__(self, *, spread_db: float = 4.0, equaliser: str | None = "mmse") -> None:
        super().__init__(equaliser=equaliser)
        if not 0.0 <= spread_db <= 6.0:
            raise tosc_env.InputError(f"spread_db must be a number in [0, 6], not {spread_db!r}.")
        # Of the logarithm of |h|; E|h|^2 = exp(2 s^2) is then divided out.
        self.spread = spread_db * math.log(10.0) / 20.0

    def draw_fades(
        self,
        sizes: Sequence[tuple[int, int, int, int]],
        generator: torch.Generator | None,
        device: torch.device,
    ) -> list[Tensor]:
        fades = []
        for size in sizes:  # rows, antennas of a node, antennas of the transmitter, fades
            normal = torch.randn(size, generator=generator, device=device)
            phase = torch.rand(size, generator=generator, device=device) * (2.0 * math.pi)
            fades.append(torch.polar(torch.exp(self.spread * normal - self.spread**2), phase))
        return fades


def main(snr_db: float = -3.0, messages: int = 1000) -> None:
    """Check the channel, and send so many test messages at an SNR in dB over it and over AWGN."""
    tosc_env.testing.check_channel(tosc_env.make_channel("shadowed"))
    # Weights trained over AWGN; given as an object, a scheme is played over any channel.
    scheme = tosc_env.load_scheme("deepjscc", "ToSC-Shapes-v0")
    for channel, options in (
        ("awgn", {}),
        ("shadowed", {"spread_db": 2.0}),
        ("shadowed", {"spread_db": 6.0}),
    ):
        env = gym.make_vec(
            "ToSC-Shapes-v0",
            num_envs=messages,
            role="eavesdropper",  # the scheme plays both ends of the legitimate link
            scheme=scheme,
            channel=channel,
            channel_kwargs=options,
            snr_db=snr_db,
            split="test",
        )
        env.reset(seed=0)
        _, _, _, _, info = env.step(torch.full(env.action_space.shape, 0.5))
        print(f"{channel} {options or ''}: the receiver is right {info['accuracy'].mean():.1%} of the time")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

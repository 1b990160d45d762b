"""Small games for the checkers: channels that fit a CSI length, and a source of noise images."""

from __future__ import annotations

import torch
from torch import Tensor

from tosc_env.channels import Channel
from tosc_env.channels.flat import AWGN, Rayleigh
from tosc_env.data.base import Source
from tosc_env.game import Game
from tosc_env.pipeline import Pipeline
from tosc_env.testing.laws import generator
from tosc_env.types import Context, Link, Round, SystemSpec


def unit_csi(snr_db: Tensor, length: int) -> Tensor:
    """CSI [B, length] of the SNR and gains of 1."""
    gains = [torch.full_like(snr_db, float(i % 2 == 0)) for i in range(length - 1)]
    return torch.stack([snr_db, *gains], dim=1)


class UnitGain(AWGN):
    """AWGN for a scheme that expects the CSI of a fading link: its gains are known to be 1."""

    def __init__(self, num_csi: int) -> None:
        super().__init__()
        self._length = num_csi

    def num_csi(self, num_symbols: int) -> int:
        return self._length

    def csi(self, link: Link) -> Tensor:
        return unit_csi(link.snr_db, self._length)


def channels_for(spec: SystemSpec) -> dict[str, Channel]:
    """By name: AWGN, and Rayleigh if some coherence gives as many CSI numbers as the spec says."""
    found: dict[str, Channel] = {"AWGN": UnitGain(spec.num_csi)}
    for coherence in range(1, spec.num_symbols + 1):
        channel = Rayleigh(coherence=coherence)
        if channel.num_csi(spec.num_symbols) == spec.num_csi:
            return {**found, "Rayleigh": channel}
    return found


def noise_game(scheme: Pipeline, channel: Channel, device: torch.device | str) -> Game:
    """A game for a scheme on as many noise images as its classes need, with balanced labels."""
    spec = scheme.spec
    count = max(32, 2 * spec.num_outputs)
    images = torch.randint(0, 256, (count, *spec.image_shape), dtype=torch.uint8, generator=generator(count))
    labels = torch.arange(count) % spec.num_outputs
    source = Source.from_arrays(images, labels, name="noise", device=device)
    return Game(source, channel=channel, num_symbols=spec.num_symbols, constellation=scheme.constellation)


def context_of(game: Game, round_: Round, seed: int) -> Context:
    """The context of a round, with a generator of that seed."""
    return game.context(round_, generator(seed, round_.snr_db.device))

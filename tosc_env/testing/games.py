"""The small games in which a scheme is checked: channels that fit its CSI, and a source of noise images."""

from __future__ import annotations

import torch
from torch import Tensor

from tosc_env.channels import Channel
from tosc_env.channels.flat import AWGN, Rayleigh
from tosc_env.data.base import Source
from tosc_env.testing.laws import generator
from tosc_env.types import Link, SystemSpec


class UnitGain(AWGN):
    """AWGN for a scheme that expects the CSI of a fading link: its gains are known to be 1."""

    def __init__(self, num_csi: int) -> None:
        super().__init__()
        self._length = num_csi

    def num_csi(self, num_symbols: int) -> int:
        return self._length

    def csi(self, link: Link, snr_db: Tensor) -> Tensor:
        columns = [snr_db] + [torch.full_like(snr_db, float(i % 2 == 0)) for i in range(self._length - 1)]
        return torch.stack(columns, dim=1)


def channels_for(spec: SystemSpec) -> dict[str, Channel]:
    """By name: AWGN, and Rayleigh if some coherence gives as many CSI numbers as the spec says."""
    found: dict[str, Channel] = {"AWGN": UnitGain(spec.num_csi)}
    for coherence in range(1, spec.num_symbols + 1):
        channel = Rayleigh(coherence=coherence)
        if channel.num_csi(spec.num_symbols) == spec.num_csi:
            return {**found, "Rayleigh": channel}
    return found


def noise_source(spec: SystemSpec, device: torch.device | str) -> Source:
    """As many noise images as the classes of ``spec`` need, uint8, with balanced labels."""
    count = max(32, 2 * spec.num_outputs)
    images = torch.randint(0, 256, (count, *spec.image_shape), dtype=torch.uint8, generator=generator(count))
    labels = torch.arange(count) % spec.num_outputs
    return Source.from_arrays(images, labels, name="noise", device=device)

"""A stranger's channel: a share of the noise comes from a jammer, whom all antennas of a node hear alike."""

from dataclasses import dataclass

import torch

import tosc_env
from tosc_env.types import Link


@dataclass(frozen=True)
class JammedLink(Link):
    jam: torch.Tensor


class Jammed(tosc_env.Channel):
    fading = False

    def __init__(self, *, share=0.5):
        super().__init__(equaliser=None)
        self.share = share

    def draw(self, snr_db, num_symbols, *, generator=None, **more):
        links = super().draw(snr_db, num_symbols, generator=generator, **more)
        return [self.jammed(link, generator) for link in links]

    def jammed(self, link, stream):
        size = link.noise[:, :1].shape
        jam = torch.randn(size, dtype=torch.complex64, generator=stream, device=link.noise.device)
        quiet = link.noise * (1 - self.share) ** 0.5
        return JammedLink(link.fades, quiet, link.snr_db, link.age, jam * self.share**0.5)

    def apply(self, waves, link):
        return super().apply(waves, link) + 10 ** (-link.snr_db[:, None, None] / 20) * link.jam

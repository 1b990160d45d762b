"""What a stranger might bring: two schemes, two attackers and a channel, on tosc-env's public API alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import tosc_env
from tosc_env.types import Link


class LinearScheme(tosc_env.PrivacyScheme):
    """One linear map at each end, to be trained."""

    name = "stranger-scheme"

    def __init__(self, spec: tosc_env.SystemSpec, *, bias: bool = True) -> None:
        super().__init__(spec, bias=bias)
        self.encoder = nn.Linear(math.prod(spec.image_shape), 2 * spec.num_symbols, bias=bias)
        self.decoder = nn.Linear(2 * spec.num_symbols, spec.num_outputs)

    def encode(self, images: Tensor, context: tosc_env.Context) -> Tensor:
        return self.encoder((images - 0.5).flatten(1))

    def decode(self, received: Tensor, csi: Tensor, context: tosc_env.Context) -> Tensor:
        return self.decoder(received)


class FixedScheme(tosc_env.PrivacyScheme):
    """Sends a thumbnail and always decides for the first class: there is nothing to train."""

    name = "stranger-fixed"

    def encode(self, images: Tensor, context: tosc_env.Context) -> Tensor:
        thumbnail = F.adaptive_avg_pool2d(images - 0.5, 4).flatten(1)
        numbers = 2 * self.spec.num_symbols
        return F.pad(thumbnail, (0, max(0, numbers - thumbnail.shape[1])))[:, :numbers]

    def decode(self, received: Tensor, csi: Tensor, context: tosc_env.Context) -> Tensor:
        return torch.eye(self.spec.num_outputs, device=received.device)[:1].expand(len(received), -1)


class Ridge(tosc_env.Eavesdropper):
    """Images as a linear function of receptions, by ridge regression."""

    name = "stranger-eavesdropper"

    def __init__(self, spec: tosc_env.SystemSpec, *, ridge: float = 1.0) -> None:
        super().__init__(spec, ridge=ridge)
        pixels = math.prod(spec.image_shape)
        self.register_buffer("weight", torch.zeros(2 * spec.num_symbols, pixels))
        self.register_buffer("offset", torch.full((pixels,), 0.5))

    def fit(self, view: tosc_env.View, *, generator: torch.Generator, progress: Any = None) -> dict[str, Any]:
        reception, images = view.sample(torch.arange(view.num_images, device=view.device))
        heard, pixels = reception.received, images.flatten(1)
        self.offset = pixels.mean(0)
        gram = heard.T @ heard + self.options["ridge"] * torch.eye(heard.shape[1], device=heard.device)
        self.weight = torch.linalg.solve(gram, heard.T @ (pixels - self.offset))
        return {"images": len(images)}

    def reconstruct(self, received: Tensor, csi: Tensor) -> Tensor:
        return (self.offset + received @ self.weight).clamp(0.0, 1.0).unflatten(1, self.spec.image_shape)


class Average(tosc_env.Eavesdropper):
    """Shows the mean image whatever it hears; ready at once."""

    name = "stranger-instant"
    instant = True

    def __init__(self, spec: tosc_env.SystemSpec) -> None:
        super().__init__(spec)
        self.register_buffer("image", torch.full(spec.image_shape, 0.5))

    def fit(self, view: tosc_env.View, *, generator: torch.Generator, progress: Any = None) -> dict[str, Any]:
        self.image = view.statistics.mean_image.clone()
        return {}

    def reconstruct(self, received: Tensor, csi: Tensor) -> Tensor:
        return self.image.expand(len(received), -1, -1, -1)


class Impulsive(tosc_env.Channel):
    """Gaussian noise that is now and then much louder, as near engines and switches; its mean power stays N0.

    Args:
        rate: the probability that a channel use is hit, in (0, 1).
        loudness: how many times the power of the quiet noise the loud one has, at least 1.
    """

    fading = False

    def __init__(self, *, rate: float = 0.1, loudness: float = 10.0) -> None:
        super().__init__(equaliser=None)
        if not (0.0 < rate < 1.0 and loudness >= 1.0):
            raise tosc_env.InputError(
                f"rate must lie in (0, 1) and loudness above 1, not {rate} and {loudness}."
            )
        self.rate = rate
        self.quiet = (1.0 + rate * (loudness - 1.0)) ** -0.5
        self.loud = self.quiet * loudness**0.5

    def draw(self, snr_db: Sequence[Tensor], num_symbols: int, **options: Any) -> list[Link]:
        """The impulses are drawn here, too: all randomness comes before :meth:`apply`."""
        links = super().draw(snr_db, num_symbols, **options)
        return [self._hit(link, options.get("generator")) for link in links]

    def _hit(self, link: Link, generator: torch.Generator | None) -> Link:
        drawn = torch.rand(link.noise.shape, generator=generator, device=link.noise.device)
        return replace(link, noise=link.noise * torch.where(drawn < self.rate, self.loud, self.quiet))

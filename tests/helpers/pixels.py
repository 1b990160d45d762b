"""A scheme that hides nothing but by compression, and stages that hide more: what attackers are tried on."""

from __future__ import annotations

import torch

from tosc_env.channels.base import mixed
from tosc_env.modulation import constellation_points, hard_decision, modulate
from tosc_env.schemes import PrivacyScheme, Stage


class Pixels(PrivacyScheme):
    """Random projections of the pixels; its receiver says nothing of interest."""

    name = "pixels"
    matrix: torch.Tensor

    def __init__(self, spec, *, seed=0):
        super().__init__(spec, seed=seed)
        size = torch.Size(spec.image_shape).numel()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("matrix", torch.randn(size, 2 * spec.num_symbols, generator=generator))

    def encode(self, images, context):
        return (images.flatten(1) - 0.5) @ self.matrix

    def decode(self, received, csi, context):
        return received[:, : self.spec.num_outputs]


def from_a_source(images):
    """The number of images [B, C, H, W] that are a source's, of whole 255ths; what a pipeline probes with is not."""
    levels = 255 * images
    return int(((levels - levels.round()).abs() < 1e-3).flatten(1).all(1).sum())


class Counted(Pixels):
    """A scheme that counts the images of a source that it has encoded."""

    asked = 0

    def encode(self, images, context):
        self.asked += from_a_source(images)
        return super().encode(images, context)


class Fresh(Stage):
    """Another order of the reals, or of a constellation's points, for every message; with ``signs`` other signs too."""

    name = "fresh"
    keyed = stochastic = True

    def __init__(self, spec, constellation=None, *, signs=False):
        super().__init__(spec, constellation, signs=signs)

    def protect(self, symbols, context):
        if self.options["signs"]:
            symbols = symbols * (torch.randint(2, symbols.shape, generator=context.generator) * 2 - 1)
        values = symbols.unflatten(1, (-1, 1 if self.constellation is None else 2))
        order = torch.rand(values.shape[:2], generator=context.generator).argsort(1)
        return values.gather(1, order[..., None].expand_as(values)).flatten(1)


class Noise(Stage):
    """Laplace noise of a scale, on symbols of mean square 1."""

    name = "noise"
    stochastic = True

    def __init__(self, spec, constellation=None, *, scale=0.5):
        super().__init__(spec, constellation, scale=scale)

    def protect(self, symbols, context):
        noise = torch.empty(2, *symbols.shape).exponential_(generator=context.generator)
        clean = symbols / symbols.square().mean(1, keepdim=True).sqrt()
        return clean + self.options["scale"] * (noise[0] - noise[1])


class Linear(Stage):
    """A matrix of the transmitter's, and one of the receiver's, that begins as its inverse; both are trained."""

    name = "linear-test"

    def __init__(self, spec, constellation=None):
        super().__init__(spec)  # whatever comes in, what goes out are no points
        size = 2 * spec.num_symbols
        start = torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(5))).Q
        self.there, self.back = torch.nn.Parameter(start), torch.nn.Parameter(start.T.clone())

    def protect(self, symbols, context):
        return symbols @ self.there

    def recover(self, received, csi, context):
        return received @ self.back

    def recover_gains(self, gains, csi, context):
        return mixed(gains, csi)


class Rounded(Stage):
    """Points of its own, whatever comes in; no gradient passes them, and none need."""

    name = "rounded-test"

    def __init__(self, spec, constellation=None):
        super().__init__(spec, "16qam")

    def protect(self, symbols, context):
        points = constellation_points("16qam", device=symbols.device)
        return modulate(hard_decision(symbols, points), points)

"""The building blocks that schemes and eavesdroppers share."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNorm(nn.Sequential):
    """3x3 convolution, batch norm, ReLU: [B, c, H, W] -> [B, d, H/stride, W/stride], rounded up."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, activation: bool = True) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        if activation:
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class ResidualBlock(nn.Module):
    """``relu(x + conv(conv(x)))``, shape-preserving; a fresh block is the identity, so that deep stacks train."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvNorm(channels, channels), ConvNorm(channels, channels, activation=False)
        )
        nn.init.zeros_(self.body[1][1].weight)  # type: ignore[index]

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


class ResidualMLP(nn.Module):
    """``depth`` residual layers of one width: layer norm, linear, ReLU, added to the input. [B, d] -> [B, d]."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(inplace=True))
            for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(x)
        return x


class ImageEncoder(nn.Module):
    """A residual convolutional network from images to feature vectors.

    ::

        [B, C, H, W] -> stem -> (stride-2 convolution -> residual blocks) x stages
                     -> mean over pixels -> linear -> [B, D]

    ``stem``: channels at full resolution; ``widths``, ``blocks``: channels and residual blocks of each stage.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        *,
        stem: int = 32,
        widths: tuple[int, ...] = (64, 128, 224),
        blocks: tuple[int, ...] = (1, 2, 1),
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [ConvNorm(channels, stem)]
        previous = stem
        for width, count in zip(widths, blocks, strict=True):
            layers.append(ConvNorm(previous, width, stride=2))
            layers.extend(ResidualBlock(width) for _ in range(count))
            previous = width
        self.convolutions = nn.Sequential(*layers)
        self.head = nn.Linear(previous, outputs)

    def forward(self, images: Tensor) -> Tensor:
        # Centred inputs: the first norm has less to undo, and the padding is mid-grey instead of black.
        x = (images - 0.5).contiguous(memory_format=torch.channels_last)
        return self.head(self.convolutions(x).mean((2, 3)))


class ImageDecoder(nn.Module):
    """A residual convolutional network from vectors to images.

    ::

        [B, D] -> linear -> [B, w0, H/8, W/8] (rounded up) -> residual block
               -> (nearest upsampling x2 -> conv, norm, LeakyReLU -> residual block) x 3
               -> conv -> cropped -> sigmoid -> [B, C, H, W]
    """

    def __init__(
        self, inputs: int, image_shape: tuple[int, int, int], *, widths: tuple[int, ...] = (256, 128, 64, 32)
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        scale = 2 ** (len(widths) - 1)
        self.sides = (height, width)
        self.start = (widths[0], -(-height // scale), -(-width // scale))
        self.project = nn.Linear(inputs, self.start[0] * self.start[1] * self.start[2])
        layers: list[nn.Module] = [ResidualBlock(widths[0])]
        for before, after in pairwise(widths):
            layers += [
                nn.Upsample(scale_factor=2, mode="nearest"),
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.LeakyReLU(0.1, inplace=True),
                ResidualBlock(after),
            ]
        self.convolutions = nn.Sequential(*layers, nn.Conv2d(widths[-1], channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(x).unflatten(1, self.start).contiguous(memory_format=torch.channels_last)
        height, width = self.sides
        return torch.sigmoid(self.convolutions(x)[..., :height, :width].float())


class UNet(nn.Module):
    """A U-Net (Ronneberger, Fischer, Brox, MICCAI 2015) with residual blocks, from vectors to images.

    ::

        [B, D] -> linear -> [B, w0, H/4, W/4] (rounded up) -> bilinear -> [B, w0, H, W]
               -> (residual block -> stride-2 convolution) x levels -> residual block
               -> (upsampling, beside what was there before -> convolution -> residual block) x levels
               -> conv -> sigmoid -> [B, C, H, W]
    """

    def __init__(
        self, inputs: int, image_shape: tuple[int, int, int], *, widths: tuple[int, ...] = (32, 64, 128)
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.sides = (height, width)
        self.start = (widths[0], -(-height // 4), -(-width // 4))
        self.project = nn.Linear(inputs, self.start[0] * self.start[1] * self.start[2])
        self.same = nn.ModuleList(ResidualBlock(size) for size in widths)
        self.down = nn.ModuleList(ConvNorm(a, b, stride=2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(
            nn.Sequential(ConvNorm(a + b, a), ResidualBlock(a)) for a, b in pairwise(widths)
        )
        self.out = nn.Conv2d(widths[0], channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(x).unflatten(1, self.start).contiguous(memory_format=torch.channels_last)
        x = self.same[0](F.interpolate(x, self.sides, mode="bilinear"))
        seen = []
        for down, same in zip(self.down, self.same[1:], strict=True):
            seen.append(x)
            x = same(down(x))
        for up, before in zip(reversed(self.up), reversed(seen), strict=True):
            x = up(torch.cat([before, F.interpolate(x, before.shape[2:], mode="nearest")], dim=1))
        return torch.sigmoid(self.out(x).float())


def scaled_snr(snr_db: Tensor) -> Tensor:
    """SNR in dB brought to about [-1, 1] over 0..20 dB, [B] -> [B, 1]: a number a network can digest."""
    return (snr_db[:, None] - 10.0) / 10.0


def scaled_log(value: Tensor, low: float, high: float) -> Tensor:
    """The logarithm of a positive value, brought to [-1, 1] over the range from ``low`` to ``high``."""
    first, last = math.log(low), math.log(high)
    return (2 * value.log() - first - last) / (last - first)

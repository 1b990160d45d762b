"""Image augmentation on the device, one draw per image, no loop over images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tosc_env.errors import InputError


def crop_flip_cutout(
    images: Tensor,
    generator: torch.Generator | None,
    *,
    pad: int = 4,
    flip: bool = True,
    cutout: int = 8,
    colour: float = 0.0,
) -> Tensor:
    """Shift, mirror, partly cover and recolour each image at random; float32 [B, C, H, W] in [0, 1], as the result.

    Args:
        images: on the generator's device.
        generator: the stream to draw from.
        pad: largest shift in pixels along each axis; what moves in is a reflection.
        flip: mirror half of the images left to right.
        cutout: side of the square that is set to mid-grey, 0 for none.
        colour: largest relative change of brightness, contrast and saturation.

    >>> crop_flip_cutout(torch.rand(2, 3, 32, 32), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 32, 32])
    """
    size, channels, height, width = images.shape
    device = images.device
    if pad >= min(height, width):
        raise InputError(
            f"images of {height}x{width} pixels cannot be shifted by {pad} in training: give larger images, or pad=0."
        )

    def draw(high: int) -> Tensor:
        return torch.randint(high, (size, 1), generator=generator, device=device)

    rows = torch.arange(height, device=device) + draw(2 * pad + 1)
    columns = torch.arange(width, device=device)
    if flip:
        mirrored = draw(2).bool()
        columns = torch.where(mirrored, columns.flip(0), columns)
    columns = columns + draw(2 * pad + 1)
    padded = F.pad(images, (pad,) * 4, mode="reflect") if pad else images
    stride = width + 2 * pad
    flat = (rows[:, :, None] * stride + columns[:, None, :]).flatten(1)[:, None].expand(-1, channels, -1)
    result = padded.flatten(2).gather(2, flat).unflatten(2, (height, width))
    if colour:
        result = _change_colour(result, generator, colour)
    if cutout:
        y, x = draw(height), draw(width)
        inside_y, inside_x = (
            (d >= -(cutout // 2)) & (d < cutout - cutout // 2)
            for d in (torch.arange(height, device=device) - y, torch.arange(width, device=device) - x)
        )
        hole = inside_y[:, None, :, None] & inside_x[:, None, None, :]
        result = result.masked_fill(hole, 0.5)
    return result


def _change_colour(images: Tensor, generator: torch.Generator | None, strength: float) -> Tensor:
    factors = torch.empty(3, len(images), 1, 1, 1, device=images.device)
    factors.uniform_(1 - strength, 1 + strength, generator=generator)
    brightness, contrast, saturation = factors
    grey = images.mean(1, keepdim=True)
    images = grey + saturation * (images - grey)
    mean = images.mean((1, 2, 3), keepdim=True)
    return (mean + contrast * (images - mean)).mul(brightness).clamp(0.0, 1.0)

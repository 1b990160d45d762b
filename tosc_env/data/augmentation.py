"""Changed copies of images, few and always the same ones, that an encoder can be asked about once each."""

from __future__ import annotations

import torch
from torch import Tensor

WAYS = 8
"""How many copies of an image there are, itself the first."""


def augment(images: Tensor, ways: Tensor) -> Tensor:
    """Change each image in one of :data:`WAYS` ways.

    An odd way mirrors it left to right; the ways 2k and 2k + 1 shift it by the k-th of four shifts, of a sixteenth of
    the shorter side along each axis. What moves in is a reflection. Way 0 leaves the image as it is.

    Args:
        images: [B, C, H, W].
        ways: int64 [B], from 0.

    Example:
        >>> image = torch.arange(4.0).expand(1, 1, 4, 4)
        >>> augment(image, torch.tensor([1]))[0, 0, 0]
        tensor([3., 2., 1., 0.])
    """
    height, width = images.shape[2:]
    by, shift = max(1, min(height, width) // 16), ways // 2
    # (0, 0), (1, -1), (-1, 1), (1, 1): no table, which would be copied to a GPU each time.
    down = by * ((shift == 1).long() + (shift == 3).long() - (shift == 2).long())
    right = by * ((shift == 2).long() + (shift == 3).long() - (shift == 1).long())
    rows = _reflected(torch.arange(height, device=images.device) - down[:, None], height)
    columns = _reflected(torch.arange(width, device=images.device) - right[:, None], width)
    columns = torch.where(ways[:, None] % 2 == 1, width - 1 - columns, columns)
    images = images.gather(2, rows[:, None, :, None].expand(images.shape))
    return images.gather(3, columns[:, None, None, :].expand(images.shape))


def _reflected(places: Tensor, count: int) -> Tensor:
    """Places beyond either end, mirrored at the end."""
    places = places.abs()
    return torch.minimum(places, 2 * (count - 1) - places).clamp_min(0)

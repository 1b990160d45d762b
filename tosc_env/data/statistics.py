"""Means of a training split: the reference of every reconstruction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

# 256 * 255**2 < 2**24: every partial sum of squares below is an integer that float32 holds exactly, so the
# result is the same on any device, for any thread count and any order of summation.
_CHUNK = 256


@dataclass(frozen=True)
class Statistics:
    """Means of a whole training split; images are in [0, 1].

    Attributes:
        mean_image: float32 [C, H, W].
        class_mean_images: float32 [K, C, H, W]; the mean image for a class without images.
        mean_image_mse: MSE of predicting the mean image, averaged over the training images: the M of the reward.
        channel_mean: float32 [C].
        channel_std: float32 [C], over all pixels of all images.
    """

    mean_image: Tensor
    class_mean_images: Tensor
    mean_image_mse: float
    channel_mean: Tensor
    channel_std: Tensor

    def to(self, device: str | torch.device) -> Statistics:
        """The same on ``device``."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        moved: dict[str, Any] = {name: value.to(device) for name, value in tensors.items()}
        return self if self.mean_image.device == torch.device(device) else replace(self, **moved)


def compute_statistics(images: Tensor, labels: Tensor, num_classes: int) -> Statistics:
    """Compute the :class:`Statistics` of uint8 ``images`` [N, C, H, W] with int64 ``labels`` [N] in [0, num_classes).

    The sums are exact integers, made chunk by chunk: no float copy of the data set ever exists.

    Example:
        >>> images = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1)
        >>> stats = compute_statistics(images, torch.tensor([0, 1]), 2)
        >>> stats.mean_image_mse, stats.class_mean_images.flatten().tolist()
        (0.25, [0.0, 1.0])
    """
    count, shape = images.shape[0], images.shape[1:]
    flat = images.reshape(count, -1)
    sums = torch.zeros(num_classes, flat.shape[1], dtype=torch.float64, device=images.device)
    squares = torch.zeros(flat.shape[1], dtype=torch.float64, device=images.device)
    classes = torch.arange(num_classes, device=images.device)[:, None]
    for start in range(0, count, _CHUNK):
        pixels = flat[start : start + _CHUNK].float()
        one_hot = (labels[start : start + _CHUNK] == classes).float()
        sums += one_hot @ pixels
        squares += pixels.square_().sum(0)
    sizes = torch.bincount(labels, minlength=num_classes).double()[:, None]
    mean = sums.sum(0) / count
    class_mean = torch.where(sizes > 0, sums / sizes.clamp(min=1), mean)
    power = squares / count
    channel_mean = mean.reshape(shape[0], -1).mean(1)
    channel_var = power.reshape(shape[0], -1).mean(1) - channel_mean**2
    return Statistics(
        mean_image=(mean / 255).float().reshape(shape),
        class_mean_images=(class_mean / 255).float().reshape(num_classes, *shape),
        mean_image_mse=float((power - mean**2).mean() / 255**2),
        channel_mean=(channel_mean / 255).float(),
        channel_std=(channel_var.clamp(min=0).sqrt() / 255).float(),
    )

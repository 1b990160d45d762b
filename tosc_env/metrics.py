"""Metrics of a reconstruction: error, PSNR, SSIM, and re-identification among candidates.

Images are float32 [B, C, H, W] in [0, 1]; there is a number for each of them where nothing else is said.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from tosc_env.errors import InputError

MIN_MSE = 1e-10
"""Smaller errors count as this: an exact copy has 100 dB, not infinity, which would break learners."""


def mse(reconstruction: Tensor, images: Tensor) -> Tensor:
    """Mean squared error of each image over channels and pixels, float32 [B]."""
    # In one pass: a batch of differences is not written to memory only to be squared.
    x, y = torch.broadcast_tensors(reconstruction, images)
    return F.mse_loss(x, y, reduction="none").flatten(1).mean(1)


def psnr_from_mse(error: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of images in [0, 1]: ``-10 log10(MSE)``, at most 100 dB.

    >>> psnr_from_mse(torch.tensor([0.01, 0.0]))
    tensor([ 20., 100.])
    """
    return -10.0 * torch.log10(error.clamp_min(MIN_MSE))


def psnr(reconstruction: Tensor, images: Tensor) -> Tensor:
    """PSNR of each image in dB, [B]. Average these: the PSNR of the mean error is another number."""
    return psnr_from_mse(mse(reconstruction, images))


def psnr_clipped(reconstruction: Tensor, images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """PSNR in dB on the scale of the article's authors' public code, [B]; for comparison with published figures only.

    Both images are normalised by channel mean and standard deviation [C] and clamped to [0, 1], which clips most
    pixels.
    """

    def scale(x: Tensor) -> Tensor:
        return ((x - mean[:, None, None]) / std[:, None, None]).clamp(0.0, 1.0)

    return psnr(scale(reconstruction), scale(images))


def ssim(reconstruction: Tensor, images: Tensor) -> Tensor:
    """Structural similarity of each image, [B], in [-1, 1] (Wang et al., 2004: Gaussian window 11, sigma 1.5).

    The figure of torchmetrics, image by image; InputError for images of fewer than 6 pixels a side.
    """
    if min(images.shape[-2:]) < 6:  # which the window does not fit
        raise InputError(f"SSIM needs images of at least 6x6 pixels, not {list(images.shape[-2:])}.")
    x, y = torch.broadcast_tensors(reconstruction, images)
    # The window is separable, so each direction is a product with a banded matrix, which is faster than a convolution.
    rows, columns = (_window(side, x.device, x.dtype) for side in x.shape[-2:])
    blurred = rows @ torch.stack([x, y, x * x, y * y, x * y]) @ columns.T
    mean_x, mean_y, square_x, square_y, product = blurred
    c1, c2 = 0.01**2, 0.03**2
    # Rounding may leave a flat patch a variance just below zero.
    variance = (square_x - mean_x**2).clamp_min(0.0) + (square_y - mean_y**2).clamp_min(0.0)
    covariance = product - mean_x * mean_y
    value = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return (value / ((mean_x**2 + mean_y**2 + c1) * (variance + c2))).flatten(1).mean(1)


@lru_cache(maxsize=16)
def _window(side: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Gaussian blur of a row of ``side`` pixels, reflected at its ends, as a matrix [side, side]."""
    reach = 5
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
    kernel = torch.exp(-((offsets / 1.5) ** 2) / 2)
    identity = torch.eye(side, dtype=torch.float64)[:, None]
    matrix = F.conv1d(F.pad(identity, (reach, reach), mode="reflect"), (kernel / kernel.sum())[None, None])
    return matrix[:, 0].T.to(device, dtype).contiguous()


def quality(error: Tensor, floor: float) -> Tensor:
    """``q = (M - e) / (M + e)``, [B] in [-1, 1], of the error e and the mean image's M: what rewards are made of.

    0 for the mean image, 1 for a perfect image, strictly monotone in PSNR and nowhere flat.

    >>> quality(torch.tensor([0.0, 0.05, 0.15]), 0.05)
    tensor([ 1.0000,  0.0000, -0.5000])
    """
    floor = max(floor, MIN_MSE)  # a data set of equal images has M = 0, and 0 / 0 would be no reward
    return (floor - error) / (floor + error)


def reidentification(scores: Tensor, truth: Tensor | None = None) -> Tensor:
    """Top-1 success of each row, float32 [B]: 1 where the right candidate alone is first, 1/k where it ties with others
    for the first of k places, as an attacker who draws lots among them is right.

    Args:
        scores: [B, N]. A score that is no number is none: it never wins, and whoever gives one for the right candidate
            or beside it does not identify.
        truth: int64 [B], each row's right candidate; None: row b's is column b.

    >>> reidentification(torch.tensor([[2.0, 1.0], [0.0, 0.0]]))
    tensor([1.0000, 0.5000])
    """
    right = scores.diagonal()[:, None] if truth is None else scores.gather(1, truth[:, None])
    first = (scores <= right).all(1)
    return first / (scores == right).sum(1).clamp_min(1)


def pixel_scores(reconstruction: Tensor, candidates: Tensor) -> Tensor:
    """``reid_pixels``: minus the Euclidean distance of each reconstruction to each candidate, [B, N]."""
    # By inner products, which is fast, and in float64: in float32 they lose the nearest one among near duplicates.
    rebuilt, images = reconstruction.flatten(1).double(), candidates.flatten(1).double()
    squared = images.square().sum(1) - 2 * rebuilt @ images.T + rebuilt.square().sum(1, keepdim=True)
    return -squared.clamp_min(0).sqrt()


def balanced_accuracy(right: Tensor, truth: Tensor) -> Tensor:
    """The mean over the values that occur of the share of right answers among those of that value, float32.

    ``right`` is bool [N], ``truth`` int64 [N] from 0.

    >>> balanced_accuracy(torch.tensor([True, True, True, False]), torch.tensor([0, 0, 0, 1]))
    tensor(0.5000)
    """
    counts = torch.bincount(truth)
    shares = torch.bincount(truth, weights=right.double()) / counts
    return shares[counts > 0].mean().float()


def auc(logits: Tensor, truth: Tensor) -> Tensor:
    """The area under the ROC curve of each value against all others, averaged over the values that occur, float32.

    It is the chance that a message of the value has the higher probability of it, softmax of the logits, than one of
    another value (Hanley and McNeil, *Radiology* 143, 1982); a tie counts one half. Where only one value occurs
    it is 0.5.  ``logits`` are [N, K], ``truth`` int64 [N] in [0, K).

    >>> auc(torch.tensor([[0.0, 1.0], [0.0, 3.0], [0.0, 2.0]]), torch.tensor([0, 1, 1]))
    tensor(1.)
    """
    probability = logits.double().log_softmax(1)
    areas = []
    for value in truth.unique():
        own = truth == value
        inside, outside = probability[own, value], probability[~own, value].sort().values
        if not len(outside):
            return torch.tensor(0.5, device=logits.device)
        below = torch.searchsorted(outside, inside)
        up_to = torch.searchsorted(outside, inside, right=True)
        areas.append((below + up_to).double().mean() / (2 * len(outside)))
    return torch.stack(areas).mean().float()

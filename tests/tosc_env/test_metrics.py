"""Image error, quality and re-identification agree with torchmetrics and with their definitions."""

from __future__ import annotations

import pytest
import torch
from refusals import refused

from tosc_env import metrics


@pytest.fixture
def pair():
    g = torch.Generator().manual_seed(0)
    images = torch.rand(6, 3, 24, 20, generator=g)
    noise = torch.randn(6, 3, 24, 20, generator=g) * torch.linspace(0.01, 0.4, 6)[:, None, None, None]
    return (images + noise).clamp(0, 1), images


def test_psnr_is_that_of_torchmetrics_image_by_image(pair):
    from torchmetrics.functional.image import peak_signal_noise_ratio

    theirs = peak_signal_noise_ratio(*pair, data_range=1.0, dim=(1, 2, 3), reduction="none")
    assert torch.allclose(metrics.psnr(*pair), theirs, atol=1e-4)
    assert torch.allclose(metrics.mse(*pair), (pair[0] - pair[1]).pow(2).mean((1, 2, 3)))
    assert torch.equal(metrics.psnr(pair[1], pair[1]), torch.full((6,), 100.0)), "and not infinity"


def test_ssim_is_that_of_torchmetrics_image_by_image(pair):
    from torchmetrics.image import StructuralSimilarityIndexMeasure

    ours = metrics.ssim(*pair)
    for i in range(6):
        theirs = StructuralSimilarityIndexMeasure(data_range=1.0)(pair[0][i : i + 1], pair[1][i : i + 1])
        assert float(ours[i]) == pytest.approx(float(theirs), abs=1e-5)
    assert torch.allclose(metrics.ssim(pair[1], pair[1]), torch.ones(6), atol=1e-5)
    with refused("6x6 [4, 8]"):
        metrics.ssim(torch.rand(2, 1, 4, 8), torch.rand(2, 1, 4, 8))
    assert torch.isfinite(metrics.ssim(torch.rand(1, 1, 6, 6), torch.rand(1, 1, 6, 6))).all()


def test_clipped_psnr_compares_normalised_and_clamped_images(pair):
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
    a, b = (((x - mean[:, None, None]) / std[:, None, None]).clamp(0, 1) for x in pair)
    assert torch.allclose(
        metrics.psnr_clipped(*pair, mean, std), -10 * (a - b).pow(2).mean((1, 2, 3)).log10()
    )
    identity = metrics.psnr_clipped(*pair, torch.zeros(3), torch.ones(3))
    assert torch.allclose(identity, metrics.psnr(*pair))


def test_quality_is_one_for_a_perfect_image_zero_at_the_floor_and_strictly_monotone():
    error = torch.logspace(-8, 0, 200)
    q = metrics.quality(error, 0.05)
    assert float(metrics.quality(torch.zeros(1), 0.05)) == 1.0
    assert float(metrics.quality(torch.tensor([0.05]), 0.05)) == pytest.approx(0.0, abs=1e-7)
    assert (q.diff() <= 0).all() and (q[error > 1e-6].diff() < 0).all()
    assert q.min() > -1 and q.max() <= 1
    error = torch.tensor([0.0, 1e-4, 0.05, 1.0], requires_grad=True)
    metrics.quality(error, 0.05).sum().backward()
    assert (error.grad < 0).all(), "a slope everywhere"
    equal = metrics.quality(torch.tensor([0.0, 0.1]), 0.0)  # of a data set of equal images
    assert float(equal[0]) == 1.0 and float(equal[1]) == pytest.approx(-1.0)


def test_reidentification_counts_a_tie_among_k_as_one_in_k():
    scores = torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 0.0], [5.0, 6.0, 4.0]])
    assert metrics.reidentification(scores).tolist() == [1.0, 0.5, 0.0]
    assert metrics.reidentification(torch.zeros(4, 4)).tolist() == [0.25] * 4
    assert metrics.reidentification(scores[:2, :]).tolist() == [1.0, 0.5], "more candidates than messages"
    assert metrics.reidentification(torch.tensor([[1.0, float("nan")]] * 2)).sum() == 0


def test_the_nearest_candidate_in_pixels_scores_highest(pair):
    scores = metrics.pixel_scores(*pair)
    distances = (pair[0][:, None] - pair[1][None]).pow(2).sum((2, 3, 4)).sqrt()
    assert torch.allclose(scores.float(), -distances, atol=1e-4)
    assert metrics.reidentification(scores).mean() == 1.0

"""Constraints of a transmission: each is obeyed, and each scheme brings its own."""

from __future__ import annotations

import pytest
import torch
from refusals import refused

from tosc_env.constraints import constraint_of, mean_power
from tosc_env.modulation import constellation_points


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_mean_power_is_one_the_direction_stays_and_nothing_is_ever_louder():
    given = noise(8, 32)
    for scale in (1e-5, 1.0, 1e18, 1e30):
        sent = mean_power(given * scale)
        assert torch.allclose(sent.square().sum(1), torch.full((8,), 16.0), rtol=1e-5)
        direction = given / given.norm(dim=1, keepdim=True)
        assert torch.allclose(sent / sent.norm(dim=1, keepdim=True), direction, atol=1e-6)
    for scale in (0.0, 1e-20, 1e-9, 1e-7):
        assert (mean_power(given * scale).square().sum(1) / 16 <= 1 + 1e-5).all()


def test_mean_power_is_idempotent_of_single_precision_and_looks_at_no_other_row_nor_writes_to_it():
    given = noise(5, 16)
    kept, sent = given.clone(), mean_power(given)
    assert torch.allclose(mean_power(sent), sent, atol=1e-6)
    assert torch.equal(mean_power(given[2:3]), sent[2:3]) and torch.equal(given, kept)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert mean_power(noise(2, 8).to(dtype)).dtype == torch.float32


def test_the_gradient_is_that_of_the_formula():
    """Scaling before squaring must not change the derivative of s / |s|."""
    given, weights = noise(3, 16).requires_grad_(), noise(3, 16, seed=1)
    (mean_power(given) * weights).sum().backward()
    plain = given.detach().clone().requires_grad_()
    (plain * (8.0 / plain.square().sum(1, keepdim=True)).sqrt() * weights).sum().backward()
    assert torch.allclose(given.grad, plain.grad, atol=1e-5)


@pytest.mark.parametrize("name", ["qpsk", "16qam", "64qam", "256qam"])
def test_points_are_sent_as_they_are_and_their_gradient_passes(name):
    points = constellation_points(name)
    given = torch.view_as_real(points[None]).flatten(1).requires_grad_()
    sent = constraint_of(name)(given)
    assert torch.equal(sent, given.detach())
    sent.sum().backward()
    assert torch.equal(given.grad, torch.ones_like(given))


def test_the_constraint_of_a_constellation_refuses_what_is_no_point():
    assert constraint_of(None) is mean_power
    points = torch.view_as_real(constellation_points("16qam")[None].clone()).flatten(1)
    assert torch.equal(constraint_of("16qam")(points), points)
    for wrong in (0.01, float("nan"), float("inf")):
        values = points.clone()
        values[0, 6] += wrong
        with refused("3 0 '16qam'"):
            constraint_of("16qam")(values)
    with refused("'17qam'"):
        constraint_of("17qam")

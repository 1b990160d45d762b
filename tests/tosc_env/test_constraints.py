"""What a transmission may look like, and that each scheme brings its own."""

from __future__ import annotations

import pytest
import torch

from tosc_env.constraints import constraint_of, mean_power
from tosc_env.errors import InputError
from tosc_env.modulation import constellation_points


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e18, 1e30])
def test_mean_power_is_one_and_the_direction_stays(scale):
    given = noise(8, 32)
    sent = mean_power(given * scale)
    assert torch.allclose(sent.square().sum(1), torch.full((8,), 16.0), rtol=1e-5)
    assert torch.allclose(
        sent / sent.norm(dim=1, keepdim=True), given / given.norm(dim=1, keepdim=True), atol=1e-6
    )


def test_mean_power_is_idempotent_and_does_not_look_at_other_rows():
    given = noise(5, 16)
    sent = mean_power(given)
    assert torch.allclose(mean_power(sent), sent, atol=1e-6)
    assert torch.equal(mean_power(given[2:3]), sent[2:3])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_what_is_sent_is_single_precision(dtype):
    assert mean_power(noise(2, 8).to(dtype)).dtype == torch.float32


def test_the_gradient_is_across_the_message_alone():
    given = noise(3, 16).requires_grad_()
    (mean_power(given) * noise(3, 16, seed=1)).sum().backward()
    # A message's length changes nothing of what is sent.
    assert torch.allclose((given.grad * given.detach()).sum(1), torch.zeros(3), atol=1e-5)
    assert (given.grad != 0).all()


@pytest.mark.parametrize("name", ["qpsk", "16qam", "64qam", "256qam"])
def test_points_are_sent_as_they_are_and_their_gradient_passes(name):
    points = constellation_points(name)
    given = torch.view_as_real(points[None]).flatten(1).requires_grad_()
    sent = constraint_of(name)(given)
    assert torch.equal(sent, given.detach())
    sent.sum().backward()
    assert torch.equal(given.grad, torch.ones_like(given))


@pytest.mark.parametrize("wrong", [0.01, float("nan"), float("inf")])
def test_what_is_no_point_is_refused(wrong):
    values = torch.view_as_real(constellation_points("16qam")[None].clone()).flatten(1)
    values[0, 6] += wrong
    with pytest.raises(InputError, match=r"symbol 3 of message 0 .*16qam"):
        constraint_of("16qam")(values)


def test_the_constraint_of_a_constellation():
    assert constraint_of(None) is mean_power
    points = torch.view_as_real(constellation_points("qpsk")[None]).flatten(1)
    assert torch.equal(constraint_of("qpsk")(points), points)
    with pytest.raises(InputError, match="qpsk"):
        constraint_of("qpsk")(2 * points)
    with pytest.raises(InputError, match="unknown constellation '17qam'"):
        constraint_of("17qam")

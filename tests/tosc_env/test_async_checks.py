"""Checks of values on a device: made at once, or noted and looked at later, with the same verdict."""

from __future__ import annotations

import pytest
import torch

from tosc_env.async_checks import DeferredChecks, gathering
from tosc_env.errors import InputError
from tosc_env.modulation import check_points, constellation_points, modulate

POINTS = constellation_points("16qam")
RIGHT = torch.arange(16)[None]


@pytest.mark.parametrize("wrong", [torch.tensor([[3, 16]]), torch.tensor([[-1, 0]])])
def test_a_wrong_index_is_refused_at_once_or_at_the_next_look(wrong):
    with pytest.raises(InputError, match=r"indices must lie in \[0, 15\]"):
        modulate(wrong, POINTS)
    checks = DeferredChecks()
    with checks.gather():
        sent = modulate(wrong, POINTS)
        modulate(RIGHT, POINTS)
    check_points(sent, POINTS)  # what left meanwhile were points all the same
    with pytest.raises(InputError, match=r"an index did not lie in \[0, 15\]"):
        checks.look()


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_symbol_that_is_no_point_is_refused_at_once_or_at_the_next_look(value):
    symbols = modulate(RIGHT, POINTS)
    symbols[0, 7] = value
    with pytest.raises(InputError, match="symbol 3 of message 0"):
        check_points(symbols, POINTS, "16qam")
    checks = DeferredChecks()
    with checks.gather():
        check_points(symbols, POINTS, "16qam")
        check_points(modulate(RIGHT, POINTS), POINTS, "16qam")
    with pytest.raises(InputError, match="no point of '16qam'"):
        checks.look()
    checks.look()  # said once


def test_what_is_right_passes_and_is_the_same_either_way():
    checks = DeferredChecks()
    with checks.gather():
        sent = modulate(RIGHT, POINTS)
        check_points(sent, POINTS)
    checks.look()
    assert torch.equal(sent, modulate(RIGHT, POINTS))


def test_nothing_is_gathered_outside_even_after_an_error():
    assert gathering() is None
    outer, inner = DeferredChecks(), DeferredChecks()
    with pytest.raises(RuntimeError), outer.gather(), inner.gather():
        assert gathering() is inner
        raise RuntimeError
    assert gathering() is None

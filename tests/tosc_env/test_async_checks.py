"""Checks of values on a device: at once or when synchronised, with the same verdict."""

from __future__ import annotations

import pytest
import torch
from refusals import refused

from tosc_env.async_checks import AsyncChecks, current_checks
from tosc_env.modulation import check_points, constellation_points, modulate

POINTS = constellation_points("16qam")
RIGHT = torch.arange(16)[None]


@pytest.mark.parametrize("wrong", [torch.tensor([[3, 16]]), torch.tensor([[-1, 0]])])
def test_a_wrong_index_is_refused_at_once_or_when_synchronised(wrong):
    with refused("indices [0, 15]"):
        modulate(wrong, POINTS)
    checks = AsyncChecks()
    with checks.collect():
        sent = modulate(wrong, POINTS)
        modulate(RIGHT, POINTS)
    check_points(sent, POINTS)  # what left meanwhile were points all the same
    with refused("[0, 15]"):
        checks.synchronize()


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_symbol_that_is_no_point_is_refused_at_once_or_when_synchronised(value):
    symbols = modulate(RIGHT, POINTS)
    symbols[0, 7] = value
    with refused("symbol 3 0"):
        check_points(symbols, POINTS, "16qam")
    checks = AsyncChecks()
    with checks.collect():
        check_points(symbols, POINTS, "16qam")
        check_points(modulate(RIGHT, POINTS), POINTS, "16qam")
    with refused("'16qam'"):
        checks.synchronize()
    checks.synchronize()  # said once


def test_checks_are_synchronous_outside_even_after_an_error():
    assert current_checks() is None
    outer, inner = AsyncChecks(), AsyncChecks()
    with pytest.raises(RuntimeError), outer.collect(), inner.collect():
        assert current_checks() is inner
        raise RuntimeError
    assert current_checks() is None

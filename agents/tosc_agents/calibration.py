"""Fitting the one free number of the article's noise, which has no sensitivity to take it from."""

from __future__ import annotations

import math
from collections.abc import Callable

from tosc_env.errors import InputError
from tosc_env.options import check_positive

ARTICLE_BUDGET = 0.05
"""The budget at which the article's noise is fitted."""


def calibrate_constant(
    accuracy_at_scale: Callable[[float], float],
    target: float,
    low: float,
    high: float,
    *,
    budget: float = ARTICLE_BUDGET,
    tolerance: float = 0.01,
) -> float:
    """The constant c whose noise of scale ``c / budget`` leaves the target accuracy, by bisection of log c.

    What is fitted this way holds because it was fitted: the accuracy at ``budget`` is no finding, only those at
    other budgets are.

    Args:
        accuracy_at_scale: from the noise's scale (``Laplace(mode="calibrated", epsilon=budget, constant=scale *
            budget)``) to an accuracy that falls as the scale grows; the same test images and seeds each time, or
            the bisection follows chance.
        target: the accuracy wanted, such as 3.5 points under another scheme's.
        low, high: constants between which to search.
        budget: epsilon at which the target is met.
        tolerance: the largest relative error of c.

    Raises:
        InputError: the accuracies at ``low`` and ``high`` do not lie on either side of the target, or a number
            is not finite and positive.

    Example:
        >>> round(calibrate_constant(lambda scale: 1 / (1 + scale), 0.5, 0.001, 1.0, tolerance=1e-6), 5)
        0.05
    """
    numbers = {"target": target, "low": low, "high": high, "budget": budget, "tolerance": tolerance}
    for name, value in numbers.items():
        check_positive(value, name)
    if not low < high:
        raise InputError(f"low must be less than high, not {low!r} and {high!r}.")
    best, worst = accuracy_at_scale(low / budget), accuracy_at_scale(high / budget)
    if not best >= target >= worst:
        raise InputError(
            f"target must lie between the accuracies at low={low:g} and high={high:g}, {best:.4g} and "
            f"{worst:.4g}, not {target:g}."
        )
    while high / low > 1 + tolerance:
        middle = math.sqrt(low * high)
        if not low < middle < high:
            break  # neighbouring floats: a tolerance below their distance asks for too much
        if accuracy_at_scale(middle / budget) >= target:
            low = middle
        else:
            high = middle
    return math.sqrt(low * high)

"""Fitting the one free number of the article's noise, which has no sensitivity to take it from."""

from __future__ import annotations

import math
from collections.abc import Callable

from tosc_env.errors import InputError
from tosc_env.options import check_positive

ARTICLE_BUDGET = 0.05
"""The budget at which the article's noise is fitted."""


TOLERANCE = 0.01
"""The largest relative error of the constant that is found."""


def calibrate_constant(
    accuracy_at_scale: Callable[[float], float], target: float, low: float, high: float
) -> float:
    """The constant c whose noise of scale ``c / ARTICLE_BUDGET`` leaves the target accuracy, by bisection of log c.

    What is fitted this way holds because it was fitted: the accuracy at that budget is no finding, only those at
    other budgets are.

    Args:
        accuracy_at_scale: from the noise's scale to an accuracy that falls as the scale grows; the same test images
            and seeds each time, or the bisection follows chance.
        target: the accuracy wanted, such as 3.5 points under another scheme's.
        low, high: constants between which to search.

    Raises:
        InputError: the accuracies at ``low`` and ``high`` do not lie on either side of the target, or a number
            is not finite and positive.

    Example:
        >>> round(calibrate_constant(lambda scale: 1 / (1 + scale), 0.5, 0.001, 1.0), 2)
        0.05
    """
    for name, value in {"target": target, "low": low, "high": high}.items():
        check_positive(value, name)
    if not low < high:
        raise InputError(f"low must be less than high, not {low!r} and {high!r}.")
    best, worst = accuracy_at_scale(low / ARTICLE_BUDGET), accuracy_at_scale(high / ARTICLE_BUDGET)
    if not best >= target >= worst:
        raise InputError(
            f"target must lie between the accuracies at low={low:g} and high={high:g}, {best:.4g} and "
            f"{worst:.4g}, not {target:g}."
        )
    while high / low > 1 + TOLERANCE:
        middle = math.sqrt(low * high)
        if accuracy_at_scale(middle / ARTICLE_BUDGET) >= target:
            low = middle
        else:
            high = middle
    return math.sqrt(low * high)

"""The privacy budget of several messages about one image."""

from __future__ import annotations

import math

from tosc_env.errors import InputError, shown
from tosc_env.options import check_count, check_positive

DELTA = 1e-5
"""The probability of failure at which advanced composition is reported."""


def basic_composition(epsilon: float, transmissions: int) -> float:
    """The epsilon of k messages, each epsilon-DP with fresh noise: k epsilon, since their densities multiply.

    >>> basic_composition(20.0, 16)
    320.0
    """
    return check_count(transmissions, "transmissions") * check_positive(epsilon, "epsilon")


def advanced_composition(epsilon: float, transmissions: int, delta: float = DELTA) -> float:
    """The epsilon' of (epsilon', delta)-DP that k messages, each epsilon-DP, have together.

    ``sqrt(2 k ln(1/delta)) epsilon + k epsilon (e^epsilon - 1)``, Dwork, Rothblum and Vadhan, "Boosting and
    differential privacy", FOCS 2010, theorem III.3.  Smaller than basic composition for many messages of a small
    epsilon; it allows a failure of probability ``delta``, which basic composition does not.

    >>> round(advanced_composition(0.05, 1000), 2), round(basic_composition(0.05, 1000), 2)
    (10.15, 50.0)
    """
    epsilon, k = check_positive(epsilon, "epsilon"), check_count(transmissions, "transmissions")
    if not check_positive(delta, "delta") < 1:
        raise InputError(f"delta must lie between 0 and 1, not {shown(delta)}.")
    # Above 700 the exponential leaves the floats, and the bound has said nothing for long.
    growth = math.expm1(epsilon) if epsilon < 700 else math.inf
    return math.sqrt(2 * k * math.log(1 / delta)) * epsilon + k * epsilon * growth


def composed(epsilon: float, transmissions: int) -> str:
    """The budget that k transmissions of one image spend, by the composition that gives the smaller one.

    >>> composed(20.0, 16), composed(0.05, 1000)
    ('320-DP by basic composition', '(10.2, 1e-05)-DP by advanced composition')
    """
    basic = basic_composition(epsilon, transmissions)
    advanced = advanced_composition(epsilon, transmissions)
    if basic <= advanced:
        return f"{basic:.3g}-DP by basic composition"
    return f"({advanced:.3g}, {DELTA:g})-DP by advanced composition"

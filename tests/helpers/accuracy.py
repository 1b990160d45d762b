"""The accuracy that differential privacy allows, against which measurements are held."""

from __future__ import annotations

import math

from tosc_agents.accounting import basic_composition

from tosc_env.options import check_count


def accuracy_bound(epsilon: float, classes: int, transmissions: int = 1) -> float:
    """The best accuracy of any receiver on K balanced classes: ``e^eps / (e^eps + K - 1)``, eps = k epsilon.

    Densities of a message y under two classes differ by e^eps at most, so Bayes' rule gives the likeliest class
    the posterior ``p_c(y) / sum_j p_j(y) <= 1 / (1 + (K - 1) e^-eps)``, and accuracy is its mean over y.  Messages
    of one image with fresh noise have e^(k epsilon) in that ratio; :func:`advanced_composition` gives no pure
    epsilon, and no smaller bound of this form.  With N equally likely images as the classes, it bounds top-1
    re-identification, whatever the attacker knows besides the noise.

    >>> [round(100 * accuracy_bound(epsilon, 10), 1) for epsilon in (0.05, 0.1, 0.9)]
    [10.5, 10.9, 21.5]
    >>> accuracy_bound(5000.0, 10), round(accuracy_bound(0.05, 10, transmissions=18), 3)
    (1.0, 0.215)
    """
    check_count(classes, "classes")
    # Divided by e^eps: nothing overflows, and a huge epsilon gives 1.
    return 1 / (1 + (classes - 1) * math.exp(-basic_composition(epsilon, transmissions)))

"""Statement 8: seconds."""

from __future__ import annotations

from itertools import product

from tosc_agents.experiments import article
from tosc_agents.experiments.arms import arm
from tosc_agents.experiments.statements.comparing import Case, above, at_most, scaled
from tosc_agents.experiments.statements.measured import ALL, BASELINE, Measured
from tosc_agents.experiments.statements.parts import Absent, Found, Part, every

IMAGE, EPOCH = "seconds_per_image", "seconds_per_epoch"
SLOWER = 1.1
"""A scheme is slower, or dearer to train, from this multiple of the unprotected one's time."""
LIMIT = f"{SLOWER:g} times DeepJSCC's"


def _timed(m: Measured, figure: str, scheme: str) -> list[str]:
    """The arms of one of the article's schemes that were timed: budgets and keys cost the same, so one is enough."""
    found = []
    for key in ALL:
        if article.complexity_key(arm(key).article or "") != scheme:
            continue
        try:
            m.one("table1", figure, key)
        except Absent:
            continue
        found.append(key)
    if not found:
        raise Absent(f"table1's {figure} of {scheme}")
    return found


def _within(m: Measured, figure: str, scheme: str) -> Case:
    """The slowest of a scheme's arms is not clearly above the limit."""
    limit = scaled(m.one("table1", figure, BASELINE), SLOWER)
    cases = [
        at_most("", m.one("table1", figure, key), limit, limit_name=LIMIT)
        for key in _timed(m, figure, scheme)
    ]
    return min(cases, key=lambda case: (case.ok, case.slack))


def _lbvq_slows(m: Measured) -> Found:
    def compare() -> Case:
        limit = scaled(m.one("table1", IMAGE, BASELINE), SLOWER)
        return above("", m.one("table1", IMAGE, "lbvq"), limit, names=("LBVQ", LIMIT))

    return every(compare, [()])


def _nothing_else_slows(m: Measured) -> Found:
    return every(lambda scheme: _within(m, IMAGE, scheme), product(("DP", "Encryption", "IBAL")))


def _cost_most(m: Measured) -> Found:
    def compare(key: str, scheme: str) -> Case:
        mine = m.one("table1", EPOCH, key)
        cases = [above("", mine, m.one("table1", EPOCH, other)) for other in _timed(m, EPOCH, scheme)]
        return min(cases, key=lambda case: (case.ok, case.slack))

    return every(compare, product(("ibal", "lbvq"), ("DeepJSCC", "DP", "Encryption")))


def _almost_nothing(m: Measured) -> Found:
    return every(lambda scheme: _within(m, EPOCH, scheme), product(("DP", "Encryption")))


TIME = (
    Part(
        "LBVQ more than 10 % slower than the unprotected scheme at inference",
        _lbvq_slows,
        "Finding the nearest of 16 codewords is little beside the networks, which are the same here; in the article "
        "LBVQ has a larger one.",
    ),
    Part("no other scheme more than 10 % slower at inference", _nothing_else_slows),
    Part(
        "IBAL and LBVQ cost more to train than all others",
        _cost_most,
        "On one backbone only the simulated adversary is added, and it is small.",
    ),
    Part(
        "DP and Encryption cost at most 10 % more to train",
        _almost_nothing,
    ),
)
"""Statement 8."""

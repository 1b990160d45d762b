"""Claim 8: seconds."""

from __future__ import annotations

from tosc_agents.experiments import article
from tosc_agents.experiments.claims.criteria import Comparison, Criterion, above, at_most, every, scaled
from tosc_agents.experiments.claims.results import ALL, BASELINE, Absent, Results, label
from tosc_agents.experiments.methods import method
from tosc_agents.experiments.sections import Measurement

IMAGE, EPOCH = "seconds_per_image", "seconds_per_epoch"
SLOWER = 1.1
"""A scheme is slower, or dearer to train, from this multiple of the unprotected one's time."""
LIMIT = f"{SLOWER:g} times DeepJSCC's"


def _limit(results: Results, figure: str) -> Measurement:
    return scaled(results.one("table1", figure, BASELINE), SLOWER)


def _timed(results: Results, figure: str, scheme: str) -> list[Measurement]:
    """Of one of the article's schemes, what was timed: budgets and keys cost the same, so one of them is enough."""
    found = []
    for key in ALL:
        if article.complexity_key(method(key).article or "") != scheme:
            continue
        try:
            found.append(results.one("table1", figure, key))
        except Absent:
            continue
    if not found:
        raise Absent(f"table1's {figure} of {scheme}")
    return found


def _worst(comparisons: list[Comparison]) -> Comparison:
    return min(comparisons, key=lambda one: (one.ok, one.slack))


def _slower(results: Results, key: str) -> Comparison:
    limit, mine = _limit(results, IMAGE), results.one("table1", IMAGE, key)
    return above("", mine, limit, (label(mine), LIMIT))


def _within(results: Results, figure: str, scheme: str) -> Comparison:
    """The slowest of a scheme's methods is not clearly above the limit."""
    limit = _limit(results, figure)
    return _worst([at_most("", m, limit, LIMIT) for m in _timed(results, figure, scheme)])


def _dearer(results: Results, key: str, scheme: str) -> Comparison:
    mine = results.one("table1", EPOCH, key)
    return _worst([above("", mine, other) for other in _timed(results, EPOCH, scheme)])


TIME = (
    Criterion(
        "LBVQ more than 10 % slower than the unprotected scheme at inference",
        every(_slower, ["lbvq"]),
        "Finding the nearest of 16 codewords is little beside the networks, which are the same here; in the article "
        "LBVQ has a larger one.",
    ),
    Criterion(
        "no other scheme more than 10 % slower at inference",
        every(_within, [IMAGE], ["DP", "Encryption", "IBAL"]),
    ),
    Criterion(
        "IBAL and LBVQ cost more to train than all others",
        every(_dearer, ["ibal", "lbvq"], ["DeepJSCC", "DP", "Encryption"]),
        "On one backbone only the simulated adversary is added, and it is small.",
    ),
    Criterion(
        "DP and Encryption cost at most 10 % more to train", every(_within, [EPOCH], ["DP", "Encryption"])
    ),
)
"""Claim 8."""

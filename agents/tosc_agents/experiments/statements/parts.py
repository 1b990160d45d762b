"""Named sub-claims: a statement holds as far as its parts do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tosc_agents.experiments.statements.comparing import Absent, Case
from tosc_agents.experiments.statements.measured import Measured

HELD, FAILED, SET_ASIDE = "holds", "fails", "set aside"
"""Outcomes of a measured part. What is set aside was fitted, or could not have come out otherwise: it counts
neither as holding nor as failing."""


@dataclass(frozen=True)
class Found:
    """What became of a part: its outcome and a clause with the figures."""

    outcome: str
    evidence: str


@dataclass(frozen=True)
class Part:
    """A sub-claim.

    Attributes:
        name: what is claimed, in a few words.
        find: judges it; raises :class:`Absent` when it cannot.
        reason: what is known of why it does not hold here, a sentence; empty when nothing is.
    """

    name: str
    find: Callable[[Measured], Found]
    reason: str = ""


def every(compare: Callable[..., Case], items: Iterable[tuple[Any, ...]]) -> Found:
    """The claim that all comparisons turn out as claimed.

    One that does not refutes it, whatever else is absent; only all of them together confirm it.

    Args:
        compare: makes a comparison from the values of one item; raises :class:`Absent`.
        items: at least one.

    Raises:
        Absent: none refutes it, and some could not be made.
    """
    cases: list[Case] = []
    absent: list[str] = []
    for item in items:
        try:
            cases.append(compare(*item))
        except Absent as missing:
            absent.append(str(missing))
    failed = [case for case in cases if not case.ok]
    if absent and not failed:
        raise Absent(", ".join(dict.fromkeys(absent)))
    worst = min(failed or cases, key=lambda case: case.slack)
    count, shown = len(cases), f" {worst.where}: {worst.text}" if worst.where else f": {worst.text}"
    outcome = FAILED if failed else HELD
    if count == 1:
        return Found(outcome, shown.lstrip(": "))
    if not failed:
        return Found(outcome, f"in all {count} comparisons, the closest{shown}")
    rivals = list(dict.fromkeys(case.rival for case in failed))
    against = f" ({', '.join(rivals)})" if len(rivals) > 1 else ""
    return Found(outcome, f"in {len(failed)} of {count} comparisons{against}, the worst{shown}")

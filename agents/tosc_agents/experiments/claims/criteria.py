"""When one measurement counts as above another, and named criteria: a claim holds as far as its criteria do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, TypeAlias

from tosc_agents.experiments.claims.results import Absent, Results, label
from tosc_agents.experiments.sections import Measurement

Names: TypeAlias = "tuple[str, str] | None"
Choices: TypeAlias = "Iterable[Any] | Callable[[Results], Iterable[Any]]"

POINTS, SCORE = "points", "score"
"""Figures that are made from measured ones: a difference of shares, and a trade-off."""

HELD, FAILED, SET_ASIDE = "holds", "fails", "set aside"
"""Outcomes of a measured criterion. What is set aside was fitted, or could not have come out otherwise: it counts
neither as holding nor as failing."""


@dataclass(frozen=True)
class Outcome:
    """What became of a criterion: whether it held, and a clause with the figures."""

    kind: str
    evidence: str


@dataclass(frozen=True)
class Criterion:
    """A part of a claim that measurements can decide.

    Attributes:
        name: what is claimed, in a few words.
        judge: decides it; raises :class:`Absent` when it cannot.
        reason: what is known of why it does not hold here, a sentence; empty when nothing is.
    """

    name: str
    judge: Callable[[Results], Outcome]
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    """One comparison.

    Attributes:
        where: at which SNR, of what; empty where there is only one.
        text: the two figures, with their names.
        ok: whether it turned out as claimed.
        slack: by how much, negative where it did not; the smallest of several is the one to show.
        rival: whom it was compared with.
    """

    where: str
    text: str
    ok: bool
    slack: float
    rival: str


def every(compare: Callable[..., Comparison], *choices: Choices) -> Callable[[Results], Outcome]:
    """Judge that all comparisons turn out as claimed.

    One that does not refutes the criterion, whatever else is absent; only all of them together confirm it.

    Args:
        compare: makes a comparison from the results and a choice of each kind; raises :class:`Absent`.
        choices: of each kind, such as rivals and SNRs, or a function that finds them in the results.
    """

    def judge(results: Results) -> Outcome:
        made: list[Comparison] = []
        absent: list[str] = []
        for item in product(*(kind(results) if callable(kind) else kind for kind in choices)):
            try:
                made.append(compare(results, *item))
            except Absent as missing:
                absent.append(str(missing))
        failed = [one for one in made if not one.ok]
        if absent and not failed:
            raise Absent(", ".join(dict.fromkeys(absent)))
        worst = min(failed or made, key=lambda one: one.slack)
        kind, count = FAILED if failed else HELD, len(made)
        shown = f"{worst.where}: {worst.text}" if worst.where else worst.text
        if count == 1:
            return Outcome(kind, shown)
        shown = f" {shown}" if worst.where else f": {shown}"
        if not failed:
            return Outcome(kind, f"in all {count} comparisons, the closest{shown}")
        rivals = list(dict.fromkeys(one.rival for one in failed))
        against = f" ({', '.join(rivals)})" if len(rivals) > 1 else ""
        return Outcome(kind, f"in {len(failed)} of {count} comparisons{against}, the worst{shown}")

    return judge


def clearly_above(a: Measurement, b: Measurement) -> bool:
    """Whether a lies above b by more than both 95 % intervals: ``a - b > sqrt(ia^2 + ib^2)``.

    The interval of a single sample is unknown (nan) and counts as 0; whoever quotes it says "one sample".

    >>> sure, vague = (Measurement("fig3", "vq", "accuracy", *v, 3) for v in ((0.86, 0.003), (0.85, 0.02)))
    >>> clearly_above(sure, vague), clearly_above(sure, replace(vague, mean=0.83))
    (False, True)
    """
    return a.mean - b.mean > math.hypot(_half(a), _half(b))


def _half(m: Measurement) -> float:
    return 0.0 if math.isnan(m.interval) else m.interval


def scaled(m: Measurement, factor: float) -> Measurement:
    """The measurement times a positive factor."""
    return replace(m, mean=factor * m.mean, interval=factor * m.interval)


def difference(a: Measurement, b: Measurement, figure: str) -> Measurement:
    """``a - b`` as one of a's method; of one sample where either is, without an interval where neither has one."""
    unknown = math.isnan(a.interval) and math.isnan(b.interval)
    half = math.nan if unknown else math.hypot(_half(a), _half(b))
    return replace(a, figure=figure, mean=a.mean - b.mean, interval=half, samples=min(a.samples, b.samples))


def told(m: Measurement) -> str:
    """A figure with interval and unit.

    >>> two = Measurement("fig3", "vq", "accuracy", 0.8659, 0.0004, 3), Measurement("table1", "vq", "seconds", 32.5)
    >>> told(two[0]), told(two[1])
    ('86.6 ± 0.0 %', '32.5 s (one sample)')
    """
    if m.figure.startswith("seconds"):
        scale, digits, unit = (1000.0, 2, " ms") if m.mean < 0.1 else (1.0, 1, " s")
    elif m.figure.endswith("_db"):
        scale, digits, unit = 1.0, 2, " dB"
    elif m.figure in ("ssim", SCORE):
        scale, digits, unit = 1.0, 3, ""
    else:
        scale, digits, unit = 100.0, 1, " points" if m.figure == POINTS else " %"
    single = math.isnan(m.interval) or m.samples == 1
    return f"{m.text(digits, scale)}{unit}{' (one sample)' if single else ''}"


def above(where: str, high: Measurement, low: Measurement, names: Names = None) -> Comparison:
    """The claim that ``high`` is clearly above ``low``; in words by their methods' labels, or these names."""
    first, second = names or (label(high), label(low))
    text = f"{first} {told(high)} against {second} {told(low)}"
    return Comparison(where, text, clearly_above(high, low), high.mean - low.mean, second)


def below(where: str, low: Measurement, high: Measurement, names: Names = None) -> Comparison:
    """The claim that ``low`` is clearly below ``high``, told from the side of ``low``."""
    first, second = names or (label(low), label(high))
    return replace(
        above(where, high, low), text=f"{first} {told(low)} against {second} {told(high)}", rival=second
    )


def at_most(where: str, m: Measurement, limit: Measurement, limit_name: str) -> Comparison:
    """The claim that ``m`` is not clearly above ``limit``."""
    text = f"{label(m)} {told(m)}, {limit_name} {told(limit)}"
    return Comparison(where, text, not clearly_above(m, limit), limit.mean - m.mean, where or label(m))


def near(where: str, a: Measurement, b: Measurement, within: float) -> Comparison:
    """The claim that two means differ by at most ``within``, in their unit."""
    slack = within - abs(a.mean - b.mean)
    return replace(above(where, a, b), ok=slack >= 0, slack=slack)

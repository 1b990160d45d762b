"""When one row counts as above another, arithmetic on rows, and comparisons that say in words what they compared."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tosc_agents.experiments.arms import KEYS, arm, others
from tosc_agents.experiments.findings import Row

LEAK, POINTS, SCORE = "leak_db", "points", "score"
"""Figures that are made from measured ones: PSNR above the floor, a difference of shares, and a trade-off."""


class Absent(Exception):
    """A row that a part needs was not measured; the message names it."""


def clearly_above(a: Row, b: Row, margin: float = 0.0) -> bool:
    """Whether a lies above b by more than the margin and both 95 % intervals: ``a - b > margin + sqrt(ia^2 + ib^2)``.

    The interval of a single sample is unknown (nan) and counts as 0; whoever quotes such a row says "one sample".

    >>> sure, vague = Row("fig3", "lbvq", "accuracy", 0.86, 0.003, 3), Row("fig3", "ibal", "accuracy", 0.85, 0.02, 3)
    >>> clearly_above(sure, vague), clearly_above(sure, replace(vague, mean=0.83))
    (False, True)
    """
    return a.mean - b.mean > margin + math.hypot(_half(a), _half(b))


def _half(row: Row) -> float:
    return 0.0 if math.isnan(row.interval) else row.interval


def scaled(row: Row, factor: float) -> Row:
    """The row times a positive factor."""
    return replace(row, mean=factor * row.mean, interval=factor * row.interval)


def difference(a: Row, b: Row, figure: str) -> Row:
    """``a - b`` as a row of a's arm; of one sample where either is."""
    if math.isnan(a.interval) and math.isnan(b.interval):
        half = math.nan
    else:
        half = math.hypot(_half(a), _half(b))
    return replace(a, figure=figure, mean=a.mean - b.mean, interval=half, samples=min(a.samples, b.samples))


def label(row: Row) -> str:
    """The name of the row's arm in figures."""
    return arm(row.arm).label if row.arm in (*KEYS, *others) else row.arm


def told(row: Row) -> str:
    """A row's figure with interval and unit.

    >>> told(Row("fig3", "lbvq", "accuracy", 0.8659, 0.0004, 3)), told(Row("table1", "ibal", "seconds_per_epoch", 32.5))
    ('86.6 ± 0.0 %', '32.5 s (one sample)')
    """
    scale, form, unit = _form(row)
    shown = format(scale * row.mean, form)
    if math.isnan(row.interval):
        return f"{shown}{unit} (one sample)"
    return (
        f"{shown} ± {format(scale * row.interval, form)}{unit}{' (one sample)' if row.samples == 1 else ''}"
    )


def _form(row: Row) -> tuple[float, str, str]:
    """Factor, format and unit."""
    if row.figure.startswith("seconds"):
        return (1000.0, ".2f", " ms") if row.mean < 0.1 else (1.0, ".1f", " s")
    if row.figure.endswith("_db"):
        return 1.0, ".2f", " dB"
    if row.figure in ("ssim", SCORE):
        return 1.0, ".3f", ""
    return 100.0, ".1f", " points" if row.figure == POINTS else " %"


@dataclass(frozen=True)
class Case:
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


def above(where: str, high: Row, low: Row, *, names: tuple[str, str] | None = None) -> Case:
    """The claim that ``high`` is clearly above ``low``; ``names`` are theirs in the text, by default the arms'."""
    first, second = names or (label(high), label(low))
    text = f"{first} {told(high)} against {second} {told(low)}"
    return Case(where, text, clearly_above(high, low), high.mean - low.mean, second)


def below(where: str, low: Row, high: Row, *, names: tuple[str, str] | None = None) -> Case:
    """The claim that ``low`` is clearly below ``high``, told from the side of ``low``."""
    first, second = names or (label(low), label(high))
    text = f"{first} {told(low)} against {second} {told(high)}"
    return Case(where, text, clearly_above(high, low), high.mean - low.mean, second)


def at_most(where: str, row: Row, limit: Row, *, limit_name: str, rival: str = "") -> Case:
    """The claim that ``row`` is not clearly above ``limit``."""
    text = f"{label(row)} {told(row)}, {limit_name} {told(limit)}"
    return Case(where, text, not clearly_above(row, limit), limit.mean - row.mean, rival or label(row))


def near(where: str, a: Row, b: Row, within: float) -> Case:
    """The claim that the means of two rows differ by at most ``within``, in their unit."""
    text = f"{label(a)} {told(a)} against {label(b)} {told(b)}"
    slack = within - abs(a.mean - b.mean)
    return Case(where, text, slack >= 0, slack, label(b))

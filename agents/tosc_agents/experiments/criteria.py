"""Criteria: what a claim asks of the measurements, decided by a few kinds of comparison."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import Any, TypeAlias

import pandas as pd

from tosc_agents.experiments.article import ATTRIBUTES, TRAINING_SNR_DB
from tosc_agents.experiments.measurements import MEAN_IMAGE, WORDS, Value, over_seeds
from tosc_agents.experiments.methods import KEYS, label
from tosc_agents.leaks import LEAKS

HELD, FAILED, SET_ASIDE, ABSENT = "holds", "fails", "set aside", "not measured"
"""Outcomes. What is set aside was fitted, or could not have come out otherwise: it counts neither way."""

HOLDS, IN_PART, FAILS, UNTESTED = "holds", "holds in part", "does not hold here", "not measured"
"""Verdicts."""

BASELINE = "deepjscc"


class Absent(Exception):
    """A measurement that a criterion needs was not made; the message names it."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a criterion: its kind, the figures or what it lacks, and with whom it failed.

    >>> str(Outcome(FAILED, " in 2 of 3: IBAL 86.0 % against LBVQ 86.4 %"))
    'fails in 2 of 3: IBAL 86.0 % against LBVQ 86.4 %'
    """

    kind: str
    evidence: str
    rivals: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.kind + self.evidence


Judge: TypeAlias = "Callable[[Results], Outcome]"
Choices: TypeAlias = "Iterable[Any] | Callable[[Results], Iterable[Any]]"


@dataclass(frozen=True)
class Criterion:
    """A part of a claim that measurements can decide; ``judge`` raises :class:`Absent` when they cannot."""

    claim: int
    name: str
    judge: Judge


@dataclass(frozen=True)
class Judged:
    """A claim and how far it holds here, by the outcome of each of its criteria."""

    number: int
    text: str
    criteria: tuple[tuple[str, Outcome], ...]

    @property
    def verdict(self) -> str:
        """The verdict on a claim, from its criteria; see ``RULES`` of the claims."""
        kinds = {outcome.kind for _, outcome in self.criteria}
        if HELD in kinds:
            return HOLDS if kinds == {HELD} else IN_PART
        return FAILS if FAILED in kinds else UNTESTED

    @property
    def decisive(self) -> tuple[str, Outcome]:
        """The first criterion that fails; or else that holds, is set aside, was not measured."""
        order = (FAILED, HELD, SET_ASIDE, ABSENT)
        return min(self.criteria, key=lambda one: order.index(one[1].kind))


class Results:
    """The measurements, found again by what they measure.

    Args:
        table: of all experiments.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        self._rows: dict[tuple[str, str], list[Any]] = defaultdict(list)
        for row in over_seeds(table).itertuples():
            self._rows[row.experiment, row.method].append(row)

    def snrs(self, above_db: float = -math.inf) -> list[float]:
        """The SNRs above a limit at which fig3 measured any accuracy, in dB, rising; at least one."""
        rows = [row for key in KEYS for row in self._rows["fig3", key]]
        found = sorted({r.snr_db for r in rows if r.metric == "accuracy" and r.snr_db > above_db})
        if not found:
            raise Absent("fig3's accuracy" + (f" above {above_db:g} dB" if above_db > -math.inf else ""))
        return found

    def accuracy(self, key: str, snr_db: float = TRAINING_SNR_DB) -> Value:
        """The accuracy of a method in fig3."""
        return self._most("fig3", key, ("accuracy",), (snr_db,))

    def leak(self, key: str, snr_db: float = TRAINING_SNR_DB, kind: str = "psnr_db") -> Value:
        """A method's leak to the strongest attacker of fig3: ``psnr_db`` above the floor, at least 0; or ``reid``."""
        found = self._most("fig3", key, LEAKS[kind], (snr_db,))
        if kind != "psnr_db":
            return found
        floor = self._most("fig3", MEAN_IMAGE, ("psnr_db",), (math.nan,)).mean
        return replace(found, mean=max(0.0, found.mean - floor))

    def one(self, experiment: str, key: str, metric: str) -> Value:
        """The largest figure over all attackers of an experiment that has one SNR."""
        return self._most(experiment, key, (metric,), (math.nan, TRAINING_SNR_DB))

    def has(self, experiment: str, key: str, metric: str) -> bool:
        """Check that there is such a figure."""
        return any(row.metric == metric for row in self._rows[experiment, key])

    def _most(self, experiment: str, key: str, metrics: Sequence[str], snrs: Sequence[float]) -> Value:
        found = [
            row
            for row in self._rows[experiment, key]
            if row.metric in metrics and (row.snr_db in snrs or (math.isnan(row.snr_db) and math.nan in snrs))
        ]
        who = label(key) if key in KEYS else key
        if not found:
            at = f" at {snrs[0]:g} dB" if math.isfinite(snrs[0]) else ""
            raise Absent(
                f"{experiment}'s {' or '.join(WORDS.get(m, m) for m in metrics)} of {label(key)}{at}"
            )
        best = max(found, key=lambda row: row.value)
        return Value(who, best.metric, best.value, best.interval, best.samples)


@dataclass(frozen=True)
class Comparison:
    """One comparison: did it turn out as claimed, by how much (negative if not), in words, and with whom."""

    ok: bool
    slack: float
    text: str
    rival: str


def _told(a: Value, b: Value, ok: bool, slack: float) -> Comparison:
    return Comparison(ok, slack, f"{a.who} {_figure(a)} against {b.who} {_figure(b)}", b.who)


def _figure(value: Value) -> str:
    return f"{value} (one sample)" if value.samples == 1 and value.who[:1].isalpha() else str(value)


def above(a: Value, b: Value) -> Comparison:
    """The claim that a lies clearly above b."""
    return _told(a, b, a.above(b), a.mean - b.mean)


def below(a: Value, b: Value) -> Comparison:
    """The claim that a lies clearly below b."""
    return _told(a, b, b.above(a), b.mean - a.mean)


def at_most(a: Value, b: Value) -> Comparison:
    """The claim that a is not clearly above b."""
    return replace(_told(a, b, not a.above(b), b.mean - a.mean), rival=a.who)


def close(a: Value, b: Value, within: float) -> Comparison:
    """The claim that two means differ by at most so much."""
    slack = within - abs(a.mean - b.mean)
    return _told(a, b, slack >= 0, slack)


def between(gap: Value, low: float, high: float) -> Comparison:
    """The claim that a difference of shares is neither clearly below the one limit nor clearly above the other."""
    limits = [Value("", gap.metric, limit) for limit in (low, high)]
    ok = not limits[0].above(gap) and not gap.above(limits[1])
    return Comparison(ok, min(gap.mean - low, high - gap.mean), f"{gap.who} {_figure(gap)}", gap.who)


def every(compare: Callable[..., Comparison], figures: Callable[..., Any], *choices: Choices) -> Judge:
    """Judge that all comparisons turn out as claimed.

    One that does not refutes the criterion, whatever else is absent; only all of them together confirm it.

    Args:
        compare: one of the comparisons above.
        figures: from the results and a choice of each kind to what is compared.
        choices: of each kind, such as methods and SNRs, or a function that finds them in the results.
    """

    def judge(results: Results) -> Outcome:
        made: list[tuple[Comparison, str]] = []
        absent: dict[str, None] = {}
        for item in product(*(kind(results) if callable(kind) else kind for kind in choices)):
            try:
                made.append((compare(*figures(results, *item)), "".join(map(_where, item))))
            except Absent as missing:
                absent[str(missing)] = None
        failed = [one for one in made if not one[0].ok]
        if absent and not failed:
            raise Absent(", ".join(absent))
        worst, where = min(failed or made, key=lambda one: one[0].slack)
        count = f" in all {len(made)}" if not failed else f" in {len(failed)} of {len(made)}"
        told = f"{count if len(made) > 1 else ''}: {worst.text}{where}"
        rivals = tuple(dict.fromkeys(one.rival for one, _ in failed))
        return Outcome(FAILED if failed else HELD, told, rivals if len(rivals) > 1 else ())

    return judge


def _where(choice: Any) -> str:
    if isinstance(choice, float):
        return f" at {choice:g} dB"
    return f" in {WORDS[choice]}" if choice in WORDS else f" on {choice}" if choice in ATTRIBUTES else ""


def trend(figure: Callable[[Results, str], Value], keys: Sequence[str]) -> Judge:
    """Judge that a figure rises along the methods: clearly from first to last, and clearly down at no step."""

    def judge(results: Results) -> Outcome:
        found = [figure(results, key) for key in keys]
        risen = found[-1].above(found[0])
        fallen = any(a.above(b) for a, b in pairwise(found))
        return Outcome(HELD if risen and not fallen else FAILED, f": {listed(found)}")

    return judge


def listed(values: Iterable[Value]) -> str:
    """Figures with their names."""
    return ", ".join(f"{value.who} {_figure(value)}" for value in values)


def fitted(judge: Judge, why: str) -> Judge:
    """Set aside what a criterion finds that was made to come out so."""
    return lambda results: Outcome(SET_ASIDE, f"{judge(results).evidence}; {why}")

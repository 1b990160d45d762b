"""What an experiment hands to the report: a section of measurements, tables and plots, and sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tosc_agents.training.evaluate import Figure
from tosc_env.errors import InputError

NOISE, TRAININGS, FOLDS = "channel noise", "trainings", "folds"
"""What the samples behind an interval differ in."""


@dataclass(frozen=True)
class Measurement:
    """One measured figure, of one method, at one SNR, by one attacker or none.

    Attributes:
        experiment: ``fig3``, ``table1``, ``table2`` or ``fig4``.
        method: key of the :class:`~tosc_agents.experiments.methods.Method`.
        figure: ``accuracy``, ``psnr_db``, ``ssim``, ``psnr_clipped_db``, ``reid_pixels``, ``reid_match``,
            ``reid_query``, ``infer_label``, ``infer_`` and an attribute, ...; shares lie in [0, 1].
        mean: over the samples.
        interval: half-width of the 95 % interval of the mean; nan for a single sample.
        samples: how many.
        over: what they differ in: :data:`NOISE`, :data:`TRAININGS` or :data:`FOLDS`.
        snr_db: of the link that the figure belongs to; None where there is none.
        attacker: the attacker's key; None for what no attacker has a part in.
    """

    experiment: str
    method: str
    figure: str
    mean: float
    interval: float = math.nan
    samples: int = 1
    over: str = NOISE
    snr_db: float | None = None
    attacker: str | None = None

    @classmethod
    def of(
        cls, experiment: str, method: str, figure: str, value: Mapping[str, Any], seeds: int, **at: Any
    ) -> Measurement:
        """From the plain values of an evaluation's figure, whose interval is over draws of the channel noise."""
        interval = value["interval95"]
        spread = (math.nan, 1) if interval is None else (interval, seeds)
        return cls(experiment, method, figure, value["mean"], *spread, **at)

    def plain(self) -> dict[str, Any]:
        """As plain values; JSON knows no nan, so a single sample has the interval None."""
        return {**asdict(self), "interval": None if math.isnan(self.interval) else self.interval}

    def text(self, digits: int, scale: float = 1.0) -> str:
        """Mean and interval times a scale.

        >>> Measurement("fig3", "lbvq", "accuracy", 0.8601, 0.0012).text(2, 100)
        '86.01 ± 0.12'
        """
        spread = "" if math.isnan(self.interval) else f" ± {self.interval * scale:.{digits}f}"
        return f"{self.mean * scale:.{digits}f}{spread}"


@dataclass(frozen=True)
class Table:
    """A table for people. Cells are text, numbers, or None for an empty one; tables can be sorted in the report."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]
    caption: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise InputError(
                    f"table {self.title!r} has {len(self.columns)} columns, a row has {len(row)}."
                )


@dataclass(frozen=True)
class Plot:
    """A PNG or SVG in the result folder. ``faces``: it shows people and stays on the user's disk."""

    title: str
    path: Path
    caption: str = ""
    faces: bool = False


@dataclass
class Section:
    """What one experiment found.

    Attributes:
        notes: sentences: data, threat model, seeds, what was trained shorter, what is not said.
        details: plain values for the JSON: floors, chance, trainings, threat models.
    """

    experiment: str
    title: str
    notes: list[str] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)


def pick(
    measurements: Iterable[Measurement],
    figure: str,
    *,
    method: str | None = None,
    snr_db: float | None = None,
) -> list[Measurement]:
    """The measurements of one figure; further arguments narrow the choice.

    >>> both = [Measurement("fig3", "lbvq", "accuracy", 0.8, snr_db=s) for s in (0.0, 12.0)]
    >>> [m.snr_db for m in pick(both, "accuracy", method="lbvq", snr_db=12.0)]
    [12.0]
    """
    return [
        m
        for m in measurements
        if m.figure == figure and method in (None, m.method) and (snr_db is None or m.snr_db == snr_db)
    ]


def strongest(
    measurements: Iterable[Measurement], *, method: str, snr_db: float, figures: Sequence[str]
) -> Measurement | None:
    """The attacker's with the largest mean among several figures that measure one leak; None without any.

    >>> by = {a: Measurement("fig3", "vq", "ssim", v, snr_db=0.0, attacker=a) for a, v in (("x", 0.1), ("y", 0.2))}
    >>> strongest(by.values(), method="vq", snr_db=0.0, figures=["ssim"]).attacker
    'y'
    """
    found = (
        m
        for m in measurements
        if m.figure in figures and m.method == method and m.snr_db == snr_db and m.attacker
    )
    return max(found, key=lambda m: m.mean, default=None)


def over_trainings(measurements: Iterable[Measurement]) -> list[Measurement]:
    """Measurements of several trainings, joined where they are of the same thing: mean and interval over the trainings.

    What only one training has keeps its own interval, over the channel's noise.

    >>> joined = over_trainings([Measurement("fig3", "lbvq", "accuracy", v) for v in (0.8, 0.9)])[0]
    >>> round(joined.mean, 3), joined.samples, joined.over
    (0.85, 2, 'trainings')
    """
    groups: dict[tuple[Any, ...], list[Measurement]] = {}
    for m in measurements:
        groups.setdefault((m.experiment, m.method, m.figure, m.snr_db, m.attacker), []).append(m)
    joined = []
    for same in groups.values():
        value = Figure.of([m.mean for m in same])
        several = replace(
            same[0], mean=value.mean, interval=value.interval, samples=len(same), over=TRAININGS
        )
        joined.append(several if len(same) > 1 else same[0])
    return joined

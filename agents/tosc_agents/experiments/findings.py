"""What an experiment hands to the report: rows of figures, tables and pictures for people, and sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tosc_agents.training.evaluate import Figure
from tosc_env.errors import InputError

NOISE, TRAININGS, FOLDS = "channel noise", "trainings", "folds"
"""What the samples behind an interval differ in."""


@dataclass(frozen=True)
class Row:
    """One measured figure, of one arm, at one SNR, by one attacker or none.

    Attributes:
        experiment: ``fig3``, ``table1``, ``table2`` or ``fig4``.
        arm: key of the :class:`~tosc_agents.experiments.arms.Arm`.
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
    arm: str
    figure: str
    mean: float
    interval: float = math.nan
    samples: int = 1
    over: str = NOISE
    snr_db: float | None = None
    attacker: str | None = None

    def plain(self) -> dict[str, Any]:
        """As plain values; JSON knows no nan, so a single sample has the interval None."""
        return {**asdict(self), "interval": None if math.isnan(self.interval) else self.interval}


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
class Picture:
    """A PNG or SVG in the result folder. ``faces``: it shows people and stays on the user's disk."""

    title: str
    path: Path
    caption: str = ""
    faces: bool = False


@dataclass
class Findings:
    """What one experiment found."""

    experiment: str
    title: str
    notes: list[str] = field(default_factory=list)
    """Sentences: data, threat model, seeds, what was trained shorter, what is not said."""
    rows: list[Row] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    """Plain values for the JSON: floors, chance, trainings, threat models."""


def pick(
    rows: Iterable[Row],
    figure: str,
    *,
    arm: str | None = None,
    attacker: str | None = None,
    snr_db: float | None = None,
) -> list[Row]:
    """The rows of one figure; further arguments narrow the choice.

    >>> rows = [Row("fig3", "lbvq", "accuracy", 0.8, snr_db=s) for s in (0.0, 12.0)]
    >>> [row.snr_db for row in pick(rows, "accuracy", arm="lbvq", snr_db=12.0)]
    [12.0]
    """
    return [
        row
        for row in rows
        if row.figure == figure
        and (arm is None or row.arm == arm)
        and (attacker is None or row.attacker == attacker)
        and (snr_db is None or row.snr_db == snr_db)
    ]


def strongest(rows: Iterable[Row], *, arm: str, snr_db: float, figures: Sequence[str]) -> Row | None:
    """The attacker's row with the largest mean among several figures that measure one leak; None without any.

    >>> rows = [Row("fig3", "lbvq", "psnr_db", v, snr_db=0.0, attacker=a) for v, a in ((13.0, "a"), (13.2, "b"))]
    >>> strongest(rows, arm="lbvq", snr_db=0.0, figures=["psnr_db"]).attacker
    'b'
    """
    found = [r for r in rows if r.figure in figures and r.arm == arm and r.snr_db == snr_db and r.attacker]
    return max(found, key=lambda row: row.mean, default=None)


def over_trainings(per_seed: Sequence[Sequence[Row]]) -> list[Row]:
    """Rows of several trainings of the same thing, joined: mean and interval over the trainings.

    One training keeps its own rows, whose interval is over the channel's noise. A figure that only some of the
    trainings have is joined over those.

    >>> one, two = ([Row("fig3", "lbvq", "accuracy", v)] for v in (0.8, 0.9))
    >>> joined = over_trainings([one, two])[0]
    >>> round(joined.mean, 3), joined.samples, joined.over
    (0.85, 2, 'trainings')
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for rows in per_seed:
        for row in rows:
            groups.setdefault((row.experiment, row.arm, row.figure, row.snr_db, row.attacker), []).append(row)
    joined = []
    for (experiment, arm, figure, snr_db, attacker), same in groups.items():
        if len(same) == 1:
            joined.append(same[0])
            continue
        value = Figure.of([row.mean for row in same])
        joined.append(
            Row(
                experiment,
                arm,
                figure,
                value.mean,
                value.interval,
                len(same),
                TRAININGS,
                snr_db,
                attacker,
            )
        )
    return joined

"""What table 2's cells found: rows, the table beside the article's, bars and sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

from tosc_agents.experiments import article
from tosc_agents.experiments.arms import Arm
from tosc_agents.experiments.charts import Series, bars
from tosc_agents.experiments.faces.calibrated import Calibration
from tosc_agents.experiments.findings import FOLDS, Findings, Picture, Row, Table
from tosc_agents.experiments.systems import POINTS, RIVAL
from tosc_agents.experiments.trainings import Recipe
from tosc_agents.training.evaluate import Figure
from tosc_env.game import GameConfig

KINDS = ("accuracy", "balanced")


class Asked(Protocol):
    """What was asked of :class:`~tosc_agents.experiments.faces.table2.Table2`, as its findings repeat it."""

    setting: GameConfig
    stand_in: str | None
    recipes: dict[str, Recipe]
    network: dict[str, Any]
    arms: tuple[Arm, ...]
    folds: int
    snr_db: float

    @property
    def names(self) -> list[str]: ...


def findings(
    table: Asked,
    results: Mapping[tuple[str, int], Mapping[str, Any]],
    fitted: Calibration | None,
    folder: Path,
    notes: Sequence[str],
) -> Findings:
    """Of the measured folds, by training key and fold; the picture goes into ``folder``."""
    rows = [row for arm in table.arms for row in _rows(table, arm, results)]
    by_fold = [next(results[at] for at in results if at[1] == k) for k in range(table.folds)]
    positives, constant = (
        {name: fmean(result[what][name] for result in by_fold) for name in table.names}
        for what in ("positives", "constant")
    )
    images = sum(result["images"] for result in by_fold)
    found = Findings("table2", "Attributes of faces, by cross-validation", rows=rows)
    found.notes = [*_notes(table, images, positives, fitted), *notes]
    found.tables = [_table(table, rows, positives, constant)]
    found.pictures = [_bars(table, rows, folder)]
    found.details = {
        "setting": table.setting.plain(),
        "stand_in": table.stand_in is not None,
        "images": images,
        "folds": table.folds,
        "snr_db": table.snr_db,
        "positives": positives,
        "constant": constant,
        "recipes": {key: recipe.plain() for key, recipe in table.recipes.items()},
        "network": table.network,
        "calibration": None if fitted is None else asdict(fitted),
    }
    return found


def _rows(table: Asked, arm: Arm, results: Mapping[tuple[str, int], Mapping[str, Any]]) -> list[Row]:
    """The arm's figures, each over the folds, and their means over the attributes."""
    per_fold = [results[arm.training, k]["arms"][arm.key] for k in range(table.folds)]
    rows = []
    for kind in KINDS:
        values = {f"{kind}_{name}": [found[kind][name] for found in per_fold] for name in table.names}
        values[kind] = [fmean(found[kind].values()) for found in per_fold]
        for figure, one_each in values.items():
            told = Figure.of(one_each)
            rows.append(
                Row(
                    "table2",
                    arm.key,
                    figure,
                    told.mean,
                    told.interval,
                    table.folds,
                    FOLDS,
                    table.snr_db,
                )
            )
    return rows


def _table(
    table: Asked, rows: Sequence[Row], positives: Mapping[str, float], constant: Mapping[str, float]
) -> Table:
    at = {(row.arm, row.figure): row for row in rows}
    columns = ["scheme"]
    for name in table.names:
        columns += [f"{told(name)}: plain", f"{told(name)}: balanced", f"{told(name)}: article"]
    columns += ["mean: plain", "mean: balanced", "mean: article"]
    lines: list[list[str | float | None]] = []
    for arm in table.arms:
        theirs = article.CELEBA.get(arm.article or "", {})
        line: list[str | float | None] = [arm.label]
        for name in table.names:
            line += [_percent(at[arm.key, f"{kind}_{name}"]) for kind in KINDS] + [theirs.get(name)]
        whole = all(name in theirs for name in table.names)
        mean = round(fmean(theirs[name] for name in table.names), 1) if whole else None
        lines.append([*line, *(_percent(at[arm.key, kind]) for kind in KINDS), mean])
    guess: list[str | float | None] = ["(best constant answer)"]
    for name in table.names:
        guess += [f"{constant[name] * 100:.1f}", "50.0", None]
    lines.append([*guess, f"{fmean(constant.values()) * 100:.1f}", "50.0", None])
    shares = ", ".join(f"{told(name)} {share:.1%}" for name, share in positives.items())
    return Table(
        f"Accuracy at {table.snr_db:g} dB, in percent",
        columns,
        lines,
        f"Mean and 95 % interval over {table.folds} folds. Plain: threshold 0. Balanced: mean of sensitivity and "
        "specificity where the threshold is the log-odds of the fold's training images. Article: as printed, on a test "
        f"set that it does not describe. Share of positives: {shares}.",
    )


def _bars(table: Asked, rows: Sequence[Row], folder: Path) -> Picture:
    at = {(row.arm, row.figure): row for row in rows}
    series = [
        Series(
            told(name),
            [at[arm.key, f"balanced_{name}"].mean for arm in table.arms],
            [at[arm.key, f"balanced_{name}"].interval for arm in table.arms],
        )
        for name in table.names
    ]
    path = folder / "table2.svg"
    title = f"Balanced accuracy at {table.snr_db:g} dB"
    labels = [arm.label for arm in table.arms]
    bars(
        path,
        labels,
        series,
        title=title,
        xlabel="balanced accuracy",
        references=[("a constant answer", 0.5)],
        percent=True,
    )
    return Picture(title, path, f"Mean and 95 % interval over {table.folds} folds.")


def _notes(
    table: Asked, images: int, positives: Mapping[str, float], fitted: Calibration | None
) -> list[str]:
    notes = [] if table.stand_in is None else [table.stand_in]
    rare = min(positives, key=lambda name: min(positives[name], 1 - positives[name]))
    notes += [
        f"{table.folds}-fold cross-validation over {images:,} images: each is tested once, by models that have not "
        f"seen it; folds are stratified by {told(rare)}. Intervals are over the folds, whose training images overlap, "
        "so they are somewhat too narrow.",
        f"One model per scheme recognises all {len(table.names)} attributes at once; the article trains one for each.",
        "Balanced accuracy is measured at the threshold that is best for classes of equal weight if logits are "
        "calibrated, the log-odds of the training images; label-only shifts it at the transmitter, where it decides.",
    ]
    if fitted is not None:
        notes.append(_fit_note(fitted))
    return notes


def _fit_note(fitted: Calibration) -> str:
    text = (
        f"Calibrated DP: fitted, not found. Its constant c = {fitted.constant:.3g} is one for all folds, fitted on the "
        f"test images of the first so that DP 0.05 lies {POINTS:g} points of mean balanced accuracy under "
        f"{RIVAL.upper()}: {fitted.target:.1%} wanted, {fitted.reached:.1%} reached"
    )
    if fitted.within:
        return f"{text}."
    return f"{text}, the nearest that the noise it was trained with allows: the fit did not succeed."


def told(name: str) -> str:
    """An attribute's name for people.

    >>> told("Wavy_Hair")
    'Wavy Hair'
    """
    return name.replace("_", " ")


def _percent(row: Row) -> str:
    spread = "" if math.isnan(row.interval) else f" ± {row.interval * 100:.1f}"
    return f"{row.mean * 100:.1f}{spread}"

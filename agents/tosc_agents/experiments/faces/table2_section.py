"""What table 2's jobs found: measurements, the table beside the article's, bars and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from tosc_agents.experiments import article
from tosc_agents.experiments.charts import bars
from tosc_agents.experiments.faces.balanced import Calibration
from tosc_agents.experiments.faces.table2 import SNR_DB, Table2
from tosc_agents.experiments.jobs import RunCache
from tosc_agents.experiments.methods import Method
from tosc_agents.experiments.sections import FOLDS, Measurement, Plot, Section, Table
from tosc_agents.experiments.systems import POINTS, RIVAL
from tosc_agents.training.evaluate import Figure

KINDS = ("accuracy", "balanced")


def section(table: Table2, cache: RunCache, folder: Path) -> Section:
    """Measurements, the table with the article's figures beside ours, and the bars, once all jobs are finished."""
    results = {at: cache.result(job) for at, job in table.measured.items()}
    fitted = None if table.calibration is None else Calibration(**cache.result(table.calibration))
    measurements = [m for method in table.methods for m in _measurements(table, method, results)]
    by_fold = [next(results[at] for at in results if at[1] == k) for k in range(table.folds)]
    positives, constant = (
        {name: fmean(result[what][name] for result in by_fold) for name in table.names}
        for what in ("positives", "constant")
    )
    images = sum(result["images"] for result in by_fold)
    return Section(
        "table2",
        "Attributes of faces, by cross-validation",
        _notes(table, images, positives, fitted),
        measurements,
        [_table(table, measurements, positives, constant)],
        [_bars(table, measurements, folder)],
        {
            "setting": table.setting.plain(),
            "stand_in": table.stand_in is not None,
            "images": images,
            "folds": table.folds,
            "snr_db": SNR_DB,
            "positives": positives,
            "constant": constant,
            "recipes": {key: asdict(recipe) for key, recipe in table.recipes.items()},
            "network": table.network,
            "calibration": None if fitted is None else asdict(fitted),
        },
    )


def _measurements(
    table: Table2, method: Method, results: Mapping[tuple[str, int], Mapping[str, Any]]
) -> list[Measurement]:
    """The method's figures, each over the folds, and their means over the attributes."""
    per_fold = [results[method.training, k]["methods"][method.key] for k in range(table.folds)]
    found = []
    for kind in KINDS:
        values = {f"{kind}_{name}": [one[kind][name] for one in per_fold] for name in table.names}
        values[kind] = [fmean(one[kind].values()) for one in per_fold]
        for figure, one_each in values.items():
            value = Figure.of(one_each)
            told = value.mean, value.interval, table.folds, FOLDS, SNR_DB
            found.append(Measurement("table2", method.key, figure, *told))
    return found


def _table(
    table: Table2,
    measurements: Sequence[Measurement],
    positives: Mapping[str, float],
    constant: Mapping[str, float],
) -> Table:
    percent = {(m.method, m.figure): m.text(1, 100) for m in measurements}
    wholes = (*(told(name) for name in table.names), "mean")
    columns = ["scheme", *(f"{name}: {what}" for name in wholes for what in ("plain", "balanced", "article"))]
    lines: list[list[str | float | None]] = []
    for method in table.methods:
        theirs = article.CELEBA.get(method.article or "", {})
        line: list[str | float | None] = [method.label]
        for name in table.names:
            line += [percent[method.key, f"{kind}_{name}"] for kind in KINDS] + [theirs.get(name)]
        complete = all(name in theirs for name in table.names)
        mean = round(fmean(theirs[name] for name in table.names), 1) if complete else None
        lines.append([*line, *(percent[method.key, kind] for kind in KINDS), mean])
    guess: list[str | float | None] = ["(best constant answer)"]
    for share in (*(constant[name] for name in table.names), fmean(constant.values())):
        guess += [f"{share * 100:.1f}", "50.0", None]
    shares = ", ".join(f"{told(name)} {share:.1%}" for name, share in positives.items())
    return Table(
        f"Accuracy at {SNR_DB:g} dB, in percent",
        columns,
        [*lines, guess],
        f"Mean and 95 % interval over {table.folds} folds. Plain: threshold 0. Balanced: mean of sensitivity and "
        "specificity where the threshold is the log-odds of the fold's training images. Article: as printed, on a test "
        f"set that it does not describe. Share of positives: {shares}.",
    )


def _bars(table: Table2, measurements: Sequence[Measurement], folder: Path) -> Plot:
    at = {(m.method, m.figure): (m.mean, m.interval) for m in measurements}
    series = {
        told(name): [at[method.key, f"balanced_{name}"] for method in table.methods] for name in table.names
    }
    path = folder / "table2.svg"
    title = f"Balanced accuracy at {SNR_DB:g} dB"
    labels = [method.label for method in table.methods]
    guess = [("a constant answer", 0.5)]
    bars(path, labels, series, title=title, xlabel="balanced accuracy", references=guess)
    return Plot(title, path, f"Mean and 95 % interval over {table.folds} folds.")


def _notes(
    table: Table2, images: int, positives: Mapping[str, float], fitted: Calibration | None
) -> list[str]:
    rare = min(positives, key=lambda name: min(positives[name], 1 - positives[name]))
    return [
        *([] if table.stand_in is None else [table.stand_in]),
        f"{table.folds}-fold cross-validation over {images:,} images: each is tested once, by models that have not "
        f"seen it; folds are stratified by {told(rare)}. Intervals are over the folds, whose training images overlap, "
        "so they are somewhat too narrow.",
        f"One model per scheme recognises all {len(table.names)} attributes at once; the article trains one for each.",
        "Balanced accuracy is measured at the threshold that is best for classes of equal weight if logits are "
        "calibrated, the log-odds of the training images; label-only shifts it at the transmitter, where it decides.",
        *([] if fitted is None else [fit_note(fitted)]),
    ]


def fit_note(fitted: Calibration) -> str:
    """What a reader must know of the fitted noise."""
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

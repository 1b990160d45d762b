"""Measurements: one DataFrame for all experiments, with a row for each figure.

=============  ================================================================================================
``experiment``  ``fig3``, ``table1``, ``table2``, ``fig4``
``method``      key of a :class:`~tosc_agents.experiments.methods.Method`, or what takes its place: :data:`MEAN_IMAGE`,
                :data:`CLASS_MEAN`, :data:`CONSTANT`, :data:`ORIGINAL`
``knob``        the method's settings, such as ``epsilon=0.1``
``metric``      those of :data:`WORDS`, ``seconds_per_epoch``, ``macs``, ...; shares lie in [0, 1]
``snr_db``      of the link that the figure belongs to; nan where there is none
``seed``        of the training, or number of the fold
``attacker``    its key, and ``threat`` what it had; empty for what no attacker has a part in
``value``       the mean over ``samples``, which differ in ``over``, with the half-width of its 95 % ``interval``
                (nan for a single sample)
=============  ================================================================================================

Tables, charts and claims are made from it, once :func:`over_seeds` has joined what differs in its seed alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tosc_agents.experiments.methods import KEYS, label, method, others
from tosc_agents.training.evaluate import Figure
from tosc_env.errors import InputError

NOISE, TRAININGS, FOLDS, REPEATS = "channel noise", "trainings", "folds", "repeats"
"""What the samples behind an interval differ in."""

MEAN_IMAGE, CLASS_MEAN, CONSTANT, ORIGINAL = "mean-image", "class-mean", "constant", "original"
"""In the place of a method: knowing nothing, the class alone, the best constant answer, the images themselves."""

WORDS = {
    "accuracy": "accuracy",
    "psnr_db": "PSNR",
    "psnr_clipped_db": "PSNR on the clipped scale of published code",
    "ssim": "SSIM",
    "reid_pixels": "re-identification by nearest reconstruction",
    "reid_match": "re-identification, learned",
    "reid_query": "re-identification by encoding the candidates",
    "infer_label": "label inferred",
}
"""Metrics in words, in the order of tables."""

COLUMNS: dict[str, Any] = {
    "experiment": "",
    "method": "",
    "knob": "",
    "metric": "",
    "snr_db": math.nan,
    "seed": 0,
    "attacker": "",
    "threat": "",
    "value": math.nan,
    "interval": math.nan,
    "samples": 1,
    "over": NOISE,
}
"""The columns, and what stands in one that a row does not name."""

KINDS = {name: type(value) for name, value in COLUMNS.items()}

FIGURE = ["experiment", "method", "metric", "snr_db", "attacker"]
"""The columns that say which figure it is, whatever the seed."""


def frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """The rows as one DataFrame; the knob of a method is filled in.

    Raises:
        InputError: a value is not finite, a figure is there twice, or a row has another column.
    """
    made = [{**COLUMNS, "knob": knob(row["method"]), **row} for row in rows]
    if strange := {name for row in made for name in row if name not in COLUMNS}:
        raise InputError(f"measurements have no column {', '.join(sorted(strange))}.")
    table = pd.DataFrame(made, columns=list(COLUMNS)).astype(KINDS)
    for what, wrong in (
        ("is not a finite number", ~np.isfinite(table.value)),
        ("is there twice", table.duplicated([*FIGURE, "seed"])),
    ):
        for bad in table[wrong].itertuples():
            at = f" at {bad.snr_db:g} dB" if math.isfinite(bad.snr_db) else ""
            raise InputError(f"{bad.metric} of {bad.method} in {bad.experiment}{at} {what}: {bad.value}.")
    return table


def read(path: Any) -> pd.DataFrame:
    """The measurements in a ``results.csv``, to the last bit."""
    empty = {name: "" for name, kind in KINDS.items() if kind is float}  # and a method may be called "NA"
    return frame(pd.read_csv(path, dtype=KINDS, keep_default_na=False, na_values=empty).to_dict("records"))


def rows_of(figures: Mapping[str, Mapping[str, float]], **at: Any) -> list[dict[str, Any]]:
    """A row for each metric of each method."""
    return [
        {**at, "method": name, "metric": metric, "value": value}
        for name, by_metric in figures.items()
        for metric, value in by_metric.items()
    ]


def of_evaluation(
    experiment: str, key: str, result: Mapping[str, Any], *, seed: int = 0, threat: str = ""
) -> list[dict[str, Any]]:
    """The rows of the evaluation in a job's result, whose intervals are over the channel's noise."""
    evaluation = result["evaluation"]
    by_attacker = {"": {snr: {"accuracy": figure} for snr, figure in evaluation["accuracy"].items()}}
    return [
        {"experiment": experiment, "method": key, "metric": metric, "snr_db": float(snr), "seed": seed}
        | {"attacker": attacker, "threat": threat if attacker else ""}
        | of_figure(figure, int(evaluation["seeds"]))
        for attacker, by_snr in (by_attacker | evaluation["leaks"]).items()
        for snr, figures in by_snr.items()
        for metric, figure in figures.items()
    ]


def of_figure(figure: Mapping[str, Any], samples: int) -> dict[str, Any]:
    """Value, interval and samples of a figure's plain values."""
    if figure["interval95"] is None:
        return {"value": figure["mean"]}
    return {"value": figure["mean"], "interval": figure["interval95"], "samples": samples}


def knob(key: str) -> str:
    """The settings of a method."""
    options = method(key).options if key in KEYS or key in others else {}
    return " ".join(f"{name}={value}" for name, value in options.items())


def over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """The figures of several trainings or folds joined: mean and interval over them.

    What only one training has keeps its own interval, over the channel's noise.

    >>> same = {"experiment": "fig3", "method": "vq", "metric": "accuracy"}
    >>> rows = [{**same, "value": value, "seed": seed} for seed, value in enumerate((0.8, 0.9))]
    >>> over_seeds(frame(rows))[["value", "samples", "over"]].round(3).to_dict("records")
    [{'value': 0.85, 'samples': 2, 'over': 'trainings'}]
    """
    several = table.duplicated(FIGURE, keep=False)
    joined = table[~several].to_dict("records")
    for _, same in table[several].groupby(FIGURE, sort=False, dropna=False):
        row, figure = same.iloc[0].to_dict(), Figure.of(same.value.tolist())
        over = FOLDS if row["over"] == FOLDS else TRAININGS
        row |= {"value": figure.mean, "interval": figure.interval, "samples": len(same), "over": over}
        joined.append(row)
    return frame(joined)


def strongest(table: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """For each method and SNR the row of the attacker that got most by any of these metrics."""
    found = table[table.metric.isin(metrics) & (table.attacker != "")]
    return found.loc[found.groupby(["method", "snr_db"], sort=False, dropna=False).value.idxmax()]


def said(metric: str, value: float, interval: float = math.nan) -> str:
    """A figure as people read it, with its interval where there is one.

    >>> said("accuracy", 0.86, 0.003), said("psnr_db", 12.5), said("seconds_per_image", 0.002)
    ('86.0 ± 0.3 %', '12.50 dB', '2.00 ms')
    """
    if metric.startswith("seconds"):
        scale, digits, unit = (1000.0, 2, " ms") if value < 0.1 else (1.0, 1, " s")
    elif metric.endswith("_db"):
        scale, digits, unit = 1.0, 2, " dB"
    elif metric in ("ssim", "score"):
        scale, digits, unit = 1.0, 3, ""
    else:
        scale, digits, unit = 100.0, 1, " points" if metric == "points" else " %"
    spread = "" if math.isnan(interval) else f" ± {interval * scale:.{digits}f}"
    return f"{value * scale:.{digits}f}{spread}{unit}"


def wide(table: pd.DataFrame, index: Any, columns: str, *, interval: bool = True) -> pd.DataFrame:
    """The figures as people read them, one in each cell; empty where there is none."""
    spread = table.interval if interval else pd.Series(math.nan, table.index)
    text = list(map(said, table.metric, table.value, spread))
    return table.assign(text=text).pivot(index=index, columns=columns, values="text").fillna("")


def written(values: pd.Series, form: str) -> pd.Series:
    """Numbers in a form such as ``{:.2f}``, nothing where there is none."""
    return values.map(form.format, na_action="ignore").astype(object).fillna("")


def in_order(keys: Iterable[str]) -> list[str]:
    """Keys of methods, each once, in the order of every table and legend; registered ones come last."""
    return sorted(dict.fromkeys(keys), key=lambda key: KEYS.index(key) if key in KEYS else len(KEYS))


def by_scheme(cells: pd.DataFrame, last: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Rows of methods in their order, named as in plots; after them those of ``last``, by their names."""
    ends = last or {}
    ordered = cells.loc[[*in_order(key for key in cells.index if key not in ends), *ends]]
    ordered.insert(0, "scheme", [ends.get(key) or label(key) for key in ordered.index])
    return ordered


def intervals(table: pd.DataFrame) -> str:
    """The meaning of these rows' intervals, in a sentence.

    >>> intervals(frame([dict(experiment="fig3", method="vq", metric="accuracy", value=0.8, interval=0.1, samples=3)]))
    '±: 95 % interval of the mean over 3 draws of the channel noise.'
    """
    several = table[table.samples > 1].groupby(["over", "samples"], sort=False).method.unique()
    if several.empty:
        return "Single samples: no interval."
    whose = {group: f" ({', '.join(map(label, keys))})" for group, keys in several.items()}
    if len(whose) > 1:
        whose[max(several.index, key=lambda group: len(several[group]))] = " (most)"
    else:
        whose = dict.fromkeys(whose, "")
    draws = {NOISE: "draws of the channel noise"}
    told = "; ".join(f"{samples} {draws.get(over, over)}{who}" for (over, samples), who in whose.items())
    return f"±: 95 % interval of the mean over {told}."

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
from dataclasses import dataclass, replace
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

FIGURE = ["experiment", "method", "metric", "snr_db", "attacker"]
"""The columns that say which figure it is, whatever the seed."""


@dataclass(frozen=True)
class Value:
    """A figure in a comparison: whose, of which metric, its mean and the half-width of its 95 % interval (or nan).

    >>> mine, its = Value("IBAL", "accuracy", 0.86, 0.003, 3), Value("LBVQ", "accuracy", 0.85, 0.02, 3)
    >>> str(mine), mine.above(its), mine.above(its - replace(its, mean=0.02))
    ('86.0 ± 0.3 %', False, True)
    """

    who: str
    metric: str
    mean: float
    interval: float = math.nan
    samples: int = 1

    @property
    def half(self) -> float:
        """Half the interval; a single sample's is unknown and counts as 0."""
        return 0.0 if math.isnan(self.interval) else self.interval

    def above(self, other: Value) -> bool:
        """Check that it lies clearly above: by more than both 95 % intervals, ``a - b > sqrt(ia^2 + ib^2)``."""
        return self.mean - other.mean > math.hypot(self.half, other.half)

    def __sub__(self, other: Value) -> Value:
        unknown = math.isnan(self.interval) and math.isnan(other.interval)
        half = math.nan if unknown else math.hypot(self.half, other.half)
        return replace(
            self, mean=self.mean - other.mean, interval=half, samples=min(self.samples, other.samples)
        )

    def __mul__(self, factor: float) -> Value:
        return replace(self, mean=factor * self.mean, interval=factor * self.interval)

    def __str__(self) -> str:
        scale, digits, unit = self._form()
        spread = "" if math.isnan(self.interval) else f" ± {self.interval * scale:.{digits}f}"
        return f"{self.mean * scale:.{digits}f}{spread}{unit}"

    def _form(self) -> tuple[float, int, str]:
        if self.metric.startswith("seconds"):
            return (1000.0, 2, " ms") if self.mean < 0.1 else (1.0, 1, " s")
        if self.metric.endswith("_db"):
            return 1.0, 2, " dB"
        if self.metric in ("ssim", "score"):
            return 1.0, 3, ""
        return 100.0, 1, " points" if self.metric == "points" else " %"


def frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """The rows as one DataFrame.

    Raises:
        InputError: a value is not finite, a figure is there twice, or a row has another column.
    """
    made = [{**COLUMNS, **row} for row in rows]
    if strange := {name for row in made for name in row if name not in COLUMNS}:
        raise InputError(f"measurements have no column {', '.join(sorted(strange))}.")
    table = pd.DataFrame(made, columns=list(COLUMNS)).astype({k: type(v) for k, v in COLUMNS.items()})
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
    kinds = {name: type(value) for name, value in COLUMNS.items()}
    empty = {name: "" for name, kind in kinds.items() if kind is float}  # and a method may be called "NA"
    table = pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values=empty)
    return frame(table.to_dict("records"))


def of_evaluation(
    experiment: str, key: str, evaluation: Mapping[str, Any], *, seed: int = 0, threat: str = ""
) -> list[dict[str, Any]]:
    """The rows of an evaluation's plain values, whose intervals are over the channel's noise."""
    by_attacker = {"": {snr: {"accuracy": figure} for snr, figure in evaluation["accuracy"].items()}}
    rows = []
    for attacker, by_snr in (by_attacker | evaluation["leaks"]).items():
        for snr, figures in by_snr.items():
            for metric, figure in figures.items():
                at = {
                    "experiment": experiment,
                    "method": key,
                    "knob": knob(key),
                    "metric": metric,
                    "snr_db": float(snr),
                }
                known = {"seed": seed, "attacker": attacker, "threat": threat if attacker else ""}
                rows.append({**at, **known, **of_figure(figure, int(evaluation["seeds"]))})
    return rows


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
        joined.append(
            {**row, "value": figure.mean, "interval": figure.interval, "samples": len(same), "over": over}
        )
    return frame(joined)


def strongest(table: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """For each method and SNR the row of the attacker that got most by any of these metrics."""
    found = table[table.metric.isin(metrics) & (table.attacker != "")]
    return found.loc[found.groupby(["method", "snr_db"], sort=False, dropna=False).value.idxmax()]


def values(table: pd.DataFrame) -> list[Value]:
    """The rows as values, whose names are what plots show."""
    return [Value(label(r.method), r.metric, r.value, r.interval, r.samples) for r in table.itertuples()]


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

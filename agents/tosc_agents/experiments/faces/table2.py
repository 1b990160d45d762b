"""Table 2: attributes of faces, every scheme, by cross-validation over all faces at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from tosc_agents.experiments import article
from tosc_agents.experiments.charts import in_order
from tosc_agents.experiments.faces.balanced import Calibration, fit_constant, log_odds, measure
from tosc_agents.experiments.faces.data import face_setting, fold, rarest, whole
from tosc_agents.experiments.jobs import Job, RunCache
from tosc_agents.experiments.measurements import CONSTANT, FOLDS, intervals, knob, values
from tosc_agents.experiments.methods import Method, label, method
from tosc_agents.experiments.sections import Plot, Section, Table
from tosc_agents.experiments.systems import POINTS, RIVAL, training_job
from tosc_agents.experiments.trainings import SCHEME, Recipe, load_method
from tosc_agents.training.calibrate import ARTICLE_BUDGET
from tosc_env.data.base import Source
from tosc_env.errors import InputError, unknown
from tosc_env.game import Game, GameConfig

NOISE_SEEDS = (1000, 1001, 1002)
"""Draws of the channel's noise over which each fold's figures are averaged."""

VALIDATION = 10
"""One in so many of a fold's training images is trained on by nobody: what is fitted is fitted on these."""

SEED = 0
"""Of the partition and of the trainings."""

SNR_DB = article.TRAINING_SNR_DB
"""Es/N0 of the test."""


class Table2:
    """The jobs that the table needs, and the table that their results make.

    One model per fold and training recognises all attributes of the task at once. Every method that plays with its
    weights is measured on the fold's test images, and nothing is chosen on those.

    Args:
        setting: data and task; on Shapes, see :func:`~tosc_agents.experiments.faces.data.face_setting`.
        recipes: by training key, one for each training that the methods play with and those that these start from.
        network: options of the networks that all schemes share.
        methods: who is compared.
        folds: of the cross-validation, at least 2.

    Attributes:
        jobs: what is to be run; jobs know what they need.
        measured: of these, what is measured of each training and fold.
        calibration: fits the constant of calibrated noise, where that is compared.

    Raises:
        InputError: a training without a recipe, or calibrated noise without the rival that it is fitted to.
    """

    def __init__(
        self,
        setting: GameConfig,
        recipes: Mapping[str, Recipe],
        network: Mapping[str, Any],
        *,
        methods: Sequence[Method],
        folds: int,
    ) -> None:
        self.setting, self.stand_in = face_setting(setting)
        self.recipes, self.network = dict(recipes), dict(network)
        self.methods, self.folds = tuple(methods), folds
        named = (self.setting.task_kwargs or {}).get("names", [])
        self.names: list[str] = [named] if isinstance(named, str) else list(named)
        if self.setting.task != "attributes" or len(self.names) < 2:
            raise InputError(
                f"table2 needs a task on several attributes, not {self.setting.task!r} of {self.names}."
            )
        self._data = whole(self.setting).identity()
        self._trainings: dict[tuple[str, int], Job] = {}
        self.calibration: Job | None = None
        by_training: dict[str, list[Method]] = {}
        for one in self.methods:
            by_training.setdefault(one.training, []).append(one)
        fitted = [key for key in by_training if self._recipe(key).options.get("mode") == "calibrated"]
        if fitted and RIVAL not in {one.key for one in self.methods}:
            raise InputError(f"calibrated noise is fitted to {RIVAL!r}, which is not among the methods.")
        # The rival first: calibrated noise is fitted to what it reaches.
        keys = sorted(by_training, key=fitted.__contains__)
        self.measured: dict[tuple[str, int], Job] = {}
        for k in range(folds):
            for key in keys:
                self.measured[key, k] = self._measure(key, k, by_training[key], key in fitted)
        self.jobs: list[Job] = list(self.measured.values())

    def _recipe(self, key: str) -> Recipe:
        if key not in self.recipes:
            raise unknown("training", key, self.recipes)
        return self.recipes[key]

    def _inputs(self, k: int) -> dict[str, Any]:
        return {
            "setting": self.setting.plain(),
            "data": self._data,
            "fold": k,
            "folds": self.folds,
            "seed": SEED,
            "version": 2,
        }

    def training(self, key: str, k: int) -> Job:
        """The job of one training on one fold."""
        if (key, k) not in self._trainings:
            recipe, name = self._recipe(key), f"table2-train-{key}-{k + 1}"
            start = None if recipe.start is None else self.training(recipe.start, k)

            def images(device: torch.device) -> tuple[Source, None]:
                return self._fold(k, device)[0], None

            what = (recipe, self.setting, self.network, SEED, start, images)
            self._trainings[key, k] = training_job(name, self._inputs(k), *what)
        return self._trainings[key, k]

    def _measure(self, key: str, k: int, methods: Sequence[Method], fitted: bool) -> Job:
        training = self.training(key, k)
        calibration = self._calibrate(key, methods) if fitted else None
        inputs = {
            **self._inputs(k),
            "methods": [one.plain() for one in methods],
            "snr_db": SNR_DB,
            "noise_seeds": list(NOISE_SEEDS),
        }
        needs = (training, calibration) if calibration else (training,)
        work = partial(self._answer, training, calibration, k, methods)
        return Job(f"table2-measure-{key}-{k + 1}", inputs, work, needs)

    def _calibrate(self, key: str, methods: Sequence[Method]) -> Job:
        """One constant for all folds, fitted on the first one's validation part."""
        if self.calibration is None:
            training = self.training(key, 0)
            rival = self.training(method(RIVAL).training, 0)
            budgets = sorted({ARTICLE_BUDGET, *(float(one.options["epsilon"]) for one in methods)})
            inputs = {**self._inputs(0), "points": POINTS, "budgets": budgets, "snr_db": SNR_DB}
            work = partial(self._fit, training, rival, budgets)
            self.calibration = Job(f"table2-calibrate-{key}", inputs, work, (training, rival))
        return self.calibration

    def _fold(self, k: int, device: torch.device) -> tuple[Source, Source, Source]:
        """The images of a fold that are trained on, that something is fitted on, and that are tested."""
        source = whole(self.setting, device)
        rare = rarest(source, self.names)
        rest, test = fold(source, k, self.folds, SEED, rare)
        return *fold(rest, 0, VALIDATION, SEED, rare), test

    def _answer(
        self,
        training: Job,
        calibration: Job | None,
        k: int,
        methods: Sequence[Method],
        cache: RunCache,
        folder: Path,
    ) -> dict[str, Any]:
        train, _, test = self._fold(k, cache.device)
        right, wanted = self._targets(train), self._targets(test)
        usual = (right.float().mean(0) > 0.5).long()
        found = {}
        for one in methods:
            if calibration is not None:
                one = Calibration(**cache.result(calibration)).applied(one)
            scheme = load_method(cache.file(training, SCHEME), one, cache.device)
            game = Game(test, self.setting, snr_db=SNR_DB, constellation=scheme.constellation)
            plain, balanced = measure(scheme, game, log_odds(right), NOISE_SEEDS)
            found[one.key] = {"accuracy": self._named(plain), "balanced": self._named(balanced)}
        return {
            "images": len(test),
            "positives": self._named(wanted.float().mean(0)),
            "constant": self._named((wanted == usual).float().mean(0)),
            "methods": found,
        }

    def _fit(
        self, training: Job, rival: Job, budgets: Sequence[float], cache: RunCache, folder: Path
    ) -> dict[str, Any]:
        train, valid, _ = self._fold(0, cache.device)
        thresholds = log_odds(self._targets(train))
        scheme = load_method(cache.file(rival, SCHEME), method(RIVAL), cache.device)
        heard = Game(valid, self.setting, snr_db=SNR_DB, constellation=scheme.constellation)
        target = float(measure(scheme, heard, thresholds, NOISE_SEEDS)[1].mean()) - POINTS / 100
        game = Game(valid, self.setting, snr_db=SNR_DB)
        path = cache.file(training, SCHEME)
        return asdict(fit_constant(path, game, thresholds, target, budgets, NOISE_SEEDS))

    def rows(self, cache: RunCache) -> list[dict[str, Any]]:
        """Each method's figures in each fold, and their means over the attributes, once all is finished."""
        if not all(map(cache.finished, self.jobs)):
            return []
        rows = []
        for (key, k), job in self.measured.items():
            at = {"experiment": "table2", "snr_db": SNR_DB, "seed": k, "over": FOLDS}
            result = cache.result(job)
            for name, found in result["methods"].items():
                for kind, shares in found.items():
                    figures = {kind: fmean(shares.values()), **{f"{kind}_{n}": v for n, v in shares.items()}}
                    told = {**at, "method": name, "knob": knob(name)}
                    rows += [{**told, "metric": metric, "value": value} for metric, value in figures.items()]
            if key == self.methods[0].training:
                constant = {f"accuracy_{name}": share for name, share in result["constant"].items()}
                told = {**at, "method": CONSTANT}
                rows += [{**told, "metric": metric, "value": value} for metric, value in constant.items()]
        return rows

    def section(self, cache: RunCache, folder: Path) -> Section:
        """Notes on data, folds and fitted noise."""
        key = self.methods[0].training
        folds = [cache.result(self.measured[key, k]) for k in range(self.folds)]
        images = sum(one["images"] for one in folds)
        positives = {name: fmean(one["positives"][name] for one in folds) for name in self.names}
        rare = min(positives, key=lambda name: min(positives[name], 1 - positives[name]))
        notes = [
            *([self.stand_in] if self.stand_in else []),
            f"{self.folds}-fold cross-validation over {images:,} images: each is tested once, by models that have not "
            f"seen it, and one in {VALIDATION} of the others is kept for what is fitted; folds are stratified by "
            f"{rare}. Intervals are over the folds, whose training images overlap, so they are somewhat too narrow.",
            f"One model per scheme recognises all {len(self.names)} attributes at once; the article trains one for "
            f"each. Share of positives: {', '.join(f'{name} {share:.1%}' for name, share in positives.items())}.",
            "Plain accuracy: threshold 0. Balanced: mean of sensitivity and specificity at the threshold that is best "
            "for classes of equal weight if logits are calibrated, the log-odds of the training images; label-only "
            "shifts it at the transmitter, where it decides.",
        ]
        fitted = None if self.calibration is None else Calibration(**cache.result(self.calibration))
        if fitted is not None:
            notes.append(fit_note(fitted))
        details = {
            "setting": self.setting.plain(),
            "recipes": {key: asdict(recipe) for key, recipe in self.recipes.items()},
            "network": self.network,
            "calibration": None if fitted is None else asdict(fitted),
        }
        title = "Table 2: attributes of faces, by cross-validation"
        return Section(title, whole(self.setting).provenance, notes, details=details)

    @staticmethod
    def show(table: pd.DataFrame, folder: Path) -> tuple[list[Plot], list[Table]]:
        """The table with the article's figures beside ours."""
        names = [
            metric.removeprefix("balanced_")
            for metric in table.metric.unique()
            if metric.startswith("balanced_")
        ]
        said = {(r.method, r.metric): str(v) for r, v in zip(table.itertuples(), values(table), strict=True)}
        lines = []
        for key in (*in_order([key for key in table.method if key != CONSTANT]), CONSTANT):
            theirs = {} if key == CONSTANT else article.CELEBA.get(method(key).article or "", {})
            line = {"scheme": "best constant answer" if key == CONSTANT else label(key)}
            for name in names:
                line[name] = said.get((key, f"accuracy_{name}"), "")
                line[f"{name}, balanced"] = said.get((key, f"balanced_{name}"), "50.0 %")
                line[f"{name}, article"] = f"{theirs[name]:.1f} %" if name in theirs else ""
            lines.append({**line, "mean, balanced": said.get((key, "balanced"), "50.0 %")})
        caption = f"{intervals(table)} Article: as printed, on a test set that it does not describe."
        return [], [Table(f"Accuracy at {SNR_DB:g} dB", pd.DataFrame(lines), caption)]

    def _targets(self, source: Source) -> Tensor:
        return source.attributes[:, [source.attribute_names.index(name) for name in self.names]]

    def _named(self, values: Tensor) -> dict[str, float]:
        return dict(zip(self.names, values.tolist(), strict=True))


def fit_note(fitted: Calibration) -> str:
    """A note on the fitted noise."""
    text = (
        f"Calibrated DP: fitted, not found. Its constant c = {fitted.constant:.3g} is one for all folds, fitted on "
        f"training images of the first that nobody was trained on, so that DP 0.05 lies {POINTS:g} points of mean "
        f"balanced accuracy under {RIVAL.upper()}: {fitted.target:.1%} wanted, {fitted.reached:.1%} reached"
    )
    if fitted.within:
        return f"{text}."
    return f"{text}, the nearest that the noise it was trained with allows: the fit did not succeed."

"""Table 2: attributes of faces, every scheme, by cross-validation over all faces at hand.

Where 4 % of the answers are yes, whoever always says no is right 96 times in 100.  Balanced accuracy is the mean of
sensitivity and specificity, which is 1/2 for every constant answer; the task's loss trains receivers for it
(:mod:`tosc_env.tasks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from tosc_agents.experiments import article
from tosc_agents.experiments.jobs import Job, RunCache
from tosc_agents.experiments.measurements import CONSTANT, FOLDS, by_scheme, intervals, rows_of, wide, written
from tosc_agents.experiments.methods import Method, method
from tosc_agents.experiments.presets import Preset
from tosc_agents.experiments.report import Plot, Section, Table, notes
from tosc_agents.experiments.systems import CALIBRATED, POINTS, RIVAL, SCHEME, load_method
from tosc_agents.training.calibrate import (
    ARTICLE_BUDGET,
    accuracy_at_scale,
    calibratable,
    nearest_constant,
    noise_of,
)
from tosc_agents.training.evaluate import evaluate
from tosc_env.data import data_set
from tosc_env.data.base import Source
from tosc_env.data.checks import Owned
from tosc_env.game import Game, GameConfig
from tosc_env.pipeline import Pipeline

DRAWS = 3
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
    weights is measured on the fold's test images, and nothing is chosen on those. The rival that calibrated noise is
    fitted to joins it.
    """

    def __init__(self, preset: Preset, methods: Sequence[str]) -> None:
        self.systems, self.setting, self.folds = preset.faces, preset.faces.setting, preset.folds
        self.names = list((self.setting.task_kwargs or {})["names"])
        self._data = whole(self.setting).identity()
        chosen = [method(key) for key in methods]
        if RIVAL not in methods and any(one.training == CALIBRATED for one in chosen):
            chosen.append(method(RIVAL))
        # The rival before what is fitted to it.
        keys = sorted(dict.fromkeys(one.training for one in chosen), key=lambda key: key == CALIBRATED)
        self.by_training = {key: [one for one in chosen if one.training == key] for key in keys}
        self.calibration = self._calibrate() if CALIBRATED in keys else None
        self.jobs = [self._measure(key, k) for k in range(self.folds) for key in keys]

    def _inputs(self, k: int) -> dict[str, Any]:
        folds = {"fold": k, "folds": self.folds, "seed": SEED, "version": 3}
        return {"setting": self.setting.plain(), "data": self._data, **folds}

    def training(self, key: str, k: int) -> Job:
        """The job of one training on one fold."""
        recipe = self.systems.recipe(key)
        start = None if recipe.start is None else self.training(recipe.start, k)

        def images(device: torch.device) -> tuple[Source, None]:
            return self.fold(k, device)[0], None

        name = f"table2-train-{key}-{k + 1}"
        return self.systems.training_job(name, self._inputs(k), recipe, SEED, start, images)

    def fold(self, k: int, device: torch.device | str = "cpu") -> tuple[Source, Source, Source]:
        """The images of a fold that are trained on, that something is fitted on, and that are tested."""
        source = whole(self.setting, device)
        rare = rarest(source, self.names)
        rest, test = fold(source, k, self.folds, SEED, rare)
        return *fold(rest, 0, VALIDATION, SEED, rare), test

    def _measure(self, key: str, k: int) -> Job:
        training, methods = self.training(key, k), self.by_training[key]
        calibration = self.calibration if key == CALIBRATED else None

        def work(cache: RunCache, folder: Path) -> dict[str, Any]:
            train, _, test = self.fold(k, cache.device)
            right, wanted = targets(train, self.names), targets(test, self.names)
            usual = (right.float().mean(0) > 0.5).long()
            found = {}
            for one in methods:
                played = one if calibration is None else with_constant(one, cache.result(calibration))
                scheme = load_method(cache.file(training, SCHEME), played, cache.device)
                game = Game(test, self.setting, snr_db=SNR_DB, constellation=scheme.constellation)
                found[one.key] = measure(scheme, game)
            return {
                "images": len(test),
                "positives": self._named(wanted.float().mean(0)),
                "constant": self._named((wanted == usual).float().mean(0)),
                "methods": found,
            }

        told = {"methods": [one.plain() for one in methods], "snr_db": SNR_DB}
        inputs = {**self._inputs(k), **told, "draws": DRAWS}
        needs = (training,) if calibration is None else (training, calibration)
        return Job(f"table2-measure-{key}-{k + 1}", inputs, work, needs)

    def _calibrate(self) -> Job:
        """One constant for all folds, fitted on the first one's validation part."""
        training, rival = self.training(CALIBRATED, 0), self.training(method(RIVAL).training, 0)
        played = {float(one.options["epsilon"]) for one in self.by_training[CALIBRATED]}
        budgets = sorted({ARTICLE_BUDGET, *played})

        def work(cache: RunCache, folder: Path) -> dict[str, Any]:
            _, valid, _ = self.fold(0, cache.device)
            scheme = load_method(cache.file(rival, SCHEME), method(RIVAL), cache.device)
            heard = Game(valid, self.setting, snr_db=SNR_DB, constellation=scheme.constellation)
            target = fmean(measure(scheme, heard)["balanced"].values()) - POINTS / 100
            game = Game(valid, self.setting, snr_db=SNR_DB)
            return fit_constant(cache.file(training, SCHEME), game, target, budgets)

        inputs = {**self._inputs(0), "points": POINTS, "budgets": budgets, "snr_db": SNR_DB}
        return Job(f"table2-calibrate-{CALIBRATED}", inputs, work, (training, rival))

    def _named(self, values: Tensor) -> dict[str, float]:
        return dict(zip(self.names, values.tolist(), strict=True))

    def rows(self, cache: RunCache) -> list[dict[str, Any]]:
        """Each method's figures in each fold, and their means over the attributes, once all is finished."""
        if not all(map(cache.finished, self.jobs)):
            return []
        rows: list[dict[str, Any]] = []
        for place, job in enumerate(self.jobs):
            k, training = divmod(place, len(self.by_training))
            result = cache.result(job)
            found: dict[str, dict[str, float]] = {}
            for key, kinds in result["methods"].items():
                found[key] = {}
                for kind, shares in kinds.items():
                    found[key] |= {kind: fmean(shares.values()), **_each(kind, shares)}
            if not training:
                found[CONSTANT] = _each("accuracy", result["constant"])
            rows += rows_of(found, experiment="table2", snr_db=SNR_DB, seed=k, over=FOLDS)
        return rows

    def section(self, cache: RunCache, folder: Path) -> Section:
        """Notes on data, folds and fitted noise."""
        folds = [cache.result(job) for job in self.jobs[:: len(self.by_training)]]
        positives = {name: fmean(one["positives"][name] for one in folds) for name in self.names}
        told = notes(
            "table2",
            **vars(self),
            images=sum(one["images"] for one in folds),
            validation=VALIDATION,
            rare=min(positives, key=lambda name: min(positives[name], 1 - positives[name])),
            positives=positives,
            fitted=cache.result(self.calibration) if self.calibration else None,
            points=POINTS,
            rival=RIVAL,
        )
        title = "Table 2: attributes of faces, by cross-validation"
        return Section(title, whole(self.setting).provenance, told)

    @staticmethod
    def show(table: pd.DataFrame, folder: Path) -> tuple[list[Plot], list[Table]]:
        """The table with the article's figures beside ours."""
        said = wide(table, "method", "metric")
        said.loc[CONSTANT, [name for name in said if name.startswith(("balanced", "auc"))]] = "50.0 %"
        articles = [None if key == CONSTANT else method(key).article for key in said.index]
        printed = article.CELEBA.reindex(columns=articles).T.set_axis(said.index)
        cells: dict[str, Any] = {}
        for metric in table.metric.unique():
            kind, _, name = metric.partition("_")
            if kind == "balanced" and name:
                cells[f"{name}, balanced"] = said[metric]
                if f"auc_{name}" in said:  # figures of before have none
                    cells[f"{name}, AUC"] = said[f"auc_{name}"]
                cells[f"{name}, plain"] = said[f"accuracy_{name}"]
                cells[f"{name}, article"] = written(printed[name], "{:.1f} %")
        cells["mean, balanced"] = said["balanced"]
        ordered = by_scheme(pd.DataFrame(cells), {CONSTANT: "best constant answer"})
        caption = f"{intervals(table)} Article: as printed, on a test set that it does not describe."
        return [], [Table(f"Accuracy at {SNR_DB:g} dB", ordered, caption)]


def _each(kind: str, shares: dict[str, float]) -> dict[str, float]:
    return {f"{kind}_{name}": share for name, share in shares.items()}


# -- folds ----------------------------------------------------------------------------------------------


def whole(setting: GameConfig, device: str | torch.device = "cpu") -> Source:
    """All splits of the setting's data set as one source: train, valid where there is one, test, each in its order."""
    splits = data_set(setting.data).splits
    parts = [setting.source(split=split) for split in splits]
    sizes = ", ".join(f"{len(part):,} {split}" for part, split in zip(parts, splits, strict=True))
    arrays = [torch.cat([getattr(one, name) for one in parts]) for name in ("images", "labels", "attributes")]
    told = f"All images at hand as one set ({sizes}): {parts[0].provenance}"
    return _like(parts[0], arrays, told, device)


def fold(source: Source, k: int, folds: int, seed: int, stratify: str) -> tuple[Source, Source]:
    """The training and the test part of one fold: every image is tested once, by a system that has not seen it.

    The test parts of all folds are disjoint and hold every image once. They differ in size by one image at most, and
    so do their shares of every value of the attribute ``stratify``. ``k`` counts from 0; ``seed`` is the partition's.

    Both are on the device of ``source``, each in its order; the statistics of both are those of the training part,
    the only images that whoever is tested may know.

    >>> everything = whole(GameConfig("shapes", {"num_images": 50, "size": 16}))
    >>> [len(part) for part in fold(everything, 0, 3, 0, "size")]
    [66, 34]
    """
    values = source.attributes[:, source.attribute_names.index(stratify)].cpu()
    # Images are dealt like cards, one value after the other and without starting again at the first fold.
    shuffled = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))
    dealt = shuffled[values[shuffled].argsort(stable=True)]
    tested = torch.zeros(len(source), dtype=torch.bool)
    tested[dealt[k::folds]] = True
    tested = tested.to(source.device)
    made: list[Source] = []
    for name, mask in (("training", ~tested), ("test", tested)):
        part = source.subset(mask.nonzero()[:, 0])
        told = f"fold {k + 1} of {folds} (seed {seed}): {name} part of: {source.provenance}"
        made.append(_like(source, [part.images, part.labels, part.attributes], told, source.device, *made))
    return made[0], made[1]


def _like(
    source: Source,
    arrays: list[Tensor],
    told: str,
    device: str | torch.device,
    training: Source | None = None,
) -> Source:
    """Images with the names of another source, and statistics of their own unless ``training`` has them."""
    images, labels, attributes = arrays
    return Source.from_arrays(
        Owned(images),
        labels,
        name=source.name,
        split="train" if training is None else "test",
        class_names=source.class_names,
        attributes=attributes,
        attribute_names=source.attribute_names,
        attribute_values=source.attribute_values,
        training=training,
        provenance=told,
        halves=source.halves,
        device=device,
    )


def rarest(source: Source, names: Sequence[str]) -> str:
    """The one of the named yes-or-no attributes whose rarest value is the rarest of all."""
    yes = dict(zip(names, targets(source, names).sum(0).tolist(), strict=True))
    return min(names, key=lambda name: min(yes[name], len(source) - yes[name]))


def targets(source: Source, names: Sequence[str]) -> Tensor:
    """The named attributes of each image, int64 [N, A]."""
    return source.attributes[:, [source.attribute_names.index(name) for name in names]]


# -- figures --------------------------------------------------------------------------------------------


def measure(scheme: Pipeline, game: Game) -> dict[str, dict[str, float]]:
    """``balanced`` accuracy, ``auc`` and plain ``accuracy`` of a scheme's receiver, by attribute, over draws of the
    noise."""
    found = evaluate(game, scheme, {}, snr_db=(SNR_DB,), seeds=DRAWS, with_floors=False).answers[SNR_DB]
    kinds = {"balanced": "infer_", "auc": "auc_", "accuracy": "plain_"}
    return {
        kind: {name.removeprefix(own): one.mean for name, one in found.items() if name.startswith(own)}
        for kind, own in kinds.items()
    }


def with_constant(one: Method, fitted: dict[str, Any]) -> Method:
    """The method with a fitted constant, whatever it was trained with."""
    told = {"constant": fitted["constant"], "epsilon_range": [fitted["low"], fitted["high"]]}
    return replace(one, options={**one.options, **told})


def fit_constant(path: Path, game: Game, target: float, budgets: Sequence[float]) -> dict[str, Any]:
    """The constant whose noise at budget 0.05 leaves a mean balanced accuracy, by bisection.

    Args:
        path: of ``dp-laplace`` in mode ``calibrated``, trained over an ``epsilon_range`` that serves all budgets, or
            else a CheckpointError says so.
        game: on the images at which the target is to be met.
        target: mean over the attributes, in [0, 1].
        budgets: all those that will be played; the receiver must have learnt the noise of each.

    Returns:
        ``constant``: c, of the noise's scale c / epsilon; ``low`` and ``high``, the budgets that the receiver has
        learnt, given that constant; ``target`` and ``reached``; ``within``: whether the target lay within the noise
        that was trained for, else the constant is the nearest end.
    """
    scheme, _, (least, most) = calibratable(path, budgets, game.device)
    noise = noise_of(scheme).options
    draws = [accuracy_at_scale(scheme, game, seed=seed) for seed in range(DRAWS)]

    def reached(scale: float) -> float:
        return fmean(draw(scale) for draw in draws)

    constant, within = nearest_constant(reached, target, least, most)
    low, high = (end * (constant / noise["constant"]) for end in noise["epsilon_range"])
    return {
        "constant": constant,
        # Rounding must not push a budget out that lies on the end of the range.
        "low": min(low, *budgets),
        "high": max(high, *budgets),
        "target": target,
        "reached": reached(constant / ARTICLE_BUDGET),
        "within": within,
    }

"""Table 2: attributes of faces, every scheme, by cross-validation over all faces at hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tosc_agents.calibration import ARTICLE_BUDGET
from tosc_agents.experiments import article
from tosc_agents.experiments.arms import ARMS, Arm
from tosc_agents.experiments.cells import Cell, Store, Work
from tosc_agents.experiments.faces.balanced import log_odds, measure
from tosc_agents.experiments.faces.calibrated import Calibration, fit_constant
from tosc_agents.experiments.faces.folds import fold, rarest, whole
from tosc_agents.experiments.faces.setting import face_setting
from tosc_agents.experiments.faces.table2_findings import findings
from tosc_agents.experiments.findings import Findings
from tosc_agents.experiments.systems import POINTS, RIVAL, images_of
from tosc_agents.experiments.trainings import SCHEME, Recipe, load_arm, train_recipe
from tosc_env.data.base import Source
from tosc_env.errors import InputError, unknown
from tosc_env.game import Game, GameConfig

NOISE_SEEDS = (1000, 1001, 1002)
"""Draws of the channel's noise over which each fold's figures are averaged."""


class Table2:
    """Which cells the table needs, and the table that their results make.

    One model per fold and training recognises all attributes of the task at once. Every arm that plays with its
    weights is measured on the fold's test images.

    Args:
        setting: data and task; on Shapes, see :func:`~tosc_agents.experiments.faces.setting.face_setting`.
        recipes: by training key, one for each training that the arms play with and those that these start from.
        network: options of the networks that all schemes share.
        arms: who is compared.
        folds: of the cross-validation, at least 2.
        snr_db: Es/N0 of the test.
        seed: of the partition and of the trainings.

    Raises:
        InputError: a training without a recipe, or calibrated noise without the rival that it is fitted to.
    """

    def __init__(
        self,
        setting: GameConfig,
        recipes: Mapping[str, Recipe],
        network: Mapping[str, Any],
        *,
        arms: Sequence[Arm] = ARMS,
        folds: int = 5,
        snr_db: float = article.TRAINING_SNR_DB,
        seed: int = 0,
    ) -> None:
        self.setting, self.stand_in = face_setting(setting)
        self.recipes, self.network = dict(recipes), dict(network)
        self.arms, self.folds, self.snr_db, self.seed = tuple(arms), folds, float(snr_db), seed
        if self.setting.task != "attributes" or len(self.names) < 2:
            raise InputError(
                f"table2 needs a task on several attributes, not {self.setting.task!r} of {self.names}."
            )
        self._trainings: dict[tuple[str, int], Cell] = {}
        self._calibration: Cell | None = None
        by_training: dict[str, list[Arm]] = {}
        for arm in self.arms:
            by_training.setdefault(arm.training, []).append(arm)
        fitted = [key for key in by_training if _is_calibrated(self._recipe(key))]
        if fitted and RIVAL not in {arm.key for arm in self.arms}:
            raise InputError(f"calibrated noise is fitted to {RIVAL!r}, which is not among the arms.")
        # The rival first: calibrated noise is fitted to what it reaches.
        keys = sorted(by_training, key=fitted.__contains__)
        self._measured: dict[tuple[str, int], Cell] = {}
        for k in range(folds):
            for key in keys:
                self._measured[key, k] = self._measure(key, k, by_training[key])
        self.cells: list[Cell] = list(self._measured.values())
        """What is to be run; cells know what they need."""

    @property
    def names(self) -> list[str]:
        """The attributes that are recognised."""
        named = (self.setting.task_kwargs or {}).get("names", [])
        return [named] if isinstance(named, str) else list(named)

    # -- cells ------------------------------------------------------------------------------------------

    def _recipe(self, key: str) -> Recipe:
        if key not in self.recipes:
            raise unknown("training", key, self.recipes)
        return self.recipes[key]

    def _inputs(self, k: int) -> dict[str, Any]:
        return {
            "setting": self.setting.plain(),
            "data": images_of(self.setting),
            "fold": k,
            "folds": self.folds,
            "seed": self.seed,
            "version": 1,
        }

    def training(self, key: str, k: int) -> Cell:
        """The cell of one training on one fold."""
        if (key, k) not in self._trainings:
            recipe = self._recipe(key)
            start = None if recipe.start is None else self.training(recipe.start, k)
            inputs = {**self._inputs(k), "recipe": recipe.plain(), "network": self.network}
            self._trainings[key, k] = Cell(
                f"table2-train-{key}-{k + 1}",
                inputs,
                partial(self._train, recipe, k, start),
                () if start is None else (start,),
            )
        return self._trainings[key, k]

    def _measure(self, key: str, k: int, arms: Sequence[Arm]) -> Cell:
        training = self.training(key, k)
        calibration = self._calibrate(key, arms) if _is_calibrated(self._recipe(key)) else None
        inputs = {
            **self._inputs(k),
            "arms": [{"key": a.key, "scheme": a.scheme, "options": dict(a.options)} for a in arms],
            "snr_db": self.snr_db,
            "noise_seeds": list(NOISE_SEEDS),
        }
        needs = (training,) if calibration is None else (training, calibration)
        work = partial(self._answer, training, calibration, k, tuple(arms))
        return Cell(f"table2-measure-{key}-{k + 1}", inputs, work, needs)

    def _calibrate(self, key: str, arms: Sequence[Arm]) -> Cell:
        """One constant for all folds, fitted on the first."""
        if self._calibration is None:
            training = self.training(key, 0)
            rival = next(self._measured[a.training, 0] for a in self.arms if a.key == RIVAL)
            budgets = sorted({ARTICLE_BUDGET, *(float(a.options["epsilon"]) for a in arms)})
            inputs = {**self._inputs(0), "points": POINTS, "budgets": budgets, "snr_db": self.snr_db}
            work = partial(self._fit, training, rival, tuple(budgets))
            self._calibration = Cell(f"table2-calibrate-{key}", inputs, work, (training, rival))
        return self._calibration

    # -- work -------------------------------------------------------------------------------------------

    def _fold(self, k: int, device: torch.device) -> tuple[Source, Source]:
        source = whole(self.setting, device)
        return fold(source, k, self.folds, self.seed, stratify=rarest(source, self.names))

    def _train(self, recipe: Recipe, k: int, start: Cell | None, work: Work) -> dict[str, Any]:
        train, _ = self._fold(k, work.device)
        with work.progress(f"table2: {recipe.scheme}, fold {k + 1} of {self.folds}") as progress:
            train_recipe(
                recipe,
                self.setting,
                train,
                network=self.network,
                start=None if start is None else work.file(start, SCHEME),
                folder=work.folder,
                seed=self.seed,
                device=work.device,
                progress=progress,
            )
        return {"images": len(train), "epochs": recipe.epochs}

    def _answer(
        self, training: Cell, calibration: Cell | None, k: int, arms: Sequence[Arm], work: Work
    ) -> dict[str, Any]:
        train, test = self._fold(k, work.device)
        right, wrong = self._targets(train), self._targets(test)
        thresholds = log_odds(right)
        usual = (right.float().mean(0) > 0.5).long()
        fitted = None if calibration is None else Calibration(**work.result(calibration))
        found = {}
        for arm in arms:
            scheme = load_arm(
                work.file(training, SCHEME), arm if fitted is None else fitted.applied(arm), work.device
            )
            game = Game(test, self.setting, snr_db=self.snr_db, constellation=scheme.constellation)
            got = measure(scheme, game, thresholds, NOISE_SEEDS)
            found[arm.key] = {"accuracy": self._named(got.plain), "balanced": self._named(got.balanced)}
        return {
            "images": len(test),
            "positives": self._named(wrong.float().mean(0)),
            "constant": self._named((wrong == usual).float().mean(0)),
            "arms": found,
        }

    def _fit(self, training: Cell, rival: Cell, budgets: Sequence[float], work: Work) -> dict[str, Any]:
        train, test = self._fold(0, work.device)
        reached = work.result(rival)["arms"][RIVAL]["balanced"]
        target = sum(reached.values()) / len(reached) - POINTS / 100
        game = Game(test, self.setting, snr_db=self.snr_db)
        fitted = fit_constant(
            work.file(training, SCHEME), game, log_odds(self._targets(train)), target, budgets, NOISE_SEEDS
        )
        return dataclasses.asdict(fitted)

    def _targets(self, source: Source) -> Tensor:
        return source.attributes[:, [source.attribute_names.index(name) for name in self.names]]

    def _named(self, values: Tensor) -> dict[str, float]:
        return dict(zip(self.names, values.tolist(), strict=True))

    # -- findings ---------------------------------------------------------------------------------------

    def present(self, store: Store, folder: Path, notes: Sequence[str] = ()) -> Findings:
        """Rows, the table with the article's figures beside ours, and the bars, once all cells are finished.

        Args:
            store: where the cells are.
            folder: for the picture.
            notes: more sentences, such as what was trained shorter than it should be.
        """
        results = {at: store.result(cell) for at, cell in self._measured.items()}
        fitted = None if self._calibration is None else Calibration(**store.result(self._calibration))
        return findings(self, results, fitted, folder, notes)


def _is_calibrated(recipe: Recipe) -> bool:
    return recipe.options.get("mode") == "calibrated"

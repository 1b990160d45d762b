"""All experiments of one preset together: their cells, and the report of what is finished."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from tosc_agents.experiments.arms import KEYS, Arm, arm
from tosc_agents.experiments.attacks import ATTACKER, attack_cell, floors_cell, pointed_at
from tosc_agents.experiments.cells import Cell, Store, order
from tosc_agents.experiments.faces.fig4 import Fig4
from tosc_agents.experiments.faces.gender import ClassifierTraining
from tosc_agents.experiments.faces.table2 import Table2
from tosc_agents.experiments.fig3.experiment import Fig3
from tosc_agents.experiments.findings import Findings, Picture, strongest
from tosc_agents.experiments.grids import grid
from tosc_agents.experiments.presets import Preset
from tosc_agents.experiments.report import ReportHeading, write_report
from tosc_agents.experiments.statements import statements_findings
from tosc_agents.experiments.systems import Systems, source_of
from tosc_agents.experiments.table1 import experiment as table1
from tosc_agents.experiments.trainings import SCHEME, Recipe
from tosc_agents.perceptual import find_weights
from tosc_agents.records import commit
from tosc_env.errors import DataError, InputError, unknown

EXPERIMENTS = ("fig3", "table1", "table2", "fig4")
"""In the order of the report."""

Given = Mapping[tuple[str, str, int], Path]


class Reproduction:
    """A preset, narrowed to some arms, with checkpoints that are taken instead of trained.

    Args:
        preset: what is done, and how much of it.
        arms: keys of the arms that are compared, registered ones too; none: all that are built in.
        trainings: of each arm that the preset repeats; None: the preset's number.
        given: checkpoints by (``images`` or ``faces``, training key, seed).
        device: where it is computed; what is timed belongs to a device.

    Raises:
        InputError: an unknown arm or training.
    """

    def __init__(
        self,
        preset: Preset,
        *,
        arms: tuple[str, ...] = (),
        trainings: int | None = None,
        given: Given | None = None,
        device: str = "cpu",
    ) -> None:
        added = {arm(key).training: arm(key).recipe for key in arms if key not in KEYS}
        more = {training: Recipe(**recipe) for training, recipe in added.items() if recipe is not None}
        preset = replace(
            preset, recipes={**preset.recipes, **more}, face_recipes={**preset.face_recipes, **more}
        )
        self.preset = p = preset if trainings is None else replace(preset, trainings=trainings)
        self.arms = tuple(key for key in (*KEYS, *sorted(set(arms) - set(KEYS))) if not arms or key in arms)
        recipes = {"images": p.recipes, "faces": p.face_recipes}
        parts: dict[str, dict[tuple[str, int], Path]] = {"images": {}, "faces": {}}
        for (where, key, seed), path in (given or {}).items():
            if key not in recipes[where]:
                raise unknown("training", key, recipes[where])
            parts[where][key, seed] = path
        self.images = Systems(p.images, p.network, p.recipes, parts["images"], p.shared_start)
        self.faces = Systems(p.faces, p.face_network, p.face_recipes, parts["faces"], p.shared_start)
        self.fig3 = Fig3(p, self.images, self.arms)
        self.table1 = table1.plan(
            p.images, p.network, arms=self.arms, recipes=p.recipes, device=device, **p.timing
        )

    # Whoever asks for neither needs no faces.

    @cached_property
    def table2(self) -> Table2:
        """The cross-validation on faces."""
        p, chosen = self.preset, [arm(key) for key in self.arms]
        return Table2(p.faces, p.face_recipes, p.face_network, arms=_with_rival(chosen), folds=p.folds)

    @cached_property
    def fig4(self) -> Fig4:
        """What an attacker makes of faces."""
        p = self.preset
        return Fig4(
            self.faces,
            arms=[arm(key) for key in self.arms],
            inversion=p.face_attacker,
            attribute_kwargs={"epochs": p.gender_epochs, "batch_size": p.face_attacker["batch_size"]},
            classifier=ClassifierTraining(epochs=p.gender_epochs),
            seeds=p.measured.seeds,
        )

    def cells(self, experiment: str) -> list[Cell]:
        """What an experiment needs, or ``all`` of them; what is timed comes last, when the machine is quiet.

        Raises:
            DataError: images, or the VGG weights of the article's attacker, are not there.
            InputError: a checkpoint was given that none of the cells takes.
        """
        asked = [name for name in ("fig3", "table2", "fig4", "table1") if experiment in (name, "all")]
        perceptual = [a.options.get("perceptual_weight") for a in self.preset.attackers]
        if ("fig3" in asked and any(perceptual)) or (
            "fig4" in asked and self.preset.face_attacker.get("perceptual_weight")
        ):
            find_weights()  # hours before an attacker misses them
        for where, experiment_of, systems in (("", "fig3", self.images), ("faces.", "fig4", self.faces)):
            taken = {cell.slug for cell in order(self._all(experiment_of))} if systems.given else set()
            for (key, seed), path in systems.given.items():
                if systems.trained(key, seed).slug not in taken:
                    raise InputError(
                        f"no cell takes the training {where}{key}:{seed}, for which {path} is given."
                    )
        return [cell for name in asked for cell in self._all(name)]

    def findings(self, store: Store, folder: Path) -> list[Findings]:
        """Of every experiment that has begun, and the statements as far as they can be judged."""
        make: dict[str, Callable[[], Findings]] = {
            "fig3": lambda: self._fig3(store, folder),
            "table1": lambda: table1.present(store.result(self.table1), folder=folder, notes=[]),
            "table2": lambda: self.table2.present(store, folder, []),
            "fig4": lambda: self.fig4.present(store, folder, []),
        }
        found = [make[name]() for name in EXPERIMENTS if self._ready(name, store)]
        if not found:
            raise DataError(f"nothing is finished in {store.folder}; run an experiment first.")
        missing = [name for name in EXPERIMENTS if self._begun(name, store) and not self._ready(name, store)]
        statements = self._statements(found, store)
        if missing:
            statements.notes.append(f"Begun, not finished, and so not shown: {', '.join(missing)}.")
        return [statements, *found]

    def report(self, store: Store, folder: Path, *, faces: bool = True) -> list[Path]:
        """Write the report of what is finished, with or without pictures that show people; returns the files.

        Raises:
            DataError: nothing is finished.
        """
        found = self.findings(store, folder)
        begun = order([cell for name in EXPERIMENTS for cell in self._begun(name, store)])
        records = [store.record(cell) for cell in begun if store.finished(cell)]

        def told(key: str) -> str:
            return ", ".join(sorted({str(record[key]) for record in records}))

        provenance = {
            "what the preset is": self.preset.told,
            "cells": f"{len(records)}, {sum(r['seconds'] for r in records) / 3600:.1f} hours of one process",
            "commits": told("commit"),
            "devices": f"{told('device')}; threads per process: {told('threads')}",
            "torch": told("torch"),
            "report": f"written {datetime.datetime.now(datetime.UTC).date().isoformat()} at commit {commit()}",
        }
        heading = ReportHeading(
            "Task-oriented semantic communication: the article's experiments", self.preset.name, provenance
        )
        return write_report(folder, found, heading, faces=faces)

    def _ready(self, experiment: str, store: Store) -> bool:
        """Whether an experiment has enough to show; figure 3 shows what there is, the others want to be whole."""
        begun = self._begun(experiment, store)
        if experiment != "fig3":
            return bool(begun) and len(begun) == len(self._all(experiment))
        names = {cell.slug for cell in begun}
        measured = [self.fig3.cells_of(arm(key), 0)[0] for key in self.arms] if begun else []
        return floors_cell(self.images).slug in names and any(cell.slug in names for cell in measured)

    def _all(self, experiment: str) -> list[Cell]:
        return {
            "fig3": lambda: self.fig3.cells,
            "table1": lambda: [self.table1],
            "table2": lambda: self.table2.cells,
            "fig4": lambda: self.fig4.cells,
        }[experiment]()

    def _begun(self, experiment: str, store: Store) -> list[Cell]:
        """The finished cells of an experiment. Data are asked for only where there is something of it."""
        first = {"fig3": "floors-", "table1": "table1-", "table2": "table2-", "fig4": "fig4-"}[experiment]
        if not any(store.folder.glob(f"{first}*")):
            return []
        return [cell for cell in self._all(experiment) if store.finished(cell)]

    def _fig3(self, store: Store, folder: Path) -> Findings:
        found = self.fig3.findings(store, folder)
        picture = self._grid(store, folder)
        return found if picture is None else replace(found, pictures=[*found.pictures, picture])

    def _grid(self, store: Store, folder: Path) -> Picture | None:
        """What the strongest rebuilding attacker of each arm makes of the same test images."""
        snr_db = float(self.preset.images.snr_db)  # type: ignore[arg-type]
        rows = self.fig3.rows(store)
        shown: dict[str, tuple[Path, Path]] = {}
        names: dict[str, str] = {}
        for key in self.arms:
            one = arm(key)
            best = strongest(rows, arm=key, snr_db=snr_db, figures=["psnr_db"])
            attackers = [a for a in pointed_at(self.preset.attackers, one) if best and a.key == best.attacker]
            if best is None or not attackers:
                continue
            attack = attack_cell(self.images, one, attackers[0], 0, self.preset.measured)
            training = self.images.training(one.training)
            if not (store.finished(attack) and store.finished(training)):
                continue
            shown[key] = (store.folder_of(training) / SCHEME, store.folder_of(attack) / ATTACKER)
            names[key] = f"{best.attacker}, {best.mean:.2f} dB"
        if not shown:
            return None
        return grid(
            folder / "fig3_grid.png",
            self.preset.images,
            source_of(self.preset.images, "test", None, store.device),
            shown,
            snr_db=snr_db,
            notes=names,
            title="What the strongest attacker of each scheme rebuilds",
            caption=f"The first test images at {snr_db:g} dB, in each row what the strongest rebuilding attacker makes "
            "of the same messages; under each name that attacker and its mean PSNR over all test images.",
        )

    def _statements(self, found: list[Findings], store: Store) -> Findings:
        rows = [row for one in found for row in one.rows]
        floor = None
        if self._ready("fig3", store):
            floor = store.result(floors_cell(self.images))["floors"]["mean-image"]["psnr_db"]
        note = f"figure 3 and table 1 on {self.preset.images.data}, table 2 and figure 4 on {self.preset.faces.data}"
        if self.preset.faces.data == "shapes":
            note += " (binary facts about shapes under the names of face attributes, which say nothing about faces)"
        return statements_findings(rows, floor_db=floor, data_note=note)


def _with_rival(arms: list[Arm]) -> list[Arm]:
    """The arms, and LBVQ where calibrated noise is fitted to it."""
    keys = [one.key for one in arms]
    if any(one.training == "dp-calibrated" for one in arms) and "lbvq" not in keys:
        return [*arms, arm("lbvq")]
    return arms

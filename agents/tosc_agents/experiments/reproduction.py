"""All experiments of one preset together: their cells, and the report of what is finished."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from tosc_agents.experiments.arms import KEYS, Arm, arm
from tosc_agents.experiments.attacks import ATTACKER, attack_cell, floors_cell, pointed_at
from tosc_agents.experiments.cells import Cell, Store
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
from tosc_agents.experiments.trainings import SCHEME
from tosc_agents.learning.precision import resolve_precision
from tosc_agents.records import commit
from tosc_env.errors import DataError, unknown

EXPERIMENTS = ("fig3", "table1", "table2", "fig4")
"""In the order of the report."""

Given = Mapping[tuple[str, str, int], Path]


class Reproduction:
    """A preset, narrowed to some arms, with checkpoints that are taken instead of trained.

    Args:
        preset: what is done, and how much of it.
        arms: keys of the arms that are compared; none: all.
        trainings: of each arm that the preset repeats; None: the preset's number.
        given: checkpoints by (``images`` or ``faces``, training key, seed).

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
    ) -> None:
        for key in arms:
            if key not in KEYS:
                raise unknown("arm", key, KEYS)
        self.preset = p = preset if trainings is None else replace(preset, trainings=trainings)
        self.arms = tuple(key for key in KEYS if not arms or key in arms)
        recipes = {"images": p.recipes, "faces": p.face_recipes}
        parts: dict[str, dict[tuple[str, int], Path]] = {"images": {}, "faces": {}}
        for (where, key, seed), path in (given or {}).items():
            if key not in recipes[where]:
                raise unknown("training", key, recipes[where])
            parts[where][key, seed] = path
        self.images = Systems(p.images, p.network, p.recipes, parts["images"], p.shared_start)
        self.faces = Systems(p.faces, p.face_network, p.face_recipes, parts["faces"], p.shared_start)
        chosen = [arm(key) for key in self.arms]
        self.fig3 = Fig3(p, self.images, self.arms)
        self.table2 = Table2(p.faces, p.face_recipes, p.face_network, arms=_with_rival(chosen), folds=p.folds)
        self.fig4 = Fig4(
            self.faces,
            arms=chosen,
            inversion=p.face_attacker,
            attribute_options={"epochs": p.gender_epochs, "batch_size": p.face_attacker["batch_size"]},
            classifier=ClassifierTraining(epochs=p.gender_epochs),
            seeds=p.measured.seeds,
        )
        self.table1 = table1.plan(p.images, p.network, arms=self.arms, recipes=p.recipes, **p.timing)

    def cells(self, experiment: str) -> list[Cell]:
        """What an experiment needs, or ``all`` of them; what is timed comes last, when the machine is quiet."""
        cells = {
            "fig3": self.fig3.cells,
            "table2": self.table2.cells,
            "fig4": self.fig4.cells,
            "table1": [self.table1],
        }
        return [cell for name, part in cells.items() if experiment in (name, "all") for cell in part]

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
        return [self._statements(found, store), *found]

    def report(self, store: Store, folder: Path, *, faces: bool = True) -> list[Path]:
        """Write the report of what is finished, with or without pictures that show people; returns the files.

        Raises:
            DataError: nothing is finished.
        """
        device = store.device
        provenance = {
            "command": " ".join(["tosc", *sys.argv[1:]])
            if sys.argv[0].endswith("tosc")
            else "tosc reproduce",
            "preset": f"{self.preset.name}: {self.preset.told}",
            "commit": commit(),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "device": f"{device}, {torch.get_num_threads()} threads, {resolve_precision('auto', device)} in training",
            "torch": torch.__version__,
        }
        heading = ReportHeading(
            "Task-oriented semantic communication: the article's experiments", self.preset.name, provenance
        )
        return write_report(folder, self.findings(store, folder), heading, faces=faces)

    def _ready(self, experiment: str, store: Store) -> bool:
        """Whether an experiment has enough to show; figure 3 shows what there is, the others want to be whole."""
        if experiment == "fig3":
            return store.finished(floors_cell(self.images)) and any(
                store.finished(self.fig3.cells_of(arm(key), 0)[0]) for key in self.arms
            )
        return all(store.finished(cell) for cell in self.cells(experiment))

    def _fig3(self, store: Store, folder: Path) -> Findings:
        found = self.fig3.findings(store, folder)
        picture = self._grid(store, folder)
        return found if picture is None else replace(found, pictures=[*found.pictures, picture])

    def _grid(self, store: Store, folder: Path) -> Picture | None:
        """What the strongest rebuilding attacker of each arm makes of the same test images."""
        snr_db = float(self.preset.images.snr_db)
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
            source_of(self.preset.images, "test", None).to(store.device),
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

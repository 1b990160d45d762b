"""All experiments of one preset together: their jobs, and the report of what is finished."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from tosc_agents.experiments.attacks import ATTACKER, attack_job, floors_job, pointed_at
from tosc_agents.experiments.claims.judging import claims_section
from tosc_agents.experiments.faces import fig4_section, table2_section
from tosc_agents.experiments.faces.fig4 import Fig4
from tosc_agents.experiments.faces.gender import ClassifierTraining
from tosc_agents.experiments.faces.table2 import Table2
from tosc_agents.experiments.fig3.experiment import Fig3
from tosc_agents.experiments.grids import grid
from tosc_agents.experiments.jobs import Job, RunCache, order
from tosc_agents.experiments.methods import KEYS, method
from tosc_agents.experiments.presets import Preset
from tosc_agents.experiments.report import write_report
from tosc_agents.experiments.sections import Measurement, Plot, Section, strongest
from tosc_agents.experiments.systems import Systems, source_of
from tosc_agents.experiments.table1 import section as table1
from tosc_agents.experiments.table1.experiment import plan
from tosc_agents.experiments.trainings import SCHEME, Recipe
from tosc_agents.perceptual import find_weights
from tosc_agents.records import commit
from tosc_env.errors import DataError, InputError, unknown

EXPERIMENTS = ("fig3", "table1", "table2", "fig4")
"""In the order of the report."""

Given = Mapping[tuple[str, str, int], Path]


class Reproduction:
    """A preset, narrowed to some methods, with checkpoints that are taken instead of trained.

    Args:
        preset: what is done, and how much of it.
        methods: keys of those compared, registered ones too; none: all that are built in.
        trainings: of each method that the preset repeats; None: the preset's number.
        given: checkpoints by (``images`` or ``faces``, training key, seed).
        device: where it is computed; what is timed belongs to a device.

    Raises:
        InputError: an unknown method or training.
    """

    def __init__(
        self,
        preset: Preset,
        *,
        methods: tuple[str, ...] = (),
        trainings: int | None = None,
        given: Given | None = None,
        device: str = "cpu",
    ) -> None:
        added = [method(key) for key in methods if key not in KEYS]
        more = {one.training: Recipe(**one.recipe) for one in added if one.recipe is not None}
        recipes = {"images": {**preset.recipes, **more}, "faces": {**preset.face_recipes, **more}}
        self.preset = p = preset if trainings is None else replace(preset, trainings=trainings)
        keys = (*KEYS, *sorted({one.key for one in added}))
        self.methods = tuple(key for key in keys if not methods or key in methods)
        parts: dict[str, dict[tuple[str, int], Path]] = {"images": {}, "faces": {}}
        for (where, key, seed), path in (given or {}).items():
            if key not in recipes[where]:
                raise unknown("training", key, recipes[where])
            parts[where][key, seed] = path
        self.images = Systems(p.images, p.network, recipes["images"], parts["images"], p.shared_start)
        self.faces = Systems(p.faces, p.face_network, recipes["faces"], parts["faces"], p.shared_start)
        self.fig3 = Fig3(p, self.images, self.methods)
        self.table1 = plan(
            p.images, p.network, recipes["images"], methods=self.methods, device=device, **p.timing
        )

    # Whoever asks for neither needs no faces.

    @cached_property
    def table2(self) -> Table2:
        """The cross-validation on faces, with LBVQ where calibrated noise is fitted to it."""
        p, chosen = self.preset, [method(key) for key in self.methods]
        if "lbvq" not in self.methods and any(one.training == "dp-calibrated" for one in chosen):
            chosen.append(method("lbvq"))
        return Table2(p.faces, self.faces.recipes, p.face_network, methods=chosen, folds=p.folds)

    @cached_property
    def fig4(self) -> Fig4:
        """What an attacker makes of faces."""
        p = self.preset
        return Fig4(
            self.faces,
            methods=[method(key) for key in self.methods],
            inversion=p.face_attacker,
            attribute={"epochs": p.gender_epochs, "batch_size": p.face_attacker["batch_size"]},
            classifier=ClassifierTraining(epochs=p.gender_epochs),
            seeds=p.evaluation.seeds,
        )

    def jobs(self, experiment: str) -> list[Job]:
        """What an experiment needs, or ``all`` of them; what is timed comes last, when the machine is quiet.

        Raises:
            DataError: images, or the VGG weights of the article's attacker, are not there.
            InputError: a checkpoint was given that none of the jobs takes.
        """
        asked = [name for name in ("fig3", "table2", "fig4", "table1") if experiment in (name, "all")]
        attackers = {
            "fig3": [attacker.options for attacker in self.preset.attackers],
            "fig4": [self.preset.face_attacker],
        }
        if any(one.get("perceptual_weight") for name in asked for one in attackers.get(name, ())):
            find_weights()  # hours before an attacker misses them
        for where, experiment_of, systems in (("", "fig3", self.images), ("faces.", "fig4", self.faces)):
            taken = {job.slug for job in order(self._all(experiment_of))} if systems.given else set()
            for (key, seed), path in systems.given.items():
                if systems.trained(key, seed).slug not in taken:
                    raise InputError(
                        f"no job takes the training {where}{key}:{seed}, for which {path} is given."
                    )
        return [job for name in asked for job in self._all(name)]

    def sections(self, cache: RunCache, folder: Path) -> list[Section]:
        """Of every experiment that has begun, and the claims as far as they can be judged."""
        make: dict[str, Callable[[], Section]] = {
            "fig3": lambda: self._fig3(cache, folder),
            "table1": lambda: table1.section(cache.result(self.table1)),
            "table2": lambda: table2_section.section(self.table2, cache, folder),
            "fig4": lambda: fig4_section.section(self.fig4, cache, folder),
        }
        found = [make[name]() for name in EXPERIMENTS if self._ready(name, cache)]
        if not found:
            raise DataError(f"nothing is finished in {cache.folder}; run an experiment first.")
        missing = [name for name in EXPERIMENTS if self._begun(name, cache) and not self._ready(name, cache)]
        claims = self._claims([m for one in found for m in one.measurements], cache)
        if missing:
            claims.notes.append(f"Begun, not finished, and so not shown: {', '.join(missing)}.")
        return [claims, *found]

    def report(self, cache: RunCache, folder: Path, *, faces: bool = True) -> list[Path]:
        """Write the report of what is finished, with or without plots that show people; returns the files.

        Raises:
            DataError: nothing is finished.
        """
        found = self.sections(cache, folder)
        begun = order([job for name in EXPERIMENTS for job in self._begun(name, cache)])
        records = [cache.record(job) for job in begun if cache.finished(job)]

        def told(key: str) -> str:
            return ", ".join(sorted({str(record[key]) for record in records}))

        provenance = {
            "preset": self.preset.name,
            "what the preset is": self.preset.told,
            "jobs": f"{len(records)}, {sum(r['seconds'] for r in records) / 3600:.1f} hours of one process",
            "commits": told("commit"),
            "devices": f"{told('device')}; threads per process: {told('threads')}",
            "torch": told("torch"),
            "report": f"written {datetime.datetime.now(datetime.UTC).date().isoformat()} at commit {commit()}",
        }
        title = "Task-oriented semantic communication: the article's experiments"
        return write_report(folder, found, title, provenance, faces=faces)

    def _ready(self, experiment: str, cache: RunCache) -> bool:
        """Whether an experiment has enough to show; figure 3 shows what there is, the others want to be whole."""
        begun = self._begun(experiment, cache)
        if experiment != "fig3":
            return bool(begun) and len(begun) == len(self._all(experiment))
        names = {job.slug for job in begun}
        measured = [self.fig3.jobs_of(method(key), 0)[0] for key in self.methods] if begun else []
        return floors_job(self.images).slug in names and any(job.slug in names for job in measured)

    def _all(self, experiment: str) -> list[Job]:
        return [self.table1] if experiment == "table1" else getattr(self, experiment).jobs

    def _begun(self, experiment: str, cache: RunCache) -> list[Job]:
        """The finished jobs of an experiment. Data are asked for only where there is something of it."""
        first = "floors" if experiment == "fig3" else experiment
        if not any(cache.folder.glob(f"{first}-*")):
            return []
        return [job for job in self._all(experiment) if cache.finished(job)]

    def _fig3(self, cache: RunCache, folder: Path) -> Section:
        found = self.fig3.section(cache, folder)
        found.plots += self._grid(found.measurements, cache, folder)
        return found

    def _grid(self, measurements: list[Measurement], cache: RunCache, folder: Path) -> list[Plot]:
        """What the strongest rebuilding attacker of each method makes of the same test images."""
        snr_db = float(self.preset.images.snr_db)  # type: ignore[arg-type]
        shown: dict[str, tuple[Path, Path]] = {}
        names: dict[str, str] = {}
        for key in self.methods:
            one = method(key)
            best = strongest(measurements, method=key, snr_db=snr_db, figures=["psnr_db"])
            attackers = [a for a in pointed_at(self.preset.attackers, one) if best and a.key == best.attacker]
            if best is None or not attackers:
                continue
            attack = attack_job(self.images, one, attackers[0], 0, self.preset.evaluation)
            training = self.images.training(one.training)
            if cache.finished(attack) and cache.finished(training):
                shown[key] = (cache.folder_of(training) / SCHEME, cache.folder_of(attack) / ATTACKER)
                names[key] = f"{best.attacker}, {best.mean:.2f} dB"
        if not shown:
            return []
        plot = grid(
            folder / "fig3_grid.png",
            self.preset.images,
            source_of(self.preset.images, "test", None, cache.device),
            shown,
            snr_db=snr_db,
            notes=names,
            title="What the strongest attacker of each scheme rebuilds",
            caption=f"The first test images at {snr_db:g} dB, in each row what the strongest rebuilding attacker makes "
            "of the same messages; under each name that attacker and its mean PSNR over all test images.",
        )
        return [plot]

    def _claims(self, measurements: list[Measurement], cache: RunCache) -> Section:
        floor = None
        if self._ready("fig3", cache):
            floor = cache.result(floors_job(self.images))["floors"]["mean-image"]["psnr_db"]
        note = f"figure 3 and table 1 on {self.preset.images.data}, table 2 and figure 4 on {self.preset.faces.data}"
        if self.preset.faces.data == "shapes":
            note += " (binary facts about shapes under the names of face attributes, which say nothing about faces)"
        return claims_section(measurements, floor_db=floor, data_note=note)

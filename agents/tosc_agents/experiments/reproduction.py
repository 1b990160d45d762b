"""All experiments of one preset together: their jobs, and the report of what is finished."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tosc_agents.experiments.faces.fig4 import Fig4
from tosc_agents.experiments.faces.gender import ClassifierTraining
from tosc_agents.experiments.faces.table2 import Table2
from tosc_agents.experiments.fig3 import Fig3
from tosc_agents.experiments.jobs import Job, RunCache, order
from tosc_agents.experiments.measurements import frame
from tosc_agents.experiments.methods import KEYS, method
from tosc_agents.experiments.presets import Preset
from tosc_agents.experiments.report import write_report
from tosc_agents.experiments.sections import Experiment
from tosc_agents.experiments.systems import Systems
from tosc_agents.experiments.table1 import Table1
from tosc_agents.experiments.trainings import Recipe
from tosc_agents.perceptual import find_weights
from tosc_agents.records import commit
from tosc_env.errors import DataError, InputError, unknown

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
        self.device = device
        self._made: dict[str, Experiment] = {}

    def experiment(self, name: str) -> Experiment:
        """One of :data:`EXPERIMENTS` for this preset, made once; those on faces look for their images."""
        if name not in self._made:
            self._made[name] = EXPERIMENTS[name][1](self)
        return self._made[name]

    def jobs(self, experiment: str) -> list[Job]:
        """The jobs of an experiment, or of ``all``; what is timed comes last, when the machine is quiet.

        Raises:
            DataError: images, or the VGG weights of the article's attacker, are not there.
            InputError: a checkpoint was given that none of the jobs takes.
        """
        asked = [name for name in EXPERIMENTS if experiment in (name, "all")]
        attackers = [attacker.options for attacker in self.preset.attackers] if "fig3" in asked else []
        attackers += [self.preset.face_attacker] if "fig4" in asked else []
        if any(options.get("perceptual_weight") for options in attackers):
            find_weights()  # hours before an attacker misses them
        for where, name, systems in (("", "fig3", self.images), ("faces.", "fig4", self.faces)):
            taken = {job.slug for job in order(self.experiment(name).jobs)} if systems.given else set()
            for (key, seed), path in systems.given.items():
                if systems.trained(key, seed).slug not in taken:
                    raise InputError(
                        f"no job takes the training {where}{key}:{seed}, for which {path} is given."
                    )
        return [job for name in asked for job in self.experiment(name).jobs]

    def report(self, cache: RunCache, folder: Path, *, faces: bool = True) -> list[Path]:
        """Write the report of what is finished, with or without plots that show people; returns the files.

        Raises:
            DataError: nothing is finished.
        """
        begun = {name: jobs for name in EXPERIMENTS if (jobs := self._begun(name, cache))}
        rows = {name: self.experiment(name).rows(cache) for name in begun}
        shown = [name for name in begun if rows[name]]
        if not shown:
            raise DataError(f"nothing is finished in {cache.folder}; run an experiment first.")
        sections = {name: self.experiment(name).section(cache, folder) for name in shown}
        records = [cache.record(job) for job in order([job for name in begun for job in begun[name]])]

        def told(key: str) -> str:
            return ", ".join(sorted({str(record[key]) for record in records}))

        p = self.preset
        absent = [name for name in EXPERIMENTS if name not in shown]
        provenance = {
            "data": "; ".join(dict.fromkeys(section.data for section in sections.values())),
            "preset": f"{p.name}: {p.told}",
            "seeds": f"{p.trainings} trainings of {', '.join(p.repeated or ('each method',))}, one of others; "
            f"{p.evaluation.seeds} draws of the channel noise",
            "commit": f"{told('commit')}; report written {datetime.datetime.now(datetime.UTC):%Y-%m-%d} at {commit()}",
            "computed": f"{len(records)} jobs, {sum(r['seconds'] for r in records) / 3600:.1f} hours of one process "
            f"on {told('device')}, torch {told('torch')}, threads {told('threads')}",
            **({"not run, or not finished": ", ".join(absent)} if absent else {}),
        }
        table = frame(row for name in shown for row in rows[name])
        kinds: Any = {name: kind for name, (kind, _) in EXPERIMENTS.items()}
        return write_report(folder, table, sections, kinds, provenance, faces=faces)

    def _begun(self, name: str, cache: RunCache) -> list[Job]:
        """The finished jobs of an experiment. Data are asked for only where there is something of it."""
        first = "floors" if name == "fig3" else name
        if not any(cache.folder.glob(f"{first}-*")):
            return []
        return [job for job in self.experiment(name).jobs if cache.finished(job)]


def _table2(whole: Reproduction) -> Table2:
    """With LBVQ where calibrated noise is fitted to it."""
    p, chosen = whole.preset, [method(key) for key in whole.methods]
    if "lbvq" not in whole.methods and any(one.training == "dp-calibrated" for one in chosen):
        chosen.append(method("lbvq"))
    return Table2(p.faces, whole.faces.recipes, p.face_network, methods=chosen, folds=p.folds)


def _fig4(whole: Reproduction) -> Fig4:
    p = whole.preset
    return Fig4(
        whole.faces,
        methods=[method(key) for key in whole.methods],
        inversion=p.face_attacker,
        attribute={name: p.face_attacker[name] for name in ("steps", "batch_size")},
        classifier=ClassifierTraining(epochs=p.gender_epochs),
        seeds=p.evaluation.seeds,
    )


def _table1(whole: Reproduction) -> Table1:
    p, systems = whole.preset, whole.images
    size = {"methods": whole.methods, "device": whole.device, **p.timing}
    return Table1(systems.setting, systems.network, systems.recipes, **size)


EXPERIMENTS: Mapping[str, tuple[type, Callable[[Reproduction], Experiment]]] = {
    "fig3": (Fig3, lambda whole: Fig3(whole.preset, whole.images, whole.methods)),
    "table2": (Table2, _table2),
    "fig4": (Fig4, _fig4),
    "table1": (Table1, _table1),
}
"""By the name of the command's target, in the order of jobs and report; a new experiment is a class and an entry."""

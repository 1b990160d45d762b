"""All experiments of one preset together: their jobs, and the report of what is finished."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tosc_agents.experiments.attacks import THREAT
from tosc_agents.experiments.fig3 import Fig3
from tosc_agents.experiments.fig4 import Fig4
from tosc_agents.experiments.jobs import Job, RunCache, order
from tosc_agents.experiments.measurements import frame
from tosc_agents.experiments.methods import KEYS, method
from tosc_agents.experiments.presets import Preset
from tosc_agents.experiments.report import Experiment, write_report
from tosc_agents.experiments.systems import Recipe, Systems
from tosc_agents.experiments.table1 import Table1
from tosc_agents.experiments.table2 import Table2
from tosc_agents.perceptual import find_weights
from tosc_agents.records import commit
from tosc_env.errors import DataError, InputError
from tosc_env.identity import plain

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
        keys = (*KEYS, *sorted({one.key for one in added}))
        self.methods = tuple(key for key in keys if not methods or key in methods)

        def systems(where: str, usual: Systems) -> Systems:
            taken = {(key, seed): path for (at, key, seed), path in (given or {}).items() if at == where}
            made = replace(usual, recipes={**usual.recipes, **more}, given=taken)
            for key, _ in taken:
                made.recipe(key)
            return made

        images, faces = systems("images", preset.images), systems("faces", preset.faces)
        trainings, timing = trainings or preset.trainings, {**preset.timing, "device": device}
        self.preset = replace(preset, images=images, faces=faces, trainings=trainings, timing=timing)
        self._made: dict[str, Experiment] = {}

    def experiment(self, name: str) -> Experiment:
        """One of :data:`EXPERIMENTS` for this preset, made once; those on faces look for their images."""
        if name not in self._made:
            self._made[name] = EXPERIMENTS[name](self.preset, self.methods)
        return self._made[name]

    def jobs(self, experiment: str) -> list[Job]:
        """The jobs of an experiment, or of ``all``; what is timed comes last, when the machine is quiet.

        A DataError says that images, or the VGG weights of the article's attacker, are not there, an InputError that a
        checkpoint was given that none of the jobs takes.
        """
        asked = [name for name in EXPERIMENTS if experiment in (name, "all")]
        attackers = [attacker.options for attacker in self.preset.attackers] if "fig3" in asked else []
        attackers += [self.preset.face_attacker] if "fig4" in asked else []
        if any(options.get("perceptual_weight") for options in attackers):
            find_weights()  # hours before an attacker misses them
        for where, name, systems in (("", "fig3", self.preset.images), ("faces.", "fig4", self.preset.faces)):
            taken = {job.slug for job in order(self.experiment(name).jobs)} if systems.given else set()
            for (key, seed), path in systems.given.items():
                if systems.trained(key, seed).slug not in taken:
                    raise InputError(
                        f"no job takes the training {where}{key}:{seed}, for which {path} is given."
                    )
        return [job for name in asked for job in self.experiment(name).jobs]

    def report(self, cache: RunCache, folder: Path, *, faces: bool = True) -> list[Path]:
        """Write the report of what is finished, with or without plots that show people; returns the files."""
        # Data are asked for only where there is something of an experiment.
        begun = [name for name in EXPERIMENTS if any(cache.folder.glob(f"{FIRST.get(name, name)}-*"))]
        jobs = {name: self.experiment(name).jobs for name in begun}
        done = order([job for name in begun for job in jobs[name] if cache.finished(job)])
        rows = {name: found for name in begun if (found := self.experiment(name).rows(cache))}
        if not rows:
            raise DataError(f"nothing is finished in {cache.folder}; run an experiment first.")
        missing = {
            name: [job.name for job in jobs[name] if not cache.finished(job)] if name in jobs else ["all"]
            for name in EXPERIMENTS
        }
        sections = {name: self.experiment(name).section(cache, folder) for name in rows}
        records = [cache.record(job) for job in done]
        told = {
            key: ", ".join(sorted({str(record[key]) for record in records}))
            for key in ("commit", "device", "torch", "threads")
        }
        p = self.preset
        times = "1 training" if p.trainings == 1 else f"{p.trainings} trainings"
        provenance = {
            "data": " ".join(dict.fromkeys(section.data for section in sections.values())),
            "preset": f"{p.name}: {p.told}",
            "seeds": f"{times} of {', '.join(p.repeated or ('each method',))}, one of others; "
            f"{p.evaluation.seeds} draws of the channel noise",
            "commit": f"{told['commit']}; report written {datetime.datetime.now(datetime.UTC):%Y-%m-%d} at {commit()}",
            "computed": f"{len(records)} jobs, {sum(r['seconds'] for r in records) / 3600:.1f} hours of one process "
            f"on {told['device']}, torch {told['torch']}, threads {told['threads']}",
        }
        # Without figures, which stand in the table of measurements, and the attackers' curves.
        results = {one["job"]: {k: v for k, v in one["result"].items() if k not in LONG} for one in records}
        facts = {
            "provenance": provenance,
            "missing": {name: names for name, names in missing.items() if names},
            "preset": plain(p),
            "threat_model": THREAT.plain(),
            "jobs": results,
        }
        table = frame(row for name in rows for row in rows[name])
        return write_report(folder, table, sections, EXPERIMENTS, facts, faces=faces)


LONG = ("evaluation", "methods", "training")
FIRST = {"fig3": "floors"}
"""How the names of an experiment's jobs begin where they do not with its own."""

EXPERIMENTS: Mapping[str, type[Experiment]] = {"fig3": Fig3, "table2": Table2, "fig4": Fig4, "table1": Table1}
"""By the name of the command's target, in the order of jobs and report; a new experiment is a class and an entry."""

"""``tosc reproduce``: the article's experiments, from training to plot."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from tosc_agents.commands.common import check_folder
from tosc_agents.experiments.jobs import RunCache
from tosc_agents.experiments.presets import preset
from tosc_agents.experiments.reproduction import EXPERIMENTS, Reproduction
from tosc_env.devices import resolve_device
from tosc_env.errors import InputError, shown

TARGETS = tyro.extras.literal_type_from_choices((*EXPERIMENTS, "claims", "all"))


@dataclass
class Reproduce:
    """Regenerate the article's figures and tables; run the same command again to continue after an interruption.

    Every piece of work is a job under OUTPUT/jobs and is done once: a finished job is never computed again, a
    killed training goes on at its last epoch, and several processes may share one folder.

    Example: tosc reproduce all --preset quick --output runs/quick
    """

    experiment: Annotated[str, tyro.conf.Positional, tyro.conf.arg(constructor=TARGETS)]
    """Which; each ends with a report of all that is finished, 'claims' computes nothing before."""
    preset: Literal["quick", "cpu", "article"] = "quick"
    """Embedded Shapes in minutes; CIFAR-10 and CelebA in a night on two cores; as long as the article, on a GPU."""
    methods: tuple[str, ...] = ()
    """Keys of the methods to compare, e.g. deepjscc ibal lbvq; by default all."""
    trainings: int | None = None
    """Trainings of each method that the preset repeats, with seeds 0, 1, ...; by default the preset's number."""
    use: tuple[str, ...] = ()
    """Checkpoints to take instead of training: TRAINING=FILE or TRAINING:SEED=FILE; for faces faces.TRAINING=FILE."""
    only_report: bool = False
    """Compute nothing; write the report of what is finished."""
    faces: bool = True
    """Put plots that show people into the report; leave them out of one that is passed on."""
    device: str = "cpu"
    """Processor or accelerator to compute on, e.g. cuda:0."""
    output: Path | None = None
    """Result folder; by default runs/reproduce-PRESET."""

    def run(self) -> int:
        """Finish the jobs, write the report."""
        if self.trainings is not None and self.trainings < 1:
            raise InputError(f"trainings must be at least 1, not {self.trainings}.")
        folder = self.output or Path("runs") / f"reproduce-{self.preset}"
        check_folder(folder)
        cache = RunCache(folder / "jobs", device=resolve_device(self.device))
        reproduction = Reproduction(
            preset(self.preset),
            methods=self.methods,
            trainings=self.trainings,
            given=parse_given(self.use),
            device=self.device,
        )
        if not self.only_report and self.experiment != "claims":
            cache.run(reproduction.jobs(self.experiment))
        for path in reproduction.report(cache, folder, faces=self.faces):
            print(path)
        return 0


def parse_given(pairs: tuple[str, ...]) -> dict[tuple[str, str, int], Path]:
    """``TRAINING=FILE``, ``TRAINING:SEED=FILE``, ``faces.TRAINING=FILE`` by (images or faces, training, seed).

    >>> parse_given(("lbvq:1=a.safetensors", "faces.ibal=b.safetensors"))
    {('images', 'lbvq', 1): PosixPath('a.safetensors'), ('faces', 'ibal', 0): PosixPath('b.safetensors')}
    """
    found: dict[tuple[str, str, int], Path] = {}
    for pair in pairs:
        parts = re.fullmatch(r"(faces\.)?([^:=]+)(?::(\d+))?=(.+)", pair, re.DOTALL)
        if parts is None:
            raise InputError(f"--use takes TRAINING=FILE or TRAINING:SEED=FILE, not {shown(pair)}.")
        faces, training, seed, path = parts.groups()
        name = "faces" if faces else "images", training, int(seed or 0)
        if name in found:
            raise InputError(f"--use names {faces or ''}{training}:{seed or 0} twice.")
        found[name] = Path(path)
    return found

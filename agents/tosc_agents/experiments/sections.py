"""The interface of an experiment, and the section that it hands to the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from tosc_agents.experiments.jobs import Job, RunCache


@dataclass(frozen=True)
class Table:
    """A table for people: cells are text, columns have names."""

    title: str
    cells: pd.DataFrame
    caption: str = ""


@dataclass(frozen=True)
class Plot:
    """A PNG or SVG in the result folder. ``faces``: it shows people and stays on the user's disk."""

    title: str
    file: str
    caption: str = ""
    faces: bool = False


@dataclass
class Section:
    """The report of one experiment besides its measurements.

    Attributes:
        title: of the experiment.
        data: which images it is about, in a few words.
        notes: sentences: threat model, seeds, what was trained, what is not said.
        missing: names of the jobs that are not finished.
        plots: pictures that need the trained systems; charts and tables are made from the measurements.
        details: plain values for the JSON: trainings, settings, threat models.
    """

    title: str
    data: str
    notes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)


class Experiment(Protocol):
    """One of the article's figures or tables: a class in a module of its own, named in ``EXPERIMENTS``."""

    @property
    def jobs(self) -> Sequence[Job]:
        """The jobs to run; they name those that they need. A job's name begins with the experiment's."""

    def rows(self, cache: RunCache) -> list[dict[str, Any]]:
        """The measurements of what is finished, by their columns; none where that is too little to show."""

    def section(self, cache: RunCache, folder: Path) -> Section:
        """The rest of what a reader must know; pictures are written into the folder."""

    @staticmethod
    def show(table: pd.DataFrame, folder: Path) -> tuple[list[Plot], list[Table]]:
        """Charts, written into the folder, and tables of its measurements; the most telling ones first."""

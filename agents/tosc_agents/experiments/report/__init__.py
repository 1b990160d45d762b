"""The report of a run: one self-contained HTML page, the same in Markdown, and the measurements as CSV and JSON."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tosc_agents.experiments.claims import judge
from tosc_agents.experiments.jobs import Job, RunCache
from tosc_agents.experiments.measurements import over_seeds
from tosc_agents.records import inert, write_json, write_text
from tosc_env.errors import printable

TITLE = "Task-oriented semantic communication: the article's experiments"
TYPES = {".png": "image/png", ".svg": "image/svg+xml"}

LEFT_OUT = "This picture shows faces and stays on the disk of whoever made it."
"""What stands in the place of a plot that is not shown."""


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
    """The report of one experiment besides its measurements: its title, the images it is about in a few words,
    sentences on threat model, seeds, trainings, and pictures that need the trained systems.
    """

    title: str
    data: str
    notes: list[str] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)


class Experiment(Protocol):
    """One of the article's figures or tables: a class in a module of its own, named in ``EXPERIMENTS``."""

    def __init__(self, preset: Any, methods: Sequence[str]) -> None: ...

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


def write_report(
    folder: Path,
    table: pd.DataFrame,
    sections: Mapping[str, Section],
    experiments: Mapping[str, type[Experiment]],
    facts: Mapping[str, Any],
    *,
    faces: bool = True,
) -> list[Path]:
    """Write ``report.html``, ``report.md``, ``results.csv`` and ``results.json``, each whole or not at all.

    Args:
        folder: of the results, where plots lie.
        table: the measurements of all experiments.
        sections: of every experiment that is shown; the first one's first chart and table stand on the first screen.
        experiments: by the same names, who make charts and tables of the measurements.
        facts: plain values: ``provenance``, what was run, by the name under which it is shown; ``missing``, by
            experiment what is not finished of it; and others for the JSON alone.
        faces: False leaves plots that show people out of HTML and Markdown, for reports that are passed on.
    """
    joined, judged = over_seeds(table), judge(table)
    shown = []
    for name, section in sections.items():
        plots, tables = experiments[name].show(joined[joined.experiment == name], folder)
        shown.append({"name": name, "section": section, "plots": [*plots, *section.plots], "tables": tables})
    context = {
        **facts,
        "title": TITLE,
        "claims": judged,
        "rules": notes("rules"),
        "shown": shown,
        "faces": faces,
        "left_out": LEFT_OUT,
        "data": lambda plot: _data(folder / plot.file),
    }
    claims = [
        {"number": one.number, "claim": one.text, "verdict": one.verdict}
        | {"criteria": [{"criterion": name, **outcome._asdict()} for name, outcome in one.criteria]}
        for one in judged
    ]
    told = {name: asdict(section) for name, section in sections.items()}
    texts = {
        "report.html": _render("report.html", context, _text),
        "report.md": _render("report.md", context, md_text),
        "results.csv": table.map(inert).to_csv(index=False, lineterminator="\n"),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    write_json(folder / "results.json", {**facts, "claims": claims, "sections": told})
    return [folder / name for name in (*texts, "results.json")]


def notes(name: str, **facts: Any) -> list[str]:
    """The sentences that the template of a section makes of facts, a note on each line."""
    return [line for line in _render(f"{name}.txt", facts, str, autoescape=False).splitlines() if line]


def _render(name: str, context: Mapping[str, Any], finalize: Any, *, autoescape: bool = True) -> str:
    loader = PackageLoader("tosc_agents.experiments.report", "templates")
    options: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "undefined": StrictUndefined}
    environment = Environment(loader=loader, finalize=finalize, autoescape=autoescape, **options)
    return environment.get_template(name).render(context)


def _data(path: Path) -> str:
    """The file as a data URI; base64 for SVG too, as nothing in it can then end the attribute it stands in."""
    return f"data:{TYPES[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def _text(text: Any) -> Any:
    """Anything but markup as one line without codes."""
    return text if isinstance(text, Markup) else printable(" ".join(str(text).split()))


def md_text(text: Any) -> Markup:
    r"""A title, cell or sentence in one line, with nothing that Markdown or HTML in it would take for markup.

    >>> print(md_text("a|b <i> *c*"))
    a\|b &lt;i> \*c\*
    """
    if isinstance(text, Markup):  # what a macro has made of escaped texts
        return text
    plain = re.sub(r"([\\*\[\]`|])", r"\\\1", _text(text))
    return Markup(plain.replace("&", "&amp;").replace("<", "&lt;"))

"""The report of a run: one self-contained HTML page, the same in Markdown, and the measurements as CSV and JSON."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tosc_agents.experiments.claims import RULES, judge
from tosc_agents.experiments.measurements import over_seeds
from tosc_agents.experiments.sections import Experiment, Plot, Section
from tosc_agents.records import inert, write_json, write_text
from tosc_env.errors import printable

TYPES = {".png": "image/png", ".svg": "image/svg+xml"}

LEFT_OUT = "This picture shows faces and stays on the disk of whoever made it."
"""What stands in the place of a plot that is not shown."""


def write_report(
    folder: Path,
    table: pd.DataFrame,
    sections: Mapping[str, Section],
    experiments: Mapping[str, type[Experiment]],
    provenance: Mapping[str, str],
    *,
    faces: bool = True,
) -> list[Path]:
    """Write ``report.html``, ``report.md``, ``results.json`` and ``results.csv``, each whole or not at all.

    Args:
        folder: of the results, where plots lie.
        table: the measurements of all experiments.
        sections: of every experiment that is shown, in their order; the first one's first chart and table stand on
            the first screen.
        experiments: by the same names, who make charts and tables of the measurements.
        provenance: what was run, by the name under which it is shown.
        faces: False leaves plots that show people out of HTML and Markdown and says so in their place, for reports
            that are passed on.

    Returns:
        the paths written.
    """
    joined, judged = over_seeds(table), judge(table)
    shown = []
    for name, section in sections.items():
        plots, tables = experiments[name].show(joined[joined.experiment == name], folder)
        shown.append({"name": name, "section": section, "plots": [*plots, *section.plots], "tables": tables})
    context = {
        "title": "Task-oriented semantic communication: the article's experiments",
        "provenance": provenance,
        "claims": judged,
        "rules": RULES,
        "shown": shown,
        "missing": [f"{name}: {', '.join(one.missing)}" for name, one in sections.items() if one.missing],
        "faces": faces,
        "left_out": LEFT_OUT,
    }
    record = {
        "provenance": dict(provenance),
        "claims": [
            {"number": one.number, "claim": one.text, "verdict": one.verdict}
            | {"criteria": [{"criterion": name, **asdict(outcome)} for name, outcome in one.criteria]}
            for one in judged
        ],
        "sections": {name: asdict(section) for name, section in sections.items()},
    }
    texts = {
        "report.html": _render("report.html", context, data=lambda plot: _data(folder, plot), finalize=_text),
        "report.md": _render("report.md", context, finalize=md_text),
        "results.csv": table.map(inert).to_csv(index=False, lineterminator="\n"),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    write_json(folder / "results.json", record)
    return [folder / name for name in (*texts, "results.json")]


def _render(name: str, context: Mapping[str, Any], *, data: Any = None, **how: Any) -> str:
    loader = PackageLoader("tosc_agents.experiments.report", "templates")
    options = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True, **how}
    environment = Environment(loader=loader, undefined=StrictUndefined, **options)
    environment.globals["data"] = data
    return environment.get_template(name).render(context)


def _data(folder: Path, plot: Plot) -> str:
    """The plot as a data URI; base64 for SVG too, as nothing in it can then end the attribute it stands in."""
    content = base64.b64encode((folder / plot.file).read_bytes()).decode("ascii")
    return f"data:{TYPES[Path(plot.file).suffix]};base64,{content}"


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

"""``report.md``: the report for people who read text; plots are links beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from tosc_agents.experiments.report.cells import cell, of_numbers
from tosc_agents.experiments.report.data import LEFT_OUT, content, inside
from tosc_agents.experiments.sections import Section, Table


def markdown_report(
    sections: Sequence[Section], title: str, provenance: Mapping[str, str], folder: Path, faces: bool
) -> str:
    """The whole report in Markdown; see :func:`~tosc_agents.experiments.report.write_report`."""
    lines = [f"# {md_text(title)}", ""]
    lines += [f"- {md_text(name)}: {md_text(value)}" for name, value in provenance.items()]
    lines += ["", "All figures are in `results.csv`, and with their details in `results.json`."]
    for found in sections:
        lines += ["", f"## {md_text(found.title)}", "", *(f"- {md_text(note)}" for note in found.notes)]
        for plot in found.plots:
            if faces or not plot.faces:
                content(plot)  # whatever is linked is there
                body = f"![{md_text(plot.title)}]({quote(inside(folder, plot))})"
            else:
                body = f"*{LEFT_OUT}*"
            lines += _block(plot.title, [body], plot.caption)
        for table in found.tables:
            lines += _block(table.title, _table(table), table.caption)
    return "\n".join(lines) + "\n"


def _block(title: str, body: Sequence[str], caption: str) -> list[str]:
    return ["", f"### {md_text(title)}", "", *body, *(["", md_text(caption)] if caption else [])]


def _table(table: Table) -> list[str]:
    rules = ["---:" if numbers else "---" for numbers in of_numbers(table)]
    return [
        f"| {' | '.join(md_text(name) for name in table.columns)} |",
        f"|{'|'.join(rules)}|",
        *(f"| {' | '.join(md_text(cell(one)) for one in row)} |" for row in table.rows),
    ]


def md_text(text: str) -> str:
    r"""A title, cell or sentence in one line, with nothing that Markdown or HTML in it would take for markup.

    >>> print(md_text("a|b <i> *c* `x|y`"))
    a\|b &lt;i> \*c\* `x\|y`
    """
    parts = re.split(r"`([^`]+)`", " ".join(text.split()))
    for i, part in enumerate(parts):
        plain = re.sub(r"([\\*\[\]`])", r"\\\1", part).replace("&", "&amp;").replace("<", "&lt;")
        parts[i] = f"`{part}`" if i % 2 else re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", plain)
    return "".join(parts).replace("|", "\\|")

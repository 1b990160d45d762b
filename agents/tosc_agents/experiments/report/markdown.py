"""``report.md``: the report for people who read text; pictures are links beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from tosc_agents.experiments.findings import Findings, Picture, Table
from tosc_agents.experiments.report import pictures
from tosc_agents.experiments.report.data import ReportHeading
from tosc_agents.experiments.report.text import cell, md_text, of_numbers


def markdown_report(
    findings: Sequence[Findings], heading: ReportHeading, folder: Path, *, faces: bool = True
) -> str:
    """The whole report in Markdown.

    Args:
        findings: of every experiment, in the order in which they are shown.
        heading: of the report.
        folder: of the results; pictures are linked relative to it.
        faces: whether pictures that show people are linked.

    Raises:
        DataError: a picture is missing or lies outside of the folder.
    """
    lines = [f"# {md_text(heading.title)}", "", f"- preset: {md_text(heading.preset)}"]
    lines += [f"- {md_text(name)}: {md_text(value)}" for name, value in heading.provenance.items()]
    lines += ["", "All figures are in `results.csv`, and with their details in `results.json`."]
    for found in findings:
        lines += ["", f"## {md_text(found.title)}", "", *(f"- {md_text(note)}" for note in found.notes)]
        for picture in found.pictures:
            lines += ["", *_picture(picture, folder, faces)]
        for table in found.tables:
            lines += ["", *_table(table)]
    return "\n".join(lines) + "\n"


def _picture(picture: Picture, folder: Path, faces: bool) -> list[str]:
    title = md_text(picture.title)
    if pictures.shown(picture, faces=faces):
        pictures.content(picture)  # whatever is linked is there
        body = f"![{title}]({quote(pictures.inside(folder, picture.path))})"
    else:
        body = f"*{pictures.LEFT_OUT}*"
    return [f"### {title}", "", body, *(["", md_text(picture.caption)] if picture.caption else [])]


def _table(table: Table) -> list[str]:
    rules = ["---:" if numbers else "---" for numbers in of_numbers(table)]
    return [
        f"### {md_text(table.title)}",
        "",
        f"| {' | '.join(md_text(name) for name in table.columns)} |",
        f"|{'|'.join(rules)}|",
        *(f"| {' | '.join(md_text(cell(one)) for one in row)} |" for row in table.rows),
        *(["", md_text(table.caption)] if table.caption else []),
    ]

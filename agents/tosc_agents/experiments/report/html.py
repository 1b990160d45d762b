"""``report.html``: one file with everything in it, which fetches nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path

from tosc_agents.experiments.findings import Findings, Picture, Table
from tosc_agents.experiments.report import pictures
from tosc_agents.experiments.report.data import ReportHeading, plain_value
from tosc_agents.experiments.report.text import cell, html_prose, is_empty, number, of_numbers

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""What the browser may load: nothing but what stands in the file."""

SHORT = 36
"""Characters of a table's cell that stay on one line."""


def html_report(
    findings: Sequence[Findings], heading: ReportHeading, folder: Path, *, faces: bool = True
) -> str:
    """The whole report as one HTML page.

    Args:
        findings: of every experiment, in the order in which they are shown.
        heading: of the report.
        folder: of the results, in which all pictures lie.
        faces: whether pictures that show people are in it.

    Raises:
        DataError: a picture is missing, damaged, or lies outside of the folder.
    """
    names = _anchors(findings)
    provenance = {"preset": heading.preset, **heading.provenance}
    told = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>\n" for name, value in provenance.items())
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(heading.title)}</title>
<style>
{_asset("style.css")}</style>
</head>
<body>
<header>
<h1>{escape(heading.title)}</h1>
<dl>
{told}</dl>
</header>
{_contents(findings, names)}
<main>
{"".join(_section(one, name, folder, faces) for one, name in zip(findings, names, strict=True))}</main>
<script>
{_asset("sort.js")}</script>
</body>
</html>
"""


def _asset(name: str) -> str:
    return (resources.files("tosc_agents.experiments.report") / name).read_text(encoding="utf-8")


def _anchors(findings: Sequence[Findings]) -> list[str]:
    """An id for each, of its experiment's name where that is unique and fit for one."""
    names: list[str] = []
    for found in findings:
        name = "".join(c if c.isascii() and c.isalnum() else "-" for c in found.experiment) or "section"
        count = sum(one == name or one.startswith(f"{name}.") for one in names)
        names.append(f"{name}.{count + 1}" if count else name)
    return names


def _contents(findings: Sequence[Findings], names: Sequence[str]) -> str:
    items = []
    for found, name in zip(findings, names, strict=True):
        parts = [(f"{name}-picture-{i}", one.title) for i, one in enumerate(found.pictures, 1)]
        parts += [(f"{name}-table-{i}", one.title) for i, one in enumerate(found.tables, 1)]
        inner = "".join(f'<li><a href="#{anchor}">{escape(title)}</a></li>\n' for anchor, title in parts)
        count = f"{_count(len(found.pictures), 'picture')}, {_count(len(found.tables), 'table')}"
        listed = f"<details><summary>{count}</summary><ol>\n{inner}</ol></details>" if parts else ""
        items.append(f'<li><a href="#{name}">{escape(found.title)}</a>{listed}</li>\n')
    return f'<nav aria-label="Contents"><strong>Contents</strong><ol>\n{"".join(items)}</ol></nav>'


def _count(things: int, what: str) -> str:
    return f"{things} {what}{'' if things == 1 else 's'}"


def _section(found: Findings, name: str, folder: Path, faces: bool) -> str:
    notes = "".join(f"<li>{html_prose(note)}</li>\n" for note in found.notes)
    parts = [f"<ul>\n{notes}</ul>\n"] if notes else []
    parts += [_picture(one, f"{name}-picture-{i}", folder, faces) for i, one in enumerate(found.pictures, 1)]
    parts += [_table(one, f"{name}-table-{i}") for i, one in enumerate(found.tables, 1)]
    if found.details:
        told = json.dumps(plain_value(found.details, found.experiment), indent=1, ensure_ascii=False)
        parts.append(
            f'<details class="details"><summary>Details</summary><pre>{escape(told)}</pre></details>\n'
        )
    return f'<section id="{name}">\n<h2>{escape(found.title)}</h2>\n{"".join(parts)}</section>\n'


def _picture(picture: Picture, anchor: str, folder: Path, faces: bool) -> str:
    caption = (
        f'<figcaption class="caption">{html_prose(picture.caption)}</figcaption>' if picture.caption else ""
    )
    if pictures.shown(picture, faces=faces):
        pictures.inside(folder, picture.path)
        body = f'<img src="{pictures.data_uri(picture)}" alt="{escape(picture.title)}">'
    else:
        body = f'<p class="absent">{escape(pictures.LEFT_OUT)}</p>'
    return f'<h3 id="{anchor}">{escape(picture.title)}</h3>\n<figure>{body}{caption}</figure>\n'


def _table(table: Table, anchor: str) -> str:
    right = of_numbers(table)
    head = "".join(
        f'<th scope="col" aria-sort="none" class="{kind}"><button type="button">{escape(name)}</button></th>'
        for name, kind in zip(table.columns, ("n" if n else "words" for n in right), strict=True)
    )
    rows = "".join(
        f"<tr>{''.join(_cell(one, n) for one, n in zip(row, right, strict=True))}</tr>\n"
        for row in table.rows
    )
    caption = f'<p class="caption">{html_prose(table.caption)}</p>\n' if table.caption else ""
    return (
        f'<h3 id="{anchor}">{escape(table.title)}</h3>\n'
        f'<div class="scroll" tabindex="0" role="region" aria-labelledby="{anchor}">'
        f'<table class="sortable" aria-labelledby="{anchor}">\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n{caption}"
    )


def _cell(value: str | float | None, right: bool) -> str:
    key, text = number(value), cell(value)
    if is_empty(value):
        order = " data-empty"
    else:
        order = "" if key is None else f' data-key="{str(key).replace("inf", "Infinity")}"'
    kind = "n" if right else "short" if len(text) <= SHORT else "long"
    return f'<td class="{kind}"{order}>{escape(text)}</td>'

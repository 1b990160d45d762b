"""``report.html``: one file with everything in it, which fetches nothing."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path

from tosc_agents.experiments.report.cells import cell, is_empty, number, of_numbers
from tosc_agents.experiments.report.data import LEFT_OUT, TYPES, content, inside, plain_value
from tosc_agents.experiments.sections import Plot, Section, Table

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""What the browser may load: nothing but what stands in the file."""

SHORT = 36
"""Characters of a table's cell that stay on one line."""


def html_report(
    sections: Sequence[Section], title: str, provenance: Mapping[str, str], folder: Path, faces: bool
) -> str:
    """The whole report as one HTML page; see :func:`~tosc_agents.experiments.report.write_report`."""
    names = _anchors(sections)
    told = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>\n" for name, value in provenance.items())
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(title)}</title>
<style>
{_asset("style.css")}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<dl>
{told}</dl>
</header>
{_contents(sections, names)}
<main>
{"".join(_section(one, name, folder, faces) for one, name in zip(sections, names, strict=True))}</main>
<script>
{_asset("sort.js")}</script>
</body>
</html>
"""


def _asset(name: str) -> str:
    return (resources.files("tosc_agents.experiments.report") / name).read_text(encoding="utf-8")


def _anchors(sections: Sequence[Section]) -> list[str]:
    """An id for each: its experiment's name, and from the second of that name its number."""
    kinds = [section.experiment for section in sections]
    return [f"{kind}.{i + 1}" if kind in kinds[:i] else kind for i, kind in enumerate(kinds)]


def _contents(sections: Sequence[Section], names: Sequence[str]) -> str:
    items = []
    for found, name in zip(sections, names, strict=True):
        parts = [(f"{name}-plot-{i}", one.title) for i, one in enumerate(found.plots, 1)]
        parts += [(f"{name}-table-{i}", one.title) for i, one in enumerate(found.tables, 1)]
        inner = "".join(f'<li><a href="#{anchor}">{escape(title)}</a></li>\n' for anchor, title in parts)
        count = f"{_count(len(found.plots), 'plot')}, {_count(len(found.tables), 'table')}"
        listed = f"<details><summary>{count}</summary><ol>\n{inner}</ol></details>" if parts else ""
        items.append(f'<li><a href="#{name}">{escape(found.title)}</a>{listed}</li>\n')
    return f'<nav aria-label="Contents"><strong>Contents</strong><ol>\n{"".join(items)}</ol></nav>'


def _count(things: int, what: str) -> str:
    return f"{things} {what}{'' if things == 1 else 's'}"


def _section(found: Section, name: str, folder: Path, faces: bool) -> str:
    notes = "".join(f"<li>{_prose(note)}</li>\n" for note in found.notes)
    parts = [f"<ul>\n{notes}</ul>\n"] if notes else []
    parts += [_plot(one, f"{name}-plot-{i}", folder, faces) for i, one in enumerate(found.plots, 1)]
    parts += [_table(one, f"{name}-table-{i}") for i, one in enumerate(found.tables, 1)]
    if found.details:
        told = json.dumps(plain_value(found.details, found.experiment), indent=1, ensure_ascii=False)
        parts.append(
            f'<details class="details"><summary>Details</summary><pre>{escape(told)}</pre></details>\n'
        )
    return f'<section id="{name}">\n<h2>{escape(found.title)}</h2>\n{"".join(parts)}</section>\n'


def _plot(plot: Plot, anchor: str, folder: Path, faces: bool) -> str:
    caption = f'<figcaption class="caption">{_prose(plot.caption)}</figcaption>' if plot.caption else ""
    if faces or not plot.faces:
        inside(folder, plot)
        # Base64 for SVG too: nothing in it can then end the attribute it stands in.
        data = base64.b64encode(content(plot)).decode("ascii")
        source = f"data:{TYPES[plot.path.suffix.lower()]};base64,{data}"
        body = f'<img src="{source}" alt="{escape(plot.title)}">'
    else:
        body = f'<p class="absent">{escape(LEFT_OUT)}</p>'
    return f'<h3 id="{anchor}">{escape(plot.title)}</h3>\n<figure>{body}{caption}</figure>\n'


def _table(table: Table, anchor: str) -> str:
    right = of_numbers(table)
    head = "".join(
        f'<th scope="col" aria-sort="none" class="{"n" if numbers else "words"}">'
        f'<button type="button">{escape(name)}</button></th>'
        for name, numbers in zip(table.columns, right, strict=True)
    )
    rows = "".join(f"<tr>{''.join(map(_cell, row, right))}</tr>\n" for row in table.rows)
    caption = f'<p class="caption">{_prose(table.caption)}</p>\n' if table.caption else ""
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


def _prose(text: str) -> str:
    """A sentence; what stands between backticks is shown as code.

    >>> _prose("a < b by `tosc`")
    'a &lt; b by <code>tosc</code>'
    """
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))

"""Sections as one self-contained HTML file, Markdown, JSON and CSV.

============  ============================================================================================
``data``      sections as plain values, all measurements as one CSV, and the bytes of plots
``cells``     what a table's cell shows, and the number it is sorted by
``html``      ``report.html``: opens offline, tables sort
``markdown``  ``report.md``
============  ============================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tosc_agents.experiments.report.data import plain, table_of_measurements
from tosc_agents.experiments.report.html import html_report
from tosc_agents.experiments.report.markdown import markdown_report
from tosc_agents.experiments.sections import Section
from tosc_agents.records import write_text


def write_report(
    folder: Path,
    sections: Sequence[Section],
    title: str,
    provenance: Mapping[str, str],
    *,
    faces: bool = True,
) -> list[Path]:
    """Write ``report.html``, ``report.md``, ``results.json`` and ``results.csv``, each whole or not at all.

    All four are made before the first is written, so bad sections leave an older report as it was.

    Args:
        folder: of the results; made when needed. Plots lie in it.
        sections: of every experiment, in the order in which they are shown.
        title: of the whole report.
        provenance: what was run, on what: preset, commit, date, device, by the name under which it is shown.
        faces: False leaves plots that show people out of HTML and Markdown and says so in their place; they
            need not exist then. For reports that are passed on.

    Returns:
        the paths written.

    Raises:
        DataError: a plot is missing, damaged, or lies outside of the folder.
        InputError: a mean is not finite, or a detail is not a plain value.
        WriteError: the folder cannot be written.
    """
    record = {
        "heading": {"title": title, "provenance": dict(provenance)},
        "sections": [plain(section, folder) for section in sections],
    }
    texts = {
        "report.html": html_report(sections, title, provenance, folder, faces),
        "report.md": markdown_report(sections, title, provenance, folder, faces),
        "results.json": json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "results.csv": table_of_measurements(sections),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]

"""All four files of a result folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tosc_agents.experiments.findings import Findings
from tosc_agents.experiments.report.data import ReportHeading, plain, table_of_rows
from tosc_agents.experiments.report.html import html_report
from tosc_agents.experiments.report.markdown import markdown_report
from tosc_agents.records import write_text


def write_report(
    folder: Path, findings: Sequence[Findings], heading: ReportHeading, *, faces: bool = True
) -> list[Path]:
    """Write ``report.html``, ``report.md``, ``results.json`` and ``results.csv``, each whole or not at all.

    All four are made before the first is written, so bad findings leave an older report as it was.

    Args:
        folder: of the results; made when needed. Pictures lie in it.
        findings: of every experiment, in the order in which they are shown.
        heading: what stands above them.
        faces: False leaves pictures that show people out of HTML and Markdown and says so in their place; they
            need not exist then. For reports that are passed on.

    Returns:
        the paths written.

    Raises:
        DataError: a picture is missing, damaged, or lies outside of the folder.
        InputError: a row's mean is not finite, or a detail is not a plain value.
        WriteError: the folder cannot be written.
    """
    record = json.dumps(plain(findings, heading, folder), indent=1, ensure_ascii=False, allow_nan=False)
    texts = {
        "report.html": html_report(findings, heading, folder, faces=faces),
        "report.md": markdown_report(findings, heading, folder, faces=faces),
        "results.json": f"{record}\n",
        "results.csv": table_of_rows(findings),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]

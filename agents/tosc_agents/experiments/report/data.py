"""The heading of a report, findings as plain values for JSON and back, and all rows as one flat CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tosc_agents.experiments.findings import Findings, Picture, Row, Table
from tosc_agents.experiments.report.pictures import inside
from tosc_env.errors import DataError, InputError

COLUMNS: tuple[str, ...] = tuple(one.name for one in fields(Row))
"""Of ``results.csv``; ``interval`` is the half-width of the 95 % interval, empty for a single sample."""


@dataclass(frozen=True)
class ReportHeading:
    """What stands above a report.

    Attributes:
        title: of the whole report.
        preset: how much was done: ``quick``, ``cpu``, ``article``.
        provenance: what was run, on what: commit, date, device, torch version, command line, by the name
            under which it is shown.
    """

    title: str
    preset: str
    provenance: Mapping[str, str] = field(default_factory=dict)


def plain(findings: Sequence[Findings], heading: ReportHeading, folder: Path) -> dict[str, Any]:
    """Everything, as values that JSON knows.

    A nan in a table or among the details is written as null; an infinity there as the text ``inf`` or ``-inf``.

    Args:
        findings: of every experiment.
        heading: of the report.
        folder: of the results; pictures are named relative to it.

    Raises:
        InputError: a row's mean is not finite, or a detail is not a plain value.
        DataError: a picture lies outside of the folder.
    """
    return {
        "heading": {
            "title": heading.title,
            "preset": heading.preset,
            "provenance": dict(heading.provenance),
        },
        "findings": [_plain_findings(one, folder) for one in findings],
    }


def _plain_findings(found: Findings, folder: Path) -> dict[str, Any]:
    for row in found.rows:
        if not math.isfinite(row.mean):
            raise InputError(
                f"{row.figure} of {row.arm} in {row.experiment} has the mean {row.mean}: not finite."
            )
    return {
        "experiment": found.experiment,
        "title": found.title,
        "notes": list(found.notes),
        "rows": [plain_value(row.plain(), "a row") for row in found.rows],
        "tables": [
            {
                "title": table.title,
                "columns": list(table.columns),
                "rows": plain_value(table.rows, f"table {table.title!r}"),
                "caption": table.caption,
            }
            for table in found.tables
        ],
        "pictures": [
            {
                "title": picture.title,
                "path": inside(folder, picture.path),
                "caption": picture.caption,
                "faces": picture.faces,
            }
            for picture in found.pictures
        ],
        "details": plain_value(found.details, f"details of {found.experiment}"),
    }


def plain_value(value: Any, where: str) -> Any:
    """The same in dicts with text keys, lists, text, finite numbers, True, False and None.

    Raises:
        InputError: something else is in it.

    >>> plain_value({12.0: (1, math.nan, math.inf)}, "details")
    {'12': [1, None, 'inf']}
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else f"{value}"
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, Mapping):
        return {_key(key, where): plain_value(inner, where) for key, inner in value.items()}
    if isinstance(value, Sequence):
        return [plain_value(inner, where) for inner in value]
    raise InputError(
        f"{where} holds a {type(value).__name__}; allowed are dicts, lists, text, numbers, True, False and None."
    )


def _key(key: Any, where: str) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, int | float) and not isinstance(key, bool):
        return f"{key:g}"
    raise InputError(f"{where} has the key {key!r}; allowed are text and numbers.")


def read_findings(path: Path) -> list[Findings]:
    """The findings of a ``results.json``; pictures are looked for beside it.

    Written and read, findings are the same but for tuples, which come back as lists, and numbers used as keys,
    which come back as text.

    Args:
        path: of the file.

    Raises:
        DataError: it cannot be read or is not one of those.
    """
    try:
        return [
            _findings(one, path.parent) for one in json.loads(path.read_text(encoding="utf-8"))["findings"]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not the results.json of a report: {error!r}.") from None


def _findings(told: dict[str, Any], folder: Path) -> Findings:
    return Findings(
        experiment=told["experiment"],
        title=told["title"],
        notes=list(told["notes"]),
        rows=[_row(row) for row in told["rows"]],
        tables=[Table(t["title"], t["columns"], t["rows"], t["caption"]) for t in told["tables"]],
        pictures=[
            Picture(p["title"], folder / p["path"], p["caption"], p["faces"]) for p in told["pictures"]
        ],
        details=dict(told["details"]),
    )


def _row(told: dict[str, Any]) -> Row:
    return Row(**{**told, "interval": math.nan if told["interval"] is None else told["interval"]})


def table_of_rows(findings: Sequence[Findings]) -> str:
    """All rows of all findings as CSV, one figure per line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for found in findings:
        writer.writerows(row.plain() for row in found.rows)
    return text.getvalue()

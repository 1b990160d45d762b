"""Sections as plain values for JSON, all measurements as one flat CSV, and the bytes of plots."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from tosc_agents.experiments.sections import Measurement, Plot, Section
from tosc_env.errors import DataError, InputError

TYPES = {".png": "image/png", ".svg": "image/svg+xml"}
"""The formats a report shows, and how a data URI names them."""

LEFT_OUT = "This plot shows faces and stays on the disk of whoever made it."
"""What stands in the place of a plot that is not shown."""


def plain(section: Section, folder: Path) -> dict[str, Any]:
    """A section as values that JSON knows.

    A nan in a table or among the details is written as null; an infinity there as the text ``inf`` or ``-inf``.

    Args:
        section: of an experiment.
        folder: of the results; plots are named relative to it.

    Raises:
        InputError: a mean is not finite, or a detail is not a plain value.
        DataError: a plot lies outside of the folder.
    """
    for m in section.measurements:
        if not math.isfinite(m.mean):
            raise InputError(f"{m.figure} of {m.method} in {m.experiment} has the mean {m.mean}: not finite.")
    told = {
        **vars(section),
        "measurements": [m.plain() for m in section.measurements],
        "tables": [asdict(table) for table in section.tables],
        "plots": [{**asdict(plot), "path": inside(folder, plot)} for plot in section.plots],
    }
    return {name: plain_value(value, f"{name} of {section.experiment}") for name, value in told.items()}


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
    if isinstance(value, Mapping):
        keys = {key: f"{key:g}" if isinstance(key, int | float) else f"{key}" for key in value}
        return {keys[key]: plain_value(inner, where) for key, inner in value.items()}
    if isinstance(value, Sequence):
        return [plain_value(inner, where) for inner in value]
    raise InputError(
        f"{where} holds a {type(value).__name__}; allowed are dicts, lists, text, numbers, True, False and None."
    )


def table_of_measurements(sections: Sequence[Section]) -> str:
    """All measurements of all sections as CSV, one figure per line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Measurement)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(m.plain() for section in sections for m in section.measurements)
    return text.getvalue()


def inside(folder: Path, plot: Plot) -> str:
    """The plot's path relative to the result folder, with forward slashes.

    Raises:
        DataError: it lies elsewhere.
    """
    try:
        return plot.path.resolve().relative_to(folder.resolve()).as_posix()
    except ValueError:
        raise DataError(f"plot {plot.path} lies outside of the result folder {folder}.") from None


def content(plot: Plot) -> bytes:
    """The plot's bytes.

    Raises:
        DataError: it is missing, or no PNG or SVG.
    """
    kind = plot.path.suffix.lower()
    if kind not in TYPES:
        raise DataError(f"plot {plot.path} is neither a .png nor an .svg file.")
    try:
        found = plot.path.read_bytes()
    except OSError as error:
        raise DataError(f"plot {plot.path} cannot be read: {error.strerror or error}.") from None
    if not (found.startswith(b"\x89PNG\r\n\x1a\n") if kind == ".png" else b"<svg" in found):
        raise DataError(f"plot {plot.path} is damaged: its content is no {kind[1:].upper()}.")
    return found

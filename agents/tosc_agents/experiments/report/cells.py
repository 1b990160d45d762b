"""What the cells of tables show, and how they are sorted."""

from __future__ import annotations

import math
import re

from tosc_agents.experiments.sections import Table

EMPTY = {"", "-", "–", "—", "n/a", "nan"}
"""Texts that mean that there is no figure."""

_NUMBER = re.compile(r"([-+−]?\d+(?:,\d{3})*(?:\.\d+)?(?:[eE][-+]?\d+)?)(?=$|[\s%±])")


def cell(value: str | float | None) -> str:
    """What a table shows.

    >>> [cell(value) for value in (None, 12.0, 0.123456, 12345.678, "LBVQ")]
    ['', '12', '0.1235', '12345.7', 'LBVQ']
    """
    if value is None or isinstance(value, str):
        return value or ""
    if math.isnan(value):
        return ""
    if float(value).is_integer() and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.1f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"


def number(value: str | float | None) -> float | None:
    """The number that a cell is sorted by: itself, or the one its text begins with; None for words and for nothing.

    >>> [number(value) for value in ("86.01 ± 0.12 %", "13.34 dB", "−0.5", "12,500", "DP 0.05", None, 3)]
    [86.01, 13.34, -0.5, 12500.0, None, None, 3.0]
    """
    if value is None:
        return None
    if not isinstance(value, str):
        return None if math.isnan(value) else float(value)
    found = _NUMBER.match(value.strip())
    return float(found[1].replace(",", "").replace("−", "-")) if found else None


def is_empty(value: str | float | None) -> bool:
    """Whether a cell says nothing, and so comes last however a table is sorted."""
    return cell(value).strip().lower() in EMPTY


def of_numbers(table: Table) -> list[bool]:
    """For each column whether all its cells are numbers or empty: those are set flush right."""
    told = [[row[i] for row in table.rows if not is_empty(row[i])] for i in range(len(table.columns))]
    return [bool(column) and all(number(one) is not None for one in column) for column in told]

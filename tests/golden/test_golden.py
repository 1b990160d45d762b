"""Environments, weights and verdicts give what ``golden.json`` records, number for number.

On the kind of machine that made the record (same torch, instruction set and processor) every tensor has the
recorded SHA-256. Elsewhere sums and convolutions run in other kernels, which round differently in the last bits,
and so a tensor's projections need only agree within 1e-3 of their size or of 1.

``python tests/golden/record.py tests/golden/golden.json`` makes a new record, where a change of numbers is meant.
"""

from __future__ import annotations

import json
from typing import Any

import cases
import pytest
from record import RECORD, case_record, fingerprint

GOLDEN: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
SAME_MACHINE = GOLDEN["fingerprint"] == fingerprint()
TOLERANCE = 1e-3


def test_every_recorded_case_is_computed_and_no_other() -> None:
    assert sorted(cases.CASES) == sorted(GOLDEN["cases"])


@pytest.mark.parametrize("name", sorted(GOLDEN["cases"]))
def test_a_case_gives_the_recorded_tensors(name: str) -> None:
    wanted, found = GOLDEN["cases"][name], case_record(name)
    assert sorted(found) == sorted(wanted)
    wrong = [key for key in sorted(wanted) if not _agrees(found[key], wanted[key])]
    assert not wrong, f"{name}: {', '.join(_difference(key, found[key], wanted[key]) for key in wrong)}"


def test_the_claims_get_the_recorded_verdicts() -> None:
    assert cases.verdicts() == GOLDEN["verdicts"]


def _agrees(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    if SAME_MACHINE:
        return found["sha256"] == wanted["sha256"]
    return found["shape"] == wanted["shape"] and found["projection"] == pytest.approx(
        wanted["projection"], rel=TOLERANCE, abs=TOLERANCE
    )


def _difference(key: str, found: dict[str, Any], wanted: dict[str, Any]) -> str:
    return (
        f"{key} of shape {found['shape']} with projection {found['projection']}, not of shape "
        f"{wanted['shape']} with {wanted['projection']}"
    )

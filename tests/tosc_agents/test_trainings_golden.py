"""Small trainings give what ``tests/golden/trainings.json`` records, number for number.

On the kind of machine that made the record every trained number is the recorded one.  Elsewhere the last bits of each
step differ and training makes them grow, so that projections and figures need only agree roughly.

``python tests/golden/trainings.py tests/golden/trainings.json`` makes a new record, where a change is meant.
"""

from __future__ import annotations

import json

import pytest
from record import fingerprint
from trainings import CASES, RECORD, case_record

GOLDEN = json.loads(RECORD.read_text(encoding="utf-8"))
SAME_MACHINE = GOLDEN["fingerprint"] == fingerprint()


def test_every_recorded_training_is_run_and_no_other():
    assert sorted(CASES) == sorted(GOLDEN["cases"])


@pytest.mark.parametrize("name", CASES)
def test_a_training_ends_with_the_recorded_weights_and_figures(name):
    wanted, found = GOLDEN["cases"][name], case_record(name)
    assert found["shape"] == wanted["shape"]
    told = {figure: found["figures"].get(figure) for figure in wanted["figures"]}
    if SAME_MACHINE:
        assert told == wanted["figures"]
        assert found["sha256"] == wanted["sha256"], (found["projection"], wanted["projection"])
    else:
        assert told == pytest.approx(wanted["figures"], rel=0.05, abs=0.05)
        assert found["projection"] == pytest.approx(wanted["projection"], rel=1e-3, abs=1e-3)

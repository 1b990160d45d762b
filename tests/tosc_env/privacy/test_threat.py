"""A threat model is plain values that are checked, compared with needs, and told in one line."""

from __future__ import annotations

import pytest
from refusals import refused

from tosc_env.privacy.threat import ThreatModel


@pytest.mark.parametrize("queries", [0, -3])
def test_a_budget_below_one_is_refused(queries):
    with refused(f"queries {queries}"):
        ThreatModel(queries=queries)


def test_a_threat_model_is_plain_values_and_one_line():
    threat = ThreatModel(queries=25_000, candidate_queries=True, candidates=9000, keys="with-key", csi=False)
    assert ThreatModel(**threat.plain()) == threat
    told = str(threat)
    assert (
        "25,000" in told
        and "own CSI: no" in told
        and "candidate queries of 9,000 images" in told
        and "key" in told
    )
    assert "unlimited" in str(ThreatModel())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"receptions": 0}, "receptions 1 0"),
        ({"candidates": 0}, "candidates 1 0"),
        ({"queries": 10, "candidate_queries": True}, "queries=10 candidates"),
        ({"candidates": 5}, "candidates=5 candidate_queries=False"),
        ({"keys": "stolen"}, "keys with-pairs without-pairs with-key 'stolen'"),
        ({"images": "all"}, "images other-half same-half other-data 'all'"),
    ],
)
def test_a_threat_model_that_is_none_is_refused(given, told):
    with refused(told):
        ThreatModel(**given)


def test_what_is_limited_or_denied_by_itself_is_no_contradiction():
    """Two budgets of their own; and what keeps pairs of a keyed scheme away keeps nothing away of one without keys."""
    ThreatModel(queries=5, candidate_queries=True, candidates=9)
    ThreatModel(candidate_queries=True, keys="without-pairs")


def test_needs_are_granted_or_named():
    threat = ThreatModel(receptions=16)
    assert threat.grants({}) is None and threat.grants({"receptions": range(2, 100), "csi": (True,)}) is None
    assert threat.grants({"codebook": (True,), "unkeyed_encoder": (True,)}) == "unkeyed_encoder=False"


def test_the_line_names_everything_beyond_the_usual():
    told = str(ThreatModel(keys="with-key", receptions=4, codebook=False, labels=False, unkeyed_encoder=True))
    for part in ("key", "4 receptions of each image", "codebook unknown", "no labels", "unkeyed encoder"):
        assert part in told

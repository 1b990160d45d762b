"""The front is what a brute-force reading of dominance leaves, and points take the strongest attacker above a floor."""

from __future__ import annotations

import random

import pytest
from tosc_agents.experiments.pareto import Point, front, points_of
from tosc_agents.experiments.sections import Measurement


def dominates(a, b):
    return a.utility >= b.utility and a.leak <= b.leak and (a.utility > b.utility or a.leak < b.leak)


@pytest.mark.parametrize("levels", [2, 5, 1000])
@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_what_brute_force_leaves(seed, levels):
    """Few levels make many ties and coincident points."""
    draw = random.Random(seed)
    points = [
        Point(f"method{draw.randrange(3)}", 12.0, draw.randrange(levels) / 10, draw.randrange(levels) / 10)
        for _ in range(draw.randrange(1, 60))
    ]
    found = front(points)
    assert set(found) == {p for p in points if not any(dominates(q, p) for q in points)}
    assert len(found) == len(set(found))
    assert [p.leak for p in found] == sorted(p.leak for p in found)
    assert [p.utility for p in found] == sorted(p.utility for p in found)


def test_the_front_does_not_depend_on_the_order_of_the_points_and_is_its_own_front():
    draw = random.Random(0)
    points = [Point(str(i), 0.0, draw.randrange(8) / 8, draw.randrange(8) / 8) for i in range(40)]
    shuffled = random.Random(1).sample(points, len(points))
    assert front(shuffled) == front(points) == front(front(points))


def test_coincident_methods_stay_and_the_same_point_stays_once():
    a, b = Point("a", 12.0, 0.8, 0.5), Point("b", 12.0, 0.8, 0.5)
    assert front([b, a, b, a]) == [a, b]
    assert front([]) == []


def accuracy(method, value, snr_db=12.0):
    return Measurement("fig3", method, "accuracy", value, snr_db=snr_db)


def psnr(method, attacker, value, snr_db=12.0):
    return Measurement("fig3", method, "psnr_db", value, snr_db=snr_db, attacker=attacker)


ROWS = [
    accuracy("lbvq", 0.86),
    accuracy("lbvq", 0.85, 0.0),
    accuracy("ibal", 0.84),
    accuracy("enc-rotation", 0.87),
    psnr("lbvq", "linear", 13.0),
    psnr("lbvq", "codebook", 13.25),
    psnr("lbvq", "linear", 14.0, 0.0),
    psnr("enc-rotation", "linear", 12.7),
    psnr("vq", "linear", 14.0),
    Measurement("fig3", "lbvq", "reid_match", 0.4, snr_db=12.0, attacker="match"),
    Measurement("fig3", "lbvq", "reid_query", 0.9, snr_db=12.0, attacker="match-query"),
]


def test_points_take_the_strongest_attacker_above_the_floor_and_leave_out_what_is_incomplete():
    """ibal has no attacker, vq no accuracy; rotation's attacker is below the floor and counts as none."""
    methods = ["lbvq", "ibal", "vq", "enc-rotation"]
    found = points_of(ROWS, methods=methods, snr_db=12.0, figures=["psnr_db"], floor=12.75)
    assert found == [Point("lbvq", 12.0, 0.86, 0.5), Point("enc-rotation", 12.0, 0.87, 0.0)]


def test_a_leak_may_have_several_figures_and_no_floor():
    figures = ["reid_pixels", "reid_match", "reid_query"]
    assert points_of(ROWS, methods=["lbvq"], snr_db=12.0, figures=figures) == [Point("lbvq", 12.0, 0.86, 0.9)]

"""Composition and the two bounds follow their formulas and stay finite."""

from __future__ import annotations

import math

import pytest
from accuracy import accuracy_bound
from refusals import refused
from tosc_agents.accounting import advanced_composition, basic_composition, composed


def test_the_bound_is_the_formula():
    for epsilon in [1e-9, 0.5, 5.0, 30.0]:
        for count in [1, 2, 10, 1000]:
            exact = math.exp(epsilon) / (math.exp(epsilon) + count - 1)
            assert accuracy_bound(epsilon, count) == pytest.approx(exact, rel=1e-12)
            assert accuracy_bound(epsilon, count, 3) == accuracy_bound(basic_composition(epsilon, 3), count)
    for epsilon, percent in [(0.05, 10.5), (0.1, 10.9), (0.9, 21.5)]:  # the article's ten classes
        assert 100 * accuracy_bound(epsilon, 10) == pytest.approx(percent, abs=0.05)


def test_bounds_run_from_chance_to_certainty_without_overflow():
    epsilons = [1e-12, 0.1, 1.0, 10.0, 100.0, 1e4, 1e38]
    values = [accuracy_bound(epsilon, 10) for epsilon in epsilons]
    assert values == sorted(values) and values[0] == pytest.approx(0.1) and values[-1] == 1.0


def test_the_bound_is_reached_by_randomised_response():
    """It is the best bound: say the truth with probability e^eps / (e^eps + K - 1), else another class at random."""
    epsilon, classes = 1.3, 7
    truth = accuracy_bound(epsilon, classes)
    other = (1 - truth) / (classes - 1)
    assert math.log(truth / other) == pytest.approx(epsilon)


def test_advanced_composition_is_the_published_formula():
    epsilon, k, delta = 0.1, 200, 1e-6
    exact = math.sqrt(2 * k * math.log(1 / delta)) * epsilon + k * epsilon * (math.exp(epsilon) - 1)
    assert advanced_composition(epsilon, k, delta) == pytest.approx(exact, rel=1e-12)
    assert advanced_composition(1e4, 2) == math.inf


def test_a_budget_reports_the_smaller_and_says_which():
    for epsilon, transmissions, said in [
        (20.0, 16, "320-DP by basic composition"),
        (0.05, 2, "0.1-DP by basic composition"),
        (0.01, 100_000, "(25.2, 1e-05)-DP by advanced composition"),
    ]:
        assert composed(epsilon, transmissions) == said


def test_what_is_no_budget_or_count_is_named():
    for epsilon in [0, math.inf, math.nan, True, "1"]:
        with refused(f"epsilon 3.4e+38 {epsilon!r}"):
            accuracy_bound(epsilon, 10)
    for count in [0, 1.5, True, "3"]:
        with refused(f"transmissions 1 {count!r}"):
            basic_composition(1.0, count)
        with refused(f"classes {count!r}"):
            accuracy_bound(1.0, count)
    with refused("delta 0 1 1.0"):
        advanced_composition(1.0, 2, 1.0)

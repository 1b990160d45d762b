"""Identification among any number of candidates."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from links import seeded as g
from pixels import Pixels
from refusals import refused
from tosc_agents.training.evaluate import evaluate
from tosc_agents.training.fit_eavesdropper import fit_eavesdropper
from tosc_agents.training.identification import identification_curve, share_first

from tosc_env.attackers import Eavesdropper
from tosc_env.data import make_source
from tosc_env.game import Game
from tosc_env.nodes import Node
from tosc_env.pipeline import make_scheme
from tosc_env.privacy.threat import ThreatModel
from tosc_env.types import SystemSpec

SIDE, N, COUNT = 16, 24, 120


def test_the_share_of_first_places_is_that_of_all_ways_to_draw_the_others():
    """Law: exact, with ties, against every subset."""
    for better, equal, others, size in itertools.product((0, 1, 3), (0, 1, 2), (5, 6), (1, 2, 4)):
        kinds = [1] * better + [0] * equal + [-1] * (others - better - equal)
        ways = list(itertools.combinations(kinds, size - 1))
        wanted = sum(0 if 1 in drawn else 1 / (1 + drawn.count(0)) for drawn in ways) / len(ways)
        found = share_first(torch.tensor([better]), torch.tensor([equal]), others, size)
        assert float(found) == pytest.approx(wanted, abs=1e-12)


@pytest.fixture(scope="module")
def known():
    rules = {"num_symbols": N, "snr_db": 0.0}
    train = Game(make_source("shapes", half="attacker", num_images=400, size=SIDE), **rules)
    test = Game(make_source("shapes", split="test", num_images=COUNT, size=SIDE), **rules)
    scheme = make_scheme(Pixels(SystemSpec((3, SIDE, SIDE), 10, N)))
    threat = ThreatModel(candidate_queries=True)
    attackers = {
        name: fit_eavesdropper(name, train, scheme, threat=threat)[0]
        for name in ("match-query", "linear", "mean-image")
    }
    return test, scheme, attackers, threat


def test_a_curve_goes_from_certainty_to_the_rate_among_all(known):
    test, scheme, attackers, threat = known
    curves = identification_curve(test, scheme, attackers, snr_db=0.0, sizes=[1, 2, 10, COUNT], threat=threat)
    for name, curve in curves.items():
        shares = list(curve.overall.values())
        assert shares[0] == pytest.approx(1.0) and shares == sorted(shares, reverse=True), name
        assert list(curve.within_class) == [1, 2], "no more than every class has"
        assert curve.within_class[2] <= curve.overall[2] + 0.05, "its own class is more like it"
    whole = evaluate(
        test, scheme, attackers, snr_db=(0.0,), seeds=1, with_ssim=False, candidates=COUNT, threat=threat
    ).leaks
    for name, figure in (("match-query", "reid_query"), ("linear", "reid_pixels")):
        wanted = whole[name][0.0][figure].mean
        spread = 4 * math.sqrt(wanted * (1 - wanted) / COUNT)
        assert abs(curves[name].overall[COUNT] - wanted) <= spread, "other draws of the noise"


def test_who_knows_nothing_gains_no_bit(known):
    test, scheme, attackers, threat = known
    curve = identification_curve(test, scheme, {"m": attackers["mean-image"]}, sizes=[2, 50], threat=threat)[
        "m"
    ]
    assert all(abs(bits) < 1e-6 for bits in curve.bits()["overall"].values())


def test_a_size_that_there_are_no_images_for_is_refused(known):
    test, scheme, attackers, _ = known
    with refused("sizes 120 121"):
        identification_curve(test, scheme, attackers, sizes=[COUNT + 1])


def test_scores_that_are_no_numbers_identify_nothing():
    from tosc_agents.training.identification import _curve, _places

    scores = torch.randn(4, 4, generator=g())
    scores[0, 0] = scores[1, 2] = float("nan")
    labels = torch.tensor([0, 0, 1, 1])
    curve = _curve(_places(scores, torch.arange(4), labels), labels, [1, 4])
    assert curve.overall[1] < 0.76 and curve.overall[4] < 0.51


class Place(Eavesdropper):
    """An attacker that answers by the place of a message, and writes to what it is shown."""

    name, at = "place", 0

    def fit(self, view, *, generator, progress=None):
        return {}

    def match(self, received, csi, candidates):
        rows = torch.arange(len(received)) + self.at
        self.at += len(received)
        candidates.zero_(), received.zero_()
        return -(rows[:, None] - torch.arange(len(candidates))).abs().float()


def test_an_answer_by_position_is_right_by_chance_alone_and_harms_nobody(known):
    test, scheme, attackers, _ = known
    spoilt = {"place": Place(test.spec), "linear": attackers["linear"]}
    curves = identification_curve(test, scheme, spoilt, snr_db=0.0, sizes=[COUNT])
    alone = identification_curve(test, scheme, {"linear": attackers["linear"]}, snr_db=0.0, sizes=[COUNT])
    assert curves["linear"] == alone["linear"]
    assert curves["place"].overall[COUNT] < 5 / COUNT


def test_a_curve_is_measured_as_an_evaluation_is(known):
    """Law: with the threat model, the receptions, the nodes and the shapes of an attacker, at the SNR that is asked."""
    test, scheme, _, _ = known
    train = Game(
        make_source("shapes", half="attacker", num_images=400, size=SIDE), num_symbols=N, snr_db=-5.0
    )
    threat, options = ThreatModel(receptions=8), {"base_attacks": ["linear"]}
    attacker, _ = fit_eavesdropper("denoise", train, scheme, threat=threat, options=options)
    how = {"snr_db": -5.0, "sizes": [COUNT]}
    curve = identification_curve(test, scheme, {"it": attacker}, **how)["it"].overall[COUNT]
    found = evaluate(
        test, scheme, {"it": attacker}, snr_db=(-5.0,), seeds=4, with_ssim=False, candidates=COUNT
    )
    assert curve == pytest.approx(found.leaks["it"][-5.0]["reid_pixels"].mean, abs=0.12)
    several = test.with_rules(
        nodes=[Node("receiver"), *(Node(n, snr_db=-20.0, adversary=True) for n in "ab")]
    )
    for one in identification_curve(several, scheme, {"it": attacker}, **how).values():
        assert one.overall[COUNT] == pytest.approx(curve, abs=0.12), "not at the node's own SNR"
    with refused("eavesdropper"):
        identification_curve(Game(test.source, num_symbols=8), scheme, {"it": attacker})
    with pytest.warns(UserWarning, match="training split"):
        identification_curve(train, scheme, {"it": attacker})

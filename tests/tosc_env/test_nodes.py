"""Nodes and lists of them: what makes one, and what a game does with several."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from links import seeded as g
from refusals import refused

from tosc_env.channels.flat import Rayleigh
from tosc_env.data import make_source
from tosc_env.game import Game, GameConfig
from tosc_env.nodes import WIRETAP, Node, as_nodes, wiretap
from tosc_env.snr import SNRRange

RANGE = {"low": 0.0, "high": 20.0}


@pytest.fixture(scope="module")
def source():
    return make_source("shapes", num_images=60)


# -- one node, and a list of them -------------------------------------------------------------------


def test_what_is_no_node_is_refused():
    for name in ("", "a b", "near@x", "é\n", None, 3, ["eve"]):
        with refused(repr(name)):
            Node(name)
    for antennas in (0, -1, 1.5, True, "2", None):
        with refused(f"antennas 'eve' 1 {antennas!r}"):
            Node("eve", antennas)
    for snr_db in ("loud", [], {"low": 3.0}, {"low": 9.0, "high": 3.0}, float("nan")):
        with refused("snr_db 'eve'"):
            Node("eve", snr_db=snr_db)


def test_a_node_as_plain_values_is_itself_again():
    for node in (
        Node("receiver"),
        Node("eve", snr_db=[0.0, 6.0]),
        Node("eve", snr_db=SNRRange.parse(RANGE), adversary=True),
        Node("eve", np.int64(2), np.float32(3.0)),
    ):
        values = json.loads(json.dumps(node.plain()))
        assert Node(**values).plain() == node.plain()
        assert values["name"] == node.name and None not in values.values()
        usual = {"antennas": 1, "snr_db": None, "adversary": False}
        assert not {key for key, value in values.items() if key in usual and value == usual[key]}


PLAYERS = ("transmitter", "transmitter_0", "receiver_0", "eavesdropper_1")
"""Names of players that no one of two eavesdroppers may have."""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "adversary none"),
        ([Node("a")], "adversary a (receiver)"),
        ([Node("b", adversary=True), Node("a")], "first b (adversary), a (receiver)"),
        ([Node("a"), Node("b", adversary=True), Node("c")], "c (receiver)"),
        ([Node("receiver"), Node("a", adversary=True), Node("a", adversary=True)], "receiver, a, a"),
        ([Node("bob"), Node("eve", adversary=True)], "'bob'"),
        *(
            ([Node("receiver"), Node(n, adversary=True), Node("x", adversary=True)], f"'{n}'")
            for n in PLAYERS
        ),
        ("receiver", "nodes 'receiver'"),
        ({"name": "receiver"}, "nodes"),
        (None, "nodes None"),
        ([Node("a"), "eve"], "'eve'"),
        ([{"name": "a"}, {"antennas": 2}], "'node' 'name'"),
        ([{"name": "a", "antenas": 2}], "'antenas' antennas"),
        ([{"name": "a", "antennas": 0}], "antennas 'a' 1024 0"),
    ],
)
def test_what_is_no_list_of_nodes_is_refused(source, given, words):
    with refused(words):
        as_nodes(given)
    with refused(words):
        Game(source, nodes=given)


def test_objects_and_dictionaries_of_their_fields_are_the_same():
    objects = [Node("receiver", 2), Node("eve", 3, -4.0, adversary=True)]
    assert as_nodes([node.plain() for node in objects]) == as_nodes(objects) == tuple(objects)


def test_a_wiretap_is_a_receiver_and_equal_eavesdroppers():
    assert wiretap()[0] == WIRETAP[0] and len(wiretap()) == 2
    nodes = wiretap(3, antennas=2, snr_db=-5.0)
    assert [node.name for node in nodes] == ["receiver", *(f"eavesdropper_{k}" for k in range(3))]
    assert all((node.antennas, node.snr_db, node.adversary) == (2, -5.0, True) for node in nodes[1:])
    assert as_nodes([Node("receiver"), Node("eavesdropper_7", adversary=True)])
    assert (nodes[0].antennas, nodes[0].snr_db) == (1, None)
    for wrong in (0, True, 1.5):
        with refused("eavesdroppers 1"):
            wiretap(wrong)


# -- in a game --------------------------------------------------------------------------------------


def test_a_card_holds_nodes_and_makes_the_same_game_again():
    config = GameConfig(
        "shapes",
        {"num_images": 20},
        nodes=[Node("receiver", 2), Node("eve", 3, SNRRange.parse(RANGE), adversary=True)],
        transmit_antennas=2,
        transmitter_csi=["receiver"],
        colluding=True,
    )
    values = json.loads(json.dumps(config.plain()))
    assert values["nodes"][1] == {"name": "eve", "antennas": 3, "snr_db": RANGE, "adversary": True}
    again = GameConfig(**values)
    assert json.loads(json.dumps(again.plain())) == values
    first, second = (one.game().draw(3, generator=g(1)) for one in (config, again))
    for name in ("receiver", "eve"):
        assert torch.equal(first.links[name].noise, second.links[name].noise)
        assert torch.equal(first.links[name].snr_db, second.links[name].snr_db)


def test_a_card_of_the_usual_nodes_does_not_name_them():
    names = {"nodes", "transmit_antennas", "transmitter_csi", "colluding"}
    assert not names & GameConfig("shapes").plain().keys()
    assert not names & GameConfig("shapes", nodes=WIRETAP).plain().keys()


def test_links_receptions_rewards_and_leaks_are_by_name(source):
    game = Game(source, nodes=[{"name": "receiver", "antennas": 2}, *(n.plain() for n in wiretap(2)[1:])])
    assert game.adversaries == ("eavesdropper_0", "eavesdropper_1")
    round_ = game.draw(3, generator=g())
    assert list(round_.links) == ["receiver", "eavesdropper_0", "eavesdropper_1"]
    assert round_.links["receiver"].noise.shape == (3, 2, 64)
    sent = game.transmit(round_, torch.randn(3, 128, generator=g()))
    assert list(sent.receptions) == list(round_.links)
    assert sent.receiver is sent.receptions["receiver"]
    assert sent.eavesdropper is sent.receptions["eavesdropper_0"]
    rebuilt = dict.fromkeys(game.adversaries, torch.rand(3, 3, 32, 32, generator=g()))
    scores = game.score(round_, round_.targets, rebuilt)
    assert list(scores.leaks) == list(game.adversaries)
    assert list(scores.rewards) == ["transmitter", "receiver", *game.adversaries]


def test_a_nodes_own_snr_goes_before_that_of_all_eavesdroppers_and_that_before_the_receivers(source):
    nodes = [
        Node("receiver"),
        Node("own", snr_db=-7.0, adversary=True),
        Node("drawn", snr_db=RANGE, adversary=True),
        Node("usual", adversary=True),
    ]
    equal = Game(source, nodes=nodes, snr_db=[3.0, 9.0]).draw(200, generator=g())
    assert torch.equal(equal.links["usual"].snr_db, equal.links["receiver"].snr_db)
    apart = Game(source, nodes=nodes, snr_db=[3.0, 9.0], eavesdropper_snr_db=[-1.0, 1.0])
    round_ = apart.draw(200, generator=g())
    told = {name: link.snr_db for name, link in round_.links.items()}
    assert set(told["receiver"].tolist()) == {3.0, 9.0} and set(told["usual"].tolist()) == {-1.0, 1.0}
    assert (told["own"] == -7.0).all()
    assert told["drawn"].min() >= 0 and told["drawn"].max() <= 20 and told["drawn"].unique().numel() > 100
    assert torch.equal(told["own"], equal.links["own"].snr_db)
    assert torch.equal(told["drawn"], equal.links["drawn"].snr_db)
    assert apart.snr_of("own").constant == -7.0
    assert apart.snr_of("usual").plain() == [-1.0, 1.0] and apart.snr_of("receiver").plain() == [3.0, 9.0]
    assert Game(source, nodes=nodes, snr_db=[3.0, 9.0]).snr_of("usual").plain() == [3.0, 9.0]


def test_a_receivers_own_snr_is_the_legitimate_links(source):
    nodes = (Node("receiver", snr_db=1.0), *wiretap()[1:])
    round_ = Game(source, nodes=nodes, snr_db=9.0).draw(4, generator=g())
    assert (round_.snr_db == 1.0).all() and (round_.links["eavesdropper_0"].snr_db == 1.0).all()


def test_snrs_drawn_for_two_eavesdroppers_are_independent(source):
    game = Game(source, nodes=wiretap(2), eavesdropper_snr_db=RANGE)
    links = game.draw(2000, generator=g()).links
    pair = torch.stack([links[name].snr_db for name in game.adversaries])
    assert abs(float(torch.corrcoef(pair)[0, 1])) < 5 / 2000**0.5


# -- verdicts ---------------------------------------------------------------------------------------


def scored(source, **options):
    """Three messages rebuilt by two eavesdroppers, each the better one at times."""
    game = Game(source, nodes=wiretap(2), metrics=("ssim",), **options)
    round_ = game.draw(3, generator=g())
    images = round_.batch.images
    errors = {"eavesdropper_0": [0.1, 0.3, 0.0], "eavesdropper_1": [0.2, 0.05, 0.0]}
    rebuilt = {
        name: (images + torch.tensor(by)[:, None, None, None]).clamp(0.0, 1.0) for name, by in errors.items()
    }
    return game, round_, rebuilt, game.score(round_, round_.targets, rebuilt)


def test_each_eavesdropper_is_paid_its_own_and_the_system_the_least_that_any_leaves(source):
    game, round_, rebuilt, scores = scored(source)
    alone = {
        name: game.with_only(name).score(round_, round_.targets, rebuilt[name]) for name in game.adversaries
    }
    for name, one in alone.items():
        assert torch.equal(scores.rewards[name], one.rewards[name])
        assert torch.equal(scores.leaks[name].mse, one.mse)
        assert torch.equal(scores.leaks[name].extra["ssim"], one.worst.extra["ssim"])
    for role in ("transmitter", "receiver"):
        each = torch.stack([one.rewards[role] for one in alone.values()])
        assert torch.equal(scores.rewards[role], each.amin(0))
        assert (each[0] > each[1]).any() and (each[0] < each[1]).any()


def test_the_worst_leak_is_taken_row_by_row(source):
    _, _, _, scores = scored(source)
    each = list(scores.leaks.values())
    assert scores.mse.tolist() == [each[0].mse[0], each[1].mse[1], 0.0]
    assert torch.equal(scores.psnr_db, torch.stack([leak.psnr_db for leak in each]).amax(0))
    ssim = torch.stack([leak.extra["ssim"] for leak in each])
    assert torch.equal(scores.worst.extra["ssim"], ssim.amax(0))
    assert set(ssim.argmax(0).tolist()) == {0, 1}


# -- part of a game ---------------------------------------------------------------------------------


def test_with_only_one_eavesdropper_the_game_has_that_one_alone(source):
    nodes = (
        Node("receiver", 2),
        Node("near", 3, 4.0, adversary=True),
        Node("far", snr_db=-9.0, adversary=True),
    )
    game = Game(source, nodes=nodes, channel=Rayleigh(), snr_db=RANGE, repeat=2)
    for node in nodes[1:]:
        alone = game.with_only(node.name)
        assert alone.nodes == (nodes[0], node) and alone.repeat == 2 and alone.channel is game.channel
        assert alone.snr_of(node.name).constant == node.snr_db

"""An identity is equal for equal things, in any process, and differs as soon as anything in them does."""

import functools
import json
import subprocess
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tosc_env import make_channel, make_scheme
from tosc_env.data import make_source
from tosc_env.data.base import Source
from tosc_env.errors import CheckpointError
from tosc_env.game import Game, GameConfig
from tosc_env.identity import RECIPE, check_identity, difference, digest, identity, plain, tensor_digest
from tosc_env.types import SystemSpec

TINY = {"stem": 4, "widths": (4, 8), "blocks": (0, 0), "receiver_width": 16, "receiver_depth": 1}
KEY = "5a" * 32


def source(**options):
    return make_source("shapes", num_images=30, size=16, **options)


@dataclass(frozen=True)
class Told:
    number: float
    names: tuple[str, ...] = ()


class Slotted:
    __slots__ = ("a",)

    def __init__(self, a):
        self.a = a


class Loose:
    def __init__(self, a):
        self._a = a


def adds(b):
    return lambda a: a + b


DIFFERENT = [
    None,
    True,
    2,
    2.5,
    "2",
    float("nan"),
    [2, 3],
    {"a": 2},
    {1, 2},
    b"2",
    torch.zeros(2),
    torch.zeros(3),
    torch.zeros(2, dtype=torch.float64),
    torch.full((1000,), 0.5),
    torch.full((1000,), 0.5).index_fill(0, torch.tensor([500]), 0.25),  # printed alike
    np.zeros(2, np.uint8),
    torch.device("meta"),
    Path("a"),
    Told,
    Told(1.0),
    Told(1.0, ("a",)),
    Slotted(1),
    Slotted(2),
    Loose(1),
    Loose(torch.ones(2)),
    adds(1),
    adds(2),
    lambda a: a - 1,
    functools.partial(adds, 1),
    functools.partial(adds, 2),
    Loose(1).__init__,
    len,
    torch.Generator().manual_seed(1),
    torch.Generator().manual_seed(2),
]


def test_different_things_have_different_digests_and_each_its_own_twice():
    told = [digest(one) for one in DIFFERENT]
    assert len(set(told)) == len(told) and told == [digest(one) for one in DIFFERENT]


def test_equal_values_are_equal_however_they_are_written():
    for one, other in [
        (12, 12.0),
        ((1, 2), [1, 2]),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (torch.arange(3), np.arange(3)),
        (torch.arange(6).reshape(2, 3).T, torch.arange(6).reshape(2, 3).T.contiguous()),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ]:
        assert digest(one) == digest(other), (one, other)
    assert json.loads(json.dumps(plain(DIFFERENT[6:12]))) == plain(DIFFERENT[6:12]), "as a file gives it back"


SCRIPT = """
from tosc_env import make_scheme
from tosc_env.game import GameConfig
from tosc_env.identity import digest
game = GameConfig("shapes", {"num_images": 30, "size": 16}, channel="rician").game(half="system")
print(digest(game), digest(make_scheme("lbvq", game.spec, stages=["keyed"], key="5a" * 32)).__len__())
"""


def test_another_process_finds_the_same_digest():
    game = GameConfig("shapes", {"num_images": 30, "size": 16}, channel="rician").game(half="system")
    found = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert found.stdout.split() == [digest(game), "64"]


def test_what_is_used_does_not_change_what_it_is():
    """A memory that fills is no part of an object: a channel that has been used is the same channel."""
    game = Game(source(half="system"), channel="rayleigh", channel_kwargs={"coherence": 16})
    scheme = make_scheme("deepjscc", game.spec, stages=["keyed"], **TINY)
    before = plain([game, scheme])
    generator = torch.Generator().manual_seed(0)
    round_ = game.draw(4, generator=generator)
    game.transmit(round_, scheme.send(game.source, round_.batch.index, game.context(round_, generator)))
    assert plain([game, scheme]) == before


RULES = {
    "task": "attributes",
    "channel": "rayleigh",
    "num_symbols": 8,
    "snr_db": 3.0,
    "eavesdropper_snr_db": 12.0,
    "nodes": [{"name": "receiver", "antennas": 2}, {"name": "eve", "adversary": True}],
    "transmit_antennas": 2,
    "transmitter_csi": ["receiver"],
    "colluding": True,
    "reward_fn": lambda outcome: {},
    "constellation": "qpsk",
    "repeat": 2,
    "metrics": ("ssim",),
    "task_kwargs": {"names": "colour"},
    "channel_kwargs": {"coherence": 16},
    "reward_kwargs": {"quality": "ssim"},
    "privacy_weight": 0.5,
}
NOT_LOOKED_AT = {"data", "data_kwargs"}
"""The source is: a game is played on it whatever its config says of data."""


def test_every_rule_of_a_game_belongs_to_its_identity():
    """Each field of GameConfig, so that one added tomorrow cannot be left out."""
    assert RULES.keys() | NOT_LOOKED_AT == {f.name for f in fields(GameConfig)}
    usual = GameConfig("shapes", channel="rician")
    images = source(half="system")
    plainly = digest(Game(images, usual))
    assert digest(Game(images, replace(usual))) == plainly
    for name, value in RULES.items():
        changed = {name: value, **({"task_kwargs": RULES["task_kwargs"]} if name == "task" else {})}
        if name == "task_kwargs":
            usual_task = Game(images, usual, task="attributes", task_kwargs={"names": "size"})
            assert digest(Game(images, usual, task="attributes", **changed)) != digest(usual_task)
        else:
            assert digest(Game(images, replace(usual, **changed))) != plainly, name


def test_an_option_of_a_channel_is_seen_through_its_object():
    told = [make_channel("rician", k_factor_db=k, coherence=c) for k in (3.0, 20.0) for c in (None, 16)]
    told += [make_channel("rayleigh"), make_channel("tdl"), make_channel("tdl", delay_spread=1e-6)]
    assert len({digest(one) for one in told}) == len(told)


def test_a_source_is_its_images_labels_and_attributes_and_not_its_name_alone():
    images, labels = torch.arange(4 * 3 * 8 * 8).to(torch.uint8).reshape(4, 3, 8, 8), [0, 1, 0, 1]
    other = images.clone()
    other[3, 2, 7, 7] += 1
    sources = [
        Source.from_arrays(one, tags, name="mine", attributes=facts, class_names=names)
        for one, tags, facts, names in (
            (images, labels, None, None),
            (other, labels, None, None),
            (images, [0, 1, 0, 0], None, ("0", "1")),
            (images, labels, [[0], [1], [1], [0]], None),
            (images, labels, None, ("cat", "dog")),
        )
    ]
    assert len({one.sha256 for one in sources}) == len(sources)
    again = Source.from_arrays(images.clone(), labels, name="yours")
    assert again.sha256 == sources[0].sha256 and digest(again) != digest(sources[0])
    assert sources[0].subset([0, 1]).sha256 != sources[0].subset([1, 0]).sha256
    assert source(half="system").sha256 == source(half="system").sha256 != source(half="attacker").sha256


def test_a_scheme_is_its_options_stages_keys_and_weights():
    def make(name="deepjscc", stages=(), key=None, **options):
        torch.manual_seed(0)
        return make_scheme(
            name, SystemSpec((3, 16, 16), 10, 8), stages=stages, key=key, **{**TINY, **options}
        )

    moved = make()
    with torch.no_grad():
        moved.backbone.receiver[0].weight[0, 0] += 1e-6
    louder = make()
    louder.backbone.told_snr_db = 3.0
    told = [
        make(),
        moved,
        louder,
        make(stem=5),
        make("ibal"),
        make(stages=["laplace"]),
        make(stages=[{"name": "laplace", "epsilon": 5}]),
        make(stages=["keyed"], key=KEY),
        make(stages=["keyed"], key="00" * 32),
    ]
    assert len({digest(one) for one in told}) == len(told)
    assert digest(make()) == digest(told[0]) and digest(make(stages=["keyed"], key=KEY)) == digest(told[-2])
    assert KEY not in json.dumps(identity(scheme=told[-2])), "no secret is ever written"


def test_tensor_digests_see_type_and_shape():
    flat = torch.zeros(4)
    told = [[flat], [flat.reshape(2, 2)], [flat.to(torch.int32)], [flat[:2], flat[:2]], [torch.zeros(0)], []]
    assert len({tensor_digest(one) for one in told}) == len(told)


def test_the_first_difference_that_says_something_is_named():
    ours = {"recipe": RECIPE, "data": {"sha256": "a", "half": "system"}, "rules": [1, {"snr_db": 3}]}
    assert difference(ours, ours) is None
    theirs = {"recipe": RECIPE, "data": {"sha256": "b", "half": "system"}, "rules": [1, {"snr_db": 4}]}
    assert difference(theirs, ours) == ("rules.1.snr_db", 4, 3)
    theirs["rules"] = ours["rules"]
    assert difference(theirs, ours) == ("data.sha256", "b", "a")
    assert difference({**ours, "more": 1}, ours) == ("more", 1, None)


def test_a_refusal_is_one_sentence_with_both_values_and_the_options():
    ours, path = identity(snr_db=3.0), Path("a.run")
    check_identity(path, json.loads(json.dumps(ours)), ours)
    with pytest.raises(CheckpointError) as caught:
        check_identity(
            path,
            identity(snr_db=12.0),
            ours,
            asked_then={"--snr-db": "a", "--seed": "b"},
            asked_now={"--snr-db": "c", "--seed": "b"},
        )
    assert str(caught.value) == (
        "a.run belongs to a run with another snr_db (12, and 3 now; --snr-db was changed); continue that one with the "
        "same arguments, choose another output, or delete the file."
    )


@pytest.mark.parametrize("theirs", [None, {}, {"scheme": "deepjscc", "seed": 0}, "text"])
def test_what_does_not_say_all_that_determined_it_is_refused(theirs):
    with pytest.raises(
        CheckpointError, match="does not say all that determined it, as files of an older version"
    ):
        check_identity(Path("a.run"), theirs, identity(seed=0))


def test_another_version_of_the_code_is_another_identity():
    with pytest.raises(CheckpointError, match=r"another recipe \(0, and \d+ now\)"):
        check_identity(Path("a.run"), {**identity(seed=0), "recipe": 0}, identity(seed=0))


def test_what_a_networks_layers_are_belongs_to_its_identity():
    layers = nn.ReLU(), nn.ReLU(), nn.Tanh(), nn.Dropout(0.1), nn.Dropout(0.2)
    told = [json.dumps(plain(nn.Sequential(nn.Flatten(), layer))) for layer in layers]
    assert told[0] == told[1] and len(set(told)) == 4


def reward_class(factor, **module):
    """A stranger's class, as its author edits it between two runs; its name and state stay."""
    text = "calls = 0\nclass Reward:\n    def __call__(self, outcome):\n        global calls\n        calls += 1\n"
    text += f"        return outcome * {factor}\n"
    space = {"__name__": "stranger", **module}
    exec(text, space)
    return space["Reward"]


def test_what_a_strangers_class_does_belongs_to_its_identity():
    once, again, edited = reward_class(2)(), reward_class(2)(), reward_class(3)()
    before = plain(once)
    assert once(1) == 2 and before == plain(once) == plain(again) != plain(edited)
    assert plain(reward_class("GAIN", GAIN=2)()) != plain(reward_class("GAIN", GAIN=3)())
    helpers = [
        reward_class("scale(2)", scale=eval(f"lambda x: {by} * x", {"__name__": "stranger"})) for by in (1, 3)
    ]
    assert plain(helpers[0]()) != plain(helpers[1]()), "a function of its module that it calls"
    assert plain(make_channel("awgn"))["class"] == "tosc_env.channels.flat:AWGN", (
        "ours is counted by the recipe"
    )

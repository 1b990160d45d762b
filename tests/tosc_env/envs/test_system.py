"""From the arguments of ``gym.make`` to a game: data and stand-ins, splits, tasks, players, refusals."""

from __future__ import annotations

import warnings

import pytest
import torch
from fakes import SMALL, FakeEavesdropper, FakeScheme
from refusals import refused

from tosc_env.channels.flat import Rayleigh
from tosc_env.data import data_set, make_source, sources
from tosc_env.data.base import Source
from tosc_env.envs.common import make_system
from tosc_env.errors import DataError
from tosc_env.pipeline import make_scheme
from tosc_env.types import SystemSpec

EVERYONE = ("transmitter", "receiver", "eavesdropper")


def build(data_id="shapes", outside=EVERYONE, **options):
    if data_id == "shapes" and "source" not in options:
        options = {"data_kwargs": SMALL, **options}
    return make_system(data_id, outside, options, ())


@pytest.fixture(autouse=True)
def small_stand_ins(monkeypatch):
    """The embedded images with few of them: here only names, shapes and words matter."""
    load = data_set("shapes").load

    def few(split="train", size=32, seed=0, num_images=80, binary_attributes=None):
        return load(split, size, seed, num_images, binary_attributes)

    monkeypatch.setitem(sources._table, "shapes", few)


# -- data -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data_id", "shape", "outputs"), [("cifar10", (3, 32, 32), 10), ("celeba", (3, 64, 64), 3)]
)
def test_a_missing_data_set_is_stood_in_for_with_a_warning_and_the_same_spaces(data_id, shape, outputs):
    with pytest.warns(
        UserWarning, match=rf"{data_id} was not found .* 'tosc data get {data_id}' .* TOSC_DATA_DIR"
    ):
        system = build(data_id)
    assert system.stand_in and system.data_id == data_id and system.game.source.name == "shapes"
    assert system.game.source.image_shape == shape and system.game.task.num_outputs == outputs


def test_the_stand_in_for_faces_has_their_attributes():
    with pytest.warns(UserWarning):
        game = build("celeba").game
    assert game.task.labels == ("Mustache", "Smiling", "Wavy_Hair") == game.source.attribute_names
    with pytest.warns(UserWarning):
        game = build("celeba", attributes="Smiling", data_kwargs={"size": 32}).game
    assert game.task.num_outputs == 2 and game.source.image_shape == (3, 32, 32)


def test_a_data_set_asked_for_by_name_never_falls_back():
    for name in ("cifar10", "celeba"):
        with refused(f"tosc data get {name}", DataError):
            build(name, data=name)
        with pytest.raises(DataError):
            build("shapes", data=name, data_kwargs=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        system = build("cifar10", data="shapes")
    assert system.game.source.name == "shapes" and not system.stand_in and system.data_id == "cifar10"
    assert system.scheme is None and not system.eavesdroppers, (
        "nobody plays inside when all roles are outside"
    )


def test_ones_own_images_take_the_place_of_a_data_set():
    mine = Source.from_arrays(torch.zeros(6, 3, 8, 8, dtype=torch.uint8), [0, 1, 2, 0, 1, 2], name="mine")
    system = build("celeba", source=mine)
    assert system.game.source is mine and system.game.task.num_outputs == 3 and not system.stand_in
    for options in ({"data": "shapes"}, {"data_kwargs": {"seed": 1}}):
        with refused("source= data="):
            build("celeba", source=mine, **options)


# -- splits and halves ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outside", "half"),
    [
        (("eavesdropper",), "attacker"),
        (("transmitter",), "system"),
        (("receiver",), "system"),
        (EVERYONE, "system"),
    ],
)
def test_each_side_plays_on_its_own_half_of_the_training_images(outside, half):
    spec = SystemSpec((3, 32, 32), 10)
    inside = {"scheme": FakeScheme(spec)} if len(outside) == 1 else {}
    if outside in (("transmitter",), ("receiver",)):
        inside["eavesdropper"] = FakeEavesdropper(spec)
    source = build(outside=outside, **inside).game.source
    assert (source.split, source.half, len(source)) == ("train", half, 32)
    whole = make_source("shapes", num_images=64)
    wanted = whole.images[32:] if half == "attacker" else whole.images[:32]
    assert torch.equal(source.images, wanted)
    source = build(outside=outside, split="test", **inside).game.source
    assert (source.split, source.half, len(source)) == ("test", None, 64), (
        "the test split is whole for everyone"
    )


# -- tasks and rewards ------------------------------------------------------------------------------


def test_one_attribute_of_many_values_and_several_binary_ones():
    assert build(attributes="colour").game.task.num_outputs == 8
    assert build(attributes=["texture"]).game.task.num_outputs > 2
    labels = build(task="attributes", task_kwargs={"names": "size"}).game.task.labels
    assert labels == ("small", "medium", "large")
    source = make_source("shapes", num_images=20, binary_attributes=["a", "b"])
    assert build(source=source, attributes=["b", "a"]).game.task.labels == ("b", "a")


def test_the_privacy_weight_belongs_to_the_default_reward():
    assert build(privacy_weight=0.5).game.reward.privacy_weight == 0.5
    assert build().game.reward.privacy_weight == 1.0
    assert build(reward_fn=mine).game.reward is mine


# -- players ----------------------------------------------------------------------------------------


def test_the_same_scheme_plays_the_other_half_of_the_link():
    scheme = FakeScheme()
    system = build(outside=("receiver",), scheme=scheme, eavesdropper="mean-image")
    assert system.scheme.backbone is scheme and system.eavesdroppers["eavesdropper"].name == "mean-image"


def mine(outcome):
    """A reward of one's own."""
    return {}


@pytest.mark.parametrize(
    ("outside", "options", "words"),
    [
        (("eavesdropper",), {"eavesdropper": "linear"}, "eavesdropper outside"),
        (("eavesdropper",), {"constellation": "16qam"}, "constellation='16qam'"),
        (EVERYONE, {"scheme": "deepjscc"}, "outside"),
        (EVERYONE, {"scheme_kwargs": {"stem": 4}}, "outside"),
        (EVERYONE, {"stages": ["keyd"]}, "'keyd' 'keyed'"),
        (("receiver",), {"scheme": FakeScheme(), "stages": ["keyd"]}, "'keyd' 'keyed'"),
        (("jammer",), {}, "'jammer'"),
        (EVERYONE, {"channel": Rayleigh(), "channel_kwargs": {"coherence": 4}}, "'coherence'"),
        (EVERYONE, {"eavesdropper_snr_db": float("inf")}, "eavesdropper_snr_db inf"),
        (EVERYONE, {"device": "cuda:7"}, "'cuda:7'"),
        (EVERYONE, {"attributes": ["colour", "texture"]}, "binary"),
        (EVERYONE, {"attributes": ["colour"], "task": "classification"}, "task= attributes="),
        (EVERYONE, {"reward_fn": mine, "privacy_weight": 0.5}, "privacy_weight"),
    ],
)
def test_a_slip_gets_one_sentence(outside, options, words):
    with refused(words):
        build(outside=outside, **options)


def test_a_discrete_scheme_brings_its_constellation_only_where_it_transmits():
    class Discrete(FakeScheme):
        constellation = "qpsk"

    attacker = FakeEavesdropper()
    inside = build(outside=("eavesdropper",), scheme=Discrete())
    assert inside.game.constellation == "qpsk" and len(inside.game.points) == 4
    assert build(outside=("receiver",), scheme=Discrete(), eavesdropper=attacker).game.constellation == "qpsk"
    outside = build(outside=("transmitter",), scheme=Discrete(), eavesdropper=attacker)
    assert outside.game.constellation is None
    asked = build(outside=("transmitter",), scheme=FakeScheme(), eavesdropper=attacker, constellation="16qam")
    assert asked.game.constellation == "16qam"


def test_a_stage_may_send_points_and_the_game_is_then_of_their_constellation():
    scheme = make_scheme("lbvq", SystemSpec((3, 32, 32), 10), stages=["keyed"])
    system = build(outside=("eavesdropper",), scheme=scheme, stages=[{"name": "laplace", "epsilon": 50.0}])
    assert system.game.constellation == system.scheme.constellation == "16qam"
    assert [stage.name for stage in system.scheme.added] == ["keyed", "laplace"]
    assert [stage.name for stage in scheme.added] == ["keyed"]

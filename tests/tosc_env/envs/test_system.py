"""From the arguments of ``gym.make`` to a game: data and stand-ins, splits, tasks, players, refusals."""

from __future__ import annotations

import warnings

import pytest
import torch
from fakes import SMALL, FakeEavesdropper, FakeScheme

from tosc_env.channels.flat import Rayleigh
from tosc_env.data import data_set, make_source, sources
from tosc_env.data.base import Source
from tosc_env.envs.common import make_system
from tosc_env.errors import DataError, InputError
from tosc_env.pipeline import make_scheme
from tosc_env.registration import environments
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


def test_every_id_has_a_data_set():
    assert set(environments().values()) <= set(sources)


@pytest.mark.parametrize(
    ("data_id", "shape", "outputs"),
    [("cifar10", (3, 32, 32), 10), ("celeba", (3, 64, 64), 3)],
)
def test_a_missing_data_set_is_stood_in_for_with_a_warning_and_the_same_spaces(data_id, shape, outputs):
    with pytest.warns(
        UserWarning, match=rf"{data_id} was not found .* 'tosc data get {data_id}' .* TOSC_DATA_DIR"
    ):
        system = build(data_id)
    assert system.stand_in and system.data_id == data_id and system.game.source.name == "shapes"
    assert system.game.source.image_shape == shape and system.game.task.num_outputs == outputs


def test_the_embedded_data_set_needs_no_stand_in():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        system = build("shapes")
    assert not system.stand_in


def test_the_stand_in_for_faces_has_their_attributes():
    with pytest.warns(UserWarning):
        game = build("celeba").game
    assert game.task.labels == ("Mustache", "Smiling", "Wavy_Hair") == game.source.attribute_names
    with pytest.warns(UserWarning):
        game = build("celeba", attributes="Smiling", data_kwargs={"size": 32}).game
    assert game.task.num_outputs == 2 and game.source.image_shape == (3, 32, 32)


@pytest.mark.parametrize("name", ["cifar10", "celeba"])
def test_a_data_set_asked_for_by_name_never_falls_back(name):
    with pytest.raises(DataError, match=f"not found.*tosc data get {name}"):
        build(name, data=name)
    with pytest.raises(DataError):
        build("shapes", data=name, data_kwargs=None)


def test_another_data_set_can_be_named():
    system = build("cifar10", data="shapes")
    assert system.game.source.name == "shapes" and not system.stand_in and system.data_id == "cifar10"


def test_unknown_data_and_options_are_refused():
    with pytest.raises(InputError, match="unknown data set 'cifar', did you mean 'cifar10'"):
        build("shapes", data="cifar")
    with pytest.raises(InputError, match="no option 'nun_images'"):
        build("shapes", data_kwargs={"nun_images": 4})


def test_ones_own_images_take_the_place_of_a_data_set():
    mine = Source.from_arrays(torch.zeros(6, 3, 8, 8, dtype=torch.uint8), [0, 1, 2, 0, 1, 2], name="mine")
    system = build("celeba", source=mine)
    assert system.game.source is mine and system.game.task.num_outputs == 3 and not system.stand_in
    for options in ({"data": "shapes"}, {"data_kwargs": {"seed": 1}}):
        with pytest.raises(InputError, match=r"either source= .* or data="):
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


def test_the_test_split_is_whole_for_everyone():
    for outside in (EVERYONE, ("eavesdropper",)):
        inside = {} if outside is EVERYONE else {"scheme": FakeScheme()}
        source = build(outside=outside, split="test", **inside).game.source
        assert (source.split, source.half, len(source)) == ("test", None, 64)


def test_an_unknown_split_is_refused():
    with pytest.raises(InputError, match="'tset'"):
        build(split="tset")


# -- tasks and rewards ------------------------------------------------------------------------------


def test_one_attribute_of_many_values_and_several_binary_ones():
    assert build(attributes="colour").game.task.num_outputs == 8
    assert build(attributes=["texture"]).game.task.num_outputs > 2
    with pytest.raises(InputError, match="binary ones only"):
        build(attributes=["colour", "texture"])
    source = make_source("shapes", num_images=20, binary_attributes=["a", "b"])
    assert build(source=source, attributes=["b", "a"]).game.task.labels == ("b", "a")


def test_an_unknown_attribute_lists_what_there_is():
    with pytest.raises(InputError, match="unknown attribute of shapes 'color', did you mean 'colour'"):
        build(attributes=["color"])


def test_attributes_and_task_exclude_each_other():
    with pytest.raises(InputError, match="either task= or attributes="):
        build(task="classification", attributes=["colour"])


def test_a_task_by_name_with_its_options():
    assert build(task="attributes", task_kwargs={"names": "size"}).game.task.labels == (
        "small",
        "medium",
        "large",
    )


def test_a_classification_task_can_be_put_on_faces():
    with pytest.warns(UserWarning):
        assert build("celeba", task="classification").game.task.num_outputs == 10


def test_the_privacy_weight_belongs_to_the_default_reward():
    assert build(privacy_weight=0.5).game.reward.privacy_weight == 0.5
    assert build().game.reward.privacy_weight == 1.0
    mine = lambda outcome: {}  # noqa: E731
    assert build(reward_fn=mine).game.reward is mine
    with pytest.raises(InputError, match="privacy_weight belongs to the default reward"):
        build(reward_fn=mine, privacy_weight=0.5)


# -- players ----------------------------------------------------------------------------------------


def test_nobody_plays_inside_when_all_roles_are_outside():
    system = build()
    assert system.scheme is None and not system.eavesdroppers


def test_the_same_scheme_plays_the_other_half_of_the_link():
    scheme = FakeScheme()
    system = build(outside=("receiver",), scheme=scheme, eavesdropper="mean-image")
    assert system.scheme.backbone is scheme and system.eavesdroppers["eavesdropper"].name == "mean-image"


@pytest.mark.parametrize(
    ("outside", "options", "sentence"),
    [
        (("eavesdropper",), {"eavesdropper": "linear"}, "eavesdropper is played from outside"),
        (("eavesdropper",), {"eavesdropper_kwargs": {"ridge": 1.0}}, "eavesdropper is played from outside"),
        (EVERYONE, {"scheme": "deepjscc"}, "both played from outside"),
        (EVERYONE, {"scheme_kwargs": {"stem": 4}}, "both played from outside"),
        (EVERYONE, {"stages": ["keyd"]}, "unknown stage 'keyd', did you mean 'keyed'"),
        (("receiver",), {"scheme": FakeScheme(), "stages": ["keyd"]}, "unknown stage 'keyd', did you mean"),
        (("eavesdropper",), {"constellation": "16qam"}, "constellation='16qam' is for a transmitter"),
        (("jammer",), {}, "unknown role 'jammer'"),
        (("receiver",), {"scheme": "lbqv"}, "unknown scheme 'lbqv'"),
        (("receiver",), {"scheme": 7}, "not 7"),
        (("receiver",), {"scheme": FakeScheme(), "eavesdropper": "lineer"}, "unknown eavesdropper 'lineer'"),
        (("receiver",), {"scheme": FakeScheme(), "scheme_kwargs": {"seed": 1}}, "scheme_kwargs go with"),
        (EVERYONE, {"channel": "awng"}, "unknown channel 'awng', did you mean 'awgn'"),
        (EVERYONE, {"channel": Rayleigh(), "channel_kwargs": {"coherence": 4}}, "takes no further options"),
        (EVERYONE, {"channel_kwargs": {"coherence": 4}}, "no option 'coherence'"),
        (EVERYONE, {"num_symbols": 0}, "num_symbols must be a whole number from 1 to"),
        (EVERYONE, {"snr_db": float("nan")}, "snr_db must be .* not nan"),
        (EVERYONE, {"snr_db": {"low": 20, "high": 0}}, "reversed range"),
        (EVERYONE, {"eavesdropper_snr_db": float("inf")}, "eavesdropper_snr_db must be"),
        (EVERYONE, {"metrics": ("ssmi",)}, "unknown metric 'ssmi'"),
        (EVERYONE, {"device": "cuda:7"}, "'cuda:7' is not available"),
        (EVERYONE, {"device": "gpu"}, "'gpu'"),
        (EVERYONE, {"reward_fn": "privacy"}, "unknown reward 'privacy'"),
        (EVERYONE, {"task": "clasification"}, "unknown task 'clasification'"),
    ],
)
def test_a_slip_gets_one_sentence(outside, options, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        build(outside=outside, **options)
    assert "\n" not in str(caught.value)


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

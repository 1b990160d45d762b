"""A checkpoint is whole or absent, comes back bit for bit, and can do nothing but build what is installed."""

from __future__ import annotations

import errno
import json
import os
import resource

import pytest
import torch
from fakes import SPEC, FakeEavesdropper, FakeScheme
from safetensors import safe_open
from safetensors.torch import save_file

from tosc_env.attackers import eavesdroppers
from tosc_env.errors import CheckpointError, InputError
from tosc_env.io.checkpoint_files import card_path, read_card, read_header, read_tensors, sha256, write_card
from tosc_env.io.checkpoints import check_fits, load_checkpoint, save_checkpoint
from tosc_env.io.files import WriteError
from tosc_env.pipeline import Pipeline, make_scheme
from tosc_env.schemes import Stage, defaults, schemes, stages
from tosc_env.types import SystemSpec

CARD = {"data": {"name": "shapes", "provenance": "Shapes."}, "seed": 3, "figures": {"loss": 0.25}}


class Stored(FakeScheme):
    name = "stored-test"


class Scaled(Stage):
    """Symbols times a number that both ends know."""

    name = "scaled-test"

    def __init__(self, spec, constellation=None, *, factor=2.0):
        super().__init__(spec, constellation, factor=factor)

    def protect(self, symbols, context):
        return symbols * self.options["factor"]

    def recover(self, received, csi, context):
        return received / self.options["factor"]


@defaults(weights="stored-test", open=("factor",))
def borrower(spec, *, backbone=None, factor=3.0):
    """Plays with the weights of another scheme."""
    stage = Scaled(spec, factor=factor)
    return Pipeline(backbone or Stored(spec), [stage], name="borrower-test", options={"factor": factor})


class StoredEavesdropper(FakeEavesdropper):
    name = "stored-test"


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(schemes._table, "stored-test", Stored)
    monkeypatch.setitem(schemes._table, "borrower-test", borrower)
    monkeypatch.setitem(stages._table, "scaled-test", Scaled)
    monkeypatch.setitem(eavesdroppers._table, StoredEavesdropper.name, StoredEavesdropper)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scheme.safetensors"


def saved(path, **options):
    scheme = make_scheme("stored-test", SPEC, seed=7)
    save_checkpoint(path, scheme, CARD, **options)
    return scheme


def everything_in(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def rewrite(path, change=None, tensors=None):
    """The same file with another header or other tensors, as a stranger might have made it."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["tosc_env"])
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if change is not None:
        header = change(header)
    if tensors is not None:
        stored = tensors(stored)
    save_file(stored, path, metadata={"tosc_env": json.dumps(header)})
    write_card(path, CARD)


def one_sentence(caught, *parts) -> bool:
    text = str(caught.value)
    return "\n" not in text and text.endswith(".") and all(str(part) in text for part in parts)


# -- round trip -------------------------------------------------------------------------------------


def test_float32_weights_come_back_bit_for_bit(path):
    scheme = saved(path)
    loaded = load_checkpoint(path)
    assert loaded.kind == "scheme" and loaded.card == CARD and loaded.path == path
    assert isinstance(loaded.policy, Pipeline) and isinstance(loaded.policy.backbone, Stored)
    assert loaded.policy.options == scheme.options and loaded.policy.spec == scheme.spec
    own = scheme.state_dict()
    assert loaded.policy.state_dict().keys() == own.keys()
    assert all(torch.equal(t, own[name]) for name, t in loaded.policy.state_dict().items())
    assert not loaded.policy.training and not any(p.requires_grad for p in loaded.policy.parameters())


def test_half_precision_files_hold_float16_and_load_as_exactly_those_numbers(path):
    scheme = saved(path, half=True)
    with safe_open(path, framework="pt") as file:
        assert all(file.get_tensor(name).dtype == torch.float16 for name in file.keys())  # noqa: SIM118
    for name, tensor in load_checkpoint(path).policy.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, scheme.state_dict()[name].half().float())


def test_saving_a_loaded_half_precision_file_again_loses_nothing(path, tmp_path):
    saved(path, half=True)
    first = load_checkpoint(path).policy
    save_checkpoint(tmp_path / "again.safetensors", first, CARD, half=True)
    second = load_checkpoint(tmp_path / "again.safetensors").policy.state_dict()
    assert all(torch.equal(t, second[name]) for name, t in first.state_dict().items())


def test_a_scheme_without_stages_is_saved_as_the_pipeline_of_it(path, tmp_path):
    saved(path)
    save_checkpoint(tmp_path / "bare.safetensors", Stored(seed=7), CARD)
    assert (tmp_path / "bare.safetensors").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", ["stored-test", "borrower-test"])
def test_added_stages_come_back_and_those_that_the_name_stands_for_are_not_there_twice(path, name):
    scheme = make_scheme(name, SPEC, stages=[{"name": "scaled-test", "factor": 0.5}])
    save_checkpoint(path, scheme, CARD)
    assert read_header(path)["stages"] == [{"name": "scaled-test", "factor": 0.5}]
    loaded = load_checkpoint(path).policy
    assert loaded.title == scheme.title and loaded.composition == scheme.composition
    longer = load_checkpoint(path, stages=["scaled-test"]).policy
    assert [stage.options["factor"] for stage in longer.added] == [0.5, 2.0]


def test_a_file_holds_no_key_and_another_key_can_be_given(path):
    scheme = make_scheme("stored-test", SPEC, stages=["keyed"], key="11" * 32)
    save_checkpoint(path, scheme, CARD)
    assert b"11" * 32 not in path.read_bytes() and b"key_" not in path.read_bytes()
    again = load_checkpoint(path, options={"key": "11" * 32}).policy
    assert again.key_fingerprint == scheme.key_fingerprint != load_checkpoint(path).policy.key_fingerprint


def test_an_eavesdropper_comes_back_as_one(path):
    save_checkpoint(path, StoredEavesdropper(seed=4), CARD)
    loaded = load_checkpoint(path, kind="eavesdropper")
    assert isinstance(loaded.policy, StoredEavesdropper)
    assert torch.equal(loaded.policy.out, StoredEavesdropper(seed=4).out)


def test_the_header_is_read_without_the_tensors(path):
    saved(path)
    header = read_header(path)
    assert (header["kind"], header["name"], header["card"]) == ("scheme", "stored-test", CARD)
    assert (header["options"], header["stages"]) == ({"stochastic": False, "seed": 7}, [])
    assert set(read_tensors(path)) == {"backbone.up", "backbone.down"}


# -- the card ---------------------------------------------------------------------------------------


def test_another_card_is_written_beside_the_weights_and_never_into_them(path):
    saved(path)
    before = path.read_bytes()
    write_card(path, {**CARD, "terms": "for research"})
    assert path.read_bytes() == before
    assert read_header(path)["card"] == read_card(path) == {**CARD, "terms": "for research"}
    text = card_path(path).read_text()
    assert json.loads(text)["sha256"] == sha256(path) and text.count("\n") > len(CARD)


def test_weights_without_their_card_load_with_an_empty_one(path):
    scheme = saved(path)
    card_path(path).unlink()
    loaded = load_checkpoint(path)
    assert loaded.card == {} and torch.equal(loaded.policy.backbone.up, scheme.backbone.up)


def test_a_card_of_other_weights_is_refused(path, tmp_path):
    saved(path)
    save_checkpoint(tmp_path / "other.safetensors", Stored(seed=8), CARD)
    card_path(tmp_path / "other.safetensors").replace(card_path(path))
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert one_sentence(caught, card_path(path), "of other weights than", path.name)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '"sha256"', "{}", "null", "\udcff"])
def test_what_is_no_card_is_a_checkpoint_error(path, text):
    saved(path)
    card_path(path).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert one_sentence(caught, card_path(path), "not the card of a checkpoint")


def test_a_card_that_cannot_be_written_leaves_the_older_one(path):
    saved(path)
    before = everything_in(path.parent)
    with pytest.raises(InputError, match="plain values only"):
        write_card(path, {"when": object()})
    assert everything_in(path.parent) == before
    with pytest.raises(CheckpointError, match="cannot read"):
        write_card(path.with_name("none"), CARD)


# -- whole or not at all ----------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_keeps_the_older_file(path, monkeypatch, call):
    saved(path)
    before = everything_in(path.parent)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(WriteError) as caught:
        save_checkpoint(path, Stored(seed=8), CARD)
    monkeypatch.undo()
    assert one_sentence(caught, path, "No space left on device")
    assert everything_in(path.parent) == before


def test_a_write_that_the_system_cuts_short_keeps_the_older_file(path):
    """A real failing write, not a simulated one: the process may not make a file above 4 kB."""
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(WriteError) as caught:
            save_checkpoint(path, Stored(), CARD)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert one_sentence(caught, path)
    assert path.read_bytes() == b"old" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("card", [{"when": object()}, {"weights": torch.zeros(1)}, {1 + 2j: "a"}])
def test_a_card_that_is_no_plain_value_is_refused_before_anything_is_written(path, card):
    saved(path)
    before = everything_in(path.parent)
    with pytest.raises(InputError, match="plain values only"):
        save_checkpoint(path, Stored(seed=8), card)
    assert everything_in(path.parent) == before


# -- files that are no good -------------------------------------------------------------------------


def test_a_missing_file_is_named(path):
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(caught.value) == f"no checkpoint at {path}."


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("keep", [0, 7, 200, -1])
def test_a_truncated_file_is_a_checkpoint_error(path, keep):
    saved(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert one_sentence(caught, path, "truncated or corrupt")


@pytest.mark.parametrize("content", [b"hello, world", b"\x80\x04\x95" + bytes(50), bytes(range(256))])
def test_a_file_of_another_kind_is_a_checkpoint_error(path, content):
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert one_sentence(caught, path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"tosc_env": "{"}, {"tosc_env": "[1]"}])
def test_safetensors_of_somebody_else_are_a_checkpoint_error(path, metadata):
    save_file({"a": torch.zeros(3)}, path, metadata=metadata)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert one_sentence(caught, path, "not a checkpoint of tosc-env")


def test_a_file_of_another_version_names_both_formats(path):
    saved(path)
    rewrite(path, lambda header: {**header, "format": "tosc-env/9"})
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert one_sentence(caught, path, "tosc-env/9", "tosc-env/2")


@pytest.mark.parametrize("key", ["kind", "name", "options", "spec", "stages"])
@pytest.mark.parametrize("value", ["absent", None, 7])
def test_a_damaged_header_is_a_checkpoint_error_that_names_the_entry(path, key, value):
    saved(path)
    rewrite(
        path, lambda h: {k: v for k, v in h.items() if k != key} | ({} if value == "absent" else {key: value})
    )
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert one_sentence(caught, path, repr(key))


@pytest.mark.parametrize(
    "change", [{"kind": "jammer"}, {"spec": {"image_shape": [3, 8, 8]}}, {"spec": {"volume": 11}}]
)
def test_a_header_of_wrong_values_is_a_checkpoint_error(path, change):
    saved(path)
    rewrite(path, lambda header: {**header, **change})
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert one_sentence(caught, path, repr(next(iter(change))))


def test_a_file_of_the_other_kind_is_refused(path):
    saved(path)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, kind="eavesdropper")
    assert one_sentence(caught, path, "stored-test", "not an eavesdropper")


def test_a_missing_tensor_is_named(path):
    saved(path)
    rewrite(path, tensors=lambda stored: {"backbone.up": stored["backbone.up"]})
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert one_sentence(caught, path, "lacks", "'backbone.down'")


def test_an_unexpected_tensor_is_named(path):
    saved(path)
    rewrite(path, tensors=lambda stored: {**stored, "extra": torch.zeros(1)})
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert one_sentence(caught, path, "unexpected", "'extra'")


def test_a_tensor_of_another_shape_is_named_with_both_shapes(path):
    saved(path)
    rewrite(path, tensors=lambda stored: {**stored, "backbone.down": torch.zeros(2, 10)})
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert one_sentence(caught, path, "'backbone.down'", "[2, 10]", "[128, 10]")


# -- what a file may not do -------------------------------------------------------------------------


def test_a_file_holds_no_import_path(path):
    saved(path)
    with safe_open(path, framework="pt") as file:
        text = file.metadata()["tosc_env"]
    text += card_path(path).read_text()
    assert "fakes" not in text and "tosc_env." not in text and "Stored" not in text


@pytest.mark.parametrize("name", ["os:system", "subprocess.Popen", "fakes:FakeScheme", "nobody"])
def test_a_name_that_is_not_registered_builds_nothing(path, name):
    saved(path)
    rewrite(path, lambda header: {**header, "name": name})
    with pytest.raises(InputError, match="unknown scheme") as caught:
        load_checkpoint(path)
    assert one_sentence(caught, name)


def test_options_that_the_class_does_not_have_are_refused(path):
    saved(path)
    rewrite(path, lambda header: {**header, "options": {"hook": "print(1)"}})
    with pytest.raises(InputError, match="no option 'hook'"):
        load_checkpoint(path)


@pytest.mark.parametrize("name", ["key", "stages", "backbone", "spec", "scheme", "eavesdropper"])
def test_a_file_sets_nothing_that_is_given_beside_the_options(path, name):
    """A stranger's key above all: whoever made the file would read along."""
    saved(path)
    rewrite(path, lambda header: {**header, "options": {name: "00" * 32}})
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert one_sentence(caught, path, "damaged header", repr(name)) and "00" * 32 not in str(caught.value)


@pytest.mark.parametrize(
    "stage",
    ["os:system", {"name": "os:system"}, {"name": ["keyed"]}, 7, None, {"name": "keyed", "hook": 1}, {}],
)
def test_a_stage_that_is_not_registered_builds_nothing(path, stage):
    saved(path)
    rewrite(path, lambda header: {**header, "stages": [stage]})
    with pytest.raises((InputError, CheckpointError), match=r"stage|no option 'hook'") as caught:
        load_checkpoint(path)
    assert one_sentence(caught)


def test_a_stage_in_a_file_cannot_bring_a_key(path):
    saved(path)
    rewrite(path, lambda header: {**header, "stages": [{"name": "keyed", "key": "00" * 32}]})
    with pytest.raises(CheckpointError, match="may set the option 'key'"):
        load_checkpoint(path)


def test_a_pickle_under_our_name_is_not_executed(path, tmp_path):
    victim = tmp_path / "victim"

    class Evil:
        def __reduce__(self):
            return (open, (str(victim), "w"))

    torch.save({"up": Evil()}, path)
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    assert not victim.exists()


# -- another system ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "data", "parts"),
    [
        (SystemSpec((3, 32, 32), 10, 32), "shapes", ("code length", 64, 32)),
        (SystemSpec((3, 64, 64), 10), "shapes", ("image shape", 32, 64)),
        (SystemSpec((3, 32, 32), 2), "shapes", ("number of outputs", 10, 2)),
        (SPEC, "cifar10", ("data set", "'shapes'", "'cifar10'")),
    ],
)
def test_a_checkpoint_of_another_system_is_refused_with_both_values(path, spec, data, parts):
    saved(path)
    with pytest.raises(CheckpointError) as caught:
        check_fits(read_header(path), path, spec, data)
    assert one_sentence(caught, path, *parts)


def test_a_fitting_checkpoint_passes_over_any_channel_and_any_data_when_none_is_named(path):
    saved(path)
    check_fits(read_header(path), path, SPEC, "shapes")
    check_fits(read_header(path), path, SPEC.with_csi(9))


# -- borrowed weights -------------------------------------------------------------------------------


def test_another_scheme_may_play_with_the_weights_and_with_options_of_its_own(path):
    scheme = saved(path)
    policy = load_checkpoint(path, name="borrower-test", options={"factor": 7.0}, stages=["keyed"]).policy
    assert (policy.name, policy.options["factor"], policy.keyed) == ("borrower-test", 7.0, True)
    assert [stage.name for stage in policy.added] == ["keyed"]
    assert torch.equal(policy.backbone.up, scheme.backbone.up) and policy.backbone.options["seed"] == 7
    assert not policy.training and not any(p.requires_grad for p in policy.parameters())


def test_stages_of_the_file_stand_before_those_that_are_asked_for(path):
    save_checkpoint(path, make_scheme("stored-test", SPEC, stages=["scaled-test"]), CARD)
    policy = load_checkpoint(path, stages=["keyed"]).policy
    assert [stage.name for stage in policy.added] == ["scaled-test", "keyed"]


def test_a_scheme_that_does_not_take_the_weights_is_refused(path):
    save_checkpoint(path, borrower(SPEC), CARD)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, name="stored-test")
    assert one_sentence(caught, path, "borrower-test", "stored-test", "does not take")


def test_a_device_that_does_not_exist_is_refused(path):
    saved(path)
    with pytest.raises(InputError, match="cuda:7"):
        load_checkpoint(path, device="cuda:7")

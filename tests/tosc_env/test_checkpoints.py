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

from tosc_env.checkpoints import (
    amend_card,
    check_fits,
    load_checkpoint,
    read_header,
    read_tensors,
    save_checkpoint,
)
from tosc_env.errors import CheckpointError, InputError
from tosc_env.files import WriteError
from tosc_env.policies import SystemSpec, eavesdroppers, schemes

CARD = {"data": {"name": "shapes", "provenance": "Shapes."}, "seed": 3, "figures": {"loss": 0.25}}


class Stored(FakeScheme):
    name = "stored-test"


class Borrower(FakeScheme):
    """Plays with the weights of another scheme."""

    name = "borrower-test"
    weights_of = "stored-test"


class StoredEavesdropper(FakeEavesdropper):
    name = "stored-test"


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for cls in (Stored, Borrower):
        monkeypatch.setitem(schemes._table, cls.name, cls)
    monkeypatch.setitem(eavesdroppers._table, StoredEavesdropper.name, StoredEavesdropper)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scheme.safetensors"


def saved(path, **options):
    scheme = Stored(seed=7)
    save_checkpoint(path, scheme, CARD, **options)
    return scheme


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


def one_sentence(caught, *parts) -> bool:
    text = str(caught.value)
    return "\n" not in text and text.endswith(".") and all(str(part) in text for part in parts)


# -- round trip -------------------------------------------------------------------------------------


def test_float32_weights_come_back_bit_for_bit(path):
    scheme = saved(path)
    loaded = load_checkpoint(path)
    assert loaded.kind == "scheme" and loaded.card == CARD and loaded.path == path
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


def test_an_average_can_be_saved_in_place_of_the_present_weights(path):
    scheme = Stored()
    average = {name: torch.full_like(t, 0.5) for name, t in scheme.state_dict().items()}
    save_checkpoint(path, scheme, CARD, state=average)
    assert all((t == 0.5).all() for t in load_checkpoint(path).policy.state_dict().values())


def test_an_eavesdropper_comes_back_as_one(path):
    save_checkpoint(path, StoredEavesdropper(seed=4), CARD)
    loaded = load_checkpoint(path, kind="eavesdropper")
    assert isinstance(loaded.policy, StoredEavesdropper)
    assert torch.equal(loaded.policy.out, StoredEavesdropper(seed=4).out)


def test_the_header_is_read_without_the_tensors(path):
    saved(path)
    header = read_header(path)
    assert (header["kind"], header["name"], header["card"]) == ("scheme", "stored-test", CARD)


@pytest.mark.parametrize("half", [False, True])
def test_another_card_leaves_the_tensors_and_all_else_bit_for_bit(path, half):
    saved(path, half=half)
    header, tensors = read_header(path), read_tensors(path)
    amend_card(path, {**CARD, "terms": "for research"})
    assert read_header(path) == {**header, "card": {**CARD, "terms": "for research"}}
    again = read_tensors(path)
    assert list(again) == list(tensors) and all(again[name].dtype == t.dtype for name, t in tensors.items())
    assert all(torch.equal(again[name].view(torch.uint8), t.view(torch.uint8)) for name, t in tensors.items())
    amend_card(path, CARD)
    assert read_header(path) == header


def test_a_card_that_cannot_be_written_leaves_the_file_as_it_is(path):
    saved(path)
    before = path.read_bytes()
    with pytest.raises(InputError, match="plain values only"):
        amend_card(path, {"when": object()})
    assert path.read_bytes() == before
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        amend_card(path.with_name("none"), CARD)


# -- whole or not at all ----------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_keeps_the_older_file(path, monkeypatch, call):
    saved(path)
    before = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(WriteError) as caught:
        save_checkpoint(path, Stored(seed=8), CARD)
    monkeypatch.undo()
    assert one_sentence(caught, path, "No space left on device")
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


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
    with pytest.raises(InputError, match="plain values only"):
        save_checkpoint(path, Stored(), card)
    assert not path.exists()


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
    assert one_sentence(caught, path, "tosc-env/9", "tosc-env/1")


@pytest.mark.parametrize("key", ["kind", "name", "options", "spec", "card"])
@pytest.mark.parametrize("value", ["absent", None, ["os.system"]])
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
    rewrite(path, tensors=lambda stored: {"up": stored["up"]})
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert one_sentence(caught, path, "lacks", "'down'")


def test_an_unexpected_tensor_is_named(path):
    saved(path)
    rewrite(path, tensors=lambda stored: {**stored, "extra": torch.zeros(1)})
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert one_sentence(caught, path, "unexpected", "'extra'")


def test_a_tensor_of_another_shape_is_named_with_both_shapes(path):
    saved(path)
    rewrite(path, tensors=lambda stored: {**stored, "down": torch.zeros(2, 10)})
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert one_sentence(caught, path, "'down'", "[2, 10]", "[128, 10]")


# -- what a file may not do -------------------------------------------------------------------------


def test_a_file_holds_no_import_path(path):
    saved(path)
    with safe_open(path, framework="pt") as file:
        text = file.metadata()["tosc_env"]
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


def test_weights_of_lets_another_scheme_play_with_them(path):
    scheme = saved(path)
    policy = load_checkpoint(path, name="borrower-test", options={"stochastic": True}).policy
    assert isinstance(policy, Borrower) and policy.stochastic and policy.options["seed"] == 7
    assert torch.equal(policy.up, scheme.up)


def test_a_scheme_that_does_not_take_the_weights_is_refused(path):
    save_checkpoint(path, Borrower(), CARD)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, name="stored-test")
    assert one_sentence(caught, path, "borrower-test", "stored-test", "does not take")


def test_a_device_that_does_not_exist_is_refused(path):
    saved(path)
    with pytest.raises(InputError, match="cuda:7"):
        load_checkpoint(path, device="cuda:7")

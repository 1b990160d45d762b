"""A checkpoint is whole or absent, comes back bit for bit, and can do nothing but build what is installed."""

from __future__ import annotations

import errno
import json
import os
import resource

import pytest
import torch
from fakes import SPEC, FakeEavesdropper, FakeScheme
from refusals import refused
from safetensors import safe_open
from safetensors.torch import save_file

from tosc_env.attackers import eavesdroppers
from tosc_env.errors import CheckpointError, ToscError
from tosc_env.io.checkpoint_files import card_path, read_card, read_header, read_tensors, sha256
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
def player(spec, *, backbone=None, factor=3.0):
    """Play with the weights of another scheme."""
    stage = Scaled(spec, factor=factor)
    return Pipeline(backbone or Stored(spec), [stage], name="player-test", options={"factor": factor})


@defaults(weights="stored-test")
def second(spec, *, backbone=None):
    """Another scheme that plays with those weights."""
    return Pipeline(backbone or Stored(spec), ["scaled-test"], name="second-test", options={})


class Other(FakeScheme):
    """A backbone of another kind."""

    name = "other-test"


class StoredEavesdropper(FakeEavesdropper):
    name = "stored-test"


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(schemes._table, "stored-test", Stored)
    monkeypatch.setitem(schemes._table, "player-test", player)
    monkeypatch.setitem(schemes._table, "second-test", second)
    monkeypatch.setitem(schemes._table, "other-test", Other)
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
    card_path(path).write_text(json.dumps({"sha256": sha256(path), **CARD}))


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
    again = path.with_name("again.safetensors")
    save_checkpoint(again, load_checkpoint(path).policy, CARD, half=True)
    assert again.read_bytes() == path.read_bytes(), "saved again it loses nothing"


def test_an_eavesdropper_comes_back_as_one_and_is_no_scheme(path):
    save_checkpoint(path, StoredEavesdropper(seed=4), CARD)
    loaded = load_checkpoint(path, kind="eavesdropper")
    assert isinstance(loaded.policy, StoredEavesdropper)
    assert torch.equal(loaded.policy.out, StoredEavesdropper(seed=4).out)
    with refused(f"{path} stored-test scheme", CheckpointError):
        load_checkpoint(path, kind="scheme")


def test_a_scheme_without_stages_is_saved_as_the_pipeline_of_it(path, tmp_path):
    saved(path)
    save_checkpoint(tmp_path / "bare.safetensors", Stored(seed=7), CARD)
    assert (tmp_path / "bare.safetensors").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", ["stored-test", "player-test"])
def test_added_stages_come_back_and_those_that_the_name_stands_for_are_not_there_twice(path, name):
    scheme = make_scheme(name, SPEC, stages=[{"name": "scaled-test", "factor": 0.5}])
    save_checkpoint(path, scheme, CARD)
    assert read_header(path)["stages"] == [{"name": "scaled-test", "factor": 0.5}]
    loaded = load_checkpoint(path).policy
    assert loaded.title == scheme.title and loaded.composition == scheme.composition
    longer = load_checkpoint(path, stages=["scaled-test"]).policy
    assert [stage.options["factor"] for stage in longer.added] == [0.5, 2.0]


# -- the card ---------------------------------------------------------------------------------------


def test_the_card_lies_beside_the_weights_in_lines_with_their_digest(path):
    saved(path)
    text = card_path(path).read_text()
    assert json.loads(text) == {"sha256": sha256(path), **CARD} and text.count("\n") > len(CARD)
    assert read_header(path)["card"] == read_card(path) == CARD
    assert set(read_tensors(path)) == {"backbone.up", "backbone.down"}
    card_path(path).unlink()
    assert load_checkpoint(path).card == {}
    names = {"m-1.5dB": "m-1.5dB.json", "m-1.7dB": "m-1.7dB.json", "m.7.safetensors": "m.7.json"}
    for name, card in names.items():
        saved(path.with_name(name))
        assert load_checkpoint(path.with_name(name)).card == CARD and path.with_name(card).exists()


def test_a_card_of_other_weights_is_refused(path, tmp_path):
    saved(path)
    save_checkpoint(tmp_path / "other.safetensors", Stored(seed=8), CARD)
    card_path(tmp_path / "other.safetensors").replace(card_path(path))
    with refused(f"{card_path(path)} {path.name}", CheckpointError):
        load_checkpoint(path)


def test_what_is_no_card_is_a_checkpoint_error(path):
    saved(path)
    for text in ("", "{", "[]", "7", '"sha256"', "{}", "null", "\udcff"):
        card_path(path).write_bytes(text.encode(errors="surrogateescape"))
        with refused(str(card_path(path)), CheckpointError):
            load_checkpoint(path)


def test_weights_are_not_called_like_a_card(tmp_path):
    for name in ("m.json", "m.JSON", ".x.json"):
        with refused(f"{name} '.json' '.safetensors'"):
            saved(tmp_path / name)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("data", ["shapes", None, {}])
def test_a_card_that_tells_of_no_data_set_breaks_nothing(path, data):
    save_checkpoint(path, Stored(), {"data": data})
    assert load_checkpoint(path).card == {"data": data}
    check_fits(read_header(path), path, SPEC)
    with refused(f"{path} None 'shapes'", CheckpointError):
        check_fits(read_header(path), path, SPEC, "shapes")


# -- what can be saved ------------------------------------------------------------------------------


def test_a_file_holds_a_scheme_or_an_eavesdropper(path):
    for policy in (None, 5, Scaled(SPEC), torch.nn.Linear(2, 2)):
        with refused("PrivacyScheme Eavesdropper"):
            save_checkpoint(path, policy, CARD)
        assert not path.exists()


class Nameless(Stage):
    """Registered nowhere."""


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        (FakeScheme(), "scheme 'fake'"),
        (FakeEavesdropper(), "eavesdropper"),
        (Pipeline(Stored(), [Nameless(SPEC)]), "stage"),
    ],
    ids=["scheme", "eavesdropper", "stage"],
)
def test_what_could_not_be_found_again_is_not_saved(path, policy, told):
    with refused(f"{told} @tosc_env.register_ entry point"):
        save_checkpoint(path, policy, CARD)
    assert not path.exists()


@pytest.mark.parametrize("value", [65520.0, -1e30])
def test_weights_beyond_float16_are_not_saved_as_such(path, value):
    scheme = Stored()
    with torch.no_grad():
        scheme.up[0, 0] = value
    with refused(f"'backbone.up' {abs(value):.3g} 65504"):
        save_checkpoint(path, scheme, CARD, half=True)
    assert not path.exists()
    save_checkpoint(path, scheme, CARD)


# -- whole or not at all ----------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_keeps_the_older_file(path, monkeypatch, call):
    saved(path)
    before = everything_in(path.parent)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with refused(f"{path} No space left", WriteError):
        save_checkpoint(path, Stored(seed=8), CARD)
    monkeypatch.undo()
    assert everything_in(path.parent) == before


def test_a_kill_leaves_the_older_pair_or_says_how_to_load_the_weights(path, monkeypatch):
    saved(path)
    before, real = everything_in(path.parent), os.replace

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, Stored(seed=8), CARD)
    assert everything_in(path.parent) == before

    def killed_after_the_first(*args):
        real(*args)
        monkeypatch.setattr(os, "replace", killed)

    monkeypatch.setattr(os, "replace", killed_after_the_first)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, Stored(seed=8), CARD)
    with refused("remove the card", CheckpointError):
        load_checkpoint(path)
    card_path(path).unlink()
    assert torch.equal(load_checkpoint(path).policy.backbone.up, Stored(seed=8).up)


def test_a_write_that_the_system_cuts_short_keeps_the_older_file(path):
    """A real failing write, not a simulated one: the process may not make a file above 4 kB."""
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with refused(str(path), WriteError):
            save_checkpoint(path, Stored(), CARD)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("card", "told"),
    [({"when": object()}, "plain"), ({1 + 2j: "a"}, "dictionary names"), ({"sha256": "0" * 64}, "'sha256'")],
)
def test_what_is_no_card_is_refused_before_anything_is_written(path, card, told):
    saved(path)
    before = everything_in(path.parent)
    with refused(told):
        save_checkpoint(path, Stored(seed=8), card)
    assert everything_in(path.parent) == before


# -- files that are no good -------------------------------------------------------------------------


def test_a_truncated_file_and_one_of_another_kind_are_a_checkpoint_error(path):
    saved(path)
    whole = path.read_bytes()
    for there in (path.with_name("none"), path.parent):
        with refused(f"checkpoint {there}", CheckpointError):
            load_checkpoint(there)
    with refused("cuda:7"):
        load_checkpoint(path, device="cuda:7")
    for content in (b"", whole[:7], whole[:200], whole[:-1], b"hello, world", bytes(range(256))):
        path.write_bytes(content)
        with refused(str(path), CheckpointError):
            load_checkpoint(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"tosc_env": "{"}, {"tosc_env": "[1]"}])
def test_safetensors_of_somebody_else_are_a_checkpoint_error(path, metadata):
    save_file({"a": torch.zeros(3)}, path, metadata=metadata)
    with refused(f"{path}", CheckpointError):
        load_checkpoint(path)


@pytest.mark.parametrize("key", ["kind", "name", "options", "spec", "stages"])
def test_a_damaged_header_is_a_checkpoint_error_that_names_the_entry(path, key):
    changes = [{}, {key: None}, {key: 7}]
    changes += [{"kind": "jammer"}] * (key == "kind") + [{"spec": {"image_shape": [3, 8, 8]}}] * (
        key == "spec"
    )
    saved(path)
    whole = path.read_bytes()
    for change in changes:
        path.write_bytes(whole)
        rewrite(path, lambda h, change=change: {k: v for k, v in h.items() if k != key} | change)
        with refused(f"{path} {key!r}", CheckpointError):
            load_checkpoint(path)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        (lambda stored: {"backbone.up": stored["backbone.up"]}, "lacks 'backbone.down'"),
        (lambda stored: {**stored, "extra": torch.zeros(1)}, "unexpected 'extra'"),
        (lambda stored: {**stored, "backbone.down": torch.zeros(2, 10)}, "'backbone.down' [2, 10] [128, 10]"),
    ],
    ids=["missing", "unexpected", "another shape"],
)
def test_a_tensor_that_does_not_fit_is_named(path, tensors, words):
    saved(path)
    rewrite(path, tensors=tensors)
    with refused(f"{path} {words}", CheckpointError):
        load_checkpoint(path)


# -- what a file may not do -------------------------------------------------------------------------


def test_a_file_holds_no_import_path(path):
    saved(path)
    with safe_open(path, framework="pt") as file:
        text = file.metadata()["tosc_env"]
    text += card_path(path).read_text()
    assert "fakes" not in text and "tosc_env." not in text and "Stored" not in text


@pytest.mark.parametrize("name", ["key", "stages", "backbone", "spec", "scheme", "eavesdropper"])
def test_a_file_sets_nothing_that_is_given_beside_the_options(path, name):
    """A stranger's key above all: whoever made the file would read along."""
    saved(path)
    rewrite(path, lambda header: {**header, "options": {name: "00" * 32}})
    with refused(f"{path} {name!r}", CheckpointError) as caught:
        load_checkpoint(path)
    assert "00" * 32 not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "tosc-env/9"}, "tosc-env/9 tosc-env/2"),
        ({"name": "os:system"}, "scheme os:system"),
        ({"name": "fakes:FakeScheme"}, "scheme fakes:FakeScheme"),
        ({"options": {"hook": "print(1)"}}, "'hook'"),
        ({"stages": [{"name": "keyed", "key": "00" * 32}]}, "'key'"),
    ],
)
def test_a_header_that_asks_for_more_than_it_may_builds_nothing(path, change, words):
    saved(path)
    rewrite(path, lambda header: {**header, **change})
    with refused(words, ToscError):
        load_checkpoint(path)


@pytest.mark.parametrize("stage", ["os:system", {"name": ["keyed"]}, None, {"name": "keyed", "hook": 1}, {}])
def test_a_stage_that_is_not_registered_builds_nothing(path, stage):
    saved(path)
    rewrite(path, lambda header: {**header, "stages": [stage]})
    with refused("", ToscError):
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
    ("spec", "data", "words"),
    [
        (SystemSpec((3, 32, 32), 10, 32), "shapes", "code length 64 32"),
        (SystemSpec((3, 64, 64), 10), "shapes", "image shape 32 64"),
        (SystemSpec((3, 32, 32), 2), "shapes", "outputs 10 2"),
        (SPEC, "cifar10", "data set 'shapes' 'cifar10'"),
    ],
)
def test_a_checkpoint_of_another_system_is_refused_with_both_values(path, spec, data, words):
    saved(path)
    with refused(f"{path} {words}", CheckpointError):
        check_fits(read_header(path), path, spec, data)


# -- another scheme with the weights ----------------------------------------------------------------


def test_another_scheme_may_play_with_the_weights_and_with_options_of_its_own(path):
    scheme = saved(path)
    policy = load_checkpoint(path, name="player-test", options={"factor": 7.0}, stages=["keyed"]).policy
    assert (policy.name, policy.options["factor"], policy.keyed) == ("player-test", 7.0, True)
    assert [stage.name for stage in policy.added] == ["keyed"]
    assert torch.equal(policy.backbone.up, scheme.backbone.up) and policy.backbone.options["seed"] == 7
    assert not policy.training and not any(p.requires_grad for p in policy.parameters())


def test_stages_that_were_added_to_the_files_scheme_stay_under_another_scheme_trained_as_they_are(path):
    trained = Scaled(SPEC, factor=0.5)
    trained.weight = torch.nn.Parameter(torch.full((3,), 7.0))
    save_checkpoint(
        path, make_scheme("stored-test", SPEC, stages=[{"name": "keyed", "mode": "rotation"}]), CARD
    )
    policy = load_checkpoint(path, name="player-test", stages=[trained], options={"key": "11" * 32}).policy
    assert [stage.name for stage in policy.stages] == ["scaled-test", "keyed", "scaled-test"]
    assert [stage.name for stage in policy.added] == ["keyed", "scaled-test"]
    assert policy.added[0].options["mode"] == "rotation" and torch.equal(
        policy.added[1].weight, trained.weight
    )
    assert (
        policy.key_fingerprint == make_scheme("stored-test", stages=["keyed"], key="11" * 32).key_fingerprint
    )


@pytest.mark.parametrize(
    ("scheme", "name"),
    [("player-test", "stored-test"), ("player-test", "second-test"), ("other-test", "player-test")],
)
def test_a_scheme_that_does_not_take_the_weights_is_refused(path, scheme, name):
    """Weights that ``name`` does not stand for: under stages of their own name, or of another backbone."""
    save_checkpoint(path, make_scheme(scheme, SPEC), CARD)
    with refused(f"{path} {scheme} {name}", CheckpointError):
        load_checkpoint(path, name=name)

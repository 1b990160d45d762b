"""Receivers only: what a checkpoint leaves out comes from the file beside it, whole and unchanged, or not at all."""

from __future__ import annotations

import json

import pytest
import torch
from fakes import FakeScheme
from safetensors import safe_open
from safetensors.torch import save_file

from tosc_env.checkpoints import (
    amend_card,
    load_checkpoint,
    read_header,
    read_tensors,
    save_checkpoint,
)
from tosc_env.errors import CheckpointError, InputError
from tosc_env.lending import Loan, digest
from tosc_env.policies import schemes

CARD = {"data": {"name": "shapes"}}
PLAIN = {"name": "lender-test", "stem": "base", "parts": ["up"], "sha256": "0" * 64}


class Lender(FakeScheme):
    name = "lender-test"


class Borrower(FakeScheme):
    """The lender's transmitter, and a receiver of its own."""

    name = "receiver-test"

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.down.data += 1.0


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for cls in (Lender, Borrower):
        monkeypatch.setitem(schemes._table, cls.name, cls)


@pytest.fixture
def lender(tmp_path):
    path = tmp_path / "base.safetensors"
    save_checkpoint(path, Lender(seed=3), CARD, half=True)
    return path


@pytest.fixture
def path(tmp_path, lender):
    """Receivers only, trained behind the float32 transmitter that the lender holds rounded."""
    path = tmp_path / "receiver.safetensors"
    save_checkpoint(path, Borrower(seed=3), CARD, half=True, without=("up",), lender=lender)
    return path


def names_in(path):
    with safe_open(path, framework="pt") as file:
        return set(file.keys())


def rewrite(path, **changes):
    """The same file with another loan in its header, as a stranger might have made it."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["tosc_env"])
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header["borrowed"] = {**header["borrowed"], **changes}
    save_file(stored, path, metadata={"tosc_env": json.dumps(header)})


def one_sentence(caught, *parts) -> bool:
    text = str(caught.value)
    return "\n" not in text and text.endswith(".") and all(str(part) in text for part in parts)


# -- what comes back --------------------------------------------------------------------------------


def test_the_file_holds_only_its_own_and_loads_whole(path, lender):
    assert names_in(path) == {"down"} and path.stat().st_size < lender.stat().st_size / 4
    loaded = load_checkpoint(path).policy
    assert isinstance(loaded, Borrower) and not loaded.training
    assert torch.equal(loaded.up, Lender(seed=3).up.half().float())
    assert torch.equal(loaded.down, Borrower(seed=3).down.half().float())


def test_all_tensors_are_read_as_stored_and_the_header_says_whose_they_are(path, lender):
    tensors = read_tensors(path)
    assert tensors.keys() == {"up", "down"} and tensors["up"].dtype == torch.float16
    loan = Loan.from_plain(read_header(path)["borrowed"])
    assert (loan.name, loan.stem, loan.parts) == ("lender-test", "base", ("up",))
    assert loan.sha256 == digest({"up": read_tensors(lender)["up"]})


def test_a_file_that_borrows_nothing_says_nothing_of_it(lender):
    assert "borrowed" not in read_header(lender)


def test_options_and_device_are_those_of_any_checkpoint(path):
    assert load_checkpoint(path, options={"stochastic": True}).policy.stochastic


def test_another_receiver_of_the_lender_or_another_card_leaves_the_loan_as_it_is(path, lender):
    before = load_checkpoint(path).policy.state_dict()
    save_checkpoint(
        lender,
        Lender(seed=3),
        CARD,
        half=True,
        state={**Lender(seed=3).state_dict(), "down": torch.zeros(128, 10)},
    )
    amend_card(path, {**CARD, "more": 1})
    after = load_checkpoint(path)
    assert after.card["more"] == 1
    assert all(torch.equal(t, before[name]) for name, t in after.policy.state_dict().items())


# -- a lender that is not what it was ---------------------------------------------------------------


def test_a_lender_that_was_trained_again_is_noticed(path, lender):
    save_checkpoint(lender, Lender(seed=4), CARD, half=True)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert one_sentence(
        caught, path, "base.safetensors", "lends other tensors than those it was trained with"
    )


def test_a_lender_in_full_precision_is_another_one(path, lender):
    save_checkpoint(lender, Lender(seed=3), CARD)
    with pytest.raises(CheckpointError, match="lends other tensors"):
        load_checkpoint(path)


def test_a_missing_lender_is_named(path, lender):
    lender.unlink()
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert one_sentence(caught, path, "base.safetensors", "lender-test", "not beside it")


def test_a_lender_of_another_scheme_is_named_with_both(path, lender):
    save_checkpoint(lender, Borrower(seed=3), CARD, half=True)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert one_sentence(caught, path, "'lender-test'", "'receiver-test'")


def test_a_damaged_lender_is_named(path, lender):
    lender.write_bytes(lender.read_bytes()[:300])
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert one_sentence(caught, lender, "truncated or corrupt")


def test_lent_weights_are_not_lent_on(path, tmp_path):
    with pytest.raises(InputError, match="cannot lend up: its tensor 'up' is not the policy's own"):
        save_checkpoint(
            tmp_path / "third.safetensors", Lender(seed=3), CARD, half=True, without=("up",), lender=path
        )


# -- what a header may not do -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "stem",
    ["../base", "/tmp/base", "a/b", "a\\b", "..", ".hidden", "", "base\n", "base\0", "C:base", "ba se", 7],
)
def test_a_lender_elsewhere_is_a_damaged_header(path, stem):
    rewrite(path, stem=stem)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert one_sentence(caught, path, "damaged header", "'borrowed'")


@pytest.mark.parametrize(
    "change",
    [{"parts": []}, {"parts": [1]}, {"parts": None}, {"name": None}, {"name": ["os"]}, {"sha256": 5}],
)
def test_a_loan_of_wrong_values_is_a_damaged_header(path, change):
    rewrite(path, **change)
    with pytest.raises(CheckpointError, match="damaged header: its 'borrowed'"):
        load_checkpoint(path)


@pytest.mark.parametrize("loan", [None, [], "base", {}, {"name": "lender-test"}])
def test_a_loan_that_is_none_is_a_damaged_header(path, lender, loan):
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["tosc_env"])
    save_file(
        {"down": torch.zeros(128, 10)}, path, metadata={"tosc_env": json.dumps({**header, "borrowed": loan})}
    )
    with pytest.raises(CheckpointError, match="damaged header: its 'borrowed'"):
        read_header(path)


def test_a_file_cannot_borrow_from_itself(path):
    rewrite(path, stem="receiver", name="receiver-test")
    with pytest.raises(CheckpointError, match="lends other tensors"):
        load_checkpoint(path)


# -- what cannot be saved so ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "options", "told"),
    [
        (Borrower(seed=4), {"without": ("up",)}, "'up' is not the policy's own"),
        (Borrower(seed=3), {"without": ("upp",)}, "unknown part 'upp', did you mean 'up'"),
        (Borrower(seed=3), {"without": ("up", "down")}, "'down' is not the policy's own"),
        (Borrower(seed=3), {}, "give both"),
    ],
)
def test_what_the_lender_has_not_is_not_left_out(tmp_path, lender, policy, options, told):
    path = tmp_path / "new.safetensors"
    with pytest.raises(InputError) as caught:
        save_checkpoint(path, policy, CARD, half=True, lender=lender, **options)
    assert one_sentence(caught, told) and not path.exists()


def test_parts_are_not_left_out_without_a_lender_beside(tmp_path, lender):
    inside = tmp_path / "folder"
    with pytest.raises(InputError, match="give both"):
        save_checkpoint(tmp_path / "new.safetensors", Borrower(seed=3), CARD, without=("up",))
    for place, whose in ((inside / "new.safetensors", lender), (lender, lender)):
        with pytest.raises(InputError, match="another file in the folder"):
            save_checkpoint(place, Borrower(seed=3), CARD, without=("up",), lender=whose)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        save_checkpoint(
            tmp_path / "new.safetensors", Borrower(seed=3), CARD, without=("up",), lender=tmp_path / "none"
        )
    assert sorted(tmp_path.iterdir()) == [lender]


def test_a_lender_whose_name_no_header_may_hold_is_refused(tmp_path, lender):
    odd = lender.rename(tmp_path / "my base.safetensors")
    with pytest.raises(InputError, match=r"not 'my base\.safetensors'"):
        save_checkpoint(tmp_path / "new.safetensors", Borrower(seed=3), CARD, without=("up",), lender=odd)


# -- digest and loan --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        {"b": torch.arange(6.0)},
        {"a": torch.arange(6.0).reshape(2, 3)},
        {"a": torch.arange(6.0).double()},
        {"a": torch.arange(6.0), "b": torch.zeros(0)},
        {"a": torch.arange(6.0).nextafter(torch.tensor(9.0))},
    ],
)
def test_a_digest_tells_names_shapes_types_and_values_apart(other):
    assert digest(other) != digest({"a": torch.arange(6.0)})


def test_a_digest_is_of_the_values_whatever_their_layout():
    value = torch.arange(6.0).reshape(2, 3)
    assert digest({"a": value.T.contiguous().T}) == digest({"a": value})
    assert len(digest({"a": torch.tensor(3)})) == 64


def test_a_loan_covers_a_part_and_what_is_in_it_and_comes_back_from_plain_values():
    loan = Loan.from_plain(PLAIN)
    assert loan.plain() == PLAIN and Loan.from_plain(json.loads(json.dumps(loan.plain()))) == loan
    assert loan.covers("up") and loan.covers("up.0.weight") and not loan.covers("upper.weight")

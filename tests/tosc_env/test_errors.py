"""Errors are one sentence, one family, and the built-in kind that people expect."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from tosc_env import errors
from tosc_env.io.files import WriteError


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.InputError, ValueError),
        (errors.DataError, OSError),
        (errors.CheckpointError, OSError),
        (errors.DeniedError, PermissionError),
        (errors.TrainingError, RuntimeError),
        (WriteError, OSError),
    ],
)
def test_every_error_is_of_the_family_and_of_the_builtin_kind(kind, builtin):
    error = kind("one sentence.")
    assert isinstance(error, errors.ToscError) and isinstance(error, builtin)
    assert str(error) == "one sentence."


def test_an_unknown_name_gets_the_closest_match_and_everything_allowed():
    sentence = str(errors.unknown("scheme", "lbqv", ["lbvq", "ibal"]))
    assert sentence == "unknown scheme 'lbqv', did you mean 'lbvq'? Available: ibal, lbvq."


def test_an_unknown_name_unlike_any_gets_the_list_alone():
    assert str(errors.unknown("scheme", "zzz", ["lbvq"])) == "unknown scheme 'zzz'; available: lbvq."
    assert str(errors.unknown("scheme", "zzz", [])) == "unknown scheme 'zzz'; available: none."


def test_a_name_that_is_no_string_is_an_input_error_too():
    assert isinstance(errors.unknown("scheme", None, ["lbvq"]), errors.InputError)


class NoText:
    def __repr__(self):
        raise RuntimeError("no text")


@pytest.mark.parametrize("kind", [errors.InputError, errors.DataError, WriteError])
def test_an_error_is_one_line_that_keeps_both_its_ends(kind):
    text = str(kind(f"size must be even, not\n {'7' * 900}\u2028which is allowed."))
    assert len(text) == errors.LONGEST and len(text.splitlines()) == 1
    assert [str(kind(text)) for text in ("a\n", "\na", "")] == ["a", " a", ""], "also where a line ends alone"
    assert text.startswith("size must be even, not 777") and text.endswith("777 which is allowed.")


def test_no_sentence_holds_what_a_terminal_obeys():
    assert str(errors.DataError("\x1b[2J of \x9b2J \ud800\x07.")) == "\ufffd[2J of \ufffd2J \ufffd\ufffd."


def test_an_error_survives_pickling():
    """As it must from a worker process."""
    error = pickle.loads(pickle.dumps(errors.DataError("x" * 400)))
    assert type(error) is errors.DataError and str(error) == str(errors.DataError("x" * 400))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("a\nb", r"'a\nb'"),
        (NoText(), "<an object of the class NoText>"),
        ([NoText()], "[<an object of the class NoText>]"),
        (10**5000, "<an object of the class int>"),
        (torch.ones(2, 3), "Tensor of torch.float32 [2, 3]"),
        (np.ma.masked_array(np.arange(4.0), [1, 0, 0, 1]), "MaskedArray of float64 [4]"),
        (np.float64(2), "np.float64(2.0)"),
        (b"0123", "bytes"),
        (int, "<class 'int'>"),
    ],
    ids=["lines", "no text", "within", "digits", "tensor", "masked", "scalar", "bytes", "class"],
)
def test_any_value_is_shown_in_a_line(value, told):
    assert errors.shown(value) == told


def test_a_value_without_end_is_shown_in_a_line():
    endless: list = []
    endless.append(endless)
    twice: list = []
    twice += [twice, twice]  # would take for ever
    for value in (
        endless,
        twice,
        {"a": twice},
        ["x" * 50] * 10**5,
        {i: i for i in range(10**5)},
        "ü" * 10**6,
        torch.nn.Linear(2, 2),
    ):
        text = errors.shown(value)
        assert len(text) <= errors.LONGEST_VALUE and len(text.splitlines()) == 1


def test_of_too_many_names_the_nearest_are_listed():
    names = [f"attacker-{i}" for i in range(100)]
    text = str(errors.unknown("eavesdropper", "atacker-77", names))
    assert "did you mean 'attacker-77'? Available: " in text and "attacker-7," in text
    assert " more." in text and len(text) < errors.LONGEST

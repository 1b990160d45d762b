"""Errors are one sentence, one family, and the built-in kind that people expect."""

from __future__ import annotations

import pytest

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

"""Objects are built from names and plain options, and every mistake is one sentence."""

from __future__ import annotations

import pytest
import torch
from refusals import refused

from tosc_env.errors import DataError, InputError
from tosc_env.options import (
    LARGEST,
    build,
    check_count,
    check_number,
    check_options,
    check_positive,
    check_weight,
    named_options,
    shown,
)
from tosc_env.registry import Registry


class Lamp:
    def __init__(self, room: str, *, watts: int = 40, colour: str = "white") -> None:
        self.room, self.watts, self.colour = room, watts, colour


@pytest.fixture
def lamps():
    table = Registry("lamp")
    table.register("plain")(Lamp)
    return table


def test_a_name_is_built_with_its_options_and_an_object_handed_back(lamps):
    lamp = build(lamps, Lamp, "plain", {"watts": 60}, "hall")
    assert (lamp.room, lamp.watts) == ("hall", 60)
    assert build(lamps, Lamp, lamp, {}, "kitchen") is lamp
    check_options(lambda **anything: None, "free", {"x": 1})  # what takes anything is not second-guessed


def test_what_cannot_be_built_is_refused(lamps):
    def needy(room, *, names):
        return Lamp(room)

    lamps.register("needy")(needy)
    for given, options, words in (
        (Lamp("hall"), {"watts": 3}, "['watts']"),
        (3, {}, "name Lamp 3"),
        (Lamp, {}, "name Lamp"),
        (["plain"], {}, "name Lamp ['plain']"),
        ("plain", {"wats": 3}, "'plain' 'wats' watts colour"),
        ("plain", {"room": "attic"}, "'room' watts colour"),  # which the builder gives itself
        ("needy", {}, "'needy' 'names'"),
        ("plain:watts=60", {}, "{'name': 'plain', option: value}"),
        ("plane:watts=60", {}, "'plane:watts=60'"),
    ):
        with refused(words):
            build(lamps, Lamp, given, options, "hall")
    with refused("'size'"):
        check_options(lambda *, size, **anything: None, "free", {"x": 1})


KEY = "5a" * 32
"""What no message may show."""


def test_whatever_a_factory_makes_of_its_options_is_one_sentence(lamps):
    for error in (RuntimeError("a\n  b."), AttributeError("no x"), KeyError(), OverflowError("9")):

        def broken(room, *, watts, error=error):
            raise error

        lamps.register(type(error).__name__)(broken)
        with refused(f"'{type(error).__name__}' watts=-1"):
            build(lamps, Lamp, type(error).__name__, {"watts": -1}, "hall")


@pytest.mark.parametrize("kind", [InputError, DataError])
def test_what_a_factory_itself_says_is_said_without_a_key(lamps, kind):
    @lamps.register("strict")
    def strict(room, *, colour):
        raise kind(f"colour must be red, not {colour}.")

    for colour, told in ((KEY, "colour must be red, not ...."), ("blue", "colour must be red, not blue.")):
        with pytest.raises(kind) as caught:
            build(lamps, Lamp, "strict", {"colour": colour}, "hall")
        assert str(caught.value) == told


@pytest.mark.parametrize(
    "value",
    [
        KEY,
        f"keyed:key:{KEY}",
        ["keyed", {"key": KEY}],
        ("keyed", [KEY, {"key": {"key": KEY}}]),
        {"stages": [{"name": "keyed", "key": "short"}]},
        "keyed:key=short",
        ["plain:KEY:short,watts=1"],
        {KEY: 1},
        {KEY},
        KEY.encode(),
        bytes.fromhex(KEY),
    ],
    ids=repr,
)
def test_no_message_shows_a_key_however_deep_it_lies(lamps, value):
    assert KEY not in repr(shown(value)) and "short" not in repr(shown(value))
    for name, options in ((value, {}), ("plain", {"watts": 1, "colour": value, "volume": 1})):
        with pytest.raises(InputError) as caught:
            build(lamps, Lamp, name, options, "hall")
        assert KEY not in str(caught.value)


def test_options_are_a_dictionary_of_their_own_and_anything_else_is_refused():
    for wrong in (5, "watts", [1], {1: 2}, {"spec": 1}, {"stages": []}, KEY):
        with refused("scheme_kwargs") as caught:
            named_options("scheme_kwargs", wrong)
        assert KEY not in str(caught.value)
    given = {"watts": 60}
    assert named_options("lamp_kwargs", given) == given and named_options("lamp_kwargs", given) is not given
    assert named_options("lamp_kwargs", None) == {}
    assert named_options("task_kwargs", {"spec": 1}, beside=("task",)) == {"spec": 1}


def test_a_number_is_one_that_float32_holds_and_a_count_a_whole_one_from_1_on():
    for check in (check_positive, check_weight, check_number):
        assert check(LARGEST, "x") == LARGEST and torch.full((), check(1, "x")) == 1
        for value in (1e39, float("inf"), float("nan"), "1", [1], True, None, KEY):
            with refused("x") as caught:
                check(value, "x")
            assert KEY not in str(caught.value)
        with pytest.raises(InputError):
            check(10**400, "x")
    with refused("1.18e-38 3.4e+38 1e-300"):
        check_positive(1e-300, "x")
    for value in (1.5, "1", -1, True, KEY):
        with refused("x 1") as caught:
            check_count(value, "x")
        assert KEY not in str(caught.value)

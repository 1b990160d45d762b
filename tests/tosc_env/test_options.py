"""Objects are built from names and plain options, and every mistake is one sentence."""

from __future__ import annotations

import pytest
import torch

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


def test_a_name_is_built_with_its_options(lamps):
    lamp = build(lamps, Lamp, "plain", {"watts": 60}, "hall")
    assert (lamp.room, lamp.watts) == ("hall", 60)


def test_an_object_is_handed_back_and_takes_no_options(lamps):
    lamp = Lamp("hall")
    assert build(lamps, Lamp, lamp, {}, "kitchen") is lamp
    with pytest.raises(InputError, match=r"a ready lamp takes no further options, but \['watts'\]"):
        build(lamps, Lamp, lamp, {"watts": 3}, "hall")


@pytest.mark.parametrize("value", [3, None, Lamp, ["plain"]])
def test_neither_name_nor_object_is_refused(lamps, value):
    with pytest.raises(InputError, match="given as a name or a Lamp"):
        build(lamps, Lamp, value, {}, "hall")


def test_an_unknown_option_names_those_there_are(lamps):
    with pytest.raises(InputError, match=r"'plain' has no option 'wats'; its options are: watts, colour."):
        build(lamps, Lamp, "plain", {"wats": 3}, "hall")


def test_what_the_builder_gives_itself_is_no_option(lamps):
    """Else the user's value would meet the builder's in a bare TypeError."""
    with pytest.raises(InputError, match=r"has no option 'room'; its options are: watts, colour."):
        build(lamps, Lamp, "plain", {"room": "attic"}, "hall")


def test_a_missing_option_is_named(lamps):
    def needy(room, *, names):
        return Lamp(room)

    lamps.register("needy")(needy)
    with pytest.raises(InputError, match=r"'needy' needs the option 'names'; its options are: names."):
        build(lamps, Lamp, "needy", {}, "hall")


def test_a_factory_that_takes_anything_is_not_second_guessed():
    check_options(lambda **anything: None, "free", {"x": 1})
    with pytest.raises(InputError, match="needs the option 'size'"):
        check_options(lambda *, size, **anything: None, "free", {"x": 1})


KEY = "5a" * 32
"""What no message may show."""


def one_sentence(caught, *parts) -> bool:
    text = str(caught.value)
    return "\n" not in text and text.endswith(".") and KEY not in text and all(part in text for part in parts)


@pytest.mark.parametrize(
    "error", [RuntimeError("a\n  b."), AttributeError("no x"), KeyError(), OverflowError("9")]
)
def test_whatever_a_factory_makes_of_its_options_is_one_sentence(lamps, error):
    @lamps.register("broken")
    def broken(room, *, watts):
        raise error

    with pytest.raises(InputError) as caught:
        build(lamps, Lamp, "broken", {"watts": -1}, "hall")
    assert one_sentence(caught, "the lamp 'broken' cannot be made with watts=-1: ")


@pytest.mark.parametrize("kind", [InputError, DataError])
def test_what_a_factory_itself_says_is_said_without_a_key(lamps, kind):
    @lamps.register("strict")
    def strict(room, *, colour):
        raise kind(f"colour must be red, not {colour}.")

    for colour, told in ((KEY, "colour must be red, not ...."), ("blue", "colour must be red, not blue.")):
        with pytest.raises(kind) as caught:
            build(lamps, Lamp, "strict", {"colour": colour}, "hall")
        assert str(caught.value) == told


def test_options_in_the_form_of_the_command_line_are_told_the_other(lamps):
    with pytest.raises(InputError) as caught:
        build(lamps, Lamp, "plain:watts=60", {}, "hall")
    assert one_sentence(caught, "a lamp with options is written {'name': 'plain', option: value}")
    with pytest.raises(InputError, match="unknown lamp 'plane:watts=60'"):
        build(lamps, Lamp, "plane:watts=60", {}, "hall")


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


@pytest.mark.parametrize("given", [5, "watts", [1], {1: 2}, {"spec": 1}, {"stages": []}, KEY])
def test_what_is_no_dictionary_of_options_is_one_sentence(given):
    with pytest.raises(InputError) as caught:
        named_options("scheme_kwargs", given)
    assert one_sentence(caught, "scheme_kwargs")


def test_options_come_as_a_dictionary_of_their_own():
    given = {"watts": 60}
    assert named_options("lamp_kwargs", given) == given and named_options("lamp_kwargs", given) is not given
    assert named_options("lamp_kwargs", None) == {}
    assert named_options("task_kwargs", {"spec": 1}, beside=("task",)) == {"spec": 1}


@pytest.mark.parametrize("check", [check_positive, check_weight, check_number])
def test_a_number_is_one_that_float32_holds(check):
    assert check(LARGEST, "x") == LARGEST and torch.full((), check(1, "x")) == 1
    for value in (1e39, 10**400, float("inf"), float("nan"), "1", [1], True, None, KEY):
        with pytest.raises(InputError) as caught:
            check(value, "x")
        assert one_sentence(caught, "x must be a")
    with pytest.raises(InputError, match=r"from 1\.18e-38 to 3\.4e\+38, which float32 holds, not 1e-300"):
        check_positive(1e-300, "x")
    for value in (1.5, "1", -1, True, KEY):
        with pytest.raises(InputError) as caught:
            check_count(value, "x")
        assert one_sentence(caught, "x must be a whole number of at least 1")

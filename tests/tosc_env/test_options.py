"""Objects are built from names and plain options, and every mistake is one sentence."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pytest
import torch

from tosc_env.errors import DataError, InputError, shown
from tosc_env.options import (
    LARGEST,
    Positive,
    Share,
    Size,
    build,
    check_count,
    check_fields,
    check_number,
    check_options,
    check_positive,
    check_spec,
    check_weight,
    checked,
    named_options,
)
from tosc_env.registry import Registry
from tosc_env.types import SystemSpec


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


# -- what a type hint allows


@dataclass
class Setting:
    size: Size = 32
    rate: Positive = 0.1
    drop: Share = 0.0
    names: Sequence[str] | None = None
    sides: tuple[int, int] = (1, 2)
    mode: Literal["a", "b"] = "a"
    bold: bool = False
    table: Mapping[str, float] = field(default_factory=dict)
    at: Callable[..., int] | None = None

    def __post_init__(self):
        check_fields(self)


def test_numpys_scalars_become_pythons():
    """A card and JSON know no others."""
    setting = Setting(
        size=np.int64(4),
        rate=np.float32(0.5),
        bold=np.True_,
        mode=np.str_("b"),
        sides=[np.int8(3), 4],
        names=(np.str_("x"),),
    )
    values = [setting.size, setting.rate, setting.bold, setting.mode, *setting.sides, *setting.names]
    assert values == [4, 0.5, True, "b", 3, 4, "x"]
    assert [type(value) for value in values] == [int, float, bool, str, int, int, str]


def test_what_fits_stays_the_very_object_that_was_given():
    given = {"names": ["a", "b"], "table": {"x": 1}, "sides": (3, 4)}
    setting = Setting(**given)
    assert all(getattr(setting, name) is value for name, value in given.items())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"size": 0}, "size must be a whole number from 1 to 16384, not 0."),
        ({"size": True}, "size must be a whole number from 1 to 16384, not True."),
        ({"size": 4.0}, "not 4.0."),
        ({"rate": 0}, "rate must be a finite number from 1.18e-38 to 3.4e+38, not 0."),
        ({"rate": float("nan")}, "not nan."),
        ({"drop": 1.5}, "drop must be a finite number from 0 to 1, not 1.5."),
        ({"drop": 10**400}, "drop must be a finite number from 0 to 1, not 1000"),
        ({"names": "abc"}, "names must be a list of strings or None, not 'abc'."),
        ({"names": ["a", 1]}, "names must be a list of strings or None, not ['a', 1]."),
        ({"sides": [1]}, "sides must be 2 of a whole number, not [1]."),
        ({"mode": "c"}, "mode must be 'a' or 'b', not 'c'."),
        ({"bold": 1}, "bold must be True or False, not 1."),
        ({"table": {1: 2}}, "table must be a dictionary of names and values, not {1: 2}."),
        ({"at": 5}, "at must be a function or None, not 5."),
    ],
    ids=repr,
)
def test_what_a_hint_does_not_allow_is_one_sentence(change, told):
    with pytest.raises(InputError) as caught:
        Setting(**change)
    assert told in str(caught.value) and one_sentence(caught)


def test_a_checked_function_gets_what_its_hints_say():
    @checked
    def train(what, *, epochs: Size = 3, loose: "nothing that there is" = None, **more: int):  # noqa: F722
        return what, epochs, loose, more

    assert train(1j, epochs=np.int64(2), loose=1j, other="x") == (1j, 2, 1j, {"other": "x"})
    with pytest.raises(InputError, match="epochs must be a whole number"):
        train(1, epochs="x")
    assert inspect.signature(train).parameters["epochs"].default == 3


def test_options_are_checked_before_anything_is_built(lamps):
    with pytest.raises(InputError, match=r"watts must be a whole number, not 'bright'"):
        build(lamps, Lamp, "plain", {"watts": "bright"}, "hall")
    assert type(build(lamps, Lamp, "plain", {"watts": np.int64(3)}, "hall").watts) is int


def test_an_option_that_is_called_a_key_is_never_shown(lamps):
    @lamps.register("locked")
    def locked(room, *, key: str):
        return Lamp(room)

    with pytest.raises(InputError, match="key must be a string, not what was given"):
        build(lamps, Lamp, "locked", {"key": [1234]}, "hall")


@pytest.mark.parametrize(
    "change",
    [
        {"image_shape": [3, 32]},
        {"image_shape": (0, 8, 8)},
        {"num_outputs": 0},
        {"num_symbols": 2**21},
        {"binary": 1},
    ],
)
def test_shapes_of_a_system_are_checked_where_something_is_made_for_them(change):
    with pytest.raises(InputError) as caught:
        check_spec(SystemSpec(**{"image_shape": (3, 8, 8), "num_outputs": 2, **change}))
    assert one_sentence(caught, next(iter(change)))


def test_shapes_are_kept_as_a_tuple():
    """Or else they would not equal those of a game."""
    assert check_spec(SystemSpec([3, np.int64(8), 8], 2)).image_shape == (3, 8, 8)

"""Objects are built from names and plain options, and every mistake is one sentence."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pytest
import torch
from refusals import refused

from tosc_env.errors import DataError, InputError, shown
from tosc_env.options import (
    LARGEST,
    Positive,
    Share,
    Size,
    build,
    check_annotated,
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
        ("plain:watts=60", {}, "'plain:watts=60' plain"),
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

    def unannotated(count=1): ...

    assert type(check_annotated(unannotated, {"count": np.int64(3)})["count"]) is int


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
        ({"sides": [1]}, "sides must be a list of 2 whole numbers, not [1]."),
        ({"mode": "c"}, "mode must be 'a' or 'b', not 'c'."),
        ({"bold": 1}, "bold must be True or False, not 1."),
        (
            {"table": {1: 2}},
            "table must be a dictionary of names and values, each a finite number, not {1: 2}.",
        ),
        ({"at": 5}, "at must be a function or None, not 5."),
    ],
    ids=repr,
)
def test_what_a_hint_does_not_allow_is_one_sentence(change, told):
    with pytest.raises(InputError) as caught:
        Setting(**change)
    assert told in str(caught.value)


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
    with refused(next(iter(change))):
        check_spec(SystemSpec(**{"image_shape": (3, 8, 8), "num_outputs": 2, **change}))


def test_shapes_are_kept_as_a_tuple():
    """Or else they would not equal those of a game."""
    assert check_spec(SystemSpec([3, np.int64(8), 8], 2)).image_shape == (3, 8, 8)

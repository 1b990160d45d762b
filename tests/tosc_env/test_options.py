"""Objects are built from names and plain options, and every mistake is one sentence."""

from __future__ import annotations

import pytest

from tosc_env.errors import InputError
from tosc_env.options import build, check_options
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

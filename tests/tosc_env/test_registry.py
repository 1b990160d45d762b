"""Registries: a decorator, and entry points that are loaded only when their name is asked for."""

from __future__ import annotations

import pytest
from refusals import refused

from tosc_env import registry as module
from tosc_env.registry import Registry


class Entry:
    """A fake entry point that counts how often it is loaded."""

    def __init__(self, name, load):
        self.name, self.value, self._load, self.loads = name, f"stranger.package:{name}", load, 0

    def load(self):
        self.loads += 1
        return self._load()


class Red: ...


class Blue: ...


@pytest.fixture
def colours():
    return Registry("colour")


@pytest.fixture
def plugged(monkeypatch):
    """A registry whose group declares one entry point."""
    entry = Entry("blue", lambda: Blue)
    monkeypatch.setattr(module, "entry_points", lambda group: (entry,) if group == "shop.colours" else ())
    return Registry("colour", group="shop.colours"), entry


def test_a_registered_class_is_found_by_name_and_handed_back_by_the_decorator(colours):
    assert colours.register("red")(Red) is Red
    assert colours.register("red")(Red) is Red, "again, which is harmless"
    assert colours["red"] is Red and "red" in colours and list(colours) == ["red"]
    assert colours.origin("red").endswith(":Red")


def test_a_name_that_is_taken_none_or_unknown_is_refused(plugged):
    colours, entry = plugged
    colours.register("red")(Red)
    with refused("'red' :Red"):
        colours.register("red")(Blue)
    for name in ("", None, 3):
        with refused("string"):
            colours.register(name)
    for ask in (colours.__getitem__, colours.origin):
        with refused("colour 'bleu' 'blue' blue, red"):
            ask("bleu")
    assert colours["red"] is Red and entry.loads == 0


def test_an_entry_point_is_listed_without_being_loaded_and_loaded_once(plugged):
    colours, entry = plugged
    assert (
        list(colours) == ["blue"] and "blue" in colours and colours.origin("blue") == "stranger.package:blue"
    )
    assert entry.loads == 0
    assert colours["blue"] is Blue and colours["blue"] is Blue
    assert entry.loads == 1


def test_an_entry_point_whose_module_registers_itself_is_no_conflict(monkeypatch):
    colours = Registry("colour", group="shop.colours")
    entry = Entry("red", lambda: colours.register("red")(Red))
    monkeypatch.setattr(module, "entry_points", lambda group: (entry,))
    assert colours["red"] is Red


def test_a_decorated_class_wins_over_an_entry_point_of_its_name(plugged):
    colours, entry = plugged
    colours.register("blue")(Red)
    assert colours["blue"] is Red and entry.loads == 0


def test_a_registry_without_a_group_asks_for_no_entry_points(monkeypatch):
    monkeypatch.setattr(module, "entry_points", lambda group: pytest.fail("asked"))
    assert list(Registry("colour")) == []


class Named:
    """A kind of things with names."""

    name = ""


def test_a_class_without_a_name_is_called_as_it_is_registered(monkeypatch):
    """By a decorator or an entry point; a subclass does not keep its parent's."""

    class Plain(Named): ...

    class Own(Named):
        name = "own"

    class Child(Own): ...

    class Declared(Named): ...

    things = Registry("thing", group="shop.things")
    monkeypatch.setattr(module, "entry_points", lambda group: (Entry("declared", lambda: Declared),))
    for name, cls in (("plain", Plain), ("other", Own), ("child", Child)):
        assert things.register(name)(cls) is cls
    assert things["declared"] is Declared
    assert (Plain.name, Own.name, Child.name, Declared.name) == ("plain", "own", "child", "declared")


def test_what_has_no_names_or_makes_its_own_is_left_alone(colours):
    class Computed:
        @property
        def name(self):
            return "of the object"

    colours.register("red")(Red)
    colours.register("computed")(Computed)
    colours.register("made")(lambda: Red())
    assert not hasattr(Red, "name") and Computed().name == "of the object"

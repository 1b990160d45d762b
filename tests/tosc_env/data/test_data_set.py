"""Laws of a data set: its own declaration is all that anybody else knows of it, be it a class or a plain function."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from refusals import refused

import tosc_env
from tosc_env.data import DataSet, Source, data_set, make_source, register_source, sources, usual_attributes
from tosc_env.data.download import fetch, status
from tosc_env.envs.common import make_system
from tosc_env.errors import DataError

EVERYONE = ("transmitter", "receiver", "eavesdropper")
BUILT_IN = [name for name in sources if sources.origin(name).startswith("tosc_env.")]


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    monkeypatch.setattr(sources, "_table", dict(sources._table))


def images(split, size=9, attributes=("a", "b")):
    facts = {
        "attributes": np.arange(8)[:, None] % 2 * np.ones(len(attributes), int),
        "attribute_names": attributes,
    }
    return Source.from_arrays(np.zeros((8, 1, size, size), np.uint8), name="mine", split=split, **facts)


class Mine(DataSet):
    """Eight grey images in three splits, which are not there."""

    terms = "Mine: nobody's."
    splits = ("train", "valid", "test")
    usual_attributes = ("b", "a")
    usual_kwargs = {"size": 16}  # noqa: RUF012
    stand_in = ("shapes", {"size": "size", "binary_attributes": "attributes"})
    how = "by hand"

    def load(self, split="train", size=9, attributes=("a", "b")):
        return images(split, size, attributes)

    def is_available(self):
        return False


def mine(kind):
    """The same as a class or as a function with attributes."""
    if kind == "class":
        return Mine

    def load(split="train", size=9, attributes=("a", "b")):
        return images(split, size, attributes)

    for fact in ("terms", "splits", "usual_attributes", "usual_kwargs", "stand_in", "how"):
        setattr(load, fact, getattr(Mine, fact))
    load.is_available = lambda: False
    return load


@pytest.mark.parametrize("kind", ["class", "function"])
def test_a_class_and_a_function_with_attributes_say_the_same(kind):
    register_source("mine")(mine(kind))
    data = data_set("mine")
    assert (data.name, data.terms, data.how) == ("mine", "Mine: nobody's.", "by hand")
    assert data.options() == ["size", "attributes"] and not data.is_available()
    assert usual_attributes("mine") == ("b", "a") and usual_attributes("yours") == ()
    assert make_source("mine", split="valid").image_shape == (1, 9, 9)
    with refused("split 'train' 'valid' 'test' 'dev'"):
        make_source("mine", split="dev")
    with refused("'mine' 'sise' size, attributes"):
        make_source("mine", sise=4)
    with refused("mine by hand"):
        fetch("mine")
    row = next(row for row in status() if row["name"] == "mine")
    assert (row["present"], row["images"], row["official"], row["how"]) == (False, None, "unknown", "by hand")


@pytest.mark.parametrize("kind", ["class", "function"])
def test_an_environment_plays_its_usual_task_at_its_usual_size_or_what_stands_in(kind):
    register_source("mine")(mine(kind))
    real = make_system("mine", EVERYONE, {"data": "mine"}, ())
    assert real.game.source.name == "mine" and real.game.source.attribute_names == ("b", "a")
    with pytest.warns(UserWarning, match="mine was not found .* embedded shapes images stand in"):
        played = make_system("mine", EVERYONE, {}, ())
    assert played.stand_in and played.game.source.name == "shapes"
    for data in ("mine", "auto"):
        with refused("'mine' 'sise'"):
            make_system("mine", EVERYONE, {"data": data, "data_kwargs": {"sise": 8}}, ())
    for system in (real, played):
        assert system.game.task.labels == ("b", "a") and system.game.source.image_shape[1:] == (16, 16)


def test_without_a_stand_in_what_is_missing_is_an_error():
    def load(split="train"):
        raise DataError("mine was not found.")

    load.is_available = lambda: False
    register_source("mine")(load)
    with refused("mine", DataError):
        make_system("mine", EVERYONE, {}, ())


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_stands_in_is_always_there_and_takes_what_it_is_given(name):
    data = data_set(name)
    assert data.name == name and data.terms and data.how != DataSet.how and data.splits[0] == "train"
    assert set(data.usual_kwargs) <= set(data.options())
    if data.stand_in is not None:
        embedded, taken = data.stand_in
        assert data_set(embedded).is_available() and data_set(embedded).stand_in is None
        assert set(taken) <= set(data_set(embedded).options()) and set(taken.values()) <= set(data.options())


def test_no_other_module_names_a_data_set():
    """Docstrings may, as examples do."""
    root = Path(tosc_env.__file__).parent
    theirs = {root.parent / f"{sources.origin(name).split(':')[0].replace('.', '/')}.py" for name in BUILT_IN}
    naming = set()
    for path in set(root.rglob("*.py")) - theirs:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and node.value in BUILT_IN:
                naming.add(path.relative_to(root).as_posix())
    assert len(theirs) == 4 and not naming

"""Environment ids come from entry points, of this package and of strangers', without anything being loaded."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints

import gymnasium as gym
import pytest
from refusals import refused

from tosc_env import registration
from tosc_env.registration import data_of, environments, register_all


@pytest.fixture
def declared(monkeypatch):
    """A stranger's package that is not there to be loaded: one environment on its data set, and one on nothing."""
    points = [
        EntryPoint("mine", "nowhere:MINE", "tosc_env.sources"),
        EntryPoint("ToSC-Mine-v0", "nowhere:MINE", "tosc_env.environments"),
        EntryPoint("ToSC-Lost-v0", "nowhere:LOST", "tosc_env.environments"),
    ]
    monkeypatch.setattr(registration, "entry_points", lambda: EntryPoints(points))
    yield
    gym.registry.pop("ToSC-Mine-v0", None)


def test_a_declared_id_is_registered_with_the_name_of_its_data_set(declared):
    with pytest.warns(UserWarning, match="ToSC-Lost-v0 is declared on nowhere:LOST, which is no data set"):
        register_all()
    assert environments()["ToSC-Mine-v0"] == "mine" and data_of("ToSC-Mine-v0") == {"data_id": "mine"}
    assert "ToSC-Lost-v0" not in environments()


@pytest.mark.filterwarnings("ignore:.*ToSC-Lost-v0.*")
def test_registering_again_changes_nothing(declared):
    register_all()
    before = dict(gym.registry)
    register_all()
    assert dict(gym.registry) == before


def test_an_id_of_somebody_else_is_none_of_ours():
    assert "CartPole-v1" in gym.registry
    with refused("'CartPole-v1'"):
        data_of("CartPole-v1")

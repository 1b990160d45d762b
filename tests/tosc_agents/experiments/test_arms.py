"""A stranger's arm takes part in the experiments when it is named, without a change in this package."""

from dataclasses import replace

import pytest
from tiny_preset import tiny
from tosc_agents.experiments import arms, canvas
from tosc_agents.experiments.arms import Arm, arm, register_arm
from tosc_agents.experiments.cells import Store
from tosc_agents.experiments.reproduction import Reproduction

from tosc_env.errors import InputError


@pytest.fixture
def mine(monkeypatch):
    monkeypatch.setattr(arms.others, "_table", {})

    @register_arm("mine")
    def mine():
        recipe = {"scheme": "deepjscc", "epochs": 1, "batch_size": 50, "flip": False, "cutout": 0}
        return Arm("mine", "My scheme", "my-training", "deepjscc", recipe=recipe)

    return mine


def test_a_registered_arm_is_trained_attacked_and_drawn(mine, tmp_path):
    preset = replace(tiny(), trainings=1)
    whole = Reproduction(preset, arms=("mine", "deepjscc"))
    assert whole.arms == ("deepjscc", "mine")
    store = Store(tmp_path / "cells", quiet=True)
    store.run(whole.cells("fig3"))
    found = whole.findings(store, tmp_path)[1]
    assert {row.arm for row in found.rows} == {"deepjscc", "mine"}
    assert {row.attacker for row in found.rows if row.arm == "mine"} >= {"linear", "nearest-symbols"}
    assert "My scheme" in [row[0] for row in found.tables[0].rows]
    assert canvas.style("mine") == canvas.style("mine")
    assert "mine" not in Reproduction(preset).arms  # only when it is named


def test_what_a_stranger_forgets_is_said(monkeypatch):
    monkeypatch.setattr(arms.others, "_table", {})
    register_arm("a")(lambda: Arm("b", "B", "baseline", "deepjscc"))
    register_arm("c")(lambda: Arm("c", "C", "none", "deepjscc"))
    with pytest.raises(InputError, match="registered as 'a' calls itself 'b'"):
        arm("a")
    with pytest.raises(InputError, match="needs a recipe for its training 'none'"):
        arm("c")
    with pytest.raises(InputError, match=r"'d'.*deepjscc"):
        arm("d")

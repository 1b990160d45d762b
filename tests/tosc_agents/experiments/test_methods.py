"""A stranger's method takes part in the experiments when it is named, without a change in this package."""

from dataclasses import replace

import pytest
from tiny_preset import tiny
from tosc_agents.experiments import charts, methods
from tosc_agents.experiments.jobs import RunCache
from tosc_agents.experiments.measurements import read
from tosc_agents.experiments.methods import Method, method, register_method
from tosc_agents.experiments.reproduction import Reproduction

from tosc_env.errors import InputError


@pytest.fixture
def mine(monkeypatch):
    monkeypatch.setattr(methods.others, "_table", {})

    @register_method("mine")
    def mine():
        recipe = {"scheme": "deepjscc", "epochs": 1, "batch_size": 50, "flip": False, "cutout": 0}
        return Method("mine", "My scheme", "my-training", "deepjscc", recipe=recipe)

    return mine


def test_a_registered_method_is_trained_attacked_and_drawn(mine, tmp_path):
    preset = replace(tiny(), trainings=1)
    whole = Reproduction(preset, methods=("mine", "deepjscc"))
    assert whole.methods == ("deepjscc", "mine")
    cache = RunCache(tmp_path / "jobs", quiet=True)
    cache.run(whole.jobs("fig3"))
    whole.report(cache, tmp_path)
    table = read(tmp_path / "results.csv")
    assert set(table[table.metric == "accuracy"].method) == {"deepjscc", "mine"}
    assert set(table[table.method == "mine"].attacker) >= {"linear", "match-query"}
    assert "| My scheme |" in (tmp_path / "report.md").read_text()
    assert charts.style("mine") == charts.style("mine")
    assert "mine" not in Reproduction(preset).methods  # only when it is named


def test_what_a_stranger_forgets_is_said(monkeypatch):
    monkeypatch.setattr(methods.others, "_table", {})
    register_method("a")(lambda: Method("b", "B", "baseline", "deepjscc"))
    register_method("c")(lambda: Method("c", "C", "none", "deepjscc"))
    with pytest.raises(InputError, match="registered as 'a' calls itself 'b'"):
        method("a")
    with pytest.raises(InputError, match="needs a recipe for its training 'none'"):
        method("c")
    with pytest.raises(InputError, match=r"'d'.*deepjscc"):
        method("d")

"""Table 1 runs whole on tiny Shapes: counts are those of the schemes, times add up, ratios stand by the article's."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import pytest
from tosc_agents.complexity import complexity
from tosc_agents.experiments import article
from tosc_agents.experiments.jobs import RunCache
from tosc_agents.experiments.methods import KEYS, method
from tosc_agents.experiments.presets import recipes
from tosc_agents.experiments.sections import pick
from tosc_agents.experiments.table1 import costs
from tosc_agents.experiments.table1 import experiment as table1
from tosc_agents.experiments.table1.section import section

from tosc_env.errors import InputError
from tosc_env.game import GameConfig
from tosc_env.pipeline import make_scheme
from tosc_env.schemes import make_objectives

SETTING = GameConfig("shapes", {"num_images": 72, "size": 16}, num_symbols=16)
NETWORK = {"stem": 4, "widths": [4, 8], "blocks": [0, 0], "receiver_width": 16, "receiver_depth": 1}
SMALLER = {**NETWORK, "stem": 3}
PLAN = {"methods": KEYS, "batch_size": 10, "steps": 2, "repeats": 3, "large": True}
SECONDS = ("seconds_per_epoch", "seconds_per_image", "seconds_batch1")
ADVERSARIES = ("ibal", "lbvq")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """With a stand-in for the larger network, which is too large for a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table1, "LARGE_NETWORK", SMALLER)
        patch.setattr(costs, "SINGLES", 2)
        job = table1.plan(SETTING, NETWORK, recipes(1, 1, 1), **PLAN)
        cache = RunCache(tmp_path_factory.mktemp("table1"), quiet=True)
        cache.run([job])
        result = cache.result(job)
    return result, section(result)


def value(found, figure, key):
    (m,) = pick(found.measurements, figure, method=key)
    return m.mean


def test_there_is_a_row_for_each_distinct_thing_and_none_for_another_budget():
    assert table1.distinct(KEYS) == [key for key in KEYS if not key.endswith(("-0.05", "-0.9"))]
    assert table1.distinct(["dp-cal-0.9", "dp-0.05", "vq"]) == ["deepjscc", "dp-0.1", "dp-cal-0.1", "vq"]
    with pytest.raises(InputError, match="method"):
        table1.distinct(["dp-7"])


@pytest.mark.parametrize(
    ("key", "objectives"),
    [("deepjscc", ()), ("label-only", ()), ("ibal", "adversary"), ("vq", "codebook"), ("lbvq", "adversary")],
)
@pytest.mark.parametrize(("prefix", "network"), [("", NETWORK), ("large_", SMALLER)])
def test_counts_are_those_of_the_scheme(run, key, objectives, prefix, network):
    _, found = run
    if prefix and key not in table1.LARGE:
        assert not pick(found.measurements, f"{prefix}macs", method=key)
        return
    spec = SETTING.game(half="system").spec
    counted = complexity(make_scheme(method(key).scheme, spec, **network), make_objectives(objectives, spec))
    for figure in ("macs", "parameters", "training_parameters"):
        assert value(found, prefix + figure, key) == getattr(counted, figure)


def test_only_a_simulated_adversary_takes_more_parameters_in_training(run):
    _, found = run
    for key in table1.distinct(KEYS):
        more = value(found, "training_parameters", key) - value(found, "parameters", key)
        assert (more > 0) == (key in ADVERSARIES)
    assert value(found, "parameters", "vq") == value(found, "parameters", "lbvq")


def test_seconds_are_medians_of_the_turns_and_an_epoch_has_all_passes(run):
    result, found = run
    assert result["images"] == 36 and result["steps_per_epoch"] == 3
    assert set(result["trainings"]["small ibal"]["seconds"]) == {"adversary", "system"}
    assert set(result["trainings"]["small vq"]["seconds"]) == {"system"}
    for key in table1.distinct(KEYS):
        timed = result["trainings"][f"small {method(key).training}"]["seconds"]
        turns = [3 * sum(parts) for parts in zip(*timed.values(), strict=True)]
        (m,) = pick(found.measurements, "seconds_per_epoch", method=key)
        assert m.mean == median(turns) > 0 and (m.samples, m.over) == (3, "repeats")
        assert all(value(found, figure, key) > 0 for figure in SECONDS)
        single = result["schemes"][f"small {key}"]["seconds_batch1"]
        assert value(found, "seconds_batch1", key) == median(single) and len(single) == 3


def test_who_plays_with_the_baselines_weights_has_its_training(run):
    _, found = run
    epoch = value(found, "seconds_per_epoch", "deepjscc")
    for key in ("label-only", "enc-fixed", "enc-shuffle", "enc-rotation"):
        assert value(found, "seconds_per_epoch", key) == epoch
    assert any("the epoch is the baseline's" in note and "label only" in note for note in found.notes)


def test_a_receiver_that_is_trained_alone_is_timed_as_that_and_as_a_whole(run):
    result, found = run
    for key in ("dp-0.1", "dp-cal-0.1"):
        assert result["trainings"][f"small {method(key).training}"]["receiver_only"]
        assert not result["trainings"][f"small {method(key).training} whole"]["receiver_only"]
        assert value(found, "seconds_per_epoch_whole", key) > 0
        assert any(note.startswith(f"{method(key).label} stands for all budgets") for note in found.notes)
    whole = {key: replace(one, receiver_only=False) for key, one in recipes(1, 1, 1).items()}
    job = table1.plan(SETTING, NETWORK, whole, **{**PLAN, "methods": ["dp-0.1"]})
    assert not job.inputs["recipes"]["dp"]["receiver_only"]


def test_only_the_receiver_learns_where_it_is_timed_alone():
    source = SETTING.source(split="train", half="system")
    timed = costs.TimedTraining(costs.Place(SETTING, source, 10, "float32"), recipes(1, 1, 1)["dp"], NETWORK)
    names = {name.split(".")[2] for name, p in timed._trainee.named_parameters() if p.requires_grad}
    assert timed.receiver_only and names == {"receiver", "told"}


def test_timed_steps_are_steps_of_the_real_training():
    """Every part of a scheme with an adversary learns in them: in its own pass the adversary, then all."""
    source = SETTING.source(split="train", half="system")
    timed = costs.TimedTraining(
        costs.Place(SETTING, source, 10, "float32"), recipes(1, 1, 1)["ibal"], NETWORK
    )
    before = {name: p.detach().clone() for name, p in timed._trainee.named_parameters()}
    assert list(timed.seconds(5)) == ["adversary", "system"]
    moved = {name.split(".")[2] for name, p in timed._trainee.named_parameters() if not p.equal(before[name])}
    assert moved == {"transmitter", "receiver", "adversary"}


def test_the_tables_ratios_are_to_the_baseline_and_stand_beside_the_articles(run):
    result, found = run
    (table,) = found.tables
    column = {name: i for i, name in enumerate(table.columns)}
    assert len(column) == len(table.columns), "every column has a name of its own"
    rows = {row[0]: row for row in table.rows}
    assert list(rows)[: len(table1.distinct(KEYS))] == [method(key).label for key in table1.distinct(KEYS)]
    base = value(found, "seconds_per_epoch", "deepjscc")
    for size, key in (name.split(" ") for name in result["schemes"]):
        row = rows[method(key).label + (", larger network" if size == "large" else "")]
        mine = value(found, ("large_" if size == "large" else "") + "seconds_per_epoch", key)
        assert row[column["epoch: × DeepJSCC"]] == pytest.approx(mine / base, abs=0.006)
    lbvq = rows["LBVQ"]
    assert lbvq[column["article: epoch ×"]] == round(37.30 / 8.23, 2)
    assert lbvq[column["article: image ×"]] == 2.0 and lbvq[column["article: M parameters"]] == 12.61
    assert rows["DP 0.1"][column["article: s per epoch"]] == article.COMPLEXITY["DP"].seconds_per_epoch
    for name in ("label only", "plain VQ", "DeepJSCC, larger network"):
        assert [rows[name][i] for told, i in column.items() if told.startswith("article")] == [None] * 6


def test_the_notes_say_what_machine_how_many_steps_and_which_data(run):
    result, found = run
    told = " ".join(found.notes)
    assert found.experiment == "table1" and found.details == result
    for part in (result["provenance"], result["processor"], "1 threads", "2 steps", "3 steps", "36 images"):
        assert part in told


def test_another_device_is_another_job_and_nonsense_is_refused():
    here, there = (
        table1.plan(SETTING, NETWORK, recipes(1, 1, 1), **PLAN, device=device) for device in ("cpu", "cuda:0")
    )
    assert here.slug != there.slug
    for name in ("batch_size", "steps", "repeats"):
        with pytest.raises(InputError, match=f"{name} must be at least 1, not 0"):
            table1.plan(SETTING, NETWORK, recipes(1, 1, 1), **{**PLAN, name: 0})

"""Table 1 runs whole on tiny Shapes: counts are those of the schemes, times add up, ratios stand by the article's."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import pytest
from tiny_preset import tiny
from tosc_agents.complexity import complexity
from tosc_agents.experiments import table1 as costs
from tosc_agents.experiments.jobs import RunCache
from tosc_agents.experiments.measurements import frame
from tosc_agents.experiments.methods import KEYS, label, method
from tosc_agents.experiments.presets import recipes
from tosc_agents.experiments.systems import Systems
from tosc_agents.experiments.table1 import Table1, distinct

from tosc_env.errors import InputError
from tosc_env.game import GameConfig
from tosc_env.pipeline import make_scheme
from tosc_env.schemes import make_objectives

SETTING = GameConfig("shapes", {"num_images": 72, "size": 16}, num_symbols=16)
NETWORK = {"stem": 4, "widths": [4, 8], "blocks": [0, 0], "receiver_width": 16, "receiver_depth": 1}


PLAN = {"batch_size": 10, "steps": 2, "repeats": 3}


def table1(device="cpu"):
    images = Systems(SETTING, NETWORK, recipes(1, 1, 1))
    preset = replace(tiny(), images=images, timing=PLAN | {"device": device})
    return Table1(preset, KEYS)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(costs, "SINGLES", 2)
        made = table1()
        folder = tmp_path_factory.mktemp("table1")
        cache = RunCache(folder, quiet=True)
        assert made.rows(cache) == []
        cache.run(made.jobs)
    return cache.result(made.jobs[0]), frame(made.rows(cache)), made.section(cache, folder)


def value(table, metric, key):
    (row,) = table[(table.metric == metric) & (table.method == key)].itertuples()
    return row.value


def test_there_is_a_row_for_each_distinct_thing_and_none_for_another_budget():
    assert distinct(KEYS) == [key for key in KEYS if not key.endswith(("-0.05", "-0.9"))]
    with pytest.raises(InputError, match="method"):
        distinct(["dp-7"])


@pytest.mark.parametrize(
    ("key", "objectives"),
    [("deepjscc", ()), ("label-only", ()), ("ibal", "adversary"), ("vq", "codebook"), ("lbvq", "adversary")],
)
def test_counts_are_those_of_the_scheme(run, key, objectives):
    spec = SETTING.game(half="system").spec
    counted = complexity(make_scheme(method(key).scheme, spec, **NETWORK), make_objectives(objectives, spec))
    for metric in ("macs", "parameters", "training_parameters"):
        assert value(run[1], metric, key) == getattr(counted, metric)


def test_seconds_are_medians_of_the_turns_and_who_plays_with_the_baselines_weights_has_its_epoch(run):
    result, table, _ = run
    assert result["images"] == 36 and result["steps_per_epoch"] == 3
    for key, scheme in result["schemes"].items():
        for metric in ("seconds_per_epoch", "seconds_per_image", "seconds_batch1"):
            assert value(table, metric, key) == median(scheme[metric]) > 0 and len(scheme[metric]) == 3
    for key in ("label-only", "enc-fixed", "enc-shuffle", "enc-rotation"):
        assert value(table, "seconds_per_epoch", key) == value(table, "seconds_per_epoch", "deepjscc")


def test_only_the_receiver_learns_where_it_is_trained_alone():
    source = SETTING.source(split="train", half="system")
    timed = costs.TimedTraining(costs.Place(SETTING, source, 10, "float32"), recipes(1, 1, 1)["dp"], NETWORK)
    names = {name.split(".")[2] for name, p in timed._trainee.named_parameters() if p.requires_grad}
    assert names == {"receiver", "told"}


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


def test_the_tables_ratios_are_to_the_baseline_and_stand_beside_the_articles(run, tmp_path):
    _, (table,) = Table1.show(run[1], tmp_path)
    cells = table.cells.set_index("scheme")
    assert list(cells.index) == [label(key) for key in distinct(KEYS)]
    ratio = value(run[1], "seconds_per_epoch", "ibal") / value(run[1], "seconds_per_epoch", "deepjscc")
    assert float(cells.loc["IBAL", "epoch ×"]) == pytest.approx(ratio, abs=0.006)
    assert cells.loc["LBVQ", "article: epoch ×"] == f"{37.30 / 8.23:.2f}"
    assert (
        cells.loc["LBVQ", "article: M parameters"] == "12.61"
        and cells.loc["plain VQ", "article: GFLOPs"] == ""
    )


def test_the_notes_say_what_machine_and_how_many_steps(run):
    result, _, section = run
    told = " ".join(section.notes)
    assert section.data == result["provenance"]
    for part in (result["processor"], "1 threads", "2 steps", "3 steps", "36 images"):
        assert part in told


def test_another_device_is_another_job():
    assert table1().jobs[0].slug != table1("cuda:0").jobs[0].slug

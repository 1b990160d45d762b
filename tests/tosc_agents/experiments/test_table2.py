"""Table 2 runs whole on tiny Shapes: every figure is there, comes from the folds, and stands beside the article's."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import pytest
import torch
from tiny_preset import FACE_NAMES as NAMES
from tiny_preset import FACE_NETWORK as NETWORK
from tiny_preset import faces, tiny
from tosc_agents.experiments import table2 as experiment
from tosc_agents.experiments.jobs import RunCache, order
from tosc_agents.experiments.measurements import FOLDS, frame, over_seeds
from tosc_agents.experiments.methods import method
from tosc_agents.experiments.systems import SCHEME, Recipe, Systems, load_method
from tosc_agents.experiments.table2 import (
    Table2,
    fit_constant,
    measure,
    whole,
    with_constant,
)
from tosc_agents.learning.seeding import weights_from
from tosc_agents.training.evaluate import Figure

from tosc_env.data.base import Source
from tosc_env.errors import CheckpointError, InputError
from tosc_env.exchange import rollout
from tosc_env.game import Game
from tosc_env.io.checkpoints import save_checkpoint
from tosc_env.pipeline import make_scheme

SETTING = faces(80)
DP = {"epsilon_range": [0.01, 30.0], "epsilon": 0.1}
RECIPES = {
    "baseline": Recipe("deepjscc", epochs=1, batch_size=40, cutout=0),
    "lbvq": Recipe("lbvq", epochs=1, batch_size=40, start="baseline", cutout=0),
    "dp": Recipe("dp-laplace", DP, epochs=1, start="baseline", receiver_only=True),
    "dp-calibrated": Recipe(
        "dp-laplace",
        {**DP, "mode": "calibrated", "constant": 0.05},
        epochs=1,
        start="baseline",
        receiver_only=True,
    ),
}
METHODS = ("deepjscc", "label-only", "dp-0.1", "dp-cal-0.05", "enc-rotation", "lbvq")


def table2(methods=METHODS, recipes=RECIPES):
    return Table2(replace(tiny(), faces=Systems(SETTING, NETWORK, recipes), folds=2), methods)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table2")
    table = table2()
    cache = RunCache(folder / "jobs", quiet=True)
    cache.run(table.jobs)
    return table, cache, over_seeds(frame(table.rows(cache))), table.section(cache, folder)


def pick(rows, metric, key):
    (row,) = rows[(rows.metric == metric) & (rows.method == key)].itertuples()
    return row


def test_every_method_has_every_figure_over_the_folds(run):
    _, _, rows, _ = run
    for one in METHODS:
        for kind in ("balanced", "auc", "accuracy"):
            found = [pick(rows, f"{kind}_{name}", one) for name in NAMES]
            assert all((m.over, m.samples, m.snr_db) == (FOLDS, 2, 12.0) and 0 <= m.value <= 1 for m in found)
            assert pick(rows, kind, one).value == pytest.approx(fmean(m.value for m in found))
    assert len(rows) == len(METHODS) * 3 * 4 + len(NAMES)


def test_a_row_is_the_mean_and_the_interval_of_its_folds(run):
    table, cache, rows, _ = run
    results = [cache.result(job) for job in table.jobs if "measure-baseline" in job.name]
    told = Figure.of([result["methods"]["deepjscc"]["balanced"]["Smiling"] for result in results])
    m = pick(rows, "balanced_Smiling", "deepjscc")
    assert len(results) == 2 and (m.value, m.interval) == (told.mean, told.interval)


def test_every_image_is_tested_once(run):
    table, cache, _, told = run
    jobs = [job for job in table.jobs if job.name.startswith("table2-measure-baseline")]
    tested = [cache.result(job)["images"] for job in jobs]
    assert sum(tested) == 160 and any("over 160 images" in note for note in told.notes)
    trained, valid, test = table.fold(0)
    assert len(test) == tested[0] and len(trained) + len(valid) + len(test) == 160
    assert cache.result(table.training("baseline", 0))["card"]["data"]["images"] == len(trained)


def test_the_constant_is_fitted_on_images_that_are_neither_trained_on_nor_tested(run, monkeypatch):
    table, cache, _, _ = run
    trained, valid, test = table.fold(0)
    seen = {image.numpy().tobytes() for part in (trained, test) for image in part.images}
    assert not any(image.numpy().tobytes() in seen for image in valid.images)
    assert len(valid) == len(trained) // 9
    monkeypatch.setattr(table, "fold", lambda k, device: (trained, valid, None))  # no test's images at all
    again = table.calibration.work(cache, cache.folder_of(table.calibration))
    assert again == cache.result(table.calibration)


def test_the_articles_figures_stand_beside_ours_and_the_constant_answer_beneath(run, tmp_path):
    _, (table,) = Table2.show(run[2], tmp_path)
    cells = table.cells.set_index("scheme")
    assert (
        cells.loc["LBVQ", "Mustache, article"] == "85.0 %"
        and cells.loc["label only", "Mustache, article"] == ""
    )
    assert cells.index[-1] == "best constant answer" and cells.iloc[-1]["Wavy_Hair, balanced"] == "50.0 %"
    assert float(cells.iloc[-1]["Mustache, plain"].split(" ")[0]) >= 50
    kinds = ("balanced", "AUC", "plain", "article")
    assert list(cells) == [*(f"{name}, {kind}" for name in NAMES for kind in kinds), "mean, balanced"]
    before = run[2][~run[2].metric.str.startswith("auc")]
    (older,) = Table2.show(before, tmp_path)[1]
    assert list(older.cells)[1:5] == [
        "Mustache, balanced",
        "Mustache, plain",
        "Mustache, article",
        "Smiling, balanced",
    ]


def test_the_notes_say_what_a_reader_must_know(run):
    text = " ".join(run[3].notes)
    assert (
        "Shapes stand in" in text and "fitted, not found" in text and "Share of positives: Mustache" in text
    )


def test_receivers_of_dp_hear_the_frozen_transmitter_of_their_own_fold(run):
    table, cache, _, _ = run
    for k in (0, 1):
        states = [
            load_method(
                cache.folder_of(table.training(key, k)) / SCHEME, method(name)
            ).backbone.transmitter.state_dict()
            for key, name in (("baseline", "deepjscc"), ("dp", "dp-0.1"))
        ]
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_one_constant_is_fitted_on_the_first_fold_for_all(run):
    table, cache, _, _ = run
    jobs = [job for job in order(table.jobs) if job.name.startswith("table2-calibrate-")]
    assert len(jobs) == 1 and jobs[0].inputs["fold"] == 0
    assert cache.result(table.calibration)["constant"] > 0


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """Noise that was trained over a range, and images whose right answers are what it decides without noise."""
    path = tmp_path_factory.mktemp("noisy") / "noisy.safetensors"
    setting = replace(SETTING, data_kwargs={**SETTING.data_kwargs, "binary_attributes": NAMES})
    source = whole(setting)
    options = {**NETWORK, **RECIPES["dp-calibrated"].options, "told_snr_db": 12.0}
    with weights_from(0):
        scheme = make_scheme("dp-laplace", Game(source, setting).spec, **options).eval()
    game, usual = Game(source, setting, snr_db=140.0), scheme.stages[0].epsilon
    scheme.stages[0].epsilon = 1e9
    with torch.no_grad():
        sent = rollout(game, scheme, generator=torch.Generator().manual_seed(0))
        logits = torch.cat([one.logits() for one in sent])
        medians = logits.median(0).values
        scheme.backbone.receiver[-1].bias -= medians
    scheme.stages[0].epsilon = usual
    save_checkpoint(path, scheme, {})
    own = Source.from_arrays(
        source.images,
        name="own",
        split="test",
        attributes=(logits > medians).long(),
        attribute_names=NAMES,
        attribute_values=[("absent", "present")] * 3,
    )
    return path, Game(own, setting, snr_db=140.0)


def test_the_fitted_noise_leaves_the_balanced_accuracy_that_was_asked_for(noisy, monkeypatch):
    path, game = noisy

    def fit(target, budgets=(0.05, 0.1)):
        return fit_constant(path, game, target, budgets)

    best, worst = fit(1.0), fit(0.0)
    assert not best["within"] and not worst["within"]
    assert best["constant"] < worst["constant"] and best["reached"] > worst["reached"] + 0.2
    target = (best["reached"] + worst["reached"]) / 2
    met = fit(target)
    assert met["within"] and met["reached"] == pytest.approx(target, abs=0.02)
    assert best["constant"] < met["constant"] < worst["constant"]
    # What is played with the constant is what was fitted, also at the ends of what was trained for.
    for fitted in (best, met, worst):
        played = load_method(path, with_constant(method("dp-cal-0.05"), fitted))
        with monkeypatch.context() as patched:
            patched.setattr(experiment, "SNR_DB", 140.0)
            found = measure(played, game)["balanced"]
        assert fmean(found.values()) == pytest.approx(fitted["reached"], abs=0.05)
        load_method(path, with_constant(method("dp-cal-0.1"), fitted))
    with pytest.raises(CheckpointError, match="a factor of 3e"):
        fit(0.5, budgets=(0.001, 10.0))


def test_only_calibrated_noise_can_be_fitted(run, noisy):
    table, cache, _, _ = run
    baseline = cache.folder_of(table.training("baseline", 0)) / SCHEME
    with pytest.raises(CheckpointError, match="no dp-laplace in mode 'calibrated'"):
        fit_constant(baseline, noisy[1], 0.5, (0.05,))


@pytest.mark.parametrize("within", [True, False])
def test_a_failed_fit_is_called_one(run, monkeypatch, tmp_path, within):
    table, cache, _, _ = run
    fitted = {**cache.result(table.calibration), "within": within}
    read = cache.result
    monkeypatch.setattr(cache, "result", lambda job: fitted if job is table.calibration else read(job))
    assert ("the fit did not succeed" in table.section(cache, tmp_path).notes[-1]) == (not within)


def test_trainings_are_shared_and_a_changed_recipe_is_another_job():
    few, more = table2(METHODS[:1]), table2()
    assert few.training("baseline", 0).slug == more.training("baseline", 0).slug
    longer = {**RECIPES, "baseline": replace(RECIPES["baseline"], epochs=2)}
    changed = table2(recipes=longer)
    assert changed.training("lbvq", 0).slug != more.training("lbvq", 0).slug
    assert more.training("baseline", 0).slug != more.training("baseline", 1).slug


def test_a_training_without_a_recipe_is_refused_and_a_rival_joins_what_is_fitted_to_it():
    with pytest.raises(InputError, match="unknown training 'ibal'"):
        table2(["ibal"])
    assert list(table2(["dp-cal-0.9"]).by_training) == ["lbvq", "dp-calibrated"]

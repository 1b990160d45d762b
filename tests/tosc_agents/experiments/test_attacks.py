"""Attack jobs: what is written is what was measured, and a stronger listener is never hidden."""

import math

import pytest
from tosc_agents.experiments import attacks
from tosc_agents.experiments.attacks import (
    ATTACKER,
    THREAT,
    Attacker,
    EvaluationConfig,
    attack_job,
    evaluation_job,
    floors_job,
    pointed_at,
)
from tosc_agents.experiments.jobs import RunCache
from tosc_agents.experiments.measurements import frame, of_evaluation
from tosc_agents.experiments.methods import METHODS, method
from tosc_agents.experiments.presets import PRESETS, preset
from tosc_agents.experiments.systems import SCHEME, Recipe, Systems, load_method, source_of

from tosc_env.game import GameConfig
from tosc_env.io.checkpoints import load_checkpoint

SETTING = GameConfig("shapes", {"num_images": 400})
NETWORK = {"stem": 8, "widths": [8, 16, 16], "blocks": [0, 0, 0], "receiver_width": 32, "receiver_depth": 1}
MEASURED = EvaluationConfig((0.0, 12.0), seeds=2)
LINEAR = Attacker("linear", "linear")


@pytest.fixture(scope="module")
def systems():
    recipe = Recipe("deepjscc", {}, 6, batch_size=50, flip=False, cutout=0)
    return Systems(SETTING, NETWORK, {"baseline": recipe})


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return RunCache(tmp_path_factory.mktemp("attacks"), quiet=True)


def measure(cache, job, one):
    cache.run([job])
    return frame(of_evaluation("fig3", one.key, cache.result(job)))


def pick(found, metric, snr_db):
    (row,) = found[(found.metric == metric) & (found.snr_db == snr_db)].itertuples()
    return row


def test_the_linear_attack_beats_the_floor_where_nothing_protects(systems, cache):
    one = method("deepjscc")
    found = measure(cache, attack_job(systems, one, LINEAR, 0, MEASURED), one)
    floors = floors_job(systems)
    cache.run([floors])
    floor = cache.result(floors)["floors"]["mean-image"]["psnr_db"]
    weak, strong = (pick(found, "psnr_db", snr) for snr in MEASURED.snr_db)
    assert strong.value > floor + 0.1 and strong.value > weak.value
    assert strong.samples == 2 and strong.over == "channel noise" and strong.attacker == "linear"
    # SSIM is computed for one of the seeds only, and so has no interval.
    assert math.isnan(pick(found, "ssim", 12.0).interval)
    folder = cache.folder_of(attack_job(systems, one, LINEAR, 0, MEASURED))
    header = load_checkpoint(folder / ATTACKER, kind="eavesdropper").card
    assert header["against"] == header["composition"]["weights"] == "deepjscc" and header["valid_snr_db"] == [
        0.0,
        12.0,
    ]
    assert header["training"]["threat_model"] == {**THREAT.plain(), "candidate_queries": False}


def test_encryption_decides_as_well_as_the_baseline_and_hides_the_candidates(systems, cache):
    measured = {
        key: measure(cache, evaluation_job(systems, method(key), 0, MEASURED), method(key))
        for key in ("deepjscc", "enc-rotation")
    }
    accuracy = {key: pick(found, "accuracy", 12.0).value for key, found in measured.items()}
    query = {key: pick(found, "reid_query", 12.0).value for key, found in measured.items()}
    assert accuracy["deepjscc"] > 0.2
    assert abs(accuracy["deepjscc"] - accuracy["enc-rotation"]) < 0.08
    assert query["deepjscc"] > 0.5 and query["enc-rotation"] < 0.1


def test_a_method_has_its_images_encoded_once_for_all_that_is_done_to_it(systems, cache):
    one = method("enc-shuffle")
    cache.run([systems.training("baseline")])
    scheme = load_method(cache.folder_of(systems.training("baseline")) / SCHEME, one)
    seen = []
    hook = scheme.backbone.transmitter.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    cache.run([evaluation_job(systems, one, 0, MEASURED), attack_job(systems, one, LINEAR, 0, MEASURED)])
    hook.remove()
    test, own = (len(source_of(SETTING, *part)) for part in (("test", None), ("train", "attacker")))
    asked = 2 * 2  # whether it depends on the image alone
    candidates = 8 * test  # by whoever has them encoded, which differ from message to message
    assert sum(seen) == test + own + asked + candidates


def test_an_attacker_trained_at_one_snr_is_another_job(systems):
    one = method("deepjscc")
    aware, single = (
        attack_job(systems, one, Attacker("linear", "linear", train_snr_db=snr), 0, MEASURED)
        for snr in (None, 12.0)
    )
    assert aware.slug != single.slug


def test_an_attacker_that_was_fitted_before_an_interruption_is_not_fitted_again(systems, cache, monkeypatch):
    one, attacker = method("deepjscc"), Attacker("label", "label", {"steps": 4, "width": 8})
    job = attack_job(systems, one, attacker, 0, MEASURED)
    first = measure(cache, job, one)
    (cache.folder_of(job) / "result.json").unlink()
    monkeypatch.setattr(attacks, "fit_eavesdropper", lambda *args, **kwargs: pytest.fail("fitted again"))
    assert measure(cache, job, one).equals(first)


@pytest.mark.parametrize("name", PRESETS)
def test_every_method_of_every_preset_faces_all_three_kinds_of_attack(name):
    chosen = preset(name)
    for one in METHODS:
        faced = pointed_at(chosen.attackers, one)
        assert len({attacker.key for attacker in faced}) == len(faced), (
            "measurements of two attackers would mix"
        )
        assert {"linear", "inversion-mlp", "match", "label"} <= {attacker.key for attacker in faced}
        assert one.training in chosen.images.recipes and one.training in chosen.faces.recipes

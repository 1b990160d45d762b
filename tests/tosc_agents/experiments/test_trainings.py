"""Recipes are followed: what stays as it is stays, an interrupted run ends as an uninterrupted one, and it learns."""

from dataclasses import replace

import pytest
import torch
from tosc_agents.experiments.systems import SCHEME, Recipe, Systems
from tosc_agents.learning.loop import LoopConfig
from tosc_agents.training.fit_receiver import fit_receiver
from tosc_agents.training.fit_scheme import SchemeTraining

from tosc_env.errors import InputError
from tosc_env.game import GameConfig
from tosc_env.io.checkpoints import load_checkpoint, read_header, read_tensors
from tosc_env.pipeline import make_scheme

SETTING = GameConfig("shapes", {"num_images": 500})
NETWORK = {"stem": 8, "widths": [8, 16, 16], "blocks": [0, 0, 0], "receiver_width": 32, "receiver_depth": 1}
PLAIN = {"batch_size": 50, "flip": False, "cutout": 0, "pad": 0}


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    folder = tmp_path_factory.mktemp("baseline")
    return run(Recipe("deepjscc", {}, 8, **PLAIN), folder)


def run(recipe, folder, start=None, *, test=None, network=NETWORK, **options):
    source = SETTING.source(split="train", half="system")
    Systems(SETTING, network, {}).train(recipe, source, test, folder, start=start, seed=3, **options)
    return folder / SCHEME


def test_a_receiver_is_trained_and_the_transmitter_stays(tmp_path, baseline):
    options = {"mode": "calibrated", "constant": 1.0, "epsilon": 1.0, "epsilon_range": [0.3, 50.0]}
    recipe = Recipe("dp-laplace", options, 3, start="baseline", receiver_only=True, **PLAIN)
    before, after = read_tensors(baseline), read_tensors(run(recipe, tmp_path, baseline))
    shared = [name for name in before if name.startswith("backbone.transmitter.")]
    assert len(shared) > 5 and all(torch.equal(before[name], after[name]) for name in shared)
    assert not torch.equal(before["backbone.receiver.0.weight"], after["backbone.receiver.0.weight"])
    header = read_header(tmp_path / SCHEME)
    assert header["card"]["training"]["frozen"] == ["transmitter"]
    assert header["options"]["told_snr_db"] == 12.0


def test_a_receiver_learns_behind_a_transmitter_it_cannot_change(baseline):
    game = SETTING.game(half="system")
    scheme = load_checkpoint(baseline).policy
    with torch.no_grad():
        scheme.backbone.receiver[-1].weight.normal_(generator=torch.Generator().manual_seed(0))
    scheme.requires_grad_(True)
    config = SchemeTraining(
        LoopConfig(epochs=6, batch_size=50, learning_rate=3e-3, optimizer="adamw"), flip=False, cutout=0
    )
    transmitter = scheme.backbone.transmitter
    trained = fit_receiver(scheme, game, config, copies=1)
    assert scheme.backbone.transmitter is transmitter
    assert trained["accuracy"] > 0.3  # of ten classes


@pytest.mark.parametrize("receiver_only", [False, True])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path, baseline, receiver_only):
    recipe = Recipe(
        "deepjscc", {}, 3, start="baseline", receiver_only=receiver_only, learning_rate=0.01, **PLAIN
    )

    class Killed(Exception):
        pass

    def kill(done, total, figures):
        if figures["epoch"] == 2:
            raise Killed

    with pytest.raises(Killed):
        run(recipe, tmp_path / "cut", baseline, progress=kill)
    assert (tmp_path / "cut" / "training.run").exists()
    seen = []
    run(
        recipe,
        tmp_path / "cut",
        baseline,
        progress=lambda done, total, figures: seen.append(figures["epoch"]),
    )
    assert min(seen) == 2 and not (tmp_path / "cut" / "training.run").exists()
    run(recipe, tmp_path / "whole", baseline)
    cut, whole = (read_tensors(tmp_path / name / SCHEME) for name in ("cut", "whole"))
    assert all(torch.equal(cut[name], whole[name]) for name in whole)


@pytest.mark.parametrize("receiver_only", [False, True])
def test_nothing_is_trained_behind_a_transmitter_that_did_not_fit(tmp_path, baseline, receiver_only):
    recipe = Recipe("deepjscc", {}, 1, start="baseline", receiver_only=receiver_only, **PLAIN)
    wider = {**NETWORK, "widths": [8, 16, 24]}
    with pytest.raises(InputError, match="whole transmitter of its start"):
        run(recipe, tmp_path, baseline, network=wider)


def test_the_loss_must_meet_the_images_through_the_transmitter_alone():
    game = SETTING.game(half="system")
    for name, objectives in (("ibal", None), ("deepjscc", ["task", "bottleneck"])):
        with pytest.raises(InputError, match="needs the images themselves"):
            fit_receiver(make_scheme(name, game.spec, **NETWORK), game, objectives=objectives)
    with pytest.raises(InputError, match="copies must be a whole number from 1 to 1000, not 0"):
        fit_receiver(make_scheme("deepjscc", game.spec, **NETWORK), game, copies=0)


def test_a_test_goes_into_the_card(tmp_path):
    test = SETTING.source(split="test")
    header = read_header(run(Recipe("deepjscc", {}, 1, **PLAIN), tmp_path, test=test))
    assert header["card"]["test_images"] == len(test) and "12" in header["card"]["test_accuracy"]
    assert header["card"]["training"]["half"] == "system"


def test_a_recipe_is_trained_for_its_objectives_or_the_usual_ones(tmp_path):
    adversary = {"name": "adversary", "width": 8}
    given = Recipe("lbvq", {}, 1, objectives=("task", "codebook", adversary), **PLAIN)
    for recipe, names in (
        (given, ["task", "codebook", "adversary"]),
        (replace(given, objectives=None), ["task", "codebook"]),
    ):
        training = read_header(run(recipe, tmp_path))["card"]["training"]
        assert [one["name"] for one in training["objectives"]] == names
        assert ("leak" in training["figures"]) == ("adversary" in names)

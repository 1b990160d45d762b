"""Whatever determines a job's result is in its name: a change of data, weights, options or code has it made again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny_preset import NETWORK, tiny
from tosc_agents import perceptual
from tosc_agents.experiments import systems
from tosc_agents.experiments.attacks import Attacker, attack_job
from tosc_agents.experiments.jobs import order
from tosc_agents.experiments.methods import method
from tosc_agents.experiments.reproduction import EXPERIMENTS, Reproduction
from tosc_agents.experiments.systems import Recipe, Systems

from tosc_env import game as games
from tosc_env import identity
from tosc_env.game import GameConfig
from tosc_env.io.checkpoint_files import card_path
from tosc_env.io.checkpoints import save_checkpoint
from tosc_env.pipeline import make_scheme

KINDS = ("train", "calibrate", "measure", "attack", "floors", "table1", "table2", "fig4")


def slugs(preset):
    """Every job's folder, which begins with the job's name; those of faces may have the names of others."""
    systems._source.cache_clear()
    made = Reproduction(preset)
    return {job.slug for name in EXPERIMENTS for job in order(made.jobs(name))}


@pytest.fixture(scope="module")
def usual():
    found = slugs(tiny())
    assert all(any(slug.startswith(kind) for slug in found) for kind in KINDS)
    return found


def test_what_is_unchanged_is_found_again(usual):
    assert slugs(tiny()) == usual


@pytest.mark.parametrize("split", ["train", "test"])
def test_one_pixel_of_the_images(usual, monkeypatch, split):
    """Under the same name, and without a word of where they are from."""

    def other(name, *, half=None, **options):
        source = load(name, **options)
        if options["split"] == split:
            images = source.images.clone()
            images[:, 0, 0, 0] ^= 1
            source = replace(source, _images=images, _again=None)
        return source.take_half(half)

    load = games.make_source
    for module in (games, systems):
        monkeypatch.setattr(module, "make_source", other)
    kept = usual & slugs(tiny())
    monkeypatch.undo()
    systems._source.cache_clear()
    # Table 1 times trainings and tests nothing.
    assert {slug.split("-")[0] for slug in kept} == ({"table1"} if split == "test" else set())


def test_the_version_of_the_code(usual, monkeypatch):
    monkeypatch.setattr(identity, "RECIPE", identity.RECIPE + 1)
    assert not usual & slugs(tiny())


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ({"evaluation": replace(tiny().evaluation, seeds=3)}, {"measure-", "attack-", "fig4-recognise"}),
        ({"folds": 3}, {"table2-"}),
        ({"timing": {**tiny().timing, "steps": 2}}, {"table1"}),
        ({"gender_epochs": 2}, {"fig4-"}),
        ({"face_attacker": {**tiny().face_attacker, "steps": 8}}, {"attack-", "fig4-recognise"}),
        (
            {"images": replace(tiny().images, network={**NETWORK, "stem": 8})},
            {"train-", "measure-", "attack-", "calibrate-", "table1"},
        ),
    ],
    ids=lambda one: "+".join(one) if isinstance(one, dict) else "",
)
def test_options(usual, change, kinds):
    made = slugs(replace(tiny(), **change)) - usual
    assert made and all(any(slug.startswith(kind) for kind in kinds) for slug in made)
    assert all(any(slug.startswith(kind) for slug in made) for kind in kinds)


def test_weights_that_are_given_and_what_their_card_says(tmp_path):
    setting = GameConfig("shapes", {"num_images": 60, "size": 16})
    recipes = {"baseline": Recipe("deepjscc", {}, 1)}
    path = tmp_path / "given.safetensors"
    scheme = make_scheme("deepjscc", setting.game(half="system").spec, **NETWORK)

    def slug():
        return Systems(setting, NETWORK, recipes, {("baseline", 0): path}).training("baseline").slug

    save_checkpoint(path, scheme, {"note": "a"})
    first = slug()
    assert slug() == first
    next(scheme.parameters()).data[0] += 1
    save_checkpoint(path, scheme, {"note": "a"})
    second = slug()
    card_path(path).write_text(card_path(path).read_text().replace('"a"', '"b"'))
    assert len({first, second, slug()}) == 3


def test_the_weights_of_the_perceptual_loss(tmp_path, monkeypatch):
    setting = GameConfig("shapes", {"num_images": 60, "size": 16})
    made = Systems(setting, NETWORK, {"baseline": Recipe("deepjscc", {}, 1)})
    monkeypatch.setattr(perceptual, "data_root", lambda: tmp_path)
    (tmp_path / perceptual.FILES[0]).write_bytes(b"a")

    def slug(weight):
        attacker = Attacker("inversion", "inversion", {"perceptual_weight": weight})
        return attack_job(made, method("deepjscc"), attacker, 0, tiny().evaluation).slug

    before, plain = slug(1.0), slug(0.0)
    assert slug(1.0) == before
    (tmp_path / perceptual.FILES[0]).write_bytes(b"bb")
    assert slug(1.0) != before and slug(0.0) == plain

"""Figure 4 runs whole on tiny Shapes, and its figures are those of its cells."""

from __future__ import annotations

import pytest
import torch
from tosc_agents.experiments import attacks, systems
from tosc_agents.experiments.arms import arm
from tosc_agents.experiments.attacks import ATTACKER
from tosc_agents.experiments.cells import Store
from tosc_agents.experiments.faces import fig4
from tosc_agents.experiments.faces.fig4 import Fig4
from tosc_agents.experiments.faces.gender import ClassifierTraining
from tosc_agents.experiments.faces.setting import face_setting
from tosc_agents.experiments.findings import pick
from tosc_agents.experiments.grids import grid, rebuild
from tosc_agents.experiments.systems import Systems
from tosc_agents.experiments.trainings import SCHEME, Recipe, load_arm

from tosc_env.game import GameConfig
from tosc_env.io.checkpoints import load_checkpoint
from tosc_env.rendering import viewer

SETTING = GameConfig("shapes", {"num_images": 120, "size": 16}, num_symbols=16)
NETWORK = {"stem": 4, "widths": [4, 8], "blocks": [0, 0], "receiver_width": 16, "receiver_depth": 1}
RECIPES = {
    "baseline": Recipe("deepjscc", epochs=1, batch_size=30, cutout=0),
    "lbvq": Recipe("lbvq", epochs=1, batch_size=30, start="baseline", cutout=0),
}
ARMS = [arm(key) for key in ("deepjscc", "label-only", "enc-rotation", "lbvq")]
SMALL = {"epochs": 1, "batch_size": 30}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fig4")
    figure = Fig4(
        Systems(SETTING, NETWORK, RECIPES),
        arms=ARMS,
        inversion={"widths": [8, 4, 4, 4], "restarts": 1, **SMALL},
        attribute_kwargs={"width": 16, "depth": 1, **SMALL},
        classifier=ClassifierTraining(epochs=1, batch_size=30, stem=4, widths=(4, 4)),
        images=4,
        seeds=2,
    )
    store = Store(folder / "cells", quiet=True)
    store.run(figure.cells)
    return figure, store, figure.present(store, folder, ["Trained for one epoch."])


def test_every_arm_has_every_figure_and_knows_whose_it_is(run):
    _, _, found = run
    wanted = {
        "psnr_db": "inversion",
        "ssim": "inversion",
        "gender_from_image": "inversion",
        "gender_adaptive": "inversion",
        "infer_Male": "attribute",
    }
    for one in ARMS:
        for name, attacker in wanted.items():
            (row,) = pick(found.rows, name, arm=one.key)
            assert (row.attacker, row.snr_db, row.experiment) == (attacker, 12.0, "fig4")
            assert row.figure == "psnr_db" or -1 <= row.mean <= 1
    (ceiling,), (chance,) = pick(found.rows, "gender_original"), pick(found.rows, "chance_Male")
    assert 0 <= ceiling.mean <= 1 and 0.5 <= chance.mean < 1


def test_the_constant_answer_is_the_majority_of_the_test_images(run):
    figure, _, found = run
    source = figure.setting.source(split="test")
    share = float(source.attributes[:, source.attribute_names.index("Male")].float().mean())
    assert pick(found.rows, "chance_Male")[0].mean == pytest.approx(max(share, 1 - share))


def test_attackers_learn_from_the_other_half_and_the_note_says_so(run):
    figure, store, found = run
    header = load_checkpoint(store.folder_of(figure.rebuilding["lbvq"]) / ATTACKER)
    assert (
        header.card["data"]["images"] == 60
        and header.card["training"]["threat_model"]["images"] == "other-half"
    )
    assert found.details["training_images"] == 60 and found.details["test_images"] == 120
    text = " ".join(found.notes)
    assert "other-half" in text and "Shapes stand in" in text and "Trained for one epoch." in text


def test_the_table_has_ceiling_and_floor_below_the_schemes(run):
    _, _, found = run
    (table,) = found.tables
    assert [line[0] for line in table.rows] == [
        *(one.label for one in ARMS),
        "(original images)",
        "(knowing nothing)",
    ]
    assert table.rows[-2][3] == f"{pick(found.rows, 'gender_original')[0].mean * 100:.1f}"


def test_the_picture_shows_the_same_images_in_each_row_and_figures_of_all(run, monkeypatch, tmp_path):
    figure, store, _ = run
    seen, draw = {}, viewer.comparison_grid

    def spy(images, rows, path, **options):
        seen.update(images=images, rows=rows, **options)
        return draw(images, rows, path, **options)

    monkeypatch.setattr("tosc_agents.experiments.grids.comparison_grid", spy)
    found = figure.present(store, tmp_path)
    (picture,) = found.pictures
    assert picture.path == tmp_path / "fig4.png" and picture.path.read_bytes().startswith(b"\x89PNG")
    assert not picture.faces
    assert list(seen["rows"]) == [one.label for one in ARMS]
    assert all(row.shape == seen["images"].shape == (4, 3, 16, 16) for row in seen["rows"].values())
    psnr = pick(found.rows, "psnr_db", arm="lbvq")[0].mean
    assert seen["notes"]["LBVQ"].startswith(f"{psnr:.1f} dB, SSIM ")


def test_pictures_of_people_are_marked_as_such(run):
    figure, store, _ = run
    test = figure.setting.source(split="test")
    paths = {
        "lbvq": (
            store.folder_of(figure.systems.training("lbvq")) / SCHEME,
            store.folder_of(figure.rebuilding["lbvq"]) / ATTACKER,
        )
    }
    path = store.folder / "grid.png"
    picture = grid(path, figure.setting, test, paths, snr_db=12.0, faces=True)
    assert picture.faces and picture.path.is_file()


def test_a_reconstruction_follows_its_noise_and_its_image(run):
    figure, store, _ = run
    scheme = load_arm(store.folder_of(figure.systems.training("baseline")) / SCHEME, arm("deepjscc"))
    attacker = load_checkpoint(store.folder_of(figure.rebuilding["deepjscc"]) / ATTACKER).policy
    game = figure.setting.game(split="test", snr_db=0.0)
    index = torch.tensor([7, 3, 7])
    images = rebuild(game, scheme, attacker, index=index)
    assert images.shape == (3, 3, 16, 16)
    assert torch.equal(images, rebuild(game, scheme, attacker, index=index))
    assert not torch.equal(images, rebuild(game, scheme, attacker, index=index, seed=1))
    assert len(rebuild(game, scheme, attacker)) == 120


def test_more_arms_leave_finished_cells_as_they_are(run):
    figure, _, _ = run
    options = {"inversion": {"widths": [8, 4, 4, 4], "restarts": 1, **SMALL}}
    fewer = Fig4(Systems(SETTING, NETWORK, RECIPES), arms=ARMS[:1], seeds=2, **options)
    assert fewer.rebuilding["deepjscc"].slug == figure.rebuilding["deepjscc"].slug
    other = Fig4(Systems(SETTING, NETWORK, RECIPES), arms=ARMS[:1], seeds=2, snr_db=0.0, **options)
    assert other.rebuilding["deepjscc"].slug != figure.rebuilding["deepjscc"].slug


def test_images_of_shapes_are_not_mirrored_and_faces_are(monkeypatch):
    for module in (fig4, attacks, systems):  # there are no faces here to be looked at
        monkeypatch.setattr(module, "images_of", lambda setting: {})
    shapes, faces = (Fig4(Systems(s, {}, RECIPES), arms=ARMS) for s in (SETTING, GameConfig("celeba")))
    assert not shapes.classifier.flip and faces.classifier.flip
    assert shapes.setting == face_setting(SETTING)[0] and faces.setting == GameConfig("celeba")

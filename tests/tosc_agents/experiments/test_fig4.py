"""Figure 4 runs whole on tiny Shapes, and its figures are those of its jobs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_preset import FACE_NETWORK as NETWORK
from tiny_preset import faces, tiny
from tosc_agents.experiments import attacks, fig4, systems
from tosc_agents.experiments.attacks import ATTACKER
from tosc_agents.experiments.fig4 import ClassifierTraining, Fig4
from tosc_agents.experiments.jobs import RunCache
from tosc_agents.experiments.measurements import frame
from tosc_agents.experiments.methods import label, method
from tosc_agents.experiments.systems import SCHEME, Recipe, Systems, load_method
from tosc_agents.pictures import rebuild

from tosc_env.game import GameConfig
from tosc_env.io.checkpoints import load_checkpoint
from tosc_env.rendering import viewer

SETTING = faces(120)
RECIPES = {
    "baseline": Recipe("deepjscc", epochs=1, batch_size=30, cutout=0),
    "lbvq": Recipe("lbvq", epochs=1, batch_size=30, start="baseline", cutout=0),
}
METHODS = ("deepjscc", "label-only", "enc-rotation", "lbvq")
CLASSIFIER = ClassifierTraining(epochs=1, batch_size=30, stem=4, widths=(4, 4))


def figure_of(methods=METHODS, setting=SETTING, seeds=2):
    attacker = {"widths": [8, 4, 4, 4], "steps": 4, "batch_size": 30}
    faces = Systems(setting, NETWORK, RECIPES)
    evaluation = replace(tiny().evaluation, seeds=seeds)
    return Fig4(
        replace(tiny(), faces=faces, face_attacker=attacker, evaluation=evaluation), methods, CLASSIFIER
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fig4")
    figure = figure_of()
    cache = RunCache(folder / "jobs", quiet=True)
    cache.run(figure.jobs)
    return figure, cache, figure.section(cache, folder), frame(figure.rows(cache))


def pick(table, metric, key):
    (row,) = table[(table.metric == metric) & (table.method == key)].itertuples()
    return row


def test_every_method_has_every_figure_and_knows_whose_it_is(run):
    table = run[3]
    wanted = {
        "psnr_db": "inversion",
        "ssim": "inversion",
        "balanced_from_image": "inversion",
        "balanced_adaptive": "inversion",
        "gender_from_image": "inversion",
        "gender_adaptive": "inversion",
        "infer_Male": "attribute",
    }
    for one in METHODS:
        for name, attacker in wanted.items():
            m = pick(table, name, one)
            assert (m.attacker, m.snr_db, m.experiment) == (
                attacker,
                12.0,
                "fig4",
            ) and "other-half" in m.threat
    assert all(0 <= pick(table, f"{kind}_original", "original").value <= 1 for kind in ("balanced", "gender"))


def test_the_constant_answer_is_the_majority_of_the_test_images(run):
    source = run[0].setting.source(split="test")
    share = float(source.attributes[:, source.attribute_names.index("Male")].float().mean())
    assert pick(run[3], "chance_plain_Male", "constant").value == pytest.approx(max(share, 1 - share))
    assert pick(run[3], "chance_infer_Male", "constant").value == 0.5


def test_attackers_learn_from_the_other_half_and_the_note_says_so(run):
    figure, cache, found, _ = run
    header = load_checkpoint(cache.folder_of(figure.rebuilding["lbvq"]) / ATTACKER)
    assert (
        header.card["data"]["images"] == 60
        and header.card["training"]["threat_model"]["images"] == "other-half"
    )
    text = " ".join(found.notes)
    assert "other-half" in text and "Shapes stand in" in text and "trained on 60 images" in text


def test_the_table_has_ceiling_and_floor_below_the_schemes(run, tmp_path):
    _, (table,) = Fig4.show(run[3], tmp_path)
    assert list(table.cells.scheme) == [*map(label, METHODS), "original images", "knowing nothing"]
    for kind, told in (("balanced", "balanced"), ("gender", "plain")):
        ceiling = pick(run[3], f"{kind}_original", "original").value
        assert table.cells[f"Male from the image, {told}"].iloc[-2] == f"{ceiling * 100:.1f} %"
    # Balanced accuracies first, of which knowing nothing gives a half.
    kinds = [name.rpartition(", ")[2] for name in table.cells][3:]
    assert kinds == ["balanced"] * 3 + ["plain"] * 3
    assert list(table.cells.iloc[-1])[3:6] == ["50.0 %"] * 3


def test_the_plot_shows_the_same_images_in_each_row_and_figures_of_all(run, monkeypatch, tmp_path):
    figure, cache, _, table = run
    seen, draw = {}, viewer.comparison_grid

    def spy(images, rows, path, **options):
        seen.update(images=images, rows=rows, **options)
        return draw(images, rows, path, **options)

    monkeypatch.setattr(attacks, "comparison_grid", spy)
    (plot,) = figure.section(cache, tmp_path).plots
    assert (tmp_path / plot.file).read_bytes().startswith(b"\x89PNG") and not plot.faces
    assert list(seen["rows"]) == list(map(label, METHODS))
    assert all(row.shape == seen["images"].shape == (8, 3, 16, 16) for row in seen["rows"].values())
    assert seen["notes"]["LBVQ"].startswith(f"{pick(table, 'psnr_db', 'lbvq').value:.1f} dB, SSIM ")
    monkeypatch.setattr(figure, "stand_in", False)
    assert figure.section(cache, tmp_path).plots[0].faces  # plots of people are marked as such


def test_a_reconstruction_follows_its_noise_and_its_image(run):
    figure, cache, *_ = run
    scheme = load_method(cache.folder_of(figure.systems.training("baseline")) / SCHEME, method("deepjscc"))
    attacker = load_checkpoint(cache.folder_of(figure.rebuilding["deepjscc"]) / ATTACKER).policy
    game = figure.setting.game(split="test", snr_db=0.0)
    index = torch.tensor([7, 3, 7])

    def rebuilt(**how):
        return rebuild(game, scheme, {"": attacker}, **how)[""]

    images = rebuilt(index=index)
    assert images.shape == (3, 3, 16, 16)
    assert torch.equal(images, rebuilt(index=index))
    assert not torch.equal(images, rebuilt(index=index, seed=1))
    assert len(rebuilt()) == 120


def test_more_methods_leave_finished_jobs_as_they_are(run):
    figure, *_ = run
    fewer = figure_of(METHODS[:1])
    assert fewer.rebuilding["deepjscc"].slug == figure.rebuilding["deepjscc"].slug
    other = figure_of(METHODS[:1], seeds=3)
    assert other.rebuilding["deepjscc"].slug != figure.rebuilding["deepjscc"].slug


def test_images_of_shapes_are_not_mirrored_and_faces_are(monkeypatch):
    for module in (fig4, attacks, systems):  # there are no faces here to be looked at
        monkeypatch.setattr(module, "images_of", lambda setting: {})
    shapes, faces = figure_of(), figure_of(setting=GameConfig("celeba"))
    assert not shapes.classifier.flip and faces.classifier.flip

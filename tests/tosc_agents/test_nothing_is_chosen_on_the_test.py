"""Constants and weights are chosen on images that are no test's."""

from __future__ import annotations

import pytest
from tosc_agents import cli
from tosc_agents.commands import calibrate as command
from tosc_agents.experiments import presets, systems
from tosc_agents.experiments.jobs import RunCache
from tosc_agents.experiments.systems import CALIBRATED, RIVAL, Systems

from tosc_env import game as games
from tosc_env.game import GameConfig
from tosc_env.io.checkpoint_files import read_card, read_header

NETWORK = {"stem": 4, "widths": [4, 8, 8], "blocks": [0, 0, 0], "receiver_width": 16, "receiver_depth": 1}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The article's noise before it is fitted, and its rival."""
    recipes = presets.recipes(2, 1, 1, adversary_width=8, flip=False, cutout=0, batch_size=50)
    made = Systems(GameConfig("shapes", {"num_images": 200, "size": 16}), NETWORK, recipes)
    cache = RunCache(tmp_path_factory.mktemp("jobs"), quiet=True)
    cache.run([made.trained(CALIBRATED, 0), made.training(RIVAL)])
    return made, cache


@pytest.fixture
def no_test_images(monkeypatch):
    """Whoever asks for the images of a test is found out."""
    load, read = games.make_source, systems.source_of

    def refusing(name, *, split="train", **options):
        assert split != "test", "the test's images were asked for"
        return load(name, split=split, **options)

    def also_refusing(setting, split, half, device="cpu"):
        assert split != "test", "the test's images were asked for"
        return read(setting, split, half, device)

    monkeypatch.setattr(games, "make_source", refusing)
    monkeypatch.setattr(systems, "source_of", also_refusing)


def test_the_articles_noise_is_fitted_to_its_rival_on_images_of_no_test(trained, no_test_images, monkeypatch):
    made, cache = trained
    monkeypatch.setattr(
        systems, "images_of", lambda setting: {}
    )  # which look at all, for the job's name alone
    job = made._calibrated(made.trained(CALIBRATED, 0), 0)
    found = job.work(_Finished(cache, trained), cache.folder / "fitted")
    assert "100 images that neither was trained or is tested on" in found["calibration"]["on"]


class _Finished(RunCache):
    """A cache that finds the files of jobs whose names were made before."""

    def __init__(self, cache, trained):
        super().__init__(cache.folder, quiet=True)
        (cache.folder / "fitted").mkdir(exist_ok=True)

    def file(self, job, name):
        (path,) = self.folder.glob(f"{job.name}-*/{name}")
        return path


@pytest.mark.parametrize("mark", ["--rival", "--target"])
def test_tosc_calibrate_asks_for_no_test_images(trained, no_test_images, monkeypatch, tmp_path, capsys, mark):
    _, cache = trained
    (scheme,) = cache.folder.glob("train-dp-calibrated-*/scheme.safetensors")
    (rival,) = cache.folder.glob("train-lbvq-*/scheme.safetensors")
    # Barely trained systems reach no mark, so the nearest constant will do.
    fit = command.calibrate
    monkeypatch.setattr(command, "calibrate", lambda *given, **how: fit(*given, **how, nearest=True))
    output = tmp_path / "fitted.safetensors"
    line = [
        "calibrate",
        str(scheme),
        mark,
        "0.5" if mark == "--target" else str(rival),
        "--output",
        str(output),
    ]
    assert cli.main(line) == 0, capsys.readouterr().err
    assert read_header(output)["name"] == "dp-laplace"
    assert "neither was trained or is tested on" in read_card(output)["calibration"]["on"]

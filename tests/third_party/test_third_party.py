"""A stranger's package, once installed, is used by name everywhere, and nothing in this repository knows of it.

Law: entry points alone make schemes, attackers and a channel work in ``tosc train``, ``tosc attack``, ``tosc list``
and ``gym.make``, and the public checkers pass on them. All of it happens in processes of their own, since an
installed package is one that a fresh interpreter finds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from strangers import interpreter

from tosc_env.attackers import eavesdroppers
from tosc_env.channels import channels
from tosc_env.io.checkpoint_files import read_header
from tosc_env.schemes import schemes

HERE = Path(__file__).parent
STRANGER = HERE / "tosc_stranger"

TRAIN = [
    *("train", "stranger-scheme", "--data", "shapes", "--data-kwargs", "num_images=800"),
    # Not the defaults: the checkpoint must bring scheme and channel back as they were trained.
    *("--scheme-kwargs", "bias=false", "--channel", "stranger-channel", "--channel-kwargs", "rate=0.25"),
    *("--epochs", "1", "--batch-size", "50", "--learning-rate", "0.01", "--cutout", "0", "--no-flip"),
    *("--precision", "float32", "--output", "scheme.safetensors"),
]
ATTACK = [
    *("attack", "scheme.safetensors", "--eavesdropper", "stranger-eavesdropper", "stranger-instant"),
    *("--eavesdropper-kwargs", "ridge=3.0", "--seeds", "1", "--output", "attack"),
]
NAMES = {
    ("scheme", "stranger-scheme"): "tosc_stranger:LinearScheme",
    ("scheme", "stranger-fixed"): "tosc_stranger:FixedScheme",
    ("eavesdropper", "stranger-eavesdropper"): "tosc_stranger:Ridge",
    ("eavesdropper", "stranger-instant"): "tosc_stranger:Average",
    ("channel", "stranger-channel"): "tosc_stranger:Impulsive",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the stranger works."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Runs an interpreter that finds the installed package, and returns what it prints."""
    return interpreter([STRANGER], tmp_path_factory.mktemp("site"), folder)


@pytest.fixture(scope="module")
def attacked(run: Callable[..., str], folder: Path) -> Path:
    """The folder after ``tosc train`` and ``tosc attack``."""
    run("-m", "tosc_agents.cli", *TRAIN)
    run("-m", "tosc_agents.cli", *ATTACK)
    return folder


def test_this_repository_does_not_know_the_names():
    """Or else the other tests would show nothing."""
    known = {(r.kind, name) for r in (schemes, eavesdroppers, channels) for name in r}
    assert known and not known & set(NAMES)


def test_the_list_shows_names_and_where_they_come_from(run):
    rows = [line.split() for line in run("-m", "tosc_agents.cli", "list").splitlines()]
    shown = {(row[1], row[3]): row[5] for row in rows if len(row) == 7}
    assert {name: shown.get(name) for name in NAMES} == NAMES


@pytest.mark.slow
def test_train_writes_a_checkpoint_that_names_the_scheme_and_the_channel(attacked):
    header = read_header(attacked / "scheme.safetensors")
    assert (header["name"], header["options"]) == ("stranger-scheme", {"bias": False})
    setting = header["card"]["setting"]
    assert (setting["channel"], setting["channel_kwargs"]) == ("stranger-channel", {"rate": 0.25})


@pytest.mark.slow
def test_the_attack_learns(attacked):
    """Law: an attacker that listens sees more than one that does not, which sees what the floor says."""
    results = json.loads((attacked / "attack" / "results.json").read_text())["results"]
    psnr = {
        name: leaks["12"]["psnr_db"]["mean"]
        for name, leaks in results["leaks"].items()
        if "psnr_db" in leaks["12"]
    }
    assert set(psnr) == {"stranger-eavesdropper", "stranger-instant"}
    assert psnr["stranger-instant"] == pytest.approx(results["floors"]["mean-image"]["psnr_db"], abs=0.05)
    assert psnr["stranger-eavesdropper"] > psnr["stranger-instant"] + 0.5
    header = read_header(attacked / "attack" / "stranger-eavesdropper.safetensors")
    assert (header["name"], header["options"]) == ("stranger-eavesdropper", {"ridge": 3.0})


@pytest.mark.slow
def test_environments_take_names_and_checkpoints_and_the_checkers_pass(run, attacked):
    """The checkers raise, so that it is enough that the script ends well."""
    files = ("scheme.safetensors", "attack/stranger-eavesdropper.safetensors")
    played = json.loads(run(str(HERE / "play.py"), *files).splitlines()[-1])
    assert played["by_name"]["players"] == [
        NAMES["scheme", "stranger-fixed"],
        NAMES["eavesdropper", "stranger-instant"],
        NAMES["channel", "stranger-channel"],
    ]
    assert played["by_file"]["players"] == [
        NAMES["scheme", "stranger-scheme"],
        NAMES["eavesdropper", "stranger-eavesdropper"],
        NAMES["channel", "stranger-channel"],
    ]
    for episode in played.values():
        assert episode["over"] == [False, False, True]
        assert min(episode["psnr_db"]) > 0
        assert episode["rate"] == 0.25

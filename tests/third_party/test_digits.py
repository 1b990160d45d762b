"""A data set of 28x28 grey digits from a small package of its own is played, trained on and attacked by name.

Law: what a stranger writes is a module of at most 20 lines, and a name in ``pyproject.toml``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from strangers import interpreter

from tosc_env.data import sources
from tosc_env.io.checkpoint_files import read_header

HERE = Path(__file__).parent
PACKAGE = HERE / "digits" / "tosc_digits"
ATTACKERS = ("linear", "inversion", "inversion-mlp", "match")
CLI = ("-m", "tosc_agents.cli")
TRAIN = (
    "train deepjscc --data digits --data-kwargs num_images=2000 --scheme-kwargs stem=8 widths=[8,16] blocks=[0,0] "
    "receiver_width=64 --epochs 1 --batch-size 10 --learning-rate 0.01 --no-flip --cutout 0 --precision float32 "
    "--output scheme.safetensors"
)
ATTACK = (
    f"attack scheme.safetensors --eavesdropper {' '.join(ATTACKERS)} --eavesdropper-kwargs epochs=4 width=256 "
    "batch_size=25 stem=4 match.widths=[4,8] match.blocks=[0,0] inversion.widths=[16,8,8,4] --seeds 1 --no-ssim "
    "--output attack"
)
EVALUATE = (
    f"evaluate scheme.safetensors --attacker {' '.join(f'attack/{name}.safetensors' for name in ATTACKERS)} "
    "--snr-db 12 --seeds 1 --no-ssim --output evaluation"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the stranger works."""
    return tmp_path_factory.mktemp("digits")


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """An interpreter with the package, after train, attack and evaluate."""
    python = interpreter([PACKAGE], tmp_path_factory.mktemp("digits-site"), folder)
    for arguments in (TRAIN, ATTACK, EVALUATE):
        python(*CLI, *arguments.split())
    return python


def test_this_repository_does_not_know_the_name():
    assert "shapes" in sources and "digits" not in sources


def test_what_a_stranger_writes_is_short():
    written = (PACKAGE / "tosc_digits.py").read_text().splitlines()
    assert len([line for line in written if line.strip()]) <= 20


def test_the_checkpoint_knows_its_data(run, folder):
    card = read_header(folder / "scheme.safetensors")["card"]
    assert card["data"]["name"] == "digits" and card["setting"]["data"] == "digits"


def test_it_is_learnt_and_every_attacker_is_measured(run, folder):
    """Law: one epoch is better than chance, and who listens sees more than the mean image; a guess hits 1 in 1,000."""
    attack = json.loads((folder / "attack" / "results.json").read_text())["results"]
    found = json.loads((folder / "evaluation" / "results.json").read_text())["results"]
    assert found["accuracy"]["12"]["mean"] > 0.3
    assert set(found["leaks"]) == set(ATTACKERS)
    floor = attack["floors"]["mean-image"]["psnr_db"]
    psnr = [found["leaks"][name]["12"]["psnr_db"]["mean"] for name in ATTACKERS if name != "match"]
    assert psnr[0] > floor + 1 and min(psnr) > floor + 0.3
    assert found["leaks"]["match"]["12"]["reid_match"]["mean"] > 0.01


def test_every_form_plays_it_by_name_and_by_an_id_of_its_own(run):
    out = json.loads(
        run(str(HERE / "digits.py"), "scheme.safetensors", "attack/linear.safetensors").splitlines()[-1]
    )
    assert out["declared"] == ["digits", False]  # the id is there before anything of the package is loaded
    shapes = {
        "transmitter": {"image": [1, 28, 28], "csi": [1]},
        "receiver": {"received": [128], "csi": [1]},
        "eavesdropper": {"received": [128], "csi": [1]},
    }
    for played in out["played"]:
        for role, shape in shapes.items():
            assert played[role]["single"] == shape
            assert played[role]["vector"] == {key: [3, *sides] for key, sides in shape.items()}
            stand_in, psnr_db = played[role]["figures"]
            assert stand_in == 0 and psnr_db > 0 and played[role]["picture"] == 3
        assert played["aec"] > 0 and played["parallel"] > 0


def test_the_lists_name_it_and_its_environment(run):
    told = run(*CLI, "list")
    assert "tosc_digits:load_digits" in told and "ToSC-Digits-v0" in told
    assert "digits" in run(*CLI, "data", "list")

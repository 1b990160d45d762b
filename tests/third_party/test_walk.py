"""A scheme, stage, objective, attacker, channel and data set, each from a small package, do everything by name.

Law: what a stranger writes is short (10 lines for a scheme and a stage, 15 for an objective and an attacker, 20 for a
data set, 25 for a channel whose links have a field more, blank lines and imports aside), and it is played, trained,
attacked and evaluated like ours, together with ours.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from strangers import interpreter

from tosc_env.io.checkpoint_files import read_header

HERE = Path(__file__).parent
PACKAGES = sorted(path for path in (HERE / "walk").iterdir() if (path / "pyproject.toml").is_file())
LINES = {
    "tosc_thumb": 10,
    "tosc_negate": 10,
    "tosc_humble": 15,
    "tosc_ridge": 15,
    "tosc_jammed": 25,
    "tosc_digits": 20,
}
CLI = ("-m", "tosc_agents.cli")
BRIEF = "--epochs 1 --batch-size 50 --learning-rate 0.01 --cutout 0 --no-flip --precision float32"
TRAIN = (
    f"train thumb --data-kwargs num_images=800 --stages negate keyed:mode=shuffle {BRIEF} "
    "--objectives task humble:weight=0.02 --key-file key --output scheme.safetensors"
)
ATTACK = (
    "attack scheme.safetensors --stages laplace:epsilon=500 --key-file key --eavesdropper ridge --seeds 1 "
    "--output attack"
)
EVALUATE = (
    "evaluate scheme.safetensors --attacker attack/ridge.safetensors --stages laplace:epsilon=500 --key-file key "
    "--snr-db 12 --seeds 1 --output evaluation"
)


TRAIN_ON_DIGITS = (
    "train deepjscc --data digits --data-kwargs num_images=2000 --scheme-kwargs stem=8 widths=[8,16] blocks=[0,0] "
    "receiver_width=64 --epochs 1 --batch-size 10 --learning-rate 0.01 --no-flip --cutout 0 --precision float32 "
    "--output digits.safetensors"
)
ATTACK_ON_DIGITS = "attack digits.safetensors --eavesdropper linear --seeds 1 --no-ssim --output digits"
TRAIN_FOR_THE_ZOO = f"train thumb --data-kwargs num_images=800 {BRIEF} --output WEIGHTS/thumb.safetensors"
ATTACK_FOR_THE_ZOO = "attack WEIGHTS/thumb.safetensors --eavesdropper ridge --seeds 1 --output WEIGHTS"
"""WEIGHTS is the folder that the package ``tosc-thumb`` offers as a zoo."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where the third-party packages work."""
    return tmp_path_factory.mktemp("walk")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where the packages are installed."""
    return tmp_path_factory.mktemp("walk-site")


@pytest.fixture(scope="module")
def python(folder: Path, site: Path) -> Callable[..., str]:
    """An interpreter with the packages."""
    return interpreter(PACKAGES, site, folder)


@pytest.fixture(scope="module")
def run(python: Callable[..., str], site: Path) -> Callable[..., str]:
    """The interpreter after train, attack and evaluate."""
    on_digits = (TRAIN_ON_DIGITS, ATTACK_ON_DIGITS)
    for arguments in (TRAIN, ATTACK, EVALUATE, *on_digits, TRAIN_FOR_THE_ZOO, ATTACK_FOR_THE_ZOO):
        python(*CLI, *arguments.replace("WEIGHTS", str(site / "weights")).split())
    return python


def test_what_a_stranger_writes_is_short():
    assert {package.name for package in PACKAGES} == set(LINES)
    for package in PACKAGES:
        module = ast.parse((package / f"{package.name}.py").read_text())
        kinds = ast.ClassDef | ast.FunctionDef
        written = "\n".join(ast.unparse(node) for node in module.body if isinstance(node, kinds))
        lines = [line for line in written.splitlines() if line.strip()]
        assert len(lines) <= LINES[package.name], package.name


@pytest.mark.slow
def test_the_checkpoint_holds_stages_and_objectives_as_plain_configuration(run, folder):
    header = read_header(folder / "scheme.safetensors")
    assert header["name"] == "thumb"
    assert header["stages"] == [
        {"name": "negate"},
        {"name": "keyed", "mode": "shuffle", "lifetime": "per_message"},
    ]
    assert header["card"]["training"]["objectives"] == [{"name": "task"}, {"name": "humble", "weight": 0.02}]


@pytest.mark.slow
def test_the_attacker_was_fitted_and_measured_against_all_three_stages(run, folder):
    header = read_header(folder / "attack" / "ridge.safetensors")
    names = [stage["name"] for stage in header["card"]["composition"]["stages"]]
    assert names == ["negate", "keyed", "laplace"]
    evaluation = json.loads((folder / "evaluation" / "results.json").read_text())["results"]
    assert evaluation["accuracy"]["12"]["mean"] > 0.1
    assert evaluation["leaks"]["ridge"]["12"]["psnr_db"]["mean"] > 10


@pytest.mark.slow
def test_every_form_plays_them_and_the_functions_train_and_attack_them(run, folder):
    out = json.loads(
        run(str(HERE / "walk.py"), "scheme.safetensors", "attack/ridge.safetensors").splitlines()[-1]
    )
    played = out["played"]
    assert played.pop("by name") == ["tosc_thumb:Thumb", "tosc_ridge:Ridge"]
    assert played.pop("aec") == pytest.approx(played.pop("parallel"), abs=1e-3)
    assert len({tuple(seen) for seen in played.values()}) == 3
    assert all(value > 0 for value in out["learnt"].values())
    digits = out["digits"]
    assert digits.pop("declared") == ["digits", False], (
        "the id is there before anything of the package is loaded"
    )
    for seen in digits.values():
        assert seen == {
            "transmitter": {"image": [1, 28, 28], "csi": [1]},
            "receiver": {"received": [128], "csi": [1]},
            "eavesdropper": {"received": [128], "csi": [1]},
            "agents": 3,
        }
    card = read_header(folder / "digits.safetensors")["card"]
    assert card["data"]["name"] == "digits" and card["test_accuracy"]["12"] > 0.3
    told = json.loads((folder / "digits" / "results.json").read_text())["results"]
    floor = told["floors"]["mean-image"]["psnr_db"]
    assert told["leaks"]["linear"]["12"]["psnr_db"]["mean"] > floor + 1
    assert out["jammed"]["field"] == "JammedLink"
    assert out["jammed"]["psnr_db"] > 0
    assert out["jammed"]["steps"] == {"one": 2, "many": 2}


PARTS = (
    *("tosc_thumb:Thumb", "tosc_negate:Negate", "tosc_humble:Humble", "tosc_ridge:Ridge"),
    *("tosc_jammed:Jammed", "tosc_digits:load_digits", "ToSC-Digits-v0"),
)


def test_the_list_names_the_strangers_parts_of_which_this_repository_knows_nothing(python):
    told = python(*CLI, "list")
    assert all(name in told for name in PARTS)
    assert not any(map(find_spec, LINES)), "or else it would show nothing"


@pytest.mark.slow
def test_the_list_names_the_strangers_weights(run):
    told = run(*CLI, "list")
    weights = ("scheme 'thumb' for shapes 3x32x32", "eavesdropper 'ridge' against 'thumb' for shapes 3x32x32")
    assert all(name in told for name in weights)

"""The command line: train, attack, evaluate, list; a slip is one line and exit code 2, a kill loses nothing."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from command_line import TRAIN, slip
from tosc_agents import cli
from tosc_agents.learning import loop

from tosc_env.checkpoints import load_checkpoint, read_header

ATTACKS = [
    *("--eavesdropper", "mean-image", "linear", "inversion-mlp", "match", "--eavesdropper-options"),
    *("epochs=1", "width=8", "components=4", "stem=4", "widths=[4,8]", "blocks=[0,0]", "batch_size=10"),
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """One tiny trained system for all tests that only read it."""
    path = tmp_path_factory.mktemp("trained") / "tiny.safetensors"
    assert cli.main([*TRAIN, "--output", str(path)]) == 0
    return path


# -- the main job -----------------------------------------------------------------------------------


def test_train_attack_and_evaluate_write_all_they_promise(folder, capsys):
    assert cli.main(TRAIN) == 0
    trained = folder / "runs" / "deepjscc-shapes-12dB.safetensors"
    told = capsys.readouterr().out
    assert "test accuracy" in told and "at 12 dB" in told and f"saved {trained.relative_to(folder)}" in told
    assert "Shapes (procedural" in told, "every result says which data"
    assert [p.name for p in trained.parent.iterdir()] == [trained.name], "no state is left of a finished run"
    header = read_header(trained)
    card = header["card"]
    assert header["options"]["told_snr_db"] == 12.0 and card["setting"]["num_symbols"] == 8
    assert (
        card["training"]["seed"] == 0
        and card["training"]["half"] == "system"
        and card["data"]["images"] == 30
    )
    assert card["training"]["loop"]["epochs"] == 2 and card["test_accuracy"]["12"]["mean"] >= 0

    assert cli.main(["attack", str(trained), *ATTACKS, "--seeds", "2"]) == 0
    told = capsys.readouterr().out
    out = folder / "runs" / "attack-deepjscc-shapes-12dB"
    names = ("mean-image", "linear", "inversion-mlp", "match")
    assert {p.name for p in out.iterdir()} == {
        *("results.json", "results.csv", "results.md", "picture.png"),
        *(f"{name}.safetensors" for name in names),
    }
    record = json.loads((out / "results.json").read_text())
    assert set(record["attackers"]) == set(names) <= set(record["results"]["leaks"])
    assert (
        record["channel_uses"] == 8 and record["data"]["provenance"] and record["commit"] and record["device"]
    )
    assert record["attackers"]["linear"]["threat_model"]["images"] == "other-half"
    assert record["attackers"]["match"]["options"]["epochs"] == 1, (
        "options go to the attackers that have them"
    )
    assert (
        record["results"]["seeds"] == 2 and record["results"]["leaks"]["linear"]["12"]["psnr_db"]["mean"] > 5
    )
    with open(out / "results.csv", newline="") as file:
        assert set(names) <= {row["attacker"] for row in csv.DictReader(file)}
    assert (out / "results.md").read_text().count("|") > 20 and "encoder queries" in (
        out / "results.md"
    ).read_text()
    assert (out / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert "mean-image" in told and "12" in told

    attackers = [str(out / f"{name}.safetensors") for name in ("linear", "match")]
    arguments = ["--snr-db", "0", "12", "--seeds", "2", "--output", "figures", "--attacker", *attackers]
    assert cli.main(["evaluate", str(trained), *arguments]) == 0
    figures = json.loads((folder / "figures" / "results.json").read_text())
    assert set(figures["results"]["accuracy"]) == {"0", "12"}
    assert {"linear", "match"} <= set(figures["results"]["leaks"])
    assert {"results.csv", "results.md"} < {p.name for p in (folder / "figures").iterdir()}
    # The same attacker on the same noise: both commands must say the same.
    assert (
        figures["results"]["leaks"]["linear"]["12"]["psnr_db"]
        == record["results"]["leaks"]["linear"]["12"]["psnr_db"]
    )


def test_an_evaluation_writes_nothing_unless_asked(checkpoint, folder, capsys):
    assert cli.main(["evaluate", str(checkpoint), "--snr-db", "12", "--seeds", "1", "--no-ssim"]) == 0
    assert list(folder.iterdir()) == [] and "accuracy" in capsys.readouterr().out


def test_symbols_recorded_elsewhere_can_be_attacked(folder, capsys):
    import numpy as np

    np.savez(
        "recorded.npz", train_second_half=np.ones((3, 16), np.float32), test=np.ones((4, 16), np.float32)
    )
    assert "3 recorded messages where shapes has 5000" in slip(
        capsys, "attack", "recorded.npz", "--data", "shapes", "--eavesdropper", "mean-image"
    )
    np.savez("other.npz", test=np.ones((4, 16), np.float32))
    assert "train_second_half" in slip(capsys, "attack", "other.npz", "--data", "shapes")
    (folder / "bad.npz").write_bytes(b"not a zip")
    assert "bad.npz" in slip(capsys, "attack", "bad.npz", "--data", "shapes")
    assert "no recorded symbols" in slip(capsys, "attack", "none.npz", "--data", "shapes")


# -- interruption -----------------------------------------------------------------------------------


def test_an_interrupted_training_says_so_and_the_same_command_finishes_it(
    checkpoint, folder, capsys, monkeypatch
):
    saves = []
    save_state = loop.save_state

    def interrupted(path, tree):
        save_state(path, tree)
        saves.append(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_state", interrupted)
    assert cli.main([*TRAIN, "--output", "a.safetensors"]) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert [p.name for p in folder.iterdir()] == ["a.run"]

    def counted(path, tree):
        save_state(path, tree)
        saves.append(path)

    monkeypatch.setattr(loop, "save_state", counted)
    assert cli.main([*TRAIN, "--output", "a.safetensors"]) == 0
    assert len(saves) == 2, "one epoch before the interruption and one after"
    assert [p.name for p in folder.iterdir()] == ["a.safetensors"]
    whole = load_checkpoint(checkpoint).policy.state_dict()
    resumed = load_checkpoint(folder / "a.safetensors").policy.state_dict()
    assert all(torch.equal(t, resumed[name]) for name, t in whole.items()), "as if never interrupted"


def test_the_state_of_another_run_is_not_gone_on_with(folder, capsys, monkeypatch):
    def interrupted(path, tree):
        save(path, tree)
        raise KeyboardInterrupt

    save = loop.save_state
    monkeypatch.setattr(loop, "save_state", interrupted)
    assert cli.main([*TRAIN, "--output", "a.safetensors"]) == 130
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    capsys.readouterr()
    assert "another seed" in slip(capsys, *TRAIN, "--output", "a.safetensors", "--seed", "1")
    (folder / "a.run").write_bytes(b"damaged")
    assert "a.run is not the state of a run" in slip(capsys, *TRAIN, "--output", "a.safetensors")


# -- slips ------------------------------------------------------------------------------------------


def test_a_finished_checkpoint_is_not_overwritten_unless_asked(folder, capsys):
    (folder / "a.safetensors").write_bytes(b"precious")
    assert "a.safetensors exists; choose another --output, or give --overwrite" in slip(
        capsys, *TRAIN, "--output", "a.safetensors"
    )
    assert (folder / "a.safetensors").read_bytes() == b"precious"
    assert cli.main([*TRAIN, "--output", "a.safetensors", "--overwrite"]) == 0
    assert read_header(folder / "a.safetensors")["name"] == "deepjscc"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("train", "depjscc"), "unknown scheme 'depjscc', did you mean 'deepjscc'"),
        (("train", "deepjscc", "--data", "cifar100"), "unknown data set 'cifar100'"),
        (("train", "deepjscc", "--data", "cifar10"), "CIFAR-10 was not found"),
        (("train", "deepjscc", "--data-options", "nun_images=3"), "no option 'nun_images'"),
        (("train", "deepjscc", "--data-options", "num_images"), "name=value, not 'num_images'"),
        ((*TRAIN, "--task", "clasification"), "unknown task 'clasification'"),
        ((*TRAIN, "--channel", "awng"), "unknown channel 'awng'"),
        ((*TRAIN, "--snr-db", "nan"), "snr_db must be"),
        ((*TRAIN, "--snr-db", "inf"), "snr_db must be"),
        ((*TRAIN, "--device", "cuda:7"), "'cuda:7' is not available"),
        ((*TRAIN, "--epochs", "0"), "epochs must be at least 1, not 0"),
        ((*TRAIN, "--batch-size", "-3"), "batch_size must be at least 1, not -3"),
        ((*TRAIN, "--learning-rate", "nan"), "learning_rate must be a positive number, not nan"),
        ((*TRAIN, "--num-symbols", "0"), "num_symbols must be a whole number of at least 1, not 0"),
        (("attack", "none.safetensors"), "no checkpoint at none.safetensors"),
        (("attack", "none.safetensors", "--eavesdropper", "linaer"), "unknown eavesdropper 'linaer'"),
        (("attack", "none.safetensors", "--queries", "0"), "queries must be at least 1"),
        (("evaluate", "none.safetensors"), "no checkpoint at none.safetensors"),
        (("evaluate", "none.safetensors", "--device", "tpu"), "'tpu'"),
        (("data", "get", "cifar100"), "unknown download 'cifar100', did you mean 'cifar10'"),
    ],
)
def test_a_slip_is_one_line_and_exit_code_2(capsys, folder, arguments, sentence):
    assert sentence in slip(capsys, *arguments)
    assert not list(folder.rglob("*.safetensors")) and not list(folder.rglob("*.run"))


@pytest.mark.parametrize("command", ["attack", "evaluate"])
@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_a_corrupt_or_truncated_checkpoint_is_named(checkpoint, folder, capsys, command, content):
    path = folder / "bad.safetensors"
    path.write_bytes(checkpoint.read_bytes()[:-100] if content is None else content)
    assert "bad.safetensors is not a readable checkpoint" in slip(capsys, command, path)
    assert [p.name for p in folder.iterdir()] == ["bad.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--data", "cifar10"), "was trained for the data set 'shapes', but 'cifar10' is asked for"),
        (("--num-symbols", "64"), "was trained for the code length in channel uses 8, but 64 is asked for"),
        (("--snr-db", "nan"), "snr_db must be"),
        (("--seeds", "0"), "seeds must be at least 1, not 0"),
        (("--device", "cuda:7"), "'cuda:7' is not available"),
        (("--attacker", "none.safetensors"), "no checkpoint at none.safetensors"),
    ],
)
def test_an_evaluation_of_the_wrong_thing_is_refused(checkpoint, capsys, arguments, sentence):
    assert sentence in slip(capsys, "evaluate", checkpoint, *arguments)


def test_a_scheme_is_no_attacker(checkpoint, capsys):
    assert "holds the scheme 'deepjscc', not an eavesdropper" in slip(
        capsys, "evaluate", checkpoint, "--attacker", checkpoint
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--eavesdropper-snr-db", "0", "5"), "there are 2 and 0 values"),
        (("--snr-db", "nan"), "snr_db must be"),
        (("--eavesdropper", "linear", "--seeds", "0"), "seeds must be at least 1, not 0"),
        (
            ("--eavesdropper", "inversion", "--eavesdropper-options", "perceptual_weight=1"),
            "tosc data get vgg",
        ),
    ],
)
def test_an_attack_that_cannot_be_is_refused(checkpoint, capsys, arguments, sentence):
    assert sentence in slip(capsys, "attack", checkpoint, *arguments, "--output", "out")


def test_a_full_disk_is_one_line_and_the_run_can_go_on(folder, capsys, monkeypatch):
    import os

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "cannot write a.run: No space left on device" in slip(capsys, *TRAIN, "--output", "a.safetensors")
    assert list(folder.iterdir()) == []


# -- help and lists ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [("demo",), ("train",), ("attack",), ("evaluate",), ("list",), ("data", "list"), ("data", "get")],
)
def test_help_has_an_example_that_begins_with_the_command(capsys, command):
    with pytest.raises(SystemExit) as stopped:
        cli.main([*command, "--help"])
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert stopped.value.code == 0 and f"Example: tosc {' '.join(command)}" in told


def test_help_of_tosc_names_the_commands(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--help"])
    told = capsys.readouterr().out
    assert stopped.value.code == 0 and all(
        c in told for c in ("demo", "train", "attack", "evaluate", "list", "data")
    )


@pytest.mark.parametrize(
    "arguments", [["jam"], ["train"], ["train", "deepjscc", "--epochs", "many"], ["data", "put"]]
)
def test_an_argument_that_cannot_be_read_is_exit_code_2(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2 and "Traceback" not in capsys.readouterr().err


def test_list_shows_everything_that_has_a_name(capsys):
    assert cli.main(["list"]) == 0
    told = capsys.readouterr().out
    for name in (
        "ToSC-CIFAR-v0",
        "deepjscc",
        "label-only",
        "inversion-mlp",
        "mean-image",
        "rayleigh",
        "celeba",
    ):
        assert name in told
    assert "trained weights:" in told and "scheme 'deepjscc' for shapes 3x32x32" in told


def test_data_list_says_what_is_there_and_how_to_get_the_rest(capsys):
    assert cli.main(["data", "list"]) == 0
    told = capsys.readouterr().out
    assert "cifar10" in told and "celeba" in told and "vgg" in told and "tosc data get cifar10" in told


def test_a_finished_attacker_is_not_trained_again_and_never_replaced(folder, capsys):
    assert cli.main(TRAIN) == 0
    trained = str(folder / "runs" / "deepjscc-shapes-12dB.safetensors")
    command = [
        "attack",
        trained,
        "--eavesdropper",
        "mean-image",
        "linear",
        "--seeds",
        "1",
        "--output",
        "again",
    ]
    assert cli.main(command) == 0
    weights = (folder / "again" / "linear.safetensors").read_bytes()
    capsys.readouterr()
    assert cli.main(command) == 0
    assert capsys.readouterr().out.count("trained before with the same settings") == 2
    assert cli.main([*command, "--eavesdropper-options", "ridge=0.5"]) == 2
    assert "choose another --output" in capsys.readouterr().err
    assert (folder / "again" / "linear.safetensors").read_bytes() == weights


def test_label_only_plays_with_the_baselines_weights(folder, capsys):
    assert cli.main(TRAIN) == 0
    trained = str(folder / "runs" / "deepjscc-shapes-12dB.safetensors")
    assert cli.main(["evaluate", trained, "--play", "label-only", "--snr-db", "12", "--seeds", "1"]) == 0
    assert "label-only" in capsys.readouterr().out

"""The command line: train, attack, evaluate, list; a slip is one line and exit code 2, a kill loses nothing."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from functools import partial
from importlib.metadata import EntryPoint, entry_points

import numpy as np
import pytest
import torch
from command_line import TRAIN, last_of, slip
from tosc_agents import cli
from tosc_agents.commands.attack import Attack
from tosc_agents.commands.common import setting_of
from tosc_agents.learning.state import Run
from tosc_agents.zoo import WEIGHTS

from tosc_env import zoos
from tosc_env.data import make_source, sources
from tosc_env.io.checkpoint_files import read_header
from tosc_env.io.checkpoints import load_checkpoint

ATTACKS = [
    *("--eavesdropper", "mean-image", "linear", "inversion-mlp", "match", "--eavesdropper-kwargs"),
    *("steps=4", "width=8", "components=4", "stem=4", "widths=[4,8]", "blocks=[0,0]", "batch_size=10"),
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


def both(name):
    """The files of a checkpoint: weights and card."""
    return {f"{name}.safetensors", f"{name}.json"}


def names_in(folder):
    return {path.name for path in folder.iterdir()}


def results_in(folder):
    return json.loads((folder / "results.json").read_text())


# -- the main job -----------------------------------------------------------------------------------


def test_train_attack_and_evaluate_write_all_they_promise(folder, capsys):
    assert cli.main(TRAIN) == 0
    trained = folder / "runs" / "deepjscc-shapes-12dB.safetensors"
    told = capsys.readouterr().out
    assert "test accuracy" in told and "at 12 dB" in told and f"saved {trained.relative_to(folder)}" in told
    assert "Shapes (procedural" in told, "every result says which data"
    assert names_in(trained.parent) == both("deepjscc-shapes-12dB"), "no state is left of a finished run"
    header = read_header(trained)
    card = header["card"]
    assert header["options"]["told_snr_db"] == 12.0 and card["setting"]["num_symbols"] == 8
    assert (
        card["training"]["seed"] == 0
        and card["training"]["half"] == "system"
        and card["data"]["images"] == 30
    )
    assert card["training"]["loop"]["epochs"] == 2 and card["test_accuracy"]["12"] >= 0

    assert cli.main(["attack", str(trained), *ATTACKS, "--seeds", "2", "--curves"]) == 0
    told = capsys.readouterr().out
    out = folder / "runs" / "attack-deepjscc-shapes-12dB"
    names = ("mean-image", "linear", "inversion-mlp", "match")
    results = {"results.json", "results.csv", "results.md", "picture.png"}
    assert names_in(out) == results.union(*map(both, names))
    record = results_in(out)
    assert set(record["attackers"]) == set(names) <= set(record["results"]["leaks"])
    assert (
        record["channel_uses"] == 8 and record["data"]["provenance"] and record["commit"] and record["device"]
    )
    assert record["attackers"]["linear"]["threat_model"]["images"] == "other-half"
    assert record["attackers"]["match"]["options"]["steps"] == 4, "options go to the attackers that have them"
    assert (
        record["results"]["seeds"] == 2 and record["results"]["leaks"]["linear"]["12"]["psnr_db"]["mean"] > 5
    )
    with open(out / "results.csv", newline="") as file:
        assert set(names) <= {row["attacker"] for row in csv.DictReader(file)}
    table = (out / "results.md").read_text()
    assert table.count("|") > 20 and "encoder queries" in table
    # The mean image is as near to any candidate whatever was sent: a gain over chance of 0 bits, among any number.
    curves = record["curves"]
    assert set(curves) == set(names) and "| mean-image | 0.00 |" in table
    for size, share in curves["mean-image"]["overall"].items():
        assert share * int(size) == pytest.approx(1.0)
    assert (out / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert "mean-image" in told and "12" in told

    attackers = [str(out / f"{name}.safetensors") for name in ("linear", "match")]
    arguments = ["--snr-db", "0", "12", "--seeds", "2", "--output", "figures", "--attacker", *attackers]
    assert cli.main(["evaluate", str(trained), *arguments]) == 0
    figures = results_in(folder / "figures")
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


def test_recorded_symbols_leak_to_an_attacker_what_their_scheme_does(checkpoint, folder, capsys, monkeypatch):
    # A recording's data set has no options: the checkpoint's images get a name of their own.
    monkeypatch.setitem(sources._table, "few", partial(make_source, "shapes", num_images=60, size=16))
    scheme, setting = load_checkpoint(checkpoint).policy, setting_of(load_checkpoint(checkpoint))
    splits = {"train_second_half": setting.source(half="attacker"), "test": setting.source(split="test")}
    np.savez("a.npz", **{k: scheme.send(s, torch.arange(len(s)), None).numpy() for k, s in splits.items()})
    attack = ["--eavesdropper", "linear", "match-query", "--no-ssim", "--seeds", "1", "--curves", "--output"]
    assert cli.main(["attack", "a.npz", "--data", "few", *attack, "recorded"]) == 0
    assert cli.main(["attack", str(checkpoint), *attack, "played"]) == 0
    recorded, played = (results_in(folder / name)["results"] for name in ("recorded", "played"))
    curves = [results_in(folder / name)["curves"] for name in ("recorded", "played")]
    for size in ("10", "20", "50", "60"):
        rates = [[one[name]["overall"][size] for one in curves] for name in ("linear", "match-query")]
        assert rates[1][0] > 1.5 / int(size) and all(a == pytest.approx(b, abs=0.15) for a, b in rates)
    # Streams are keyed by the weights, which a recording has not: equal but for the draws of the noise.
    heard = [one["leaks"]["linear"]["12"]["psnr_db"]["mean"] for one in (recorded, played)]
    assert heard[0] == pytest.approx(heard[1], abs=0.5)
    assert recorded["accuracy"] == {} and "12" in played["accuracy"], "a recording has no receiver"
    found = [one["leaks"]["match-query"]["12"]["reid_query"]["mean"] for one in (recorded, played)]
    assert found[0] == pytest.approx(found[1], abs=0.15) and found[0] > 3 / 60, (
        "the candidates are among the records"
    )
    assert "belong to a checkpoint" in slip(capsys, "attack", "a.npz", "--stages", "keyed")
    # They are of the attackers' half, and would be taken for those of other images.
    for other in (["--images", "same-half"], ["--attacker-data", "shapes"]):
        assert "--images other-half" in slip(capsys, "attack", "a.npz", "--data", "few", *other)


def test_a_file_that_holds_no_recorded_symbols_is_named(folder, capsys):
    short = np.ones((3, 16), np.float32)
    np.savez("short.npz", train_second_half=short, test=short)
    assert "3 recorded messages where shapes has 5000" in slip(
        capsys, "attack", "short.npz", "--data", "shapes", "--eavesdropper", "mean-image"
    )
    np.savez("other.npz", test=short)
    assert "train_second_half" in slip(capsys, "attack", "other.npz", "--data", "shapes")
    (folder / "bad.npz").write_bytes(b"not a zip")
    assert "bad.npz" in slip(capsys, "attack", "bad.npz", "--data", "shapes")
    assert "no recorded symbols" in slip(capsys, "attack", "none.npz", "--data", "shapes")


# -- stages and objectives --------------------------------------------------------------------------

TWO = ["keyed:mode=rotation", "laplace:epsilon=20,epsilon_range=[1,100]"]
PLAIN = [
    {"name": "keyed", "mode": "rotation", "lifetime": "per_message"},
    {
        "name": "laplace",
        "epsilon": 20.0,
        "clip": 1.0,
        "mode": "laplace",
        "constant": None,
        "epsilon_range": [1.0, 100.0],
    },
]
QUICK_TRAIN = last_of(*TRAIN, "--epochs", "1")
KEY = "5a" * 32


def test_stages_are_trained_through_saved_by_name_and_there_again_when_loaded(folder, capsys):
    assert cli.main([*QUICK_TRAIN, "--stages", *TWO]) == 0
    assert "deepjscc + keyed(mode=rotation" in capsys.readouterr().out
    path = folder / "runs" / "deepjscc+keyed+laplace-shapes-12dB.safetensors"
    header = read_header(path)
    assert header["name"] == "deepjscc" and header["stages"] == PLAIN
    assert header["card"]["guarantee"].startswith("each message is 20-DP")
    again = load_checkpoint(path).policy
    assert [stage.plain() for stage in again.stages] == PLAIN and again.keyed
    # The same with its own stages, and with one more on top.
    quick = [*("--seeds", "1", "--no-ssim", "--snr-db", "12", "--output")]
    assert cli.main(["evaluate", str(path), *quick, "own"]) == 0
    assert cli.main(["evaluate", str(path), "--stages", "laplace:epsilon=1", *quick, "more"]) == 0
    own, more = (results_in(folder / name) for name in ("own", "more"))
    assert own["system"]["stages"] == PLAIN and own["guarantee"].startswith("each message is 20-DP")
    assert more["system"]["stages"][:2] == PLAIN and more["system"]["stages"][2]["epsilon"] == 1.0
    assert more["guarantee"].count("-DP for its image") == 2


@pytest.mark.parametrize("command", ["attack", "evaluate"])
def test_stages_go_on_top_of_a_finished_scheme(checkpoint, folder, capsys, command):
    attacker = ["--eavesdropper", "linear"] if command == "attack" else []
    quick = [*attacker, *("--seeds", "1", "--no-ssim", "--snr-db", "12", "--output", "out")]
    assert cli.main([command, str(checkpoint), "--stages", *TWO, *quick]) == 0
    assert "deepjscc + keyed(mode=rotation" in capsys.readouterr().out
    system = results_in(folder / "out")["system"]
    assert system["stages"] == PLAIN == system["composition"]["stages"] and system["scheme"] == "deepjscc"
    if command == "attack":
        assert (
            read_header(folder / "out" / "linear.safetensors")["card"]["composition"] == system["composition"]
        )
        assert (folder / "out" / "secret.key").exists()


def test_objectives_are_those_asked_for_and_else_those_the_name_stands_for(folder):
    bottleneck = {"name": "bottleneck", "beta": 0.01, "start": 0, "ramp": 1}
    given = ["task", "bottleneck:beta=0.01,start=0,ramp=1"]
    for name, arguments, wanted in (
        ("usual", [], [{"name": "task"}]),
        ("given", ["--objectives", *given], [{"name": "task"}, bottleneck]),
    ):
        assert cli.main([*QUICK_TRAIN, *arguments, "--output", f"{name}.safetensors"]) == 0
        assert read_header(f"{name}.safetensors")["card"]["training"]["objectives"] == wanted
    one, other = (load_checkpoint(f"{name}.safetensors").policy.state_dict() for name in ("usual", "given"))
    assert any(not torch.equal(tensor, other[name]) for name, tensor in one.items())


# -- interruption -----------------------------------------------------------------------------------


def test_an_interrupted_training_says_so_and_the_same_command_finishes_it(
    checkpoint, folder, capsys, monkeypatch
):
    saves = []
    save = Run.save

    def interrupted(run, *state):
        save(run, *state)
        saves.append(run.path)
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "save", interrupted)
    assert cli.main([*TRAIN, "--output", "a.safetensors"]) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert names_in(folder) == {"a.run"}

    def counted(run, *state):
        save(run, *state)
        saves.append(run.path)

    monkeypatch.setattr(Run, "save", counted)
    assert cli.main([*TRAIN, "--output", "a.safetensors"]) == 0
    assert len(saves) == 2, "one epoch before the interruption and one after"
    assert names_in(folder) == both("a")
    whole = load_checkpoint(checkpoint).policy.state_dict()
    resumed = load_checkpoint(folder / "a.safetensors").policy.state_dict()
    assert all(torch.equal(t, resumed[name]) for name, t in whole.items()), "as if never interrupted"


# -- slips ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.safetensors", "a.json"])
def test_a_finished_checkpoint_is_not_overwritten_unless_asked(folder, capsys, name):
    (folder / name).write_bytes(b"precious")
    assert f"{name} exists; choose another --output, or give --overwrite" in slip(
        capsys, *TRAIN, "--output", "a.safetensors"
    )
    assert (folder / name).read_bytes() == b"precious"
    assert cli.main([*TRAIN, "--output", "a.safetensors", "--overwrite"]) == 0
    assert read_header(folder / "a.safetensors")["name"] == "deepjscc"


def test_a_wrong_option_is_told_before_a_file_that_is_there(folder, capsys):
    (folder / "a.safetensors").write_bytes(b"precious")
    there = ("--output", "a.safetensors")
    for wrong in (
        ["--stages", "keied"],
        ["--freeze", "nothing"],
        ["--data-kwargs", "sise=3"],
        ["--from", "none"],
    ):
        assert "exists" not in slip(capsys, *TRAIN, *there, *wrong)
    assert "exists" not in slip(capsys, "calibrate", "a.safetensors", *there, "--target", "2")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*TRAIN[:1], "depjscc"), "'depjscc' 'deepjscc'"),
        ((*TRAIN[:2], "--data", "cifar10"), "CIFAR-10"),
        ((*TRAIN, "--data-kwargs", "num_images"), "name=value 'num_images'"),
        ((*TRAIN, "--task-kwargs", "source=1"), "task_kwargs 'source'"),
        ((*TRAIN, "--scheme-kwargs", "stages=[1]"), "--scheme-kwargs 'stages'"),
        ((*TRAIN, "--stages", "keied"), "'keied' 'keyed'"),
        ((*TRAIN, "--stages", "laplace:"), "name=value ''"),
        ((*TRAIN, "--stages", "epsilon=1"), "NAME:option=value,option=value 'epsilon=1'"),
        ((*TRAIN, "--stages", "laplace:epsilon=1,epsilon=2"), "once 'epsilon'"),
        ((*TRAIN, "--objectives", "taks"), "'taks' 'task'"),
        ((*TRAIN, "--freeze", "transmitter", "receiver"), "--freeze transmitter receiver"),
        ((*TRAIN, "--seed", str(2**63)), "seed 64"),
        ((*TRAIN, "--output", "y.run"), "'.safetensors' y.run"),
        (("attack", "none.safetensors"), "checkpoint none.safetensors"),
        (("attack", "none", "--eavesdropper-kwargs", "linear.spec=1"), "--eavesdropper-kwargs 'spec'"),
        (("data", "get", "cifar100"), "'cifar100' 'cifar10'"),
        (("evaluate", "TINY", "--data", "cifar10"), "'shapes' 'cifar10'"),
        (("evaluate", "TINY", "--seeds", "0"), "seeds 1 0"),
        (("evaluate", "TINY", "--attacker", "TINY"), "'deepjscc' eavesdropper"),
        (("evaluate", "TINY", "--play", "ibal"), "'deepjscc' 'ibal'"),
        (("attack", "TINY", "--eavesdropper-snr-db", "0", "5"), "2 0"),
    ],
)
def test_a_slip_is_one_line_and_exit_code_2(checkpoint, capsys, folder, arguments, words):
    told = slip(capsys, *(checkpoint if one == "TINY" else one for one in arguments))
    assert all(word in told for word in words.split()), told
    assert not list(folder.rglob("*.safetensors")) and not list(folder.rglob("*.run"))


STAGES_WITH_A_KEY = (
    *("keyed:key:KEY", "keyed:KEY", "KEY", "KEY:keyed", "keyed=KEY", "keyed:mode=KEY", "keyed:key=[KEY]"),
    *("keyed:key=KEY,key=KEY", "laplace:key=KEY"),
)


def test_an_output_that_takes_nothing_is_no_traceback():
    command = "import sys; from tosc_agents.cli import main; sys.argv[1:] = ['--version']; sys.exit(main())"
    both = f'{sys.executable} -c "{command}" >/dev/full; {sys.executable} -c "{command}" >&-; echo $?'
    done = subprocess.run(both, shell=True, capture_output=True, text=True)
    assert done.stdout == "0\n"
    assert done.stderr == "tosc: error: cannot write the output: No space left on device.\n"


def test_no_slip_shows_a_key(capsys, folder):
    for option, text in [
        *(("--stages", text) for text in STAGES_WITH_A_KEY),
        *(("--scheme-kwargs", text) for text in ("KEY", "key:KEY", "stem=KEY", "KEY=1")),
    ]:
        assert KEY not in slip(capsys, *TRAIN, option, text.replace("KEY", KEY)) and not list(
            folder.iterdir()
        )


def test_the_demo_plays_an_episode_and_then_attacks_the_same_system(folder, capsys, monkeypatch):
    attacked = []
    monkeypatch.setattr(Attack, "run", lambda self: attacked.append(self) or 0)
    assert cli.main(["demo", "--snr-db", "6", "--output", "shown"]) == 0
    assert (folder / "shown" / "round.png").read_bytes().startswith(b"\x89PNG")
    assert "one episode of ToSC-Shapes-v0" in capsys.readouterr().out
    (attack,) = attacked
    assert attack.target == WEIGHTS / "deepjscc-shapes.safetensors" and attack.snr_db == (6.0,)
    assert attack.output.name == "shown" and "match" in attack.eavesdropper


# -- help and lists ---------------------------------------------------------------------------------


def test_help_has_an_example_that_begins_with_the_command_and_each_option_a_sentence(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "600")  # where only what the help itself tears is on two lines
    for command in ("demo", "train", "attack", "evaluate", "calibrate", "reproduce", "list", "data get"):
        with pytest.raises(SystemExit) as stopped:
            cli.main([*command.split(), "--help"])
        told = capsys.readouterr().out
        assert stopped.value.code == 0 and f"Example: tosc {command}" in told and "`" not in told
        box = [line.strip("│ ") for line in told.splitlines() if line.startswith("│")]
        lines = [line for line in box if not line.startswith("-") and line[:4] != "show"]
        lines += [line.split("  ", 1)[1].strip() for line in box if line.startswith("--") and "  " in line]
        for line in lines:
            assert line.endswith(")") and not line[0].islower(), line


def test_an_argument_that_cannot_be_read_is_exit_code_2(capsys):
    for arguments in [["jam"], ["train"], ["train", "deepjscc", "--epochs", "many"], ["data", "put"]]:
        assert cli.main(arguments) == 2
        told = capsys.readouterr().err
        assert told.startswith("tosc: error: ") and told.count("\n") == 1, told


def test_the_version_is_told(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("tosc 0.")


def test_what_cannot_be_imported_is_named_and_the_rest_listed(capsys, monkeypatch):
    broken = EntryPoint("broken", "no_such_module:Thing", "tosc_env.zoos")
    monkeypatch.setattr(zoos, "entry_points", lambda group: [broken, *entry_points(group=group)])
    with pytest.warns(UserWarning, match="the zoo 'broken', declared as no_such_module:Thing"):
        assert cli.main(["list"]) == 0
    assert "scheme 'deepjscc' for shapes" in capsys.readouterr().out
    monkeypatch.setattr(sources, "_entries", lambda: [broken, *entry_points(group=sources.group)])
    with pytest.warns(UserWarning, match="a data set is left out: the data set 'broken'"):
        assert cli.main(["data", "list"]) == 0
    assert "cifar10" in capsys.readouterr().out


def test_trained_weights_are_evaluated_by_the_names_that_list_shows(folder, capsys):
    arguments = ["--attacker", "inversion", "--snr-db", "12", "--seeds", "1", "--no-ssim", "--output", "out"]
    assert cli.main(["evaluate", "deepjscc", "--data", "ToSC-Shapes-v0", *arguments]) == 0
    record = json.loads((folder / "out" / "results.json").read_text())
    assert record["target"] == "deepjscc-shapes.safetensors" and "inversion" in json.dumps(record["results"])
    assert "needs --data" in slip(capsys, "evaluate", "deepjscc")
    assert "unknown data set or environment" in slip(capsys, "evaluate", "deepjscc", "--data", "shaeps")
    assert "no trained weights of the eavesdropper 'linear'" in slip(
        capsys, "evaluate", "deepjscc", "--data", "shapes", "--attacker", "linear"
    )


def test_an_evaluation_is_over_the_channel_and_the_snrs_that_are_asked_for(checkpoint, folder):
    asked = [
        "--channel",
        "rician",
        "--channel-kwargs",
        "k_factor_db=3",
        "--snr-db",
        "12",
        "--eavesdropper-snr-db",
        "3",
    ]
    assert (
        cli.main(["evaluate", str(checkpoint), *asked, "--seeds", "1", "--no-ssim", "--output", "out"]) == 0
    )
    record = json.loads((folder / "out" / "results.json").read_text())
    assert record["setting"]["channel"] == "rician"


def test_list_shows_everything_that_has_a_name(capsys):
    assert cli.main(["list"]) == 0
    told = capsys.readouterr().out
    kinds = "ToSC-CIFAR-v0 deepjscc label-only inversion-mlp mean-image laplace bottleneck rayleigh celeba"
    assert all(name in told for name in kinds.split())
    assert "trained weights:" in told and "scheme 'deepjscc' for shapes 3x32x32" in told
    assert cli.main(["data", "list"]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in ("cifar10", "celeba", "vgg", "tosc data get cifar10"))


def test_a_finished_attacker_is_not_trained_again_and_never_replaced(checkpoint, folder, capsys, monkeypatch):
    for name, seed in (("these", 1), ("those", 2)):
        monkeypatch.setitem(
            sources._table, name, partial(make_source, "shapes", seed=seed, num_images=60, size=16)
        )
    target = [str(checkpoint), "--attacker-data", "these", "--eavesdropper", "mean-image", "linear"]
    (folder / "my.key").write_text(KEY)
    protected = ["--stages", "keyed", "--key-file", "my.key"]
    command = ["attack", *target, *protected, "--seeds", "1", "--no-ssim", "--output", "again"]
    assert cli.main(command) == 0
    weights = (folder / "again" / "linear.safetensors").read_bytes()
    capsys.readouterr()
    assert cli.main(command) == 0
    assert capsys.readouterr().out.count("trained before with the same settings") == 2
    (folder / "other.key").write_text("00" * 32)
    for changed in (
        [*command, "--eavesdropper-kwargs", "ridge=0.5"],
        [*command, "--stages", "keyed", "laplace"],
        [*command, "--stages", "keyed:mode=rotation"],
        [*command, "--key-file", "other.key"],
        [*command, "--attacker-data", "those"],
    ):
        assert "choose another output" in slip(capsys, *changed), changed
    assert (folder / "again" / "linear.safetensors").read_bytes() == weights


ATTACK = ["--eavesdropper", "mean-image", "linear", "--seeds", "1", "--no-ssim"]


@pytest.mark.slow
def test_attacks_on_other_systems_of_a_file_lie_in_folders_of_their_own_and_say_which_system_it_was(
    checkpoint, folder, capsys
):
    """README's sequence of attacks; the same one again takes what there is."""
    systems = {
        "attack-tiny": ([], "deepjscc"),
        "attack-tiny-encryption": (["--play", "encryption"], "encryption"),
        "attack-tiny+keyed": (["--stages", "keyed"], "deepjscc + keyed(mode=shuffle"),
        "attack-tiny-label-only+keyed": (
            ["--play", "label-only", "--stages", "keyed"],
            "label-only + keyed(",
        ),
    }
    for name, (options, title) in [*systems.items(), *systems.items()]:
        assert cli.main(["attack", str(checkpoint), *options, *ATTACK]) == 0
        assert (folder / "runs" / name / "results.md").read_text().startswith(f"# {title}")
        assert title in " ".join(capsys.readouterr().out.split())
    assert names_in(folder / "runs") == set(systems)


@pytest.mark.parametrize(
    "changed",
    [
        ["--play", "encryption", "--scheme-kwargs", "mode=shuffle"],
        ["--stages", "keyed", "--key-file", "other.key"],
        [],
    ],
)
def test_a_folder_of_results_of_another_target_is_refused_before_anything_is_written(
    checkpoint, folder, capsys, changed
):
    """Also where no attacker's file tells: none of these was asked for before."""
    command = ["attack", str(checkpoint), "--seeds", "1", "--no-ssim", "--output", "out", "--eavesdropper"]
    assert cli.main([*command, "mean-image", "--stages", "keyed"]) == 0
    before = {path.name: path.read_bytes() for path in (folder / "out").iterdir()}
    capsys.readouterr()
    told = slip(capsys, *command, "linear", *changed)
    assert "choose another" in told and "results.json" in told and not (folder / "other.key").exists()
    assert {path.name: path.read_bytes() for path in (folder / "out").iterdir()} == before


def test_an_unkeyed_attacks_folder_gets_no_key(checkpoint, folder, capsys):
    command = ["attack", str(checkpoint), *ATTACK, "--output", "out"]
    assert cli.main(command) == 0
    capsys.readouterr()
    assert "results.json is of another target or key" in slip(capsys, *command, "--stages", "keyed")
    assert not (folder / "out" / "secret.key").exists()
    (folder / "out" / "results.json").write_text("{}")
    assert "results.json does not say all that determined it" in slip(capsys, *command)


def test_an_attacker_outside_its_snrs_is_refused_by_its_name_and_warned_of_as_a_file(capsys):
    """As the zoo finds it by its name in Python at the SNRs of its card alone."""
    evaluate = ["evaluate", "deepjscc", "--data", "shapes", "--seeds", "1", "--no-ssim", "--snr-db"]
    told = slip(capsys, *evaluate, "-15", "--attacker", "inversion")
    assert "no trained weights of the eavesdropper 'inversion'" in told and "0 to 20 dB" in told
    told = slip(capsys, *evaluate, "12", "--eavesdropper-snr-db", "30", "--attacker", "inversion")
    assert "no trained weights of the eavesdropper 'inversion'" in told
    file = [
        "--attacker",
        str(WEIGHTS / "inversion-deepjscc-shapes.safetensors"),
        "--data-kwargs",
        "num_images=100",
    ]
    for snrs, warnings in (
        (("12",), 0),
        (("-15", "--eavesdropper-snr-db", "20"), 0),  # of the receiver's SNR no attacker looks weaker
        (("12", "--eavesdropper-snr-db", "30"), 1),
        (("-15",), 1),
    ):
        assert cli.main([*evaluate, *snrs, *file]) == 0
        assert capsys.readouterr().err.count("was trained for 0 to 20 dB") == warnings


def test_an_evaluation_warns_of_attackers_that_were_trained_against_another_system(
    checkpoint, folder, recwarn
):
    assert cli.main(["attack", str(checkpoint), *ATTACK, "--output", "out"]) == 0
    evaluate = ["evaluate", str(checkpoint), "--attacker", "out/linear.safetensors", "--seeds", "1"]
    for options, warns in (([], False), (["--stages", "keyed"], True), (["--play", "label-only"], True)):
        assert cli.main([*evaluate, "--snr-db", "12", "--no-ssim", *options, "--output", "figures"]) == 0
        told = [str(one.message) for one in recwarn]
        assert any("linear was fitted against" in text for text in told) == warns
        recwarn.clear()
    assert (folder / "figures" / "results.md").read_text().startswith("# label-only, ")

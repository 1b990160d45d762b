"""What a newcomer meets at the doors: a slip names the way on, nothing given is ignored, records are true."""

from __future__ import annotations

import importlib
import json
import pkgutil
import shutil
import subprocess
import sys
import warnings
from dataclasses import fields, is_dataclass

import gymnasium
import numpy as np
import pytest
import torch
import tosc_agents
from command_line import NETWORK, TRAIN, last_of, slip, work_in_copy
from PIL import Image
from refusals import refused
from tosc_agents import cli
from tosc_agents.leaks import describe
from tosc_agents.learning.loop import LoopConfig
from tosc_agents.records import accuracies
from tosc_agents.training.evaluate import evaluate
from tosc_agents.training.fit_eavesdropper import fit_eavesdropper
from tosc_agents.training.fit_receiver import fit_receiver
from tosc_agents.training.fit_scheme import SchemeTraining, fit_scheme

import tosc_env
from tosc_env import options
from tosc_env.attackers import make_eavesdropper
from tosc_env.data import make_source
from tosc_env.data.base import Source
from tosc_env.game import Game, GameConfig
from tosc_env.io.checkpoint_files import read_header
from tosc_env.pipeline import make_scheme
from tosc_env.privacy.threat import ThreatModel
from tosc_env.types import Context

TINY = {"stem": 4, "widths": (4, 8), "blocks": (0, 0), "receiver_width": 16, "receiver_depth": 1}
QUICK = ["--seeds", "1", "--no-ssim", "--snr-db", "12"]
ON_PICTURES = last_of(*TRAIN, "--data", "folder", "--data-kwargs", "path=pictures", "--epochs", "1")


def draw(folder, count=20, classes=("cat", "dog"), size=16):
    stream = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = stream.integers(0, 256, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i:03}.png")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of pictures, a scheme that was trained on it and an attack on that."""
    folder = tmp_path_factory.mktemp("doors")
    draw(folder / "pictures")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert cli.main([*ON_PICTURES, "--output", "own.safetensors"]) == 0
        names = ["--eavesdropper", "mean-image", "match-query"]
        assert cli.main(["attack", "own.safetensors", *names, *QUICK, "--output", "attacked"]) == 0
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    return work_in_copy(made, tmp_path, monkeypatch)


def evaluated(*more):
    return ["evaluate", "own.safetensors", "--attacker", "attacked/mean-image.safetensors", *QUICK, *more]


# -- a folder of one's own --------------------------------------------------------------------------


def test_a_folder_that_was_moved_takes_its_checkpoint_along(folder, capsys):
    """Its images are known by what they are, not by where they lie: an attack goes on as well."""
    shutil.move("pictures", "moved")
    assert "--data-kwargs" in slip(capsys, *evaluated("--data-kwargs", "path=pictures"))
    assert cli.main(evaluated("--data-kwargs", "path=moved")) == 0
    assert "warning" not in capsys.readouterr().err, "the same images in another place"
    attack = ["attack", "own.safetensors", "--eavesdropper", "mean-image", *QUICK, "--output", "attacked"]
    assert cli.main([*attack, "--data-kwargs", "path=moved"]) == 0
    assert "mean-image: trained before" in capsys.readouterr().out


def test_a_checkpoint_finds_its_folder_from_everywhere(folder, monkeypatch):
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert cli.main(["evaluate", "../own.safetensors", *QUICK]) == 0
    assert GameConfig("folder", {"path": "a"}).data_kwargs == {"path": str(folder / "elsewhere" / "a")}


def test_a_folder_that_has_grown_since_is_told(folder, capsys):
    """It is divided anew, so that an image of the training may be one of the test."""
    draw(folder / "pictures", count=24)
    assert cli.main(evaluated("--data-kwargs", "path=pictures")) == 0
    assert "own.safetensors was trained on" in capsys.readouterr().err


def test_a_folder_is_called_alike_by_every_door(folder):
    source = tosc_env.as_source("pictures")
    assert source.name == GameConfig("folder", {"path": "pictures"}).source().name == "folder"
    assert tosc_env.as_source(np.zeros((2, 3, 8, 8), np.uint8)).name == "mine"
    player = {"role": "transmitter", "eavesdropper": "attacked/mean-image.safetensors", "num_symbols": 8}
    gymnasium.make("ToSC-Shapes-v0", source=source, scheme="own.safetensors", **player).reset(seed=0)


@pytest.mark.parametrize("command", [TRAIN[:2], ["evaluate", "deepjscc"]])
def test_a_folder_in_place_of_a_name_is_told_how_it_is_given(folder, capsys, command):
    told = slip(capsys, *command, "--data", "pictures")
    assert "--data folder --data-kwargs path='pictures'" in told


def test_a_folder_is_named_in_the_name_of_its_checkpoint_and_one_without_test_images_is_not_trained_on(
    folder, capsys
):
    draw(folder / "few", count=4)
    told = slip(capsys, *last_of(*ON_PICTURES, "--data-kwargs", "path=few"))
    assert "few has no test images" in told and not (folder / "runs").exists()
    assert cli.main(ON_PICTURES) == 0
    assert (folder / "runs" / "deepjscc-folder-pictures-12dB.safetensors").exists()


def test_a_data_sets_option_is_what_its_type_hint_says(folder, capsys):
    told = slip(capsys, *last_of(*ON_PICTURES, "--data-kwargs", "path=pictures", "skip_broken=False"))
    assert "skip_broken must be True or False, not 'False'" in told


@pytest.mark.parametrize(("size", "mode", "asks"), [(16, "L", "channels="), (18, "RGB", "size=")])
def test_of_unlike_pictures_only_what_differs_is_asked_for(tmp_path, size, mode, asks):
    draw(tmp_path, count=6)
    Image.new(mode, (size, size)).save(tmp_path / "cat" / "000.png")
    with refused(asks) as caught:
        tosc_env.as_source(tmp_path)
    assert ({"channels=", "size="} - {asks}).pop() not in str(caught.value)


def test_a_training_from_a_checkpoint_goes_on_with_its_images(made, folder):
    network = ["--scheme-kwargs", *NETWORK]
    start = [
        "train",
        "deepjscc",
        "--from",
        "own.safetensors",
        *network,
        "--num-symbols",
        "8",
        "--epochs",
        "1",
    ]
    assert cli.main([*start, "--output", "on.safetensors"]) == 0
    assert read_header("on.safetensors")["card"]["setting"]["data_kwargs"] == {"path": str(made / "pictures")}
    assert (
        cli.main([*start, "--data", "shapes", "--data-kwargs", "num_images=60", "--output", "b.safetensors"])
        == 0
    )
    assert read_header("b.safetensors")["card"]["setting"]["data"] == "shapes"


def test_attackers_may_have_a_folder_of_their_own(folder):
    draw(folder / "theirs")
    attack = [
        "attack",
        "own.safetensors",
        "--eavesdropper",
        "mean-image",
        *QUICK,
        "--attacker-data",
        "folder",
    ]
    assert cli.main([*attack, "--attacker-data-kwargs", "path=theirs", "--output", "out"]) == 0
    record = json.loads((folder / "out" / "results.json").read_text())
    assert record["attackers"]["mean-image"]["threat_model"]["images"] == "other-data"


def test_the_targets_own_images_are_no_other_data(made, capsys):
    attack = ["attack", str(made / "own.safetensors"), "--eavesdropper", "mean-image", "--output", "own"]
    own = ["--attacker-data", "folder", "--attacker-data-kwargs", f"path={made / 'pictures'}"]
    assert "--images" in slip(capsys, *attack, *own)


# -- names, files and what there is none of ---------------------------------------------------------


def test_an_attacker_that_no_file_can_hold_leaves_none_and_says_what_to_do(folder, capsys):
    assert (
        not list((folder / "attacked").glob("match-query.*"))
        and "match-query" in (folder / "attacked" / "results.json").read_text()
    )
    told = slip(capsys, "evaluate", "deepjscc", "--data", "shapes", "--attacker", "match-query")
    assert "tosc attack" in told and "--eavesdropper match-query" in told


def test_where_there_are_no_weights_the_command_that_makes_some_is_named(capsys):
    assert "tosc attack" in slip(capsys, "evaluate", "deepjscc", "--data", "shapes", "--attacker", "linear")
    with refused("tosc train 9", longest=1500):
        tosc_env.load_scheme("lbvq", Game(make_source("shapes", num_images=20), num_symbols=9))


@pytest.mark.parametrize(
    "load", [tosc_env.load_scheme, tosc_env.load_eavesdropper, make_scheme, make_eavesdropper]
)
def test_a_file_in_place_of_a_name_is_told_what_loads_it(load):
    game = Game(make_source("shapes", num_images=20))
    with refused("a.safetensors load_checkpoint"):
        load("a.safetensors", game if "load" in load.__name__ else game.spec)


def figures_on_the_training():
    game = Game(make_source("shapes", num_images=40, size=16), num_symbols=8)
    evaluate(game, make_scheme("label-only", game.spec), {}, seeds=1, with_ssim=False)


ARRAYS = (np.zeros((4, 3, 16, 16), np.uint8), [0, 1, 0, 1])
MAKERS = [
    lambda **options: gymnasium.make("ToSC-Shapes-v0", **options),
    lambda **options: gymnasium.make_vec("ToSC-Shapes-v0", num_envs=2, **options),
    lambda **options: tosc_env.aec_env("ToSC-Shapes-v0", **options),
    lambda **options: tosc_env.parallel_env("ToSC-Shapes-v0", **options),
]


@pytest.mark.parametrize("make", [*MAKERS, Game, lambda source: GameConfig(data=source)])
def test_images_in_place_of_a_source_are_told_what_makes_one(make):
    with refused("tosc_env.as_source"):
        make(source=ARRAYS)


@pytest.mark.parametrize("make", MAKERS)
def test_an_option_that_no_environment_has_is_told_all_that_it_has(make):
    with refused("'sorce' 'source'? attributes _kwargs GameConfig") as caught:
        make(sorce=ARRAYS)
    assert " ... " not in str(caught.value)


def test_an_attacker_by_name_is_no_attacker():
    game = Game(make_source("shapes", split="test", num_images=20))
    with refused("attackers Eavesdropper 'linear'"):
        evaluate(game, make_scheme("label-only", game.spec), {"l": "linear"})


# -- the command line's own sentences ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--snr", "12"], "'--snr' --snr-db"),
        (["--eavesdropers", "2"], "'--eavesdropers' --eavesdroppers"),
        (["extra"], "'extra'"),
        (["--flip=3"], "'3'"),
        (["--epochs", "abc"], "--epochs whole 'abc'"),
        (["--eavesdroppers", "x", "--colluding"], "--eavesdroppers whole 'x'"),
        (["--snr_db", "1", "x"], "--snr-db numbers '1' 'x'"),
        (["--scheme-kwargs", "widths=32,64"], "widths '32,64' [32,64]"),
        (["--weight-decay", "-1"], "weight_decay 0 -1"),
        (["--learning-rate", "1e308"], "learning_rate 1e+308"),
        (["--epochs", "-1"], "epochs 1 -1"),
        (["--batch-size", "0"], "batch_size 1 0"),
        (["--", "x"], "'--'"),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_one_whole_sentence(capsys, arguments, words):
    """With the value and what is allowed, nothing left out of its middle, and before anything is computed."""
    assert cli.main(["train", "deepjscc", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and " ... " not in told.err
    assert all(word in told.err for word in words.split()), told.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian", "deepjscc"], "'trian' 'train'"),
        (["data", "lst"], "'lst' 'list' get"),
        ([], "demo train list"),
    ],
)
def test_what_is_no_command_is_told_the_nearest(capsys, arguments, words):
    told = slip(capsys, *arguments)
    assert all(word in told for word in words.split()), told


@pytest.mark.parametrize("drawn", [True, False])
def test_a_box_is_read_whatever_its_lines_are_drawn_with(drawn):
    lines = [
        "Error parsing --epochs: invalid literal: 'x'",
        "-" * 20,
        "Argument helptext:",
        "    --epochs INT",
    ]
    box = ["- Value error -", *lines, "-" * 20]
    if drawn:
        box = ["╭─ Value error ─╮", *(f"│ {line.replace('-' * 20, '─' * 20)} │" for line in lines), "╰──╯"]
    else:
        box.insert(1, "-" * 20)
    assert (
        cli._sentence("\n".join(box), ["train", "--epochs", "x"]) == "--epochs takes a whole number, not 'x'."
    )


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["--version"]])
def test_a_reader_that_has_had_enough_ends_the_command(arguments):
    code = "import sys; from tosc_agents.cli import main; sys.exit(main())"
    running = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    running.stdout.close()
    told = running.stderr.read().decode()
    running.stderr.close()
    running.wait(timeout=120)
    assert told == ""


def test_a_warning_is_shown_once(capsys, monkeypatch):
    monkeypatch.setattr(cli, "_told", set())
    for text in ("one", "two", "one", "one"):
        cli._show_warning(text)
    assert capsys.readouterr().err == "tosc: warning: one\ntosc: warning: two\n"


@pytest.mark.parametrize(
    "door",
    [
        lambda: gymnasium.make("ToSC-CIFAR-v0", role="receiver"),
        lambda: gymnasium.make_vec("ToSC-CIFAR-v0", num_envs=2, role="eavesdropper"),
        lambda: tosc_env.parallel_env("ToSC-CIFAR-v0"),
        lambda: Source.from_arrays(ARRAYS[0], [0, 2, 2, 0], name="mine"),
        lambda: Source.from_arrays(ARRAYS[0], [0, 1, 1, 1], name="mine").take_half("system"),
        lambda: figures_on_the_training(),
    ],
)
def test_a_warning_points_at_the_users_line(door, monkeypatch, tmp_path):
    monkeypatch.setenv("TOSC_DATA_DIR", str(tmp_path))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        door()
    assert told and {one.filename for one in told} == {__file__}


def test_what_plays_for_many_untrained_eavesdroppers_is_told_once():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        stages = ["keyed", {"name": "laplace", "epsilon": 20}]
        three = tosc_env.wiretap(3)
        gymnasium.make_vec(
            "ToSC-Shapes-v0", num_envs=2, role="receiver", nodes=three, scheme="lbvq", stages=stages
        )
    assert sum("plays instead" in str(one.message) for one in told) == 1


class Halved(tosc_env.Stage):
    """Symbols of half the size, which are no points of any constellation."""

    def protect(self, symbols, context):
        return symbols / 2


def test_a_stage_that_leaves_the_constellation_is_told_how_to_say_so():
    spec = Game(make_source("shapes", num_images=20, size=16), num_symbols=8).spec
    scheme = make_scheme("lbvq", spec, **TINY)
    staged = scheme.with_stages([Halved(spec, scheme.constellation)])
    with refused("no point of '16qam' stage constellation"):
        context = Context(torch.full((2,), 12.0), torch.zeros(2, 5, dtype=torch.int64))
        staged.constrain(staged.encode(torch.rand(2, *spec.image_shape), context), context)


# -- figures that are a result, and records that say what was true ------------------------------------


@pytest.mark.parametrize(
    ("split", "half", "warns"), [("train", "attacker", True), ("train", None, True), ("test", None, False)]
)
def test_figures_on_images_of_the_training_are_told_to_be_no_result(split, half, warns):
    game = Game(make_source("shapes", num_images=40, size=16, split=split, half=half), num_symbols=8)
    scheme = make_scheme("label-only", game.spec)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        evaluate(game, scheme, {"m": make_eavesdropper("mean-image", game.spec)}, seeds=1, with_ssim=False)
    assert any("split='test'" in str(one.message) for one in told) == warns


@pytest.mark.parametrize(
    ("half", "said", "true"),
    [
        ("attacker", "other-half", "other-half"),
        ("system", "other-half", "same-half"),
        ("attacker", "same-half", "other-half"),
        (None, "other-half", "no-half"),
        ("attacker", "no-half", "no-half"),
        (None, "other-data", "other-data"),
    ],
)
def test_a_record_says_which_images_the_attacker_had(half, said, true):
    game = Game(make_source("shapes", num_images=40, size=16, half=half), num_symbols=8)
    scheme = make_scheme("label-only", game.spec)
    _, record = fit_eavesdropper("mean-image", game, scheme, threat=ThreatModel(images=said))
    assert record["threat_model"]["images"] == true


def test_of_a_folder_that_has_changed_no_attacker_is_said_to_have_had_the_other_half(folder, capsys):
    draw(folder / "pictures", count=24)
    attack = ["attack", "own.safetensors", "--eavesdropper", "mean-image", *QUICK, "--output", "out"]
    assert cli.main([*attack, "--data-kwargs", "path=pictures"]) == 0
    told = capsys.readouterr()
    assert "'no-half'" in told.err and "images: no-half" in " ".join(told.out.split())
    record = json.loads((folder / "out" / "results.json").read_text())
    assert record["threat_model"]["images"] == "no-half"
    assert record["attackers"]["mean-image"]["threat_model"]["images"] == "no-half"


def test_nor_where_the_training_started_from_one_on_other_images_of_the_folder(folder, capsys):
    draw(folder / "pictures", count=24)
    train = last_of(*ON_PICTURES, "--from", "own.safetensors", "--output", "on.safetensors")
    assert cli.main(train) == 0
    attack = ["attack", "on.safetensors", "--eavesdropper", "mean-image", *QUICK, "--output", "out"]
    assert cli.main(attack) == 0
    assert "'no-half'" in capsys.readouterr().err


def test_an_evaluation_in_python_says_what_each_attacker_had():
    """Whoever was fitted knows it; of others nobody said, and nothing is made up."""
    config = GameConfig("shapes", {"num_images": 40, "size": 16}, num_symbols=8)
    scheme = make_scheme("label-only", config.game().spec)
    fitted, _ = fit_eavesdropper("mean-image", config.game(half="system"), scheme)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a class that one of the halves has not
        blind, _ = fit_eavesdropper(
            "mean-image", config.game(half="attacker"), scheme, threat=ThreatModel(csi=False)
        )
    unknown = make_eavesdropper("mean-image", config.game().spec)
    test, how = config.game(split="test"), {"seeds": 1, "with_ssim": False}
    found = evaluate(test, scheme, {"a": fitted, "b": unknown}, **how)
    models = found.plain()["threat_models"]
    assert models["a"]["images"] == "same-half" and models["b"] is None
    assert "Attackers a: images: same-half" in found.terms and "b: nobody said" in found.terms
    found = evaluate(test, scheme, {"a": fitted, "b": blind}, **how)
    assert [found.threats[name].csi for name in "ab"] == [True, False], "each under its own"
    assert evaluate(test, scheme, {"b": blind}, **how).terms.startswith("Attackers: images: other-half")


def test_an_evaluation_records_what_its_attackers_cards_say(folder, capsys):
    attack = ["attack", "own.safetensors", "--eavesdropper", "linear", *QUICK]
    assert cli.main([*attack, "--images", "same-half", "--output", "same"]) == 0
    assert cli.main([*attack, "--no-csi", "--output", "blind"]) == 0
    files = ["same/linear.safetensors", "attacked/mean-image.safetensors"]
    evaluation = ["evaluate", "own.safetensors", *QUICK, "--output", "out", "--attacker"]
    capsys.readouterr()
    assert cli.main([*evaluation, *files]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "Attackers linear: images: same-half" in told and "mean-image: images: other-half" in told
    results = json.loads((folder / "out" / "results.json").read_text())["results"]
    images = {name: one["images"] for name, one in results["threat_models"].items()}
    assert images == {"linear": "same-half", "mean-image": "other-half"}
    assert cli.main([*evaluation, "blind/linear.safetensors", "attacked/mean-image.safetensors"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "own CSI: no" in told and "own CSI: yes" in told


def test_chance_stands_beside_accuracy():
    images = np.zeros((8, 3, 16, 16), np.uint8)
    source = Source.from_arrays(images, [0, 0, 0, 0, 0, 0, 1, 1], name="mine", split="test")
    game = Game(source, num_symbols=8)
    found = evaluate(game, make_scheme("label-only", game.spec), {}, seeds=1)
    assert accuracies(found).endswith("at 12 dB (chance 75.0%)")


def test_no_leak_is_told_to_be_more_than_all_of_the_unprotected_ones():
    top = {"12": {"psnr_db": {"attacker": "a", "value": 15.0, "floor": 12.0, "above_floor": 3.0}}}
    (line,) = describe(top, {"12": {"psnr_db": 14.0}})
    assert "unprotected 2.00 dB" in line and "%" not in line


# -- few images -------------------------------------------------------------------------------------


def few(count, size=8):
    images = np.random.default_rng(0).integers(0, 256, (count, 3, size, size), dtype=np.uint8)
    source = Source.from_arrays(images, np.arange(count) % 2, name="few", class_names=["a", "b"])
    game = Game(source, num_symbols=8)
    return game, make_scheme("deepjscc", game.spec, **{**TINY, "widths": (4, 4, 8), "blocks": (0, 0, 0)})


@pytest.mark.filterwarnings("ignore:a batch of")
@pytest.mark.parametrize(("count", "batch"), [(1, 4), (1, 1), (3, 1)])
def test_one_image_at_a_time_is_one_sentence_or_trains(count, batch):
    game, scheme = few(count)
    config = SchemeTraining(LoopConfig(epochs=1, batch_size=batch), cutout=0)
    try:
        fit_scheme(scheme, game, config)
    except ValueError as error:
        assert isinstance(error, tosc_env.errors.InputError) and "at least 2 images" in str(error)


@pytest.mark.parametrize(
    ("count", "batch", "warns"), [(6, 4, True), (3, 8, True), (4, 4, False), (8, 4, False)]
)
def test_an_epoch_of_a_single_step_is_told(count, batch, warns):
    game, scheme = few(count, size=16)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fit_scheme(scheme, game, SchemeTraining(LoopConfig(epochs=1, batch_size=batch)))
    assert any("batch_size" in str(one.message) for one in told) == warns


def test_the_receivers_training_uses_every_augmentation():
    weights = []
    for colour in (0.0, 0.5):
        game, scheme = few(8, size=16)
        torch.manual_seed(0)
        for weight in scheme.parameters():
            torch.nn.init.normal_(weight, std=0.1)
        loop = LoopConfig(epochs=1, batch_size=4, precision="float32")
        fit_receiver(scheme, game, SchemeTraining(loop, cutout=0, colour=colour), copies=2)
        weights.append(torch.cat([weight.flatten() for weight in scheme.parameters()]))
    assert not torch.equal(*weights)


def test_no_option_of_a_record_is_unchecked():
    """Law: a field's type hint is read where it was written, in a base of another module as well."""
    found = 0
    for package in (tosc_env, tosc_agents):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            for record in vars(importlib.import_module(module.name)).values():
                if isinstance(record, type) and is_dataclass(record) and hasattr(record, "__post_init__"):
                    names = {f.name for f in fields(record) if f.init}
                    assert names <= options._hints(record).keys(), record
                    found += 1
    assert found > 10

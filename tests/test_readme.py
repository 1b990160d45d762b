"""The README's code runs as it stands there, only shorter."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from PIL import Image
from tosc_agents import cli

import tosc_env

README = Path(__file__).parents[1] / "README.md"
DATA = README.parent / "docs" / "data.md"


def block(containing: str, page: Path = README) -> str:
    found = [
        code for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.S) if containing in code
    ]
    assert len(found) == 1, containing
    return found[0]


def run(code: str, **given: Any) -> dict[str, Any]:
    names: dict[str, Any] = {"torch": torch, "tosc_env": tosc_env, "gym": gym, **given}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*was not found under the data root.*")
        exec(compile(code, str(README), "exec"), names)
    return names


def test_the_ten_lines_train_and_attack(capsys: pytest.CaptureFixture[str]) -> None:
    code = block('fit_eavesdropper("inversion-mlp"')
    assert len(code.strip().splitlines()) <= 12
    short = code.replace("epochs=5", "epochs=1").replace(
        'GameConfig("shapes",', 'GameConfig("shapes", data_kwargs={"num_images": 600},'
    )
    run(short.replace('("inversion-mlp",', '("linear",'))
    assert "'accuracy'" in capsys.readouterr().out


def test_arrays_of_ones_own_are_trained_on() -> None:
    stream = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8, generator=stream)
    code = block('take_half("system")').replace("epochs=5", "epochs=1, batch_size=10")
    names = run(code, images=images.numpy(), labels=(torch.arange(40) % 4).numpy())
    assert len(names["game"].source) == 20 and names["scheme"].spec.num_outputs == 4


def test_an_attacker_is_measured_on_arrays_that_were_kept_back(capsys: pytest.CaptureFixture[str]) -> None:
    stream = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (60, 3, 32, 32), dtype=torch.uint8, generator=stream).numpy()
    labels = (torch.arange(60) % 4).numpy()
    code = block('take_half("system")').replace("epochs=5", "epochs=1, batch_size=10")
    names = run(code, images=images[:40], labels=labels[:40])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        given = {"source": names["source"], "scheme": names["scheme"]}
        run(block("held_out"), **given, test_images=images[40:], test_labels=labels[40:])
    assert "'linear'" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:.*plays instead.*")
def test_every_kind_of_images_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (10, 16, 16, 3), dtype=np.uint8)
    pictures = [Image.fromarray(one) for one in pixels]
    for i, picture in enumerate(pictures):
        (tmp_path / "pictures" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        picture.save(tmp_path / "pictures" / "ab"[i % 2] / f"{i}.png")
    arrays, labels = pixels.transpose(0, 3, 1, 2), [0, 1] * 5
    given: dict[str, Any] = {"images": arrays, "labels": labels, "test_images": arrays, "test_labels": labels}
    items = list(zip(pictures, labels, strict=True))
    rows = [{"image": picture, "label": label} for picture, label in items]
    given |= {"torchvision_or_other_dataset": items, "huggingface_dataset": {"train": rows}}
    names = run(block("as_source", DATA), **given)
    assert names["env"].reset(seed=0)[0]["received"].shape == (128,)
    assert names["held_out"].class_names == names["source"].class_names


def test_every_form_of_the_environment_is_made() -> None:
    names = run(block("num_envs=1024"))
    assert names["env"].reset(seed=0)[0]["received"].shape == (128,)
    assert names["envs"].reset(seed=0)[0]["received"].shape == (1024, 128)
    names["aec"].reset(seed=0)
    assert set(names["par"].reset(seed=0)[0]) == {"transmitter_0", "receiver_0", "eavesdropper_0"}


@pytest.mark.filterwarnings("ignore:.*play untrained.*")
def test_several_eavesdroppers_are_played() -> None:
    names = run(block("tosc_env.wiretap(2)"))
    assert list(names["par"].reset(seed=0)[0]) == ["transmitter_0", "receiver_0", "eavesdropper_0"]


def test_every_protected_environment_is_made() -> None:
    code = block('scheme="lbvq"')
    assert code.count("gym.make(") == len(code.strip().splitlines()) >= 4
    run(code)


def test_the_own_attacker_passes_the_checker_learns_and_is_saved(tmp_path: Path) -> None:
    Nearest = run(block("class Nearest"))["Nearest"]
    game = tosc_env.GameConfig("shapes", {"num_images": 600}).game(half="attacker")
    scheme = tosc_env.load_scheme("deepjscc", game)
    view = tosc_env.View(game, scheme, tosc_env.ThreatModel(), torch.Generator().manual_seed(0))
    attacker = Nearest(game.spec)
    tosc_env.testing.check_eavesdropper(attacker, view)
    attacker.fit(view, generator=torch.Generator())
    index = torch.arange(20)
    reception, images = view.sample(index)
    # At 12 dB the message nearest to a remembered image's reception is that image's own.
    exact = (attacker.reconstruct(reception.received, reception.csi) == images).flatten(1).all(1)
    assert exact.float().mean() > 0.9
    tosc_env.save_checkpoint(tmp_path / "nearest.safetensors", attacker)
    again = tosc_env.load_checkpoint(tmp_path / "nearest.safetensors").policy
    assert again.name == "nearest" and torch.equal(again.images, attacker.images)


def test_the_own_scheme_stage_and_objective_pass_the_checkers_and_are_saved(tmp_path: Path) -> None:
    names, spec = run(block("class Coarse")), tosc_env.SystemSpec((3, 32, 32), 10)
    assert names["scheme"].title.startswith("coarse + negate + keyed")
    tosc_env.testing.check_scheme(names["scheme"])
    tosc_env.testing.check_stage(names["Negate"](spec))
    tosc_env.testing.check_objective(names["Humble"](spec), names["Coarse"](spec))
    tosc_env.save_checkpoint(tmp_path / "coarse.safetensors", names["scheme"])
    again = tosc_env.load_checkpoint(tmp_path / "coarse.safetensors").policy
    assert again.title == names["scheme"].title and names["Humble"](spec).plain() == {"name": "humble"}
    assert torch.equal(again.backbone.classifier.weight, names["scheme"].backbone.classifier.weight)


DOCUMENTS = [
    README,
    *sorted((README.parent / "docs").glob("*.md")),
    README.parent / "docs" / "results" / "README.md",
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: "/".join(path.parts[-2:]))
def test_every_command_is_one_that_the_parser_takes(document: Path) -> None:
    blocks = re.findall(r"```(?:bash|sh|console)?\n(.*?)```", document.read_text(), re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    commands = [line.strip().removeprefix("$ ") for line in lines]
    for command in (command for command in commands if command.startswith("tosc ")):
        words = shlex.split(command, comments=True)[1:]
        cli.check_arguments(words)
        cli.parsed(words)


@pytest.mark.parametrize(
    "script", sorted((README.parent / "docs/results").glob("**/*.sh")), ids=lambda path: path.parent.name
)
def test_every_command_behind_the_results_is_one_that_the_parser_takes(script: Path, tmp_path: Path) -> None:
    """The script is run with a ``tosc`` that writes what it is asked for to a file of its own: two may run at once."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, body in (("tosc", 'printf "%s\\0" "$@" > "$0.$$"'), ("python", "exit 0")):
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    path = {"PATH": f"{folder}:{os.environ['PATH']}"}
    subprocess.run(
        ["sh", script, "shapes", "cifar10"], cwd=tmp_path, env=path, capture_output=True, check=True
    )
    commands = [written.read_text().split("\0")[:-1] for written in folder.glob("tosc.*")]
    assert len(commands) > 5
    for words in commands:
        cli.check_arguments(words)
        cli.parsed(words)

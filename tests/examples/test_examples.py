"""Every example runs as a script, on a budget of seconds; the one that learns by reinforcement does learn."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))


def run(name: str, *arguments: str, folder: Path) -> str:
    """What an example prints; it runs in a process of its own, in ``folder``, with one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def scheme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the example that trains a scheme, which the others attack."""
    folder = tmp_path_factory.mktemp("scheme")
    budget = ("--num-images", "1000", "--epochs", "2", "--width", "16", "--output", "scheme.safetensors")
    printed = run("train_scheme", *budget, folder=folder)
    assert len(re.findall(r"accuracy \d+\.\d% at", printed)) == 2
    return folder / "scheme.safetensors"


def test_every_example_is_tested_here():
    tested = {"quickstart", "train_scheme", "train_attacker", "custom_attacker", "ppo_eavesdropper"}
    assert set(NAMES) == tested


@pytest.mark.parametrize("name", NAMES)
def test_help_shows_a_command(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert stopped.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"python examples/{name}.py" in printed
    assert "default" in printed


def test_quickstart(tmp_path):
    printed = run("quickstart", folder=tmp_path)
    assert printed.count("PSNR") == 16


def test_train_attacker(scheme, tmp_path):
    budget = ("--num-images", "600", "--epochs", "1", "--queries", "200", "--output", "attack.png")
    printed = run("train_attacker", "--scheme", str(scheme), *budget, folder=tmp_path)
    assert "spent 200 queries" in printed
    assert "mean-image: PSNR" in printed
    assert (tmp_path / "attack.png").stat().st_size > 1000


def test_custom_attacker_beats_the_floor(tmp_path):
    printed = run("custom_attacker", "--messages", "100", folder=tmp_path)
    found = {name: float(q) for name, q in re.findall(r"(\S+): q ([+-]\d\.\d+)", printed)}
    assert found["likely-neighbours"] > found["mean-image"]


def test_ppo_learns_to_see(tmp_path):
    """Against the zoo's scheme: one trained for seconds leaks now more, now less."""
    budget = ("--steps", "20000", "--num-envs", "64", "--test-messages", "1000")
    printed = run("ppo_eavesdropper", *budget, folder=tmp_path)
    before, after = map(float, re.findall(r"([+-]\d\.\d+) (?:un)?trained", printed))
    assert after > max(before, 0.0) + 0.08

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
EXTENDING = sorted(path.stem for path in (EXAMPLES / "extending").glob("*.py"))

REGISTRIES = {
    "channel": ("tosc_env.channels", ("--messages", "500")),
    "eavesdropper": ("tosc_env.eavesdroppers", ("--queries", "1500")),
    "objective": ("tosc_env.objectives", ("--num-images", "800")),
    "reward": ("tosc_env.rewards", ("--messages", "300", "--queries", "1000")),
    "scheme": ("tosc_env.schemes", ("--epochs", "4", "--num-images", "1000")),
    "source": ("tosc_env.sources", ("--epochs", "2", "--num-images", "600")),
    "stage": ("tosc_env.stages", ("--num-images", "600")),
    "task": ("tosc_env.tasks", ("--epochs", "3", "--num-images", "1600")),
}
"""The examples of extending/: the entry points that each one's docstring tells of, and a budget of seconds."""


def run(name: str, *arguments: str, folder: Path) -> str:
    """Run an example in a process of its own, in ``folder``, with one thread; return what it prints."""
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


def test_examples_import_public_names():
    """From the two packages themselves."""
    for path in EXAMPLES.rglob("*.py"):
        found = re.findall(r"^\s*(?:from|import) (tosc_\w+[\w.]*)", path.read_text(), re.M)
        assert set(found) <= {"tosc_env", "tosc_agents"}, path


@pytest.mark.parametrize("name", NAMES)
def test_help_shows_a_command(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert stopped.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"python examples/{name}.py" in printed
    assert "default" in printed


@pytest.mark.slow
def test_quickstart(tmp_path):
    printed = run("quickstart", folder=tmp_path)
    assert printed.count("PSNR") == 16


@pytest.mark.slow
def test_train_attacker(scheme, tmp_path):
    budget = ("--num-images", "600", "--steps", "20", "--queries", "200", "--output", "attack.png")
    printed = run("train_attacker", "--scheme", str(scheme), *budget, folder=tmp_path)
    assert "spent 200 queries" in printed
    assert "mean-image: PSNR" in printed
    assert (tmp_path / "attack.png").stat().st_size > 1000


@pytest.mark.slow
def test_custom_attacker_beats_the_floor(tmp_path):
    printed = run("custom_attacker", "--messages", "100", folder=tmp_path)
    found = {name: float(q) for name, q in re.findall(r"(\S+): q ([+-]\d\.\d+)", printed)}
    assert found["likely-neighbours"] > found["mean-image"]


@pytest.mark.slow
def test_ppo_learns_to_see(tmp_path):
    """Against the zoo's scheme: one trained for seconds leaks now more, now less."""
    budget = ("--steps", "20000", "--num-envs", "64", "--test-messages", "1000")
    printed = run("ppo_eavesdropper", *budget, folder=tmp_path)
    before, after = map(float, re.findall(r"([+-]\d\.\d+) (?:un)?trained", printed))
    assert after > max(before, 0.0) + 0.08


def test_every_registry_has_an_example_that_names_its_entry_points():
    assert set(EXTENDING) == set(REGISTRIES)
    listed = (EXAMPLES / "README.md").read_text()
    for name, (group, _) in REGISTRIES.items():
        docstring = (EXAMPLES / "extending" / f"{name}.py").read_text().split('"""')[1]
        assert f"``{group}``" in docstring
        assert f"python examples/extending/{name}.py" in docstring
        assert f"extending/{name}.py" in listed
    assert all(f"]({name}.py)" in listed for name in NAMES)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "reward")) for name in EXTENDING]
)
def test_what_is_registered_works(name, tmp_path):
    """Laws: the script ends well, its checker raising otherwise, and what learns beats what does not."""
    printed = run(f"extending/{name}", *REGISTRIES[name][1], folder=tmp_path)
    rates = [float(rate) for rate in re.findall(r"(\d+\.\d)%", printed)]
    if name == "scheme":
        assert rates[0] > 20.0  # chance is 10 %
    elif name == "source":
        assert rates[0] > 50.0  # chance is 25 %
    elif name == "eavesdropper":
        size, most_frequent = rates[:2]
        assert size > most_frequent + 5.0
    elif name == "channel":
        awgn, mild, deep = rates
        assert awgn > deep and mild > deep
    elif name == "stage":
        as_it_comes, trained, without = rates
        assert as_it_comes + 3.0 < trained < without
        punctured, whole = map(float, re.findall(r"rebuilt at (\d+\.\d+) dB", printed))
        assert punctured < whole - 0.5
    elif name == "objective":
        right, guessed, _, still_right, less, most_frequent = rates
        assert most_frequent < less < guessed - 8.0 and still_right > right - 8.0
    elif name == "task":
        trained, constant = map(float, re.findall(r"(0\.\d+) (?:trained|\()", printed))
        assert trained > constant
    else:
        default, caught, farther = map(float, re.findall(r"earns ([+-]\d\.\d+)", printed))
        assert caught > farther
        assert default != caught

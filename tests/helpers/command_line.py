"""Helpers for the tests of the command line: a tiny training, and the form of an error message."""

from __future__ import annotations

import shutil

from tosc_agents import cli

NETWORK = ["stem=4", "widths=[4,8]", "blocks=[0,0]", "receiver_width=16", "receiver_depth=1"]
DATA = ["num_images=60", "size=16"]
TRAIN = [
    *("train", "deepjscc", "--data", "shapes", "--data-kwargs", *DATA, "--scheme-kwargs", *NETWORK),
    *("--num-symbols", "8", "--epochs", "2", "--batch-size", "10", "--precision", "float32"),
]


def last_of(*arguments) -> list[str]:
    """The arguments of a command without an option's earlier values, where it comes again: it may be given once."""
    parts: dict[str, list[str]] = {}
    name = ""
    for text in map(str, arguments):
        if text.startswith("--"):
            name = text
            parts[name] = []
        parts.setdefault(name, []).append(text)
    return [text for part in parts.values() for text in part]


def slip(capsys, *arguments) -> str:
    """Run a command that must fail as a user's slip does; returns its one line."""
    code = cli.main(last_of(*arguments))
    told = capsys.readouterr()
    assert code == 2, told
    lines = [line for line in told.err.splitlines() if not line.startswith(("train ", "fit "))]
    assert len(lines) == 1 and lines[0].startswith("tosc: error: ") and lines[0].endswith(".")
    assert "Traceback" not in told.err + told.out
    return lines[0]


def work_in_copy(made, tmp_path, monkeypatch):
    """A copy of a folder that a module has made, as the folder to work in."""
    place = tmp_path / "work"
    shutil.copytree(made, place)
    monkeypatch.chdir(place)
    return place

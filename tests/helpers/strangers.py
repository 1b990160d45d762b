"""Strangers' packages, installed for interpreters of their own."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path


def install(package: Path, target: Path) -> None:
    """Put a pure Python package into ``target`` as an installer does: its modules, and a .dist-info beside them.

    pip would need a build backend, which it fetches from the network or finds in an environment that has it
    by chance.
    """
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    modules = sorted(package.glob("*.py"))
    for module in modules:
        shutil.copy(module, target)
    info = target / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()), ""])
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups))
    files = [target / module.name for module in modules] + sorted(info.iterdir())
    lines = []
    for file in files:
        digest = base64.urlsafe_b64encode(hashlib.sha256(file.read_bytes()).digest()).rstrip(b"=").decode()
        lines.append(f"{file.relative_to(target).as_posix()},sha256={digest},{file.stat().st_size}\n")
    (info / "RECORD").write_text("".join(lines) + f"{info.name}/RECORD,,\n")


def interpreter(packages: Iterable[Path], site: Path, folder: Path) -> Callable[..., str]:
    """A function that runs Python in ``folder``, with the packages installed, and returns what it prints."""
    for package in packages:
        install(package, site)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")])),
        "TOSC_DATA_DIR": str(folder / "no-data"),
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
        "COLUMNS": "160",
    }

    def python(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=250,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return python

"""Killed at any moment, twenty times, a command ends in the bytes of one that was left alone, and without litter."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from command_line import TRAIN
from tiny_preset import tiny
from tosc_agents import cli
from tosc_agents.experiments import presets
from tosc_agents.experiments.attacks import Attacker

from tosc_env.data import cifar10
from tosc_env.io.files import LEFTOVER_AGE

KILLS = 20


def run_of(arguments):
    """The command in a process of its own, which shares what is imported here."""
    child = os.fork()
    if child == 0:
        try:
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
            os._exit(cli.main([str(one) for one in arguments]))
        except BaseException:
            os._exit(99)
    return child


def finished(arguments):
    """Run a command to its end; gives its exit code and how long it took."""
    start = time.perf_counter()
    _, status = os.waitpid(run_of(arguments), 0)
    return os.waitstatus_to_exitcode(status), time.perf_counter() - start


def age_leftovers(folder):
    """Make all that killed processes have left a day old, as the next day will."""
    then = time.time() - LEFTOVER_AGE - 60
    for path in folder.rglob(".*.part"):
        os.utime(path, (then, then))


def names_in(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def made(arguments):
    """Run a command here, so that whatever it imports is there for all that are killed."""
    assert cli.main([str(one) for one in arguments]) == 0


def killed_and_run_again(folder, arguments, whole, told, ends=(0,)):
    """Kill a command at random moments and run it again, for :data:`KILLS` kills; ``whole`` is a folder that an
    undisturbed run has made, and ``told`` what of a folder's content must be the same."""
    draw = random.Random(0)
    shutil.rmtree(folder, ignore_errors=True)
    kills = ended = 0
    code, took = finished(arguments)
    assert code == 0
    shutil.rmtree(folder)
    while kills < KILLS:
        child = run_of(arguments)
        time.sleep(draw.uniform(0, took))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        killed = code == -signal.SIGKILL
        assert killed or code in ends, code
        kills += killed
        if folder.exists():
            age_leftovers(folder)
        # Half of the times it is killed again before it could end.
        if not killed or draw.random() < 0.5:
            code, _ = finished(arguments)
            assert code in ends, code
            assert told(folder) == told(whole)
            assert names_in(folder) == names_in(whole)
            shutil.rmtree(folder)
            ended += 1
    assert ended > KILLS / 4


@pytest.mark.slow
def test_training(tmp_path):
    def told(folder):
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    command = [*TRAIN, "--output"]
    whole = tmp_path / "whole"
    made([*command, whole / "a.safetensors"])
    assert told(whole).keys() == {"a.safetensors", "a.json"}
    # 2: it had ended when it was killed, and a finished checkpoint is not overwritten.
    folder = tmp_path / "killed"
    killed_and_run_again(folder, [*command, folder / "a.safetensors"], whole, told, ends=(0, 2))


def without(record, *names):
    if isinstance(record, dict):
        return {k: without(v, *names) for k, v in record.items() if k not in names}
    return [without(v, *names) for v in record] if isinstance(record, list) else record


def records(folder, *names):
    """All files of a folder by name: weights and tables as bytes, records without how long they took."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".json":
            found[path.name, path.parent.name] = without(json.loads(path.read_text()), "seconds", *names)
        elif path.is_file() and path.suffix in (".safetensors", ".csv", ".png"):
            found[path.name, path.parent.name] = path.read_bytes()
    return found


@pytest.mark.slow
def test_attack(tmp_path):
    target = tmp_path / "a.safetensors"
    made([*TRAIN, "--output", target])
    options = ["steps=250", "width=8", "components=4", "batch_size=10"]
    attackers = ["mean-image", "linear", "inversion-mlp", "sorted"]
    command = [
        *("attack", target, "--stages", "keyed", "--key-file", tmp_path / "my.key"),
        *("--eavesdropper", *attackers, "--eavesdropper-kwargs", *options, 'sorted.base_attacks=["label"]'),
        *("--seeds", "1", "--no-ssim", "--output"),
    ]
    (tmp_path / "my.key").write_text("5a" * 32)
    made([*command, tmp_path / "whole"])

    def told(folder):  # but for the folder's own name among the options
        return {name: value for (name, _), value in records(folder, "asked").items()}

    killed_and_run_again(tmp_path / "killed", [*command, tmp_path / "killed"], tmp_path / "whole", told)


@pytest.mark.slow
def test_reproduce(tmp_path, monkeypatch):
    mlp = {"components": 4, "width": 8, "steps": 4, "batch_size": 50}
    attackers = (Attacker("linear", "linear"), Attacker("inversion-mlp", "inversion-mlp", mlp))
    small = replace(tiny(), attackers=attackers)
    monkeypatch.setitem(presets.PRESETS, "quick", lambda: small)
    command = ["reproduce", "fig3", "--methods", "deepjscc", "--output"]

    def told(folder):
        # The digests of records that say how long something took say so too.
        found = records(folder / "jobs", "files", "sha256")
        return {**found, "table": (folder / "results.csv").read_bytes()}

    made([*command, tmp_path / "whole"])
    killed_and_run_again(tmp_path / "killed", [*command, tmp_path / "killed"], tmp_path / "whole", told)


RECORDS = 200


def archive():
    """A small release in the official layout."""
    rng, packed = np.random.default_rng(0), io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name in (
            "data_batch_1",
            "data_batch_2",
            "data_batch_3",
            "data_batch_4",
            "data_batch_5",
            "test_batch",
        ):
            table = rng.integers(0, 256, (RECORDS, 3073), dtype=np.uint8)
            table[:, 0] %= 10
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            member.size = table.size
            tar.addfile(member, io.BytesIO(table.tobytes()))
        names = "\n".join("abcdefghij").encode()
        member = tarfile.TarInfo("cifar-10-batches-bin/batches.meta.txt")
        member.size = len(names)
        tar.addfile(member, io.BytesIO(names))
    return packed.getvalue()


@pytest.fixture
def release(monkeypatch):
    """A server on this machine that sends the release slowly, from wherever it is asked to."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    body = archive()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            if start >= len(body):
                self.send_response(416)
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            try:
                for at in range(start, len(body), 1 << 17):
                    self.wfile.write(body[at : at + (1 << 17)])
                    time.sleep(0.005)
            except OSError:
                pass  # who asked was killed

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setattr(cifar10, "RECORDS", RECORDS)
    monkeypatch.setattr(cifar10.CIFAR10, "md5", hashlib.md5(body).hexdigest())
    monkeypatch.setattr(cifar10.CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/file")
    yield
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_data_get(tmp_path, release):
    def told(folder):
        return {
            str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }

    command = ["data", "get", "cifar10", "--root"]
    made([*command, tmp_path / "whole"])
    assert {path.name for path in (tmp_path / "whole").iterdir()} == {"cifar-10-batches-bin"}
    killed_and_run_again(tmp_path / "killed", [*command, tmp_path / "killed"], tmp_path / "whole", told)


def test_a_download_killed_before_its_archive_was_removed_leaves_no_archive(tmp_path, release):
    command = ["data", "get", "cifar10", "--root", tmp_path]
    assert cli.main([str(one) for one in command]) == 0
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"left behind")
    left = tmp_path / ".cifar-10-batches-bin.abcdefgh.part"
    left.mkdir()
    age_leftovers(tmp_path)
    assert cli.main([str(one) for one in command]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"cifar-10-batches-bin"}


SCRIPT = """
import sys, time
from pathlib import Path
from tosc_agents import cli
from tosc_env.io import files

def slow(part):
    Path("writing").touch()
    time.sleep(60)
files.to_disk = slow
sys.argv = ["tosc", *sys.argv[1:]]
sys.exit(cli.main())
"""


def test_a_command_that_is_asked_to_end_leaves_nothing_half_written(tmp_path):
    """SIGTERM, as a queue or a shutdown sends it, in the middle of a write."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *TRAIN, "--output", "a.safetensors"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "writing").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "terminated; the same command goes on" in said and "Traceback" not in said
    assert {path.name for path in tmp_path.iterdir()} == {"writing"}

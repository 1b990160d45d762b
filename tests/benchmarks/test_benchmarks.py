"""The benchmarks run and print JSON with the figures they promise; how fast things are is not tested."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(name: str, *arguments: str) -> dict:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / name), *arguments], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_step_prints_a_ratio_for_each_size():
    record = run("step.py", "--sizes", "1", "3", "--repeats", "2", "--num-images", "64")
    assert set(record["sizes"]) == {"1", "3"}
    for figures in record["sizes"].values():
        assert figures["ratio"] > 0
        assert figures["environment_us"] > 0
        assert figures["bare_us"] > 0


def test_import_time_prints_the_ratio():
    record = run("import_time.py", "--repeats", "1")
    assert record["ratio"] > 0
    assert record["with_tosc_env_s"] > 0

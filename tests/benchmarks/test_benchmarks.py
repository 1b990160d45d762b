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


def test_modem_prints_ratios_to_rivals_that_decide_alike():
    """Law: ours and both of Sionna's nearest-point demappers decide every symbol alike, right or wrong."""
    # As many messages as symbols: the shape in which one noise variance per message is easily misread.
    record = run(
        "modem.py", "--messages", "16", "--num-symbols", "16", "--repeats", "1", "--seconds", "0.001"
    )
    assert 0 < record["symbol_error_rate"] < 0.3, (
        "some decisions are wrong at 12 dB, so that agreeing means something"
    )
    assert set(record["sionna"]) == {"demapper-maxlog", "demapper-app", "symbol-demapper"}
    for name in ("demapper-maxlog", "symbol-demapper"):
        assert record["sionna"][name]["decisions_that_differ"] == 0
    assert record["ratio"] == record["sionna"]["demapper-maxlog"]["ratio"] > 0
    assert record["ours_us"] > 0
    assert record["requirement"]["ratio_at_least"] == 10.0


def test_import_time_prints_the_ratio():
    record = run("import_time.py", "--repeats", "1")
    assert record["ratio"] > 0
    assert record["with_tosc_env_s"] > 0


def test_memory_prints_ratios_and_finds_the_same_figures_and_observations():
    record = run("memory.py", "--images", "8", "--rows", "3", "--steps", "2", "--repeats", "1")
    assert record["data"] == "shapes", "no CIFAR-10 where tests run"
    assert record["evaluate"]["ratio"] > 0 and record["step"]["ratio"] > 0

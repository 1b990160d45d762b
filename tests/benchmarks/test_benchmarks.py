"""The benchmarks run and print JSON with the figures they promise; how fast things are is not tested."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tosc_agents.backbones.cnn import LARGE_NETWORK
from tosc_agents.complexity import complexity

from tosc_env.pipeline import make_scheme

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def started(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / name), *arguments], capture_output=True, text=True, timeout=200
    )


def run(name: str, *arguments: str) -> dict:
    done = started(name, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_step_prints_a_ratio_for_each_size():
    record = run("step.py", "--sizes", "1", "3", "--repeats", "2", "--num-images", "64")
    assert set(record["sizes"]) == {"1", "3"}
    for figures in record["sizes"].values():
        assert figures["ratio"] > 0
        assert figures["environment_us"] > 0
        assert figures["bare_us"] > 0


@pytest.mark.slow
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


@pytest.mark.slow
def test_import_time_prints_the_ratio():
    record = run("import_time.py", "--repeats", "1")
    assert record["ratio"] > 0
    assert record["with_tosc_env_s"] > 0


@pytest.mark.slow
def test_memory_prints_ratios_and_finds_the_same_figures_and_observations():
    record = run("memory.py", "--images", "8", "--rows", "3", "--steps", "2", "--repeats", "1")
    assert record["data"] == "shapes", "no CIFAR-10 where tests run"
    assert record["evaluate"]["ratio"] > 0 and record["step"]["ratio"] > 0


@pytest.mark.slow
def test_training_prints_images_per_second_with_and_without_the_adversary_in_both_precisions():
    tiny = ("--network", "tiny", "--batch-size", "8", "--steps", "2", "--repeats", "2", "--threads", "1")
    record = run("training.py", *tiny)
    assert record["data"] == "shapes", "no CIFAR-10 where tests run"
    assert set(record["measured"]) == {"bf16", "float32"}
    for terms in record["measured"].values():
        assert set(terms["plain"]["of_each_pass"]) == {"system"}
        assert set(terms["adversarial"]["of_each_pass"]) == {"adversary", "system"}
        for figures in terms.values():
            each = figures["of_each_pass"].values()
            assert figures["images_per_second"] > 0
            assert 1 / figures["images_per_second"] == pytest.approx(sum(1 / one for one in each), rel=0.02)
    assert "meets_requirement" not in record, "which is of the large network, 512 images and two threads"


def test_data_that_is_asked_for_and_not_there_is_an_error():
    done = started("training.py", "--network", "tiny", "--data", "cifar10")
    assert done.returncode == 1 and done.stdout == ""
    assert "CIFAR-10" in done.stderr and "Traceback" not in done.stderr


def test_the_large_network_has_the_size_of_public_code():
    """Law: 9.6 M parameters and 0.396 G multiply-accumulates, to 1 %, with LBVQ's codebook and without."""
    for name in ("deepjscc", "lbvq"):
        found = complexity(make_scheme(name, **LARGE_NETWORK))
        assert found.parameters == pytest.approx(9.6e6, rel=0.01)
        assert found.macs == pytest.approx(0.396e9, rel=0.01)


@pytest.mark.slow
def test_soak_plays_every_form():
    record = run("soak.py", "--minutes", "0.5", "--each", "0.001", "--num-envs", "3")
    assert all(count > 0 for count in record["steps"].values())
    assert record["combinations"] == 192

"""The benchmark of the training runs and prints what it promises; how fast training is is not tested."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tosc_agents.backbones.cnn import LARGE_NETWORK
from tosc_agents.complexity import complexity

from tosc_env.pipeline import make_scheme

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "training.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARK), *arguments], capture_output=True, text=True, timeout=200
    )


def test_it_prints_images_per_second_with_and_without_the_adversary_in_both_precisions():
    tiny = ("--network", "tiny", "--batch-size", "8", "--steps", "2", "--repeats", "2", "--threads", "1")
    done = run(*tiny)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
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
    done = run("--network", "tiny", "--data", "cifar10")
    assert done.returncode == 1 and done.stdout == ""
    assert "CIFAR-10" in done.stderr and "Traceback" not in done.stderr


def test_the_large_network_has_the_size_of_public_code():
    """Law: 9.6 M parameters and 0.396 G multiply-accumulates, to 1 %, with LBVQ's codebook and without."""
    for name in ("deepjscc", "lbvq"):
        found = complexity(make_scheme(name, **LARGE_NETWORK))
        assert found.parameters == pytest.approx(9.6e6, rel=0.01)
        assert found.macs == pytest.approx(0.396e9, rel=0.01)

"""The saving when a scheme's backbone runs once per image: evaluation, and a step of the environment.

Each is done twice in turn, in one process: as it is, and with :data:`tosc_env.memory.MEMORY_LIMIT` at zero, so that
the backbone runs for every message.  Both must give the same figures and observations, bit for bit, or the benchmark
stops.  The zoo's ``deepjscc`` plays on CIFAR-10 where it is found under the data root, and on the embedded Shapes
otherwise; the JSON says which.

Example: python benchmarks/memory.py --rows 1024 --images 500
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
import tyro
from step import keep_memory
from torch import Tensor
from tosc_agents import evaluate

from tosc_env import Game, load_scheme, make_source, memory
from tosc_env.data import data_set

SNRS = (0.0, 4.0, 8.0, 12.0, 16.0, 20.0)
SEEDS = 3


@dataclass
class Arguments:
    """Time evaluation and step with and without the memory and print JSON."""

    images: int = 500
    """Test images of the evaluation."""
    rows: int = 1024
    """Environments of the step."""
    steps: int = 8
    """Steps of one measurement."""
    repeats: int = 3
    """Measurements of each; the fastest counts."""
    threads: int = 1
    """Threads of torch."""


@contextmanager
def forgetful() -> Iterator[None]:
    """Within, nothing is remembered."""
    limit, memory.MEMORY_LIMIT = memory.MEMORY_LIMIT, 0
    try:
        yield
    finally:
        memory.MEMORY_LIMIT = limit


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """The time that the work takes, and what it returns."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def of_evaluation(arguments: Arguments, data: str, id: str) -> dict[str, float]:
    """Six SNRs and three seeds on test images that nobody has met before."""
    whole = make_source(data, split="test")

    def run() -> dict[str, Any]:
        test = whole.subset(torch.arange(min(arguments.images, len(whole))))
        return evaluate(
            Game(test), load_scheme("deepjscc", id), {}, snr_db=SNRS, seeds=SEEDS, with_floors=False
        ).plain()

    best = [float("inf")] * 2
    for _ in range(arguments.repeats):
        first, figures = seconds(run)
        with forgetful():
            second, same = seconds(run)
        if figures != same:
            raise SystemExit("the figures differ")
        best = [min(best[0], first), min(best[1], second)]
    return {
        "remembered_s": round(best[0], 4),
        "afresh_s": round(best[1], 4),
        "ratio": round(best[1] / best[0], 2),
    }


def of_step(arguments: Arguments, data: str, id: str) -> dict[str, float]:
    """An outside eavesdropper's step, when the training half has been met."""
    envs = [
        gym.make_vec(id, num_envs=arguments.rows, role="eavesdropper", data=data, max_cycles=10**6)
        for _ in range(2)
    ]
    shape = envs[0].single_action_space.shape
    assert shape is not None
    action = torch.full((arguments.rows, *shape), 0.5)

    def play(env: Any) -> Tensor:
        return torch.stack([env.step(action)[0]["received"] for _ in range(arguments.steps)])

    best = [float("inf")] * 2
    envs[0].reset(seed=0)
    with forgetful():
        envs[1].reset(seed=0)
    for _ in range(arguments.repeats):
        first, seen = seconds(lambda: play(envs[0]))
        with forgetful():
            second, same = seconds(lambda: play(envs[1]))
        if not torch.equal(seen, same):
            raise SystemExit("the observations differ")
        best = [min(best[0], first), min(best[1], second)]
    step = [value / arguments.steps for value in best]
    return {
        "remembered_us": round(1e6 * step[0], 1),
        "afresh_us": round(1e6 * step[1], 1),
        "ratio": round(step[1] / step[0], 2),
    }


def main(arguments: Arguments) -> None:
    """Measure and print one JSON object."""
    torch.set_num_threads(arguments.threads)
    kept = keep_memory()
    data, id = (
        ("cifar10", "ToSC-CIFAR-v0") if data_set("cifar10").is_available() else ("shapes", "ToSC-Shapes-v0")
    )
    record = {
        "what": "time with every message encoded afresh over time with the backbone's symbols remembered",
        "requirement": {"evaluate_ratio_at_least": 10.0, "step_ratio_at_least": 20.0},
        "data": data,
        "images": arguments.images,
        "snrs": len(SNRS),
        "seeds": SEEDS,
        "rows": arguments.rows,
        "processor": platform.processor() or platform.machine(),
        "threads": arguments.threads,
        "memory_kept": kept,
        "torch": torch.__version__,
        "evaluate": of_evaluation(arguments, data, id),
        "step": of_step(arguments, data, id),
    }
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))

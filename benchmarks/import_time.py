"""The cost of ``import tosc_env`` to a program that has torch, gymnasium and pettingzoo anyway.

Each measurement is a fresh interpreter that times its own import statement. ``import tosc_env`` alone, with
everything that it loads itself, is set against ``import torch, gymnasium, pettingzoo``; and as it loads no more of
the three than it needs, all four together are set against the three as well, which is the stricter ratio. Minima
over interleaved repeats.

Example: python benchmarks/import_time.py --repeats 20
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from typing import Literal

import tyro

LIMIT = 1.2
STATEMENTS = {
    "libraries_s": "import torch, gymnasium, pettingzoo",
    "tosc_env_alone_s": "import tosc_env",
    "with_tosc_env_s": "import torch, gymnasium, pettingzoo, tosc_env",
}
PROGRAM = "from time import {} as clock; start = clock(); {}; print(clock() - start)"
CLOCKS = {"wall": "perf_counter", "cpu": "process_time"}


@dataclass
class Arguments:
    """Time the import against that of the libraries and print JSON."""

    repeats: int = 15
    """Interleaved measurements of each; the smallest counts."""
    clock: Literal["wall", "cpu"] = "wall"
    """Time that passes, or the processor time of the interpreter, for a machine that is never quiet."""


def seconds(statement: str, clock: str) -> float:
    """The time that a statement takes in a fresh interpreter with one thread."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(CLOCKS[clock], statement)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def main(arguments: Arguments) -> None:
    """Measure in turn and print one JSON object."""
    best = dict.fromkeys(STATEMENTS, float("inf"))
    for _ in range(arguments.repeats):
        for name, statement in STATEMENTS.items():
            best[name] = min(best[name], seconds(statement, arguments.clock))
    ratio = best["with_tosc_env_s"] / best["libraries_s"]
    record = {
        "what": "seconds of importing torch, gymnasium, pettingzoo and tosc_env over those of the first three",
        "requirement": {"ratio_at_most": LIMIT},
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "clock": arguments.clock,
        "repeats": arguments.repeats,
        **{name: round(value, 4) for name, value in best.items()},
        "ratio": round(ratio, 3),
        "ratio_alone": round(best["tosc_env_alone_s"] / best["libraries_s"], 3),
        "meets_requirement": ratio <= LIMIT,
    }
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))

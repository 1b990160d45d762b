"""Write the golden record: ``python tests/golden/record.py OUT.json``, with the packages of the wanted tree.

A tensor's entry has the ``sha256`` of its type, shape and little-endian bytes, its ``shape``, and a
``projection``: inner products with four fixed pseudo-random vectors, divided by the square root of its size.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import cases
import numpy as np
import torch
from torch import Tensor

RECORD = Path(__file__).with_name("golden.json")


def fingerprint() -> dict[str, str]:
    """The facts that decide which floating-point kernels run: torch, its instruction set, and the processor."""
    processor = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        # A virtual machine's model name may be that of a whole line of processors.
        parts = [told.get("model name", processor), told.get("cpu family", ""), told.get("model", "")]
        processor = "/".join(parts)
    return {
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "processor": processor,
    }


def digest(tensor: Tensor) -> dict[str, Any]:
    """A tensor's entry in the record."""
    array = np.ascontiguousarray(tensor.detach().cpu().numpy())
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    head = f"{tensor.dtype} {list(tensor.shape)} ".encode()
    values = array.astype(np.float64).reshape(-1)
    projection = _directions(values.size) @ values / max(1, values.size) ** 0.5
    return {
        "sha256": hashlib.sha256(head + little.tobytes()).hexdigest(),
        "shape": list(tensor.shape),
        "projection": [float(f"{value:.7g}") for value in projection],
    }


@lru_cache(maxsize=8)
def _directions(size: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((4, size))


def case_record(name: str) -> dict[str, dict[str, Any]]:
    """The entries of all tensors of one case."""
    return {key: digest(tensor) for key, tensor in sorted(cases.compute(name).items())}


def main() -> None:
    """Compute everything and write it."""
    record = {
        "fingerprint": fingerprint(),
        "cases": {name: case_record(name) for name in sorted(cases.CASES)},
        "verdicts": cases.verdicts(),
    }
    Path(sys.argv[1]).write_text(_text(record), encoding="utf-8")
    count = sum(len(entries) for entries in record["cases"].values())
    print(f"{len(record['cases'])} cases, {count} tensors, with {cases.tosc_env.__file__}")


def _text(record: dict[str, Any]) -> str:
    """JSON with one tensor on a line, so that a difference shows where it is."""
    lines = []
    for name, entries in record["cases"].items():
        inner = ",\n".join(f"   {json.dumps(key)}: {json.dumps(entry)}" for key, entry in entries.items())
        lines.append(f"  {json.dumps(name)}: {{\n{inner}\n  }}")
    body = ",\n".join(lines)
    head, tail = json.dumps(record["fingerprint"]), json.dumps(record["verdicts"])
    return f'{{\n "fingerprint": {head},\n "cases": {{\n{body}\n }},\n "verdicts": {tail}\n}}\n'


if __name__ == "__main__":
    main()

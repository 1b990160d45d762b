"""The cost of the modem of discrete schemes, against Sionna's own on the same points, noise and decisions.

The way of a discrete message: the indices of its points become symbols, noise that was drawn beforehand is scaled
and added, and each received symbol is decided. Ours is ``tosc_env.modulation``, a table and rounding on each axis of
the grid; Sionna's is its ``Mapper`` and a demapper with hard output, which sets every symbol against every point. The
noise is added by the same call in both. Each side starts from what it takes, indices here and bits there, and ends
with what it gives: turning one into the other, which a vector-quantised scheme would need around Sionna's blocks, is
not charged to Sionna.

``Demapper("maxlog")`` is compared with: its hard bits are those of the nearest point, so both sides must decide every
symbol alike, or nothing is printed. ``SymbolDemapper`` must do so too; ``Demapper("app")`` decides each bit by all
points and may differ in a few symbols, which are counted.

Times are minima over interleaved repeats, as in ``step.py``, and as there the C library keeps freed memory: the larger
tensors are Sionna's, which without it would wait for fresh pages.

Example: python benchmarks/modem.py --repeats 40 --clock cpu
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import torch
import tyro
from step import keep_memory
from torch import Tensor

from tosc_env.channels.flat import AWGN
from tosc_env.channels.sionna_rng import import_sionna
from tosc_env.modulation import CONSTELLATIONS, constellation_points, hard_decision, modulate

LIMIT = 10.0
LIMIT_AT = 8192
RIVAL = "demapper-maxlog"
EXACT = (RIVAL, "symbol-demapper")
"""Those of Sionna's blocks that decide for the nearest point, as we do."""


@dataclass
class Arguments:
    """Time our modem against Sionna's and print JSON."""

    messages: int = 128
    """Messages at a time."""
    num_symbols: int = 64
    """Symbols of a message."""
    constellation: Literal["qpsk", "16qam", "64qam", "256qam"] = "16qam"
    """The points."""
    snr_db: float = 12.0
    """Es/N0 in dB."""
    repeats: int = 40
    """Interleaved measurements of each; the smallest counts."""
    seconds: float = 0.05
    """About how long one measurement lasts."""
    clock: Literal["wall", "cpu"] = "wall"
    """Time that passes, or the processor time of this process."""
    threads: int = 1
    """Threads of torch."""
    keep_memory: bool = True
    """Have the C library keep freed memory, see above."""
    seed: int = 0
    """Of indices and noise."""


class Modems:
    """Every modem on the same indices and the same noise.

    Attributes:
        sent: int64 [B, n], the indices that are sent.
        runs: by name, the whole way once: ours to indices, Sionna's to bits or indices.
    """

    def __init__(self, arguments: Arguments) -> None:
        stream = torch.Generator().manual_seed(arguments.seed)
        size = (arguments.messages, arguments.num_symbols)
        points = constellation_points(arguments.constellation)
        bits = len(points).bit_length() - 1
        self.sent = torch.randint(len(points), size, generator=stream)
        self.weights = 2 ** torch.arange(bits - 1, -1, -1)  # the most significant bit comes first
        as_bits = (self.sent[..., None] & self.weights).ne(0).int().flatten(1)
        channel = AWGN()
        snr_db = torch.full(size[:1], arguments.snr_db)
        (link,) = channel.draw([snr_db], size[1], generator=stream)
        # With one variance per message as [B] and B == n, Sionna would take it for one per symbol.
        no = torch.pow(10.0, -snr_db / 10.0)[:, None]
        mapping = import_sionna("sionna.phy.mapping")
        kind = {"constellation_type": "qam", "num_bits_per_symbol": bits, "device": "cpu"}
        mapper = mapping.Mapper(**kind)

        def ours() -> Tensor:
            waves = torch.view_as_complex(modulate(self.sent, points).unflatten(1, (-1, 2)))
            received = channel.apply(waves[:, None], link)[:, 0]
            return hard_decision(torch.view_as_real(received).flatten(1), points)

        def sionna(demapper: Callable[..., Tensor]) -> Callable[[], Tensor]:
            return lambda: demapper(channel.apply(mapper(as_bits)[:, None], link)[:, 0], no)

        self.runs: dict[str, Callable[[], Tensor]] = {
            "ours": ours,
            "demapper-maxlog": sionna(mapping.Demapper("maxlog", hard_out=True, **kind)),
            "demapper-app": sionna(mapping.Demapper("app", hard_out=True, **kind)),
            "symbol-demapper": sionna(mapping.SymbolDemapper(hard_out=True, **kind)),
        }

    def decided(self, name: str) -> Tensor:
        """The indices int64 [B, n] that a modem ends with."""
        found = self.runs[name]().long()
        if found.shape == self.sent.shape:
            return found
        return (found.unflatten(1, (-1, len(self.weights))) * self.weights).sum(-1)


def timed(run: Callable[[], Any], times: int, clock: Callable[[], float]) -> float:
    """Seconds per run."""
    start = clock()
    for _ in range(times):
        run()
    return (clock() - start) / times


@torch.no_grad()
def measure(arguments: Arguments) -> dict[str, Any]:
    """Check the decisions, then time all of them in turn."""
    modems = Modems(arguments)
    ours = modems.decided("ours")
    differ = {name: int((modems.decided(name) != ours).sum()) for name in modems.runs if name != "ours"}
    for name in EXACT:
        if differ[name]:
            raise SystemExit(f"{name} decides {differ[name]} of {ours.numel()} symbols otherwise than we do.")
    clock = time.perf_counter if arguments.clock == "wall" else time.process_time
    # So that a fast modem is measured as long as a slow one; the first call of each has been made above.
    times = {
        name: max(1, round(arguments.seconds / max(timed(run, 3, clock), 1e-9)))
        for name, run in modems.runs.items()
    }
    best = dict.fromkeys(modems.runs, float("inf"))
    for _ in range(arguments.repeats):
        for name, run in modems.runs.items():
            best[name] = min(best[name], timed(run, times[name], clock))
    return {
        "symbol_error_rate": round(float((ours != modems.sent).float().mean()), 4),
        "ours_us": round(1e6 * best["ours"], 1),
        "sionna": {
            name: {
                "us": round(1e6 * best[name], 1),
                "ratio": round(best[name] / best["ours"], 2),
                "decisions_that_differ": count,
            }
            for name, count in differ.items()
        },
        "ratio": round(best[RIVAL] / best["ours"], 2),
    }


def main(arguments: Arguments) -> None:
    """Measure and print one JSON object."""
    torch.set_num_threads(arguments.threads)
    kept = arguments.keep_memory and keep_memory()
    symbols = arguments.messages * arguments.num_symbols
    record: dict[str, Any] = {
        "what": f"seconds of Sionna's Mapper, noise and hard {RIVAL} over those of tosc_env.modulation",
        "requirement": {"symbols": LIMIT_AT, "constellation": "16qam", "ratio_at_least": LIMIT},
        "device": "cpu",
        "processor": platform.processor() or platform.machine(),
        "threads": arguments.threads,
        "clock": arguments.clock,
        "memory_kept": kept,
        "torch": torch.__version__,
        "sionna_version": version("sionna-no-rt"),
        "repeats": arguments.repeats,
        "constellation": arguments.constellation,
        "points": CONSTELLATIONS[arguments.constellation],
        "messages": arguments.messages,
        "symbols": symbols,
        "snr_db": arguments.snr_db,
        **measure(arguments),
    }
    if symbols == LIMIT_AT and arguments.constellation == "16qam":
        record["meets_requirement"] = record["ratio"] >= LIMIT
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))

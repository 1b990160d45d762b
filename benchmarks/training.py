"""Training speed of LBVQ in images a second, in bf16 and in float32, with its simulated adversary and without.

The network is the size of public code's on CIFAR-10, 9.60 M parameters and 0.396 G multiply-accumulates. The step is
the real one, of ``tosc_agents.learning.loop``: drawing the batch and the channel, augmentation, both ends, the
gradient, the optimizer, and the running average of the weights. With the adversary an epoch is two passes over the
images; images a second are those of a whole epoch, and each pass's own stand beside them.

All four take turns, and the fastest turn of each counts, because other work on the machine only ever adds. As in
``step.py`` the C library keeps freed memory.

Example: python benchmarks/training.py --threads 2 --repeats 5
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import torch
import tyro
from step import keep_memory
from tosc_agents.backbones.cnn import LARGE_NETWORK
from tosc_agents.complexity import complexity
from tosc_agents.experiments.systems import Recipe
from tosc_agents.experiments.table1 import Place, TimedTraining, machine
from tosc_agents.learning.precision import has_fast_bf16

from tosc_env import GameConfig
from tosc_env.data.base import Source
from tosc_env.devices import resolve_device
from tosc_env.errors import DataError

LIMIT, LIMIT_AT = 150.0, 512

TERMS = {"plain": ("task", "codebook"), "adversarial": ("task", "codebook", "adversary")}
NETWORKS: dict[str, dict[str, Any]] = {
    "large": dict(LARGE_NETWORK),
    "article": {},
    "tiny": {"stem": 4, "widths": [4, 8], "blocks": [0, 0], "receiver_width": 16, "receiver_depth": 1},
}


@dataclass
class Arguments:
    """Time training steps of LBVQ and print JSON."""

    network: Literal["large", "article", "tiny"] = "large"
    """Public code's size, the article's baseline's (0.085 G), or next to nothing, to try the benchmark."""
    batch_size: int = 512
    """Images per step."""
    steps: int = 4
    """Steps of each pass in a turn."""
    repeats: int = 5
    """Turns of each; the fastest counts."""
    precisions: tuple[Literal["bf16", "float32"], ...] = ("bf16", "float32")
    """Of matrix products and convolutions."""
    data: Literal["auto", "cifar10", "shapes"] = "auto"
    """CIFAR-10 where it is found under the data root, else the embedded Shapes; both are 32x32 in colour."""
    threads: int = 2
    """Threads of torch."""
    keep_memory: bool = True
    """Have the C library keep freed memory, see above."""
    device: str = "cpu"
    """Where to train, e.g. cuda:0."""


def images(arguments: Arguments) -> tuple[GameConfig, Source]:
    """The system's half of the training images, on the device."""
    device = resolve_device(arguments.device)
    name = "cifar10" if arguments.data == "auto" else arguments.data
    try:
        setting = GameConfig(name)
        return setting, setting.source(split="train", half="system", device=device)
    except DataError as error:
        if arguments.data != "auto":
            raise SystemExit(str(error)) from None
    setting = GameConfig("shapes")
    return setting, setting.source(split="train", half="system", device=device)


def measure(arguments: Arguments, setting: GameConfig, source: Source) -> dict[str, Any]:
    """All in turn; the first turn, one step long, is not counted."""
    network = NETWORKS[arguments.network]
    rivals = {
        (precision, term): TimedTraining(
            Place(setting, source, arguments.batch_size, precision),
            Recipe("lbvq", objectives=objectives),
            network,
        )
        for precision in arguments.precisions
        for term, objectives in TERMS.items()
    }
    for rival in rivals.values():
        rival.seconds(1)
    best: dict[tuple[str, str], dict[str, float]] = {
        key: dict.fromkeys(rival.passes, float("inf")) for key, rival in rivals.items()
    }
    for _ in range(arguments.repeats):
        for key, rival in rivals.items():
            for part, seconds in rival.seconds(arguments.steps).items():
                best[key][part] = min(best[key][part], seconds)
    found: dict[str, Any] = {precision: {} for precision in arguments.precisions}
    for (precision, term), passes in best.items():
        found[precision][term] = {
            "images_per_second": round(arguments.batch_size / sum(passes.values()), 1),
            "of_each_pass": {part: round(arguments.batch_size / s, 1) for part, s in passes.items()},
            "seconds_per_step": {part: round(s, 4) for part, s in passes.items()},
        }
    return found


def main(arguments: Arguments) -> None:
    """Measure and print one JSON object."""
    torch.set_num_threads(arguments.threads)
    kept = arguments.keep_memory and keep_memory()
    setting, source = images(arguments)
    arguments.batch_size = min(arguments.batch_size, len(source))
    place = Place(setting, source, arguments.batch_size)
    counted = complexity(place.scheme("lbvq", NETWORKS[arguments.network]))
    measured = measure(arguments, setting, source)
    where = machine(source.device)
    record: dict[str, Any] = {
        "what": "images a second in training of LBVQ, whole epochs",
        "requirement": {
            "network": "large",
            "batch_size": LIMIT_AT,
            "threads": 2,
            "precision": "bf16",
            "images_per_second_at_least": LIMIT,
        },
        **{k: where[k] for k in ("device", "processor", "cores", "threads", "torch")},
        "native_bf16": has_fast_bf16(source.device),
        "memory_kept": kept,
        "data": source.name,
        "provenance": source.provenance,
        "network": arguments.network,
        "parameters": counted.parameters,
        "macs": counted.macs,
        "batch_size": arguments.batch_size,
        "steps": arguments.steps,
        "repeats": arguments.repeats,
        "measured": measured,
    }
    asked = (arguments.network, arguments.batch_size, arguments.threads) == ("large", LIMIT_AT, 2)
    if asked and "bf16" in measured and record["native_bf16"]:
        record["meets_requirement"] = measured["bf16"]["plain"]["images_per_second"] >= LIMIT
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))

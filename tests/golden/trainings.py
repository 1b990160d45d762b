"""Small trainings whose results ``trainings.json`` records: ``python tests/golden/trainings.py OUT.json`` makes it.

Each trains tiny networks on 250 embedded images for two epochs, weights and objectives from one seed.  Its entry has
the digest of all trained numbers in a row, in the order of their names, and the last epoch's figures.

The record in the tree is of commit b75ee42, installed elsewhere: the same cases written in that commit's own words
(options of schemes where objectives and stages are now), trained there once. This file trains them in today's words.
Those with a simulated adversary are of a later day: it is measured by the data set's mean image since, and a leak
without a gradient leaves the whole common step to the task. So are those with a key: what is sent goes into the nonce.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from record import digest, fingerprint
from torch import Tensor

RECORD = Path(__file__).with_suffix(".json")
KEY = "5a" * 32
NETWORK = {"stem": 8, "widths": (8, 16, 16), "blocks": (1, 1, 1), "receiver_width": 64, "receiver_depth": 1}
ADAMW = {"optimizer": "adamw", "learning_rate": 2e-3}
GENTLE = {"learning_rate": 0.02}
FADING = {"channel": "rayleigh", "snr_db": [0.0, 12.0], "eavesdropper_snr_db": {"low": 0.0, "high": 20.0}}
ADVERSARY, BOTTLENECK = {"name": "adversary", "width": 64}, {"name": "bottleneck", "start": 0, "ramp": 2}
COMMON = {"name": "adversary", "width": 64, "weighting": "multiple-gradient"}
PRIVATE = ["task", BOTTLENECK, ADVERSARY]
COARSE = ["task", "codebook", {"name": "bottleneck", "beta": 0.1, "start": 0, "ramp": 0}, ADVERSARY]
CALIBRATED = {"mode": "calibrated", "constant": 0.01, "epsilon": 0.05, "epsilon_range": [0.01, 0.9]}
FIXED = {"mode": "shuffle", "lifetime": "fixed", "key": KEY}
NOISE = [{"name": "laplace", "epsilon": 50.0}]
ROTATION = [{"name": "keyed", "mode": "rotation"}]

CASES: dict[str, dict[str, Any]] = {
    "unprotected": {"scheme": "deepjscc"},
    "unprotected, in bfloat16": {"scheme": "deepjscc", "precision": "bf16"},
    "label alone": {"scheme": "label-only"},
    "laplace noise, many budgets": {
        "scheme": "dp-laplace",
        "options": {"epsilon_range": [1, 100]},
        "loop": ADAMW,
    },
    "laplace noise, one budget": {"scheme": "dp-laplace", "loop": ADAMW},
    "laplace noise, calibrated": {"scheme": "dp-laplace", "options": CALIBRATED, "loop": ADAMW},
    "laplace noise, the receiver alone": {
        "scheme": "dp-laplace",
        "options": CALIBRATED,
        "loop": ADAMW,
        "receiver": True,
    },
    "encryption, rotation per message": {"scheme": "encryption", "options": {"key": KEY}},
    "encryption, shuffle for ever": {"scheme": "encryption", "options": FIXED},
    "information bottleneck": {"scheme": "ibal", "objectives": PRIVATE, "loop": ADAMW},
    "information bottleneck, common step": {
        "scheme": "ibal",
        "objectives": ["task", BOTTLENECK, COMMON],
        "loop": ADAMW,
    },
    "information bottleneck, fading": {
        "scheme": "ibal",
        "objectives": PRIVATE,
        "loop": ADAMW,
        "rules": FADING,
    },
    "codebook": {"scheme": "lbvq", "loop": ADAMW},
    "codebook, bottleneck and adversary": {"scheme": "lbvq", "objectives": COARSE, "loop": ADAMW},
    "layered, shuffle over a codebook": {"scheme": "layered", "options": {"key": KEY}, "loop": ADAMW},
    "layered, noise over a codebook": {"scheme": "lbvq", "stages": NOISE, "loop": ADAMW},
    "layered, rotation over the bottleneck": {
        "scheme": "ibal",
        "options": {"key": KEY},
        "stages": ROTATION,
        "objectives": PRIVATE,
        "loop": ADAMW,
    },
}


def train(
    scheme: str,
    options: dict[str, Any] | None = None,
    stages: Any = (),
    objectives: Any = None,
    loop: dict[str, Any] | None = None,
    rules: dict[str, Any] | None = None,
    precision: str = "float32",
    receiver: bool = False,
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """One training: what was trained by the names of its parts, and the last epoch's figures."""
    from tosc_agents.learning.loop import LoopConfig
    from tosc_agents.learning.seeding import weights_from
    from tosc_agents.training.fit_receiver import fit_receiver
    from tosc_agents.training.fit_scheme import SchemeTraining, fit_scheme, usual_objectives

    from tosc_env.data import make_source
    from tosc_env.game import Game
    from tosc_env.pipeline import make_scheme
    from tosc_env.schemes import make_objectives

    source = make_source("shapes", half="system", num_images=500)
    plain = Game(source, **(rules or {}))
    with weights_from(5):
        system = make_scheme(scheme, plain.spec, stages=stages, **NETWORK, **(options or {}))
        wanted = usual_objectives(scheme, plain.spec) if objectives is None else objectives
        wanted = make_objectives(wanted, plain.spec)
    game = plain.with_rules(constellation=system.constellation)
    config = SchemeTraining(
        LoopConfig(epochs=2, batch_size=50, precision=precision, **(loop or GENTLE)),  # type: ignore[arg-type]
        colour=0.1,
    )
    if receiver:
        trained = fit_receiver(system, game, config, seed=9, copies=2)
    else:
        trained = fit_scheme(system, game, config, objectives=wanted, seed=9)
    state = dict(system.state_dict())
    for objective in wanted:
        state |= objective.state_dict()
    return state, trained


def entry(state: dict[str, Tensor], figures: dict[str, float]) -> dict[str, Any]:
    """The record's entry for a training."""
    numbers = [state[name].flatten() for name in sorted(state) if state[name].is_floating_point()]
    return {**digest(torch.cat(numbers)), "figures": dict(sorted(figures.items()))}


def case_record(name: str) -> dict[str, Any]:
    """The entry of one case: one thread, seeded global generators."""
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return entry(*train(**CASES[name]))


def text(found: dict[str, dict[str, Any]]) -> str:
    """JSON with a case on a line."""
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in found.items())
    return f'{{\n "fingerprint": {json.dumps(fingerprint())},\n "cases": {{\n{lines}\n }}\n}}\n'


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text({name: case_record(name) for name in CASES}), encoding="utf-8")

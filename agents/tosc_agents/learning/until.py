"""Training until a validation figure stops rising, however many images there are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tosc_agents.learning.loop import Step, StepConfig, StepLoss, identity_of, without_gradient
from tosc_agents.learning.progress import Progress
from tosc_agents.learning.state import Run, fitting
from tosc_env.errors import InputError
from tosc_env.options import Count, check_count, check_hint

LOOK = 100
"""Steps between two looks at the validation figure."""

WARMUP = 100
"""Steps in which the learning rate rises."""

SHORTEST_FALL = 300
"""Steps in which it falls, at least."""


@dataclass
class UntilConfig(StepConfig):
    """Settings of a training that a validation figure stops.

    The learning rate stays up until the figure of the averaged weights has not risen for ``patience`` looks, then falls
    along a line to 0 in half as many steps as were taken, and the weights of the best look are kept.
    """

    steps: Count = 3000
    """Steps at most; where the figure has risen until two thirds of them, the rate falls in the last third."""
    patience: Count = 5
    """Looks without a rise, of 100 steps each."""


def train_until(
    module: nn.Module,
    step_loss: StepLoss,
    validate: Callable[[], float],
    *,
    images: Tensor,
    config: UntilConfig,
    generator: torch.Generator,
    progress: Progress | None = None,
    run: Run | None = None,
    figure: str = "validation",
) -> dict[str, Any]:
    """Train ``module`` in place; it ends with the averaged weights of the best look, in evaluation mode.

    Args:
        module, step_loss, generator: as of :func:`~tosc_agents.learning.loop.train`.
        validate: the figure of the module as it is, in evaluation mode, higher being better, on images that it is not
            trained on and always the same receptions.
        images: int64 [N], the indices to train on.
        config: steps, optimizer and precision.
        progress: told the figures each time that the host reads them, with the best validation figure so far.
        run: where to keep the run's state after each look, to be resumed from, and what else its result depends on.
        figure: the name of the validation figure.

    Returns:
        The record: ``steps`` taken, ``stopped_by`` ("validation" or "limit"), the best validation figure by its name,
        ``best_step``, and with a limit ``rise_per_100_steps``, how fast the figure rose before the learning rate fell;
        None where there was but one look until then.

    Raises:
        InputError: the validation figure is not a number.
    """
    device = next(module.parameters()).device
    take_step = Step(module, step_loss, config)
    best = {name: t.clone() for name, t in take_step.average.items()}
    looks: list[float] = []
    batch = min(config.batch_size, len(images))
    known: dict[str, Any] = {}
    if run is not None:
        known = identity_of(module, config, generator, **run.parts, num_images=len(images))
        state = run.load(known, device)
        if state is not None:
            with fitting(run.path):
                looks = check_hint(state.get("looks"), list[float], "looks")
                check_count(len(looks), "the number of looks", 1, -(-config.steps // LOOK))
                if not all(map(math.isfinite, looks)):
                    raise InputError("looks must be finite numbers")
                best = take_step.checked(state.get("best"), "best")
                take_step.take_state(state, generator)
    falls_from = _falls_from(looks, config)

    def ends() -> int:
        """The step after the last one, as far as is known."""
        fall = falls_from + max(SHORTEST_FALL, falls_from // 2) if falls_from else config.steps
        return min(config.steps, fall)

    def share(step: int) -> float:
        falling = (ends() - step) / (ends() - falls_from) if falls_from else 1.0
        return min(1.0, (step + 1) / WARMUP) * falling

    def told(step: int, found: dict[str, float]) -> None:
        if progress is not None:
            best_so_far = {figure: max(looks)} if looks else {}
            progress(step, ends(), {**best_so_far, **without_gradient(found)})

    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        while len(looks) * LOOK < ends():
            first = len(looks) * LOOK
            count = min(LOOK, ends() - first)
            # Dropout knows the global stream alone: it is set look by look, so that a resumed run draws the same.
            torch.manual_seed((generator.initial_seed() * 1_000_003 + len(looks)) % 2**63)
            order = _batches(len(images), batch, count, generator)
            module.train()
            take_step.take([images[rows] for rows in order], first, share, told)
            looks.append(_looked(module, take_step.average, validate, figure))
            if looks.index(max(looks)) == len(looks) - 1:
                best = {name: t.clone() for name, t in take_step.average.items()}
            falls_from = _falls_from(looks, config)
            if run is not None:
                run.save(known, {**take_step.state(generator), "looks": looks, "best": best})
    module.load_state_dict(best)
    module.eval()
    taken = min(len(looks) * LOOK, ends())
    record: dict[str, Any] = {
        "steps": taken,
        "batch_size": batch,
        "stopped_by": "validation",
        figure: max(looks),
        "best_step": min(taken, (looks.index(max(looks)) + 1) * LOOK),
    }
    before = looks[: max(1, falls_from // LOOK)]
    if _rising(before, config):
        # What it rose by over the last looks at the full rate: a curve that still rises is not a result.
        last = before[-config.patience - 1 :]
        rise = (last[-1] - last[0]) / (len(last) - 1) if len(last) > 1 else None
        record |= {"stopped_by": "limit", "rise_per_100_steps": rise}
    return record


def _falls_from(looks: list[float], config: UntilConfig) -> int:
    """The step from which the learning rate falls; 0 where it is not known yet."""
    for count in range(1, len(looks) + 1):
        step = min(count * LOOK, config.steps)
        if not _rising(looks[:count], config) or 3 * step >= 2 * config.steps:
            return step
    return 0


def _rising(looks: list[float], config: UntilConfig) -> bool:
    """Whether the best look is one of the last."""
    return looks.index(max(looks)) >= len(looks) - config.patience


def _batches(count: int, batch: int, steps: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Places of each step's images, ``steps`` batches: one pass over all of them after another, each in a new order."""
    passes = -(-steps * batch // (count - count % batch))
    whole = count - count % batch
    orders = [
        torch.randperm(count, generator=generator, device=generator.device)[:whole] for _ in range(passes)
    ]
    return torch.cat(orders).split(batch)[:steps]


@torch.no_grad()
def _looked(module: nn.Module, average: dict[str, Tensor], validate: Callable[[], float], name: str) -> float:
    """The validation figure of the averaged weights; the module goes on with its own."""
    own = {key: t.clone() for key, t in module.state_dict().items()}
    module.load_state_dict(average)
    module.eval()
    try:
        value = float(validate())  # in float32, as an attacker is measured
    finally:
        module.load_state_dict(own)
    if not math.isfinite(value):
        raise InputError(f"the {name} of a training is not a number: {value}.")
    return value

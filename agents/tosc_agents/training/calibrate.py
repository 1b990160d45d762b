"""Fitting the one free number of the article's noise, which has no sensitivity to take it from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tosc_agents.training.card import MEASURED
from tosc_env import Game, Pipeline, load_checkpoint, rollout, save_checkpoint
from tosc_env.data import data_set
from tosc_env.errors import CheckpointError, InputError

ARTICLE_BUDGET = 0.05
"""The budget at which the article's noise is fitted."""

TOLERANCE = 0.01
"""The largest relative error of the constant that is found."""


def calibrate(
    path: Path,
    game: Game,
    target: float,
    output: Path,
    *,
    budgets: Sequence[float],
    told: Mapping[str, Any],
    nearest: bool = False,
) -> dict[str, Any]:
    """Fit c so that the article's smallest budget meets the target, and write the calibrated scheme.

    The accuracy at that budget is then no finding; those at other budgets are.

    Args:
        path: a checkpoint of ``dp-laplace`` in mode ``calibrated``, trained over an ``epsilon_range``.
        game: on the images on which the accuracy is measured, at one SNR: :func:`unseen` ones, never those of a test.
        target: the accuracy wanted at epsilon 0.05, in (0, 1).
        output: the calibrated checkpoint, with a ``calibration`` in its card.
        budgets: at which the accuracy is reported; the noise at each of them lies in the range that was trained for.
        told: more plain values for the ``calibration`` (whose accuracy the target was taken from).
        nearest: where the target is out of reach, take the end of the range that comes nearest instead of raising
            InputError; the ``calibration`` then says ``reached: False``.

    Returns:
        the ``calibration``: the constant, the target, whether it was reached, the accuracy at each budget.
    """
    policy, card, bounds = calibratable(path, budgets, game.device)
    accuracy = accuracy_at_scale(policy, game)
    constant, reached = nearest_constant(accuracy, target, *bounds)
    if not reached and not nearest:
        most, least = (accuracy(bound / ARTICLE_BUDGET) for bound in bounds)
        raise InputError(
            f"target must lie between the accuracies at the constants {bounds[0]:.4g} and {bounds[1]:.4g}, {most:.4g} "
            f"and {least:.4g}, not {target:g}."
        )
    noise = noise_of(policy).options
    ratio = constant / noise["constant"]
    options = {
        "constant": constant,
        "epsilon": ARTICLE_BUDGET,
        "epsilon_range": [bound * ratio for bound in noise["epsilon_range"]],
    }
    calibrated = load_checkpoint(path, device=game.device, options=options).policy
    calibration = {
        "constant": constant,
        "target": target,
        "reached": reached,
        "fitted_at": ARTICLE_BUDGET,
        "on": f"{len(game.source):,} images that neither was trained or is tested on",
        **told,
        "accuracy": {f"{b:g}": accuracy(constant / b) for b in budgets},
    }
    # What was said of the scheme before is of other noise.
    card = {k: v for k, v in card.items() if k not in MEASURED}
    card |= {"guarantee": calibrated.guarantee(), "calibration": calibration}
    save_checkpoint(output, calibrated, card)
    return calibration


def unseen(data: str) -> dict[str, Any]:
    """The images that neither a scheme's training nor a test has seen, as arguments of ``GameConfig.game``.

    >>> unseen("celeba"), unseen("cifar10")
    ({'split': 'valid'}, {'half': 'attacker'})
    """
    return {"split": "valid"} if "valid" in data_set(data).splits else {"half": "attacker"}


def calibratable(
    path: Path, budgets: Sequence[float], device: torch.device | str
) -> tuple[Pipeline, dict[str, Any], tuple[float, float]]:
    """A scheme whose constant can be fitted, its card, and the least and the largest constant that it has learnt.

    Only constants count at which the noise of every budget was trained for. Raises CheckpointError where there is none
    or it is another scheme.
    """
    loaded = load_checkpoint(path, kind="scheme", device=device)
    policy = loaded.policy
    noise = noise_of(policy).options if policy.name == "dp-laplace" else {}
    if noise.get("constant") is None or noise.get("epsilon_range") is None:
        raise CheckpointError(f"{path} is no dp-laplace in mode 'calibrated' with an epsilon_range.")
    trained, (low, high) = noise["constant"], noise["epsilon_range"]
    least, most = max(budgets) * trained / high, min(budgets) * trained / low
    if least > most:
        raise CheckpointError(
            f"{path} was trained over budgets from {low:g} to {high:g}, a factor of {high / low:.3g}; budgets from "
            f"{min(budgets):g} to {max(budgets):g} need one of {max(budgets) / min(budgets):.3g} at least."
        )
    return policy, loaded.card, (least, most)


def nearest_constant(
    accuracy: Callable[[float], float], target: float, least: float, most: float
) -> tuple[float, bool]:
    """The constant c whose noise of scale ``c / ARTICLE_BUDGET`` leaves the target accuracy, by bisection of log c.

    ``accuracy``, of a scale of noise, falls as the scale grows: with the same images and seeds each time, or the
    bisection follows chance. Returns the constant between ``least`` and ``most``, or the end that comes nearest; and
    whether the target is met.

    >>> constant, reached = nearest_constant(lambda scale: 1 / (1 + scale), 0.5, 0.001, 1.0)
    >>> round(constant, 2), reached
    (0.05, True)
    """
    if target > accuracy(least / ARTICLE_BUDGET):
        return least, False
    if target < accuracy(most / ARTICLE_BUDGET):
        return most, False
    while most / least > 1 + TOLERANCE:
        middle = math.sqrt(least * most)
        if accuracy(middle / ARTICLE_BUDGET) >= target:
            least = middle
        else:
            most = middle
    return math.sqrt(least * most), True


def noise_of(scheme: Pipeline) -> Any:
    """The scheme's stage that adds Laplace noise."""
    return next(stage for stage in scheme.stages if stage.name == "laplace")


def accuracy_at_scale(
    scheme: Pipeline, game: Game, *, seed: int = 0, measure: Callable[[Tensor, Tensor], float] | None = None
) -> Callable[[float], float]:
    """A function from the noise's scale to the accuracy on all of the game's images, with the same noise each time.

    ``measure`` is the accuracy meant, of logits [N, K] and targets; by default the task's score.
    """
    reach: float = noise_of(scheme).reach

    def score(logits: Tensor, targets: Tensor) -> float:
        return float(game.task.accuracy(game.task.decide(logits), targets))

    @torch.no_grad()
    def accuracy(scale: float) -> float:
        generator = torch.Generator(game.device).manual_seed(seed)
        sent = rollout(game, scheme, generator=generator, knobs={"epsilon": reach / scale})
        logits, targets = zip(*((one.logits(), one.round.targets) for one in sent), strict=True)
        return (measure or score)(torch.cat(logits), torch.cat(targets))

    return accuracy

"""Fitting the constant of the article's noise to a trained scheme, and the scheme that results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tosc_agents.calibration import ARTICLE_BUDGET, calibrate_constant
from tosc_agents.schemes.differential_privacy import DPLaplace
from tosc_env.checkpoints import load_checkpoint, save_checkpoint
from tosc_env.errors import CheckpointError
from tosc_env.game import Game
from tosc_env.policies import Context

Measure = Callable[[Tensor, Tensor], float]
"""From logits [N, K] and targets to an accuracy in [0, 1]."""


def calibrate(
    path: Path,
    game: Game,
    target: float,
    output: Path,
    *,
    budgets: Sequence[float],
    told: dict[str, Any] | None = None,
    measure: Measure | None = None,
    nearest: bool = False,
) -> dict[str, Any]:
    """Fit c so that the article's smallest budget meets the target, and write the calibrated scheme.

    Args:
        path: a checkpoint of ``dp-laplace`` in mode ``article``, trained over an ``epsilon_range``.
        game: on the images on which the accuracy is measured, at one SNR.
        target: the accuracy wanted at epsilon 0.05, in (0, 1).
        output: the calibrated checkpoint, with a ``calibration`` in its card.
        budgets: at which the accuracy is reported; the noise at each of them lies in the range that was trained for.
        told: more plain values for the ``calibration`` (whose accuracy the target was taken from).
        measure: the accuracy meant; by default the task's score.
        nearest: where the target is out of reach, take the end of the range that comes nearest instead of raising
            an error; the ``calibration`` then says ``reached: False``.

    Returns:
        the ``calibration``: the constant, the target, whether it was reached, the accuracy at each budget.

    Raises:
        CheckpointError: another kind of checkpoint.
        InputError: the target cannot be met by noise that was trained for at every budget.
    """
    loaded = load_checkpoint(path, kind="scheme", device=game.device)
    policy = loaded.policy
    if not isinstance(policy, DPLaplace) or policy.epsilon_range is None or policy.mechanism.constant is None:
        raise CheckpointError(
            f"{path} is no dp-laplace in mode 'article' that was trained over an epsilon_range."
        )
    accuracy = accuracy_at_scale(policy, game, measure=measure)
    trained, (low, high) = policy.mechanism.constant, policy.epsilon_range
    # Only constants at which every budget's noise was trained for.
    bounds = trained / high * max(budgets), trained / low * min(budgets)
    ends = [accuracy(bound / ARTICLE_BUDGET) for bound in bounds]
    reached = ends[0] >= target >= ends[1]
    if reached or not nearest:
        constant = calibrate_constant(accuracy, target, *bounds)
    else:
        constant = bounds[0] if ends[0] < target else bounds[1]
    ratio = constant / trained
    options = {
        "constant": constant,
        "epsilon": ARTICLE_BUDGET,
        "epsilon_range": [low * ratio, high * ratio],
    }
    calibrated = load_checkpoint(path, device=game.device, options=options).policy
    calibration = {
        "constant": constant,
        "target": target,
        "reached": reached,
        "fitted_at": ARTICLE_BUDGET,
        "on": f"the {game.source.split} images themselves",
        **(told or {}),
        "accuracy": {f"{b:g}": accuracy(constant / b) for b in budgets},
    }
    # What was said of the scheme before is of other noise.
    card = {k: v for k, v in loaded.card.items() if k not in ("test_accuracy", "test_images")}
    assert isinstance(calibrated, DPLaplace)
    save_checkpoint(
        output, calibrated, {**card, "guarantee": calibrated.guarantee(), "calibration": calibration}
    )
    return calibration


def accuracy_at_scale(
    scheme: DPLaplace, game: Game, *, seed: int = 0, measure: Measure | None = None
) -> Callable[[float], float]:
    """A function from the noise's scale to the accuracy on all of the game's images, with the same noise each time.

    The network runs once; only noise, channel and receiver are done again for each scale.
    """
    index = torch.arange(len(game.source), device=game.device).split(500)
    with torch.no_grad():
        features = [scheme.features(game.source.gather(part).images) for part in index]

    def score(logits: Tensor, targets: Tensor) -> float:
        return float(game.task.score(game.task.decide(logits), targets).mean())

    @torch.no_grad()
    def accuracy(scale: float) -> float:
        trained = scheme.mechanism.epsilon
        scheme.mechanism.epsilon = scheme.mechanism.reach / scale
        generator = torch.Generator(game.device).manual_seed(seed)
        logits, targets = [], []
        for part, known in zip(index, features, strict=True):
            round_ = game.draw(len(part), generator=generator, index=part)
            context = Context(round_.snr_db, round_.message, generator=generator)
            heard = game.transmit(round_, scheme.emit(known, context)).receiver
            logits.append(scheme.decode(heard.received, heard.csi, context))
            targets.append(round_.targets)
        scheme.mechanism.epsilon = trained
        return (measure or score)(torch.cat(logits), torch.cat(targets))

    return accuracy

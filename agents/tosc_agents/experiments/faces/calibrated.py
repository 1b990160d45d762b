"""The article's noise, fitted to a balanced accuracy: one constant for a whole data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from torch import Tensor

from tosc_agents.calibration import ARTICLE_BUDGET
from tosc_agents.experiments.arms import Arm
from tosc_agents.experiments.faces.balanced import balanced_accuracy
from tosc_agents.training.calibrate import accuracy_at_scale, calibratable, nearest_constant, noise_of
from tosc_env.game import Game


@dataclass(frozen=True)
class Calibration:
    """A fitted constant: what it says holds because it was fitted.

    Attributes:
        constant: c, of the noise's scale c / epsilon.
        low, high: the budgets that the receiver has learnt, given that constant.
        target, reached: mean balanced accuracy at the article's smallest budget, wanted and got.
        within: whether the target lay within the noise that was trained for; else the constant is the nearest end.
    """

    constant: float
    low: float
    high: float
    target: float
    reached: float
    within: bool

    def applied(self, arm: Arm) -> Arm:
        """The arm with this constant, whatever it was trained with."""
        options = {**arm.options, "constant": self.constant, "epsilon_range": [self.low, self.high]}
        return replace(arm, options=options)


def fit_constant(
    path: Path, game: Game, thresholds: Tensor, target: float, budgets: Sequence[float], seeds: Sequence[int]
) -> Calibration:
    """The constant whose noise at budget 0.05 leaves a mean balanced accuracy, by bisection.

    Args:
        path: of ``dp-laplace`` in mode ``calibrated``, trained over an ``epsilon_range``.
        game: on the images at which the target is to be met.
        thresholds: [A], see :func:`~tosc_agents.experiments.faces.balanced.log_odds`.
        target: mean over the attributes, in [0, 1].
        budgets: all those that will be played; the receiver must have learnt the noise of each.
        seeds: draws of the noise, the same for every constant tried.

    Raises:
        CheckpointError: another scheme, or noise learnt over too narrow a range for all the budgets.
    """
    scheme, _, (least, most) = calibratable(path, budgets, game.device)
    noise = noise_of(scheme).options
    trained, (low, high) = noise["constant"], noise["epsilon_range"]

    def balanced(logits: Tensor, targets: Tensor) -> float:
        return float(balanced_accuracy(logits, targets, thresholds).mean())

    draws = [accuracy_at_scale(scheme, game, seed=seed, measure=balanced) for seed in seeds]

    def accuracy(scale: float) -> float:
        return fmean(draw(scale) for draw in draws)

    constant, within = nearest_constant(accuracy, target, least, most)
    ratio = constant / trained
    return Calibration(
        constant,
        # Rounding must not push a budget out that lies on the end of the range.
        min(low * ratio, min(budgets)),
        max(high * ratio, max(budgets)),
        target,
        accuracy(constant / ARTICLE_BUDGET),
        within,
    )

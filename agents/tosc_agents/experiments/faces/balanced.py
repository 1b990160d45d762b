"""Plain and balanced accuracy of several yes-or-no attributes at once, and the article's noise, fitted to it.

Where 4 % of the answers are yes, whoever always says no is right 96 times in 100.  Balanced accuracy is the mean of
sensitivity and specificity, which is 1/2 for every constant answer.  It must not be measured at the plain threshold,
where a receiver rightly says yes to hardly anybody: a logit that is the true log-odds of a yes decides best for
classes of equal weight where it exceeds ``log(p / (1 - p))``, p being the share of yes in the training images.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from tosc_agents.experiments.methods import Method
from tosc_agents.training.calibrate import (
    ARTICLE_BUDGET,
    accuracy_at_scale,
    calibratable,
    nearest_constant,
    noise_of,
)
from tosc_env.errors import InputError
from tosc_env.exchange import rollout
from tosc_env.game import Game
from tosc_env.pipeline import Pipeline


def log_odds(targets: Tensor) -> Tensor:
    """``log(p / (1 - p))`` of each attribute, [A], p being its share of ones in ``targets`` [N, A].

    >>> log_odds(torch.tensor([[1, 0], [0, 0], [1, 0], [1, 1]])).exp()
    tensor([3.0000, 0.3333])
    """
    share = _varied(targets).float().mean(0)
    return torch.log(share / (1.0 - share))


def accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """The share of right answers to each attribute, [A], where a logit [N, A] above 0 means yes.

    >>> accuracy(torch.tensor([[1.0], [-1.0], [2.0]]), torch.tensor([[1], [0], [0]]))
    tensor([0.6667])
    """
    return ((logits > 0) == (targets > 0)).float().mean(0)


def balanced_accuracy(logits: Tensor, targets: Tensor, thresholds: Tensor) -> Tensor:
    """The mean of sensitivity and specificity of each attribute, [A], where a logit above its threshold [A] means yes.

    Logits and targets (0 or 1) are [N, A]; see :func:`log_odds`.

    Raises:
        InputError: an attribute that is the same for all images, so that one of the two is undefined.

    >>> logits = torch.tensor([[-1.0], [-3.0], [-3.0], [-1.0]])
    >>> balanced_accuracy(logits, torch.tensor([[1], [0], [0], [0]]), torch.tensor([-2.0]))
    tensor([0.8333])
    """
    yes = _varied(targets) > 0
    right = (logits > thresholds) == yes
    sensitivity = (right & yes).sum(0) / yes.sum(0)
    specificity = (right & ~yes).sum(0) / (~yes).sum(0)
    return 0.5 * (sensitivity + specificity)


def _varied(targets: Tensor) -> Tensor:
    ones = targets.sum(0)
    same = ((ones == 0) | (ones == len(targets))).nonzero().flatten().tolist()
    if same:
        raise InputError(
            f"attribute {same[0]} (counting from 0) is the same for all {len(targets)} images: there is no balanced "
            "accuracy of it; take more images."
        )
    return targets


@torch.no_grad()
def answers(scheme: Pipeline, game: Game, seed: int) -> tuple[Tensor, Tensor]:
    """The receiver's logits [N, A] after one transmission of each image of a game, and the right answers [N, A].

    Raises:
        InputError: the game's task has other answers than yes and no.
    """
    if not game.task.binary:
        raise InputError(
            f"balanced accuracy is of yes-or-no attributes, and this task has the answers {game.task.labels}."
        )
    generator = torch.Generator(game.device).manual_seed(seed)
    logits, targets = [], []
    for exchange in rollout(game, scheme, generator=generator):
        logits.append(exchange.logits().float())
        targets.append(exchange.round.targets)
    return torch.cat(logits), torch.cat(targets)


def measure(scheme: Pipeline, game: Game, thresholds: Tensor, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Plain and balanced accuracy of a scheme's receiver on all images of a game, [A] each, over draws of the noise.

    The plain one's threshold is 0. A scheme that decides at the transmitter (``label-only``) has its threshold shifted
    there. Each seed is a draw of the noise; the figures are means over them.
    """
    answered = [answers(scheme, game, seed) for seed in seeds]
    plain = [accuracy(*one) for one in answered]
    if hasattr(scheme.backbone, "decider"):
        shifted, thresholds = _without_prior(scheme, thresholds), torch.zeros_like(thresholds)
        answered = [answers(shifted, game, seed) for seed in seeds]
    balanced = [balanced_accuracy(*one, thresholds) for one in answered]
    return torch.stack(plain).mean(0), torch.stack(balanced).mean(0)


@torch.no_grad()
def _without_prior(scheme: Pipeline, thresholds: Tensor) -> Pipeline:
    """A copy that says yes where the scheme's own logits exceed the thresholds."""
    copy = deepcopy(scheme)
    copy.backbone.decider.receiver[-1].bias.sub_(thresholds)  # type: ignore[union-attr, operator, index]
    return copy


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

    def applied(self, method: Method) -> Method:
        """The method with this constant, whatever it was trained with."""
        options = {**method.options, "constant": self.constant, "epsilon_range": [self.low, self.high]}
        return replace(method, options=options)


def fit_constant(
    path: Path, game: Game, thresholds: Tensor, target: float, budgets: Sequence[float], seeds: Sequence[int]
) -> Calibration:
    """The constant whose noise at budget 0.05 leaves a mean balanced accuracy, by bisection.

    Args:
        path: of ``dp-laplace`` in mode ``calibrated``, trained over an ``epsilon_range``.
        game: on the images at which the target is to be met.
        thresholds: [A], see :func:`log_odds`.
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

    def reached(scale: float) -> float:
        return fmean(draw(scale) for draw in draws)

    constant, within = nearest_constant(reached, target, least, most)
    ratio = constant / trained
    return Calibration(
        constant,
        # Rounding must not push a budget out that lies on the end of the range.
        min(low * ratio, min(budgets)),
        max(high * ratio, max(budgets)),
        target,
        reached(constant / ARTICLE_BUDGET),
        within,
    )

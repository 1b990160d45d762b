"""Plain and balanced accuracy of several yes-or-no attributes at once.

Where 4 % of the answers are yes, whoever always says no is right 96 times in 100.  Balanced accuracy is the mean of
sensitivity and specificity, which is 1/2 for every constant answer.  It must not be measured at the plain threshold,
where a receiver rightly says yes to hardly anybody: a logit that is the true log-odds of a yes decides best for
classes of equal weight where it exceeds ``log(p / (1 - p))``, p being the share of yes in the training images.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor

from tosc_env.errors import InputError
from tosc_env.game import Game
from tosc_env.pipeline import Pipeline
from tosc_env.privacy.oracle import context_of, numbered

BATCH = 500
"""Images at once."""


def log_odds(targets: Tensor) -> Tensor:
    """``log(p / (1 - p))`` of each attribute, [A], p being its share of ones in ``targets`` [N, A].

    Raises:
        InputError: an attribute that is the same for all images, for which there is nothing to decide.

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
    """The mean of sensitivity and specificity of each attribute, [A], in [0, 1].

    Args:
        logits: [N, A].
        targets: 0 or 1, [N, A].
        thresholds: [A]; a larger logit means yes. See :func:`log_odds`.

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

    Args:
        scheme: in evaluation mode, on the game's device.
        game: whose task has yes-or-no answers.
        seed: of the noise.

    Raises:
        InputError: another task.
    """
    if not game.task.binary:
        raise InputError(
            f"balanced accuracy is of yes-or-no attributes, and this task has the answers {game.task.labels}."
        )
    generator = torch.Generator(game.device).manual_seed(seed)
    logits, targets = [], []
    for part in torch.arange(len(game.source), device=game.device).split(BATCH):
        round_ = numbered(game.draw(len(part), generator=generator, index=part), scheme, generator)
        context = context_of(round_, generator)
        heard = game.transmit(round_, scheme.send(game.source, part, context)).receiver
        logits.append(scheme.decode(heard.received, heard.csi, context).float())
        targets.append(round_.targets)
    return torch.cat(logits), torch.cat(targets)


@dataclass(frozen=True)
class Accuracies:
    """Of each attribute, [A] each: at the plain threshold 0, and balanced at the shifted one."""

    plain: Tensor
    balanced: Tensor


def measure(scheme: Pipeline, game: Game, thresholds: Tensor, seeds: Sequence[int]) -> Accuracies:
    """Both accuracies of a scheme's receiver on all images of a game, averaged over draws of the noise.

    A scheme that decides at the transmitter (``label-only``) has its threshold shifted there.

    Args:
        scheme, game: see :func:`answers`.
        thresholds: [A], of the balanced accuracy.
        seeds: one draw of the noise each, at least one.
    """
    shifted = None
    if hasattr(scheme.backbone, "decider"):
        shifted, thresholds = _without_prior(scheme, thresholds), torch.zeros_like(thresholds)
    plain, balanced = [], []
    for seed in seeds:
        logits, targets = answers(scheme, game, seed)
        plain.append(accuracy(logits, targets))
        if shifted is not None:
            logits, _ = answers(shifted, game, seed)
        balanced.append(balanced_accuracy(logits, targets, thresholds))
    return Accuracies(torch.stack(plain).mean(0), torch.stack(balanced).mean(0))


@torch.no_grad()
def _without_prior(scheme: Pipeline, thresholds: Tensor) -> Pipeline:
    """A copy that says yes where the scheme's own logits exceed the thresholds."""
    copy = deepcopy(scheme)
    copy.backbone.decider.receiver[-1].bias.sub_(thresholds)  # type: ignore[union-attr, operator, index]
    return copy

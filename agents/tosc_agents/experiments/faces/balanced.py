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

from tosc_agents.schemes.label_only import LabelOnly
from tosc_env.errors import InputError
from tosc_env.game import Game
from tosc_env.policies import PrivacyScheme
from tosc_env.senders import SchemeSender, context_of, numbered

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


class Answers:
    """What a scheme's receiver answers about all images of a game; its encoder runs once.

    Args:
        scheme: in evaluation mode, on the game's device.
        game: whose task has yes-or-no answers.

    Raises:
        InputError: another task.
    """

    def __init__(self, scheme: PrivacyScheme, game: Game) -> None:
        if not game.task.binary:
            raise InputError(
                f"balanced accuracy is of yes-or-no attributes, and this task has the answers {game.task.labels}."
            )
        self.scheme, self.game, self._sender = scheme, game, SchemeSender(scheme)
        self._index = torch.arange(len(game.source), device=game.device).split(BATCH)
        self._prepared = [self._sender.prepare(game.source.gather(part)) for part in self._index]

    @property
    def targets(self) -> Tensor:
        """The right answers, [N, A]."""
        return torch.cat([self.game.task.targets(self.game.source.gather(part)) for part in self._index])

    @torch.no_grad()
    def logits(self, seed: int) -> Tensor:
        """Logits [N, A] after one transmission of each image, over noise drawn from ``seed``."""
        generator = torch.Generator(self.game.device).manual_seed(seed)
        found = []
        for part, prepared in zip(self._index, self._prepared, strict=True):
            round_ = self.game.draw(len(part), generator=generator, index=part)
            round_ = numbered(round_, self._sender, generator)
            sent = self.game.transmit(round_, self._sender.emit(prepared, round_, generator))
            context = context_of(round_, generator)
            found.append(self.scheme.decode(sent.receiver.received, sent.receiver.csi, context).float())
        return torch.cat(found)


@dataclass(frozen=True)
class Accuracies:
    """Of each attribute, [A] each: at the plain threshold 0, and balanced at the shifted one."""

    plain: Tensor
    balanced: Tensor


def measure(scheme: PrivacyScheme, game: Game, thresholds: Tensor, seeds: Sequence[int]) -> Accuracies:
    """Both accuracies of a scheme's receiver on all images of a game, averaged over draws of the noise.

    ``label-only`` takes its decisions at the transmitter, so that is where the threshold is shifted.

    Args:
        scheme, game: see :class:`Answers`.
        thresholds: [A], of the balanced accuracy.
        seeds: one draw of the noise each, at least one.
    """
    answers = Answers(scheme, game)
    shifted = answers
    if isinstance(scheme, LabelOnly):
        shifted, thresholds = Answers(_without_prior(scheme, thresholds), game), torch.zeros_like(thresholds)
    targets = answers.targets
    plain, balanced = [], []
    for seed in seeds:
        logits = answers.logits(seed)
        plain.append(accuracy(logits, targets))
        again = logits if shifted is answers else shifted.logits(seed)
        balanced.append(balanced_accuracy(again, targets, thresholds))
    return Accuracies(torch.stack(plain).mean(0), torch.stack(balanced).mean(0))


@torch.no_grad()
def _without_prior(scheme: LabelOnly, thresholds: Tensor) -> LabelOnly:
    """A copy that says yes where the scheme's own logits exceed the thresholds."""
    copy = deepcopy(scheme)
    copy.receiver[-1].bias.sub_(thresholds)  # type: ignore[union-attr, operator]
    return copy

"""Tasks of the receiver: the class of an image, or one or several of its attributes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor

from tosc_env.data.base import Source
from tosc_env.errors import InputError, shown, unknown
from tosc_env.metrics import balanced_accuracy
from tosc_env.options import build
from tosc_env.registry import Registry
from tosc_env.types import Batch

tasks: Registry[Task] = Registry("task", group="tosc_env.tasks")
register_task = tasks.register


class Task(ABC):
    """A receiver's task on the images of one source: targets, scores of hard decisions, a loss, an action space.

    Attributes:
        num_outputs: length K of the logits.
        chance: the score of the best constant decision when all targets are equally frequent.
        binary: whether the outputs are yes-or-no answers of their own, and not one choice out of K.
        labels: the names of the outputs.
        measure: what :meth:`accuracy` is called.
    """

    num_outputs: int
    chance: float
    binary: bool = False
    measure: str = "accuracy"
    labels: tuple[str, ...]

    @abstractmethod
    def targets(self, batch: Batch) -> Tensor:
        """The right answers: int64 [B] for a choice, [B, A] of 0/1 for several attributes."""

    @abstractmethod
    def decide(self, logits: Tensor) -> Tensor:
        """Hard decisions from logits [B, K], in the form of :meth:`targets`."""

    @abstractmethod
    def loss(self, logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """The mean training loss of logits [B, K]; differentiable."""

    @abstractmethod
    def score(self, decision: Tensor, targets: Tensor) -> Tensor:
        """The score of each decision, float32 [B] in [0, 1]."""

    def answers(self, decision: Tensor, targets: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Of each attribute by its name whether it was found, bool [N], and its value, int64 [N]; of N messages."""
        return {}

    def answer_logits(self, logits: Tensor) -> dict[str, Tensor]:
        """Of each attribute by its name the logits of its values, [N, number of values], from logits [N, K]."""
        return {}

    def accuracy(self, decision: Tensor, targets: Tensor) -> Tensor:
        """The figure of all N messages together by which receivers are compared: the mean score, or of attributes,
        whose values may be of any frequency, the mean of their balanced accuracies."""
        answers = self.answers(decision, targets)
        if not answers:
            return self.score(decision, targets).mean()
        return torch.stack([balanced_accuracy(right, truth) for right, truth in answers.values()]).mean()

    @abstractmethod
    def space(self) -> spaces.Space[Any]:
        """The receiver's action space for one message."""

    def describe(self, decision: Tensor) -> str:
        """Describe one decision in words, for a picture's caption."""
        return str(decision.tolist())


class Choice(Task):
    """One answer out of K: the common part of classification and of a single attribute."""

    def __init__(self, labels: Sequence[str]) -> None:
        if len(labels) < 2:
            raise InputError(f"a task needs at least 2 possible answers, not {shown(list(labels))}.")
        self.labels = tuple(labels)
        self.num_outputs = len(labels)
        self.chance = 1.0 / len(labels)

    def decide(self, logits: Tensor) -> Tensor:
        return logits.argmax(-1)

    def loss(self, logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        return F.cross_entropy(logits.float(), targets, label_smoothing=label_smoothing)

    def score(self, decision: Tensor, targets: Tensor) -> Tensor:
        return (decision == targets).float()

    def space(self) -> spaces.Space[Any]:
        return spaces.Discrete(self.num_outputs)

    def describe(self, decision: Tensor) -> str:
        return self.labels[int(decision)]


@register_task("classification")
class Classification(Choice):
    """The class of the image; score 1 when right, 0 when wrong.

    >>> from tosc_env.data import make_source
    >>> Classification(make_source("shapes")).num_outputs
    10
    """

    def __init__(self, source: Source) -> None:
        if len(source.class_names) < 2 and source.attribute_names:
            raise InputError(
                f"the images of {source.name} have no labels; their attributes are a task: task='attributes', "
                f"task_kwargs={{'names': {list(source.attribute_names[:3])}}}."
            )
        super().__init__(source.class_names)

    def targets(self, batch: Batch) -> Tensor:
        return batch.labels


class SingleAttribute(Choice):
    """The value of one named attribute of the image, every value being as important as any other.

    The loss is the cross-entropy of the logits plus the logarithm of each value's share of the source's images (logit
    adjustment: Menon et al., ICLR 2021). The logits themselves then answer as if all values were equally frequent.
    """

    measure = "balanced accuracy"

    def __init__(self, source: Source, name: str) -> None:
        self.column = _columns(source, [name])[0]
        self.name = name
        super().__init__(source.attribute_values[self.column])
        values = torch.arange(self.num_outputs, device=source.device)
        self.prior = _shares(source.attributes[:, self.column, None] == values).log()

    def targets(self, batch: Batch) -> Tensor:
        return batch.attributes[:, self.column]

    def loss(self, logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        return super().loss(logits.float() + self.prior, targets, label_smoothing=label_smoothing)

    def answers(self, decision: Tensor, targets: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        return {self.name: (decision == targets, targets)}

    def answer_logits(self, logits: Tensor) -> dict[str, Tensor]:
        return {self.name: logits}


class MultiAttribute(Task):
    """Several binary attributes at once; the score is the fraction of them that is right.

    The loss is the cross-entropy of each logit plus the log-odds of a yes among the source's images, so that the logit
    itself answers as if yes and no were equally frequent (:class:`SingleAttribute`).
    """

    chance = 0.5
    binary = True
    measure = "balanced accuracy"

    def __init__(self, source: Source, names: Sequence[str]) -> None:
        self.columns = _columns(source, names)
        for name, column in zip(names, self.columns, strict=True):
            count = len(source.attribute_values[column])
            if count != 2:
                raise InputError(f"several attributes must be binary, and {name!r} has {count} values.")
        self.labels = tuple(names)
        self.num_outputs = len(self.columns)
        yes = source.attributes[:, self.columns] == 1
        self.prior = (_shares(yes) / _shares(~yes)).log()

    def targets(self, batch: Batch) -> Tensor:
        # Column by column: a list would be copied to the device for each batch, which waits for it.
        return torch.stack([batch.attributes[:, column] for column in self.columns], dim=1)

    def decide(self, logits: Tensor) -> Tensor:
        return (logits > 0).long()

    def loss(self, logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        soft = targets.float() * (1.0 - label_smoothing) + 0.5 * label_smoothing
        return F.binary_cross_entropy_with_logits(logits.float() + self.prior, soft)

    def score(self, decision: Tensor, targets: Tensor) -> Tensor:
        return (decision == targets).float().mean(-1)

    def answers(self, decision: Tensor, targets: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        right = decision == targets
        return {name: (right[:, i], targets[:, i].long()) for i, name in enumerate(self.labels)}

    def answer_logits(self, logits: Tensor) -> dict[str, Tensor]:
        # A no has the logit 0, so that a yes has the probability that the loss gives it.
        pairs = torch.stack([torch.zeros_like(logits), logits], dim=2)
        return dict(zip(self.labels, pairs.unbind(1), strict=True))

    def space(self) -> spaces.Space[Any]:
        return spaces.MultiBinary(self.num_outputs)

    def describe(self, decision: Tensor) -> str:
        return ", ".join(n for n, bit in zip(self.labels, decision.tolist(), strict=True) if bit) or "none"


@register_task("attributes")
def attributes(source: Source, *, names: Sequence[str] | str) -> Task:
    """Recognition of named attributes: one of any number of values, or several binary ones.

    >>> from tosc_env.data import make_source
    >>> attributes(make_source("shapes"), names="colour").num_outputs
    8
    """
    chosen = [names] if isinstance(names, str) else list(names)
    if not chosen:
        raise InputError("a task on attributes needs at least one name, not an empty list.")
    return SingleAttribute(source, chosen[0]) if len(chosen) == 1 else MultiAttribute(source, chosen)


def make_task(task: str | Task, source: Source, **options: Any) -> Task:
    """A task from its registered name (``classification``, ``attributes``) for the images of ``source``."""
    return build(tasks, Task, task, options, source)


def _columns(source: Source, names: Sequence[str]) -> list[int]:
    for name in names:
        if name not in source.attribute_names:
            raise unknown(f"attribute of {source.name}", name, source.attribute_names)
    return [source.attribute_names.index(name) for name in names]


def _shares(is_so: Tensor) -> Tensor:
    """The share of rows [N, A] of which something is so, at least half a row's, so that its logarithm is finite."""
    return is_so.float().mean(0).clamp_min(0.5 / len(is_so))

"""Inference of the task's label, and of private attributes that no task asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tosc_agents.eavesdroppers.base import (
    NeuralEavesdropper,
    attacker_inputs,
    held_out,
    input_width,
    symbol_mlp,
)
from tosc_agents.learning.precision import Precision
from tosc_agents.learning.seeding import weights_from
from tosc_env.errors import InputError, unknown
from tosc_env.options import Share, Size, Within
from tosc_env.privacy.view import View
from tosc_env.types import SystemSpec


class Inference(NeuralEavesdropper):
    """One MLP that gives several answers side by side: the base of :class:`Label` and :class:`Attribute`.

    ::

        received [B, 2n], SNR -> residual MLP -> logits [B, K_1 + K_2 + ...]

    Loss: the sum of the answers' cross-entropies, over fresh receptions in every step, of the logits plus the logarithm
    of each value's share among the training images (logit adjustment: Menon et al., ICLR 2021). The logits themselves
    then answer as if all values were equally frequent, which is best for the balanced accuracy.
    """

    needs = {"labels": (True,)}  # noqa: RUF012
    network: nn.Sequential

    def build(self, inferred: Sequence[tuple[str, int]]) -> None:
        """Make the network for answers, (name, K) each."""
        self.inferred = tuple(inferred)
        outputs = sum(size for _, size in inferred)
        width, depth, dropout = (self.options[name] for name in ("width", "depth", "dropout"))
        self.network = symbol_mlp(input_width(self.spec), width, depth, outputs, dropout)

    def learn(self, view: View, truth: Tensor, generator: torch.Generator, progress: Any) -> dict[str, Any]:
        """Train on the right values [N, number of answers] of the view's images; returns the record."""
        self.to(view.device)
        train, held = held_out(view)
        sizes = [size for _, size in self.inferred]
        # Of a value that never occurs there is half an image, so that its logarithm is finite.
        counts = [F.one_hot(truth[train, k], size).sum(0).clamp_min(0.5) for k, size in enumerate(sizes)]
        priors = torch.cat([(count / count.sum()).log() for count in counts])
        tests = [view.sample(part)[0] for part in held.split(view.batch_size)]

        def losses(logits: Tensor, values: Tensor) -> Tensor:
            """The cross-entropy of each answer, [number of answers]."""
            pairs = zip((logits + priors).split(sizes, dim=1), values.unbind(1), strict=True)
            return torch.stack([F.cross_entropy(one, right) for one, right in pairs])

        def step_loss(part: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            reception, _ = view.sample(part)
            return losses(self.infer(reception.received, reception.csi), truth[part]).sum(), {}

        def surprise() -> float:
            logits = torch.cat([self.infer(one.received, one.csi) for one in tests])
            return -float(losses(logits, truth[held]).mean())

        record = self.train_on(
            view, step_loss, surprise, generator, progress, figure="held_out_log_probability"
        )
        with torch.no_grad():
            logits = torch.cat([self.infer(one.received, one.csi) for one in tests])
        balanced = {}  # by sums alone: where no shape depends on the data, a GPU need not be waited for
        for (name, _), part, values in zip(
            self.inferred, logits.split(sizes, dim=1), truth[held].unbind(1), strict=True
        ):
            own = F.one_hot(values, part.shape[1]).float()
            right = (own * (part.argmax(1) == values)[:, None]).sum(0)
            balanced[name] = float((right / own.sum(0)).nanmean())  # over the values that occur
        inferred = [list(answer) for answer in self.inferred]
        return {**record, "held_out_balanced_accuracy": balanced, "inferred": inferred}

    def infer(self, received: Tensor, csi: Tensor) -> Tensor:
        if not self.inferred:
            raise InputError(
                f"the eavesdropper {self.name!r} does not know yet what to infer; fit it, or build it with "
                "values={name: number of values}."
            )
        return self.network(attacker_inputs(received, csi, self.spec)).float()


class Label(Inference):
    """An attacker that infers the task's answer.

    For a choice the logits are those of the label, [B, K]; for K yes-or-no answers they are K pairs, [B, 2K].

    Args:
        names: of the yes-or-no answers; :meth:`fit` takes them from the view.
        width, depth, dropout: of the MLP.
        steps, batch_size, learning_rate, precision: of its training.

    Raises:
        InputError: another number of names than of yes-or-no answers.

    Example:
        >>> attacker = Label(SystemSpec((3, 32, 32), 10), width=32).eval()
        >>> attacker.infer(torch.zeros(2, 128), torch.zeros(2, 1)).shape, attacker.inferred
        (torch.Size([2, 10]), (('label', 10),))
        >>> Label(SystemSpec((3, 32, 32), 2, binary=True), names=["Smiling", "Young"], width=32).inferred
        (('Smiling', 2), ('Young', 2))
    """

    name = "label"

    def __init__(
        self,
        spec: SystemSpec,
        *,
        names: Sequence[str] | None = None,
        width: Size = 512,
        depth: Annotated[int, Within(0, 1000)] = 2,
        dropout: Share = 0.2,
        steps: int = 3000,
        batch_size: int = 500,
        learning_rate: float = 1e-3,
        precision: Precision = "auto",
    ) -> None:
        super().__init__(
            spec, steps, batch_size, learning_rate, precision, width=width, depth=depth, dropout=dropout
        )
        self.options["names"] = None if names is None else list(names)
        answers = spec.num_outputs if spec.binary else 0
        if names is not None and len(names) != answers:
            raise InputError(
                f"names are for the {answers} yes-or-no answers of the task, not {len(names)}: {list(names)}."
            )
        self.build(self._answers(names or [f"output_{i}" for i in range(answers)]))

    def _answers(self, names: Sequence[str]) -> tuple[tuple[str, int], ...]:
        return tuple((name, 2) for name in names) if self.spec.binary else (("label", self.spec.num_outputs),)

    def fit(self, view: View, *, generator: torch.Generator, progress: Any = None) -> dict[str, Any]:
        truth = view.labels(torch.arange(view.num_images, device=view.device))
        if self.spec.binary:
            self.options["names"] = list(view.outputs)
            self.inferred = self._answers(view.outputs)
        return self.learn(view, truth.view(len(truth), -1), generator, progress)


class Attribute(Inference):
    """An attacker that infers private attributes of the image.

    How many values each has is a matter of the data, so the network is made when the attacker is fitted. The answers
    stand in the alphabetical order of their names.

    Args:
        attributes: which ones; None: all that the attacker's images have.
        values: the number of values of each, by name; :meth:`fit` takes them from the view.
        width, depth, dropout: of the MLP.
        steps, batch_size, learning_rate, precision: of its training.

    Raises:
        InputError: in :meth:`fit`, images without attributes, an unknown attribute, or other values than those
            that it was built with; in :meth:`infer`, neither fitted nor built with values.

    Example:
        >>> attacker = Attribute(SystemSpec((3, 32, 32), 10), values={"colour": 8, "bold": 2}, width=32).eval()
        >>> attacker.infer(torch.zeros(3, 128), torch.zeros(3, 1)).shape, attacker.inferred
        (torch.Size([3, 10]), (('bold', 2), ('colour', 8)))
    """

    name = "attribute"

    @classmethod
    def nothing_to_attack(cls, view: View) -> str | None:
        return None if view.attribute_values else "these images have no private attributes"

    def __init__(
        self,
        spec: SystemSpec,
        *,
        attributes: Sequence[str] | None = None,
        values: Mapping[str, int] | None = None,
        width: Size = 512,
        depth: Annotated[int, Within(0, 1000)] = 2,
        dropout: Share = 0.2,
        steps: int = 3000,
        batch_size: int = 500,
        learning_rate: float = 1e-3,
        precision: Precision = "auto",
    ) -> None:
        super().__init__(
            spec, steps, batch_size, learning_rate, precision, width=width, depth=depth, dropout=dropout
        )
        self.options |= {"attributes": None if attributes is None else list(attributes), "values": None}
        if attributes is not None and not attributes:
            raise InputError("attributes must name at least one, or be None for all there are, not [].")
        if values is not None:
            self._take(values)

    def _take(self, values: Mapping[str, int]) -> None:
        """Make the network for attributes of so many values each."""
        # In an order of its own: a checkpoint does not keep that of a dictionary's keys.
        self.options["values"] = dict(sorted(values.items()))
        self.build(sorted(values.items()))

    def fit(self, view: View, *, generator: torch.Generator, progress: Any = None) -> dict[str, Any]:
        known = view.attribute_values
        if not known:
            raise InputError(
                "the attacker's images have no private attributes to infer; the eavesdropper 'label' infers "
                "their labels."
            )
        names = self.options["attributes"] or list(known)
        for name in names:
            if name not in known:
                raise unknown("private attribute", name, known)
        truth = view.attributes(torch.arange(view.num_images, device=view.device))
        values = {name: known[name] for name in names}
        if self.options["values"] is None:
            with weights_from(generator.initial_seed()):
                self._take(values)
        elif self.options["values"] != values:
            raise InputError(
                f"this attacker was built for the values {self.options['values']}, but the attacker's images have "
                f"{dict(sorted(values.items()))}."
            )
        columns = [list(known).index(name) for name, _ in self.inferred]
        return self.learn(view, truth[:, columns], generator, progress)

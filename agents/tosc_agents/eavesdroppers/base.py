"""The base of neural eavesdroppers: inputs, the training loop, and its settings as plain options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tosc_agents.learning.loop import StepLoss
from tosc_agents.learning.precision import Precision
from tosc_agents.learning.state import Run
from tosc_agents.learning.until import UntilConfig, train_until
from tosc_agents.networks import ResidualMLP, scaled_snr
from tosc_env import metrics
from tosc_env.attackers import Eavesdropper
from tosc_env.channels import noise_power
from tosc_env.channels.base import aligned
from tosc_env.privacy.view import View
from tosc_env.types import SystemSpec


class NeuralEavesdropper(Eavesdropper):
    """An attacker with a network, trained on fresh receptions of its images until held-out ones stop it.

    Args:
        steps, batch_size, learning_rate, precision: of its training
            (:class:`~tosc_agents.learning.until.UntilConfig`), which is otherwise the same for all.
        options: the subclass's own, plain values.

    Attributes:
        run: where to keep the training's state and to resume from; None keeps nothing.
            :func:`~tosc_agents.fit_eavesdropper` sets it.
    """

    run: Run | None = None
    weight_decay: ClassVar[float] = 1e-2

    def __init__(
        self,
        spec: SystemSpec,
        steps: int,
        batch_size: int,
        learning_rate: float,
        precision: Precision,
        **options: Any,
    ) -> None:
        UntilConfig(steps=steps, batch_size=batch_size, learning_rate=learning_rate, precision=precision)
        training = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate}
        super().__init__(spec, **options, **training, precision=precision)

    def train_to_rebuild(
        self, view: View, step_loss: StepLoss, generator: torch.Generator, progress: Any
    ) -> dict[str, Any]:
        """:meth:`train_on`, stopped by the mean PSNR of what it rebuilds of held-out images."""
        self.to(view.device)
        tests = [view.sample(part) for part in held_out(view)[1].split(view.batch_size)]

        def psnr_db() -> float:
            found = [metrics.psnr(self.reconstruct(r.received, r.csi), images) for r, images in tests]
            return float(torch.cat(found).mean())

        return self.train_on(view, step_loss, psnr_db, generator, progress, figure="held_out_psnr_db")

    def train_on(
        self,
        view: View,
        step_loss: StepLoss,
        validate: Callable[[], float],
        generator: torch.Generator,
        progress: Any,
        *,
        figure: str,
    ) -> dict[str, Any]:
        """Train on :func:`held_out`'s first part until ``validate``, a figure of the second, stops it; the record.

        Args:
            view: what it may know.
            step_loss: the loss of a batch of indices.
            validate: a figure of the held-out images, higher being better, of the network as it is.
            generator: the only source of randomness.
            progress: told the figures.
            figure: the name of the validation figure.
        """
        self.to(view.device)
        images, held = held_out(view)
        options = {k: self.options[k] for k in ("steps", "batch_size", "learning_rate", "precision")}
        record = train_until(
            self,
            step_loss,
            validate,
            images=images,
            config=UntilConfig(
                optimizer="adamw", weight_decay=self.weight_decay, clip=1.0, average=0.998, **options
            ),
            generator=generator,
            progress=progress,
            run=self.run,
            figure=figure,
        )
        where = "held-out images" if len(images) < view.num_images else "training images"
        return {"images": len(images), "validation": {"images": len(held), "of": where}, **record}


def held_out(view: View) -> tuple[Tensor, Tensor]:
    """The attacker's images that it trains on, and those by which it chooses whatever is to be chosen, int64 indices.

    Held out are 5 %, at least 100 and at most 1,000, but no more than a quarter, drawn at random, the same each time;
    where the labels are known, as large a share of each. Of fewer than four images none can be spared: all are both.
    """
    total = view.num_images
    count = min(1000, max(100, total // 20), total // 4)
    index = torch.arange(total)
    if not count:
        return index.to(view.device), index.to(view.device)
    held = drawn(view, index, count)
    kept = torch.ones(total, dtype=torch.bool)
    kept[held] = False
    return index[kept].to(view.device), held.to(view.device)


def drawn(view: View, index: Tensor, count: int) -> Tensor:
    """As many of the attacker's images ``index``, in their order, drawn at random, the same each time; where the labels
    are known, as large a share of each: whether its images are sorted makes no difference."""
    total = len(index)
    if count >= total:
        return index
    mixed = torch.randperm(total, generator=torch.Generator().manual_seed(0))
    if view.threat.labels:
        labels = torch.cat([view.labels(part.to(view.device)).cpu() for part in index.split(view.batch_size)])
        kinds = labels.unique(dim=0, return_inverse=True)[1]
        mixed = mixed[kinds[mixed].argsort(stable=True)]
    # At equal distances, from label to label without starting again.
    places = mixed[(torch.arange(count) * total + total // 2) // count].sort().values
    return index[places.to(index.device)]


def part_of(progress: Any, **part: str) -> Any:
    """Progress of one of several parts of the work, which the figures name first; None stays None."""
    if progress is None:
        return None
    return lambda done, total, figures: progress(done, total, {**part, **figures})


def input_width(spec: SystemSpec) -> int:
    """How many numbers :func:`attacker_inputs` gives."""
    reals = 2 * spec.num_symbols
    gains = 0 if spec.num_csi == 1 else reals if spec.layout.aligned else spec.num_symbols
    return reals + 1 + gains


def attacker_inputs(received: Tensor, csi: Tensor, spec: SystemSpec) -> Tensor:
    """Inputs of an attacker's network, [B, :func:`input_width`]: symbols behind an MMSE equaliser, whatever the
    channel's, the scaled SNR, and over a fading link ``2 |h|^2 / (|h|^2 + N0) - 1`` of each channel use.

    An attacker that was made for a link without fading is shown the symbols and the SNR over any.
    """
    layout = spec.layout
    if spec.num_csi == 1:
        return torch.cat([received, scaled_snr(csi[:, 0])], dim=1)
    if not layout.aligned:
        received, csi = aligned(received, csi, layout)
    power = csi[:, 1 :: 1 if layout.aligned else 2].square()
    trust = 2 * power / (power + noise_power(csi[:, :1])) - 1
    return torch.cat([received, scaled_snr(csi[:, 0]), trust], dim=1)


def symbol_mlp(inputs: int, width: int, depth: int, outputs: int, dropout: float) -> nn.Sequential:
    """A residual MLP from :func:`attacker_inputs` to ``outputs`` numbers, [B, inputs] -> [B, outputs].

    >>> symbol_mlp(129, 32, 1, 10, 0.1)(torch.zeros(2, 129)).shape
    torch.Size([2, 10])
    """
    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        ResidualMLP(width, depth),
        nn.Dropout(dropout),
        nn.Linear(width, outputs),
    )

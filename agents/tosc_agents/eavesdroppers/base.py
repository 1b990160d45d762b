"""The base of neural eavesdroppers: inputs, the training loop, and its settings as plain options."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tosc_agents.learning.loop import LoopConfig, StepLoss, train
from tosc_agents.learning.precision import Precision
from tosc_agents.learning.state import Run
from tosc_agents.networks import ResidualMLP, scaled_snr
from tosc_env.attackers import Eavesdropper
from tosc_env.privacy.view import View
from tosc_env.types import SystemSpec


class NeuralEavesdropper(Eavesdropper):
    """An attacker with a network, trained on fresh receptions of its images, told its own SNR.

    Args:
        epochs, batch_size, learning_rate, precision: of its training, which is otherwise the same for all.
        options: the subclass's own, plain values.

    Attributes:
        run: where to keep the training's state after each epoch and to resume from; None keeps nothing.
            :func:`~tosc_agents.fit_eavesdropper` sets it.
    """

    run: Run | None = None

    def __init__(
        self,
        spec: SystemSpec,
        epochs: int,
        batch_size: int,
        learning_rate: float,
        precision: Precision,
        **options: Any,
    ) -> None:
        LoopConfig(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, precision=precision)
        training = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
        super().__init__(spec, **options, **training, precision=precision)

    def train_on(
        self,
        view: View,
        step_loss: StepLoss,
        generator: torch.Generator,
        progress: Any,
        *,
        num_images: int | None = None,
    ) -> dict[str, Any]:
        """Run the loop over the view's first ``num_images`` images, by default all; returns the record."""
        self.to(view.device)
        count = view.num_images if num_images is None else num_images
        options = {k: self.options[k] for k in ("epochs", "batch_size", "learning_rate", "precision")}
        figures = train(
            self,
            step_loss,
            num_images=count,
            config=LoopConfig(
                optimizer="adamw", weight_decay=1e-2, clip=1.0, average=0.999, warmup=0.1, **options
            ),
            generator=generator,
            progress=progress,
            run=self.run,
        )
        return {"epochs": self.options["epochs"], "images": count, "figures": figures}


def part_of(progress: Any, part: int, parts: int, **figures: Any) -> Any:
    """Progress of one of several parts of the work, reported as progress of the whole; None stays None."""
    if progress is None:
        return None
    return lambda done, total, own: progress(part * total + done, parts * total, {**figures, **own})


def attacker_inputs(received: Tensor, csi: Tensor) -> Tensor:
    """Inputs of an attacker's network: received symbols and the scaled SNR, [B, 2n + 1]."""
    return torch.cat([received, scaled_snr(csi[:, 0])], dim=1)


def symbol_mlp(num_symbols: int, width: int, depth: int, outputs: int, dropout: float) -> nn.Sequential:
    """A residual MLP from :func:`attacker_inputs` of n channel uses to ``outputs`` numbers, [B, 2n + 1] -> [B, K].

    >>> symbol_mlp(64, 32, 1, 10, 0.1)(torch.zeros(2, 129)).shape
    torch.Size([2, 10])
    """
    return nn.Sequential(
        nn.Linear(2 * num_symbols + 1, width),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        ResidualMLP(width, depth),
        nn.Dropout(dropout),
        nn.Linear(width, outputs),
    )

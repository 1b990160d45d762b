"""What the neural eavesdroppers share: inputs, the training loop, and its settings as plain options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tosc_agents.learning.loop import LoopConfig, Trained, train
from tosc_agents.networks import ResidualMLP, scaled_snr
from tosc_env.attackers import Eavesdropper
from tosc_env.privacy.view import View


class NeuralEavesdropper(Eavesdropper):
    """An attacker with a network, trained on fresh receptions of its images, told its own SNR.

    Attributes:
        run: where to keep the training's state after each epoch and to resume from, with the plain values
            that a resumed run must share; None keeps nothing. :func:`~tosc_agents.fit_eavesdropper` sets it.
    """

    run: tuple[Path, dict[str, Any]] | None = None

    def loop(self, **changes: Any) -> LoopConfig:
        """How this attacker is trained; the same for every scheme it is pointed at."""
        options = {k: self.options[k] for k in ("epochs", "batch_size", "learning_rate", "precision")}
        plain = {"optimizer": "adamw", "weight_decay": 1e-2, "clip": 1.0, "average": 0.999, "warmup": 0.1}
        return LoopConfig(**{**plain, **options, **changes})

    def train_on(
        self,
        view: View,
        step_loss: Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]],
        generator: torch.Generator,
        progress: Any,
        *,
        num_images: int | None = None,
    ) -> dict[str, Any]:
        """Run the loop over the view's first ``num_images`` images, by default all; returns the record."""
        self.to(view.device)
        count = view.num_images if num_images is None else num_images
        state_path, identity = self.run or (None, None)
        trained: Trained = train(
            self,
            step_loss,
            num_images=count,
            config=self.loop(),
            generator=generator,
            progress=progress,
            state_path=state_path,
            identity=identity,
        )
        return {"epochs": self.options["epochs"], "images": count, "figures": trained.figures}


def attacker_inputs(received: Tensor, csi: Tensor) -> Tensor:
    """What an attacker's network sees: received symbols and the scaled SNR, [B, 2n + 1]."""
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

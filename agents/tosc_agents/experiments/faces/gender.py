"""Reading an attribute such as gender off an image: the classifier that figure 4's argument rests on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tosc_agents.experiments.faces.data import values_of
from tosc_agents.learning.augment import crop_flip_cutout
from tosc_agents.learning.loop import LoopConfig, train
from tosc_agents.learning.precision import autocast
from tosc_agents.learning.progress import Progress
from tosc_agents.learning.seeding import weights_from
from tosc_agents.learning.state import Run, check_form, fitting, load_state, save_state
from tosc_agents.networks import ImageEncoder
from tosc_env.data.base import Source
from tosc_env.errors import InputError

BATCH = 500
"""Images at once when nothing is trained."""


@dataclass(frozen=True)
class ClassifierTraining:
    """Settings of a classifier's training, the same for real and for rebuilt images.

    Attributes:
        epochs, batch_size, learning_rate: of the loop.
        flip: whether images are mirrored (off where left and right mean something).
        pad: largest random shift in pixels.
        stem, widths: of the network; 0.57 M parameters by default.
    """

    epochs: int = 12
    batch_size: int = 128
    learning_rate: float = 2e-3
    flip: bool = True
    pad: int = 4
    stem: int = 16
    widths: tuple[int, ...] = (32, 64, 128)


class Classifier:
    """A classifier of one attribute, which has so many values, in images of so many channels.

    Example:
        >>> classifier = Classifier(3, 2, ClassifierTraining(stem=4, widths=(4, 4, 4)))
        >>> classifier.decide(torch.rand(5, 3, 16, 16)).shape
        torch.Size([5])
    """

    def __init__(
        self, channels: int, values: int, config: ClassifierTraining, device: str | torch.device = "cpu"
    ) -> None:
        self.config, self.device = config, torch.device(device)
        blocks = (1,) * len(config.widths)
        with weights_from(0):
            self.network = ImageEncoder(
                channels, values, stem=config.stem, widths=config.widths, blocks=blocks
            )
        self.network.to(self.device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def fit(
        self,
        images: Callable[[Tensor], Tensor],
        truth: Tensor,
        generator: torch.Generator,
        *,
        state_path: Path | None = None,
        progress: Progress | None = None,
    ) -> dict[str, float]:
        """Learn to tell the values; returns the last epoch's figures.

        Args:
            images: from positions int64 [B] to images [B, C, H, W] in [0, 1], possibly others each time.
            truth: the right value of each, int64 [N].
            generator: of the order of images and of augmentation; may be the one that ``images`` draws from.
            state_path: where the run is kept and resumed from; the caller removes it.
            progress: told how far it is.
        """
        config = self.config
        loop = LoopConfig(
            epochs=config.epochs,
            batch_size=min(config.batch_size, len(truth)),
            learning_rate=config.learning_rate,
            weight_decay=1e-2,
            optimizer="adamw",
            average=0.99,
        )

        def step_loss(index: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            shown = crop_flip_cutout(images(index), generator, pad=config.pad, flip=config.flip, cutout=0)
            logits = self.network(shown).float()
            right = (logits.detach().argmax(1) == truth[index]).float().mean()
            return F.cross_entropy(logits, truth[index]), {"accuracy": right}

        run = Run(state_path, {"classifier": config, "truth": truth}) if state_path else None
        kept: dict[str, Any] = {"run": run, "progress": progress}
        return train(self.network, step_loss, num_images=len(truth), config=loop, generator=generator, **kept)

    @torch.no_grad()
    def decide(self, images: Tensor) -> Tensor:
        """The likeliest value of each image, int64 [B], in the precision of the training."""
        with autocast("auto", self.device):
            return torch.cat([self.network(part).argmax(1) for part in images.split(BATCH)])

    def accuracy(self, images: Tensor, truth: Tensor) -> float:
        """The share of images [N, C, H, W] whose value [N] is recognised."""
        return float((self.decide(images) == truth).float().mean())

    def save(self, path: Path) -> None:
        """Write the weights, whole or not at all."""
        save_state(path, {"network": self.network.state_dict()})

    def load(self, path: Path) -> Classifier:
        """Take the weights that :meth:`save` wrote; returns itself."""
        state = load_state(path, self.device)
        with fitting(path):
            self.network.load_state_dict(
                check_form(state.get("network"), self.network.state_dict(), "network")
            )
        self.network.eval()
        return self


def shown(source: Source, attribute: str, count: int) -> Tensor:
    """Positions of the first images of each value in turn, int64 [count]: the same ones whenever they are asked for.

    An InputError says that the count is not from 1 to the number of images.

    >>> from tosc_env.data import make_source
    >>> source = make_source("shapes", split="test", num_images=20)
    >>> source.attributes[shown(source, "size", 6), 3].tolist()
    [0, 1, 2, 0, 1, 2]
    """
    if not 1 <= count <= len(source):
        raise InputError(f"of {len(source)} images 1 to {len(source)} can be shown, not {count}.")
    truth, values = values_of(source, attribute)
    # The rank of each image among those of its own value: first all firsts, then all seconds.
    same = F.one_hot(truth, values)
    rank = (same.cumsum(0) * same).sum(1)
    return (rank * values + truth).argsort()[:count]

"""Training a scheme end to end, through the same game that environments play."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tosc_agents.learning.augment import crop_flip_cutout
from tosc_agents.learning.loop import LoopConfig, StepLoss, Trained, train
from tosc_agents.learning.progress import Progress
from tosc_env.errors import InputError
from tosc_env.game import Game
from tosc_env.policies import Context, PrivacyScheme
from tosc_env.senders import SchemeSender, numbered


@dataclass
class SchemeTraining:
    """How a scheme is trained."""

    loop: LoopConfig = field(default_factory=LoopConfig)
    """Epochs, optimizer, precision."""
    pad: int = 4
    """Largest random shift of an image in pixels."""
    flip: bool = True
    """Whether images are mirrored at random (off where left and right mean something)."""
    cutout: int = 8
    """Side of the grey square laid over each image, 0 for none."""
    colour: float = 0.0
    """Largest random change of brightness, contrast and saturation."""


def fit_scheme(
    scheme: PrivacyScheme,
    game: Game,
    config: SchemeTraining | None = None,
    *,
    seed: int = 0,
    state_path: Path | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train transmitter and receiver on the game's source, at the game's SNR, over the game's channel.

    Args:
        scheme: a trainable scheme on the game's device.
        game: whose source holds the system's half of the training images.
        config: epochs, augmentation, precision.
        seed: of everything random in the run but the initial weights, which the scheme already has.
        state_path: where the run's state is kept after each epoch and resumed from.
        progress: see :func:`~tosc_agents.learning.progress.show_progress`.

    Raises:
        InputError: the scheme has nothing to train.
        TrainingError: the loss is no longer finite.
    """
    config = config or SchemeTraining()
    if not scheme.trainable:
        raise InputError(f"the scheme {scheme.name!r} has nothing to train.")
    generator = torch.Generator(game.device).manual_seed(seed)
    step_loss = scheme_loss(scheme, game, config, generator)
    identity: dict[str, Any] = {
        "scheme": scheme.name,
        "options": scheme.options,
        "spec": scheme.spec.plain(),
        "data": game.source.name,
        "half": game.source.half,
        "snr_db": game.snr_db.plain(),
        "channel": type(game.channel).__name__,
        "seed": seed,
    }
    return train(
        scheme,
        step_loss,
        num_images=len(game.source),
        config=config.loop,
        generator=generator,
        progress=progress,
        state_path=state_path,
        identity=identity,
        passes=scheme.passes,
        begin_pass=partial(begin_pass, scheme),
    )


def scheme_loss(
    scheme: PrivacyScheme, game: Game, config: SchemeTraining, generator: torch.Generator
) -> StepLoss:
    """What a step of the scheme's training minimises: from image indices [B] through augmentation and the game's
    channel to the scheme's own loss.  The scheme moves to the game's device, in the layout its networks want.
    """
    scheme.to(game.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def step_loss(index: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        round_ = game.draw(len(index), generator=generator, index=index)
        images = crop_flip_cutout(
            round_.batch.images,
            generator,
            pad=config.pad,
            flip=config.flip,
            cutout=config.cutout,
            colour=config.colour,
        )
        round_ = replace(round_, batch=replace(round_.batch, images=images))
        if scheme.keyed:
            round_ = numbered(round_, SchemeSender(scheme), generator)
        context = Context(round_.snr_db, round_.message, generator=generator)
        return scheme.loss(game, round_, context, game.task)

    return step_loss


def begin_pass(scheme: PrivacyScheme, name: str, epoch: int, epochs: int) -> None:
    """Tell the scheme of a pass, and have the parts that do not learn in it stay as they are."""
    scheme.begin_pass(name, epoch, epochs)
    for part in scheme.modules():
        parameters = list(part.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            # Frozen weights alone do not freeze a part: its batch norm would go on adapting.
            part.eval()

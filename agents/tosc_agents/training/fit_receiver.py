"""Training a receiver behind a transmitter that stays as it is: the transmitter runs once, not once per epoch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tosc_agents.learning.augment import crop_flip_cutout
from tosc_agents.learning.loop import StepLoss, Trained, train
from tosc_agents.learning.precision import autocast
from tosc_agents.learning.progress import Progress
from tosc_agents.training.fit_scheme import SchemeTraining
from tosc_env.data.base import Batch
from tosc_env.errors import InputError
from tosc_env.game import Game
from tosc_env.policies import Context, PrivacyScheme

PART = "transmitter"


def fit_receiver(
    scheme: PrivacyScheme,
    game: Game,
    config: SchemeTraining | None = None,
    *,
    copies: int = 3,
    seed: int = 0,
    state_path: Path | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train all of a scheme but its ``transmitter``, on outputs of it that are computed once.

    For schemes whose loss meets the images through a submodule ``transmitter`` alone, as ``deepjscc`` and
    ``dp-laplace`` do; hundreds of epochs of a receiver then take as long as a few of the whole.

    Args:
        scheme: on the game's device; its transmitter is left as it is, in training and after.
        game: whose source holds the system's half of the training images.
        config: epochs and the like; its augmentation makes the copies after the first, which is plain.
        copies: outputs of the transmitter that are kept of each image, at least 1.
        seed: of everything random in the run.
        state_path: where the run's state is kept after each epoch and resumed from.
        progress: told how far it is.

    Raises:
        InputError: no such submodule, nothing besides it to train, or no copy.
    """
    config = config or SchemeTraining()
    transmitter = getattr(scheme, PART, None)
    if not isinstance(transmitter, nn.Module):
        raise InputError(f"the scheme {scheme.name!r} has no part {PART!r} that could stay as it is.")
    if copies < 1:
        raise InputError(f"copies must be at least 1, not {copies}.")
    if scheme.training_only or scheme.keyed:
        raise InputError(
            f"the loss of {scheme.name!r} needs the images themselves, not what its {PART} makes."
        )
    generator = torch.Generator(game.device).manual_seed(seed)
    scheme.to(game.device)
    outputs = _outputs(transmitter.eval(), game, config, copies, generator)
    step_loss = receiver_loss(scheme, game, outputs, generator)
    identity: dict[str, Any] = {
        "receiver_of": scheme.name,
        "options": scheme.options,
        "data": game.source.name,
        "half": game.source.half,
        "snr_db": game.snr_db.plain(),
        "copies": copies,
        "seed": seed,
    }
    # What the loss takes for images are the transmitter's outputs already.
    setattr(scheme, PART, nn.Identity())
    try:
        return train(
            scheme,
            step_loss,
            num_images=len(game.source),
            config=config.loop,
            generator=generator,
            progress=progress,
            state_path=state_path,
            identity=identity,
        )
    finally:
        setattr(scheme, PART, transmitter)


def receiver_loss(scheme: PrivacyScheme, game: Game, outputs: Tensor, generator: torch.Generator) -> StepLoss:
    """What a step of the receiver's training minimises: one of each image's outputs through the game's channel.

    Args:
        scheme: whose ``transmitter`` hands through what it is given.
        game: on the images that the outputs are of.
        outputs: of the transmitter, float32 [copies, N, 2n].
        generator: the stream to draw from.
    """

    def step_loss(index: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        round_ = game.draw(len(index), generator=generator, index=index)
        which = torch.randint(len(outputs), index.shape, generator=generator, device=index.device)
        known = outputs[which, index]
        batch = Batch(known, round_.batch.labels, round_.batch.attributes, round_.batch.index)
        context = Context(round_.snr_db, round_.message, generator=generator)
        return scheme.loss(game, replace(round_, batch=batch), context, game.task)

    return step_loss


@torch.no_grad()
def _outputs(
    transmitter: nn.Module, game: Game, config: SchemeTraining, copies: int, generator: torch.Generator
) -> Tensor:
    """Features float32 [copies, N, 2n]: of the plain images, then of augmented ones."""
    found = []
    for copy in range(copies):
        for part in torch.arange(len(game.source), device=game.device).split(500):
            images = game.source.gather(part).images
            if copy:
                images = crop_flip_cutout(
                    images, generator, pad=config.pad, flip=config.flip, cutout=config.cutout
                )
            with autocast(config.loop.precision, game.device):
                found.append(transmitter(images).float())
    return torch.cat(found).unflatten(0, (copies, len(game.source)))

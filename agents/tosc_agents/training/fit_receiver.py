"""Training a receiver behind a transmitter that stays as it is: the transmitter runs once, not once per epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from tosc_agents.learning.loop import train
from tosc_agents.learning.precision import autocast
from tosc_agents.learning.progress import Progress
from tosc_agents.learning.state import Run
from tosc_agents.training.fit_scheme import SchemeTraining, Trainee, usual_objectives
from tosc_env import Game, InputError, PrivacyScheme, Round, make_objectives
from tosc_env.identity import plain
from tosc_env.options import Seed, Within, checked
from tosc_env.pipeline import as_pipeline

PART = "transmitter"


@torch.inference_mode(False)
@torch.enable_grad()
@checked
def fit_receiver(
    scheme: PrivacyScheme,
    game: Game,
    config: SchemeTraining | None = None,
    *,
    objectives: Any = None,
    copies: Annotated[int, Within(1, 1000)] = 3,
    seed: Seed = 0,
    state_path: Path | None = None,
    asked: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Train all of a scheme but its backbone's ``transmitter``, on outputs of it that are computed once.

    For backbones that meet the images through a submodule ``transmitter`` alone, as ``cnn`` does, and for the task
    alone; hundreds of epochs of a receiver then take as long as a few of the whole.

    Args:
        config: epochs and the like; its augmentation makes the copies after the first, which is plain.
        copies: outputs of the transmitter that are kept of each image.
        scheme, game, objectives, seed, state_path, asked, progress: as for
            :func:`~tosc_agents.training.fit_scheme.fit_scheme`; only the task can be among the objectives.
    """
    config = config or SchemeTraining()
    pipeline = as_pipeline(scheme)
    transmitter = getattr(pipeline.backbone, PART, None)
    if not isinstance(transmitter, nn.Module):
        raise InputError(f"the scheme {scheme.name!r} has no part {PART!r} that could stay as it is.")
    wanted = usual_objectives(scheme.name, scheme.spec) if objectives is None else objectives
    objectives = make_objectives(wanted, scheme.spec)
    if [one.name for one in objectives] != ["task"] or pipeline.keyed:
        raise InputError(f"training {scheme.name!r} needs the images themselves, not what its {PART} makes.")
    generator = torch.Generator(game.device).manual_seed(seed)
    scheme.to(game.device)
    outputs = _outputs(transmitter.eval(), game, config, copies, generator)
    run = None
    if state_path is not None:
        parts = {"training": config, "game": game, "scheme": pipeline, "copies": copies}
        run = Run(state_path, {name: plain(one) for name, one in parts.items()}, asked or {})
    # What the loss takes for images are the transmitter's outputs already.
    setattr(pipeline.backbone, PART, nn.Identity())
    try:
        trainee = ReceiverTrainee(pipeline, objectives, game, config, generator)
        trainee.outputs = outputs
        rules: dict[str, Any] = {
            "num_images": len(game.source),
            "config": config.loop,
            "generator": generator,
        }
        return train(trainee, trainee, **rules, progress=progress, run=run)
    finally:
        setattr(pipeline.backbone, PART, transmitter)


class ReceiverTrainee(Trainee):
    """A scheme whose transmitter hands through what it is given: one of each image's known outputs [copies, N, d]."""

    outputs: Tensor

    def _draw(self, index: Tensor) -> Round:
        round_ = self._game.draw(len(index), generator=self._generator, index=index)
        which = torch.randint(len(self.outputs), index.shape, generator=self._generator, device=index.device)
        return replace(round_, batch=replace(round_.batch, images=self.outputs[which, index]))


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
                images = config.augmented(images, generator)
            with autocast(config.loop.precision, game.device):
                found.append(transmitter(images).float())
    return torch.cat(found).unflatten(0, (copies, len(game.source)))

"""Training a scheme end to end, through the same game that environments play."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from tosc_agents.learning.augment import crop_flip_cutout
from tosc_agents.learning.loop import LoopConfig, train
from tosc_agents.learning.progress import Progress
from tosc_agents.learning.seeding import weights_from
from tosc_agents.learning.state import Run
from tosc_env import Game, InputError, Round, SystemSpec
from tosc_env.exchange import numbered_by_content, transmit, with_fresh_nonces
from tosc_env.options import Seed, Share, Within, check_fields, checked
from tosc_env.pipeline import Pipeline, as_pipeline
from tosc_env.schemes import Objective, PrivacyScheme, defaults_of, make_objectives, schemes

SYSTEM = "system"
"""The pass over the images in which the scheme itself learns."""


@dataclass
class SchemeTraining:
    """The training of a scheme: its loop, and the augmentation of images."""

    loop: LoopConfig = field(default_factory=LoopConfig)
    """Epochs, optimizer, precision."""
    pad: Annotated[int, Within(0, 2**14)] = 4
    """Largest random shift of an image in pixels."""
    flip: bool = True
    """Mirror images at random (off where left and right mean something)."""
    cutout: Annotated[int, Within(0, 2**14)] = 8
    """Side of the grey square laid over each image, 0 for none."""
    colour: Share = 0.0
    """Largest random change of brightness, contrast and saturation."""

    def __post_init__(self) -> None:
        check_fields(self)

    def augmented(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images [B, C, H, W], shifted, mirrored, partly covered and recoloured at random as the settings say."""
        return crop_flip_cutout(
            images, generator, pad=self.pad, flip=self.flip, cutout=self.cutout, colour=self.colour
        )


@torch.inference_mode(False)
@torch.enable_grad()
@checked
def fit_scheme(
    scheme: PrivacyScheme,
    game: Game,
    config: SchemeTraining | None = None,
    *,
    objectives: Any = None,
    seed: Seed = 0,
    state_path: Path | None = None,
    asked: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Train transmitter and receiver on the game's source, at the game's SNR, over the game's channel.

    Args:
        scheme: a trainable scheme; it is trained in place.
        game: whose source holds the system's half of the training images.
        config: epochs, augmentation, precision.
        objectives: what it is trained for, as names, dictionaries of name and options, or objects; by default what
            its registered name stands for (:class:`~tosc_env.schemes.Defaults`).
        seed: of everything random in the run but the initial weights, which the scheme already has.
        state_path: where the run's state is kept after each epoch and resumed from, by a run of the same scheme, game,
            config, objectives and seed alone; who calls removes it when the result is where it belongs.
        asked: options of a command with digests of their values, by which a refusal names what was changed.
        progress: see :func:`~tosc_agents.learning.progress.show_progress`.

    Returns the last epoch's mean figures, such as ``loss`` and ``accuracy``. Raises InputError where there is nothing
    to train or nothing to train it for, and TrainingError where the loss is no longer finite.
    """
    config = config or SchemeTraining()
    generator = torch.Generator(game.device).manual_seed(seed)
    with weights_from(seed):
        wanted = usual_objectives(scheme.name, scheme.spec) if objectives is None else objectives
        trainee = Trainee(as_pipeline(scheme), make_objectives(wanted, scheme.spec), game, config, generator)
    run = None
    if state_path is not None:
        parts = {"training": config, "game": game, "scheme": trainee.scheme}
        run = Run(state_path, {**parts, "objectives": list(trainee.objectives)}, asked or {})
    return train(
        trainee,
        trainee,
        num_images=len(game.source),
        config=config.loop,
        generator=generator,
        progress=progress,
        run=run,
        passes=trainee.passes,
        begin_phase=trainee.begin,
    )


def usual_objectives(name: str, spec: SystemSpec) -> list[Objective]:
    """The objectives of a registered scheme unless others are named."""
    return make_objectives(defaults_of(name).objectives if name in schemes else ("task",), spec)


class Trainee(nn.Module):
    """A scheme and its objectives: what is trained together, and the loss of one step.

    Called with image indices [B], it goes through augmentation, the scheme and the game's channel to the loss and
    figures to log.  The scheme moves to the game's device, in the layout its networks want.

    Attributes:
        passes: what one epoch goes through, a pass over the images each: the objectives' phases, then the system's.
    """

    def __init__(
        self,
        scheme: Pipeline,
        objectives: Sequence[Objective],
        game: Game,
        config: SchemeTraining,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if not scheme.trainable:
            raise InputError(f"the scheme {scheme.name!r} has nothing to train.")
        if not any(p.requires_grad for p in scheme.parameters()):
            raise InputError(
                f"the weights of {scheme.name!r} are frozen, as loaded ones are; call requires_grad_()."
            )
        if not objectives:
            raise InputError("a training needs at least one objective, such as 'task'.")
        self.scheme = scheme.to(game.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.objectives = nn.ModuleList(objectives).to(game.device)
        for objective in objectives:
            objective.prepare(game)
        phases = dict.fromkeys(phase for objective in objectives for phase in objective.phases)
        self.passes = (*phases, SYSTEM)
        self._game, self._config, self._generator = game, config, generator
        self._pass = SYSTEM

    def begin(self, name: str, epoch: int, epochs: int) -> None:
        """Begin a pass over the images: tell the objectives, and keep frozen parts as they are."""
        self._pass = name
        for objective in self.objectives:
            objective.begin(self.scheme, name, epoch, epochs)  # type: ignore[operator]
        for part in self.modules():
            parameters = list(part.parameters())
            if parameters and not any(p.requires_grad for p in parameters):
                # Frozen weights alone do not freeze a part: its batch norm would go on adapting.
                part.eval()

    def forward(self, index: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        round_ = with_fresh_nonces(self._draw(index), self.scheme, self._generator)
        # Augmented images are no longer those of the source: a place there does not say which they are.
        return self.loss(numbered_by_content(round_, round_.batch.images, self.scheme))

    def loss(self, round_: Round) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a round and figures to log."""
        context = self._game.context(round_, self._generator)
        loss = round_.snr_db.new_zeros(())
        logs: dict[str, Tensor] = {}
        if self._pass != SYSTEM:
            with torch.no_grad():
                symbols = self.scheme.encode(round_.batch.images, context)
                transmission = transmit(self._game, self.scheme, round_, symbols, context)
            for objective in self.objectives:
                if self._pass in objective.phases:  # type: ignore[operator]
                    term, figures = objective.phase_loss(self._pass, transmission, round_)  # type: ignore[operator]
                    loss, logs = loss + term, {**logs, **figures}
            return loss, logs
        air = partial(transmit, self._game, self.scheme, round_, context=context)
        trial = self.scheme(round_.batch.images, context, air)
        logs |= trial.figures
        for objective in self.objectives:
            loss, figures = objective.loss(loss, trial, round_, self._game.task)  # type: ignore[operator]
            logs |= figures
        return loss, logs

    def _draw(self, index: Tensor) -> Round:
        round_ = self._game.draw(len(index), generator=self._generator, index=index)
        images = self._config.augmented(round_.batch.images, self._generator)
        return replace(round_, batch=replace(round_.batch, images=images))

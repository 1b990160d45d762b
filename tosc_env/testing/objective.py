"""The laws of an objective."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tosc_env.game import Game
from tosc_env.pipeline import Pipeline, as_pipeline
from tosc_env.schemes import Objective, PrivacyScheme, make_objectives, objectives
from tosc_env.testing import laws
from tosc_env.testing.ends import channels_for, context_of, noise_game
from tosc_env.testing.laws import Subject
from tosc_env.types import Context, SystemSpec

SYSTEM = "system"


def check_objective(
    obj: Objective,
    scheme: PrivacyScheme | None = None,
    *,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> None:
    """Check an :class:`~tosc_env.Objective` on a scheme that it trains (by default a small linear one), copies of both.

    The laws, in training mode: ``loss`` adds to the loss that it is given, and with it gives one finite number and
    detached figures, and finite gradients reach the scheme. Every name in ``phases`` has a ``phase_loss`` of the
    same kind, whose gradient reaches parameters of the objective; none of its parameters is left without one by all
    passes together. The same step gives the same loss. ``begin`` may be called before any pass of any epoch. Options
    are plain values that rebuild the objective, by its name if it is registered.

    Example:
        >>> class Small(Objective):
        ...     def loss(self, loss, trial, round_, task):
        ...         size = trial.features.square().mean()
        ...         return loss + 0.01 * size, {"size": size.detach()}
        >>> check_objective(Small(SystemSpec((3, 8, 8), 4, num_symbols=16)))
    """
    who = laws.subject(obj, Objective, "objective")
    check = _Check(obj, who, device, seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        system = as_pipeline(Subject(scheme or _Linear(obj.spec), "the scheme").obj)
    objective, system = check.obj.train(), system.to(check.device).train()
    phases = objective.phases
    lawful = isinstance(phases, tuple) and len({*phases, SYSTEM}) == len(phases) + 1
    check.require(lawful, f"phases must be a tuple of names, each once and none {SYSTEM!r}, not {phases!r}.")
    game = noise_game(system, channels_for(system.spec)["AWGN"], check.device)
    with check.step("prepare"):
        objective.prepare(game)
    passes = [(phase, epoch) for epoch in (0, 1) for phase in (*phases, SYSTEM)]
    reached = set().union(*(check.one_pass(system, game, *which) for which in passes))
    for name, parameter in objective.named_parameters():
        learns = not parameter.requires_grad or name in reached
        check.require(
            learns, f"no pass sends a gradient to its parameter {name!r}; it is detached or not used."
        )

    def make(options: dict[str, Any]) -> Objective:
        if objective.name in objectives:
            return make_objectives({**options, "name": objective.name}, objective.spec)[0]
        return type(objective)(objective.spec, **options)

    check.load_into(check.rebuilt(make))


class _Check(Subject):
    """An objective in training mode."""

    def one_pass(self, system: Pipeline, game: Game, phase: str, epoch: int) -> set[str]:
        """Check one pass over the images; returns the names of the objective's parameters that it reaches."""
        objective, when = self.obj, f"in the pass {phase!r} of epoch {epoch}, "
        for part in (objective, system):
            part.zero_grad(set_to_none=True)
        with self.step(f"{when}begin"):
            objective.begin(system, phase, epoch, 2)
        round_ = game.draw(16, generator=laws.generator(self.seed + epoch, game.device))
        given = torch.ones((), device=game.device, requires_grad=True)

        def once() -> tuple[Tensor, Any]:
            torch.manual_seed(self.seed)
            context = context_of(game, round_, self.seed)
            if phase != SYSTEM:
                with torch.no_grad():
                    transmission = game.transmit(round_, system.encode(round_.batch.images, context))
                return objective.phase_loss(phase, transmission, round_)
            trial = system(round_.batch.images, context, partial(game.transmit, round_))
            before = given * game.task.loss(trial.logits, round_.targets)
            return objective.loss(before, trial, round_, game.task)

        doing = self.step(f"{when}its loss (can it train this scheme?)")
        with torch.enable_grad(), torch.random.fork_rng(), doing:
            (first, _), (loss, figures) = once(), once()
        for one in (first, loss):
            self.loss(one, when)
        alike = laws.same(first.detach(), loss.detach(), 1e-5)
        self.require(alike, f"{when}two losses to the same step.")
        self.figures(figures, when)
        with self.step(f"{when}the gradient of its loss"):
            loss.backward()
        own = {name for name, p in objective.named_parameters() if p.grad is not None}
        gradients = [p.grad for part in (objective, system) for p in part.parameters() if p.grad is not None]
        if phase == SYSTEM:
            self.require(given.grad is not None, f"{when}it forgets the loss it is given.")
            self.require(len(gradients) > len(own), f"{when}it sends no gradient to the scheme.")
        else:
            self.require(own, f"{when}it sends no gradient to its own parameters, which alone learn in it.")
        finite = all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
        self.require(finite, f"{when}it sends a gradient that is not finite.")
        return own


class _Linear(PrivacyScheme):
    """One linear map at each end."""

    def __init__(self, spec: SystemSpec) -> None:
        super().__init__(spec)
        self.encoder = nn.Linear(torch.Size(spec.image_shape).numel(), 2 * spec.num_symbols)
        self.decoder = nn.Linear(2 * spec.num_symbols, spec.num_outputs)

    def encode(self, images: Tensor, context: Context) -> Tensor:
        return self.encoder((images - 0.5).flatten(1))

    def decode(self, received: Tensor, csi: Tensor, context: Context) -> Tensor:
        return self.decoder(received)

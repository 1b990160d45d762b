"""The laws of an objective."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tosc_env.devices import resolve_device
from tosc_env.game import Game
from tosc_env.pipeline import Pipeline, as_pipeline
from tosc_env.schemes import Objective, PrivacyScheme, make_objectives, objectives
from tosc_env.testing.games import channels_for, noise_source
from tosc_env.testing.laws import duplicate, generator, require, require_plain, same, step
from tosc_env.types import Context, Round, SystemSpec

SYSTEM = "system"


def check_objective(
    obj: Objective,
    scheme: PrivacyScheme | None = None,
    *,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> None:
    """Check an :class:`~tosc_env.Objective` on a scheme that it trains: losses, figures, gradients, phases, options.

    The laws, in training mode: ``loss`` adds to the loss that it is given, and with it gives one finite number and
    detached figures, and finite gradients reach the scheme. Every name in ``phases`` has a ``phase_loss`` of the
    same kind, whose gradient reaches parameters of the objective; none of its parameters is left without one by all
    passes together. The same step gives the same loss. ``begin`` may be called before any pass of any epoch. Options
    are plain values that rebuild the objective, by its name if it is registered.

    Args:
        obj: the objective; it is copied and left as it is.
        scheme: whom it trains, of the same shapes, also copied; None: a small linear one.
        device: where to run it.
        seed: of the random images and channels.

    Raises:
        AssertionError: a law is broken; the sentence says which.

    Example:
        >>> class Small(Objective):
        ...     def loss(self, loss, trial, round_, task):
        ...         size = trial.features.square().mean()
        ...         return loss + 0.01 * size, {"size": size.detach()}
        >>> check_objective(Small(SystemSpec((3, 8, 8), 4, num_symbols=16)))
    """
    require(
        isinstance(obj, Objective),
        f"an objective must derive from tosc_env.Objective, and {type(obj).__name__} does not.",
    )
    who = f"the objective {obj.name or type(obj).__name__}"
    require(
        isinstance(obj.spec, SystemSpec),
        f"the spec of {who} must be a SystemSpec; call super().__init__(spec).",
    )
    where = resolve_device(device)
    objective = duplicate(obj, who).to(where).train()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        system = as_pipeline(duplicate(scheme or _Linear(obj.spec), "the scheme")).to(where).train()
    phases = objective.phases
    require(
        isinstance(phases, tuple) and len({*phases, SYSTEM}) == len(phases) + 1,
        f"{who}: phases must be a tuple of names, each once and none {SYSTEM!r}, not {phases!r}.",
    )
    game = Game(
        noise_source(system.spec, where),
        channel=channels_for(system.spec)["AWGN"],
        num_symbols=system.spec.num_symbols,
        constellation=system.constellation,
    )
    reached: set[str] = set()
    for epoch in (0, 1):
        for phase in (*phases, SYSTEM):
            reached |= _check_pass(objective, system, game, phase, epoch, seed, who)
    for name, parameter in objective.named_parameters():
        require(
            name in reached or not parameter.requires_grad,
            f"{who}: no pass sends a gradient to its parameter {name!r}; something detaches it, or it is not used.",
        )
    _check_rebuilt(objective, who)


def _check_pass(
    objective: Objective, system: Pipeline, game: Game, phase: str, epoch: int, seed: int, who: str
) -> set[str]:
    """Check one pass over the images; returns which of the objective's parameters it reaches."""
    what = f"{who}, in the pass {phase!r} of epoch {epoch},"
    for part in (objective, system):
        part.zero_grad(set_to_none=True)
    with step(f"{what} begin"):
        objective.begin(system, phase, epoch, 2)
    round_ = game.draw(16, generator=generator(seed + epoch, game.device))
    given = torch.ones((), device=game.device, requires_grad=True)
    losses = []
    for _ in range(2):
        with (
            torch.enable_grad(),
            torch.random.fork_rng(),
            step(f"{what} its loss (can it train this scheme?)"),
        ):
            torch.manual_seed(seed)
            loss, figures = _loss(objective, system, game, round_, phase, seed, given)
        require(
            isinstance(loss, Tensor) and loss.dim() == 0 and bool(torch.isfinite(loss)),
            f"{what} must give one finite number as its loss, not {loss!r}.",
        )
        losses.append(loss)
    require(same(losses[0].detach(), losses[1].detach(), 1e-5), f"{what} gives two losses to the same step.")
    for name, value in figures.items():
        require(
            isinstance(value, Tensor) and not value.requires_grad and value.dim() == 0,
            f"{what}: the figure {name!r} must be a detached scalar tensor.",
        )
    with step(f"{what} the gradient of its loss"):
        losses[1].backward()
    own = {name for name, p in objective.named_parameters() if p.grad is not None}
    if phase == SYSTEM:
        require(
            given.grad is not None,
            f"{what} forgets the loss of the objectives before it; add to what it is given.",
        )
        require(
            any(p.grad is not None for p in system.parameters()),
            f"{what} sends no gradient to the scheme.",
        )
    else:
        require(own, f"{what} sends no gradient to the objective's own parameters, which alone learn in it.")
    gradients = [p.grad for part in (objective, system) for p in part.parameters() if p.grad is not None]
    require(
        all(bool(torch.isfinite(g).all()) for g in gradients), f"{what} sends a gradient that is not finite."
    )
    return own


def _loss(
    objective: Objective,
    system: Pipeline,
    game: Game,
    round_: Round,
    phase: str,
    seed: int,
    given: Tensor,
) -> tuple[Tensor, Any]:
    context = Context(round_.snr_db, round_.message, 0, generator(seed, game.device))
    if phase != SYSTEM:
        with torch.no_grad():
            transmission = game.transmit(round_, system.encode(round_.batch.images, context))
        return objective.phase_loss(phase, transmission, round_)
    trial = system(round_.batch.images, context, partial(game.transmit, round_))
    before = given * game.task.loss(trial.logits, round_.targets)
    return objective.loss(before, trial, round_, game.task)


def _check_rebuilt(objective: Objective, who: str) -> None:
    options = require_plain(objective.options, who)
    with step(f"rebuilding {who} from its spec and its options {options}"), torch.random.fork_rng():
        if objective.name in objectives:
            (rebuilt,) = make_objectives({**options, "name": objective.name}, objective.spec)
        else:
            rebuilt = type(objective)(objective.spec, **options)
    require(type(rebuilt) is type(objective), f"{who}, rebuilt by its name, is a {type(rebuilt).__name__}.")
    require(
        require_plain(rebuilt.options, who) == options,
        f"{who}, rebuilt from its options {options}, has others: {rebuilt.options}.",
    )
    with step(f"loading the state of {who} into one rebuilt from its options"):
        rebuilt.load_state_dict(objective.state_dict())


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

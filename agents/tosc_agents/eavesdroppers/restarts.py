"""Restarts: a reconstructing attacker is trained from several initialisations, and the best is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tosc_agents.eavesdroppers.base import NeuralEavesdropper, held_out, part_of
from tosc_agents.learning.loop import StepLoss
from tosc_agents.learning.seeding import weights_from
from tosc_env import metrics
from tosc_env.privacy.view import View
from tosc_env.types import Reception

SEED_STEP = 1009
"""Between the seeds of two restarts' weights."""

FIGURE = "held_out_psnr_db"
"""The figure that stops a training and chooses between restarts: the mean PSNR in dB on held-out images."""

BATCH = 500
"""Images received or rebuilt at once when restarts are compared."""


def best_restart(
    attacker: NeuralEavesdropper,
    view: View,
    step_loss: StepLoss,
    generator: torch.Generator,
    progress: Any,
    *,
    begin: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Train ``attacker.network`` ``options["restarts"]`` times; the attacker ends as its best start.

    The best has the highest mean PSNR on held-out images (:func:`~tosc_agents.eavesdroppers.base.held_out`), which
    stops each training too, at the SNRs of the view; all are measured on the very same receptions. The first start has
    the weights that the attacker came with, a later one those of a fresh attacker of another seed.

    Each start keeps its run in a file of its own (``name.run``, ``name.start1.run``, ...), from which a killed attack
    takes a finished start.

    Args:
        attacker: with a ``network`` to be trained, and :meth:`reconstruct`.
        view: what it may know.
        step_loss: the loss of a batch of image indices.
        generator: the only source of randomness; its seed decides the weights of all restarts.
        progress: told of the steps of all restarts together.
        begin: sets what fresh weights cannot know, before each start.

    Returns:
        The record of the start that was kept; with several, ``restarts`` has each one's seed and PSNR in dB, and
        ``kept`` says which it was.
    """
    restarts: int = attacker.options["restarts"]
    attacker.to(view.device)
    run, seed = attacker.run, generator.initial_seed()
    test = [view.sample(part) for part in held_out(view)[1].split(BATCH)]
    starts, records, states = [], [], []
    for k in range(restarts):
        weights_seed = (seed + k * SEED_STEP) % 2**63
        if k:
            _fresh_weights(attacker, weights_seed)
        begin()
        if run is not None and k:
            attacker.run = run.beside(f"start{k}", start=k)
        part = part_of(progress, k, restarts, start=k + 1) if restarts > 1 else progress
        try:
            record = attacker.train_on(
                view, step_loss, lambda: _psnr_db(attacker, test), generator, part, figure=FIGURE
            )
        finally:
            attacker.run = run
        records.append(record)
        starts.append({"seed": weights_seed, FIGURE: record[FIGURE]})
        states.append({name: t.clone() for name, t in attacker.state_dict().items()})
    kept = max(range(restarts), key=lambda k: starts[k][FIGURE])
    attacker.load_state_dict(states[kept])
    return {**records[kept], **({"restarts": starts, "kept": kept} if restarts > 1 else {})}


@torch.no_grad()
def _psnr_db(attacker: NeuralEavesdropper, test: list[tuple[Reception, Tensor]]) -> float:
    """The mean PSNR in dB on receptions and their images."""
    found = [metrics.psnr(attacker.reconstruct(r.received, r.csi), images) for r, images in test]
    return float(torch.cat(found).mean())


def _fresh_weights(attacker: NeuralEavesdropper, seed: int) -> None:
    """Give the attacker's network the weights of a new one, and leave all else that it has learnt."""
    with weights_from(seed):
        fresh = type(attacker)(attacker.spec, **attacker.options)
    attacker.get_submodule("network").load_state_dict(fresh.get_submodule("network").state_dict())

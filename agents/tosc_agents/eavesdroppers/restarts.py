"""Restarts: a reconstructing attacker is trained from several initialisations, and the best is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tosc_agents.eavesdroppers.base import NeuralEavesdropper, part_of
from tosc_agents.learning.loop import StepLoss
from tosc_agents.learning.seeding import weights_from
from tosc_env import metrics
from tosc_env.privacy.view import View
from tosc_env.types import Reception

SEED_STEP = 1009
"""Between the seeds of two restarts' weights."""

HELD_OUT, FEWEST, ENOUGH = 20, 100, 400
"""One image in ``HELD_OUT`` is held out, at least ``FEWEST``, and none below ``ENOUGH`` images."""

BATCH = 500
"""Images received or rebuilt at once when restarts are compared."""


def split(view: View, restarts: int) -> tuple[Tensor, Tensor]:
    """The images that an attacker trains on and those that choose between its restarts, int64 indices.

    A single start trains on all and chooses nothing. Several hold out the last 5 % (at least 100) of the
    attacker's own images; below 400 images none can be spared, and the choice is made on the training images.
    """
    index = torch.arange(view.num_images, device=view.device)
    if restarts == 1:
        return index, index[:0]
    if len(index) < ENOUGH:
        return index, index
    count = max(FEWEST, len(index) // HELD_OUT)
    return index[:-count], index[-count:]


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

    The best has the highest mean PSNR on the images of :func:`split`, at the SNRs of the view; all restarts are
    measured on the very same receptions. The first start has the weights that the attacker came with, a later
    one those of a fresh attacker of another seed.

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
        The record of the start that was kept; with several, ``restarts`` has each one's seed and PSNR in dB,
        ``kept`` says which it was, and ``validation`` on what it was chosen.
    """
    restarts: int = attacker.options["restarts"]
    if restarts == 1:
        begin()
        return attacker.train_on(view, step_loss, generator, progress)
    attacker.to(view.device)
    run, seed = attacker.run, generator.initial_seed()
    trained_on, held_out = split(view, restarts)
    test = [view.sample(part) for part in held_out.split(BATCH)]
    starts, records, states = [], [], []
    for k in range(restarts):
        weights_seed = (seed + k * SEED_STEP) % 2**63
        if k:
            _fresh_weights(attacker, weights_seed)
        begin()
        if run is not None:
            attacker.run = run.beside(f"start{k}", start=k) if k else run
        part = part_of(progress, k, restarts, start=k + 1)
        try:
            records.append(attacker.train_on(view, step_loss, generator, part, num_images=len(trained_on)))
        finally:
            attacker.run = run
        starts.append({"seed": weights_seed, "validation_psnr_db": _psnr_db(attacker, test)})
        states.append({name: t.clone() for name, t in attacker.state_dict().items()})
    kept = max(range(restarts), key=lambda k: starts[k]["validation_psnr_db"])
    attacker.load_state_dict(states[kept])
    where = "training images" if len(trained_on) == view.num_images else "held-out images"
    validation = {"images": len(held_out), "of": where}
    return {**records[kept], "restarts": starts, "kept": kept, "validation": validation}


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

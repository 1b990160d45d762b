"""Training a reconstructing attacker from several initialisations and keeping the one that sees most."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tosc_agents.eavesdroppers.base import NeuralEavesdropper
from tosc_agents.learning.seeding import weights_from
from tosc_agents.learning.state import load_state, save_state
from tosc_env import metrics
from tosc_env.errors import CheckpointError, InputError
from tosc_env.privacy.view import View
from tosc_env.types import Reception

SEED_STEP = 1009
"""Between the seeds of two restarts' weights."""

HELD_OUT, FEWEST, ENOUGH = 20, 100, 400
"""One image in ``HELD_OUT`` is held out, at least ``FEWEST``, and none below ``ENOUGH`` images."""

BATCH = 500
"""Images heard or rebuilt at once when restarts are compared."""


def check_restarts(restarts: int) -> None:
    """Raise InputError unless ``restarts`` is a whole number of at least 1."""
    if isinstance(restarts, bool) or not isinstance(restarts, int) or restarts < 1:
        raise InputError(f"restarts must be a whole number of at least 1, not {restarts!r}.")


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


def best_start(
    attacker: NeuralEavesdropper,
    view: View,
    step_loss: Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]],
    generator: torch.Generator,
    progress: Any,
    *,
    begin: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Train ``attacker.network`` ``options["restarts"]`` times; the attacker ends as its best start.

    The best has the highest mean PSNR on the images of :func:`split`, at the SNRs of the view; all restarts are
    measured on the very same receptions. The first start has the weights that the attacker came with, a later
    one those of a fresh attacker of another seed. One start is the plain training on all images.

    A start keeps its run in a file of its own (``name.run``, ``name.start1.run``, ...), which stays until all are
    done: the state after the last epoch holds the final weights and the stream's position, so that a killed
    attack takes a finished start from its file. In the end ``name.run`` holds the outcome alone, which is taken
    from there until the caller removes it: an attack may have more to do than this.

    Args:
        attacker: with a ``network`` to be trained, and :meth:`reconstruct`.
        view: the attacker's world.
        step_loss: the loss of a batch of image indices.
        generator: the only source of randomness; its seed decides the weights of all restarts.
        progress: told of the steps of all restarts together.
        begin: sets what fresh weights cannot know, before each start.

    Returns:
        The record of the start that was kept; with several, ``restarts`` has each one's seed and PSNR in dB,
        ``kept`` says which it was, and ``validation`` on what it was chosen.
    """
    restarts: int = attacker.options["restarts"]
    begin = begin or (lambda: None)
    if restarts == 1:
        begin()
        return attacker.train_on(view, step_loss, generator, progress)
    attacker.to(view.device)
    run, seed = attacker.run, generator.initial_seed()
    paths = [] if run is None else [_path(run[0], k) for k in range(restarts)]
    if run is not None:
        outcome = _finished(attacker, run, generator)
        if outcome is not None:
            _remove(paths[1:])
            return outcome
    trained_on, held_out = split(view, restarts)
    test = _Test.of(view, held_out)
    tried, records, states = [], [], []
    for k in range(restarts):
        weights_seed = (seed + k * SEED_STEP) % 2**63
        if k:
            _fresh_weights(attacker, weights_seed)
        begin()
        if run is not None:
            attacker.run = (paths[k], {**run[1], "start": k})
        try:
            records.append(
                attacker.train_on(
                    view, step_loss, generator, _told(progress, k, restarts), num_images=len(trained_on)
                )
            )
        finally:
            attacker.run = run
        tried.append({"seed": weights_seed, "validation_psnr_db": test.psnr_db(attacker)})
        states.append({name: t.clone() for name, t in attacker.state_dict().items()})
    kept = max(range(restarts), key=lambda k: tried[k]["validation_psnr_db"])
    attacker.load_state_dict(states[kept])
    where = "training images" if len(trained_on) == view.num_images else "held-out images"
    chosen = {"images": len(held_out), "of": where}
    outcome = {**records[kept], "restarts": tried, "kept": kept, "validation": chosen}
    if run is not None:
        random = generator.get_state()
        save_state(
            run[0], {"best": states[kept], "generator": random, "identity": run[1], "outcome": outcome}
        )
        _remove(paths[1:])
    return outcome


@dataclass(frozen=True)
class _Test:
    """Receptions [V, ...] and images [V, C, H, W] on which restarts are compared."""

    reception: Reception
    images: Tensor

    @classmethod
    def of(cls, view: View, index: Tensor) -> _Test:
        heard = [view.sample(part) for part in index.split(BATCH)]
        received = torch.cat([reception.received for reception, _ in heard])
        csi = torch.cat([reception.csi for reception, _ in heard])
        return cls(Reception(received, csi), torch.cat([images for _, images in heard]))

    @torch.no_grad()
    def psnr_db(self, attacker: NeuralEavesdropper) -> float:
        heard = zip(self.reception.received.split(BATCH), self.reception.csi.split(BATCH), strict=True)
        rebuilt = torch.cat([attacker.reconstruct(received, csi) for received, csi in heard])
        return float(metrics.psnr(rebuilt, self.images).mean())


def _fresh_weights(attacker: NeuralEavesdropper, seed: int) -> None:
    """Give the attacker's network the weights of a new one, and leave all else that it has learnt."""
    with weights_from(seed):
        fresh = type(attacker)(attacker.spec, **attacker.options)
    attacker.get_submodule("network").load_state_dict(fresh.get_submodule("network").state_dict())


def _finished(
    attacker: NeuralEavesdropper, run: tuple[Path, dict[str, Any]], generator: torch.Generator
) -> dict[str, Any] | None:
    """The outcome of restarts that are all done, with the attacker and the stream as they were left; else None."""
    path, identity = run
    if not path.exists():
        return None
    state = load_state(path, generator.device)
    if "outcome" not in state:
        return None
    theirs, ours = state["identity"], json.loads(json.dumps(identity))
    where = sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))
    if where:
        raise CheckpointError(
            f"{path} belongs to a run with another {', '.join(where)}; continue that one with the same arguments, "
            "choose another output, or delete the file."
        )
    attacker.load_state_dict(state["best"])
    attacker.eval()
    generator.set_state(state["generator"].cpu())
    return state["outcome"]


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _path(path: Path, start: int) -> Path:
    return path if start == 0 else path.with_name(f"{path.stem}.start{start}{path.suffix}")


def _told(progress: Any, start: int, restarts: int) -> Any:
    if progress is None:
        return None
    return lambda done, total, figures: progress(
        start * total + done, restarts * total, {"start": start + 1, **figures}
    )

"""Training an attacker against a system, under an explicit threat model."""

from __future__ import annotations

import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tosc_agents.learning.progress import Progress
from tosc_agents.learning.seeding import weights_from
from tosc_agents.learning.state import Run
from tosc_agents.perceptual import weights_digest
from tosc_env import Eavesdropper, Game, PrivacyScheme, ThreatModel, load_checkpoint, make_eavesdropper
from tosc_env.exchange import known_spec
from tosc_env.identity import check_identity, identity, plain
from tosc_env.options import Seed, checked
from tosc_env.pipeline import as_pipeline
from tosc_env.privacy.streams import stream
from tosc_env.privacy.view import counted_view


@torch.inference_mode(False)
@torch.enable_grad()
@checked
def fit_eavesdropper(
    eavesdropper: str | Eavesdropper,
    game: Game,
    scheme: PrivacyScheme,
    *,
    threat: ThreatModel | None = None,
    options: dict[str, Any] | None = None,
    seed: Seed = 0,
    progress: Progress | None = None,
    state_path: Path | None = None,
    asked: Mapping[str, str] | None = None,
) -> tuple[Eavesdropper, dict[str, Any]]:
    """A trained attacker and the record of its training.

    Args:
        eavesdropper: a registered name, or an object to be trained in place.
        game: on the attacker's own images, at the SNRs of its link.
        scheme: the system under attack.
        threat: what the attacker is given; by default other images, unlimited queries, its own CSI.
        options: of the eavesdropper, with a name.
        seed: of its weights, the order of its images and the noise it receives.
        progress: told how far it is.
        state_path: where an attacker with an attribute ``run`` (every neural one) keeps its run after each epoch
            and resumes from. Whoever calls removes it (:func:`forget_run`) when the attacker is where it belongs.
        asked: options of a command with digests of their values, by which a refusal names what was changed.

    Returns the attacker, and a record with its settings, what it learnt, and its :func:`attack_identity`. Raises
    DeniedError where it asked for what the threat model denies, and CheckpointError for the run of another attack.
    """
    threat = threat or ThreatModel()
    with weights_from(seed):
        attacker = make_eavesdropper(
            eavesdropper, known_spec(game.spec, scheme, threat), **(options or {})
        ).to(game.device)
    threat = attacker.granted(threat)
    # The attacker's own generator says nothing of the channel's, which is keyed by the system's weights besides.
    own = torch.Generator(game.device).manual_seed(seed)
    view, count = counted_view(game, scheme, threat, stream(str(seed), "channel", 0, game.device))
    threat = view.threat
    parts = _parts(attacker, game, scheme, threat)
    setting: dict[str, Any] = {"threat_model": threat.plain(), "snr_db": view.snr_db.plain(), "seed": seed}
    if threat.colluding:
        setting["nodes_snr_db"] = {n: game.snr_of(n).plain() for n in game.adversaries}
    if state_path is not None and hasattr(attacker, "run"):
        # Copies: what the record says of them is said by nobody else.
        attacker.run = Run(state_path, deepcopy(parts), dict(asked or {}), count)  # type: ignore[assignment]
    start = time.perf_counter()
    try:
        fitted = attacker.fit(view, generator=own, progress=progress)
    finally:
        for part in attacker.modules():
            if getattr(part, "run", None) is not None:
                part.run = None  # type: ignore[assignment]
    attacker.eval().requires_grad_(False)
    attacker.fitted_under, attacker.fitted_against = threat, as_pipeline(scheme).fingerprint()
    record = {
        "name": attacker.name,
        "options": attacker.options,  # with what it has learnt of its own shape
        **setting,
        # Of the count that the attacker cannot reach: it has had the view in its hands.
        "queries": count.queries,
        "seconds": round(time.perf_counter() - start, 1),
        "fit": fitted,
        "identity": identity(seed=seed, **parts),
        "asked": dict(asked or {}),
    }
    return attacker, record


def attack_identity(
    attacker: Eavesdropper, game: Game, scheme: PrivacyScheme, *, threat: ThreatModel, seed: int
) -> dict[str, Any]:
    """Describe what determines a trained attacker: itself when fresh, the system, the images, what it is given."""
    return identity(seed=seed, **_parts(attacker, game, scheme, threat))


def _parts(attacker: Eavesdropper, game: Game, scheme: PrivacyScheme, threat: ThreatModel) -> dict[str, Any]:
    """As they are now, in plain values: an attacker changes as it learns."""
    system = as_pipeline(scheme)
    held = replace(threat.on(game.source.half), colluding=threat.colluding or game.config.colluding)
    parts: dict[str, Any] = {
        "threat_model": attacker.granted(held).plain(),
        "attacker": attacker,
        "game": game,
        "scheme": system,
    }
    if attacker.options.get("perceptual_weight"):
        parts["vgg"] = weights_digest()
    return {name: plain(part) for name, part in parts.items()}


def finished_attacker(
    path: Path,
    known: Mapping[str, Any],
    *,
    asked: Mapping[str, str] | None = None,
    device: torch.device | str = "cpu",
) -> tuple[Eavesdropper, dict[str, Any]] | None:
    """An attacker that an earlier run has finished, and the record of its training; None where it must be fitted.

    CheckpointError where what lies there has another :func:`attack_identity` than the ``known`` one that is wanted.
    """
    loaded = load_checkpoint(path, device=device, kind="eavesdropper") if path.exists() else None
    if loaded is None or not loaded.card:
        return None  # perhaps killed between weights and card: its run is still there
    record = loaded.card.get("training")
    record = record if isinstance(record, dict) else {}
    check_identity(path, record.get("identity"), known, asked_then=record.get("asked"), asked_now=asked)
    # What it learnt is perhaps in no tensor of its state, so that its file holds nothing: then it is fitted again.
    return (loaded.policy, record) if loaded.policy.state_dict() else None


def forget_run(state_path: Path) -> None:
    """Remove what a finished attacker's training has kept for being resumed."""
    Run(state_path, {}).forget()


def without_identity(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a training as results show it: its identity is in the attacker's card."""
    return {name: value for name, value in record.items() if name not in ("identity", "asked")}

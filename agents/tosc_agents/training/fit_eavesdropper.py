"""Training an attacker against a system, under an explicit threat model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from tosc_agents.eavesdroppers.base import run_files
from tosc_agents.learning.progress import Progress
from tosc_agents.learning.seeding import weights_from
from tosc_env.attackers import Eavesdropper, make_eavesdropper
from tosc_env.game import Game
from tosc_env.options import Seed, checked
from tosc_env.privacy.threat import ThreatModel
from tosc_env.privacy.view import View
from tosc_env.schemes import PrivacyScheme


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
    identity: dict[str, Any] | None = None,
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
            and resumes from; removed in the end.
        identity: more plain values that a resumed run must share with the interrupted one, such as the target's
            digest; the attacker's settings, the threat model, the SNR and the seed are always among them.

    Raises:
        DeniedError: it asked for what the threat model denies.
    """
    threat = threat or ThreatModel()
    with weights_from(seed):
        attacker = make_eavesdropper(eavesdropper, game.spec, **(options or {})).to(game.device)
    # One stream for the order of images and the noise on the air, so that a resumed run goes on with both.
    generator = torch.Generator(game.device).manual_seed(seed)
    view = View(game, scheme, threat, generator)
    setting = {
        "options": attacker.options,
        "threat_model": threat.plain(),
        "snr_db": view.snr_db.plain(),
        "seed": seed,
    }
    if state_path is not None and hasattr(attacker, "run"):
        shared = {"eavesdropper": attacker.name, "spec": attacker.spec.plain(), **setting, **(identity or {})}
        attacker.run = (state_path, shared)  # type: ignore[assignment]
    start = time.perf_counter()
    fitted = attacker.fit(view, generator=generator, progress=progress)
    if state_path is not None:
        for file in run_files(state_path):
            file.unlink(missing_ok=True)
    attacker.eval().requires_grad_(False)
    record = {
        "name": attacker.name,
        **setting,
        "options": attacker.options,  # with what it has learnt of its own shape
        "queries": view.queries,
        "seconds": round(time.perf_counter() - start, 1),
        "fit": fitted,
    }
    return attacker, record

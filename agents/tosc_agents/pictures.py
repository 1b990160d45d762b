"""Pictures of attackers' reconstructions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from tosc_env.attackers import Eavesdropper, answered
from tosc_env.exchange import rollout
from tosc_env.game import Game
from tosc_env.privacy.threat import ThreatModel
from tosc_env.rendering.viewer import comparison_grid
from tosc_env.schemes import PrivacyScheme


@torch.no_grad()
def attack_picture(
    path: Path,
    game: Game,
    scheme: PrivacyScheme,
    attackers: Mapping[str, Eavesdropper],
    snr_db: float,
    *,
    threat: ThreatModel | None = None,
) -> None:
    """Draw the first ten test images, and beneath them each attacker's reconstructions from the same messages.

    Args:
        path: of the PNG, written whole or not at all.
        game, scheme, attackers: as in :func:`~tosc_agents.training.evaluate.evaluate`.
        snr_db: of the eavesdropper's link.
        threat: the attackers' means; see :func:`~tosc_agents.training.evaluate.evaluate`.
    """
    at = game.with_rules(snr_db=snr_db, eavesdropper_snr_db=None)
    generator = torch.Generator(game.device).manual_seed(0)
    index = torch.arange(min(10, len(game.source)), device=game.device)
    exchange = next(rollout(at, scheme, generator=generator, index=index, batch_size=len(index)))
    reception = exchange.observed(threat or ThreatModel())
    images = exchange.round.batch.images
    rebuilt = {
        name: answered(attacker, "reconstruct", images.shape, reception.received, reception.csi)
        for name, attacker in attackers.items()
        if "reconstruct" in attacker.capabilities
    }
    comparison_grid(images, rebuilt, path)

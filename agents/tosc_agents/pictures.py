"""Pictures of attackers' reconstructions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from tosc_env.attackers import Eavesdropper, answered
from tosc_env.exchange import rollout
from tosc_env.game import Game
from tosc_env.privacy.threat import ThreatModel
from tosc_env.rendering.viewer import comparison_grid
from tosc_env.schemes import PrivacyScheme


@torch.no_grad()
def rebuild(
    game: Game,
    scheme: PrivacyScheme,
    attackers: Mapping[str, Eavesdropper],
    *,
    index: Tensor | None = None,
    seed: int = 0,
    threat: ThreatModel | None = None,
) -> dict[str, Tensor]:
    """Each attacker's reconstructions from the same transmission of each image, [N, C, H, W] in [0, 1].

    ``index``, int64 [N], says which of the game's images; None: all. ``seed`` is the channel's.
    """
    generator = torch.Generator(game.device).manual_seed(seed)
    images: dict[str, list[Tensor]] = {name: [] for name in attackers}
    for exchange in rollout(game, scheme, generator=generator, index=index):
        reception = exchange.observed(threat or ThreatModel())
        shape = exchange.round.batch.images.shape
        for name, attacker in attackers.items():
            images[name].append(answered(attacker, "reconstruct", shape, reception.received, reception.csi))
    return {name: torch.cat(parts) for name, parts in images.items()}


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
    index = torch.arange(min(10, len(game.source)), device=game.device)
    drawing = {name: one for name, one in attackers.items() if "reconstruct" in one.capabilities}
    rebuilt = rebuild(at, scheme, drawing, index=index, threat=threat)
    comparison_grid(game.source.gather(index).images, rebuilt, path)

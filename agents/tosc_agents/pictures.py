"""Pictures of what attackers saw."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from tosc_env.attackers import Eavesdropper
from tosc_env.game import Game
from tosc_env.pipeline import as_pipeline
from tosc_env.privacy.oracle import context_of, heard, numbered
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
    images: int = 10,
    seed: int = 0,
    threat: ThreatModel | None = None,
) -> None:
    """A grid: originals, then what each reconstructing attacker makes of the same messages.

    Args:
        path: of the PNG, written whole or not at all.
        game, scheme, attackers: as in :func:`~tosc_agents.training.evaluate.evaluate`.
        snr_db: of the eavesdropper's link.
        images: how many, the first of the test split.
        seed: of the channel's noise.
        threat: what the attackers know of what they hear.
    """
    at = game.with_rules(snr_db=snr_db, eavesdropper_snr_db=None)
    generator = torch.Generator(game.device).manual_seed(seed)
    index = torch.arange(min(images, len(game.source)), device=game.device)
    round_ = at.draw(len(index), generator=generator, index=index)
    sender = as_pipeline(scheme)
    round_ = numbered(round_, sender, generator)
    symbols = sender.send(at.source, index, context_of(round_, generator))
    told = heard(at.transmit(round_, symbols).eavesdropper, round_, sender, threat or ThreatModel())
    rebuilt = {
        name: attacker.reconstruct(told.received, told.csi)
        for name, attacker in attackers.items()
        if "reconstruct" in attacker.capabilities
    }
    comparison_grid(round_.batch.images, rebuilt, path)

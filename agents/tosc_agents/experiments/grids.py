"""Grids of originals and of what an attacker makes of them under every scheme."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from tosc_agents.experiments.arms import arm
from tosc_agents.experiments.findings import Picture
from tosc_agents.experiments.trainings import load_arm
from tosc_env.attackers import Eavesdropper
from tosc_env.data.base import Source
from tosc_env.game import Game, GameConfig
from tosc_env.io.checkpoints import load_checkpoint
from tosc_env.pipeline import Pipeline
from tosc_env.privacy.oracle import context_of, heard, numbered
from tosc_env.privacy.threat import ThreatModel
from tosc_env.rendering.viewer import comparison_grid

BATCH = 500
"""Messages at once."""

COUNT = 8
"""Images in a row."""


@torch.no_grad()
def rebuild(
    game: Game,
    scheme: Pipeline,
    attacker: Eavesdropper,
    *,
    index: Tensor | None = None,
    seed: int = 0,
    threat: ThreatModel | None = None,
) -> Tensor:
    """What an attacker makes of one transmission of each image, [N, C, H, W] in [0, 1].

    Args:
        game: at the SNR of the attack.
        scheme, attacker: the system and a trained eavesdropper that reconstructs.
        index: int64 [N], which of the game's images; None: all.
        seed: of the channel's noise.
        threat: what the attacker knows of its link.
    """
    generator = torch.Generator(game.device).manual_seed(seed)
    whole = torch.arange(len(game.source), device=game.device) if index is None else index
    images = []
    for part in whole.split(BATCH):
        round_ = numbered(game.draw(len(part), generator=generator, index=part), scheme, generator)
        sent = scheme.send(game.source, part, context_of(round_, generator))
        reception = heard(game.transmit(round_, sent).eavesdropper, round_, scheme, threat or ThreatModel())
        images.append(attacker.reconstruct(reception.received, reception.csi))
    return torch.cat(images)


def grid(
    path: Path,
    setting: GameConfig,
    source: Source,
    arms: Mapping[str, tuple[Path, Path]],
    *,
    snr_db: float,
    index: Tensor | None = None,
    notes: Mapping[str, str] | None = None,
    title: str = "Reconstructions",
    caption: str = "",
    faces: bool = False,
    seed: int = 0,
) -> Picture:
    """A picture: originals in the first row, then for each arm what its attacker makes of the same images.

    Args:
        path: of the picture, ``.png``, ``.svg`` or ``.pdf``, written whole or not at all.
        setting: task and channel.
        source: test images, on the device to compute on.
        arms: by the arm's key, the checkpoints of the training it plays with and of an attacker that reconstructs.
        snr_db: of both links.
        index: int64, which images are shown; None: the first :data:`COUNT`.
        notes: by the arm's key, what stands under its name; by default the PSNR of what is shown.
        title, caption: of the picture.
        faces: whether it shows people, and so stays on the user's disk.
        seed: of the channel's noise.
    """
    if index is None:
        index = torch.arange(min(COUNT, len(source)), device=source.device)
    rows: dict[str, Tensor] = {}
    told: dict[str, str] = {}
    for key, (system, attack) in arms.items():
        scheme = load_arm(system, arm(key), source.device)
        attacker = load_checkpoint(attack, device=source.device, kind="eavesdropper").policy
        assert isinstance(attacker, Eavesdropper)
        game = Game(source, setting, snr_db=snr_db, constellation=scheme.constellation)
        label = arm(key).label
        rows[label] = rebuild(game, scheme, attacker, index=index, seed=seed)
        if notes and key in notes:
            told[label] = notes[key]
    originals = source.gather(index).images
    head = f"{source.name}, {snr_db:g} dB: originals, and what an attacker rebuilds from the symbols"
    comparison_grid(originals, rows, path, columns=len(index), title=head, notes=told)
    return Picture(title, path, caption, faces)

"""Grids of originals and of what an attacker makes of them under every scheme."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from tosc_agents.experiments.methods import method
from tosc_agents.experiments.sections import Plot
from tosc_agents.experiments.trainings import load_method
from tosc_env.attackers import Eavesdropper
from tosc_env.data.base import Source
from tosc_env.game import Game, GameConfig
from tosc_env.io.checkpoints import load_checkpoint
from tosc_env.pipeline import Pipeline
from tosc_env.privacy.threat import ThreatModel
from tosc_env.rendering.viewer import comparison_grid
from tosc_env.rollout import rollout

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

    ``index``, int64 [N], says which of the game's images; None: all. ``seed`` is the channel's.
    """
    generator = torch.Generator(game.device).manual_seed(seed)
    images = []
    for exchange in rollout(game, scheme, generator=generator, index=index):
        reception = exchange.observed(threat or ThreatModel())
        images.append(attacker.reconstruct(reception.received, reception.csi))
    return torch.cat(images)


def grid(
    path: Path,
    setting: GameConfig,
    source: Source,
    methods: Mapping[str, tuple[Path, Path]],
    *,
    snr_db: float,
    title: str,
    caption: str,
    index: Tensor | None = None,
    notes: Mapping[str, str] | None = None,
    faces: bool = False,
) -> Plot:
    """Originals in the first row, then for each method what its attacker makes of the same images.

    Args:
        path: of the file, ``.png`` or ``.svg``, written whole or not at all.
        setting: task and channel.
        source: test images, on the device to compute on.
        methods: by key, the checkpoints of the training it plays with and of an attacker that reconstructs.
        snr_db: of both links.
        title, caption: of the plot.
        index: int64, which images are shown; None: the first :data:`COUNT`.
        notes: by the method's key, what stands under its name; by default the PSNR of what is shown.
        faces: whether it shows people, and so stays on the user's disk.
    """
    if index is None:
        index = torch.arange(min(COUNT, len(source)), device=source.device)
    rows: dict[str, Tensor] = {}
    for key, (system, attack) in methods.items():
        scheme = load_method(system, method(key), source.device)
        attacker = load_checkpoint(attack, device=source.device, kind="eavesdropper").policy
        assert isinstance(attacker, Eavesdropper)
        game = Game(source, setting, snr_db=snr_db, constellation=scheme.constellation)
        rows[method(key).label] = rebuild(game, scheme, attacker, index=index)
    told = {method(key).label: note for key, note in (notes or {}).items()}
    head = f"{source.name}, {snr_db:g} dB: originals, and what an attacker rebuilds from the symbols"
    comparison_grid(source.gather(index).images, rows, path, columns=len(index), title=head, notes=told)
    return Plot(title, path, caption, faces)

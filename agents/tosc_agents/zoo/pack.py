"""Putting a trained checkpoint into the zoo: float16, measured again as it will be shipped, with a card.

python -m tosc_agents.zoo.pack runs/deepjscc-shapes.safetensors deepjscc-shapes
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from tosc_agents.commands.common import load_scheme, parse_options, setting_of
from tosc_agents.training.evaluate import evaluate
from tosc_agents.zoo import WEIGHTS
from tosc_env.checkpoints import load_checkpoint, save_checkpoint
from tosc_env.errors import InputError, ToscError
from tosc_env.files import replacing
from tosc_env.policies import Eavesdropper, PrivacyScheme
from tosc_env.senders import SchemeSender

LIMIT = 8 * 2**20
"""Bytes a file of the zoo may have."""


@dataclass
class Pack:
    """Pack one checkpoint; an eavesdropper needs the packed scheme it was trained against."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """What 'tosc train' or 'tosc attack' wrote."""
    name: Annotated[str, tyro.conf.Positional]
    """Name of the file in the zoo, without its ending."""
    scheme: Path | None = None
    """The scheme an eavesdropper was trained against, for measuring it."""
    play: str | None = None
    """Another scheme that plays with the scheme's weights, if the eavesdropper was trained against that."""
    scheme_options: tuple[str, ...] = ()
    """Options that the scheme's weights leave open, as name=value."""
    snr_db: tuple[float, ...] = (0.0, 4.0, 8.0, 12.0, 16.0, 20.0)
    """SNRs it is measured at; the lowest and highest bound the range it is offered for."""
    seeds: int = 1
    """Draws of the channel's noise."""
    ssim: bool = True
    """Whether an eavesdropper's card gets SSIM too, which takes longer than all the rest."""

    def run(self) -> Path:
        """Write and measure; returns the file."""
        target = WEIGHTS / f"{self.name}.safetensors"
        loaded = load_checkpoint(self.checkpoint)
        card: dict[str, Any] = {**loaded.card, "valid_snr_db": [min(self.snr_db), max(self.snr_db)]}
        with replacing(target) as part:
            save_checkpoint(part, loaded.policy, card, half=True)
            # What is measured are the rounded weights, as an environment will load them.
            card |= self._measure(part)
            save_checkpoint(part, loaded.policy, card, half=True)
            if part.stat().st_size > LIMIT:
                raise InputError(
                    f"{self.name} has {part.stat().st_size:,} bytes; the zoo takes up to {LIMIT:,}."
                )
        return target

    def _measure(self, path: Path) -> dict[str, Any]:
        shipped = load_checkpoint(path)
        if isinstance(shipped.policy, PrivacyScheme):
            scheme, attackers = shipped.policy, {}
        else:
            if self.scheme is None:
                raise InputError("an eavesdropper is measured against its scheme: give --scheme.")
            options = parse_options(self.scheme_options)
            scheme, _, _ = load_scheme(self.scheme, torch.device("cpu"), self.play, options)
            attackers = {"it": shipped.policy}
        assert all(isinstance(a, Eavesdropper) for a in attackers.values())
        game = setting_of(shipped).game(split="test", constellation=scheme.constellation)
        found = evaluate(
            game,
            SchemeSender(scheme),
            attackers,
            scheme=scheme,
            snr_db=self.snr_db,
            seeds=self.seeds,
            with_ssim=self.ssim,
        )
        if not attackers:
            accuracy = {"test_accuracy": {f"{s:g}": f.mean for s, f in found.accuracy.items()}}
            return accuracy | ({} if found.usage is None else {"codeword_usage": found.usage})
        leaks = {
            f"{s:g}": {column: figure.mean for column, figure in row.items()}
            for s, row in found.leaks["it"].items()
        }
        return {"leaks": leaks, "floors": found.floors}


if __name__ == "__main__":
    try:
        print(f"packed {tyro.cli(Pack).run()}")
    except ToscError as error:
        sys.exit(f"tosc: error: {error}")

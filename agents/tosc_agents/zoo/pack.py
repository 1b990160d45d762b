"""Putting a trained checkpoint into the zoo: float16, measured again as it will be shipped, with a card.

python -m tosc_agents.zoo.pack runs/deepjscc-shapes.safetensors deepjscc-shapes
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from tosc_agents.commands.common import load_scheme, parse_options, parse_parts, setting_of
from tosc_agents.training.evaluate import evaluate
from tosc_agents.zoo import WEIGHTS
from tosc_agents.zoo.amend import Additions
from tosc_env.attackers import Eavesdropper
from tosc_env.errors import InputError, ToscError
from tosc_env.io.checkpoint_files import read_header, sha256, write_card
from tosc_env.io.checkpoints import load_checkpoint, save_checkpoint
from tosc_env.io.files import replacing
from tosc_env.pipeline import Pipeline

LIMIT = 8_000_000
"""Bytes a file of the zoo may have."""

ZOO_LIMIT = 80_000_000
"""Bytes that all files of the zoo may have together."""

ATTACKER_LIMIT = 1_000_000
"""Parameters an attacker of the zoo may have."""


@dataclass(kw_only=True)
class Pack(Additions):
    """Pack one checkpoint; an eavesdropper needs the packed scheme it was trained against."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """What 'tosc train' or 'tosc attack' wrote."""
    name: Annotated[str, tyro.conf.Positional]
    """Name of the file in the zoo, without its ending."""
    scheme: Path | None = None
    """The scheme an eavesdropper was trained against, for measuring it."""
    play: str | None = None
    """Another scheme that plays with the scheme's weights, if the eavesdropper was trained against that."""
    scheme_kwargs: tuple[str, ...] = ()
    """Options that the scheme's weights leave open, as name=value."""
    stages: tuple[str, ...] = ()
    """More stages between the scheme and the channel, if the eavesdropper was trained against those too."""
    snr_db: tuple[float, ...] = (0.0, 4.0, 8.0, 12.0, 16.0, 20.0)
    """SNRs it is measured at; the lowest and highest bound the range it is offered for."""
    seeds: int = 1
    """Draws of the channel's noise."""
    ssim: bool = True
    """Whether an eavesdropper's card gets SSIM too, which takes longer than all the rest."""
    folder: Path = WEIGHTS
    """The zoo."""
    overwrite: bool = False
    """Replace weights of that name that are others; what is bit for bit the same is kept, with a new card."""

    def run(self) -> Path:
        """Write and measure; returns the file."""
        target = self.folder / f"{self.name}.safetensors"
        loaded = load_checkpoint(self.checkpoint)
        _check_parameters(loaded.policy)
        card = {
            **self.added_to(read_header(self.checkpoint)),
            "valid_snr_db": [min(self.snr_db), max(self.snr_db)],
        }
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder) / target.name
            save_checkpoint(part, loaded.policy, card, half=True)
            self._check_size(part, target)
            known = target.exists() and sha256(target) == sha256(part)
            if target.exists() and not known and not self.overwrite:
                raise InputError(f"{target} holds other weights; choose another name, or give --overwrite.")
            # What is measured are the rounded weights, as an environment will load them.
            card |= self._measure(part)
            if not known:
                with replacing(target) as place:
                    shutil.copyfile(part, place)
        write_card(target, card)
        return target

    def _check_size(self, part: Path, target: Path) -> None:
        size = part.stat().st_size
        if size > LIMIT:
            raise InputError(f"{self.name} has {size:,} bytes; a file of the zoo may have {LIMIT:,}.")
        others = sum(path.stat().st_size for path in self.folder.glob("*.safetensors") if path != target)
        if others + size > ZOO_LIMIT:
            raise InputError(
                f"{self.name} has {size:,} bytes and the other files of the zoo {others:,}; together they may have "
                f"{ZOO_LIMIT:,}."
            )

    def _measure(self, path: Path) -> dict[str, Any]:
        shipped = load_checkpoint(path)
        scheme: Pipeline
        attackers: dict[str, Eavesdropper] = {}
        if isinstance(shipped.policy, Pipeline):
            scheme = shipped.policy
        else:
            if self.scheme is None:
                raise InputError("an eavesdropper is measured against its scheme: give --scheme.")
            scheme, _, _ = load_scheme(
                self.scheme,
                name=self.play,
                options=parse_options(self.scheme_kwargs),
                stages=parse_parts(self.stages),
            )
            _check_target(shipped.card, scheme)
            attackers["it"] = shipped.policy
        game = setting_of(shipped).game(split="test", constellation=scheme.constellation)
        found = evaluate(
            game,
            scheme,
            attackers,
            snr_db=self.snr_db,
            seeds=self.seeds,
            with_ssim=self.ssim,
            with_floors=bool(attackers),
        )
        if not attackers:
            told = scheme.guarantee()
            accuracy = {
                **({"guarantee": told} if told else {}),
                "test_accuracy": {f"{s:g}": f.mean for s, f in found.accuracy.items()},
                "test_images": found.images,
            }
            return accuracy | ({} if found.usage is None else {"codeword_usage": found.usage})
        leaks = {
            f"{s:g}": {column: figure.mean for column, figure in row.items()}
            for s, row in found.leaks["it"].items()
        }
        return {"leaks": leaks, "floors": found.floors}


def _check_parameters(policy: Pipeline | Eavesdropper) -> None:
    count = sum(parameter.numel() for parameter in policy.parameters())
    if isinstance(policy, Eavesdropper) and count > ATTACKER_LIMIT:
        raise InputError(
            f"the eavesdropper {policy.name!r} has {count:,} parameters; one of the zoo may have {ATTACKER_LIMIT:,}."
        )


def _check_target(card: dict[str, Any], scheme: Pipeline) -> None:
    """Raise InputError unless an attacker is measured against what it was trained against."""
    theirs = card.get("composition")
    if theirs != scheme.composition:
        raise InputError(
            f"the attacker was trained against {theirs}, and is not measured against {scheme.composition}: give "
            "--play, --scheme-kwargs or --stages."
        )
    if any(stage.keyed and not stage.stochastic for stage in scheme.stages):
        raise InputError("an attacker of a fixed key is of use against that key alone, which no zoo has.")


if __name__ == "__main__":
    try:
        print(f"packed {tyro.cli(Pack).run()}")
    except ToscError as error:
        sys.exit(f"tosc: error: {error}")

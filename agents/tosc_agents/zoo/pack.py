"""Putting a trained checkpoint into the zoo: float16, measured again as it will be shipped, with a card.

python -m tosc_agents.zoo.pack runs/deepjscc-shapes.safetensors deepjscc-shapes
python -m tosc_agents.zoo.pack runs/calibrated.safetensors dp-laplace-article-cifar10 \\
    --without transmitter --lender deepjscc-cifar10
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
from tosc_agents.zoo.amend import Additions
from tosc_env.checkpoints import load_checkpoint, read_header, save_checkpoint
from tosc_env.errors import InputError, ToscError
from tosc_env.files import replacing
from tosc_env.policies import Eavesdropper, PrivacyScheme
from tosc_env.senders import SchemeSender

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
    scheme_options: tuple[str, ...] = ()
    """Options that the scheme's weights leave open, as name=value."""
    snr_db: tuple[float, ...] = (0.0, 4.0, 8.0, 12.0, 16.0, 20.0)
    """SNRs it is measured at; the lowest and highest bound the range it is offered for."""
    seeds: int = 1
    """Draws of the channel's noise."""
    ssim: bool = True
    """Whether an eavesdropper's card gets SSIM too, which takes longer than all the rest."""
    without: tuple[str, ...] = ()
    """Parts to leave out because the lender has them, e.g. transmitter for receivers only."""
    lender: str | None = None
    """Name of the file in the zoo that lends those parts."""
    folder: Path = WEIGHTS
    """The zoo."""

    def run(self) -> Path:
        """Write and measure; returns the file."""
        target = self.folder / f"{self.name}.safetensors"
        if self.lender == self.name:
            raise InputError(f"{self.name} cannot borrow from itself.")
        loaded = load_checkpoint(self.checkpoint)
        _check_parameters(loaded.policy)
        card = {
            **self.added_to(read_header(self.checkpoint)),
            "valid_snr_db": [min(self.snr_db), max(self.snr_db)],
        }
        lender = None if self.lender is None else self.folder / f"{self.lender}.safetensors"
        with replacing(target) as part:

            def save() -> None:
                save_checkpoint(part, loaded.policy, card, half=True, without=self.without, lender=lender)
                self._check_size(part, target)

            save()
            # What is measured are the rounded weights, as an environment will load them.
            card |= self._measure(part)
            save()
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
        if isinstance(shipped.policy, PrivacyScheme):
            scheme, attackers = shipped.policy, {}
        else:
            if self.scheme is None:
                raise InputError("an eavesdropper is measured against its scheme: give --scheme.")
            options = parse_options(self.scheme_options)
            scheme, _, _ = load_scheme(self.scheme, torch.device("cpu"), self.play, options)
            _check_target(shipped.card, scheme)
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


def _check_parameters(policy: PrivacyScheme | Eavesdropper) -> None:
    count = sum(parameter.numel() for parameter in policy.parameters())
    if isinstance(policy, Eavesdropper) and count > ATTACKER_LIMIT:
        raise InputError(
            f"the eavesdropper {policy.name!r} has {count:,} parameters; one of the zoo may have {ATTACKER_LIMIT:,}."
        )


def _check_target(card: dict[str, Any], scheme: PrivacyScheme) -> None:
    """Raise InputError unless an attacker is measured against what it was trained against."""
    theirs, options = card.get("against"), card.get("against_options", {})
    if theirs != scheme.name:
        raise InputError(
            f"the attacker was trained against {theirs!r}, and is not measured against {scheme.name!r}."
        )
    other = {k: v for k, v in options.items() if k in scheme.free_options and scheme.options.get(k) != v}
    if other:
        raise InputError(
            f"the attacker was trained against {theirs!r} with {other}: give them as --scheme-options."
        )
    if scheme.keyed and scheme.options.get("lifetime") == "fixed":
        raise InputError("an attacker of a fixed key is of use against that key alone, which no zoo has.")


if __name__ == "__main__":
    try:
        print(f"packed {tyro.cli(Pack).run()}")
    except ToscError as error:
        sys.exit(f"tosc: error: {error}")

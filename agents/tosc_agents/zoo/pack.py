"""Packing of trained checkpoints for the zoo: float16, measured again as they will be shipped, with a card.

python -m tosc_agents.zoo.pack runs/lbvq.safetensors lbvq-cifar10 --leaks runs/attack-lbvq/results.json
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from tosc_agents.commands.common import SystemOptions, setting_of
from tosc_agents.leaks import leaks_of_attacks
from tosc_agents.training.card import measured
from tosc_agents.zoo import WEIGHTS
from tosc_env import Eavesdropper, InputError, Pipeline, ToscError, load_checkpoint, save_checkpoint
from tosc_env.data import data_set
from tosc_env.devices import resolve_device
from tosc_env.identity import another_system, describe_module, system_in
from tosc_env.io.checkpoint_files import read_header

LIMIT = 8_000_000
"""Bytes a file of the zoo may have."""

ZOO_LIMIT = 80_000_000
"""Bytes that all files of the zoo may have together."""

ATTACKER_LIMIT = 1_000_000
"""Parameters an attacker of the zoo may have."""


@dataclass(kw_only=True)
class Pack(SystemOptions):
    """Pack one checkpoint; an eavesdropper needs the packed scheme it was trained against."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """Weights that 'tosc train' or 'tosc attack' wrote."""
    name: Annotated[str, tyro.conf.Positional]
    """Name of the file in the zoo, without its ending."""
    scheme: Path | None = None
    """The scheme an eavesdropper was trained against, for measuring it; --play and the like say how."""
    snr_db: tuple[float, ...] = (0.0, 4.0, 8.0, 12.0, 16.0, 20.0)
    """SNRs it is measured at; the lowest and highest bound the range it is offered for."""
    seeds: int = 1
    """Draws of the channel's noise."""
    folder: Path = WEIGHTS
    """The zoo."""
    leaks: tuple[Path, ...] = ()
    """results.json of 'tosc attack' on the scheme; of several, the strongest attackers."""

    def run(self) -> Path:
        """Write and measure; returns the file."""
        target = self.folder / f"{self.name}.safetensors"
        if target.exists():
            raise InputError(
                f"{target} exists, and the zoo's weights are never written again; choose another name."
            )
        policy = load_checkpoint(self.checkpoint).policy
        card = self._card(read_header(self.checkpoint), describe_module(policy)["weights"])
        count = sum(parameter.numel() for parameter in policy.parameters())
        if isinstance(policy, Eavesdropper) and count > ATTACKER_LIMIT:
            told = f"the eavesdropper {policy.name!r} has {count:,} parameters"
            raise InputError(f"{told}; one in the zoo may have {ATTACKER_LIMIT:,}.")
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder) / target.name
            save_checkpoint(part, policy, card, half=True)
            self._check_size(part)
            # What is measured are the rounded weights, as an environment will load them.
            card |= self._measure(part)
        save_checkpoint(target, policy, card, half=True)
        return target

    def _card(self, header: Mapping[str, Any], weights: str) -> dict[str, Any]:
        """The card that training wrote, with the terms of the data and the leaks that were measured."""
        card: dict[str, Any] = {
            **header["card"],
            "terms": data_set(header["card"]["data"]["name"]).terms,
            "valid_snr_db": [min(self.snr_db), max(self.snr_db)],
            "unrounded": weights,
        }
        if self.leaks:
            if header["kind"] != "scheme":
                raise InputError("--leaks are those of a scheme; an attacker's are measured as it is packed.")
            card["leaks"] = leaks_of_attacks(self.leaks, header, weights)
        return card

    def _check_size(self, part: Path) -> None:
        size = part.stat().st_size
        if size > LIMIT:
            raise InputError(f"{self.name} has {size:,} bytes; a file of the zoo may have {LIMIT:,}.")
        others = sum(path.stat().st_size for path in self.folder.glob("*.safetensors"))
        if others + size > ZOO_LIMIT:
            told = f"{self.name} has {size:,} bytes and the other files of the zoo {others:,}"
            raise InputError(f"{told}; together they may have {ZOO_LIMIT:,}.")

    def _measure(self, path: Path) -> dict[str, Any]:
        shipped = load_checkpoint(path, device=resolve_device(self.device))
        scheme, attackers = shipped.policy, dict[str, Eavesdropper]()
        if isinstance(shipped.policy, Eavesdropper):
            if self.scheme is None:
                raise InputError("an eavesdropper is measured against its scheme: give --scheme.")
            target = self.load(self.scheme)
            scheme, attackers = target.policy, {"it": shipped.policy}
            _check_target(shipped.card, scheme)
        rules = {"device": self.device, "constellation": scheme.constellation}
        game = setting_of(shipped).game(split="test", **rules)
        found = self.measured(game, scheme, attackers, snr_db=self.snr_db, with_floors=bool(attackers))
        if not attackers:
            guarantee = scheme.guarantee()
            return {**({"guarantee": guarantee} if guarantee else {}), **measured(found)}
        if "it" not in found.leaks:
            raise InputError(
                f"{path.name} was trained for several eavesdroppers who do not collude, and a card has figures of one; "
                "pack an attacker of a single eavesdropper, or of colluding ones."
            )
        rows = found.leaks["it"].items()
        leaks = {f"{snr:g}": {column: figure.mean for column, figure in row.items()} for snr, row in rows}
        return {"leaks": leaks, "floors": found.floors}


def _check_target(card: dict[str, Any], scheme: Pipeline) -> None:
    """Raise InputError unless an attacker is measured against what it was trained against."""
    target = card.get("composition")
    if target != scheme.composition:
        raise InputError(
            f"the attacker was trained against {target}, and is not measured against {scheme.composition}: give "
            "--play, --scheme-kwargs or --stages."
        )
    if any(stage.keyed and not stage.stochastic for stage in scheme.stages):
        raise InputError("an attacker of a fixed key is of use against that key alone, which no zoo has.")
    told = system_in(card)
    if told is None or not told["weights"] or another_system(told, scheme.fingerprint()) is not None:
        raise InputError(
            "the attacker was trained against other weights than those of --scheme, or its card does not say which."
        )


if __name__ == "__main__":
    try:
        print(f"packed {tyro.cli(Pack).run()}")
    except ToscError as error:
        sys.exit(f"tosc: error: {error}")

"""Completing the zoo's cards: leaks, terms, where a training started. The weights are not touched.

python -m tosc_agents.zoo.amend lbvq-cifar10 --leaks runs/attack-lbvq/results.json --start runs/deepjscc.safetensors
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from tosc_agents.zoo import WEIGHTS
from tosc_agents.zoo.card_leaks import leaks_from_file, merged
from tosc_env.data import terms_of
from tosc_env.errors import InputError, ToscError
from tosc_env.io.checkpoint_files import card_path, read_header, write_card


@dataclass(kw_only=True)
class Additions:
    """What a card says besides what training and measuring wrote into it."""

    leaks: tuple[Path, ...] = ()
    """results.json of 'tosc attack' on the scheme, or of 'tosc reproduce'; of several, the strongest attackers."""
    arm: str | None = None
    """Of a report, the arm whose leaks are meant; by default the scheme's name."""
    experiment: str = "fig3"
    """Of a report, the experiment."""
    start: Path | None = None
    """The checkpoint that the training started from, for its epochs and seed."""
    commit: str | None = None
    """The commit of the code that trained, for a card that does not know it."""

    def added_to(self, header: Mapping[str, Any]) -> dict[str, Any]:
        """The card in a header with these additions and the terms of its data.

        Raises:
            InputError: leaks of an eavesdropper; a start that is not the card's; a commit where one is known.
            DataError, CheckpointError: a file that is none of those.
        """
        card: dict[str, Any] = {**header["card"], "terms": terms_of(header["card"]["data"]["name"])}
        if self.leaks:
            if header["kind"] != "scheme":
                raise InputError(
                    "the leaks of a scheme are asked for; an attacker's are measured as it is packed."
                )
            arm = self.arm or header["name"]
            parts = [leaks_from_file(p, header, arm=arm, experiment=self.experiment) for p in self.leaks]
            card["leaks"] = merged(parts)
        if self.start is not None:
            card["training"] = {
                **card["training"],
                "warm_start": _started(self.start, card["training"].get("warm_start")),
            }
        if self.commit is not None:
            if card.get("commit") not in (None, "unknown", self.commit):
                raise InputError(f"the card knows its commit, {card['commit']}; it is not {self.commit}.")
            card["commit"] = self.commit
        return card


def _started(start: Path, told: dict[str, Any] | None) -> dict[str, Any]:
    """What a card says of its warm start, with the epochs and the seed of the one before."""
    header = read_header(start)
    if told is None:
        raise InputError("this training started from nothing, says its card; --start does not belong to it.")
    if (header["kind"], header["name"], start.name) != ("scheme", told["scheme"], told["file"]):
        raise InputError(
            f"the training started from {told['file']} ({told['scheme']!r}), says its card, not from {start} "
            f"({header['name']!r})."
        )
    before = header["card"]["training"]
    return {
        **told,
        "data": header["card"]["data"]["name"],
        "epochs": before["loop"]["epochs"],
        "seed": before["seed"],
        "warm_start": before.get("warm_start"),
    }


@dataclass(kw_only=True)
class Amend(Additions):
    """Complete the cards of weights in the zoo; the weights stay as they are."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Names of the files, without their ending; one alone where leaks or a start are given."""
    folder: Path = WEIGHTS
    """Where they lie."""

    def run(self) -> list[Path]:
        """Amend all or, when one cannot be, none; returns the cards."""
        if not self.names:
            raise InputError("name at least one file of the zoo.")
        if len(self.names) > 1 and (self.leaks or self.start or self.commit):
            raise InputError(f"leaks, start and commit belong to one file, not to {len(self.names)}.")
        paths = [self.folder / f"{name}.safetensors" for name in self.names]
        cards = [self.added_to(read_header(path)) for path in paths]
        for path, card in zip(paths, cards, strict=True):
            write_card(path, card)
        return [card_path(path) for path in paths]


if __name__ == "__main__":
    try:
        for path in tyro.cli(Amend).run():
            print(f"amended {path}")
    except ToscError as error:
        sys.exit(f"tosc: error: {error}")

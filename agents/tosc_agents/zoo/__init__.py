"""Trained weights that ship with the package, and the rules by which an environment finds them.

Each file under ``weights/`` is a float16 checkpoint whose card says what it was trained on and for which SNRs
it is meant; nothing else says so.  ``gym.make`` asks :data:`ZOO` through the entry point ``tosc_env.zoos``.
``pack`` puts files there, ``amend`` completes their cards, ``cards`` writes them out as ``docs/zoo.md``.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from tosc_env.checkpoints import read_header
from tosc_env.game import Game
from tosc_env.policies import eavesdroppers, schemes

WEIGHTS = Path(__file__).parent / "weights"


class Folder:
    """A zoo made of all checkpoints in one folder.

    Example:
        >>> [line.split(":")[0] for line in Folder(WEIGHTS).listing() if "scheme 'deepjscc' for cifar10" in line]
        ["scheme 'deepjscc' for cifar10 3x32x32"]
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @lru_cache(maxsize=1)  # noqa: B019 - one zoo lives as long as the process
    def headers(self) -> dict[Path, dict[str, Any]]:
        """What each file says about itself."""
        found = {path: read_header(path) for path in sorted(self.folder.glob("*.safetensors"))}
        return dict(sorted(found.items(), key=lambda item: item[1]["kind"], reverse=True))

    def find(
        self,
        kind: str,
        name: str,
        game: Game,
        *,
        scheme: str | None,
        stand_in: bool,
        options: Mapping[str, Any] | None = None,
    ) -> Path | None:
        """The checkpoint that fits: kind, name, data, shapes, task, SNR and options; None when there is none."""
        fitting = [
            path
            for path, header in self.headers().items()
            if header["kind"] == kind
            and header["name"] == name
            and header["card"].get("against") == scheme
            and header["card"]["data"]["name"] == game.source.name
            and _shapes(header["spec"]) == _shapes(game.spec.plain())
            and (stand_in or header["card"]["labels"] == list(game.task.labels))
            and _covers(header["card"]["valid_snr_db"], game, kind)
            and _agrees(header, options or {})
        ]
        if not fitting:
            return None
        # Of several kinds of one scheme, the one that its name alone would make.
        path = max(fitting, key=lambda path: _usual(self.headers()[path]))
        _warn_of_channel(self.headers()[path]["card"], game, name)
        return path

    def listing(self) -> list[str]:
        """One line for each file."""
        lines = []
        for header in self.headers().values():
            card, spec = header["card"], header["spec"]
            low, high = card["valid_snr_db"]
            free = schemes[card["against"]].free_options if card.get("against") in schemes else ()  # type: ignore[attr-defined]
            told = {k: v for k, v in card.get("against_options", {}).items() if k in free}
            against = (
                f" against {card['against']!r}{f' {told}' if told else ''}" if card.get("against") else ""
            )
            shape = "x".join(map(str, spec["image_shape"]))
            lines.append(
                f"{header['kind']} {header['name']!r}{_variant(header)}{against} for {card['data']['name']} {shape}: "
                f"{spec['num_outputs']} outputs, {spec['num_symbols']} channel uses, {low:g} to {high:g} dB"
            )
        return lines


def _shapes(spec: dict[str, Any]) -> tuple[Any, ...]:
    # The amount of CSI is left out: these networks read the SNR alone, over any channel.
    return tuple(spec["image_shape"]), spec["num_outputs"], spec["num_symbols"]


def _covers(valid: list[float], game: Game, kind: str) -> bool:
    snr = game.snr_db if kind == "scheme" else game.eavesdropper_snr_db or game.snr_db
    return valid[0] <= snr.low and snr.high <= valid[1]


def _agrees(header: dict[str, Any], options: Mapping[str, Any]) -> bool:
    """Whether a scheme's options, or those of the scheme that an eavesdropper was trained against, are these."""
    own = header["options"] if header["kind"] == "scheme" else header["card"].get("against_options", {})
    return all(name in own and own[name] == value for name, value in options.items())


def _variant(header: dict[str, Any]) -> str:
    """Of a scheme, the named choices that its name alone would not make, such as the mode of a mechanism."""
    if header["kind"] != "scheme":
        return ""
    known = inspect.signature(schemes[header["name"]]).parameters
    chosen = {
        k: v
        for k, v in header["options"].items()
        if isinstance(v, str) and k in known and known[k].default != v
    }
    return f" {chosen}" if chosen else ""


def _usual(header: dict[str, Any]) -> int:
    """How many options of a scheme or eavesdropper are its defaults."""
    registry: Any = schemes if header["kind"] == "scheme" else eavesdroppers
    known = inspect.signature(registry[header["name"]]).parameters
    return sum(name in known and known[name].default == value for name, value in header["options"].items())


def _warn_of_channel(card: dict[str, Any], game: Game, name: str) -> None:
    from tosc_env.channels import channels

    trained = card["setting"]["channel"]
    ours = type(game.channel)
    if channels.origin(trained) != f"{ours.__module__}:{ours.__qualname__}":
        warnings.warn(
            f"the zoo's weights of {name!r} were trained over {trained!r}; over this {ours.__name__} channel they "
            "play untrained. Train your own with 'tosc train --channel'.",
            stacklevel=2,
        )


ZOO = Folder(WEIGHTS)

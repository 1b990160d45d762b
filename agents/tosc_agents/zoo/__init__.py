"""Trained weights that ship with the package, and how environments find them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from tosc_env.channels import channels
from tosc_env.errors import CheckpointError
from tosc_env.game import Game
from tosc_env.io.checkpoint_files import card_path, read_header
from tosc_env.schemes import defaults_of, schemes
from tosc_env.zoos import Wanted

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
        for path, header in found.items():
            if not header["card"]:
                raise CheckpointError(
                    f"{path} lies in a zoo without its card {card_path(path).name} beside it."
                )
        return dict(sorted(found.items(), key=lambda item: item[1]["kind"], reverse=True))

    def find(
        self,
        kind: str,
        name: str,
        wanted: Wanted,
        *,
        options: Mapping[str, Any] | None = None,
        against: Mapping[str, Any] | None = None,
    ) -> Path | None:
        """The checkpoint that fits in kind, name, data, shapes, task, SNR, options and target, or None."""
        game = wanted.game
        fitting = [
            path
            for path, header in self.headers().items()
            if header["kind"] == kind
            and header["name"] == name
            and header["card"]["data"]["name"] == wanted.data
            and _shapes(header["spec"]) == _shapes(game.spec.plain())
            and (wanted.any_labels or header["card"]["labels"] == list(game.task.labels))
            and _covers(header["card"]["valid_snr_db"], game, kind)
            and (against is None or header["card"]["composition"] == against)
            and _agrees(header["options"], options or {})
        ]
        if not fitting:
            return None
        # Of several kinds of one scheme, the plain one: what others are called says what they are besides.
        path = min(fitting, key=lambda path: (len(path.stem), path.stem))
        _warn_of_channel(self.headers()[path]["card"], game, name)
        return path

    def listing(self) -> list[str]:
        """One line for each file."""
        lines = []
        for header in self.headers().values():
            card, spec = header["card"], header["spec"]
            low, high = card["valid_snr_db"]
            shape = "x".join(map(str, spec["image_shape"]))
            lines.append(
                f"{header['kind']} {header['name']!r}{_variant(header)} for {card['data']['name']} {shape}: "
                f"{spec['num_outputs']} outputs, {spec['num_symbols']} channel uses, {low:g} to {high:g} dB"
            )
        return lines


def _shapes(spec: Mapping[str, Any]) -> tuple[Any, ...]:
    # The amount of CSI is left out: these networks read the SNR alone, over any channel.
    return tuple(spec["image_shape"]), spec["num_outputs"], spec["num_symbols"]


def _covers(valid: list[float], game: Game, kind: str) -> bool:
    snr = game.snr_db if kind == "scheme" else game.eavesdropper_snr_db or game.snr_db
    return valid[0] <= snr.low and snr.high <= valid[1]


def _agrees(has: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(name in has and has[name] == value for name, value in wanted.items())


def _variant(header: Mapping[str, Any]) -> str:
    """Of a scheme, the mode it was trained in, if it has any; of an attacker, its target."""
    if header["kind"] == "scheme":
        told = {k: v for k, v in header["options"].items() if k == "mode"}
        return f" {told}" if told else ""
    against, stages = header["card"]["against"], header["card"]["composition"]["stages"]
    names = (*defaults_of(against).open, "mode") if against in schemes else ()
    told = {k: v for stage in stages for k, v in stage.items() if k in names}
    return f" against {against!r}{f' {told}' if told else ''}"


def _warn_of_channel(card: Mapping[str, Any], game: Game, name: str) -> None:
    trained = card["setting"]["channel"]
    ours = type(game.channel)
    if channels.origin(trained) != f"{ours.__module__}:{ours.__qualname__}":
        warnings.warn(
            f"the zoo's weights of {name!r} were trained over {trained!r}; over this {ours.__name__} channel they "
            "play untrained. Train your own with 'tosc train --channel'.",
            stacklevel=2,
        )


ZOO = Folder(WEIGHTS)

"""Trained weights that ship with the package, and how environments find them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tosc_env.channels import channels
from tosc_env.errors import CheckpointError, warn_user
from tosc_env.game import Game
from tosc_env.io.checkpoint_files import SUFFIX, card_path, data_of, read_header
from tosc_env.schemes import defaults_of, schemes
from tosc_env.zoos import Wanted

WEIGHTS = Path(__file__).parent / "weights"


class Folder:
    """A zoo made of all checkpoints in one folder, such as those of ``tosc train`` and ``tosc attack``.

    A package of your own offers one under the entry points ``tosc_env.zoos``.  The folder has weights beside their
    cards, or is empty.  When it is first asked, it raises CheckpointError for a file that is none of a policy or has no
    card that says for which data, labels, SNRs, channel and, of an attacker, against which system it is.

    >>> [line.split(":")[0] for line in Folder(WEIGHTS).listing() if "scheme 'deepjscc' for cifar10" in line]
    ["scheme 'deepjscc' for cifar10 3x32x32"]
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._headers: dict[Path, dict[str, Any]] | None = None

    def headers(self) -> dict[Path, dict[str, Any]]:
        """The header of each file, read once."""
        if self._headers is None:
            found = {path: read_header(path) for path in sorted(self.folder.glob(f"*{SUFFIX}"))}
            for path, header in found.items():
                _check_card(path, header)
            self._headers = dict(sorted(found.items(), key=lambda item: item[1]["kind"], reverse=True))
        return self._headers

    def find(
        self,
        kind: str,
        name: str,
        wanted: Wanted,
        *,
        options: Mapping[str, Any] | None = None,
        against: Mapping[str, Any] | None = None,
    ) -> Path | None:
        """The checkpoint that fits in kind, name, data, shapes, task, SNR, options and target, or None.

        A scheme with stages that were added to it is another than its name stands for, and is never found.
        """
        game = wanted.game
        fitting = [
            path
            for path, header in self.headers().items()
            if header["kind"] == kind
            and header["name"] == name
            and header["stages"] == []
            and header["card"]["data"]["name"] == wanted.data
            and _shapes(header["spec"]) == _shapes(game.spec.plain())
            and (wanted.any_labels or header["card"]["labels"] == list(game.task.labels))
            and _covers(header["card"]["valid_snr_db"], game, kind)
            and (against is None or header["card"]["composition"] == against)
            and (options or {}).items() <= header["options"].items()
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


def _check_card(path: Path, header: Mapping[str, Any]) -> None:
    """Raise CheckpointError unless the card says what a zoo must know."""
    card = header["card"]
    if not card:
        raise CheckpointError(f"{path} lies in a zoo without its card {card_path(path).name} beside it.")
    snrs = card.get("valid_snr_db")
    fits = {
        "data": data_of(card) is not None,
        "labels": isinstance(card.get("labels"), list),
        "setting": isinstance(card.get("setting"), dict) and isinstance(card["setting"].get("channel"), str),
        "valid_snr_db": isinstance(snrs, list)
        and len(snrs) == 2
        and all(type(snr) in (int, float) for snr in snrs),
    }
    if header["kind"] == "eavesdropper":
        fits["against"] = isinstance(card.get("against"), str)
        stages = card["composition"].get("stages") if isinstance(card.get("composition"), dict) else None
        fits["composition"] = isinstance(stages, list) and all(isinstance(stage, dict) for stage in stages)
    for name, right in fits.items():
        if not right:
            raise CheckpointError(
                f"{path} lies in a zoo, but its card does not say {name!r}; those of 'tosc train' and 'tosc attack' do."
            )


def _shapes(spec: Mapping[str, Any]) -> tuple[Any, ...]:
    # The amount of CSI is left out: these networks read the SNR alone, over any channel.
    return tuple(spec["image_shape"]), spec["num_outputs"], spec["num_symbols"]


def _covers(valid: list[float], game: Game, kind: str) -> bool:
    snr = game.snr_db if kind == "scheme" else game.snr_of(game.adversaries[0])
    return valid[0] <= snr.low and snr.high <= valid[1]


def _variant(header: Mapping[str, Any]) -> str:
    """The mode that a scheme was trained in, if it has any; an attacker's target."""
    if header["kind"] == "scheme":
        mode = {k: v for k, v in header["options"].items() if k == "mode"}
        return f" {mode}" if mode else ""
    against, stages = header["card"]["against"], header["card"]["composition"]["stages"]
    names = (*defaults_of(against).open, "mode") if against in schemes else ()
    options = {k: v for stage in stages for k, v in stage.items() if k in names}
    return f" against {against!r}{f' {options}' if options else ''}"


def _warn_of_channel(card: Mapping[str, Any], game: Game, name: str) -> None:
    trained, played = card["setting"]["channel"], type(game.channel)
    if channels.origin(trained) != f"{played.__module__}:{played.__qualname__}":
        warn_user(
            f"the zoo's weights of {name!r} were trained over {trained!r}; over this {played.__name__} channel they "
            "play untrained. Train your own with 'tosc train --channel'."
        )


ZOO = Folder(WEIGHTS)

"""Arguments and steps that several commands share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tosc_agents.keys import SecretKey
from tosc_env.errors import CheckpointError, InputError
from tosc_env.game import GameConfig
from tosc_env.io.checkpoint_files import card_path
from tosc_env.io.checkpoints import Checkpoint, load_checkpoint
from tosc_env.pipeline import Pipeline


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """``["coherence=16", "equaliser=zf"]`` as a dictionary; values are JSON where they can be, else text.

    >>> parse_options(["coherence=16", "equaliser=zf", "names=[1, 2]"])
    {'coherence': 16, 'equaliser': 'zf', 'names': [1, 2]}
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not name or not equals:
            raise InputError(f"an option is written name=value, not {pair!r}.")
        try:
            options[name] = json.loads(text)
        except json.JSONDecodeError:
            options[name] = text
    return options


def parse_parts(texts: Sequence[str]) -> list[str | dict[str, Any]]:
    """Stages or objectives, each written ``NAME`` or ``NAME:option=value,option=value``, as names and dictionaries.

    Values are JSON where they can be, else text; a comma inside brackets belongs to its value.

    Raises:
        InputError: a part without a name, an option that is not written name=value, or one given twice.

    Example:
        >>> parse_parts(["keyed", "laplace:epsilon=20,epsilon_range=[1,100],mode=laplace"])
        ['keyed', {'name': 'laplace', 'epsilon': 20, 'epsilon_range': [1, 100], 'mode': 'laplace'}]
    """
    parts: list[str | dict[str, Any]] = []
    for text in texts:
        name, colon, told = text.partition(":")
        # No message shows more than the piece that is wrong: another may be a key.
        if not name or "=" in name:
            raise InputError(f"a part is written NAME or NAME:option=value,option=value, not {name!r}.")
        if not colon:
            parts.append(name)
            continue
        pairs = _pieces(told)
        options = parse_options(pairs)
        if len(options) < len(pairs) or "name" in options:
            raise InputError(
                f"each option of {name!r} is given once, and 'name' is none, but there are "
                f"{', '.join(pair.partition('=')[0] for pair in pairs)}."
            )
        parts.append({"name": name, **options})
    return parts


def _pieces(text: str) -> list[str]:
    """A text cut at its commas, but for those inside brackets.

    >>> _pieces("a=[1,2],b=3")
    ['a=[1,2]', 'b=3']
    """
    pieces, depth = [""], 0
    for letter in text:
        depth += (letter in "[{(") - (letter in "]})")
        if letter == "," and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += letter
    return pieces


def snr_choices(values: Sequence[float]) -> Any:
    """One number as it is, several as choices to draw from."""
    if not values:
        raise InputError("at least one SNR in dB is needed.")
    return values[0] if len(values) == 1 else list(values)


def load_scheme(
    path: Path,
    device: torch.device | str = "cpu",
    *,
    name: str | None = None,
    options: dict[str, Any] | None = None,
    stages: Sequence[Any] = (),
) -> tuple[Pipeline, GameConfig, Checkpoint]:
    """A trained scheme, the setting it was trained in, and the file's card.

    Args:
        path: its checkpoint.
        device: where it goes.
        name: another scheme that plays with these weights (``label-only`` with the baseline's).
        options: of the scheme, over those in the checkpoint.
        stages: more stages between the scheme and the channel.

    Raises:
        CheckpointError: not a scheme's checkpoint, or one without a setting.
    """
    loaded = load_checkpoint(path, device=device, kind="scheme", name=name, options=options, stages=stages)
    return loaded.policy, setting_of(loaded), loaded


def use_key_file(scheme: Pipeline, path: Path | None) -> None:
    """Give a scheme the key in a file, or a fresh one that is then written there; nothing when no file is named.

    Raises:
        InputError: the scheme takes no key, or the file holds none.
    """
    if path is not None:
        # Where nothing takes a key, the pipeline says so before a file is made.
        scheme.use_key(SecretKey.at(path) if scheme.keyed else path)


def system_of(scheme: Pipeline, card: dict[str, Any]) -> dict[str, Any]:
    """Which system a result is about, as plain values: scheme, options, added stages, composition and card."""
    return {
        "scheme": scheme.name,
        "options": scheme.options,
        "stages": [stage.plain() for stage in scheme.added],
        "composition": scheme.composition,
        "card": card,
    }


def tell_guarantee(scheme: Pipeline, transmissions: int = 1) -> None:
    """Print what is proven of the privacy of an image sent this many times, where anything is."""
    told = scheme.guarantee(transmissions)
    if told:
        print(f"{scheme.title}: {told}")


def setting_of(loaded: Checkpoint) -> GameConfig:
    """The setting in a checkpoint's card."""
    try:
        return GameConfig(**loaded.card["setting"])
    except (KeyError, TypeError):
        raise CheckpointError(f"{loaded.path} says nothing of the setting it was trained in.") from None


def refuse_overwriting(path: Path, overwrite: bool) -> None:
    """Raise InputError when a finished checkpoint, or what lies where its card goes, would be lost."""
    for one in (path, card_path(path)):
        if one.exists() and not overwrite:
            raise InputError(f"{one} exists; choose another --output, or give --overwrite.")

"""Arguments and steps that several commands share."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tosc_agents.setting import Setting
from tosc_env.checkpoints import Checkpoint, load_checkpoint, read_header
from tosc_env.errors import CheckpointError, InputError
from tosc_env.policies import PrivacyScheme, schemes


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


def snr_choices(values: Sequence[float]) -> Any:
    """One number as it is, several as choices to draw from."""
    if not values:
        raise InputError("at least one SNR in dB is needed.")
    return values[0] if len(values) == 1 else list(values)


def load_scheme(
    path: Path,
    device: torch.device,
    name: str | None = None,
    options: dict[str, Any] | None = None,
    key_file: Path | None = None,
) -> tuple[PrivacyScheme, Setting, Checkpoint]:
    """A trained scheme and the setting it was trained in.

    Args:
        path: its checkpoint.
        device: where it goes.
        name: another scheme that plays with these weights (``label-only`` with the baseline's).
        options: of the scheme, over those in the checkpoint.
        key_file: where the key of a keyed scheme is, or is to be made; None: a fresh key in memory.

    Raises:
        CheckpointError: not a scheme's checkpoint, or one without a setting.
    """
    header = read_header(path)
    factory = schemes[name or header["name"]] if header["kind"] == "scheme" else object
    given = {**(options or {}), **key_option(factory, key_file)}
    loaded = load_checkpoint(path, device=device, kind="scheme", name=name, options=given)
    assert isinstance(loaded.policy, PrivacyScheme)
    return loaded.policy, setting_of(loaded), loaded


def key_option(factory: object, path: Path | None) -> dict[str, Any]:
    """The option ``key`` for a scheme that takes one, from a file; nothing when no file is named.

    Raises:
        InputError: a key for a scheme that takes none, or a file that holds none.
    """
    if path is None:
        return {}
    from tosc_agents.keys import SecretKey

    if not takes_key(factory):
        raise InputError(
            f"a key was given ({path}), but the scheme {getattr(factory, 'name', '')!r} takes none."
        )
    return {"key": SecretKey.at(path)}


def takes_key(factory: object) -> bool:
    """Whether a scheme's constructor takes a secret key."""
    return "key" in inspect.signature(factory).parameters  # type: ignore[arg-type]


def tell_guarantee(scheme: PrivacyScheme, transmissions: int = 1) -> None:
    """Print what is proven of the privacy of an image sent this many times, where anything is."""
    told = scheme.guarantee(transmissions)
    if told:
        print(f"{scheme.name}: {told}")


def setting_of(loaded: Checkpoint) -> Setting:
    """The setting in a checkpoint's card."""
    try:
        return Setting(**loaded.card["setting"])
    except (KeyError, TypeError):
        raise CheckpointError(f"{loaded.path} says nothing of the setting it was trained in.") from None


def refuse_overwriting(path: Path, overwrite: bool) -> None:
    """Raise InputError when a finished result would be lost."""
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists; choose another --output, or give --overwrite.")

"""Arguments and steps that several commands share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tosc_agents.setting import Setting
from tosc_env.checkpoints import Checkpoint, load_checkpoint
from tosc_env.errors import CheckpointError, InputError
from tosc_env.policies import PrivacyScheme


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
    path: Path, device: torch.device, name: str | None = None
) -> tuple[PrivacyScheme, Setting, Checkpoint]:
    """A trained scheme and the setting it was trained in.

    Args:
        path: its checkpoint.
        device: where it goes.
        name: another scheme that plays with these weights (``label-only`` with the baseline's).

    Raises:
        CheckpointError: not a scheme's checkpoint, or one without a setting.
    """
    loaded = load_checkpoint(path, device=device, kind="scheme", name=name)
    assert isinstance(loaded.policy, PrivacyScheme)
    return loaded.policy, setting_of(loaded), loaded


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

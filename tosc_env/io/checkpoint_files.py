"""The files of a checkpoint: weights and configuration as safetensors, and a card beside them.

``NAME.safetensors`` holds the tensors and, as JSON, the configuration of the policy.  ``NAME.json`` is its card: the
training and its figures, in lines that a diff shows, with the digest of the weights.  Both are written at once.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor

from tosc_env.errors import CheckpointError, InputError
from tosc_env.io.files import replacing_all
from tosc_env.types import SystemSpec

FORMAT = "tosc-env/2"
SUFFIX, CARD_SUFFIX = ".safetensors", ".json"
_KEY = "tosc_env"
_NO_OPTIONS = ("key", "stages", "backbone", "spec", "scheme", "eavesdropper")
"""Names that are no options of a policy and never come from a file, a key least of all."""
Kind = Literal["scheme", "eavesdropper"]


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint's configuration and card, without its tensors.

    Returns:
        format, kind, name, options, stages (of a scheme), spec, and ``card``, which is empty where there is none.

    Raises:
        CheckpointError: missing, truncated, corrupt, or not written by tosc-env; a card of other weights.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}.")
    metadata = _open(path, lambda file: file.metadata()) or {}
    try:
        header = json.loads(metadata.get(_KEY, ""))
    except json.JSONDecodeError:
        header = None
    if not isinstance(header, dict):
        raise CheckpointError(f"{path} is a safetensors file, but not a checkpoint of tosc-env.")
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has the format {header.get('format')!r}; this version reads {FORMAT!r}."
        )
    _check_header(header, path)
    return {**header, "card": read_card(path)}


def card_path(path: str | os.PathLike[str]) -> Path:
    """The path of a weight file's card: ``x.json`` of ``x.safetensors``, ``x.y.json`` of ``x.y``.

    >>> card_path("m-1.5dB.safetensors").name, card_path("m.weights").name
    ('m-1.5dB.json', 'm.weights.json')
    """
    path = Path(path)
    return path.with_suffix(CARD_SUFFIX) if path.suffix == SUFFIX else path.with_name(path.name + CARD_SUFFIX)


def data_of(card: Mapping[str, Any]) -> str | None:
    """The name of the data set in a card; None where it has none."""
    data = card.get("data")
    return data.get("name") if isinstance(data, Mapping) else None


def read_card(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the card beside a weight file; empty where there is none.

    Raises:
        CheckpointError: the file there is no card, or one of other weights.
    """
    place = card_path(path)
    if not place.is_file():
        return {}
    try:
        card = json.loads(place.read_text(encoding="utf-8"))
        about = card.pop("sha256")
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise CheckpointError(f"{place} is not the card of a checkpoint.") from None
    if about != sha256(path):
        raise CheckpointError(
            f"{place} is the card of other weights than {Path(path).name}; take both files of the same training, or "
            "remove the card to load the weights without one."
        )
    return card


def write_checkpoint(
    path: str | os.PathLike[str], header: dict[str, Any], tensors: dict[str, Tensor], card: dict[str, Any]
) -> None:
    """Write weights, with their header, and card, both whole or neither.

    Raises:
        InputError: header or card hold something that is not a plain value; a path with the ending of cards.
        WriteError: a file cannot be written; older ones stay as they were.
    """
    from safetensors.torch import save

    if Path(path).suffix.lower() == CARD_SUFFIX:
        raise InputError(
            f"{CARD_SUFFIX!r} is the ending of a card; weights end in {SUFFIX!r}, not as {path}."
        )
    # Python writes the bytes: safetensors' own writer reports a full disk as an error that is no OSError.
    weights = save(tensors, metadata={_KEY: _json(header, sort_keys=True)})
    if "sha256" in card:
        raise InputError(
            "a card holds no 'sha256' of its own: that is the digest of the weights it is about."
        )
    text = _json({"sha256": hashlib.sha256(weights).hexdigest(), **card}, indent=1) + "\n"
    with replacing_all(path, card_path(path)) as (part, beside):
        beside.write_text(text, encoding="utf-8")
        part.write_bytes(weights)


def read_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint by name, as stored; raises CheckpointError like :func:`read_header`."""
    return _open(Path(path), lambda file: {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118


def sha256(path: str | os.PathLike[str]) -> str:
    """The digest of a file, 64 hexadecimal digits; raises CheckpointError where there is none."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}.") from None


def _json(value: Any, **how: Any) -> str:
    try:
        return json.dumps(value, **how)
    except (TypeError, ValueError) as error:
        raise InputError(f"a checkpoint holds plain values only: {error}.") from None


def _check_header(header: dict[str, Any], path: Path) -> None:
    """Raise CheckpointError unless everything that is read from a header is there and of its type."""
    kinds = {"name": str, "options": dict, "stages": list, "spec": dict}
    wrong = [] if header.get("kind") in get_args(Kind) else ["kind"]
    wrong += [key for key, kind in kinds.items() if not isinstance(header.get(key), kind)]
    try:
        SystemSpec.from_plain(header.get("spec") or {})
    except (AttributeError, KeyError, TypeError, ValueError):
        wrong += ["spec"]
    if wrong:
        raise CheckpointError(f"{path} has a damaged header: its {wrong[0]!r} is {header.get(wrong[0])!r}.")
    for options in (header["options"], *(stage for stage in header["stages"] if isinstance(stage, dict))):
        for name in _NO_OPTIONS:
            if name in options:
                raise CheckpointError(f"{path} has a damaged header: no file may set the option {name!r}.")


def _open(path: Path, read: Any) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return read(file)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a readable checkpoint (truncated or corrupt): {error}."
        ) from None

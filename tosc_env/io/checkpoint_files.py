"""The files of a checkpoint, written at once: weights and configuration, and a card of the training beside them.

``NAME.safetensors`` holds the tensors and, as JSON, the configuration of the policy.  ``NAME.json`` is its card, in
lines that a diff shows, with the digest of the weights.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from torch import Tensor

from tosc_env.errors import LONGEST_VALUE, CheckpointError, InputError, one_line, shown, told_as
from tosc_env.io.files import check_path, replacing_all
from tosc_env.options import check_spec
from tosc_env.types import SystemSpec

FORMAT = "tosc-env/2"
SUFFIX, CARD_SUFFIX = ".safetensors", ".json"
_KEY = "tosc_env"
_NO_OPTIONS = ("key", "stages", "backbone", "spec", "scheme", "eavesdropper")
"""Names that are no options of a policy and never come from a file, a key least of all."""
Kind = Literal["scheme", "eavesdropper"]
_SECTIONS = ("setting", "test_accuracy", "calibration", "training", "training.loop", "training.threat_model")
"""What of a card is read as names and values."""
_LONGEST = 2**22  # bytes of a header or a card; those of the zoo have a few thousand
_DEEPEST = 32  # lists and dictionaries within one another
_LARGEST = 2**26  # numbers in an image: more is no system that anybody trains


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint's format, kind, name, options, stages (of a scheme), spec and ``card`` (perhaps empty).

    Raises:
        CheckpointError: missing, truncated, corrupt, or not written by tosc-env; a card of other weights.
    """
    path = check_path(path)
    if not os.path.isfile(path):
        raise CheckpointError(f"no checkpoint at {path}.")
    metadata = _open(path, lambda file: file.metadata()) or {}
    try:
        header = read_plain(metadata.get(_KEY, ""))
    except ValueError as error:
        raise CheckpointError(f"{path} holds no checkpoint of tosc-env: {error}.") from None
    found = header.get("format")
    if found != FORMAT:
        raise CheckpointError(f"{path} has the format {shown(found)}; this version reads {FORMAT!r}.")
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
    """Read the card beside a weight file, empty without one; CheckpointError for what is none, or of others."""
    place = card_path(path)
    if not os.path.isfile(place):
        return {}
    try:
        with open(place, "rb") as file:
            card = read_plain(file.read(_LONGEST + 1).decode("utf-8"))
        about = card.pop("sha256")
    except (OSError, ValueError, KeyError) as error:
        told = "it has no 'sha256'" if isinstance(error, KeyError) else error
        raise CheckpointError(f"{place} is not the card of a checkpoint: {told}.") from None
    for section in _SECTIONS:
        found: Any = card
        for name in section.split("."):
            found = found.get(name, {})
            if not isinstance(found, Mapping):
                told = f"its {section!r} is {shown(found)}, not names and values"
                raise CheckpointError(f"{path} has a damaged card: {told}.")
    if about != sha256(path):
        told = "take both files of the same training, or remove the card to load the weights without one"
        raise CheckpointError(f"{place} is the card of other weights than {Path(path).name}; {told}.")
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

    if check_path(path).suffix.lower() == CARD_SUFFIX:
        raise InputError(f"weights end in {SUFFIX!r}, and {path} in {CARD_SUFFIX!r}, as cards do.")
    if "sha256" in card:
        raise InputError("a card holds no 'sha256' of its own: that is the digest of its weights.")
    # Python writes the bytes: safetensors' own writer reports a full disk as an error that is no OSError.
    weights = save(tensors, metadata={_KEY: _json(header, sort_keys=True)})
    text = _json({"sha256": hashlib.sha256(weights).hexdigest(), **_in_json(card)}, indent=1) + "\n"
    with replacing_all(path, card_path(path)) as (part, beside):
        beside.write_text(text, encoding="utf-8")
        part.write_bytes(weights)


def read_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint by name, as stored; raises CheckpointError like :func:`read_header`."""
    return _open(Path(path), lambda file: {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118


def read_shapes(path: str | os.PathLike[str]) -> dict[str, list[int]]:
    """The shapes of a checkpoint's tensors by name, read without them; raises like :func:`read_header`."""
    return _open(Path(path), lambda file: {name: file.get_slice(name).get_shape() for name in file.keys()})  # noqa: SIM118


def sha256(path: str | os.PathLike[str]) -> str:
    """The digest of a file, 64 hexadecimal digits; raises CheckpointError where there is none."""
    with told_as(CheckpointError, f"cannot read {path}"), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_plain(text: str) -> dict[str, Any]:
    """The plain values of a JSON object that a stranger may have written; ValueError, a phrase without its file, for
    none, or one that is too long, too deep, or ambiguous.

    >>> read_plain('{"a": 1, "a": 2}')
    Traceback (most recent call last):
    ...
    ValueError: it has the key 'a' twice
    """
    if len(text) > _LONGEST:
        raise ValueError(f"it is longer than {_LONGEST:,} characters")
    try:
        found = json.loads(
            text, object_pairs_hook=_once, parse_constant=_number, parse_int=_number, parse_float=_number
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON ({error})") from None
    except RecursionError:
        raise ValueError(f"it is nested deeper than {_DEEPEST} levels") from None
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    level: list[Any] = [found]
    for _ in range(_DEEPEST):
        inner = [v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)]
        level = [value for values in inner for value in values]
    if level:
        raise ValueError(f"it is nested deeper than {_DEEPEST} levels")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"it has the key {shown(name)} twice")
        found[name] = value
    return found


def _number(text: str) -> int | float:
    whole = text.lstrip("-").isdigit()
    if len(text) > 20 if whole else not math.isfinite(float(text)):
        told = "which is not finite or has more than 20 digits"
        raise ValueError(f"it has the number {one_line(text, LONGEST_VALUE)}, {told}")
    return int(text) if whole else float(text)


def _in_json(value: Any) -> Any:
    """The value with what JSON has no numbers for, infinite ones and none, as words."""
    if isinstance(value, dict):
        return {key: _in_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_in_json(inner) for inner in value]
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: Any) -> Any:
    """A number of NumPy as one of Python."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _json(value: Any, **how: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False, default=_plain, **how)
    except (TypeError, ValueError) as error:
        raise InputError(f"a checkpoint holds plain values only: {error}.") from None


def _check_header(header: dict[str, Any], path: Path) -> None:
    """Raise CheckpointError unless everything that is read from a header is there and of its type."""
    kinds = {"name": str, "options": dict, "stages": list, "spec": dict}
    wrong = [] if header.get("kind") in get_args(Kind) else ["kind"]
    wrong += [key for key, kind in kinds.items() if not isinstance(header.get(key), kind)]
    try:
        spec = check_spec(SystemSpec.from_plain(header.get("spec") or {}))
        wrong += ["spec"] if math.prod(spec.image_shape) > _LARGEST else []
    except (AttributeError, KeyError, TypeError, ValueError):
        wrong += ["spec"]
    if wrong:
        found = shown(header.get(wrong[0]))
        raise CheckpointError(f"{path} has a damaged header: its {wrong[0]!r} is {found}.")
    for options in (header["options"], *(stage for stage in header["stages"] if isinstance(stage, dict))):
        for name in options.keys() & set(_NO_OPTIONS):
            raise CheckpointError(f"{path} has a damaged header: no file may set the option {name!r}.")


def _open(path: Path, read: Any) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        with open(path, "rb") as raw:
            length = int.from_bytes(raw.read(8), "little")
        if length > 2 * _LONGEST:
            raise OSError(f"a header of {length:,} bytes")
        with safe_open(path, framework="pt") as file:
            return read(file)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is no readable checkpoint (truncated or corrupt): {error}.") from None

"""The identity of a result: one description, in plain values, of all that determines it, and one digest of it.

Whoever keeps something to be used again keeps beside it the :func:`identity` of the very objects that it was made with.
Whoever finds it makes that of what is at hand now, and :func:`check_identity` says what differs first.

Objects are described by what they hold, so that a new field, option or attribute belongs to the identity from the day
it is written.  An object that knows better what determines it has a method ``identity()``.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import inspect
import json
import math
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tosc_env.errors import LONGEST_VALUE, CheckpointError, one_line

RECIPE = 6
"""The version of what this code makes of equal settings. Whoever changes that raises it, and nothing older is used."""

DIGESTS = ("sha256", "weights")
"""Names of entries that tell a reader nothing but that something differs."""

_WHOLES = ("game", "setting")
"""Entries whose parts are known to a reader by their own names."""

_EXACT = 2**53
_OF_TORCH = frozenset(vars(nn.Module()))
_COUNTED = ("tosc_env", "tosc_agents", "torch", "numpy", "builtins", "typing", "abc", "collections")
"""Packages whose code is known by a version: ours by :data:`RECIPE`."""
_SECRET = ("key", "_key")
"""Attributes that are never described: a keyed part tells which key it has by its ``key_fingerprint``."""


def identity(**parts: Any) -> dict[str, Any]:
    """Describe what determines a result: its parts in plain values, and the version of the code."""
    return {"recipe": RECIPE, **{name: plain(value) for name, value in parts.items()}}


def digest(value: Any) -> str:
    """The SHA-256 of anything that :func:`plain` describes, 64 hexadecimal digits, whatever the order of keys.

    >>> digest({"a": 1, "b": (2.0,)}) == digest({"b": [2], "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()


def tensor_digest(tensors: Iterable[Tensor]) -> str:
    """The SHA-256 of the numbers in tensors, with their types and shapes, on any device; 64 hexadecimal digits."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(f"{tensor.dtype}{list(tensor.shape)}".encode())
        flat = tensor.detach().reshape(-1)
        # In pieces: images that are mapped from a file, or lie on a GPU, are not copied whole.
        for piece in flat.split(1 << 24):
            found.update(piece.contiguous().cpu().view(torch.uint8).numpy().data)
    return found.hexdigest()


def system_in(card: Any) -> dict[str, Any] | None:
    """The ``Pipeline.fingerprint`` of the system that an attacker was fitted against, as its card tells; else None."""

    def entry(*names: str) -> Any:
        found = card
        for name in names:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found  # a card holds what somebody wrote into it

    composition, weights = entry("composition"), entry("training", "identity", "scheme", "weights")
    if composition is None and weights is None:
        return None
    return {"composition": composition, "weights": [] if weights is None else [str(weights)]}


def another_system(theirs: Mapping[str, Any] | None, ours: Mapping[str, Any]) -> str | None:
    """What an attacker was fitted against, in words, where that is another system than ours, which plays; both by their
    ``Pipeline.fingerprint``. None where it is not, or nobody said."""
    if theirs is None:
        return None
    composition = theirs["composition"]
    if composition is not None and composition != ours["composition"]:
        told = (one_line(str(one), 2 * LONGEST_VALUE) for one in (composition, ours["composition"]))
        return f"{', and '.join(told)} plays"
    known = theirs["weights"] and ours["weights"]
    return "other weights than those that play" if known and not {*theirs["weights"]} & {*known} else None


def plain(value: Any, above: tuple[int, ...] = ()) -> Any:
    """A value as JSON holds it, equal for equal values in any process.

    Tensors and arrays become digests, and objects what they hold: their ``identity()`` where they have one, else the
    fields of a dataclass, attributes and weights of a module, what a pickle of them would keep.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)  # for which JSON has no number
        return int(value) if value.is_integer() and abs(value) < _EXACT else value
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)} {tensor_digest([value])}"
    if isinstance(value, bytes | bytearray):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, torch.device | torch.dtype | Path):
        return str(value)
    if id(value) in above:
        return "itself"
    above = (*above, id(value))
    if isinstance(value, Mapping):
        return {str(key): plain(one, above) for key, one in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((plain(one, above) for one in value), key=lambda one: json.dumps(one, sort_keys=True))
    if isinstance(value, Sequence):
        return [plain(one, above) for one in value]
    if isinstance(value, type):
        return _name(value)
    if callable(getattr(value, "identity", None)):
        return plain(value.identity(), above)
    if isinstance(value, nn.Module):
        return describe_module(value, above)
    if is_dataclass(value):
        held = {f.name: getattr(value, f.name) for f in fields(value)}
        return {"class": _class(type(value)), **plain(held, above)}
    return _object(value, above)


def difference(theirs: Any, ours: Any) -> tuple[str, Any, Any] | None:
    """The name of the first thing in which two identities differ, with both values; None where they are equal. One that
    says something to a reader goes before one of digests.
    """
    found = list(_differences((), theirs, ours))
    if not found:
        return None
    place, old, new = min(found, key=lambda one: _says_little(*one))
    return ".".join(place), old, new


def check_identity(
    path: Path,
    theirs: Any,
    ours: Mapping[str, Any],
    *,
    asked_then: Mapping[str, Any] | None = None,
    asked_now: Mapping[str, Any] | None = None,
) -> None:
    """Raise CheckpointError where what lies at a path, of the identity ``theirs``, was made with anything but ``ours``.

    ``asked_then`` and ``asked_now`` are the options of the command that wrote the file and of this one, each with a
    digest of its value, so that the sentence can name those that were changed.
    """
    if not isinstance(theirs, Mapping) or "recipe" not in theirs:
        raise CheckpointError(
            f"{path} does not say all that determined it, as files of an older version do not; choose another output, "
            "or delete the file to start anew."
        )
    found = difference(plain(theirs), json.loads(json.dumps(ours)))
    if found is None:
        return
    then, now = asked_then if isinstance(asked_then, Mapping) else {}, asked_now or {}
    options = [name for name in now if name in then and then[name] != now[name]]
    told = f"; {', '.join(options)} {'was' if len(options) == 1 else 'were'} changed" if options else ""
    raise CheckpointError(
        f"{path} belongs to a run with another {in_words(*found)}{told}); continue that one with the same arguments, "
        "choose another output, or delete the file."
    )


def in_words(place: str, old: Any, new: Any) -> str:
    """What :func:`difference` found, as a reader knows it, with an open bracket for more."""
    parts = re.sub(r"\.(\d+)", r" \1", place).split(".")
    named = [part for part in parts if part not in (*DIGESTS, *_WHOLES)] or parts[-1:]
    listed = isinstance(old, Mapping | list) or isinstance(new, Mapping | list)
    values = (
        "other contents now"
        if listed or _says_little(parts, old, new)
        else f"{_shown(old)}, and {_shown(new)} now"
    )
    return f"{' of '.join(reversed(named))} ({values}"


def _differences(
    place: tuple[str, ...], theirs: Any, ours: Any
) -> Iterable[tuple[tuple[str, ...], Any, Any]]:
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for key in [*ours, *(key for key in theirs if key not in ours)]:
            yield from _differences((*place, key), theirs.get(key), ours.get(key))
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for index, (old, new) in enumerate(zip(theirs, ours, strict=True)):
            yield from _differences((*place, str(index)), old, new)
    # As text, so that 1 is not True.
    elif json.dumps(theirs, sort_keys=True) != json.dumps(ours, sort_keys=True):
        yield place, theirs, ours


def _says_little(place: Sequence[str], *values: Any) -> bool:
    """Whether values are digests, alone or of a tensor."""
    digests = any(isinstance(value, str) and re.search(r"\b[0-9a-f]{64}$", value) for value in values)
    return digests or (bool(place) and place[-1] in DIGESTS)


def _shown(value: Any) -> str:
    text = "none" if value is None else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _object(value: Any, above: tuple[int, ...]) -> Any:
    if isinstance(value, functools.partial):
        return plain({"call": value.func, "arguments": value.args, "options": value.keywords}, above)
    if isinstance(value, types.MethodType):
        return plain({"call": value.__func__, "of": value.__self__}, above)
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        told = [_code(value), value.__defaults__, value.__kwdefaults__, cells]
        return {"function": _name(value), "sha256": digest(plain(told, above))}
    if isinstance(value, types.CodeType):
        return plain([value.co_code, value.co_names, value.co_consts], above)
    if isinstance(value, types.BuiltinFunctionType):
        return _name(value)
    if isinstance(value, torch.Generator):
        return {"seed": value.initial_seed()}
    state = value.__getstate__()
    # Of a class with slots it is a pair: the dictionary, and what is in the slots.
    parts = state if isinstance(state, tuple) else (state,)
    attributes = {name: one for part in parts if isinstance(part, Mapping) for name, one in part.items()}
    others = [part for part in parts if part is not None and not isinstance(part, Mapping)]
    held = {**attributes, **({"state": others} if others else {})}
    return {"class": _class(type(value)), **plain(held, above)}


def describe_module(module: nn.Module, above: tuple[int, ...] = ()) -> dict[str, Any]:
    """A module's class, what it and its parts were told (their attributes), and the digest of its weights."""
    told: dict[str, Any] = {"class": _class(type(module)), **_attributes(module, above)}
    for name, part in module.named_modules():
        if not name:
            continue
        if type(part).__module__.startswith("torch."):
            # Its attributes are many: what its repr tells of them.
            told[name] = f"{type(part).__name__}({part.extra_repr()})"
        else:
            told[name] = {"class": _class(type(part)), **_attributes(part, above)}
    # Buffers that no checkpoint holds too: recorded symbols are one.
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    return {**told, "weights": digest([list(tensors), tensor_digest(tensors.values())])}


def _attributes(module: nn.Module, above: tuple[int, ...]) -> dict[str, Any]:
    """The attributes of a module, alike before and after it was used.

    Of the private ones those alone that are plain: others are memories and links, and None is a memory still empty.
    """
    told = {}
    for name, value in vars(module).items():
        private = name.startswith("_") and not isinstance(value, bool | int | float | str)
        if name not in _OF_TORCH and name not in _SECRET and not private:
            told[name] = plain(value, above)
    return told


def _class(kind: type) -> str:
    """The name of a class; with a digest of its code where it is a stranger's, which :data:`RECIPE` does not count."""
    strangers = [one for one in kind.__mro__ if one.__module__.partition(".")[0] not in _COUNTED]
    methods = {
        f"{place} {name}": inspect.unwrap(getattr(found, "fget", None) or getattr(found, "__func__", found))
        for place, one in enumerate(strangers)
        for name, found in vars(one).items()
    }
    codes = {name: _code(found) for name, found in methods.items() if isinstance(found, types.FunctionType)}
    return f"{_name(kind)} {digest(codes)[:16]}" if codes else _name(kind)


def _code(function: types.FunctionType, above: tuple[types.FunctionType, ...] = ()) -> list[Any]:
    """The code of a function, and what of its module it reads and does not write to: numbers, strings, and functions
    that are no part of a package known by its version."""
    steps = list(dis.get_instructions(function.__code__))
    read, written = (
        {s.argval for s in steps if s.opname == name} for name in ("LOAD_GLOBAL", "STORE_GLOBAL")
    )
    found = {name: function.__globals__.get(name) for name in read - written}
    constants = {name: value for name, value in found.items() if type(value) in (bool, int, float, str)}
    helpers = {
        name: _code(value, (*above, function))
        for name, value in found.items()
        if isinstance(value, types.FunctionType)
        and value not in above
        and (value.__module__ or "").partition(".")[0] not in _COUNTED
    }
    return [function.__code__, constants, *([helpers] if helpers else [])]


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', None) or 'builtins'}:{getattr(value, '__qualname__', value)}"

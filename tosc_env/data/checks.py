"""Checks of splits and halves, and of arrays that become a source."""

from __future__ import annotations

import mmap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tosc_env.errors import CODES, InputError, shown, unknown
from tosc_env.options import check_choice, check_dense

_MOST = 2**20
"""Classes, or values of one attribute; each has a name."""


@dataclass(frozen=True)
class Owned:
    """Images that nobody else will ever write to: a source takes them as they are, and many may share them."""

    images: np.ndarray | Tensor


def check_half(half: object, split: str) -> None:
    """Raise InputError for an unknown half, or one of another split than the training split."""
    check_choice(half, "half", (None, "system", "attacker"))
    if half is not None and split != "train":
        raise InputError(f"half={half!r} belongs to split='train'; the {split} split is not divided.")


def as_images(images: object) -> Tensor:
    """Return ``images`` as a uint8 tensor [N, C, H, W] with C of 1 or 3, in memory that nobody else can write to."""
    owned = isinstance(images, Owned)
    if isinstance(images, Owned):
        images = images.images
    check_dense(images, "images")
    shape = tuple(images.shape) if isinstance(images, np.ndarray | Tensor) else ()
    if not isinstance(images, np.ndarray | Tensor) or not (
        len(shape) == 4 and 0 not in shape and shape[1] in (1, 3) and images.dtype in (np.uint8, torch.uint8)
    ):
        hint = "; grey images [N, H, W] are given as images[:, None]" if len(shape) == 3 else ""
        hint = "; move the channels first" if len(shape) == 4 and shape[3] in (1, 3) else hint
        told = "an array or tensor uint8 [N, C, H, W] of 1 or 3 channels, with nothing empty"
        raise InputError(f"images must be {told}, not {shown(images)}{hint}.")
    if isinstance(images, Tensor):
        images = images.detach()
        return images.contiguous() if owned else images.clone(memory_format=torch.contiguous_format)
    owned = owned or _is_read_only(images)
    pixels = np.require(images, requirements="C") if owned else np.array(images, order="C")
    with warnings.catch_warnings():  # torch has no read-only tensors, and a source writes to none
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(pixels)


def _is_read_only(array: np.ndarray) -> bool:
    """True if the memory itself cannot be written to, such as that of a file mapped with mode ``"r"``.

    An array's own flag says less: another view of the same memory may have another.
    """
    memory: Any = array
    while isinstance(memory, np.ndarray):
        memory = memory.base
    return isinstance(memory, bytes | mmap.mmap) and memoryview(memory).readonly


def as_labels(labels: object, count: int, names: Sequence[str] | None) -> tuple[Tensor, tuple[str, ...]]:
    """Return labels as int64 [N] and a name for every class; labels that are strings are the names, in sorted order."""
    if labels is None:
        labels, names = torch.zeros(count, dtype=torch.int64), ("image",) if names is None else names
    check_dense(labels, "labels")
    if not isinstance(labels, Tensor):
        words = labels if isinstance(labels, np.ndarray) else _array("labels", labels, dtype=object)
        if words.size and words.ndim < 3 and isinstance(words.flat[0], str):
            labels, names = _numbered(words, names)
    tags = _integers("labels", labels)
    if tags.shape != (count,):
        raise InputError(f"labels must have shape [{count}], one per image, not {list(tags.shape)}.")
    return tags, _named("class_names", names, "labels", tags)


def as_attributes(
    attributes: object,
    count: int,
    names: Sequence[str] | None,
    values: Sequence[Sequence[str]] | None,
) -> tuple[Tensor, tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return attributes as int64 [N, A], a name for every column and for every value."""
    if attributes is None:
        if names or values:
            raise InputError("attribute_names and attribute_values need attributes, which are missing.")
        return torch.zeros(count, 0, dtype=torch.int64), (), ()
    columns = _integers("attributes", attributes)
    if columns.ndim != 2 or len(columns) != count:
        raise InputError(f"attributes must have shape [{count}, A], not {list(columns.shape)}.")
    width = columns.shape[1]
    usual = tuple(f"attribute_{a}" for a in range(width))
    named = usual if names is None else check_names("attribute_names", names)
    groups = [None] * width if values is None else values
    if not len(named) == len(groups) == width:
        raise InputError(
            f"{width} attributes need {width} attribute_names and {width} groups of attribute_values, "
            f"not {len(named)} and {len(groups)}."
        )
    told = [f"attribute {name!r}" for name in named]
    each = zip(groups, told, columns.unbind(1), strict=True)
    return columns, named, tuple(_named("attribute_values", *one, least=2) for one in each)


def _named(
    what: str, names: Sequence[str] | None, of: str, values: Tensor, least: int = 1
) -> tuple[str, ...]:
    """The names of values from 0, by default their numbers; InputError for a value that has none."""
    low, high = int(values.min()), int(values.max())
    count = _MOST if names is None else len(names)
    if low < 0 or high >= count:
        raise InputError(f"{of} must lie in 0..{count - 1}, and {low if low < 0 else high} does not.")
    return tuple(map(str, range(max(least, high + 1)))) if names is None else check_names(what, names)


def _numbered(words: np.ndarray, names: Sequence[str] | None) -> tuple[np.ndarray, Sequence[str]]:
    """Labels that are strings as positions in the names, by default all that occur, sorted."""
    if not all(isinstance(word, str) for word in words.flat):
        raise InputError("labels must be all integers or all strings, not some of each.")
    named = sorted({str(word) for word in words.flat}) if names is None else list(names)
    place = {name: i for i, name in enumerate(named)}
    for word in words.flat:
        if word not in place:
            raise unknown("label", str(word), named)
    return np.array([place[word] for word in words.flat]).reshape(words.shape), named


def as_positions(what: str, values: object, device: torch.device) -> Tensor:
    """Return positions of images as int64 [N] on a device; InputError for a mask and whatever holds no integers."""
    if isinstance(values, Sequence) and not isinstance(values, str) and not len(values):
        values = torch.zeros(0, dtype=torch.int64)
    if getattr(values, "dtype", None) in (np.bool_, torch.bool):
        raise InputError(f"{what} must be the positions of images, not a mask of them.")
    return _integers(what, values).to(device)


def _array(what: str, values: object, dtype: Any = None) -> np.ndarray:
    try:
        return np.asarray(values, dtype=dtype)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InputError(f"{what} must be an array of integers: {error}.") from error


def _integers(what: str, values: object) -> Tensor:
    check_dense(values, what)
    if isinstance(values, Tensor):
        if values.is_floating_point() or values.is_complex():
            raise InputError(f"{what} must be integers, not {values.dtype}.")
        values = values.detach().cpu().numpy()
    given = _array(what, values)
    if given.dtype.kind not in "biu":
        raise InputError(f"{what} must be integers, not {given.dtype}.")
    # As they were given: a large unsigned number becomes another in 64 bits with a sign.
    if given.size and given.max() >= _MOST:
        raise InputError(f"{what} must lie in 0..{_MOST - 1}, and {given.max()} does not.")
    return torch.from_numpy(given.astype(np.int64))


def check_names(what: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return names that can be shown anywhere, different from one another and at least one; InputError otherwise."""
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{what} must be a sequence of strings, not {shown(names)}.")
    if any(CODES.search(name) for name in names):
        raise InputError(f"{what} must be text of one line without control characters, not {shown(names)}.")
    named = tuple(names)
    if len(set(named)) != len(named) or not named:
        raise InputError(f"{what} must be different from one another and at least one, not {shown(named)}.")
    return named

"""Rows of tensors [B, ...], and of dictionaries and dataclasses of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def select(mask: Tensor, new: T, old: T) -> T:
    """Select, row by row, ``new`` where ``mask`` (bool [B]) holds, else ``old``; in tensors, dicts and dataclasses."""

    def choose(one: Tensor, other: Tensor) -> Tensor:
        return torch.where(mask.view(-1, *[1] * (one.dim() - 1)), one, other) if one.dim() else one

    return _map(choose, new, old)


def take(rows: Any, value: T) -> T:
    """Take the rows of an index or a slice, of tensors, dicts and dataclasses."""
    return _map(lambda one: one[rows] if one.dim() else one, value)


def join(values: Sequence[T]) -> T:
    """The rows of all values, one after the other, of tensors, dicts and dataclasses."""
    return _map(lambda *parts: torch.cat(parts) if parts[0].dim() else parts[0], *values)


def _map(function: Callable[..., Tensor], one: Any, *others: Any) -> Any:
    if isinstance(one, Tensor) and all(isinstance(other, Tensor) for other in others):
        return function(one, *others)
    if isinstance(one, dict) and all(isinstance(other, dict) for other in others):
        return {key: _map(function, value, *(other[key] for other in others)) for key, value in one.items()}
    if is_dataclass(one) and not isinstance(one, type):
        names = [f.name for f in fields(one)]
        parts = [_map(function, *(getattr(value, name) for value in (one, *others))) for name in names]
        return type(one)(**dict(zip(names, parts, strict=True)))
    return one

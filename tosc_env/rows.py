"""Rows of tensors [B, ...], and of dictionaries and dataclasses of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def select(mask: Tensor, new: T, old: T) -> T:
    """Select, row by row, ``new`` where ``mask`` (bool [B]) holds, else ``old``; in tensors, dicts and dataclasses.

    >>> select(torch.tensor([True, False]), torch.tensor([1, 2]), torch.tensor([3, 4]))
    tensor([1, 4])
    """

    def choose(one: Tensor, other: Tensor) -> Tensor:
        return torch.where(mask.view(-1, *[1] * (one.dim() - 1)), one, other) if one.dim() else one

    return _map(choose, new, old)


def take(rows: Any, value: T) -> T:
    """Take the rows of an index or a slice, of tensors, dicts and dataclasses.

    >>> take(slice(0, 1), {"a": torch.tensor([1, 2])})
    {'a': tensor([1])}
    """
    return _map(lambda one, _: one[rows] if one.dim() else one, value, value)


def _map(function: Callable[[Tensor, Tensor], Tensor], one: Any, other: Any) -> Any:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return function(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: _map(function, value, other[key]) for key, value in one.items()}
    if is_dataclass(one) and not isinstance(one, type):
        parts = {f.name: _map(function, getattr(one, f.name), getattr(other, f.name)) for f in fields(one)}
        return type(one)(**parts)
    return one

"""Messages in flight: what a :class:`~tosc_env.session.Session` holds, and mixing rows of two of them."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import TypeVar

import torch
from torch import Tensor

from tosc_env.game import Round, Scores, Transmission

T = TypeVar("T")


@dataclass(frozen=True)
class Frame:
    """One message per row: what was drawn, and, once it is on the air, what was sent and received."""

    round: Round
    transmission: Transmission | None


@dataclass(frozen=True)
class Played:
    """A finished round: the frame, both answers, and the verdict."""

    frame: Frame
    decision: Tensor
    reconstruction: Tensor
    scores: Scores


def select(mask: Tensor, new: T, old: T) -> T:
    """Row by row, ``new`` where ``mask`` (bool [B]) holds, else ``old``; in tensors, dicts and dataclasses.

    >>> select(torch.tensor([True, False]), torch.tensor([1, 2]), torch.tensor([3, 4]))
    tensor([1, 4])
    """
    if isinstance(new, Tensor) and isinstance(old, Tensor) and new.dim() > 0:
        return torch.where(mask.view(-1, *[1] * (new.dim() - 1)), new, old)  # type: ignore[return-value]
    if isinstance(new, dict) and isinstance(old, dict):
        return {key: select(mask, value, old[key]) for key, value in new.items()}  # type: ignore[return-value]
    if is_dataclass(new) and not isinstance(new, type):
        parts = {f.name: select(mask, getattr(new, f.name), getattr(old, f.name)) for f in fields(new)}
        return type(new)(**parts)
    return new

"""Messages in flight: what a session holds, mixing rows of two of them, and one row to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TypeVar

import torch
from torch import Tensor

from tosc_env.types import Round, Scores, Transmission

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


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One row of one round, as far as it has gone: what is not known yet is None.

    Attributes:
        image: the transmitter's image, [C, H, W] in [0, 1].
        target: the task's right answer, as in ``Round.targets``.
        sent, received, eavesdropped: symbols as sent and as they arrive on both links, [2n] each.
        reconstruction: the eavesdropper's image, [C, H, W].
        decision: the receiver's decision, in the form of ``target``.
        rewards: what each role was paid.
        accuracy: the task score.
        psnr_db: of the reconstruction, in dB.
        snr_db, eavesdropper_snr_db: each link's Es/N0 in dB.
    """

    image: Tensor
    target: Tensor
    sent: Tensor | None = None
    received: Tensor | None = None
    eavesdropped: Tensor | None = None
    reconstruction: Tensor | None = None
    decision: Tensor | None = None
    rewards: Mapping[str, float] = field(default_factory=dict)
    accuracy: float | None = None
    psnr_db: float | None = None
    snr_db: float | None = None
    eavesdropper_snr_db: float | None = None


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

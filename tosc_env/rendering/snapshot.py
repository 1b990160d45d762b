"""One row of one round, for a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One row of one round; fields that are not known yet are None or empty.

    Attributes:
        image: the transmitter's image, [C, H, W] in [0, 1].
        target: the task's right answer, as in ``Round.targets``.
        sent: symbols as sent, [2n].
        received: what each node received, [2n] by its name, the receiver first.
        reconstructions: each eavesdropper's image, [C, H, W] by its node.
        psnr_db: of each reconstruction, in dB.
        decision: the receiver's decision, in the form of ``target``.
        rewards: what each player was paid.
        accuracy: the task score.
        snr_db: each node's Es/N0 in dB.
    """

    image: Tensor
    target: Tensor
    sent: Tensor | None = None
    received: Mapping[str, Tensor] = field(default_factory=dict)
    reconstructions: Mapping[str, Tensor] = field(default_factory=dict)
    psnr_db: Mapping[str, float] = field(default_factory=dict)
    decision: Tensor | None = None
    rewards: Mapping[str, float] = field(default_factory=dict)
    accuracy: float | None = None
    snr_db: Mapping[str, float] = field(default_factory=dict)

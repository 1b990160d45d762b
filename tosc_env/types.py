"""The data that goes through the chain: plain records of tensors, and the shapes both ends agree on.

::

    Batch, Links --> Round --transmit--> Transmission (a Reception per side) --score--> Scores

Everything here is data alone; this module imports nothing of the package, so that anything may import it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class SystemSpec:
    """The shapes that both ends of a link agree on before any weights exist.

    Attributes:
        image_shape: (C, H, W).
        num_outputs: K, the length of the task's logits.
        num_symbols: n, complex channel uses per message, at least 1.
        num_csi: real numbers in a link's channel state information; the first is the SNR in dB.
        binary: whether the K outputs are K yes-or-no answers, and not one choice out of K.
    """

    image_shape: tuple[int, int, int]
    num_outputs: int
    num_symbols: int = 64
    num_csi: int = 1
    binary: bool = False

    def plain(self) -> dict[str, Any]:
        """As plain values, for a checkpoint."""
        return {**asdict(self), "image_shape": list(self.image_shape)}

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> SystemSpec:
        """The inverse of :meth:`plain`."""
        return cls(**{**values, "image_shape": tuple(values["image_shape"])})

    def with_csi(self, num_csi: int) -> SystemSpec:
        """The same system over a channel with another amount of state information."""
        return replace(self, num_csi=num_csi)


@dataclass(frozen=True)
class Context:
    """What transmitter and receiver share about a message besides their weights; the eavesdropper has none of it.

    Attributes:
        snr_db: the legitimate link's SNR, float32 [B].
        message: int64 [B, 3], (row, episode, message number): never the same twice within an environment.
        environment: a number that tells this environment's messages from every other's.
        generator: the stream for random stages and encoders; None draws from torch's global one.
        knobs: settings that may differ from message to message, float32 [B] each by name: ``epsilon`` of the first
            stage that has it, ``epsilon-2`` of the second. What is not named has the stage's own value. A stage
            finds its own alone here, under its own names; a scheme's ``decode`` finds those of all stages.
    """

    snr_db: Tensor
    message: Tensor
    environment: int = 0
    generator: torch.Generator | None = None
    knobs: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """B images with what is known about them.

    Attributes:
        images: float32 [B, C, H, W] in [0, 1], a fresh tensor.
        labels: int64 [B], the class; zeros for a data set without classes.
        attributes: int64 [B, A], the value of each private attribute; A may be 0.
        index: int64 [B], where the images stand in their source.
    """

    images: Tensor
    labels: Tensor
    attributes: Tensor
    index: Tensor


@dataclass(frozen=True)
class Link:
    """The random state of one link for B messages of n channel uses.

    Attributes:
        fades: complex64 [B, F], unit mean square, the coefficients that describe the link's fading during
            the message; F = 0 where the link does not fade.
        noise: complex64 [B, n], circular, unit variance (scaled by the SNR in
            :meth:`~tosc_env.channels.base.Channel.apply`).
    """

    fades: Tensor
    noise: Tensor


@dataclass(frozen=True)
class Links:
    """Both links of the wiretap channel, and how many messages the present fades have carried (int64 [B])."""

    receiver: Link
    eavesdropper: Link
    age: Tensor


@dataclass(frozen=True)
class Round:
    """One message per row, from the referee's point of view.

    Attributes:
        batch: images [B, C, H, W], labels, attributes, and their index in the source.
        targets: the task's right answers.
        snr_db, eavesdropper_snr_db: each link's Es/N0 in dB, [B], constant within an episode.
        links: both links' fades and noise.
        message: int64 [B, 3]: row, episode, message number.
        shown: int64 [B], how often this image has been sent in a row, counting from 1.
    """

    batch: Batch
    targets: Tensor
    snr_db: Tensor
    eavesdropper_snr_db: Tensor
    links: Links
    message: Tensor
    shown: Tensor


@dataclass(frozen=True)
class Reception:
    """What one side has: received symbols float32 [B, 2n] and its own link's CSI float32 [B, c]."""

    received: Tensor
    csi: Tensor


@dataclass(frozen=True)
class Transmission:
    """Both receptions, the symbols as sent [B, 2n], and the mean energy per symbol of each message [B]."""

    receiver: Reception
    eavesdropper: Reception
    sent: Tensor
    energy: Tensor


@dataclass(frozen=True)
class Scores:
    """The referee's verdict on a round, one number per row each.

    Attributes:
        rewards: [B] for each of transmitter, receiver, eavesdropper.
        accuracy: the task score.
        mse, psnr_db: the eavesdropper's error.
        extra: costly figures that were asked for, by name.
    """

    rewards: dict[str, Tensor]
    accuracy: Tensor
    mse: Tensor
    psnr_db: Tensor
    extra: dict[str, Tensor] = field(default_factory=dict)

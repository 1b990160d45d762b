"""The data that goes through the chain: plain records of tensors, and the shapes both ends agree on.

::

    Batch, a Link per node --> Round --transmit--> Transmission (a Reception per node) --score--> Scores
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class CSILayout:
    """The layout of a node's CSI: the gain of each channel use, and the equaliser that was applied.

    Attributes:
        fade_of_use: the number of the fade that each of the n channel uses has; () where one fade is that of all
            uses, or each use has its own in turn.
        equaliser: ``"mmse"``, ``"zf"`` or None, as in :class:`~tosc_env.channels.base.Channel`.
        aligned: whether the CSI has an amplitude for each of the 2n real numbers in place of Re h and Im h of each
            fade (:func:`~tosc_env.channels.base.aligned`).
    """

    fade_of_use: tuple[int, ...] = ()
    equaliser: str | None = "mmse"
    aligned: bool = False


@dataclass(frozen=True)
class Within:
    """Bounds of a number, for ``Annotated`` (:mod:`tosc_env.options`): from ``low`` to ``high``, both included."""

    low: float
    high: float


MOST_SYMBOLS = 2**20
"""Channel uses of a message."""

_Size = Annotated[int, Within(1, MOST_SYMBOLS)]


@dataclass(frozen=True)
class SystemSpec:
    """The shapes that both ends of a link agree on before any weights exist.

    Attributes:
        image_shape: (C, H, W).
        num_outputs: K, the length of the task's logits.
        num_symbols: n, complex channel uses per message, at least 1.
        num_csi: real numbers in a link's channel state information; the first is the SNR in dB.
        binary: whether the K outputs are K yes-or-no answers, and not one choice out of K.
        layout: what that information says of each channel use.
    """

    image_shape: tuple[_Size, _Size, _Size]
    num_outputs: _Size
    num_symbols: _Size = 64
    num_csi: Annotated[int, Within(1, 2 * MOST_SYMBOLS + 1)] = 1
    binary: bool = False
    layout: CSILayout = CSILayout()

    def plain(self) -> dict[str, Any]:
        """Return the fields as plain values, for a checkpoint."""
        values = {**asdict(self), "image_shape": list(self.image_shape)}
        values["layout"]["fade_of_use"] = list(self.layout.fade_of_use)
        if self.layout == CSILayout():
            del values["layout"]
        return values

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> SystemSpec:
        """The inverse of :meth:`plain`."""
        layout = dict(values.get("layout", {}))
        layout["fade_of_use"] = tuple(layout.get("fade_of_use", ()))
        return cls(**{**values, "image_shape": tuple(values["image_shape"]), "layout": CSILayout(**layout)})


USUAL_SPEC = SystemSpec((3, 32, 32), 10)
"""A 10-class task on 32x32 colour images over 64 channel uses."""


@dataclass(frozen=True)
class Context:
    """The knowledge that transmitter and receiver share of a message besides weights; no eavesdropper has any of it.

    Attributes:
        snr_db: the legitimate link's SNR, float32 [B].
        message: int64 [B, 5], the public numbers of a message: row, episode, message number, and what is sent: the
            image's place in its source and the source's :attr:`~tosc_env.data.base.Source.number`, or two hashes of an
            image that is in none (:func:`~tosc_env.data.base.content_numbers`). Different images never have the same.
        environment: a number that follows from the environment's seed.
        generator: the stream for random stages and encoders; None draws from torch's global one.
        knobs: settings that may differ from message to message, float32 [B] each by name: ``epsilon`` of the first
            stage that has it, ``epsilon-2`` of the second. By default each is the stage's own value. A stage
            finds its own alone here, under its own names; a scheme's ``decode`` finds those of all stages.
        gains: by node, the gains complex64 [B, A, T, n] of each channel use, of the nodes in
            ``GameConfig.transmitter_csi``.
        layout: what the receiver's CSI says of each channel use.
    """

    snr_db: Tensor
    message: Tensor
    environment: int = 0
    generator: torch.Generator | None = None
    knobs: Mapping[str, Tensor] = field(default_factory=dict)
    gains: Mapping[str, Tensor] = field(default_factory=dict)
    layout: CSILayout = CSILayout()


@dataclass(frozen=True)
class Batch:
    """B images with their labels and attributes.

    Attributes:
        images: float32 [B, C, H, W] in [0, 1], a fresh tensor.
        labels: int64 [B], the class; zeros for a data set without classes.
        attributes: int64 [B, A], the value of each private attribute; A may be 0.
        index: int64 [B], the images' positions in their source.
    """

    images: Tensor
    labels: Tensor
    attributes: Tensor
    index: Tensor


@dataclass(frozen=True)
class Link:
    """The random state of one node's link for B messages of n channel uses, from T antennas to A.

    A channel with more to remember than this subclasses it; every field is a tensor with a row per message.

    Attributes:
        fades: complex64 [B, A, T, F], unit mean square, the coefficients that describe the link's fading during the
            message; F = 0 where the link does not fade.
        noise: complex64 [B, A, n], circular, of unit variance.
        snr_db: float32 [B], Es/N0 per complex symbol and receive antenna.
        age: int64 [B], how many messages the present fades have carried.
    """

    fades: Tensor
    noise: Tensor
    snr_db: Tensor
    age: Tensor


@dataclass(frozen=True)
class Round:
    """One message per row, as the game knows it.

    Attributes:
        targets: the task's right answers.
        links: by node, the receiver first; SNRs are constant within an episode.
        message: int64 [B, 5], as in :class:`Context`.
        shown: int64 [B], how often this image has been sent in a row, counting from 1.
    """

    batch: Batch
    targets: Tensor
    links: Mapping[str, Link]
    message: Tensor
    shown: Tensor

    @property
    def snr_db(self) -> Tensor:
        """The legitimate link's SNR, [B]."""
        return next(iter(self.links.values())).snr_db


@dataclass(frozen=True)
class Waves:
    """The signal that the transmitter's T antennas radiate.

    Attributes:
        signal: complex64 [B, T, n].
        weights: complex64 [B, T, n], the part of each symbol in ``signal`` at each antenna; the rest of it is noise.
    """

    signal: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Reception:
    """The signal and channel state of one node.

    Attributes:
        received: float32 [B, 2n], its antennas combined and equalised, I and Q interleaved.
        csi: float32 [B, c], the state of its own link after combining.
        raw: complex64 [B, A, n], the signal at each antenna; None where it is not known.
    """

    received: Tensor
    csi: Tensor
    raw: Tensor | None = None


@dataclass(frozen=True)
class Transmission:
    """The receptions of a message.

    Attributes:
        receptions: by node, the receiver first.
        sent: the symbols as sent, float32 [B, 2n].
        weights: of the transmitter's antennas (:class:`Waves`); None: there is one antenna.
    """

    receptions: Mapping[str, Reception]
    sent: Tensor
    weights: Tensor | None = None

    @property
    def receiver(self) -> Reception:
        """The legitimate receiver's reception."""
        return next(iter(self.receptions.values()))

    @property
    def eavesdropper(self) -> Reception:
        """The first eavesdropper's reception."""
        return list(self.receptions.values())[1]


@dataclass(frozen=True)
class Leak:
    """The success of one eavesdropper on a message, a number per row each: error, PSNR, and the game's ``metrics``."""

    mse: Tensor
    psnr_db: Tensor
    extra: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Scores:
    """The rewards and figures of a round, one number per row each.

    Attributes:
        rewards: of the transmitter, the receiver, and each eavesdropper by its node.
        accuracy: the task score.
        leaks: by eavesdropper.
    """

    rewards: Mapping[str, Tensor]
    accuracy: Tensor
    leaks: Mapping[str, Leak]

    @property
    def mse(self) -> Tensor:
        """The least error of any eavesdropper, [B]."""
        return self.worst.mse

    @property
    def psnr_db(self) -> Tensor:
        """The highest PSNR of any eavesdropper, [B]."""
        return self.worst.psnr_db

    @property
    def worst(self) -> Leak:
        """The leak to the most successful eavesdropper, row by row and figure by figure."""
        leaks = list(self.leaks.values())
        if len(leaks) == 1:
            return leaks[0]
        extra = {name: torch.stack([leak.extra[name] for leak in leaks]).amax(0) for name in leaks[0].extra}
        mse, psnr_db = (torch.stack([getattr(leak, name) for leak in leaks]) for name in ("mse", "psnr_db"))
        return Leak(mse.amin(0), psnr_db.amax(0), extra)

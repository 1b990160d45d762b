"""What an attacker has: an explicit threat model, and a view that holds just that and denies the rest."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from tosc_env.data.base import Statistics
from tosc_env.errors import DeniedError, InputError
from tosc_env.game import Game, Reception, Round
from tosc_env.policies import Context, PrivacyScheme, SystemSpec

Images = Literal["other-half", "same-half", "other-data"]
KeyKnowledge = Literal["with-pairs", "without-pairs", "with-key"]


@dataclass(frozen=True)
class ThreatModel:
    """What the attacker is given; written beside every figure.

    Attributes:
        images: the attacker's training images: the half of the training split that the system did not
            see, the half it was trained on, or another data set.
        labels: whether those images come with labels and attributes.
        queries: how many times it may have the encoder send a chosen image; None: as often as it likes.
        candidate_queries: whether it may also have the candidates of a re-identification encoded.
        codebook: whether it knows a discrete scheme's codebook and constellation.
        unkeyed_encoder: whether it has the encoder without the key.
        keys: pairs of images and protected symbols, no such pairs, or the key itself.
        csi: whether it knows its own link's state.
    """

    images: Images = "other-half"
    labels: bool = True
    queries: int | None = None
    candidate_queries: bool = False
    codebook: bool = True
    unkeyed_encoder: bool = False
    keys: KeyKnowledge = "with-pairs"
    csi: bool = True

    def __post_init__(self) -> None:
        if self.queries is not None and self.queries < 1:
            raise InputError(
                f"queries must be at least 1, or None for as many as it likes, not {self.queries}."
            )

    def plain(self) -> dict[str, Any]:
        """As plain values, for the record."""
        return asdict(self)

    def __str__(self) -> str:
        queries = "unlimited" if self.queries is None else f"{self.queries:,}"
        extras = [
            name
            for name, has in (("candidate queries", self.candidate_queries), ("key", self.keys == "with-key"))
            if has
        ]
        return (
            f"images: {self.images}; encoder queries: {queries}; own CSI: {'yes' if self.csi else 'no'}"
            + "".join(f"; {e}" for e in extras)
        )


def blinded(reception: Reception, threat: ThreatModel) -> Reception:
    """A reception as the threat model lets the attacker know it: without CSI (zeros) if that is denied."""
    return reception if threat.csi else replace(reception, csi=torch.zeros_like(reception.csi))


class Sender(Protocol):
    """Whatever turns a round's images into symbols: a live scheme, or symbols recorded elsewhere."""

    deterministic: bool
    """Whether an image is always sent as the same symbols, so that they may be cached."""

    def __call__(self, round_: Round, generator: torch.Generator | None) -> Tensor:
        """Symbols [B, 2n] for ``round_.batch``."""


class SchemeSender:
    """A scheme at its transmitter."""

    def __init__(self, scheme: PrivacyScheme) -> None:
        self.scheme = scheme
        self.deterministic = not scheme.stochastic

    @torch.no_grad()
    def __call__(self, round_: Round, generator: torch.Generator | None) -> Tensor:
        context = Context(round_.snr_db, round_.message, generator=generator)
        return self.scheme.encode(round_.batch.images, context).float()


class RecordedSender:
    """Noiseless symbols recorded elsewhere, [N, 2n], in the order of the source's images."""

    deterministic = True

    def __init__(self, symbols: Tensor) -> None:
        self.symbols = symbols

    def __call__(self, round_: Round, generator: torch.Generator | None) -> Tensor:
        return self.symbols[round_.batch.index]


class View:
    """The world as an attacker may know it while it learns.

    Args:
        game: on the attacker's own images, with its link's SNR; the referee's part of it stays hidden.
        sender: the system under attack.
        threat: what is allowed.
        generator: the stream of the channel's randomness.

    Attributes:
        spec: shapes, with the eavesdropper's own CSI.
        queries: how many images the encoder has been asked to send so far.

    Example:
        >>> import torch, tosc_env
        >>> from tosc_env.data import make_source
        >>> scheme = tosc_env.make_scheme("label-only")
        >>> game = Game(make_source("shapes", half="attacker"))
        >>> view = View(game, SchemeSender(scheme), ThreatModel(queries=100), torch.Generator().manual_seed(0))
        >>> reception, images = view.sample(torch.arange(8))
        >>> reception.received.shape, images.shape, view.num_images
        (torch.Size([8, 128]), torch.Size([8, 3, 32, 32]), 100)
    """

    batch_size = 500

    def __init__(self, game: Game, sender: Sender, threat: ThreatModel, generator: torch.Generator) -> None:
        self.spec: SystemSpec = game.spec
        self.threat = threat
        self.queries = 0
        self._game, self._sender, self._generator = game, sender, generator
        self._symbols: Tensor | None = None

    @property
    def device(self) -> torch.device:
        """Where all tensors are."""
        return self._game.device

    @property
    def num_images(self) -> int:
        """How many of the attacker's images it can pair with symbols within its query budget."""
        total = len(self._game.source)
        return total if self.threat.queries is None else min(total, self.threat.queries)

    @property
    def statistics(self) -> Statistics:
        """Mean image and the like of the data set; no class means when the threat model gives no labels."""
        known = self._game.source.statistics
        return known if self.threat.labels else replace(known, class_mean_images=known.mean_image[None])

    @property
    def snr_db(self) -> Any:
        """The range of the eavesdropper's own SNR (:class:`~tosc_env.snr.SNRRange`)."""
        return self._game.eavesdropper_snr_db or self._game.snr_db

    @property
    def fading(self) -> bool:
        """Whether the eavesdropper's link fades; without fading, noise of known power is all that it adds."""
        return self._game.channel.fading

    @property
    def deterministic(self) -> bool:
        """Whether an image is always sent as the same symbols, as an attacker can find out by asking twice."""
        return self._sender.deterministic

    @property
    def constellation(self) -> Tensor | None:
        """The points of a discrete scheme, complex64 [M]; DeniedError when the threat model hides them."""
        if self._game.points is not None and not self.threat.codebook:
            raise DeniedError("the threat model denies the codebook and constellation (codebook=False).")
        return self._game.points

    def images(self, index: Tensor) -> Tensor:
        """The attacker's own images, float32 [B, C, H, W]; index int64 [B] below :attr:`num_images`."""
        return self._game.source.gather(index).images

    def labels(self, index: Tensor) -> Tensor:
        """Their task targets; DeniedError when the threat model gives none."""
        if not self.threat.labels:
            raise DeniedError("the threat model denies the labels of the attacker's images (labels=False).")
        return self._game.task.targets(self._game.source.gather(index))

    def attributes(self, index: Tensor) -> Tensor:
        """Their private attributes, int64 [B, A]; DeniedError when the threat model gives none."""
        if not self.threat.labels:
            raise DeniedError(
                "the threat model denies the attributes of the attacker's images (labels=False)."
            )
        return self._game.source.gather(index).attributes

    def symbols(self, index: Tensor) -> Tensor:
        """Noiseless symbols [B, 2n] that the encoder sends for the attacker's images, each a counted query.

        A deterministic sender is asked once per image and remembered, so repeated use costs one query.

        Raises:
            DeniedError: the query budget is spent, or an image beyond it is asked for.
        """
        if not self._sender.deterministic:
            return self._query(index, self._generator)
        if (
            self.threat.queries is not None
            and len(index)
            and not 0 <= int(index.min()) <= int(index.max()) < self.num_images
        ):
            raise DeniedError(
                f"the threat model lets the attacker have its first {self.num_images} images sent; image "
                f"{int(index.max())} is asked for."
            )
        if self._symbols is None:
            whole = torch.arange(self.num_images, device=self.device)
            # A stream of its own: whether the cache is filled must not move what the attacker hears later.
            aside = torch.Generator(self.device).manual_seed(0)
            self._symbols = torch.cat([self._query(part, aside) for part in whole.split(self.batch_size)])
        return self._symbols[index]

    def sample(self, index: Tensor) -> tuple[Reception, Tensor]:
        """Fresh receptions of the attacker's images over its own link, and the images [B, C, H, W].

        The CSI is all zeros when the threat model denies it.
        """
        round_ = self._game.draw(len(index), generator=self._generator, index=index)
        heard = self._game.transmit(round_, self.symbols(index)).eavesdropper
        return blinded(heard, self.threat), round_.batch.images

    def _query(self, index: Tensor, generator: torch.Generator) -> Tensor:
        budget = self.threat.queries
        if budget is not None and self.queries + len(index) > budget:
            raise DeniedError(
                f"the threat model allows {budget} encoder queries; {self.queries} are spent and {len(index)} "
                "more are asked for."
            )
        self.queries += len(index)
        round_ = self._game.draw(len(index), generator=generator, index=index)
        return self._game.normalise(self._sender(round_, generator))

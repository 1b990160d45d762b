"""Who turns images into symbols when an attacker learns or a system is measured, outside of any environment."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from tosc_env.data.base import Batch
from tosc_env.game import Reception, Round
from tosc_env.policies import Context, PrivacyScheme
from tosc_env.threat import ThreatModel, blinded


class Sender(ABC):
    """Whatever turns a round's images into symbols: a live scheme, or symbols recorded elsewhere.

    Attributes:
        deterministic: whether an image is always sent as the same symbols, so that they may be cached.
        keyed: whether a secret key is at work, so that every message needs a number of its own.
        constellation: the name of a discrete sender's constellation.
    """

    deterministic: bool = True
    keyed: bool = False
    constellation: str | None = None

    def __call__(self, round_: Round, generator: torch.Generator | None) -> Tensor:
        """Symbols [B, 2n] for ``round_.batch``, before the game's power constraint."""
        return self.emit(self.prepare(round_.batch), round_, generator)

    @abstractmethod
    def prepare(self, batch: Batch) -> Tensor:
        """What may be remembered of each image, so that sending it again costs no network, [B, ...]."""

    @abstractmethod
    def emit(self, prepared: Tensor, round_: Round, generator: torch.Generator | None) -> Tensor:
        """Symbols [B, 2n] from what :meth:`prepare` gave."""

    def unkeyed(self, round_: Round, generator: torch.Generator | None) -> Tensor:
        """The symbols [B, 2n] without the key."""
        return self(round_, generator)

    def remove_key(self, reception: Reception, round_: Round) -> Reception:
        """A reception as whoever knows the key sees it."""
        return reception

    def codebook(self) -> Tensor | None:
        """The codewords [M, d] of a discrete scheme, or None."""
        return None


class SchemeSender(Sender):
    """A scheme at its transmitter."""

    def __init__(self, scheme: PrivacyScheme) -> None:
        self.scheme = scheme
        self.deterministic = not scheme.stochastic
        self.keyed = scheme.keyed
        self.constellation = scheme.constellation

    @torch.no_grad()
    def prepare(self, batch: Batch) -> Tensor:
        return self.scheme.features(batch.images)

    @torch.no_grad()
    def emit(self, prepared: Tensor, round_: Round, generator: torch.Generator | None) -> Tensor:
        return self.scheme.emit(prepared, context_of(round_, generator)).float()

    @torch.no_grad()
    def unkeyed(self, round_: Round, generator: torch.Generator | None) -> Tensor:
        return self.scheme.unkeyed(round_.batch.images, context_of(round_, generator)).float()

    @torch.no_grad()
    def remove_key(self, reception: Reception, round_: Round) -> Reception:
        context = context_of(round_, None)
        return replace(reception, received=self.scheme.remove_key(reception.received, reception.csi, context))

    def codebook(self) -> Tensor | None:
        return self.scheme.codebook()


class RecordedSender(Sender):
    """Noiseless symbols recorded elsewhere, [N, 2n], in the order of the source's images."""

    def __init__(self, symbols: Tensor) -> None:
        self.symbols = symbols

    def prepare(self, batch: Batch) -> Tensor:
        return self.symbols[batch.index]

    def emit(self, prepared: Tensor, round_: Round, generator: torch.Generator | None) -> Tensor:
        return prepared


def context_of(round_: Round, generator: torch.Generator | None) -> Context:
    """What both ends know of a round outside of any environment, whose number is therefore 0."""
    return Context(round_.snr_db, round_.message, generator=generator)


def numbered(round_: Round, sender: Sender, generator: torch.Generator | None) -> Round:
    """The round with message numbers that no other round has, if the sender is keyed.

    Outside an environment every batch would start from row 0, message 0, and a per-message key would be used
    again and again. The numbers come from the caller's own stream, so that a resumed run goes on with fresh ones.
    """
    if not sender.keyed:
        return round_
    message = round_.message.clone()
    message[:, 1:] = torch.randint(2**32, (1, 2), generator=generator, device=message.device)
    return replace(round_, message=message)


def heard(reception: Reception, round_: Round, sender: Sender, threat: ThreatModel) -> Reception:
    """A reception as the threat model lets the attacker know it: with or without its CSI and the key."""
    if threat.keys == "with-key":
        reception = sender.remove_key(reception, round_)
    return blinded(reception, threat)

"""A scheme at work outside of any environment: message numbers, contexts, receptions, symbols recorded elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tosc_env.data.base import Source
from tosc_env.errors import DeniedError, InputError
from tosc_env.pipeline import Pipeline
from tosc_env.privacy.threat import ThreatModel, blinded
from tosc_env.schemes import PrivacyScheme, listed
from tosc_env.types import Context, Reception, Round, SystemSpec


class Recorded(Pipeline):
    """Noiseless symbols recorded elsewhere, [N, 2n], in the order of the source's images, in place of a scheme.

    They come without an encoder and without a receiver.

    Args:
        symbols: float32 [N, 2n].

    Raises:
        DeniedError: an image is to be encoded, or a reception decoded.
    """

    symbols: Tensor

    def __init__(self, symbols: Tensor) -> None:
        super().__init__(_Recording(SystemSpec((1, 1, 1), 1, symbols.shape[1] // 2)))
        self.register_buffer("symbols", symbols, persistent=False)

    @property
    def stochastic(self) -> bool:
        return False

    def with_stages(self, stages: Any) -> Pipeline:
        if listed("stages", stages):
            raise InputError("recorded symbols were sent as they are: no stage can be added to them.")
        return self

    def _bare(self, source: Source, index: Tensor, context: Context) -> Tensor:
        return self.symbols[index]


class _Recording(PrivacyScheme):
    name = "recorded"

    def encode(self, images: Tensor, context: Context) -> Tensor:
        raise DeniedError("recorded symbols come without an encoder, so no image can be encoded.")

    def decode(self, received: Tensor, csi: Tensor, context: Context) -> Tensor:
        raise DeniedError("recorded symbols come without a receiver, so no reception can be decoded.")


class Outside(PrivacyScheme):
    """The backbone of a system whose transmitter and receiver are both played from outside: stages stand behind it."""

    name = "outside"

    def __init__(self, spec: SystemSpec, constellation: str | None = None) -> None:
        super().__init__(spec)
        self.constellation = constellation

    def encode(self, images: Tensor, context: Context) -> Tensor:
        raise DeniedError("the transmitter is played from outside; no policy encodes for it.")

    def decode(self, received: Tensor, csi: Tensor, context: Context) -> Tensor:
        raise DeniedError("the receiver is played from outside; no policy decides for it.")


def context_of(round_: Round, generator: torch.Generator | None) -> Context:
    """What both ends know of a round outside of any environment, whose number is therefore 0."""
    return Context(round_.snr_db, round_.message, generator=generator)


def numbered(round_: Round, scheme: Pipeline, generator: torch.Generator | None) -> Round:
    """The round with message numbers that no other round has, if the scheme is keyed.

    Outside an environment every batch would start from row 0, message 0, and a per-message key would be used
    again and again. The numbers come from the caller's own stream, so that a resumed run goes on with fresh ones.
    """
    if not scheme.keyed:
        return round_
    message = round_.message.clone()
    message[:, 1:] = torch.randint(2**32, (1, 2), generator=generator, device=message.device)
    return replace(round_, message=message)


@torch.no_grad()
def heard(reception: Reception, round_: Round, scheme: Pipeline, threat: ThreatModel) -> Reception:
    """A reception as the threat model lets the attacker know it: with or without its CSI and the key."""
    if threat.keys == "with-key":
        context = context_of(round_, None)
        with torch.autocast(reception.received.device.type, enabled=False):
            bare = scheme.without_key(reception.received, reception.csi, context)
        reception = replace(reception, received=bare)
    return blinded(reception, threat)

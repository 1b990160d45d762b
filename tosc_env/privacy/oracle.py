"""Encoders that an attacker may ask, in place of a scheme."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tosc_env.data.base import Source
from tosc_env.errors import DeniedError, InputError
from tosc_env.pipeline import Pipeline
from tosc_env.schemes import PrivacyScheme, listed
from tosc_env.types import Context, SystemSpec


class Recorded(Pipeline):
    """Noiseless symbols recorded elsewhere, [N, 2n], in the order of the source's images, in place of a scheme.

    They come without an encoder and without a receiver.

    Args:
        symbols: float32 [N, 2n].

    Raises:
        DeniedError: an image is to be encoded, or a reception decoded.
    """

    symbols: Tensor
    receives = False

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

    def _bare(self, source: Source, index: Tensor, context: Context, ahead: bool) -> Tensor:
        return self.symbols[index]


class _Recording(PrivacyScheme):
    name = "recorded"

    def encode(self, images: Tensor, context: Context) -> Tensor:
        raise DeniedError("recorded symbols come without an encoder, so no image can be encoded.")

    def decode(self, received: Tensor, csi: Tensor, context: Context) -> Tensor:
        raise DeniedError("recorded symbols come without a receiver, so no reception can be decoded.")

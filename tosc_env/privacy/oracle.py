"""Encoder oracles in place of a scheme."""

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

    Args:
        symbols: float32 [N, 2n].

    Raises:
        DeniedError: an image is to be encoded, or a reception decoded.
    """

    symbols: Tensor
    receives = False

    def __init__(self, symbols: Tensor) -> None:
        spec = SystemSpec((1, 1, 1), 1, symbols.shape[1] // 2)
        super().__init__(Absent(spec, "recorded", "recorded symbols come without an encoder and a receiver"))
        self.register_buffer("symbols", symbols, persistent=False)

    @property
    def stochastic(self) -> bool:
        return False

    def with_stages(self, stages: Any) -> Pipeline:
        if listed("stages", stages):
            raise InputError("recorded symbols were sent as they are: no stage can be added to them.")
        return self

    def _backbone_symbols(self, source: Source, index: Tensor, context: Context, ahead: bool) -> Tensor:
        return self.symbols[index]


class Absent(PrivacyScheme):
    """The backbone of symbols from elsewhere: it neither encodes nor decodes, for a reason."""

    def __init__(self, spec: SystemSpec, name: str, reason: str, constellation: str | None = None) -> None:
        super().__init__(spec)
        self.name, self.reason, self.constellation = name, reason, constellation

    def encode(self, images: Tensor, context: Context) -> Tensor:
        raise DeniedError(f"{self.reason}, so no image can be encoded.")

    def decode(self, received: Tensor, csi: Tensor, context: Context) -> Tensor:
        raise DeniedError(f"{self.reason}, so no reception can be decoded.")

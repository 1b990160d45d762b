"""Encoder oracles in place of a scheme."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tosc_env.data.base import Source, content_numbers
from tosc_env.errors import DeniedError, InputError
from tosc_env.pipeline import Pipeline
from tosc_env.schemes import PrivacyScheme, listed
from tosc_env.types import Context, SystemSpec


class Recorded(Pipeline):
    """Noiseless symbols recorded elsewhere, float32 [N, 2n], in the order of the source's images, in place of a scheme.

    Raises DeniedError where an image is to be encoded of which no symbols are recorded (:meth:`remember`), or a
    reception decoded.
    """

    symbols: Tensor
    receives = False
    _known: tuple[Tensor, Tensor] | None = None

    def __init__(self, symbols: Tensor) -> None:
        spec = SystemSpec((1, 1, 1), 1, symbols.shape[1] // 2)
        super().__init__(Absent(spec, "recorded", "recorded symbols come without an encoder and a receiver"))
        self.register_buffer("symbols", symbols, persistent=False)

    @property
    def stochastic(self) -> bool:
        return False

    def remember(self, source: Source, symbols: Tensor) -> None:
        """Know the recorded symbols [N, 2n] of a source's images, so that these can be encoded by who is given them."""
        index = torch.arange(len(source), device=source.device)
        numbers = torch.cat([content_numbers(source.gather(part).images)[:, 0] for part in index.split(1000)])
        numbers, order = numbers.contiguous().sort()
        self._known = numbers, symbols[order]

    def encode(self, images: Tensor, context: Context) -> Tensor:
        if self._known is None:
            return super().encode(images, context)
        numbers, symbols = self._known
        wanted = content_numbers(images)[:, 0].contiguous()
        place = torch.searchsorted(numbers, wanted).clamp_max(len(numbers) - 1)
        if not torch.equal(numbers[place], wanted):
            raise DeniedError("of some of these images no symbols are recorded, so they cannot be encoded.")
        return symbols[place]

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

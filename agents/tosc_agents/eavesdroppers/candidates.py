"""The symbols of candidates that are encoded while an attacker matches."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor

from tosc_env.errors import InputError

REMEMBERED = 32
"""Sets of candidates whose symbols are remembered."""


class Remembered:
    """The symbols of the last sets of candidates, so that none is encoded again while it is among them."""

    def __init__(self) -> None:
        self._sets: OrderedDict[bytes, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sets)

    def clear(self) -> None:
        """Forget all."""
        self._sets.clear()

    def symbols(
        self, name: str, candidates: Tensor, encode: Callable[[Tensor], Tensor] | None, encodings: int
    ) -> Tensor:
        """The candidates' symbols [R, N, 2n], of R encodings each, from memory where they are known.

        InputError, which names the attacker, where there is no encoder.
        """
        if encode is None:
            raise InputError(
                f"the eavesdropper {name!r} has the candidates encoded while it attacks, and a checkpoint "
                "holds no encoder; fit it to its view first."
            )
        # By content: a tensor's address is soon another's.
        key = hashlib.blake2b(candidates.detach().cpu().contiguous().numpy().tobytes()).digest()
        if key not in self._sets:
            parts = [torch.cat([encode(part) for part in candidates.split(500)]) for _ in range(encodings)]
            self._sets[key] = torch.stack(parts)
        self._sets.move_to_end(key)
        while len(self._sets) > REMEMBERED:
            self._sets.popitem(last=False)
        return self._sets[key]

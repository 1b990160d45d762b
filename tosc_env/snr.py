"""A link's SNR: a number, a list of choices, or a range, drawn once per episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from tosc_env.errors import InputError, shown

SNR = float | Sequence[float] | Mapping[str, float]
MAX_DB = 300
"""Beyond this the noise power leaves float32, and receptions would be infinite."""

_FORMS = f'a number from {-MAX_DB} to {MAX_DB} dB, a list of numbers, or {{"low": number, "high": number}}'


@dataclass(frozen=True)
class SNRRange:
    """Es/N0 per complex symbol in dB, as one of ``choices`` or uniform in [low, high].

    >>> SNRRange.parse([0, 12]).choices
    (0.0, 12.0)
    """

    low: float
    high: float
    choices: tuple[float, ...] = ()

    @classmethod
    def parse(cls, value: object, name: str = "snr_db") -> SNRRange:
        """Make a range from any of its written forms; numbers within :data:`MAX_DB` either way."""
        if isinstance(value, SNRRange):
            return value
        if isinstance(value, Mapping):
            if set(value) != {"low", "high"}:
                raise InputError(f"{name} must be {_FORMS}, not {shown(dict(value))}.")
            low, high = (_finite(value[k], name) for k in ("low", "high"))
            if low > high:
                raise InputError(f"{name} has a reversed range: low {low:g} is above high {high:g}.")
            return cls(low, high)
        if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
            choices = tuple(_finite(v, name) for v in value)
            if not choices:
                raise InputError(f"{name} must be {_FORMS}, not an empty list.")
            return cls(min(choices), max(choices), choices)
        number = _finite(value, name)
        return cls(number, number, (number,))

    @property
    def constant(self) -> float | None:
        """The SNR when it is one number, else None."""
        return self.low if self.low == self.high else None

    def draw(
        self, batch_size: int, generator: torch.Generator | None, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Draw one SNR per row, float32 [B]; takes B numbers from the stream, also for a constant."""
        u = torch.rand(batch_size, generator=generator, device=device)
        if self.choices:
            table = _table(self.choices, str(device))
            return table[(u * len(self.choices)).long().clamp_max(len(self.choices) - 1)]
        return self.low + (self.high - self.low) * u

    def __str__(self) -> str:
        if self.constant is not None:
            return f"{self.low:g}"
        listing = ", ".join(f"{choice:g}" for choice in self.choices)
        return f"{{{listing}}}" if listing else f"{self.low:g}..{self.high:g}"

    def plain(self) -> float | list[float] | dict[str, float]:
        """Return the range as plain values, for a file."""
        if self.constant is not None:
            return self.low
        return list(self.choices) if self.choices else {"low": self.low, "high": self.high}


@lru_cache(maxsize=64)
def _table(choices: tuple[float, ...], device: str) -> Tensor:
    # Kept, because a copy of numbers to a GPU waits for all work queued on it; read only.
    with torch.inference_mode(False):
        return torch.tensor(choices, dtype=torch.float32, device=device)


def _finite(value: object, name: str) -> float:
    scalar = isinstance(value, np.ndarray | Tensor) and not isinstance(value, np.ma.MaskedArray)
    if scalar and value.ndim == 0:  # type: ignore[attr-defined]
        with suppress(RuntimeError):  # a tensor on the device "meta" has no number
            value = value.item()  # type: ignore[attr-defined]
    if isinstance(value, bool) or not isinstance(value, Real) or not -MAX_DB <= value <= MAX_DB:  # type: ignore[operator]
        raise InputError(f"{name} must be {_FORMS}, not {shown(value)}.")
    return float(value)

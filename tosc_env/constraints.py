"""Constraints of a transmission: each takes symbols [B, 2n] to symbols as they are sent."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from tosc_env.modulation import check_points, constellation_points

ENERGY_EPSILON = 1e-12
MIN_PEAK = 1e-6

Constraint = Callable[[Tensor], Tensor]
"""From symbols float [B, 2n] to symbols as they may be sent, float32 [B, 2n]."""


def mean_power(symbols: Tensor) -> Tensor:
    """Symbols scaled to unit mean energy per message; all zeros stay zeros.

    >>> mean_power(torch.tensor([[3.0, 0.0, 0.0, 4.0]])).square().sum() / 2
    tensor(1.)
    """
    symbols = symbols.float()
    # Scaled first, so that neither huge nor tiny symbols leave float32 when squared; the result does not depend on
    # the scale, so no gradient is lost by detaching it.
    symbols = symbols / symbols.detach().abs().amax(1, keepdim=True).clamp_min(MIN_PEAK)
    energy = symbols.square().sum(1, keepdim=True) / (symbols.shape[1] // 2)
    return symbols * torch.rsqrt(energy + ENERGY_EPSILON)


def constraint_of(constellation: str | None) -> Constraint:
    """:func:`mean_power` for symbols of any value (None), else that each is a point of the constellation."""
    if constellation is None:
        return mean_power
    constellation_points(constellation)
    return partial(_checked_points, constellation)


def _checked_points(constellation: str, symbols: Tensor) -> Tensor:
    symbols = symbols.float()
    check_points(symbols.detach(), constellation_points(constellation, device=symbols.device), constellation)
    return symbols

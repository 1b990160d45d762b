"""Square QAM on Gray-labelled constellations, Sionna's and 3GPP's: points, modulation, hard decisions, error rate.

A square M-QAM is the product of two Gray-labelled PAMs of ``sqrt(M)`` equidistant levels, so everything here works
axis by axis.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tosc_env.async_checks import current_checks
from tosc_env.devices import resolve_device
from tosc_env.errors import InputError, shown, unknown

CONSTELLATIONS = {"qpsk": 4, "4qam": 4, "16qam": 16, "64qam": 64, "256qam": 256}
"""The names of the constellations and their numbers of points."""

TOLERANCE = 1e-4
"""How far I and Q of a symbol may lie from a point's, to allow for arithmetic in float32."""


def constellation_points(name: str, device: torch.device | str = "cpu") -> Tensor:
    """The points of a constellation of :data:`CONSTELLATIONS`, complex64 [M] of unit mean energy.

    ``points[i]`` carries the bits of ``i`` (most significant first), with the Gray labels of 3GPP TS 38.211,
    section 5.1, as Sionna's ``Constellation`` has them.  The tensor is shared by all callers: do not write to it.

    Example:
        >>> points = constellation_points("16qam")
        >>> points.shape, round(points.abs().square().mean().item(), 5)
        (torch.Size([16]), 1.0)
    """
    if not isinstance(name, str) or name not in CONSTELLATIONS:
        raise unknown("constellation", name, CONSTELLATIONS)
    where = device if isinstance(device, torch.device) else resolve_device(device)
    return _points(CONSTELLATIONS[name], str(where))[0]


class _Grid(NamedTuple):
    """A square QAM seen as a grid: ``side`` levels ``(2 k - side + 1) * step`` per axis."""

    side: int
    step: float
    table: Tensor
    """int64 [M]: the point's index at ``side * k_I + k_Q``."""


@lru_cache(maxsize=32)
def _points(num_points: int, device: str) -> tuple[Tensor, _Grid]:
    # A tensor made in inference mode could never take part in training later on, and this one is kept.
    with torch.inference_mode(False), torch.no_grad():
        bits = num_points.bit_length() - 1
        signs = 1.0 - 2.0 * (torch.arange(num_points)[:, None] >> torch.arange(bits - 1, -1, -1) & 1)
        # I has the even bits, Q the odd ones: for 16 points (1 - 2 b0) (2 - (1 - 2 b2)) and so on.
        level = torch.zeros(num_points, 2)
        for pair in reversed(range(0, bits, 2)):
            level = signs[:, pair : pair + 2] * (2.0 ** ((bits - pair) // 2 - 1) - level)
        # NumPy's division of complex numbers, as in Sionna, whose last bits it gives.
        scale = np.sqrt(np.float32(2.0 * (num_points - 1) / 3.0))
        points = torch.from_numpy(torch.view_as_complex(level).numpy() / scale)
        # Of the points on the CPU: those on a GPU would have to be read back.
        axes, side = torch.view_as_real(points), math.isqrt(num_points)
        step = axes.max().item() / (side - 1)
        at = _nearest(axes, side, step)
        table = (side * at[:, 0] + at[:, 1]).long().argsort()
        return points.to(device), _Grid(side, step, table.to(device))


def constellation_for(num_points: int) -> str:
    """The name of the QAM with ``num_points`` points; InputError where there is none.

    >>> constellation_for(16)
    '16qam'
    >>> constellation_for(32)
    Traceback (most recent call last):
    ...
    tosc_env.errors.InputError: there is no square QAM of 32 points; choose 4, 16, 64 or 256.
    """
    for name, size in CONSTELLATIONS.items():
        if size == num_points and not isinstance(num_points, bool):
            return name
    raise InputError(f"there is no square QAM of {num_points!r} points; choose 4, 16, 64 or 256.")


def _grid(points: Tensor) -> _Grid:
    """The grid of a constellation given by its points; InputError for any others."""
    if points.numel() in CONSTELLATIONS.values():
        known, grid = _points(points.numel(), str(points.device))
        # To compare the numbers, a GPU has to be waited for.
        if points is known or (points.dtype == known.dtype and torch.equal(points, known)):
            return grid
    raise InputError(f"points must be those of a QAM, as of constellation_points, not {shown(points)}.")


def _nearest(values: Tensor, side: int, step: float) -> Tensor:
    """The number k of the nearest level, as floats; NaN stays NaN."""
    return values.mul(0.5 / step).add_(0.5 * (side - 1)).round_().clamp_(0, side - 1)


def _level(number: Tensor, side: int, step: float) -> Tensor:
    return number.mul(2 * step).sub_((side - 1) * step)


def check_points(symbols: Tensor, points: Tensor, name: str = "the constellation") -> None:
    """Raise InputError, which names the first, when a symbol float [B, 2n] is none of the points complex64 [M].

    I and Q may each be :data:`TOLERANCE` away from a point's. Within
    :meth:`~tosc_env.async_checks.AsyncChecks.collect` the error comes later.

    >>> points = constellation_points("qpsk")
    >>> check_points(torch.zeros(1, 4), points, "qpsk")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    tosc_env.errors.InputError: symbol 0 of message 0 is 0+0j, no point of 'qpsk': I and Q must ...
    """
    _check_interleaved(symbols, "symbols")
    side, step, _ = _grid(points)
    values = symbols.detach()
    error = _level(_nearest(values, side, step), side, step).sub_(values).abs_()
    # Written so that NaN, which compares false with everything, is caught as well.
    right = error <= TOLERANCE
    checks = current_checks()
    if checks is not None:
        checks.add(~right.all(), f"a symbol was no point of {name!r}.")
        return
    if right.all():
        return
    row, column = (~right).nonzero()[0].tolist()
    use = column // 2
    real, imag = values[row, 2 * use : 2 * use + 2].tolist()
    levels = ", ".join(f"{_level(torch.tensor(float(k)), side, step).item():.4g}" for k in range(side))
    raise InputError(
        f"symbol {use} of message {row} is {real:.4g}{imag:+.4g}j, no point of {name!r}: "
        f"I and Q must each be one of {levels}."
    )


def modulate(indices: Tensor, points: Tensor) -> Tensor:
    """Symbols float32 [B, 2n], I and Q interleaved, from the indices int64 [B, n] of their points, complex [M].

    InputError for an index not in [0, M); within :meth:`~tosc_env.async_checks.AsyncChecks.collect` it comes later.

    >>> modulate(torch.tensor([[0, 3]]), constellation_points("qpsk"))
    tensor([[ 0.7071,  0.7071, -0.7071, -0.7071]])
    """
    if indices.dim() != 2 or indices.dtype.is_floating_point or indices.dtype.is_complex:
        raise InputError(f"indices must be whole numbers [B, n], not {shown(indices)}.")
    if indices.numel():
        # Checked here because on a GPU a wrong index poisons the whole process.
        last, checks = len(points) - 1, current_checks()
        if checks is not None:
            inside = indices.clamp(0, last)
            checks.add((inside != indices).any(), f"an index did not lie in [0, {last}].")
            indices = inside
        else:
            low, high = (int(bound) for bound in indices.aminmax())
            if low < 0 or high > last:
                raise InputError(f"indices must lie in [0, {last}], not {low if low < 0 else high}.")
    return torch.view_as_real(points[indices.long()]).flatten(1)


def hard_decision(received: Tensor, points: Tensor) -> Tensor:
    """The index of the nearest of the points complex64 [M] for each received symbol, float [B, 2n] -> int64 [B, n].

    This is the maximum-likelihood decision for equally likely symbols over AWGN or after zero forcing; an MMSE
    equaliser shrinks the symbols by ``|h|^2 / (|h|^2 + N0)``, which has to be undone first
    (:func:`~tosc_env.channels.base.to_constellation`). NaN gives some valid index.

    >>> points = constellation_points("16qam")
    >>> indices = torch.arange(16)[None]
    >>> bool((hard_decision(modulate(indices, points) + 0.3, points) == indices).all())
    True
    """
    _check_interleaved(received, "received")
    side, step, table = _grid(points)
    # NaN would turn into an index far out of the table.
    at = _nearest(received.detach(), side, step).nan_to_num_(0.0)
    cell = torch.add(at[:, 1::2], at[:, 0::2], alpha=side).int()
    return table.index_select(0, cell.flatten()).unflatten(0, cell.shape)


def histogram(symbols: Tensor, points: Tensor) -> Tensor:
    """Number of symbols nearest to each of the points [M], float32 [B, 2n] -> [B, M].

    >>> histogram(torch.tensor([[1.0, 1.0, 0.9, 0.8, -1.0, -1.0]]), constellation_points("4qam"))
    tensor([[2., 0., 0., 1.]])
    """
    decided = hard_decision(symbols, points).long()
    counts = torch.zeros(len(symbols), len(points), device=symbols.device)
    return counts.scatter_add_(1, decided, torch.ones_like(decided, dtype=counts.dtype))


def peak(points: Tensor) -> float:
    """The largest absolute I or Q of a constellation."""
    return torch.view_as_real(points.detach()).abs().max().item()


def _check_interleaved(values: Tensor, name: str) -> None:
    if values.dim() != 2 or values.shape[1] % 2 or not values.is_floating_point():
        raise InputError(f"{name} must be real numbers [B, 2n], I and Q interleaved, not {shown(values)}.")

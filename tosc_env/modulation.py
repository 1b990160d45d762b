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
from torch.utils.weak import WeakIdKeyDictionary

from tosc_env.async_checks import current_checks
from tosc_env.devices import resolve_device
from tosc_env.errors import InputError, unknown

CONSTELLATIONS = {"qpsk": 4, "4qam": 4, "16qam": 16, "64qam": 64, "256qam": 256}
"""The names of the constellations and their numbers of points."""

TOLERANCE = 1e-4
"""How far I and Q of a symbol may lie from a point's, to allow for arithmetic in float32."""


def constellation_points(name: str, device: torch.device | str = "cpu") -> Tensor:
    """The points of a constellation, complex64 [M] of unit mean energy.

    ``points[i]`` carries the bits of ``i`` (most significant first), with the Gray labels of 3GPP TS 38.211,
    section 5.1, as Sionna's ``Constellation`` has them.  The tensor is shared by all callers: do not write to it.

    Args:
        name: ``"qpsk"`` (or ``"4qam"``), ``"16qam"``, ``"64qam"`` or ``"256qam"``.
        device: where the points are wanted.

    Raises:
        InputError: an unknown name.

    Example:
        >>> points = constellation_points("16qam")
        >>> points.shape, round(points.abs().square().mean().item(), 5)
        (torch.Size([16]), 1.0)
    """
    if not isinstance(name, str) or name not in CONSTELLATIONS:
        raise unknown("constellation", name, CONSTELLATIONS)
    where = device if isinstance(device, torch.device) else resolve_device(device)
    return _points(CONSTELLATIONS[name], str(where))


@lru_cache(maxsize=32)
def _points(num_points: int, device: str) -> Tensor:
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
        found = torch.from_numpy(torch.view_as_complex(level).numpy() / scale)
        points = found.to(device)
        # From the points on the CPU: those on a GPU would have to be read back.
        side, step, table = _find_grid(found)
        _grids[points] = points._version, _Grid(side, step, table.to(device))
        return points


def constellation_for(num_points: int) -> str:
    """The name of the QAM with ``num_points`` points.

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


class _Grid(NamedTuple):
    """A square QAM seen as a grid: ``side`` levels ``(2 k - side + 1) * step`` per axis."""

    side: int
    step: float
    table: Tensor
    """int64 [M]: the point's index at ``side * k_I + k_Q``."""


_grids: WeakIdKeyDictionary = WeakIdKeyDictionary()
"""The grid of every tensor of points that is still alive, and the version of the tensor it was found in."""


def _grid(points: Tensor) -> _Grid:
    """The grid of a square QAM given by its points; InputError when they form none."""
    known = _grids.get(points)
    if known is None or known[0] != points._version:
        # Found once per tensor: it takes a quarter of a decision's time, and the host waits to read points on a GPU.
        known = _grids[points] = (points._version, _find_grid(points))
    return known[1]


def _find_grid(points: Tensor) -> _Grid:
    size = points.numel()
    side = math.isqrt(size)
    if points.dim() != 1 or not points.is_complex() or side < 2 or side * side != size:
        raise InputError(
            f"points must be those of a square QAM, complex [M] with M = 4, 16, 64 or 256, not "
            f"{str(points.dtype).removeprefix('torch.')} {list(points.shape)}."
        )
    axes = torch.view_as_real(points.detach())
    step = axes.max().item() / (side - 1)
    at = _nearest(axes, side, step)
    offset = (axes - _level(at, side, step)).abs().max().item()
    # The position of each point on the grid, and the inverse of that permutation.
    order, table = torch.sort((side * at[:, 0] + at[:, 1]).long())
    if not offset <= TOLERANCE or not torch.equal(order, torch.arange(size, device=points.device)):
        raise InputError("points must be those of a square QAM: a full grid of equidistant levels.")
    return _Grid(side, step, table)


def _nearest(values: Tensor, side: int, step: float) -> Tensor:
    """The number k of the nearest level, as floats; NaN stays NaN."""
    return values.mul(0.5 / step).add_(0.5 * (side - 1)).round_().clamp_(0, side - 1)


def _level(number: Tensor, side: int, step: float) -> Tensor:
    return number.mul(2 * step).sub_((side - 1) * step)


def check_points(symbols: Tensor, points: Tensor, name: str = "the constellation") -> None:
    """Raise InputError when a symbol is none of the points.

    Args:
        symbols: float [B, 2n], I and Q interleaved.
        points: complex [M] of a square QAM.
        name: the constellation's name, for the message.

    Raises:
        InputError: I or Q of a symbol is further than 1e-4 from every level, or is not a number. The message
            names the first such symbol. Within :meth:`~tosc_env.async_checks.AsyncChecks.collect` it comes later.

    Example:
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

    Raises:
        InputError: an index not in [0, M); within :meth:`~tosc_env.async_checks.AsyncChecks.collect` it comes later.

    Example:
        >>> modulate(torch.tensor([[0, 3]]), constellation_points("qpsk"))
        tensor([[ 0.7071,  0.7071, -0.7071, -0.7071]])
    """
    if indices.dim() != 2 or indices.dtype.is_floating_point or indices.dtype.is_complex:
        raise InputError(
            f"indices must be whole numbers [B, n], not {str(indices.dtype).removeprefix('torch.')} "
            f"{list(indices.shape)}."
        )
    if indices.numel():
        # Checked here because on a GPU a wrong index poisons the whole process.
        checks = current_checks()
        if checks is not None:
            inside = indices.clamp(0, len(points) - 1)
            checks.add((inside != indices).any(), f"an index did not lie in [0, {len(points) - 1}].")
            indices = inside
        else:
            low, high = (int(bound) for bound in indices.aminmax())
            if low < 0 or high >= len(points):
                worst = low if low < 0 else high
                raise InputError(f"indices must lie in [0, {len(points) - 1}], not {worst}.")
    return torch.view_as_real(points[indices.long()]).flatten(1)


def hard_decision(received: Tensor, points: Tensor) -> Tensor:
    """The index of the nearest point for each received symbol, int64 [B, n].

    This is the maximum-likelihood decision for equally likely symbols over AWGN or after zero forcing; an MMSE
    equaliser shrinks the symbols by ``|h|^2 / (|h|^2 + N0)``, which has to be undone first.

    Args:
        received: float [B, 2n], I and Q interleaved, in the scale of the points. NaN gives some valid index.
        points: complex [M] of a square QAM.

    Raises:
        InputError: the wrong shape, or points that form no grid.

    Example:
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
    """The largest absolute I or Q of a constellation.

    >>> round(peak(constellation_points("256qam")), 4)
    1.1504
    """
    return torch.view_as_real(points.detach()).abs().max().item()


def _check_interleaved(values: Tensor, name: str) -> None:
    if values.dim() != 2 or values.shape[1] % 2 or not values.is_floating_point():
        raise InputError(
            f"{name} must be real numbers [B, 2n], I and Q interleaved, not "
            f"{str(values.dtype).removeprefix('torch.')} {list(values.shape)}."
        )

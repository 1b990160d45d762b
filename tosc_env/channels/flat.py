"""Channels whose links scale every symbol by one complex number: AWGN, Rayleigh and Rician block fading."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from tosc_env.channels.base import Channel, Sizes, complex_normal
from tosc_env.options import Within, check_hint

Decibels = Annotated[float, Within(-100.0, 100.0)]


class AWGN(Channel):
    """Additive white Gaussian noise: ``y = s + n``, noise variance N0/2 per real dimension.

    Example:
        >>> import torch
        >>> channel = AWGN()
        >>> snr_db = torch.tensor([12.0, 0.0])
        >>> link, other = channel.draw([snr_db, snr_db], 64, generator=torch.Generator().manual_seed(0))
        >>> raw = channel.apply(torch.ones(2, 1, 64, dtype=torch.complex64), link)
        >>> raw.shape, channel.observe(raw, link).received.shape
        (torch.Size([2, 1, 64]), torch.Size([2, 128]))
    """

    fading = False

    def __init__(self) -> None:
        super().__init__(equaliser=None)


class Rician(Channel):
    """Rician block fading: a line-of-sight part of constant phase and a scattered, complex Gaussian part.

    ``h = sqrt(K/(K+1)) + sqrt(1/(K+1)) g`` with g circular, E|g|^2 = 1, hence E|h|^2 = 1.  The scattered part at an
    eavesdropper's antenna a is correlated with that at the receiver's antenna a (modulo its number of antennas):
    ``g_E = rho g_B + sqrt(1 - rho^2) g'``.

    Args:
        k_factor_db: K, the power of the line of sight over that of the scattering, in [-100, 100] dB.
        coherence, correlation, equaliser: see :class:`~tosc_env.channels.base.Channel`.

    >>> import torch
    >>> channel = Rician(k_factor_db=6.0, coherence=16)
    >>> snr_db = torch.full((3,), 12.0)
    >>> links = channel.draw([snr_db, snr_db], 64, generator=torch.Generator().manual_seed(0))
    >>> links[0].fades.shape
    torch.Size([3, 1, 1, 4])
    """

    def __init__(
        self,
        *,
        k_factor_db: Decibels = 3.0,
        coherence: int | None = None,
        correlation: float = 0.0,
        equaliser: str | None = "mmse",
    ) -> None:
        super().__init__(coherence=coherence, correlation=correlation, equaliser=equaliser)
        self.k_factor = 10.0 ** (check_hint(k_factor_db, Decibels, "k_factor_db") / 10.0)

    def draw_fades(
        self, sizes: Sizes, generator: torch.Generator | None, device: torch.device
    ) -> Sequence[Tensor]:
        """Independent fades for each block of each message and pair of antennas."""
        rho, reference = self.correlation, sizes[0][1]
        scattered = [complex_normal(*size, generator=generator, device=device) for size in sizes]
        for k, size in enumerate(sizes[1:], 1):
            # The same antennas again where there are more than the receiver has.
            alike = scattered[0]
            if size[1] != reference:
                alike = alike[:, torch.arange(size[1], device=device) % reference]
            scattered[k] = rho * alike + math.sqrt(1.0 - rho * rho) * scattered[k]
        line, spread = math.sqrt(self.k_factor / (self.k_factor + 1)), math.sqrt(1 / (self.k_factor + 1))
        return [line + spread * one for one in scattered]


class Rayleigh(Rician):
    """Rayleigh block fading: Rician without a line of sight, so |h|^2 is exponential with mean 1.

    >>> import torch
    >>> channel = Rayleigh(correlation=1.0)
    >>> snr_db = torch.full((5,), 12.0)
    >>> one, other = channel.draw([snr_db, snr_db], 64, generator=torch.Generator().manual_seed(0))
    >>> bool((one.fades == other.fades).all())
    True
    """

    def __init__(
        self, *, coherence: int | None = None, correlation: float = 0.0, equaliser: str | None = "mmse"
    ) -> None:
        super().__init__(coherence=coherence, correlation=correlation, equaliser=equaliser)
        self.k_factor = 0.0

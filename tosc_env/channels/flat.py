"""Channels whose links scale every symbol by one complex number: AWGN, Rayleigh and Rician block fading."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tosc_env.channels.base import Channel, complex_normal, is_number
from tosc_env.errors import InputError


class AWGN(Channel):
    """Additive white Gaussian noise: ``y = s + n``, noise variance N0/2 per real dimension.

    Example:
        >>> import torch
        >>> channel = AWGN()
        >>> links = channel.draw(2, 64, generator=torch.Generator().manual_seed(0))
        >>> received = channel.apply(torch.ones(2, 64, dtype=torch.complex64), links.receiver,
        ...                          snr_db=torch.tensor([12.0, 0.0]))
        >>> received.shape
        torch.Size([2, 64])
    """

    fading = False

    def __init__(self) -> None:
        super().__init__(equaliser=None)

    def draw_fades(self, batch_size, num_symbols, generator, device) -> tuple[Tensor, Tensor]:
        """No fades: [B, 0] for both links."""
        empty = torch.empty(batch_size, 0, dtype=torch.complex64, device=device)
        return empty, empty


class Rician(Channel):
    """Rician block fading: a line-of-sight part of constant phase and a scattered, complex Gaussian part.

    ``h = sqrt(K/(K+1)) + sqrt(1/(K+1)) g`` with g circular, E|g|^2 = 1, hence E|h|^2 = 1.  The scattered
    parts of the two links are correlated: ``g_E = rho g_B + sqrt(1 - rho^2) g'``.

    Args:
        k_factor_db: K, the power of the line of sight over that of the scattering, in dB,
            in [-100, 100].
        coherence, correlation, equaliser: see :class:`~tosc_env.channels.base.Channel`.

    Example:
        >>> import torch
        >>> channel = Rician(k_factor_db=6.0, coherence=16)
        >>> links = channel.draw(3, 64, generator=torch.Generator().manual_seed(0))
        >>> links.receiver.fades.shape
        torch.Size([3, 4])
    """

    def __init__(
        self,
        *,
        k_factor_db: float = 3.0,
        coherence: int | None = None,
        correlation: float = 0.0,
        equaliser: str | None = "mmse",
    ) -> None:
        super().__init__(coherence=coherence, correlation=correlation, equaliser=equaliser)
        if not (is_number(k_factor_db) and -100.0 <= k_factor_db <= 100.0):
            raise InputError(f"k_factor_db must be a number of dB in [-100, 100], not {k_factor_db!r}.")
        self.k_factor = 10.0 ** (k_factor_db / 10.0)

    def draw_fades(
        self, batch_size: int, num_symbols: int, generator: torch.Generator | None, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Independent fades for each block of each message, [B, ceil(n / coherence)] for both links."""
        shape = (batch_size, self.num_fades(num_symbols))
        scattered_b = complex_normal(*shape, generator=generator, device=device)
        other = complex_normal(*shape, generator=generator, device=device)
        rho = self.correlation
        scattered_e = rho * scattered_b + math.sqrt(1.0 - rho * rho) * other
        line, spread = math.sqrt(self.k_factor / (self.k_factor + 1)), math.sqrt(1 / (self.k_factor + 1))
        return line + spread * scattered_b, line + spread * scattered_e


class Rayleigh(Rician):
    """Rayleigh block fading: Rician without a line of sight, so |h|^2 is exponential with mean 1.

    Example:
        >>> import torch
        >>> channel = Rayleigh(correlation=1.0)
        >>> links = channel.draw(5, 64, generator=torch.Generator().manual_seed(0))
        >>> bool((links.receiver.fades == links.eavesdropper.fades).all())
        True
    """

    def __init__(
        self, *, coherence: int | None = None, correlation: float = 0.0, equaliser: str | None = "mmse"
    ) -> None:
        super().__init__(coherence=coherence, correlation=correlation, equaliser=equaliser)
        self.k_factor = 0.0

"""The best linear attacker, in closed form."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tosc_env.attackers import Eavesdropper
from tosc_env.channels import noise_power
from tosc_env.channels.base import matched
from tosc_env.options import check_count, check_positive
from tosc_env.privacy.view import View
from tosc_env.types import SystemSpec

AT_ONCE = 2**24
"""Numbers in memory at once, where each message's fades are undone by a matrix of its own."""


class Linear(Eavesdropper):
    """Ridge regression from received symbols to pixels.

    Over AWGN the noise is of known power, so it is not sampled but added to the symbols' covariance: with
    ``C_s = U diag(l) U^T`` the linear minimum-mean-square-error estimate at noise N0 is

        x = m_x + C_xs U diag(1 / (l + N0/2 + ridge)) U^T (y - m_s),

    exact at every SNR at once.  Over a fading link whose CSI is known it is the same with the amplitude g of each
    value: of ``z = g s + n`` and R = diag(g)

        x = m_x + C_xs R (R (C_s + ridge) R + N0/2)^-1 (z - R m_s).

    A random scheme's own noise is among its symbols, of which several are drawn for each image.  Where the link's noise
    is not known (CSI is denied, or what is shown are no symbols any more), the moments are those of receptions at the
    view's SNRs, noise included.

    Args:
        ridge: added to the covariance's eigenvalues (unit symbol energy: they average 0.5), above 0.
        known_noise: whether the noise is to be added to the moments, as fitting finds out; otherwise they have it.
        passes: over how many messages of each image the moments are averaged where they are not all alike.

    Example:
        >>> Linear(SystemSpec((3, 32, 32), 10)).reconstruct(torch.zeros(2, 128), torch.zeros(2, 1)).shape
        torch.Size([2, 3, 32, 32])
    """

    name = "linear"
    mean_symbols: Tensor
    mean_pixels: Tensor
    basis: Tensor
    energies: Tensor
    weights: Tensor

    def __init__(
        self, spec: SystemSpec, *, ridge: float = 1e-3, passes: int = 4, known_noise: bool = True
    ) -> None:
        check_positive(ridge, "ridge"), check_count(passes, "passes")
        super().__init__(spec, ridge=ridge, passes=passes, known_noise=known_noise)
        self.ridge, self.passes = ridge, passes
        inputs, pixels = 2 * spec.num_symbols, torch.Size(spec.image_shape).numel()
        self.register_buffer("mean_symbols", torch.zeros(inputs))
        self.register_buffer("mean_pixels", torch.full((pixels,), 0.5))
        self.register_buffer("basis", torch.eye(inputs))
        self.register_buffer("energies", torch.ones(inputs))
        self.register_buffer("weights", torch.zeros(inputs, pixels))

    @torch.no_grad()
    def fit(self, view: View, *, generator: torch.Generator, progress: Any = None) -> dict[str, Any]:
        clean = view.additive
        once = clean and view.deterministic
        total = view.num_images
        index = torch.arange(total, device=view.device)
        wide = {"dtype": torch.float64, "device": view.device}
        inputs, pixels = self.weights.shape
        sums = torch.zeros(inputs + pixels, **wide)  # type: ignore[call-overload]
        moments = torch.zeros(inputs, inputs + pixels, **wide)  # type: ignore[call-overload]
        parts = [part for _ in range(1 if once else self.passes) for part in index.split(1000)]
        for i, part in enumerate(parts):
            if clean:
                symbols, images = view.symbols(part), view.images(part)
            else:
                reception, images = view.sample(part)
                symbols = reception.received
            joint = torch.cat([symbols, images.flatten(1)], dim=1)
            sums += joint.sum(0)
            # Products of a thousand rows in float32, their sum in float64: exact enough, and fast.
            moments += symbols.T @ joint
            if progress is not None:
                progress(i + 1, len(parts), {})
        count = sum(len(part) for part in parts)
        means = sums / count
        covariance = moments / count - means[:inputs, None] * means[None, :]
        energies, basis = torch.linalg.eigh(covariance[:, :inputs])
        self.mean_symbols, self.mean_pixels = means[:inputs].float(), means[inputs:].float()
        self.basis, self.energies = basis.float(), energies.clamp_min(0).float()
        self.weights = (basis.T @ covariance[:, inputs:]).float()
        self.options["known_noise"] = clean
        return {"images": total, "analytic_noise": clean}

    def reconstruct(self, received: Tensor, csi: Tensor) -> Tensor:
        csi = csi[:, : self.spec.num_csi]  # made for a link without fading, over any it knows the SNR
        known = self.options["known_noise"]
        noise = known * noise_power(csi[:, :1]) / 2
        if known and csi.shape[1] > 1:
            spread = self._through_fades(received, csi, noise)
        else:
            spread = (received - self.mean_symbols) @ self.basis / (self.energies + noise + self.ridge)
        pixels = self.mean_pixels + spread @ self.weights
        return pixels.clamp(0.0, 1.0).unflatten(1, self.spec.image_shape)

    def _through_fades(self, received: Tensor, csi: Tensor, noise: Tensor) -> Tensor:
        """``U^T R (R (C_s + ridge) R + N0/2)^-1 (z - R m_s)`` for messages [B, 2n], a few at once."""
        filtered, power = matched(received, csi, self.spec.layout)
        gain = power.sqrt().clamp_min(1e-6)
        covariance = (self.basis * (self.energies + self.ridge)) @ self.basis.T
        heard = filtered / gain - gain * self.mean_symbols
        found = []
        rows = max(1, AT_ONCE // covariance.numel())
        for g, z, n0 in zip(gain.split(rows), heard.split(rows), noise.split(rows), strict=True):
            known = g[:, :, None] * covariance * g[:, None] + torch.diag_embed(n0.expand_as(g))
            found.append(g * torch.cholesky_solve(z[..., None], torch.linalg.cholesky(known))[..., 0])
        return torch.cat(found) @ self.basis

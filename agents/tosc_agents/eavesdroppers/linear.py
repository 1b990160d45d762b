"""The best linear attacker, in closed form."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tosc_env.attackers import Eavesdropper
from tosc_env.channels import noise_power
from tosc_env.options import check_count, check_positive
from tosc_env.privacy.view import View
from tosc_env.types import SystemSpec


class Linear(Eavesdropper):
    """Ridge regression from received symbols to pixels.

    Over AWGN the noise is of known power, so it is not sampled but added to the symbols' covariance: with
    ``C_s = U diag(l) U^T`` the linear minimum-mean-square-error estimate at noise N0 is

        x = m_x + C_xs U diag(1 / (l + N0/2 + ridge)) U^T (y - m_s),

    exact at every SNR at once.  Over fading links the moments are those of equalised receptions at the view's
    SNRs, noise included.

    Args:
        ridge: added to the covariance's eigenvalues (unit symbol energy: they average 0.5), above 0.
        passes: over fading links, how many receptions of each image the moments are averaged over.

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
    clean: Tensor

    def __init__(self, spec: SystemSpec, *, ridge: float = 1e-3, passes: int = 4) -> None:
        super().__init__(spec, ridge=check_positive(ridge, "ridge"), passes=check_count(passes, "passes"))
        self.ridge, self.passes = ridge, passes
        inputs, pixels = 2 * spec.num_symbols, torch.Size(spec.image_shape).numel()
        self.register_buffer("mean_symbols", torch.zeros(inputs))
        self.register_buffer("mean_pixels", torch.full((pixels,), 0.5))
        self.register_buffer("basis", torch.eye(inputs))
        self.register_buffer("energies", torch.ones(inputs))
        self.register_buffer("weights", torch.zeros(inputs, pixels))
        # 1 where the noise must still be added to the energies, 0 where the moments contain it.
        self.register_buffer("clean", torch.ones(()))

    @torch.no_grad()
    def fit(self, view: View, *, generator: torch.Generator, progress: Any = None) -> dict[str, Any]:
        clean = not view.fading and view.deterministic
        total = view.num_images
        index = torch.arange(total, device=view.device)
        wide = {"dtype": torch.float64, "device": view.device}
        inputs, pixels = self.weights.shape
        sums = torch.zeros(inputs + pixels, **wide)  # type: ignore[call-overload]
        moments = torch.zeros(inputs, inputs + pixels, **wide)  # type: ignore[call-overload]
        parts = [part for _ in range(1 if clean else self.passes) for part in index.split(1000)]
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
        self.clean = torch.full((), float(clean), device=view.device)
        return {"images": total, "analytic_noise": clean}

    def reconstruct(self, received: Tensor, csi: Tensor) -> Tensor:
        noise = self.clean * noise_power(csi[:, :1]) / 2
        spread = (received - self.mean_symbols) @ self.basis
        pixels = self.mean_pixels + (spread / (self.energies + noise + self.ridge)) @ self.weights
        return pixels.clamp(0.0, 1.0).unflatten(1, self.spec.image_shape)

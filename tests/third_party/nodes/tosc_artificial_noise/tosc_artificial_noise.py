"""Artificial noise, as a stranger adds it: maximum-ratio precoding, and noise where the receiver hears none."""

from __future__ import annotations

import torch

import tosc_env


class ArtificialNoise(tosc_env.Stage):
    """Symbols towards the receiver, and a share of the power as noise that its channel cancels.

    With gains h of the receiver's link, the symbols are weighted by w = conj(h) / |h|, and the noise lies in the null
    space of h (Goel and Negi, "Guaranteeing secrecy using artificial noise", IEEE Trans. Wireless Commun. 2008).
    """

    stochastic = True

    def __init__(self, spec, constellation=None, *, share: float = 0.3):
        super().__init__(spec, constellation, share=share)

    def precode(self, waves, context):
        h = context.gains["receiver"][:, 0]  # [B, T, n], of its only antenna
        w = h.conj() / h.abs().square().sum(1, keepdim=True).sqrt()
        noise = torch.randn(h.shape, dtype=h.dtype, generator=context.generator, device=h.device)
        noise = noise - w * (w.conj() * noise).sum(1, keepdim=True)
        noise = noise / max(1, h.shape[1] - 1) ** 0.5
        share = self.options["share"]
        weights = (1 - share) ** 0.5 * w
        return tosc_env.Waves(weights * waves.signal[:, :1] + share**0.5 * noise, weights)

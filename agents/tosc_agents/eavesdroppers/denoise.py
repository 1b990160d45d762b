"""An attacker that receives the same image many times and combines the receptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tosc_agents.eavesdroppers.transformed import BASE_ATTACKS, TransformedAttack
from tosc_env.channels.base import matched, noise_power
from tosc_env.privacy.view import View
from tosc_env.types import CSILayout, Reception, SystemSpec


class Denoise(TransformedAttack):
    """An attacker that combines R transmissions of one image into one of R times the SNR for the base attacks.

    Over AWGN it is the mean weighted by ``1 / N0`` of each transmission. Over a fading link it is maximum-ratio
    combining, of the raw receptions y_r whatever the equaliser has made of them: with ``g = sum |h_r|^2 / N0_r``

        x = sum conj(h_r) y_r / N0_r / (g + 1),

    an MMSE estimate, of a link with the SNR ``sum 1 / N0_r`` and the fade ``|h|^2 = g / sum 1 / N0_r``,
    which the base attacks are told. One reception is passed on as it is. A scheme that adds noise of its own adds it
    to each transmission anew: closed forms take the mean of R draws for what was sent, which is what it is over AWGN of
    one SNR.

    Args:
        base_attacks, base_attack_kwargs: of :class:`~tosc_agents.eavesdroppers.transformed.TransformedAttack`.

    Example:
        >>> attacker = Denoise(SystemSpec((3, 32, 32), 10), base_attacks=["linear"]).eval()
        >>> attacker.transform(torch.ones(2, 10, 128), torch.zeros(2, 10, 1))[1]
        tensor([[10.],
                [10.]])
    """

    name = "denoise"
    repeated = additive = True
    needs = {"receptions": tuple(range(2, 1025))}  # noqa: RUF012

    def __init__(
        self,
        spec: SystemSpec,
        *,
        base_attacks: Sequence[str] = BASE_ATTACKS,
        base_attack_kwargs: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__(spec, 2 * spec.num_symbols, base_attacks, base_attack_kwargs)

    def transform(self, received: Tensor, csi: Tensor) -> tuple[Tensor, Tensor]:
        """Combine receptions [B, R, 2n] with CSI [B, R, c]; a single one, [B, 2n], passes as it is."""
        if received.dim() == 2:
            return received, csi
        precision = 1.0 / noise_power(csi[..., :1])  # [B, R, 1]
        total = precision.sum(1)  # [B, 1]
        weights = precision / total[:, None]
        snr_db = 10.0 * total.log10()
        if csi.shape[2] == 1:
            return (weights * received).sum(1), snr_db
        # Where the CSI is denied all fades are zero, and the plain mean is all that can be had.
        filtered, powers = matched(received, csi, self.spec.layout)
        mean = (precision * filtered).sum(1) / ((precision * powers).sum(1) + 1.0)
        if self.spec.layout.aligned:
            gains = (weights * powers).sum(1).sqrt()
        else:
            fades = csi[..., 1:].unflatten(2, (-1, 2)).square().sum(3)
            size = (weights * fades).sum(1).sqrt()
            gains = torch.stack([size, torch.zeros_like(size)], dim=2).flatten(1)
        known = (powers > 0).any(2).any(1)[:, None]
        return torch.where(known, mean, received.mean(1)), torch.cat([snr_db, gains], dim=1)

    def layout(self) -> CSILayout:
        return replace(super().layout(), equaliser="mmse")  # which is what it hands on

    def learn(self, view: View, generator: torch.Generator) -> dict[str, Any]:
        return {"receptions": view.threat.receptions}

    def symbols(self, view: View, index: Tensor) -> Tensor:
        draws = 1 if view.deterministic else view.threat.receptions
        return self.clean(torch.stack([view.symbols(index) for _ in range(draws)]).mean(0))

    def observe(self, view: View, index: Tensor) -> tuple[Reception, Tensor]:
        reception, images = view.sample_repeated(index)
        return self.through(reception), images

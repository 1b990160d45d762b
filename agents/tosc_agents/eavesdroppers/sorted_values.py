"""An attack on shuffled messages: their values in order of size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tosc_agents.eavesdroppers.likelihoods import codeword_posteriors, known_csi, usual_snr_db
from tosc_agents.eavesdroppers.transformed import BASE_ATTACKS, TransformedAttack
from tosc_env.channels.base import aligned, noise_power
from tosc_env.modulation import constellation_for, constellation_points, hard_decision
from tosc_env.options import check_count
from tosc_env.privacy.view import View
from tosc_env.types import CSILayout, Reception, SystemSpec


class Sorted(TransformedAttack):
    """An attacker that shows the base attacks statistics which no permutation of a message's values changes.

    ==========================  =======================================================================
    columns                     not changed by
    ==========================  =======================================================================
    2n sorted values            any permutation of the reals
    2n sorted absolute values   the same, with signs flipped at will
    n sorted magnitudes         any permutation, rotation or reflection of the complex symbols
    2n shares, where it fades   any permutation: what each of the sorted values has kept of what was sent
    M shares of the points      any permutation of the symbols of a discrete scheme (all there is to know)
    M shares of ``|I|, |Q|``    the same, with signs flipped at will
    ==========================  =======================================================================

    Over a fading link they are those of MMSE estimates, whatever the channel's equaliser, and what a value has kept is
    ``g^2 / (g^2 + N0)`` of the amplitude g that it has met. How often a point was sent is the sum of its posterior
    probabilities.

    A fresh permutation for each message leaves these as they were. They are also the same with and without the key:
    where the threat model gives no pairs of images and encrypted symbols, but the encoder without its key, the attack
    learns from that one.

    Args:
        base_attacks, base_attack_kwargs: of :class:`~tosc_agents.eavesdroppers.transformed.TransformedAttack`.
        points: M of a discrete scheme, 0 for none; fitting takes it from the scheme it attacks, where the
            threat model shows the constellation.
        measured: of how many images the mean and spread of each column are measured.
        usual_snr_db: the SNR that it takes for its own where its CSI is denied, as fitting finds out.

    Example:
        >>> attacker = Sorted(SystemSpec((3, 32, 32), 10), base_attacks=["linear"]).eval()
        >>> received, csi = torch.randn(1, 128), torch.zeros(1, 1)
        >>> torch.equal(attacker.features(received, csi), attacker.features(received.flip(1), csi))
        True
    """

    name = "sorted"
    centre: Tensor
    spread: Tensor

    def __init__(
        self,
        spec: SystemSpec,
        *,
        base_attacks: Sequence[str] = BASE_ATTACKS,
        base_attack_kwargs: Mapping[str, Mapping[str, Any]] | None = None,
        points: int = 0,
        measured: int = 2000,
        usual_snr_db: float | None = None,
    ) -> None:
        if points:
            constellation_for(points)
        check_count(measured, "measured", 2)
        width = _width(spec, points)
        own: dict[str, Any] = {"points": points, "measured": measured, "usual_snr_db": usual_snr_db}
        super().__init__(spec, width, base_attacks, base_attack_kwargs, **own)
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))

    def features(self, received: Tensor, csi: Tensor) -> Tensor:
        """The statistics as they are, [B, 5n + 2M], over a fading link [B, 7n + 2M]."""
        csi = known_csi(csi[:, : self.spec.num_csi], self.options["usual_snr_db"])
        kept = torch.zeros_like(received)
        if csi.shape[1] > 1:
            received, csi = aligned(received, csi, self.spec.layout)
            power = csi[:, 1:].square()
            kept = power / (power + noise_power(csi[:, :1]))
        sizes = received.abs()
        magnitudes = received.unflatten(1, (-1, 2)).square().sum(2).sqrt()
        values, order = received.sort(1)
        parts = [values, *(part.sort(1).values for part in (sizes, magnitudes))]
        if self.spec.num_csi > 1:
            parts.append(kept.gather(1, order))
        count = self.options["points"]
        if count:
            points = constellation_points(constellation_for(count), received.device)
            likely = codeword_posteriors(received, csi, CSILayout(aligned=True), points)
            shares = likely.exp().mean(1)
            # Signs flipped at will leave together what has the same |I| and |Q|.
            unsigned = hard_decision(torch.view_as_real(points).abs().flatten()[None], points)[0].long()
            parts += [shares, torch.zeros_like(shares).index_add_(1, unsigned, shares)]
        return torch.cat(parts, dim=1)

    def transform(self, received: Tensor, csi: Tensor) -> tuple[Tensor, Tensor]:
        return (self.features(received, csi) - self.centre) / self.spread, csi

    def learn(self, view: View, generator: torch.Generator) -> dict[str, Any]:
        points = view.constellation if view.threat.codebook else None
        count = 0 if points is None else len(points)
        if count != self.options["points"]:
            self.rebuild(_width(self.spec, count), generator, points=count)
        self.options = {**self.options, "usual_snr_db": usual_snr_db(view)}
        total = min(self.options["measured"], view.num_images)
        index = torch.arange(total, device=view.device)
        receptions = [self._sample(view, part)[0] for part in index.split(view.batch_size)]
        features = torch.cat([self.features(one.received, one.csi) for one in receptions])
        self.centre = features.mean(0)
        # A column that never changes (a point that is never sent) is left as it is.
        spread = features.std(0, correction=0)
        self.spread = torch.where(spread > 1e-6, spread, 1.0)
        return {"points": count, "learns_from": "pairs" if self.from_pairs(view) else "unkeyed"}

    def observe(self, view: View, index: Tensor) -> tuple[Reception, Tensor]:
        reception, images = self._sample(view, index)
        return self.through(reception), images

    def from_pairs(self, view: View) -> bool:
        denied = view.keyed and view.threat.keys == "without-pairs"
        return not (denied and view.threat.unkeyed_encoder)

    def _sample(self, view: View, index: Tensor) -> tuple[Reception, Tensor]:
        return view.sample(index) if self.from_pairs(view) else view.unkeyed(index)[1:]


def _width(spec: SystemSpec, points: int) -> int:
    """How many statistics there are."""
    return (7 if spec.num_csi > 1 else 5) * spec.num_symbols + 2 * points

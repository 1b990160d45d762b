"""A known-plaintext attack: a key that stays the same is worked out from a few pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tosc_agents.eavesdroppers.likelihoods import known_csi, usual_snr_db
from tosc_agents.eavesdroppers.transformed import BASE_ATTACKS, TransformedAttack
from tosc_env.channels import noise_power
from tosc_env.channels.base import aligned, matched
from tosc_env.errors import DeniedError
from tosc_env.options import check_count
from tosc_env.privacy.view import View
from tosc_env.types import CSILayout, Reception, SystemSpec

KINDS = ("permutation", "signed permutation", "rotation")
"""The keys that are tried, the simplest first."""

SWEEPS = 20
"""Steps of the EM algorithm, of which the first few do most."""


class Unshuffle(TransformedAttack):
    """An attacker that recovers a fixed key from receptions of images whose unencrypted symbols it has, and undoes it.

    Of the same P images it has receptions under the key, y = g t + n of gains g and noise N0 (behind any equaliser the
    matched filter's ``f = g y`` and ``p = g^2``), and the symbols s [P, 2n] without it. The likeliest key makes the
    most of what agrees, over all pairs:

    * a permutation of ``sum_i G[i, p(i)] - E[i, p(i)]``, an assignment problem with ``G[i, j] = sum f_i s_j / N0``
      and ``E[i, j] = sum p_i s_j^2 / (2 N0)``;
    * a permutation with sign flips of ``sum_i |G[i, p(i)]| - E[i, p(i)]``, and each sign is that of its entry;
    * a rotation or reflection of ``trace(Q^T G)`` where a message's values have met one gain: ``Q = U V^T`` of G's
      singular value decomposition. Where they have not, G is first that of MMSE estimates; then what the weaker values
      lack to the strongest's SNR is filled up with what the last Q says, and Q found again: the EM algorithm.

    The simplest that explains a fifth of the pairs, held back, as well as any is taken. It counts as found when what it
    leaves unexplained is near what noise alone leaves, measured on receptions without a key. Then the base attacks
    learn from the encoder without its key, on all of the attacker's images, and receptions are decrypted before they
    reach them. Over a fading link these are MMSE estimates, with the amplitude that each value has met. A key that
    changes with each message is not found; the attack is then one on encrypted pairs.

    Args:
        base_attacks, base_attack_kwargs: of :class:`~tosc_agents.eavesdroppers.transformed.TransformedAttack`.
        pairs: how many images are received encrypted, at least 10.

    Raises:
        DeniedError: on fitting, the threat model gives no encoder without the key, or no pairs.

    Example:
        >>> attacker = Unshuffle(SystemSpec((3, 32, 32), 10), base_attacks=["linear"]).eval()
        >>> attacker.reconstruct(torch.zeros(2, 128), torch.zeros(2, 1)).shape
        torch.Size([2, 3, 32, 32])
    """

    name = "unshuffle"
    additive = True
    needs = {"unkeyed_encoder": (True,), "keys": ("with-pairs",)}  # noqa: RUF012
    inverse: Tensor

    @classmethod
    def nothing_to_attack(cls, view: View) -> str | None:
        return None if view.keyed else "the scheme has no key"

    def __init__(
        self,
        spec: SystemSpec,
        *,
        base_attacks: Sequence[str] = BASE_ATTACKS,
        base_attack_kwargs: Mapping[str, Mapping[str, Any]] | None = None,
        pairs: int = 1000,
    ) -> None:
        check_count(pairs, "pairs", 10)
        super().__init__(spec, 2 * spec.num_symbols, base_attacks, base_attack_kwargs, pairs=pairs)
        self.found = False
        self.register_buffer("inverse", torch.eye(2 * spec.num_symbols))

    def transform(self, received: Tensor, csi: Tensor) -> tuple[Tensor, Tensor]:
        csi = csi[:, : self.spec.num_csi]  # made for a link without fading, over any it knows the SNR
        if csi.shape[1] == 1:
            return received @ self.inverse, csi
        return self._undone(*aligned(received, csi, self.spec.layout))

    def layout(self) -> CSILayout:
        return self.spec.layout if self.spec.num_csi == 1 else CSILayout(aligned=True)

    def observe(self, view: View, index: Tensor) -> tuple[Reception, Tensor]:
        if not self.found:
            return super().observe(view, index)
        symbols, reception, images = view.unkeyed(index)
        if self.spec.num_csi == 1:
            return reception, images
        with torch.autocast(reception.received.device.type, enabled=False):
            received, csi = aligned(reception.received, reception.csi, self.spec.layout)
            if not view.threat.csi:
                return Reception(received, csi), images
            # Under the key other symbols would have met the same gains and the same noise.
            power = csi[:, 1:].square()
            shrunk = power / (power + noise_power(csi[:, :1]))
            keyed = received + shrunk * (symbols @ self.inverse.T - symbols)
            return Reception(*self._undone(keyed, csi)), images

    def symbols(self, view: View, index: Tensor) -> Tensor:
        return view.unkeyed(index)[0] if self.found else super().symbols(view, index)

    def _undone(self, received: Tensor, csi: Tensor) -> tuple[Tensor, Tensor]:
        """MMSE estimates and the amplitudes that they have met (:func:`~tosc_env.channels.base.aligned`), decrypted.

        A value that a rotation has spread over several, and their gains, comes back as one of the amplitude that
        :func:`~tosc_env.channels.base.mixed` has for equal parts.
        """
        power, parts = csi[:, 1:].square(), self.inverse.square()
        whole = power + noise_power(csi[:, :1])
        squared = (power / whole) @ parts / ((1.0 / whole) @ parts)
        return received @ self.inverse, torch.cat([csi[:, :1], squared.sqrt()], dim=1)

    @torch.no_grad()
    def learn(self, view: View, generator: torch.Generator) -> dict[str, Any]:
        denied = view.threat.grants(self.needs)
        if denied is not None:
            raise DeniedError(f"{self.name!r} is denied what it needs ({denied}).")
        count = min(self.options["pairs"], view.num_images)
        order = torch.randperm(view.num_images, generator=generator, device=view.device)[:count]
        parts = order.split(view.batch_size)
        unkeyed = [view.unkeyed(part)[:2] for part in parts]
        symbols = torch.cat([s for s, _ in unkeyed])
        usual = usual_snr_db(view)
        pairs = self._heard([view.sample(part)[0] for part in parts], usual)
        kept = max(1, count // 5)
        held = [one[:kept] for one in pairs]
        found = _keys([one[kept:] for one in pairs], symbols[kept:])
        errors = {kind: _residual(held, symbols[:kept] @ key.T) for kind, key in found.items()}
        # The same images once more without a key: the difference is the channel's noise and the scheme's own.
        second = torch.cat([view.unkeyed(part)[0] for part in order[:kept].split(view.batch_size)])
        first = self._heard([reception for _, reception in unkeyed], usual)
        noise = _residual([one[:kept] for one in first], second)
        blank = _residual(held, (held[0].sum(0) / held[1].sum(0).clamp_min(1e-12)).expand_as(second))
        kind = next(kind for kind in KINDS if errors[kind] <= 1.02 * min(errors.values()))
        # A quarter of the way from noise to knowing nothing: far from both where anything can be received.
        self.found = errors[kind] < noise + 0.25 * (blank - noise)
        self.inverse = torch.eye(len(self.inverse), device=view.device)
        if self.found:
            self.inverse = _keys(pairs, symbols)[kind]
        return {
            "key": kind if self.found else "no fixed key found",
            "pairs": count,
            "held_out": kept,
            "residual": errors,
            "residual_of_noise_alone": noise,
            "residual_of_a_constant": blank,
        }

    def _heard(self, receptions: Sequence[Reception], usual: float | None) -> list[Tensor]:
        """Receptions through the matched filter, power gains [P, 2n] and noise [P, 1]; as over AWGN without CSI."""
        received = torch.cat([one.received for one in receptions])
        csi = known_csi(torch.cat([one.csi for one in receptions])[:, : self.spec.num_csi], usual)
        return [*matched(received, csi, self.spec.layout), noise_power(csi[:, :1])]


def _residual(heard: Sequence[Tensor], symbols: Tensor) -> float:
    """The mean square of what symbols [P, 2n] leave unexplained, each message weighted by its SNR."""
    values, power, noise = heard
    left = (values - power * symbols).square() / power.clamp_min(1e-12)
    return float((left / noise).mean() / (1.0 / noise).mean())


def _keys(heard: Sequence[Tensor], symbols: Tensor) -> dict[str, Tensor]:
    """The likeliest orthogonal matrix Q of each kind with ``Y Q`` near S, float32 [2n, 2n].

    >>> symbols = torch.eye(3)
    >>> keys = _keys([symbols[[2, 0, 1]].T, torch.ones(3, 3), torch.ones(3, 1)], symbols)
    >>> [bool(torch.allclose(key, symbols[[2, 0, 1]])) for key in keys.values()]
    [True, True, True]
    """
    values, power, noise, symbols = (one.double() for one in (*heard, symbols))
    agreement = (values / noise).T @ symbols
    energies = (power / noise).T @ symbols.square() / 2
    permutation = _assigned(agreement - energies)
    signed = _assigned(agreement.abs() - energies) * torch.where(agreement < 0, -1.0, 1.0)
    strongest = power.amax(1, keepdim=True)
    rotation = _rotation((strongest * values / (power + noise) / noise).T @ symbols)
    for _ in range(SWEEPS):
        filled = values + (strongest - power) * (symbols @ rotation.T)
        rotation = _rotation((filled / noise).T @ symbols)
    return dict(zip(KINDS, (permutation.float(), signed.float(), rotation.float()), strict=True))


def _rotation(agreement: Tensor) -> Tensor:
    u, _, v = torch.linalg.svd(agreement)
    return u @ v


def _assigned(gains: Tensor) -> Tensor:
    """The permutation matrix of the largest total gain, found on the host."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = (torch.from_numpy(i) for i in linear_sum_assignment(gains.cpu().numpy(), maximize=True))
    matrix = torch.zeros_like(gains)
    matrix[rows.to(gains.device), columns.to(gains.device)] = 1.0
    return matrix

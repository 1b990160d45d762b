"""A known-plaintext attack: a key that stays the same is worked out from a few pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tosc_agents.eavesdroppers.transformed import BASE_ATTACKS, TransformedAttack
from tosc_env.channels import noise_power
from tosc_env.errors import DeniedError
from tosc_env.options import check_count
from tosc_env.privacy.view import View
from tosc_env.types import Reception, SystemSpec

KINDS = ("permutation", "signed permutation", "rotation")
"""The keys that are tried, the simplest first."""


class Unshuffle(TransformedAttack):
    """An attacker that recovers a fixed key from receptions of images whose unencrypted symbols it has, and undoes it.

    For encrypted receptions Y [P, 2n] and the symbols S [P, 2n] of the same images without a key, the likeliest
    key under white noise is what agrees best with ``G = Y^T S``:

    * a permutation maximises ``sum_i G[i, p(i)]`` (equal to least ``sum (y_i - s_p(i))^2``; an assignment problem);
    * a permutation with sign flips maximises ``sum_i |G[i, p(i)]|``, and each sign is that of its entry;
    * a rotation or reflection maximises ``trace(Q^T G)``: ``Q = U V^T`` of G's singular value decomposition.

    The simplest that explains a fifth of the pairs, held back, as well as any is taken. It counts as found when what it
    leaves unexplained is near what noise alone leaves, measured on receptions without a key. Then the base attacks
    learn from the encoder without its key, on all of the attacker's images, and receptions are decrypted before they
    reach them. A key that changes with each message is not found; the attack is then one on encrypted pairs.

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
        return received @ self.inverse, csi

    def observe(self, view: View, index: Tensor) -> tuple[Reception, Tensor]:
        if not self.found:
            return super().observe(view, index)
        _, reception, images = view.unkeyed(index)
        return reception, images

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
        encrypted = [view.sample(part)[0] for part in parts]
        received = torch.cat([r.received for r in encrypted])
        # In proportion to each message's SNR (all alike where the CSI is denied).
        weights = 1.0 / noise_power(torch.cat([r.csi[:, :1] for r in encrypted]))
        agreement = (weights / weights.mean() * received).double()
        kept = max(1, count // 5)
        sums = agreement[kept:].T @ symbols[kept:].double()
        received, symbols = received[:kept], symbols[:kept]
        errors = {
            kind: float((received @ key - symbols).square().mean()) for kind, key in _keys(sums).items()
        }
        # The same images once more without a key: the difference is the channel's noise and the scheme's own.
        second = torch.cat([view.unkeyed(part)[0] for part in order[:kept].split(view.batch_size)])
        first = torch.cat([r.received for _, r in unkeyed])[:kept]
        noise = float((first - second).square().mean())
        blank = float((received - received.mean(0)).square().mean())
        kind = next(kind for kind in KINDS if errors[kind] <= 1.02 * min(errors.values()))
        # A quarter of the way from noise to knowing nothing: far from both where anything can be received.
        self.found = errors[kind] < noise + 0.25 * (blank - noise)
        self.inverse = torch.eye(len(self.inverse), device=view.device)
        if self.found:
            sums = sums + agreement[:kept].T @ symbols.double()
            self.inverse = _keys(sums)[kind]
        return {
            "key": kind if self.found else "no fixed key found",
            "pairs": count,
            "held_out": kept,
            "residual": errors,
            "residual_of_noise_alone": noise,
            "residual_of_a_constant": blank,
        }


def _keys(sums: Tensor) -> dict[str, Tensor]:
    """The orthogonal matrix Q of each kind with ``Y Q`` nearest to S, float32; sums = Y^T S, float64 [2n, 2n].

    >>> shuffle = torch.eye(3, dtype=torch.float64)[[2, 0, 1]]
    >>> [bool(torch.allclose(key.double(), shuffle)) for key in _keys(shuffle).values()]
    [True, True, True]
    """
    u, _, v = torch.linalg.svd(sums)
    permutation = _assigned(sums)
    signed = _assigned(sums.abs()) * torch.where(sums < 0, -1.0, 1.0)
    return dict(zip(KINDS, (permutation.float(), signed.float(), (u @ v).float()), strict=True))


def _assigned(gains: Tensor) -> Tensor:
    """The permutation matrix of the largest total gain, found on the host."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = (torch.from_numpy(i) for i in linear_sum_assignment(gains.cpu().numpy(), maximize=True))
    matrix = torch.zeros_like(gains)
    matrix[rows.to(gains.device), columns.to(gains.device)] = 1.0
    return matrix

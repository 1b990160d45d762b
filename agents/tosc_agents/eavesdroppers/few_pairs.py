"""Re-identification under a key that is held for several messages, from a few pairs sent under it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tosc_agents.eavesdroppers.likelihoods import known_csi, usual_snr_db
from tosc_env import metrics
from tosc_env.attackers import Eavesdropper
from tosc_env.channels import noise_power
from tosc_env.channels.base import aligned
from tosc_env.errors import InputError
from tosc_env.options import check_count
from tosc_env.privacy.view import View
from tosc_env.types import SystemSpec

SWEEPS = 10
"""By which the chances of a permutation become doubly stochastic."""

BEST = 16
"""Candidates at most whose likelihood under a permutation is worked out, for each reception."""

AT_ONCE = 2**24
"""Numbers in memory at once."""

TRIED = 32
"""Pairs at most that are identified by means of the others, when the kind of key is chosen."""


class FewPairs(Eavesdropper):
    """Re-identification under a key that stays, from a few pairs of symbols and encrypted receptions, without finding
    the key.

    A *rotation or reflection* keeps inner products. Of pairs (s_p, y_p), a reception y and a candidate s

        t_p = <y, y_p>,   which is <s, s_p> and noise of the covariance
        K_pq = w <s_p, s_q> + [p = q] w (|s|^2 + 2n w),

    w being the variance of the noise of each real value; the candidate of the smallest
    ``(t - S s)^T K^-1 (t - S s)`` is taken. No decomposition is needed, and one pair is enough to begin with.

    Of a *permutation* the likelihood of a candidate is a sum over all permutations, of the pairs and the reception
    together. It is approximated by its Sinkhorn free energy, for the candidates that are best by inner products.

    Which of the two identifies more of the pairs' own images, each by means of the others, is taken.

    Args:
        pairs: how many of its images are received encrypted, 1 to 1000.

    Raises:
        DeniedError: on fitting, the threat model gives no pairs, no encoder without the key, or no candidates.
    """

    name = "few-pairs"
    needs = {"unkeyed_encoder": (True,), "keys": ("with-pairs",), "candidate_queries": (True,)}  # noqa: RUF012
    match_figure = "reid_query"

    @classmethod
    def nothing_to_attack(cls, view: View) -> str | None:
        return None if view.keyed else "the scheme has no key"

    def __init__(self, spec: SystemSpec, *, pairs: int = 64) -> None:
        super().__init__(spec, pairs=check_count(pairs, "pairs", 1, 1000))
        self.kind = "rotation"
        self._usual_db: float | None = None
        self._encode: Callable[[Tensor], Tensor] | None = None
        self._pairs: tuple[Tensor, Tensor, Tensor] | None = None

    @torch.no_grad()
    def fit(self, view: View, *, generator: torch.Generator, progress: Any = None) -> dict[str, Any]:
        index = torch.arange(min(self.options["pairs"], view.num_images), device=view.device)
        self._encode = view.encode_unkeyed
        symbols = view.unkeyed(index)[0]
        reception, _ = view.sample(index)
        self._usual_db = usual_snr_db(view)
        received, noise = self._heard(reception.received, reception.csi)
        self._pairs = symbols, received, noise
        found = {}
        for kind in SCORES:
            hits = []
            for k in range(min(TRIED, len(index))) if len(index) > 1 else ():
                others = torch.cat([index[:k], index[k + 1 :]])
                pairs = symbols[others], received[others], noise[others]
                scores = SCORES[kind](*pairs, received[k : k + 1], noise[k : k + 1], symbols)
                hits.append(metrics.reidentification(scores, index[k : k + 1]))
            found[kind] = float(torch.cat(hits).mean()) if hits else 0.0
        self.kind = max(SCORES, key=lambda kind: found[kind])  # of equals the first
        return {"pairs": len(index), "kind": self.kind, "top1": found}

    @torch.no_grad()
    def match(self, received: Tensor, csi: Tensor, candidates: Tensor) -> Tensor:
        if self._encode is None or self._pairs is None:
            raise InputError(
                "the eavesdropper 'few-pairs' has the candidates encoded while it attacks, and a checkpoint holds no "
                "encoder; fit it to its view first."
            )
        symbols = torch.cat([self._encode(part) for part in candidates.split(500)])
        return SCORES[self.kind](*self._pairs, *self._heard(received, csi), symbols)

    def _heard(self, received: Tensor, csi: Tensor) -> tuple[Tensor, Tensor]:
        """Receptions [B, 2n] in the scale of what was sent, and the variance of each value's noise [B, 1].

        Over a fading link, where the key has spread each value over all channel uses, the MMSE estimates are ``b``
        times the values and their error has the variance ``b (1 - b) / 2``, b the mean of ``|h|^2 / (|h|^2 + N0)``.
        """
        csi = known_csi(csi, self._usual_db)
        noise = noise_power(csi[:, :1])
        if csi.shape[1] == 1:
            return received, noise / 2
        if not self.spec.layout.aligned:
            received, csi = aligned(received, csi, self.spec.layout)
        power = csi[:, 1:].square()
        whole = power + noise
        bias, rest = (power / whole).mean(1, keepdim=True), (noise / whole).mean(1, keepdim=True)
        return received / bias.clamp_min(1e-6), rest / bias.clamp_min(1e-6) / 2


def inner_product_scores(
    symbols: Tensor, heard: Tensor, noise: Tensor, received: Tensor, own: Tensor, candidates: Tensor
) -> Tensor:
    """Scores [B, N] of candidates by inner products with pairs under the same orthogonal key.

    Args:
        symbols, heard, noise: of P pairs, [P, 2n], and the variance of each value's noise [P, 1].
        received, own: of B receptions, [B, 2n], and the variance of each value's noise [B, 1].
        candidates: [N, 2n].
    """
    reals, wanted, gram = symbols.shape[1], candidates @ symbols.T, symbols @ symbols.T  # [N, P], [P, P]
    # The noise of the pairs meets the reception, whose noise meets the symbols: each message has its own covariance.
    energy = (received.square().sum(1, keepdim=True) - reals * own).clamp_min(0)
    rows, found = max(1, AT_ONCE // (len(gram) * max(wanted.shape))), []
    for y, w, e in zip(received.split(rows), own.split(rows), energy.split(rows), strict=True):
        alone = noise.T * (e + reals * w)  # [R, P]
        factor = torch.linalg.cholesky(w[..., None] * gram + torch.diag_embed(alone))
        inverse = torch.cholesky_inverse(factor)  # [R, P, P]
        weighted = (inverse @ (y @ heard.T)[..., None])[..., 0]
        found.append(weighted @ wanted.T - ((wanted @ inverse) * wanted).sum(2) / 2)
    return torch.cat(found)


def permutation_scores(
    symbols: Tensor, heard: Tensor, noise: Tensor, received: Tensor, own: Tensor, candidates: Tensor
) -> Tensor:
    """Scores [B, N] of candidates by how well they fit in with pairs under the same permutation.

    With ``L_ij = -(y_i - s_j)^2 / 2w - sum_p (y_pi - s_pj)^2 / 2w_p`` the likelihood is the permanent of exp(L), whose
    logarithm the greatest value of ``sum T L - sum T log T`` over doubly stochastic T bounds from below; Sinkhorn's
    iteration finds it (Linial, Samorodnitsky, Wigderson, *Combinatorica* 20, 2000).

    Args:
        symbols, heard, noise, received, own, candidates: as in :func:`inner_product_scores`.
    """
    first = inner_product_scores(symbols, heard, noise, received, own, candidates)
    best = first.topk(min(BEST, first.shape[1]), dim=1).indices  # [B, K]
    known = _squares((heard / noise.sqrt()).T[None], (symbols / noise.sqrt()).T[None])[0]
    rows = max(1, AT_ONCE // (best.shape[1] * known.numel()))
    found = []
    for part, y, w in zip(best.split(rows), received.split(rows), own.split(rows), strict=True):
        each = candidates[part] / w.sqrt()[:, None]  # [R, K, 2n]
        mine = (y / w.sqrt())[:, None].expand_as(each)
        fit = known - (mine[..., :, None] - each[..., None, :]).square() / 2  # [R, K, 2n, 2n]
        rest = torch.zeros_like(each)
        for _ in range(SWEEPS):
            own_rest = -(fit + rest[..., None, :]).logsumexp(3)
            rest = -(fit + own_rest[..., None]).logsumexp(2)
        found.append(-(own_rest.sum(2) + rest.sum(2)))
    likelihood = torch.cat(found)
    # Whoever is not among the best stays behind them, in the same order.
    behind = first - first.amax(1, keepdim=True) + likelihood.amin(1, keepdim=True) - 1.0
    return behind.scatter(1, best, likelihood)


def _squares(y: Tensor, s: Tensor) -> Tensor:
    """Minus half the squared distances of points [..., I, P] and [..., J, P]."""
    return y @ s.mT - y.square().sum(-1)[..., :, None] / 2 - s.square().sum(-1)[..., None, :] / 2


SCORES = {"rotation": inner_product_scores, "permutation": permutation_scores}
"""The scores under each kind of key; what a rotation keeps, a permutation keeps as well."""

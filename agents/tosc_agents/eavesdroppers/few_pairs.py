"""Re-identification under a key that is held for several messages, from a few pairs sent under it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor

from tosc_agents.eavesdroppers.base import drawn
from tosc_agents.eavesdroppers.candidates import Remembered
from tosc_agents.eavesdroppers.likelihoods import gaussian_likelihood, known_csi, usual_snr_db
from tosc_env.attackers import Eavesdropper
from tosc_env.channels import noise_power
from tosc_env.channels.base import matched
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
"""Pairs at most by which the kind of key is chosen."""

LEVELS = tuple(2.0**k for k in range(-4, 7))
"""Of the noise, in units of that of the link's usual SNR, where no CSI tells it."""


class FewPairs(Eavesdropper):
    """Re-identification under a key that stays, from a few pairs of symbols and encrypted receptions, without finding
    the key.

    A *rotation or reflection* keeps inner products. Of pairs (s_p, y_p), a reception y and a candidate s

        t_p = <y, y_p>,   which is <s, s_p> and noise of the covariance
        K_pq = w <s_p, s_q> + [p = q] w (|s|^2 + 2n w),

    w being the variance of the noise of each real value; the candidate of the smallest
    ``(t - S s)^T K^-1 (t - S s)`` is taken. No decomposition is needed, and one pair is enough to begin with.

    Of a *permutation*, or a *signed permutation*, which may flip signs too, the likelihood of a candidate is a mean
    over all of them, of the pairs and the reception together (:func:`log_mean_over_permutations`). It is worked out
    for the candidates that are best if each value comes from each place with the chance that the pairs alone give.

    The kind under which the pairs themselves are likeliest, whatever the key, is taken: one pair is enough for that.
    Where the CSI is denied the level of the noise is unknown too, and that at which they are likeliest is taken.

    Args:
        pairs: how many of its images are received encrypted, 1 to 1000.
        encodings: of each pair and candidate, averaged, where the encoder is stochastic; at least 1.

    Raises:
        DeniedError: on fitting, the threat model gives no pairs, no encoder without the key, or no candidates.
        InputError: in :meth:`match`, when there is no encoder: a checkpoint holds none.
    """

    name = "few-pairs"
    needs = {"unkeyed_encoder": (True,), "keys": ("with-pairs",), "candidate_queries": (True,)}  # noqa: RUF012
    match_figure = "reid_query"

    @classmethod
    def nothing_to_attack(cls, view: View) -> str | None:
        return None if view.keyed else "the scheme has no key"

    def __init__(self, spec: SystemSpec, *, pairs: int = 64, encodings: int = 8) -> None:
        super().__init__(
            spec,
            pairs=check_count(pairs, "pairs", 1, 1000),
            encodings=check_count(encodings, "encodings", high=1000),
        )
        self.kind = "rotation"
        self._usual_db: float | None = None
        self._encode: Callable[[Tensor], Tensor] | None = None
        self._encodings = 1
        self._spread = 0.0
        self._level = 1.0
        self._pairs: tuple[Tensor, ...] = ()
        self._remembered = Remembered()

    @torch.no_grad()
    def fit(self, view: View, *, generator: torch.Generator, progress: Any = None) -> dict[str, Any]:
        index = drawn(view, torch.arange(view.num_images, device=view.device), self.options["pairs"])
        self._encode = view.encode_unkeyed
        self._encodings = 1 if view.deterministic else self.options["encodings"]
        self._usual_db = usual_snr_db(view)
        self._remembered.clear()
        each = torch.stack([view.unkeyed(index)[0] for _ in range(self._encodings)])
        # What differs between encodings is to whoever knows their mean noise as well.
        self._spread = float(each.var(0).mean()) if len(each) > 1 else 0.0
        reception, _ = view.sample(index)
        symbols, (heard, noise) = each.mean(0), self._heard(reception.received, reception.csi)
        found, some = {}, slice(None, None, -(-len(index) // TRIED))
        for kind, (_, evidence) in KINDS.items():
            for level in (1.0,) if self._usual_db is None else LEVELS:
                found[kind, level] = evidence(symbols[some], heard[some], level * noise[some])
        self.kind, self._level = max(found, key=lambda key: found[key])
        self._pairs = symbols, heard, self._level * noise
        best = {kind: max(value for (k, _), value in found.items() if k == kind) for kind in KINDS}
        return {"pairs": len(index), "encodings": self._encodings, "kind": self.kind, "log_evidence": best}

    @torch.no_grad()
    def match(self, received: Tensor, csi: Tensor, candidates: Tensor) -> Tensor:
        symbols = self._symbols(candidates).mean(0)
        scores, _ = KINDS[self.kind]
        heard, noise = self._heard(received, csi)
        return scores(*self._pairs, heard, self._level * noise, symbols)

    def _symbols(self, candidates: Tensor) -> Tensor:
        """The candidates' symbols without the key [R, N, 2n], of R encodings each."""
        return self._remembered.symbols(self.name, candidates, self._encode, self._encodings)

    def _heard(self, received: Tensor, csi: Tensor) -> tuple[Tensor, Tensor]:
        """Receptions in the scale of what was sent, and the variance of each value's noise, both [B, 2n]."""
        csi = known_csi(csi, self._usual_db)
        filtered, power = matched(received, csi, self.spec.layout)
        power = power.clamp_min(1e-6)
        return filtered / power, noise_power(csi[:, :1]) / (2 * power) + self._spread


# -- rotations --------------------------------------------------------------------------------------


def inner_product_scores(
    symbols: Tensor, heard: Tensor, noise: Tensor, received: Tensor, own: Tensor, candidates: Tensor
) -> Tensor:
    """Scores [B, N] of candidates by inner products with pairs under the same orthogonal key.

    Args:
        symbols, heard, noise: of P pairs, [P, 2n], and the variance of each value's noise, [P, 2n] or [P, 1].
        received, own: of B receptions, [B, 2n], and the variance of each value's noise, [B, 2n] or [B, 1].
        candidates: [N, 2n].
    """
    heard, noise = _mixed(heard, noise)
    received, own = _mixed(received, own)
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


def rotation_evidence(symbols: Tensor, heard: Tensor, noise: Tensor) -> float:
    """The logarithm of the density of pairs' receptions under an unknown rotation.

    A few rows of a random one are nearly independent and normal of the variance 1/2n, so that what is received at one
    place has the covariance ``S S^T / 2n`` and its noise. The arguments are those of :func:`inner_product_scores`.
    """
    s, y = symbols.double(), heard.double()
    covariance = s @ s.T / s.shape[1] + torch.diag_embed(noise.double().expand_as(y).T)  # [2n, P, P]
    normal = torch.distributions.MultivariateNormal(y.new_zeros(len(y)), covariance, validate_args=False)
    return float(normal.log_prob(y.T).sum())


def _mixed(heard: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Receptions whose noise is that of their message's values all alike once a rotation is undone, and it [B, 1].

    Behind an MMSE equaliser a value that was spread over all places is ``b`` times what it was, b the mean of the
    places' ``1 / (1 + 2w)``, and its error has the variance ``b (1 - b) / 2``; both are divided by b.
    """
    trust = 1 / (1 + 2 * noise)
    share = trust / trust.mean(1, keepdim=True)
    return heard * share, (noise * share).mean(1, keepdim=True)


# -- permutations -----------------------------------------------------------------------------------


def permutation_scores(
    symbols: Tensor,
    heard: Tensor,
    noise: Tensor,
    received: Tensor,
    own: Tensor,
    candidates: Tensor,
    *,
    signed: bool = False,
) -> Tensor:
    """Scores [B, N] of candidates by how well they fit in with pairs under the same permutation.

    With ``L_ij = -(y_i - s_j)^2 / 2w_i - sum_p (y_pi - s_pj)^2 / 2w_pi`` the likelihood is the mean over permutations
    of ``exp(sum_i L_i,p(i))``; where signs are flipped too, exp(L_ij) is the mean of that of either sign.

    Args:
        symbols, heard, noise, received, own, candidates: as in :func:`inner_product_scores`.
        signed: whether the key flips signs.
    """
    known = _fits(symbols, heard, noise, signed)
    _, chance = log_mean_over_permutations(known.logsumexp(0))
    turned = 2 * known.softmax(0)[0] - 1  # the mean sign
    mean = candidates @ (chance * turned).T
    variance = (candidates.square() @ chance.T - mean.square()).clamp_min(0)
    own = own.expand_as(received)
    first = gaussian_likelihood(received / own, 1 / own, torch.ones_like(own[:, :1]), mean, variance)
    best = first.topk(min(BEST, first.shape[1]), dim=1).indices  # [B, K]
    rows = max(1, AT_ONCE // (best.shape[1] * known.numel()))
    found = []
    for part, y, w in zip(best.split(rows), received.split(rows), own.split(rows), strict=True):
        y, w, each = y[:, None, :, None], w[:, None, :, None], candidates[part][:, :, None]
        fits = [one - (y - s).square() / (2 * w) for one, s in zip(known, (each, -each), strict=False)]
        found.append(log_mean_over_permutations(reduce(torch.logaddexp, fits))[0])
    likelihood = torch.cat(found)
    # Whoever is not among the best stays behind them, in the same order.
    behind = first - first.amax(1, keepdim=True) + likelihood.amin(1, keepdim=True) - 1.0
    return behind.scatter(1, best, likelihood)


def permutation_evidence(symbols: Tensor, heard: Tensor, noise: Tensor, *, signed: bool = False) -> float:
    """The logarithm of the density of pairs' receptions under an unknown permutation, as :func:`rotation_evidence`."""
    mean, _ = log_mean_over_permutations(_fits(symbols, heard, noise, signed).logsumexp(0))
    return float(mean.double() - (2 * math.pi * noise.double().expand_as(heard)).log().sum() / 2)


def log_mean_over_permutations(fit: Tensor) -> tuple[Tensor, Tensor]:
    """The logarithm of the mean of ``exp(sum_i L_i,p(i))`` over all permutations, [...], and T [..., I, I], the chances
    that i goes to j, of L [..., I, I].

    The sum is the permanent of exp(L), which is approximated by its Bethe free energy
    ``sum T L - sum T log T + sum (1 - T) log(1 - T)`` (Vontobel, *IEEE Transactions on Information Theory* 59, 2013) at
    the doubly stochastic T to which Sinkhorn's iteration brings exp(L). What the same is for equal entries is taken
    off: for these the mean is exact.

    >>> mean, chance = log_mean_over_permutations(torch.zeros(3, 3))
    >>> bool(mean.abs() < 1e-5), bool(torch.allclose(chance, torch.full((3, 3), 1 / 3)))
    (True, True)
    """
    size = fit.shape[-1]
    columns = torch.zeros_like(fit[..., 0, :])
    for _ in range(SWEEPS):
        rows = -(fit + columns[..., None, :]).logsumexp(-1)
        columns = -(fit + rows[..., None]).logsumexp(-2)
    chance = (fit + rows[..., None] + columns[..., None, :]).exp().clamp(max=1)
    bethe = torch.special.xlogy(1 - chance, 1 - chance).sum((-2, -1)) - rows.sum(-1) - columns.sum(-1)
    return bethe - size * math.log(size) - size * (size - 1) * math.log1p(-1 / size), chance


def _fits(symbols: Tensor, heard: Tensor, noise: Tensor, signed: bool) -> Tensor:
    """Minus half the squared distances, in units of the noise, of what was received at a place of all pairs from what
    was sent at another, [1, 2n, 2n]; or from that and from minus that, each less log 2, [2, 2n, 2n]."""
    # In float64: right places are small differences of large numbers.
    s, y, weight = symbols.double(), heard.double(), 1 / noise.double().expand_as(heard)
    agreement = (y * weight).T @ s
    apart = (y.square() * weight).sum(0)[:, None] / 2 + weight.T @ s.square() / 2
    if not signed:
        return (agreement - apart)[None].float()
    return torch.stack([agreement - apart, -agreement - apart]).float() - math.log(2)


KINDS: dict[str, tuple[Callable[..., Tensor], Callable[..., float]]] = {
    "rotation": (inner_product_scores, rotation_evidence),
    "permutation": (permutation_scores, permutation_evidence),
    "signed permutation": (
        partial(permutation_scores, signed=True),
        partial(permutation_evidence, signed=True),
    ),
}
"""Of each kind of key the scores under it, and how likely pairs are under it."""

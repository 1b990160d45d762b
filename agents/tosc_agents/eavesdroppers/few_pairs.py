"""Re-identification under a key that is held for several messages, from a few pairs sent under it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tosc_agents.eavesdroppers.base import drawn
from tosc_agents.eavesdroppers.candidates import Remembered
from tosc_agents.eavesdroppers.likelihoods import (
    AT_ONCE,
    any_order_likelihood,
    gaussian_likelihood,
    known_csi,
    log_mean_over_permutations,
    usual_snr_db,
)
from tosc_env.attackers import Eavesdropper
from tosc_env.channels import noise_power
from tosc_env.channels.base import matched
from tosc_env.options import check_count
from tosc_env.privacy.view import View
from tosc_env.types import SystemSpec

TRIED = 32
"""Pairs at most by which the kind of key is judged."""

NO_DOUBT = 30.0
"""The logarithm of the odds against a kind of key from which on it is left out."""

STEPS = 50
"""At most, by which a rotation's mean is found."""

LEVELS = tuple(2.0**k for k in range(-4, 7))
"""Of the noise, in units of that of the link's usual SNR, where no CSI tells it."""


class FewPairs(Eavesdropper):
    """Re-identification under a key that stays, from a few pairs of symbols and encrypted receptions, without finding
    the key.

    Of an unknown *rotation or reflection* R the pairs (s_p, y_p), y_p = s_p R + noise, tell a mean M = U m V^T and what
    they leave open, 1 - m^2 of each direction (:func:`known_rotation`), from one pair on. A reception of the candidate
    s is normal of the mean s M, with the noise of each value where it was received: no equaliser and no undone key has
    spread it.

    Of a *permutation*, or a *signed permutation*, which may flip signs too, the likelihood of a candidate is a mean
    over all of them, of the pairs and the reception together (:func:`log_mean_over_permutations
    <tosc_agents.eavesdroppers.likelihoods.log_mean_over_permutations>`). It is worked out for the candidates that are
    best if each value comes from each place with the chance that the pairs alone give.

    The likelihood of a candidate is the mean over the kinds, each as probable as the pairs make it, whatever the key:
    one pair is nearly enough to tell. Where the CSI is denied the level of the noise is unknown too, and that at which
    the pairs are likeliest is taken.

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
        """The likeliest kind of key."""
        self._usual_db: float | None = None
        self._encode: Callable[[Tensor], Tensor] | None = None
        self._encodings = 1
        self._spread = 0.0
        self._known: list[tuple[str, float, float, Any]] = []
        """Of each kind of key its log-probability, the level of the noise, and what the pairs tell of the key."""
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
        for kind, given in KINDS.items():
            levels = (1.0,) if self._usual_db is None else LEVELS
            each_level = {w: given.evidence(symbols[some], heard[some], w * noise[some]) for w in levels}
            level = max(each_level, key=lambda w: each_level[w])
            found[kind] = each_level[level], level
        best = {kind: value for kind, (value, _) in found.items()}
        self.kind = max(best, key=lambda kind: best[kind])
        self._known = [
            (kind, value - best[self.kind], level, KINDS[kind].learn(symbols, heard, level * noise))
            for kind, (value, level) in found.items()
            if value > best[self.kind] - NO_DOUBT
        ]
        return {"pairs": len(index), "encodings": self._encodings, "kind": self.kind, "log_evidence": best}

    @torch.no_grad()
    def match(self, received: Tensor, csi: Tensor, candidates: Tensor) -> Tensor:
        symbols = self._symbols(candidates).mean(0)
        heard, noise = self._heard(received, csi)
        each = [
            odds + KINDS[kind].scores(known, heard, level * noise, symbols)
            for kind, odds, level, known in self._known
        ]
        return torch.stack(each).logsumexp(0)

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


class Rotation(NamedTuple):
    """What pairs tell of an orthogonal key R, of s -> s R, in float64."""

    mean: Tensor
    """M [D, D]."""
    sent: Tensor
    """Of a message s the energy ``s sent s^T`` is left open, [D, D]."""
    heard: Tensor
    """The covariance of what is left open of a message of the energy 1, [D, D]."""


def known_rotation(symbols: Tensor, heard: Tensor, noise: Tensor) -> Rotation:
    """What P pairs tell of their key, a rotation or reflection.

    In white noise of the variance w the density of R is proportional to ``exp(tr F^T R)``, F being
    ``sum s_p^T y_p / w`` (von Mises and Fisher's). With ``F = U f V^T`` the mean is ``U m V^T`` (:func:`mean_cosines`),
    and the key sends what is open of u_j to the v_k in proportion to ``(1 - m_j^2) (1 - m_k^2)``.

    Where values differ in their noise, each is taken to have had as little as the best of its message, and more after
    that: what it then was, given the mean, is worked out in turn with the mean (variational Bayes). At last every value
    counts as one of its message's mean precision.

    Args:
        symbols, heard, noise: of P pairs, [P, D], and the variance of each value's noise, [P, D] or [P, 1].
    """
    s, y = symbols.double(), heard.double()
    weight = 1 / noise.double().expand_as(y)
    mean = y.new_zeros(s.shape[1], s.shape[1])

    def given(mean: Tensor, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        u, f, v = torch.linalg.svd(s.T @ (weight * y + (level - weight) * (s @ mean)))
        return u, mean_cosines(f), v

    for _ in range(STEPS):
        u, cosines, v = given(mean, weight.amax(1, keepdim=True))
        before, mean = mean, (u * cosines) @ v
        if float((mean - before).abs().amax()) < 1e-4:
            break
    u, cosines, v = given(mean, weight.mean(1, keepdim=True))
    mean = (u * cosines) @ v
    left = 1 - cosines.square()
    return Rotation(mean, (u * left) @ u.T, (v.T * (left / left.sum())) @ v)


def mean_cosines(concentration: Tensor) -> Tensor:
    """The means m [D] of R_jj over all orthogonal matrices R, of the density ``exp(sum_j f_j R_jj)``, of f [D].

    Of a single f_j > 0 it is that of a direction on the sphere, ``m / (1 - m^2) = f_j / D`` (nearly); of large ones
    ``1 - m_j = sum_k 1 / (f_j + f_k) / 2``, from the angles of the D (D - 1) / 2 planes. In between each other
    direction k counts ``f_j / (f_j + m_k^2 f_k)`` in place of 1, and its own ``1 - m_j^2``.
    """
    f, cosines = concentration, torch.zeros_like(concentration)
    for _ in range(10):
        counts = 1 / (1 + (cosines.square() * f)[None] / f.clamp_min(1e-30)[:, None])
        x = 2 * f / (counts.sum(1) - counts.diagonal() + 1 - cosines.square())
        cosines = x / (1 + (1 + x.square()).sqrt())
    return cosines


def rotation_scores(known: Rotation, received: Tensor, own: Tensor, candidates: Tensor) -> Tensor:
    """Log-densities [B, N] of receptions of candidates under a rotation of which this is known.

    Args:
        known: of :func:`known_rotation`.
        received, own: of B receptions, [B, D], and the variance of each value's noise, [B, D] or [B, 1].
        candidates: [N, D].
    """
    x, received = candidates.double(), received.double()
    scale = own.double().expand_as(received).rsqrt()
    mean, reals = x @ known.mean, x.shape[1]
    # Of the candidates' mean: by their energy, which the game makes the same, they differ little.
    left = ((x @ known.sent) * x).sum(1).mean() * known.heard
    one = torch.eye(reals, dtype=x.dtype, device=x.device)
    rows, found = max(1, AT_ONCE // (reals * max(x.shape))), []
    for y, w in zip(received.split(rows), scale.split(rows), strict=True):
        whole = one + w[:, :, None] * left * w[:, None]
        factor, _ = torch.linalg.cholesky_ex(whole)
        inverse = w[:, :, None] * torch.cholesky_inverse(factor) * w[:, None]
        weighted = (inverse @ y[..., None])[..., 0]  # [R, D]
        fit = weighted @ mean.T - ((mean @ inverse) * mean).sum(2) / 2
        alone = (weighted * y).sum(1) / 2 + factor.diagonal(dim1=1, dim2=2).log().sum(1) - w.log().sum(1)
        found.append(fit - alone[:, None])
    return (torch.cat(found) - reals * math.log(2 * math.pi) / 2).float()


def rotation_evidence(symbols: Tensor, heard: Tensor, noise: Tensor) -> float:
    """The logarithm of the density of pairs' receptions under an unknown rotation.

    A few rows of a random one are nearly independent and normal of the variance 1/2n, so that what is received at one
    place has the covariance ``S S^T / 2n`` and its noise. The arguments are those of :func:`known_rotation`.
    """
    s, y = symbols.double(), heard.double()
    covariance = s @ s.T / s.shape[1] + torch.diag_embed(noise.double().expand_as(y).T)  # [2n, P, P]
    normal = torch.distributions.MultivariateNormal(y.new_zeros(len(y)), covariance, validate_args=False)
    return float(normal.log_prob(y.T).sum())


# -- permutations -----------------------------------------------------------------------------------


def permutation_scores(known: Tensor, received: Tensor, own: Tensor, candidates: Tensor) -> Tensor:
    """Log-densities [B, N] of receptions of candidates under the permutation of pairs.

    With ``L_ij = -(y_i - s_j)^2 / 2w_i - sum_p (y_pi - s_pj)^2 / 2w_pi`` it is the mean over permutations of
    ``exp(sum_i L_i,p(i))`` over that of the pairs alone; where signs are flipped too, exp(L_ij) is the mean of that of
    either sign.

    Args:
        known: of :func:`known_permutation`.
        received, own, candidates: as in :func:`rotation_scores`.
    """
    alone, chance = log_mean_over_permutations(known.logsumexp(0))
    turned = 2 * known.softmax(0)[0] - 1  # the mean sign
    mean = candidates @ (chance * turned).T
    variance = (candidates.square() @ chance.T - mean.square()).clamp_min(0)
    own = own.expand_as(received)
    toward, power = received / own, 1 / own
    first = gaussian_likelihood(toward, power, torch.ones_like(own[:, :1]), mean, variance)
    fit = any_order_likelihood(toward[:, None], power[:, None], candidates, first, known)
    density = (received * toward + (2 * math.pi * own).log()).sum(1, keepdim=True) / 2
    return fit - density - alone


def permutation_evidence(symbols: Tensor, heard: Tensor, noise: Tensor, *, signed: bool = False) -> float:
    """The logarithm of the density of pairs' receptions under an unknown permutation, as :func:`rotation_evidence`."""
    mean, _ = log_mean_over_permutations(known_permutation(symbols, heard, noise, signed=signed).logsumexp(0))
    return float(mean.double() - (2 * math.pi * noise.double().expand_as(heard)).log().sum() / 2)


def known_permutation(symbols: Tensor, heard: Tensor, noise: Tensor, *, signed: bool = False) -> Tensor:
    """Minus half the squared distances, in units of the noise, of what was received at a place of all pairs from what
    was sent at another, [1, 2n, 2n]; or from that and from minus that, each less log 2, [2, 2n, 2n]."""
    # In float64: right places are small differences of large numbers.
    s, y, weight = symbols.double(), heard.double(), 1 / noise.double().expand_as(heard)
    agreement = (y * weight).T @ s
    apart = (y.square() * weight).sum(0)[:, None] / 2 + weight.T @ s.square() / 2
    if not signed:
        return (agreement - apart)[None].float()
    return torch.stack([agreement - apart, -agreement - apart]).float() - math.log(2)


class Kind(NamedTuple):
    """A kind of key."""

    learn: Callable[[Tensor, Tensor, Tensor], Any]
    """What pairs tell of a key."""
    scores: Callable[[Any, Tensor, Tensor, Tensor], Tensor]
    """Log-densities of receptions of candidates given that."""
    evidence: Callable[[Tensor, Tensor, Tensor], float]
    """The log-density of pairs."""


KINDS = {
    "rotation": Kind(known_rotation, rotation_scores, rotation_evidence),
    "permutation": Kind(known_permutation, permutation_scores, permutation_evidence),
    "signed permutation": Kind(
        partial(known_permutation, signed=True),
        permutation_scores,
        partial(permutation_evidence, signed=True),
    ),
}
"""By name."""

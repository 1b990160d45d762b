"""How likely a reception is if an image's symbols are known in part: of each value a mean and a variance, of each
channel use the probability of each codeword, or all values but for their order."""

from __future__ import annotations

import math
from functools import reduce

import torch
from torch import Tensor

from tosc_env.channels import noise_power
from tosc_env.channels.base import matched
from tosc_env.privacy.view import View
from tosc_env.types import CSILayout

AT_ONCE = 2**24
"""Numbers in memory at once."""


def usual_snr_db(view: View) -> float | None:
    """The SNR in dB that an attacker takes for its own where its CSI is denied, the middle of its link's; else None."""
    return None if view.threat.csi else (view.snr_db.low + view.snr_db.high) / 2


def known_csi(csi: Tensor, usual: float | None) -> Tensor:
    """The CSI [..., c] as it was told; where it is denied, and told as zeros, the usual SNR alone, [..., 1]."""
    return csi if usual is None else torch.full_like(csi[..., :1], usual)


def gaussian_likelihood(
    values: Tensor, power: Tensor, noise: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    """Log-likelihoods of receptions through the matched filter, for candidates whose symbols are normal.

    With ``f = g (g s + n)``, ``p = g^2``, ``s ~ N(m, v)`` and real noise of variance ``w`` the log-likelihood is, up to
    what is the same for all candidates,

        - 1/2 sum (f - p m)^2 / (p (p v + w)) + log(p v + w).

    Args:
        values, power: f and p [B, D], or of p one row, one column or both for all.
        noise: w [B, 1].
        mean, variance: m and v [N, D].

    Returns:
        float32 [B, N].
    """
    power = power.clamp_min(1e-12)
    # To compare noises on a GPU would be to wait for it, which is quick with all pairs.
    if power.numel() == 1 and noise.device.type == "cpu" and bool((noise == noise[:1]).all()):
        # One spread for all messages: products of matrices.
        spread = power * variance + noise[:1]
        weight = power * mean / spread
        own = (power * mean * weight / power + spread.log()).sum(1) / 2
        return values @ weight.T / power - values.square() @ (0.5 / (power * spread)).T - own
    rows = max(1, AT_ONCE // mean.numel())
    found = []
    for f, p, w in zip(
        *(one.expand(len(values), -1).split(rows) for one in (values, power, noise)), strict=True
    ):
        p, w = p[:, None], w[:, None]
        spread = p * variance + w
        found.append(-((f[:, None] - p * mean).square() / (p * spread) + spread.log()).sum(2) / 2)
    return torch.cat(found)


def codeword_posteriors(received: Tensor, csi: Tensor, layout: CSILayout, points: Tensor) -> Tensor:
    """Log-probabilities of each point at each channel use, float32 [B, n, M], all points being equally likely before.

    Args:
        received, csi, layout: as in :func:`~tosc_env.channels.base.matched`, received [B, 2n].
        points: complex64 [M].
    """
    filtered, power = matched(received, csi, layout)
    grid = torch.view_as_real(points)  # [M, 2]
    energies = grid.square()
    likelihood = 2 * filtered.unflatten(1, (-1, 2)) @ grid.T - power.unflatten(1, (-1, 2)) @ energies.T
    return (likelihood / noise_power(csi[:, :1, None])).log_softmax(2)


def codewords_likelihood(log_posteriors: Tensor, words: Tensor) -> Tensor:
    """Log-likelihoods of messages, for candidates with given log-probabilities of each codeword at each channel use.

    Args:
        log_posteriors: of :func:`codeword_posteriors`, [B, n, M].
        words: [N, n, M].

    Returns:
        float32 [B, N].
    """
    heard, sent = log_posteriors.exp().transpose(0, 1), words.exp().permute(1, 2, 0)
    rows = max(1, AT_ONCE // (len(sent) * sent.shape[2]))
    tiny = torch.finfo(torch.float32).tiny
    parts = [torch.bmm(part, sent).clamp_min(tiny).log().sum(0) for part in heard.split(rows, dim=1)]
    return torch.cat(parts)


def counts_likelihood(
    received: Tensor, csi: Tensor, layout: CSILayout, points: Tensor, counts: Tensor
) -> Tensor:
    """Log-likelihoods of messages whose symbols were put into another order, by how often each point was sent.

    Args:
        received, csi, layout: as in :func:`codeword_posteriors`.
        points: complex64 [M].
        counts: of each candidate, [N, M].

    Returns:
        float32 [B, N], each row up to a constant.
    """
    return permuted_likelihood(codeword_posteriors(received, csi, layout, points).exp(), counts)


SWEEPS = 2
"""Steps towards the least upper bound; further ones identify hardly any more messages."""


def permuted_likelihood(posteriors: Tensor, counts: Tensor) -> Tensor:
    """Log-likelihoods of messages whose symbols were put into an unknown order.

    The likelihood is a coefficient of a polynomial, of ``prod_m x_m^c_m`` in ``prod_u sum_m p_u(m) x_m``, over the
    number of orders. That no coefficient exceeds the polynomial over its monomial at any positive x bounds it from
    above, and at the x that Sinkhorn's iteration finds from counts / n the bound is nearly met (Gurvits, *Electronic
    Journal of Combinatorics* 15, 2008).

    Args:
        posteriors: of each point at each channel use, up to a factor for each use, [B, n, M].
        counts: of each candidate, [N, M].

    Returns:
        float32 [B, N].
    """
    uses, tiny = posteriors.shape[1], 1e-30
    share = counts / uses
    found = []
    for heard in posteriors.split(max(1, AT_ONCE // (uses * len(counts)))):
        factor = torch.ones(len(heard), *counts.shape, device=counts.device)  # x over share, [B, N, M]
        for _ in range(SWEEPS):
            seen = (share * factor) @ heard.mT  # [B, N, n]
            factor = uses / (seen.clamp_min(tiny).reciprocal() @ heard).clamp_min(tiny)
        seen = (share * factor) @ heard.mT
        found.append(seen.clamp_min(tiny).log().sum(2) - (counts * factor.log()).sum(2))
    return torch.cat(found)


BEST = 32
"""Candidates at least whose likelihood in any order is worked out."""

CHANCES = 2**13
"""Of each reception the places times values of these at most, where they are more."""


def any_order_likelihood(
    toward: Tensor, power: Tensor, values: Tensor, first: Tensor, known: Tensor | None = None
) -> Tensor:
    """Log-likelihoods of messages whose real values were put into an unknown order, each by its own gain.

    The likelihood of a value s at the place i is ``exp(<toward_i, s> - power_i s^2 / 2)``, and that of a candidate the
    mean over all orders (:func:`log_mean_over_permutations`). It is worked out for as many candidates as there are
    :data:`CHANCES` for, at least the :data:`BEST` by another comparison.

    Args:
        toward, power: of R receptions, each in an order of its own, [B, R, D].
        values: of the candidates, [N, D].
        first: scores by which candidates are chosen, [B, N].
        known: how well each place and value fit by what else is known, [1, D, D]; or [2, D, D] where signs may have
            been flipped too, as the value is and as it is not, less log 2 each.

    Returns:
        float32 [B, N]; whoever is not among the best stays behind them, in the order of ``first``.
    """
    reals = values.shape[1]
    known = values.new_zeros(1, 1, 1) if known is None else known
    best = first.topk(min(max(BEST, CHANCES // reals**2), first.shape[1]), dim=1).indices  # [B, K]
    rows = max(1, AT_ONCE // (best.shape[1] * len(known) * reals**2))
    found = []
    for t, p, chosen in zip(toward.split(rows), power.split(rows), best.split(rows), strict=True):
        s, total = values[chosen][:, :, None], torch.zeros_like(chosen, dtype=values.dtype)
        for at, of in zip(t.unbind(1), p.unbind(1), strict=True):
            agree, size = at[:, None, :, None] * s, of[:, None, :, None] * s.square() / 2  # [R, K, D, D]
            fits = [one + sign * agree - size for one, sign in zip(known, (1, -1), strict=False)]
            total = total + log_mean_over_permutations(reduce(torch.logaddexp, fits))[0]
        found.append(total)
    likelihood = torch.cat(found)
    behind = first - first.amax(1, keepdim=True) + likelihood.amin(1, keepdim=True) - 1.0
    return behind.scatter(1, best, likelihood)


FIRST, MORE = 2, 8
"""Sweeps by which the chances of a permutation become doubly stochastic, of logarithms and then of the chances."""


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
    for _ in range(FIRST):
        rows = -(fit + columns[..., None, :]).logsumexp(-1)
        columns = -(fit + rows[..., None]).logsumexp(-2)
    # Each column's largest is near 1 now, and what is left of the others counts for nothing below this.
    chance = (fit + rows[..., None] + columns[..., None, :]).exp().clamp_min(1e-30)
    across = torch.ones_like(columns)
    for _ in range(MORE):
        along = 1 / (chance * across[..., None, :]).sum(-1)
        across = 1 / (chance * along[..., None]).sum(-2)
    rows, columns = rows + along.log(), columns + across.log()
    chance = (chance * along[..., None] * across[..., None, :]).clamp(max=1)
    bethe = torch.special.xlogy(1 - chance, 1 - chance).sum((-2, -1)) - rows.sum(-1) - columns.sum(-1)
    return bethe - size * math.log(size) - size * (size - 1) * math.log1p(-1 / size), chance

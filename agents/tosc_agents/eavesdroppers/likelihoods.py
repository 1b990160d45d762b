"""How likely a reception is if an image's symbols are known in part: of each value a mean and a variance, or of each
channel use the probability of each codeword."""

from __future__ import annotations

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

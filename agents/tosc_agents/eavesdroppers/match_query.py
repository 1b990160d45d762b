"""Re-identification by encoding the candidates: the one whose symbols fit best is taken."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from tosc_agents.eavesdroppers.base import drawn
from tosc_agents.eavesdroppers.candidates import Remembered
from tosc_agents.eavesdroppers.likelihoods import (
    AT_ONCE,
    any_order_likelihood,
    counts_likelihood,
    known_csi,
    usual_snr_db,
)
from tosc_env import metrics
from tosc_env.attackers import Eavesdropper
from tosc_env.channels.base import aligned, matched, noise_power
from tosc_env.modulation import histogram
from tosc_env.options import check_count
from tosc_env.privacy.view import View
from tosc_env.types import CSILayout, SystemSpec


def magnitudes(symbols: Tensor) -> Tensor:
    """The magnitude of each channel use, [B, 2n] -> [B, n]."""
    return symbols.unflatten(1, (-1, 2)).norm(dim=2)


FEATURES: dict[str, Callable[[Tensor], Tensor]] = {
    "symbols": lambda symbols: symbols,
    "absolute": torch.abs,
    "magnitude": magnitudes,
    "sorted": lambda symbols: symbols.sort(1).values,
    "sorted-absolute": lambda symbols: symbols.abs().sort(1).values,
    "sorted-magnitude": lambda symbols: magnitudes(symbols).sort(1).values,
}
"""Features that are compared by their Euclidean distance, [B, 2n] -> [B, d]: the whole message, or what a change of
signs, phases or order leaves as it was."""

ORDERS = {"orders": "sorted", "signed-orders": "sorted-absolute"}
"""Likelihoods over all orders, and which features are the values that are ordered and choose the candidates."""

MOST_ORDERED = 256
"""Reals of a message at most of which all orders are compared: that takes a tenth of a second for each reception."""


class MatchQuery(Eavesdropper):
    """Re-identification by having the candidates encoded.

    ::

        candidate [N, C, H, W] -> the encoder itself -> symbols [N, 2n] --+
                                                                          +--> minus a distance, [B, N]
        received [B, 2n] or [B, R, 2n], CSI ------------------------------+

    Which distance identifies best is measured on the attacker's own images, once, in :meth:`fit`:

    - ``symbols``: Euclidean, maximum likelihood over AWGN; ``l1``: the same over Laplace noise;
    - ``absolute``, ``magnitude``: after a change of signs or phases; ``sorted``, ``sorted-absolute``,
      ``sorted-magnitude``: after a permutation of the message as well;
    - ``counts``: the likelihood of how often each point of a known constellation was sent
      (:func:`~tosc_agents.eavesdroppers.likelihoods.counts_likelihood`), which no permutation of the symbols changes;
    - ``fading``: maximum likelihood over a fading link of known CSI;
    - ``orders``, ``signed-orders``: the likelihood over all orders (and signs), where values that a key has moved have
      met several fades of known CSI (:func:`~tosc_agents.eavesdroppers.likelihoods.any_order_likelihood`); of messages
      of up to 256 reals.

    Over such a link the others compare what an MMSE equaliser gives, whatever the channel's. The log-likelihoods of R
    receptions of one image add up, each under a key of its own if need be.

    The encoder is not part of a checkpoint: a copy from a file must be fitted before it can match. What each set of
    candidates was encoded to is remembered.

    Args:
        encodings: of each candidate, averaged, where the encoder is stochastic; at least 1.
        images: own images on which comparisons are measured, at least 2; where there are fewer, as many messages.

    Raises:
        DeniedError: in :meth:`fit`, when candidates may not be encoded.
        InputError: in :meth:`match`, when there is no encoder.
    """

    name = "match-query"
    repeated = whole_csi = True
    needs = {"candidate_queries": (True,)}  # noqa: RUF012
    match_figure = "reid_query"
    comparison: str = "symbols"

    def __init__(self, spec: SystemSpec, *, encodings: int = 8, images: int = 500) -> None:
        super().__init__(
            spec,
            encodings=check_count(encodings, "encodings", high=1000),
            images=check_count(images, "images", 2),
        )
        self._encode: Callable[[Tensor], Tensor] | None = None
        self._encodings = 1
        self._points: Tensor | None = None
        self._usual_db: float | None = None
        self._remembered = Remembered()

    @torch.no_grad()
    def fit(self, view: View, *, generator: torch.Generator, progress: Any = None) -> dict[str, Any]:
        index = drawn(view, torch.arange(view.num_images, device=view.device), self.options["images"])
        view.encode(view.images(index[:0]))  # denied, if it is, before anything is spent
        self._encode = view.encode
        self._encodings = 1 if view.deterministic else self.options["encodings"]
        self._points = view.constellation if view.threat.codebook else None
        self._usual_db = usual_snr_db(view)
        self._remembered.clear()
        # Of few images several receptions each: a choice by a few messages would be one by their noise.
        times = -(-self.options["images"] // len(index))
        reception, _ = view.sample_whole(index.repeat(times))
        truth = torch.arange(len(index), device=view.device).repeat(times)
        candidates = torch.stack([view.symbols(index) for _ in range(self._encodings)])
        known = view.fading and view.threat.csi
        apart = known and view.keyed and self.spec.num_csi > 3
        names = self._comparisons(fading=known, apart=apart)
        found = {}
        for i, name in enumerate(names):
            scores = self._scores(name, reception.received, reception.csi, candidates)
            found[name] = float(metrics.reidentification(scores, truth).mean())
            if progress is not None:
                progress(i + 1, len(names), {"top1": max(found.values())})
        self.comparison = max(found, key=lambda name: found[name])  # of equals the first
        record = {"images": len(index), "encodings": self._encodings}
        return {**record, "comparison": self.comparison, "top1": found}

    @torch.no_grad()
    def match(self, received: Tensor, csi: Tensor, candidates: Tensor) -> Tensor:
        # One that was made for a link without fading knows the SNR alone over any.
        known = csi if self.spec.num_csi > 1 else csi[..., :1]
        return self._scores(self.comparison, received, known, self._symbols(candidates))

    # -- the candidates -----------------------------------------------------------------------------------

    def _symbols(self, candidates: Tensor) -> Tensor:
        """The candidates' symbols [R, N, 2n], of R encodings each, from memory where they are known."""
        return self._remembered.symbols(self.name, candidates, self._encode, self._encodings)

    # -- the comparisons ----------------------------------------------------------------------------------

    def _comparisons(self, fading: bool, apart: bool = False) -> list[str]:
        """The comparisons to try, the likeliest first; ``apart``: a key has moved values that met several fades."""
        names = [*FEATURES, "l1"]
        if self._points is not None:
            names.append("counts")
        if apart and 2 * self.spec.num_symbols <= MOST_ORDERED:
            names += ORDERS
        return ["fading", *names] if fading else names

    def _scores(self, name: str, received: Tensor, csi: Tensor, symbols: Tensor) -> Tensor:
        """Scores [B, N] by one of the comparisons, of receptions [B, 2n] or [B, R, 2n], and symbols [E, N, 2n] of E
        encodings of the candidates."""
        if received.dim() == 2:
            received, csi = received[:, None], csi[:, None]
        layout = self.spec.layout
        if name == "fading":
            return fading_scores(received, csi, symbols.mean(0), layout)
        csi = csi[..., : self.spec.num_csi]
        if name in ORDERS:
            filtered, power = matched(received, csi, layout)
            half, values = noise_power(csi[..., :1]) / 2, _mean(symbols, FEATURES[ORDERS[name]])
            signs = values.new_full((2, 1, 1), -math.log(2)) if name == "signed-orders" else None
            chosen = self._scores(ORDERS[name], received, csi, symbols)
            return any_order_likelihood(filtered / half, power / half, values, chosen, signs)
        if name == "counts":
            points = cast(Tensor, self._points)
            sent = _mean(symbols, lambda one: histogram(one, points))
            pairs = zip(received.unbind(1), known_csi(csi, self._usual_db).unbind(1), strict=True)
            return torch.stack([counts_likelihood(*one, layout, points, sent) for one in pairs]).sum(0)
        weights = _weights(csi)
        if self.spec.num_csi > 1 and not layout.aligned:
            behind, _ = aligned(received.flatten(0, 1), csi.flatten(0, 1), layout)
            received = behind.unflatten(0, received.shape[:2])
        if name == "l1":
            pairs = zip(received.unbind(1), weights.sqrt().unbind(1), strict=True)
            return -torch.stack([torch.cdist(y, symbols.mean(0), p=1.0) * w for y, w in pairs]).sum(0)
        # The squared distances to several receptions are, up to what all candidates share, those to their mean.
        heard = FEATURES[name](received.flatten(0, 1)).unflatten(0, received.shape[:2])
        # The mean of the features, not the features of the mean: an encoder may reorder each message anew.
        wanted = _mean(symbols, FEATURES[name])
        # Exact distances: the fast form by inner products loses the nearest one among near ties.
        exact = "donot_use_mm_for_euclid_dist"
        return -torch.cdist((weights * heard).sum(1), wanted, compute_mode=exact)


def fading_scores(received: Tensor, csi: Tensor, symbols: Tensor, layout: CSILayout) -> Tensor:
    """Log-likelihoods of candidates over a fading link of known CSI, each row times its N0 and against its best.

    Of the raw reception ``r = h s + n`` the log-likelihood of candidate x is, up to a constant,

        (2 Re(conj(x) conj(h) r) - |h|^2 |x|^2) / N0,

    and behind the key of a stage that mixed values before they met their gains, of the MMSE estimate y of all values

        (2 x^T (A + N0) y - x^T A x) / N0.

    Args:
        received, csi, layout: as in :func:`~tosc_env.channels.base.matched`, of R receptions each, received [B, R, 2n];
            or of such a key the CSI with A at its end (:meth:`View.sample_whole <tosc_env.View.sample_whole>`).
        symbols: of the candidates, [N, 2n].

    Returns:
        float32 [B, N], 0 for each row's best.
    """
    # In float64: these are differences of large numbers, and near ties must be told apart.
    received, x = received.double(), symbols.double()
    if layout.aligned and csi.shape[2] > 1 + received.shape[2]:
        likelihood = _behind_mixing(received, csi, x)
    else:
        filtered, power = ((_weights(csi) * one).sum(1) for one in matched(received, csi, layout))
        likelihood = 2 * filtered @ x.T - power @ x.square().T
    return (likelihood - likelihood.amax(1, keepdim=True)).float()


def _behind_mixing(received: Tensor, csi: Tensor, x: Tensor) -> Tensor:
    """``2 x^T (A + N0) y - x^T A x`` [B, N] of receptions y [B, R, 2n] and candidates x [N, 2n], a few at once."""
    count, reals = received.shape[1:]
    rows, found = max(1, AT_ONCE // max(count * reals**2, x.numel())), []
    for y, told in zip(received.split(rows), csi.split(rows), strict=True):
        powers = told[..., 1 + reals :].unflatten(2, (reals, reals)).double()
        filtered = (powers @ y[..., None])[..., 0] + noise_power(told[..., :1]) * y
        whole = (_weights(told)[..., None] * powers).sum(1)  # [B, 2n, 2n]
        found.append(2 * (_weights(told) * filtered).sum(1) @ x.T - ((x @ whole) * x).sum(2))
    return torch.cat(found)


def _weights(csi: Tensor) -> Tensor:
    """What each of R receptions counts beside the others, 1 / N0 over its sum, [B, R, c] -> [B, R, 1]."""
    precision = 1.0 / noise_power(csi[..., :1])
    return precision / precision.sum(1, keepdim=True)


def _mean(symbols: Tensor, feature: Callable[[Tensor], Tensor]) -> Tensor:
    """The mean of a feature over R encodings, [R, N, 2n] -> [N, d]."""
    return feature(symbols.flatten(0, 1)).unflatten(0, symbols.shape[:2]).mean(0)

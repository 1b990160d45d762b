"""Identification among any number of candidates, overall and within the class: a curve in place of one number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tosc_agents.training.evaluate import answer, check_is_test, heard, listening
from tosc_env import Game, PrivacyScheme, ThreatModel, metrics, rollout
from tosc_env.attackers import Eavesdropper
from tosc_env.options import Seed, check_count, checked
from tosc_env.pipeline import as_pipeline
from tosc_env.privacy.streams import secret_of, stream

AT_ONCE = 500
"""Messages at once."""


@dataclass(frozen=True)
class Curve:
    """The share of messages whose image is found among so many candidates.

    Attributes:
        overall: by the number of candidates, drawn from all images.
        within_class: the same, drawn from the images of the right class; empty where the task is no choice.
    """

    overall: dict[int, float]
    within_class: dict[int, float]

    def bits(self) -> dict[str, dict[int, float]]:
        """The gain over chance in bits, ``log2(share x candidates)``; -inf where nothing was found.

        >>> Curve({16: 0.5}, {}).bits()["overall"]
        {16: 3.0}
        """
        return {
            name: {n: math.log2(share * n) if share > 0 else -math.inf for n, share in table.items()}
            for name, table in (("overall", self.overall), ("within_class", self.within_class))
        }


def share_first(better: Tensor, equal: Tensor, others: int | Tensor, size: int) -> Tensor:
    """The chance float64 [B] of being first among ``size`` candidates, the right one and others without replacement.

    With A others that are not better, e of them equal, among which lots are drawn, it is

        (C(A + 1, size) - C(A - e, size)) / ((e + 1) C(others, size - 1)).

    Args:
        better, equal: how many others score higher and as high, int64 [B].
        others: how many there are.
        size: number of candidates, at most ``others`` + 1.

    >>> share_first(torch.tensor([0, 1, 0]), torch.tensor([0, 0, 1]), 9, 2)
    tensor([1.0000, 0.8889, 0.9444], dtype=torch.float64)
    """
    behind = others - better
    whole = _log_choose(torch.as_tensor(others, device=better.device), size - 1)
    ahead, level = (_log_choose(n, size) - whole for n in (behind + 1, behind - equal))
    return (ahead.exp() - level.exp()) / (equal + 1.0)


def _log_choose(n: Tensor, k: int) -> Tensor:
    """log C(n, k), -inf where k > n."""
    n = n.double()
    value = torch.lgamma(n + 1) - math.lgamma(k + 1) - torch.lgamma((n - k).clamp_min(0) + 1)
    return torch.where(n >= k, value, -torch.inf)


@torch.no_grad()
@checked
def identification_curve(
    game: Game,
    scheme: PrivacyScheme,
    attackers: Mapping[str, Eavesdropper],
    *,
    snr_db: float = 12.0,
    sizes: Sequence[int] | None = None,
    threat: ThreatModel | None = None,
    seed: Seed = 0,
) -> dict[str, Curve]:
    """Identification by each attacker that matches or rebuilds, among any number of candidates.

    Every message is compared with all images once; what holds among fewer is then known exactly, on average over all
    ways to draw them.

    Args:
        game: on the test images; its SNRs are replaced.
        scheme: whose transmitter sends.
        attackers: trained eavesdroppers by name.
        snr_db: of the links.
        sizes: numbers of candidates, from 1 to all images; None: 10, 20, 50, 100, ... and all.
        threat: as of :func:`~tosc_agents.evaluate`.
        seed: of the channel's noise, and of the orders in which messages and candidates are shown.

    Returns:
        a curve by attacker, of several nodes by attacker and node; within the class only sizes that every class has.
    """
    count = len(game.source)
    if sizes is None:
        steps = (one * 10**power for power in range(1, 10) for one in (1, 2, 5))
        sizes = [*(size for size in steps if size < count), count]
    for size in sizes:
        check_count(size, "each of sizes", high=count)
    check_is_test(game.source)
    pipeline = as_pipeline(scheme)
    nodes = tuple(replace(node, snr_db=None) for node in game.nodes)
    game = game.with_rules(snr_db=snr_db, eavesdropper_snr_db=None, nodes=nodes)
    labels = None if game.task.binary else game.source.labels
    secret = secret_of(pipeline, seed)
    noise = stream(secret, "noise", 0, game.device)
    # In another order than the messages, so that an answer by position is right by chance alone.
    order = torch.randperm(count, generator=stream(secret, "candidates", 0)).to(game.device)
    images = game.source.gather(order).images
    able = {name: one for name, one in attackers.items() if {"match", "reconstruct"} & set(one.capabilities)}
    listeners = listening(game, pipeline, able, threat)
    found: dict[str, list[Tensor]] = {one.who: [] for one in listeners}
    for place, exchange in enumerate(rollout(game, pipeline, generator=noise, batch_size=AT_ONCE)):
        index = exchange.round.batch.index
        for one, reception, mixed in heard(exchange, listeners, noise, secret, place):
            attacker = one.attacker
            if "match" in attacker.capabilities:
                scores = answer(attacker, "match", (len(index), count), reception, mixed, images)
            else:
                shape = (len(index), *images.shape[1:])
                rebuilt = answer(attacker, "reconstruct", shape, reception, mixed)
                scores = metrics.pixel_scores(rebuilt, images)
            found[one.who].append(_places(scores[:, order.argsort()], index, labels))
    return {name: _curve(torch.cat(places), labels, sizes) for name, places in found.items()}


def _places(scores: Tensor, truth: Tensor, labels: Tensor | None) -> Tensor:
    """How many others are better and as good, of all and of the right one's class, int64 [B, 4]."""
    right = scores.gather(1, truth[:, None])
    # What is no number is no score: whoever gives one beside the right candidate has not put that first.
    better, equal = ~(scores <= right), scores == right
    mates = torch.zeros_like(better) if labels is None else labels == labels[truth][:, None]
    columns = [better, equal, better & mates, equal & mates]
    places = torch.stack([one.sum(1) for one in columns], dim=1)
    itself = torch.tensor([0, 1, 0, 0 if labels is None else 1], device=places.device)
    return (places - itself * equal.gather(1, truth[:, None])).clamp_min(0)


def _curve(places: Tensor, labels: Tensor | None, sizes: Sequence[int]) -> Curve:
    better, equal, near, level = places.unbind(1)
    others = len(places) - 1
    overall = {size: float(share_first(better, equal, others, size).mean()) for size in sizes}
    if labels is None:
        return Curve(overall, {})
    counts = torch.bincount(labels)
    mates = counts[labels] - 1
    fewest = int(counts[counts > 0].min())
    within = {size: float(share_first(near, level, mates, size).mean()) for size in sizes if size <= fewest}
    return Curve(overall, within)

"""Measuring a system and its attackers on the test images: accuracy and leaks, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from tosc_env import metrics
from tosc_env.attackers import Eavesdropper
from tosc_env.errors import InputError, unknown
from tosc_env.game import Game
from tosc_env.modulation import hard_decision
from tosc_env.pipeline import Pipeline, as_pipeline, evaluating
from tosc_env.privacy.oracle import Recorded, context_of, heard, numbered
from tosc_env.privacy.threat import ThreatModel
from tosc_env.schemes import PrivacyScheme
from tosc_env.types import Reception, Round, Transmission

QUERY = "nearest-symbols"
"""The attacker that has the candidates encoded; it needs no training, only permission."""

CANDIDATES = 1000
"""Images among which an attacker must find the right one."""


@dataclass(frozen=True)
class Figure:
    """A mean over seeds and the half-width of its 95 % interval (nan for a single seed)."""

    mean: float
    interval: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        """From one value per seed.

        >>> Figure.of([1.0, 3.0]).mean
        2.0
        """
        n = len(values)
        mean = sum(values) / n
        if n == 1:
            return cls(mean, math.nan)
        spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))
        from scipy.special import stdtrit

        # Student's t for a two-sided 95 % interval.
        return cls(mean, float(stdtrit(n - 1, 0.975)) * spread / math.sqrt(n))

    def plain(self) -> dict[str, float | None]:
        """For JSON, which knows no nan."""
        return {"mean": self.mean, "interval95": None if math.isnan(self.interval) else self.interval}


@dataclass(frozen=True)
class Evaluation:
    """Figures of a system at each SNR.

    Attributes:
        accuracy: by SNR; empty for recorded symbols, which have no receiver.
        leaks: by attacker, SNR and figure name (``psnr_db``, ``ssim``, ``psnr_clipped_db``, ``reid_pixels``,
            ``reid_match``, ``reid_query``, ``infer_label``, ``infer_`` and a private attribute).
        floors: what knowing nothing (``mean-image``) and knowing the class (``class-mean``) gives.
        chance: for the label and each private attribute, how often the most frequent value is right.
        images, seeds: how many test images and how many draws of the channel's noise.
        usage: how often a discrete scheme sent each point of its constellation, of all symbols of all images.
    """

    accuracy: dict[float, Figure]
    leaks: dict[str, dict[float, dict[str, Figure]]]
    floors: dict[str, dict[str, float]]
    images: int
    seeds: int
    chance: dict[str, float] = field(default_factory=dict)
    usage: list[float] | None = None

    def plain(self) -> dict[str, Any]:
        """As plain values, for JSON."""

        def keyed(table: Mapping[float, Any], inner: Any) -> dict[str, Any]:
            return {f"{snr:g}": inner(value) for snr, value in table.items()}

        return {
            "accuracy": keyed(self.accuracy, lambda f: f.plain()),
            "leaks": {
                name: keyed(rows, lambda row: {k: f.plain() for k, f in row.items()})
                for name, rows in self.leaks.items()
            },
            "floors": self.floors,
            "chance": self.chance,
            **({"codeword_usage": self.usage} if self.usage is not None else {}),
            "test_images": self.images,
            "seeds": self.seeds,
            "candidates": min(CANDIDATES, self.images),
            "seeds_vary": "channel noise only",
        }


@torch.no_grad()
def evaluate(
    game: Game,
    scheme: PrivacyScheme,
    attackers: Mapping[str, Eavesdropper],
    *,
    snr_db: Sequence[float] = (12.0,),
    eavesdropper_snr_db: Sequence[float] | None = None,
    seeds: int = 3,
    batch_size: int = CANDIDATES,
    with_ssim: bool = True,
    ssim_seeds: int | None = None,
    with_floors: bool = True,
    threat: ThreatModel | None = None,
) -> Evaluation:
    """Accuracy of the receiver and leaks to each attacker, all on the very same receptions.

    Args:
        game: on the test images; its SNRs are replaced by those asked for.
        scheme: whose transmitter sends and whose receiver decides (recorded symbols come without one).
        attackers: trained eavesdroppers by the name they shall have in the record.
        snr_db: of the legitimate link, one evaluation each.
        eavesdropper_snr_db: of the eavesdropper's link, paired with ``snr_db``; None: equal.
        seeds: draws of the channel's noise.
        batch_size: images at once, and candidates of a re-identification.
        with_ssim: whether to compute SSIM, which costs more than most attackers.
        ssim_seeds: of how many of the seeds; None: of all.
        with_floors: whether to measure the floors too, which are the same for every attacker on these images.
        threat: what the attackers know of their link. With ``candidate_queries`` one more is added, which has
            the candidates encoded and takes the one whose symbols lie nearest (``reid_query``).

    Raises:
        InputError: no seed, or an SNR that is not a number.
    """
    if seeds < 1:
        raise InputError(f"seeds must be at least 1, not {seeds}.")
    pairs = list(zip(snr_db, eavesdropper_snr_db or snr_db, strict=True))
    count = len(game.source)
    index = torch.arange(count, device=game.device)
    sender = as_pipeline(scheme)
    receives = not isinstance(sender, Recorded)
    usage = torch.zeros(0 if game.points is None else len(game.points), device=game.device)
    accuracy: dict[float, Figure] = {}
    threat = threat or ThreatModel()
    repeated = any(attacker.repeated for attacker in attackers.values())
    names = [*attackers, *([QUERY] if threat.candidate_queries else [])]
    leaks: dict[str, dict[float, dict[str, Figure]]] = {name: {} for name in names}
    draws = [(pair, seed) for pair in range(len(pairs)) for seed in range(seeds)]
    games = [game.with_rules(snr_db=snr_b, eavesdropper_snr_db=snr_e) for snr_b, snr_e in pairs]
    # A stream for each SNR and seed. The images are outermost, so that an attacker may remember candidates.
    streams = [torch.Generator(game.device).manual_seed(1000 + seed) for _, seed in draws]
    sums: list[dict[tuple[str, str], Tensor]] = [{} for _ in draws]
    for part in index.split(batch_size):
        for (pair, seed), generator, totals in zip(draws, streams, sums, strict=True):
            at = games[pair]
            round_ = at.draw(len(part), generator=generator, index=part)
            round_ = numbered(round_, sender, generator)
            transmission = _send(at, sender, round_, generator)
            if game.points is not None:
                usage += torch.bincount(
                    hard_decision(transmission.sent, game.points).flatten(), minlength=len(usage)
                )
            if receives:
                _add(totals, "", "accuracy", _decide(at, sender, round_, transmission, generator))
            once = heard(transmission.eavesdropper, round_, sender, threat)
            many = _again(at, sender, round_, once, generator, threat) if repeated else once
            ssim = with_ssim and (ssim_seeds is None or seed < ssim_seeds)
            for name, attacker in attackers.items():
                what = many if attacker.repeated else once
                for figure, values in _leaks(attacker, round_, what, game, ssim).items():
                    _add(totals, name, figure, values)
            if threat.candidate_queries:
                scores = _nearest_symbols(at, sender, round_, transmission, generator)
                _add(totals, QUERY, "reid_query", metrics.reidentification(scores))
    for pair, (snr_b, snr_e) in enumerate(pairs):
        found: dict[tuple[str, str], list[float]] = {}
        for (of, _), totals in zip(draws, sums, strict=True):
            if of == pair:
                for key, total in totals.items():
                    found.setdefault(key, []).append(float(total) / count)
        for (name, figure), shares in found.items():
            if name:
                leaks[name].setdefault(snr_e, {})[figure] = Figure.of(shares)
            else:
                accuracy[snr_b] = Figure.of(shares)
    return Evaluation(
        accuracy,
        leaks,
        floors(game, batch_size) if with_floors else {},
        count,
        seeds,
        chance(game),
        (usage / usage.sum()).tolist() if len(usage) else None,
    )


def chance(game: Game) -> dict[str, float]:
    """How often the best constant answer is right, for the label and for each private attribute."""
    source = game.source
    columns = dict(zip(source.attribute_names, source.attributes.T, strict=True))
    if not game.task.binary:
        columns["label"] = game.task.targets(source.gather(torch.arange(len(source), device=source.device)))
    return {name: float(torch.bincount(values).max()) / len(source) for name, values in columns.items()}


@torch.no_grad()
def floors(game: Game, batch_size: int = CANDIDATES) -> dict[str, dict[str, float]]:
    """PSNR on both scales and SSIM of the mean training image, and of the right class's mean image, on these images."""
    source = game.source
    statistics = source.statistics
    table: dict[str, dict[str, float]] = {}
    guesses = {"mean-image": statistics.mean_image[None], "class-mean": statistics.class_mean_images}
    for name, images in guesses.items():
        total = torch.zeros(3, device=source.device)
        for part in torch.arange(len(source), device=source.device).split(batch_size):
            batch = source.gather(part)
            guess = images[batch.labels if len(images) > 1 else torch.zeros_like(batch.labels)]
            scale = statistics.channel_mean, statistics.channel_std
            figures = (
                metrics.psnr(guess, batch.images),
                metrics.ssim(guess, batch.images),
                metrics.psnr_clipped(guess, batch.images, *scale),
            )
            total += torch.stack([figure.sum() for figure in figures])
        psnr, ssim, clipped = (total / len(source)).tolist()
        table[name] = {"psnr_db": psnr, "ssim": ssim, "psnr_clipped_db": clipped}
    return table


def _send(game: Game, scheme: Pipeline, round_: Round, generator: torch.Generator) -> Transmission:
    context = context_of(round_, generator)
    return game.transmit(round_, scheme.send(game.source, round_.batch.index, context))


def _decide(
    game: Game, scheme: Pipeline, round_: Round, transmission: Transmission, generator: torch.Generator
) -> Tensor:
    context = context_of(round_, generator)
    with evaluating(scheme):
        logits = scheme.decode(transmission.receiver.received, transmission.receiver.csi, context)
    return game.task.score(game.task.decide(logits), round_.targets)


def _leaks(
    attacker: Eavesdropper, round_: Round, heard: Reception, game: Game, with_ssim: bool
) -> dict[str, Tensor]:
    images = round_.batch.images
    found: dict[str, Tensor] = {}
    if "reconstruct" in attacker.capabilities:
        rebuilt = attacker.reconstruct(heard.received, heard.csi)
        statistics = game.source.statistics
        found["psnr_db"] = metrics.psnr(rebuilt, images)
        found["psnr_clipped_db"] = metrics.psnr_clipped(
            rebuilt, images, statistics.channel_mean, statistics.channel_std
        )
        found["reid_pixels"] = metrics.reidentification(metrics.pixel_scores(rebuilt, images))
        if with_ssim:
            found["ssim"] = metrics.ssim(rebuilt, images)
    if "match" in attacker.capabilities:
        scores = attacker.match(heard.received, heard.csi, images)
        found[attacker.match_figure] = metrics.reidentification(scores)
    if "infer" in attacker.capabilities:
        logits = attacker.infer(heard.received, heard.csi)
        sizes = [size for _, size in attacker.inferred]
        for (name, _), part in zip(attacker.inferred, logits.split(sizes, dim=1), strict=True):
            truth = round_.targets if name == "label" else _attribute(game, round_, name)
            found[f"infer_{name}"] = (part.argmax(1) == truth).float()
    return found


def _attribute(game: Game, round_: Round, name: str) -> Tensor:
    names = game.source.attribute_names
    if name not in names:
        raise unknown("private attribute", name, names)
    return round_.batch.attributes[:, names.index(name)]


def _again(
    game: Game,
    sender: Pipeline,
    round_: Round,
    once: Reception,
    generator: torch.Generator,
    threat: ThreatModel,
) -> Reception:
    """The reception and ``threat.receptions - 1`` more of the same images, received [B, R, 2n]."""
    receptions = [once]
    for _ in range(threat.receptions - 1):
        index = round_.batch.index
        drawn = game.draw(len(index), generator=generator, index=index)
        again = numbered(replace(drawn, snr_db=round_.snr_db), sender, generator)
        sent = _send(game, sender, again, generator)
        receptions.append(heard(sent.eavesdropper, again, sender, threat))
    received = torch.stack([r.received for r in receptions], dim=1)
    return Reception(received, torch.stack([r.csi for r in receptions], dim=1))


def _nearest_symbols(
    game: Game,
    sender: Pipeline,
    round_: Round,
    transmission: Transmission,
    generator: torch.Generator,
) -> Tensor:
    # Whoever has the candidates encoded never gets the very symbols of a stochastic transmitter, nor its key.
    again = transmission.sent
    if sender.stochastic:
        afresh = context_of(numbered(round_, sender, generator), generator)
        again = game.normalise(sender.send(game.source, round_.batch.index, afresh))
    # Exact distances: the fast form by inner products loses the nearest one among near ties.
    exact = "donot_use_mm_for_euclid_dist"
    return -torch.cdist(transmission.eavesdropper.received, again, compute_mode=exact)


def _add(totals: dict[tuple[str, str], Tensor], name: str, figure: str, values: Tensor) -> None:
    total = values.sum()
    totals[name, figure] = totals[name, figure] + total if (name, figure) in totals else total

"""Evaluation of a system and its attackers on the test images: accuracy and leaks, with intervals."""

from __future__ import annotations

import math
import secrets
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import torch
from torch import Tensor

from tosc_env import Game, Pipeline, PrivacyScheme, Reception, Round, Source, ThreatModel, metrics
from tosc_env.attackers import Eavesdropper, answered
from tosc_env.errors import InputError, unknown, warn_user
from tosc_env.exchange import Exchange, known_spec, known_whole, rollout
from tosc_env.identity import another_system
from tosc_env.modulation import constellation_points, hard_decision
from tosc_env.options import MOST_MESSAGES, Count, Seed, Within, checked
from tosc_env.pipeline import as_pipeline
from tosc_env.privacy.streams import secret_of, stream
from tosc_env.zoos import check_shapes

CANDIDATES = 1000
"""Images among which an attacker must find the right one."""

MOST_AT_ONCE = 2**18
"""Messages in memory at once: of each SNR and seed one batch."""

MOST_NUMBERS = 2**28
"""Numbers of their receptions: two for each channel use, and of a key that mixes values a matrix, as often as a message
is repeated."""


@dataclass(frozen=True)
class Figure:
    """A mean over seeds and the half-width of its 95 % interval (nan for a single seed)."""

    mean: float
    interval: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        """The figure of one value per seed."""
        from scipy.special import stdtrit

        n = len(values)
        mean = sum(values) / n
        if n == 1:
            return cls(mean, math.nan)
        spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))
        # Student's t for a two-sided 95 % interval.
        return cls(mean, float(stdtrit(n - 1, 0.975)) * spread / math.sqrt(n))

    def plain(self) -> dict[str, float | None]:
        """Plain values for JSON, which knows no nan."""
        return {"mean": self.mean, "interval95": None if math.isnan(self.interval) else self.interval}


@dataclass(frozen=True)
class Evaluation:
    """Figures of a system at each SNR.

    Attributes:
        accuracy: by SNR, :meth:`~tosc_env.tasks.Task.accuracy`; empty for recorded symbols, which have no receiver.
        leaks: by attacker, its SNR and figure name: ``psnr_db``, ``ssim``, ``psnr_clipped_db``; ``reid_pixels``,
            ``reid_match``, ``reid_query``, among ``candidates``; of the label and each private attribute the balanced
            accuracy ``infer_label``, the share of right answers ``plain_label`` and the area under the ROC curve
            ``auc_label``.
        floors: of knowing nothing (``mean-image``) and of knowing the class (``class-mean``).
        images, seeds: numbers of test images and of draws of the channel's noise.
        candidates: the number of images among which the right one is to be found, for every message.
        chance: what knowing nothing gives, by figure (:func:`chance`).
        usage: the share of each point of a discrete scheme's constellation among all symbols of all images.
        receiver_snr_db: by an eavesdropper's SNR the receiver's at the same time, where they may differ.
        threats: what each attacker had, by its name; None: nobody said.
        nodes: the eavesdroppers' antennas, by node.
        seed: of the channel's noise and the candidates' order.
        measure: what the accuracy is: that of the receiver's decisions, or balanced over the values of attributes.
        answers: by SNR, of a task on attributes the balanced accuracy ``infer_NAME``, the area under the ROC curve
            ``auc_NAME`` and the share of right answers ``plain_NAME`` of each.
    """

    accuracy: dict[float, Figure]
    leaks: dict[str, dict[float, dict[str, Figure]]]
    floors: dict[str, dict[str, float]]
    images: int
    seeds: int
    candidates: int
    chance: dict[str, float] = field(default_factory=dict)
    usage: list[float] | None = None
    receiver_snr_db: dict[float, float] = field(default_factory=dict)
    threats: dict[str, ThreatModel | None] = field(default_factory=dict)
    nodes: dict[str, int] = field(default_factory=dict)
    seed: int = 0
    measure: str = "accuracy"
    answers: dict[float, dict[str, Figure]] = field(default_factory=dict)

    @property
    def terms(self) -> str:
        """The threat models and the eavesdroppers in sentences, for captions; empty where there was none."""
        if not self.threats:
            return ""
        by_model: dict[str, list[str]] = defaultdict(list)
        for name, threat in self.threats.items():
            by_model["nobody said what they had" if threat is None else str(threat)].append(name)
        told = [f"Attackers {', '.join(names)}: {model}" for model, names in by_model.items()]
        if len(told) == 1:
            told = [f"Attackers: {model}" for model in by_model]
        antennas = ", ".join(f"{name} with {count}" for name, count in self.nodes.items())
        return f"{'. '.join(told)}; antennas: {antennas}."

    def plain(self) -> dict[str, Any]:
        """As plain values, for JSON."""

        def keyed(table: Mapping[float, Any], inner: Any) -> dict[str, Any]:
            return {f"{snr:g}": inner(value) for snr, value in table.items()}

        def row(figures: Mapping[str, Figure]) -> dict[str, Any]:
            return {name: figure.plain() for name, figure in figures.items()}

        optional = {
            "measure": self.measure if self.answers else None,
            "answers": keyed(self.answers, row),
            "codeword_usage": self.usage,
            "receiver_snr_db": keyed(self.receiver_snr_db, float),
            "threat_models": {name: threat and threat.plain() for name, threat in self.threats.items()},
            "antennas": self.nodes,
        }
        return {
            "accuracy": keyed(self.accuracy, Figure.plain),
            "leaks": {name: keyed(rows, row) for name, rows in self.leaks.items()},
            "floors": self.floors,
            "chance": self.chance,
            **{name: value for name, value in optional.items() if value},
            "test_images": self.images,
            "seeds": self.seeds,
            "seed": self.seed,
            "candidates": self.candidates,
            "seeds_vary": "channel noise only",
        }


@torch.no_grad()
@checked
def evaluate(
    game: Game,
    scheme: PrivacyScheme,
    attackers: Mapping[str, Eavesdropper],
    *,
    snr_db: Sequence[float] = (12.0,),
    eavesdropper_snr_db: Sequence[float] | None = None,
    seeds: Annotated[int, Within(1, 10_000)] = 3,
    candidates: Annotated[int, Within(1, MOST_MESSAGES)] = CANDIDATES,
    with_ssim: bool = True,
    ssim_seeds: Count | None = None,
    with_floors: bool = True,
    threat: ThreatModel | None = None,
    seed: Seed | None = 0,
) -> Evaluation:
    """Accuracy of the receiver and leaks to each attacker, all on the same receptions.

    Of several eavesdroppers each is evaluated, under the attacker's name and its node's (``linear@eavesdropper_1``);
    colluding ones are one.

    Args:
        game: on the test images, which neither scheme nor attackers were trained on (of the training split it is
            played with a warning); its SNRs are replaced by those asked for, but for nodes that have their own where no
            ``eavesdropper_snr_db`` is.
        scheme: whose transmitter sends and whose receiver decides (recorded symbols come without one).
        attackers: trained eavesdroppers by the name they shall have in the record.
        snr_db: of the legitimate link, one evaluation each.
        eavesdropper_snr_db: of the eavesdropper's link, paired with ``snr_db``; None: equal.
        seeds: draws of the channel's noise.
        candidates: of a re-identification, and images at once; at most all test images.
        with_ssim: whether to compute SSIM, which costs more than most attackers, also of the floors.
        ssim_seeds: of how many of the seeds; None: of all.
        with_floors: whether to measure the floors too, which are the same for every attacker on these images.
        threat: of attackers that nobody fitted; the others play under what they were fitted under (``fitted_under``),
            which must not contradict it.
        seed: of the channel's noise and of the candidates' order, which are keyed by the system's weights besides
            (:mod:`tosc_env.privacy.streams`); None takes one that nobody could know before. The record has it.

    Raises:
        InputError: a scheme or attacker of other shapes, several SNRs and a node with its own, one SNR of the
            eavesdropper beside two of the receiver, or a ``threat`` that is not what an attacker was fitted under.
    """
    others = snr_db if eavesdropper_snr_db is None else eavesdropper_snr_db
    if not snr_db or len(others) != len(snr_db):
        raise InputError(
            f"snr_db and eavesdropper_snr_db must be as many, not {len(snr_db)} and {len(others)}."
        )
    pairs = list(dict.fromkeys(zip(snr_db, others, strict=True)))
    beside = {snr_e: snr_b for snr_b, snr_e in pairs}
    if len(beside) < len(pairs):
        raise InputError(
            f"each SNR of the eavesdropper has one row in a record, and {list(eavesdropper_snr_db or ())} dB beside "
            f"{list(snr_db)} dB has one twice: evaluate such pairs one by one."
        )
    check_is_test(game.source)
    count = len(game.source)
    candidates = min(candidates, count)
    if len(pairs) * seeds * candidates > MOST_AT_ONCE:
        raise InputError(
            f"SNRs x seeds x candidates must be at most {MOST_AT_ONCE:,} messages, which are sent at once, not "
            f"{len(pairs)} x {seeds} x {candidates}."
        )
    pipeline = as_pipeline(scheme)
    if pipeline.receives:
        check_shapes("scheme", pipeline, game)
    listeners = listening(game, pipeline, attackers, threat)
    numbers = max((_numbers(one, game, pipeline) for one in listeners), default=0)
    if len(pairs) * seeds * candidates * numbers > MOST_NUMBERS:
        raise InputError(
            f"SNRs x seeds x candidates x numbers of a message must be at most {MOST_NUMBERS:,}, not {len(pairs)} x "
            f"{seeds} x {candidates} x {numbers}: evaluate fewer of them at once."
        )
    name = pipeline.constellation
    points = None if name is None else constellation_points(name, device=game.device)
    usage = torch.zeros(0 if points is None else len(points), device=game.device)
    own = _own_snrs(game, len(pairs)) if listeners and not eavesdropper_snr_db else {}
    everybody = tuple(node if node.name in own else replace(node, snr_db=None) for node in game.nodes)
    # A stream for each SNR and seed. The images are outermost, so that an attacker may remember candidates.
    seed = secrets.randbits(63) if seed is None else seed
    secret = secret_of(pipeline, seed)
    # In a random order: where a source is sorted, images that follow each other are candidates of one class.
    shown = torch.randperm(count, generator=stream(secret, "images", 0)).to(game.device)
    draws: list[_Draw] = []
    for snr_b, snr_e in pairs:
        at_snr = game.with_rules(snr_db=snr_b, eavesdropper_snr_db=snr_e, nodes=everybody)
        for number in range(seeds):
            noise = stream(secret, "noise", number, game.device)
            sent = rollout(at_snr, pipeline, generator=noise, index=shown, batch_size=candidates)
            draws.append(_Draw(noise, sent, with_ssim and (ssim_seeds is None or number < ssim_seeds)))
    for place, exchanges in enumerate(zip(*(draw.sent for draw in draws), strict=True)):
        # Whoever rebuilds or infers has not yet been shown these images as candidates, nor what others were handed.
        # In another order than the messages, so that an answer by position is right by chance alone; the same one each
        # time, because scores of equal candidates may differ in their last bits with their places. A last batch that is
        # not full has images of the one before among its candidates.
        size = len(exchanges[0].round.targets)
        end = place * candidates + size
        order = torch.randperm(candidates, generator=stream(secret, "candidates", place)).to(game.device)
        gallery = game.source.gather(shown[end - candidates + order]).images
        truth = order.argsort()[-size:]
        for number, (draw, exchange) in enumerate(zip(draws, exchanges, strict=True)):
            if points is not None:
                indices = hard_decision(exchange.transmission.sent, points)
                usage += torch.bincount(indices.flatten(), minlength=len(usage))
            if pipeline.receives:
                logits = exchange.logits()
                draw.decided.append((game.task.decide(logits), exchange.round.targets))
                for name, part in game.task.answer_logits(logits).items():
                    draw.logits[name].append(part)
            draw.heard = heard(exchange, listeners, draw.noise, f"{secret} {number}", place)
            for one, reception, mixed in draw.heard:
                attacker = one.attacker
                if "reconstruct" in attacker.capabilities:
                    images = exchange.round.batch.images
                    rebuilt = answer(attacker, "reconstruct", images.shape, reception, mixed)
                    figures = _image_figures(rebuilt, images, game, draw.with_ssim)
                    scores = metrics.pixel_scores(rebuilt, gallery)
                    figures["reid_pixels"] = metrics.reidentification(scores, truth)
                    for figure, values in figures.items():
                        draw.sums[one.who, figure] += values.sum()
                if "infer" in attacker.capabilities:
                    width = sum(number for _, number in attacker.inferred)
                    logits = answer(attacker, "infer", (size, width), reception, mixed)
                    for inferred, found in _inferred(attacker, exchange.round, logits, game):
                        draw.answers[one.who, inferred].append(found)
        for draw in draws:
            for one, reception, mixed in draw.heard:
                if "match" in one.attacker.capabilities:
                    shape = (size, candidates)
                    scores = answer(one.attacker, "match", shape, reception, mixed, gallery)
                    hits = metrics.reidentification(scores, truth).sum()
                    draw.sums[one.who, one.attacker.match_figure] += hits
    for draw in draws:
        for (who, inferred), parts in draw.answers.items():
            logits, values = (torch.cat(part) for part in zip(*parts, strict=True))
            right = logits.argmax(1) == values
            draw.sums[who, f"infer_{inferred}"] = metrics.balanced_accuracy(right, values) * count
            draw.sums[who, f"plain_{inferred}"] = right.float().mean() * count
            draw.sums[who, f"auc_{inferred}"] = metrics.auc(logits, values) * count
    accuracy: dict[float, Figure] = {}
    answers: dict[float, dict[str, Figure]] = {}
    leaks: dict[str, dict[float, dict[str, Figure]]] = {one.who: {} for one in listeners}
    for pair, (snr_b, snr_e) in enumerate(pairs):
        of_pair = [draw.sums for draw in draws[pair * seeds : (pair + 1) * seeds]]
        places = {one.who: own.get(one.node, snr_e) for one in listeners}
        for who, figure in of_pair[0]:
            shares = [float(sums[who, figure]) / count for sums in of_pair if (who, figure) in sums]
            leaks[who].setdefault(places[who], {})[figure] = Figure.of(shares)
            beside.setdefault(places[who], snr_b)
        if pipeline.receives:
            of_seeds = draws[pair * seeds : (pair + 1) * seeds]
            told = [tuple(map(torch.cat, zip(*draw.decided, strict=True))) for draw in of_seeds]
            accuracy[snr_b] = Figure.of([float(game.task.accuracy(*one)) for one in told])
            logits_of = [{name: torch.cat(parts) for name, parts in draw.logits.items()} for draw in of_seeds]
            answers[snr_b] = _of_attributes([game.task.answers(*one) for one in told], logits_of)
    return Evaluation(
        accuracy,
        leaks,
        floors(game, candidates, with_ssim=with_ssim) if with_floors else {},
        count,
        seeds,
        candidates,
        chance(game),
        (usage / usage.sum()).tolist() if len(usage) else None,
        {snr_e: snr_b for snr_e, snr_b in beside.items() if snr_e != snr_b},
        {name: _known(attacker, threat) for name, attacker in attackers.items()},
        {node.name: node.antennas for node in game.nodes[1:]} if listeners else {},
        seed,
        game.task.measure,
        {snr: figures for snr, figures in answers.items() if figures},
    )


def _of_attributes(
    draws: Sequence[Mapping[str, tuple[Tensor, Tensor]]], logits: Sequence[Mapping[str, Tensor]]
) -> dict[str, Figure]:
    """The balanced accuracy, the area under the ROC curve and the share of right answers to each attribute, over draws
    of the noise."""
    figures = {}
    for name in draws[0]:
        answers = [draw[name] for draw in draws]
        areas = [metrics.auc(one[name], truth) for one, (_, truth) in zip(logits, answers, strict=True)]
        figures[f"infer_{name}"] = Figure.of([float(metrics.balanced_accuracy(*one)) for one in answers])
        figures[f"auc_{name}"] = Figure.of([float(area) for area in areas])
        figures[f"plain_{name}"] = Figure.of([float(right.float().mean()) for right, _ in answers])
    return figures


@dataclass
class _Draw:
    """The messages at one SNR with one seed, and what was found of them."""

    noise: torch.Generator
    sent: Iterator[Exchange]
    with_ssim: bool
    heard: list[tuple[Listener, Reception, Tensor]] = field(default_factory=list)
    """Of this batch (:func:`heard`)."""
    decided: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    """The receiver's decisions beside the right ones."""
    logits: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    """The receiver's logits of each attribute, where the task is on attributes."""
    sums: dict[tuple[str, str], Any] = field(default_factory=lambda: defaultdict(float))
    """Of each figure over all images, by attacker and figure."""
    answers: dict[tuple[str, str], list[tuple[Tensor, Tensor]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """Logits and right values of what each attacker infers, by attacker and name."""


def check_is_test(source: Source) -> None:
    """Warn of figures on a training split."""
    if source.split == "train":
        warn_user(
            f"{source} is of a training split: figures on images that the scheme or an attacker was trained on are no "
            "result. Evaluate on others: config.game(split='test'), or Source.from_arrays(..., split='test')."
        )


@dataclass(frozen=True)
class Listener:
    """An attacker at one node, or at all that collude, with the threat model under which it plays."""

    who: str
    node: str
    attacker: Eavesdropper
    threat: ThreatModel


HEARD = ("keys", "csi", "receptions", "colluding")
"""Fields of a threat model that decide what is received."""


def listening(
    game: Game, scheme: Pipeline, attackers: Mapping[str, Eavesdropper], threat: ThreatModel | None
) -> list[Listener]:
    """Every attacker at every node that it listens at (all that collude are one), if it fits there; else InputError.

    Warns of one that was fitted against another system, a fixed key being a part of it, at whatever SNRs.
    """
    found, playing = [], scheme.fingerprint()
    if threat is not None:
        threat = replace(threat, colluding=threat.colluding or game.config.colluding)
    for name, attacker in attackers.items():
        known = _known(attacker, threat) or attacker.granted(ThreatModel())
        known = replace(known, colluding=known.colluding or game.config.colluding)
        asked = known if threat is None else attacker.granted(threat)
        for means in HEARD:
            ours, theirs = getattr(asked, means), getattr(known, means)
            if ours != theirs:
                raise InputError(
                    f"{name} was fitted with {means}={theirs!r} and is not evaluated with {means}={ours!r}: leave out "
                    "threat, or fit it under that one."
                )
        check_shapes("eavesdropper", attacker, game, known_spec(game.spec, scheme, known))
        another = another_system(attacker.fitted_against, playing)
        if another is not None:
            warn_user(f"{name} was fitted against {another}: what is fitted against that may see more.")
        nodes = game.adversaries[:1] if known.colluding else game.adversaries
        for node in nodes:
            found.append(Listener(name if len(nodes) == 1 else f"{name}@{node}", node, attacker, known))
    return found


def _numbers(one: Listener, game: Game, scheme: Pipeline) -> int:
    """How many numbers a message is to a listener, as often as it is repeated."""
    reals = 2 * game.num_symbols
    whole = one.attacker.whole_csi and known_whole(game.spec.num_csi, scheme, one.threat)
    return (reals + whole * reals**2) * one.threat.receptions


def _known(attacker: Eavesdropper, threat: ThreatModel | None) -> ThreatModel | None:
    """What an attacker has; None where nobody said."""
    told = attacker.fitted_under or threat
    return told and attacker.granted(told)


def heard(
    exchange: Exchange, listeners: Sequence[Listener], generator: torch.Generator, secret: str, place: int
) -> list[tuple[Listener, Reception, Tensor]]:
    """What each listener receives of the batch number ``place``, those that know the same the very same, and the order
    in which it is shown the messages: one of its own, which ``secret`` decides."""
    known: dict[tuple[Any, ...], Reception] = {}
    told = []
    for number, one in enumerate(listeners):
        repeated, whole = one.attacker.repeated, one.attacker.whole_csi
        key = one.node, repeated, whole, *(getattr(one.threat, means) for means in HEARD)
        if key not in known:
            once = exchange.observed(one.threat, one.node, whole=whole)
            known[key] = _again(exchange, once, generator, one, whole=whole) if repeated else once
        order = stream(secret, "rows", place * len(listeners) + number)
        told.append((one, known[key], torch.randperm(len(known[key].received), generator=order)))
    return told


def answer(
    attacker: Eavesdropper,
    capability: str,
    shape: Sequence[int],
    reception: Reception,
    mixed: Tensor,
    *seen: Tensor,
) -> Tensor:
    """What an attacker makes of messages that it is shown in the order ``mixed``, in the messages' own order.

    It may write to what it is shown. In another order each time, nothing that it remembers of an image by its place
    helps it with the next reception of it.
    """
    mixed = mixed.to(reception.received.device)
    shown = reception.received[mixed], reception.csi[mixed], *(one.clone() for one in seen)
    return answered(attacker, capability, shape, *shown)[mixed.argsort()]


def chance(game: Game) -> dict[str, float]:
    """What knowing nothing gives, by figure, for the label and each private attribute: the balanced accuracy of any
    constant answer, the share of right answers of the best one on these very images, and the area under the ROC curve.
    """
    source = game.source
    columns = dict(zip(source.attribute_names, source.attributes.T, strict=True))
    if not game.task.binary:
        columns["label"] = game.task.targets(source.gather(torch.arange(len(source), device=source.device)))
    table: dict[str, float] = {}
    for name, values in columns.items():
        counts = torch.bincount(values)
        table[f"infer_{name}"] = 1.0 / int((counts > 0).sum())
        table[f"plain_{name}"] = int(counts.max()) / len(source)
        table[f"auc_{name}"] = 0.5
    return table


@torch.no_grad()
def floors(
    game: Game, batch_size: int = CANDIDATES, *, with_ssim: bool = True
) -> dict[str, dict[str, float]]:
    """PSNR on both scales and, if wanted, SSIM of the mean training image, and of the right class's mean image, on
    these images."""
    source, statistics = game.source, game.source.statistics
    table: dict[str, dict[str, float]] = {}
    guesses = {"mean-image": statistics.mean_image[None], "class-mean": statistics.class_mean_images}
    for name, images in guesses.items():
        total: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=source.device))
        for part in torch.arange(len(source), device=source.device).split(batch_size):
            batch = source.gather(part)
            guess = images[batch.labels if len(images) > 1 else torch.zeros_like(batch.labels)]
            for figure, values in _image_figures(guess, batch.images, game, with_ssim).items():
                total[figure] += values.sum()
        table[name] = {figure: float(value) / len(source) for figure, value in total.items()}
    return table


def _image_figures(guess: Tensor, images: Tensor, game: Game, with_ssim: bool) -> dict[str, Tensor]:
    """PSNR on both scales, and SSIM if wanted, of each image: name -> [B]."""
    statistics = game.source.statistics
    scale = statistics.channel_mean, statistics.channel_std
    return {
        "psnr_db": metrics.psnr(guess, images),
        **({"ssim": metrics.ssim(guess, images)} if with_ssim else {}),
        "psnr_clipped_db": metrics.psnr_clipped(guess, images, *scale),
    }


def _inferred(
    attacker: Eavesdropper, round_: Round, logits: Tensor, game: Game
) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """The name of each thing that an attacker infers, with its logits [B, K] and the right values [B]."""
    sizes = [size for _, size in attacker.inferred]
    for (name, _), part in zip(attacker.inferred, logits.split(sizes, dim=1), strict=True):
        names = game.source.attribute_names
        if name != "label" and name not in names:
            raise unknown("private attribute", name, names)
        truth = round_.targets if name == "label" else round_.batch.attributes[:, names.index(name)]
        yield name, (part, truth)


def _again(
    exchange: Exchange, once: Reception, generator: torch.Generator, one: Listener, *, whole: bool
) -> Reception:
    """The reception and ``threat.receptions - 1`` more of the same images, received [B, R, 2n]."""
    game, index = exchange.game, exchange.round.batch.index
    receptions = [once]
    for _ in range(one.threat.receptions - 1):
        sent = next(rollout(game, exchange.scheme, generator=generator, index=index, batch_size=len(index)))
        receptions.append(sent.observed(one.threat, one.node, whole=whole))
    received = torch.stack([r.received for r in receptions], dim=1)
    return Reception(received, torch.stack([r.csi for r in receptions], dim=1))


def _own_snrs(game: Game, pairs: int) -> dict[str, float]:
    """The SNR of each node that has its own, in dB."""
    own = {}
    for node in game.nodes[1:]:
        if node.snr_db is None:
            continue
        level = game.snr_of(node.name).constant
        if level is None or pairs > 1:
            raise InputError(
                f"{node.name} has an SNR of its own, {game.snr_of(node.name)} dB: evaluate at one number, and at one "
                "of the receiver's SNRs at a time, or give eavesdropper_snr_db, which goes before it."
            )
        own[node.name] = level
    return own

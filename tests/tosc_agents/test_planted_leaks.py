"""A planted leak is found at the rate that theory gives, and where nothing leaks nobody finds anything.

In a world of 16 pixels (``small_world``) the best answer to a message is worked out exactly, from the antennas' raw
signals and by no code of the attackers; they are held against it on the very same receptions:

    PLANTS   for each attacker messages that leak what it is for, over every link that it knows the gains of
    SILENT   messages that leak nothing, under every threat model: all figures of all attackers are chance
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import small_world as sw
import torch
from links import seeded
from scipy.special import comb, erfc
from scipy.stats import binom, gamma, norm
from small_world import LABELS, Heard, N, fits, fits_in_any_order, sends, world
from torch import Tensor
from tosc_agents.training.evaluate import evaluate
from tosc_agents.training.fit_eavesdropper import fit_eavesdropper

from tosc_env import metrics
from tosc_env.attackers import eavesdroppers, make_eavesdropper
from tosc_env.channels.flat import Rayleigh
from tosc_env.constraints import mean_power
from tosc_env.game import Game
from tosc_env.nodes import Node
from tosc_env.privacy.threat import ThreatModel
from tosc_env.privacy.view import View

OURS = [name for name in eavesdroppers if eavesdroppers.origin(name).startswith("tosc_agents.")]
TRAIN, COUNT = 4000, 300
Z = 3.29
"""Standard errors of a 99.9 % interval."""

TWO = [Node("receiver"), Node("a", 2, adversary=True), Node("b", 2, snr_db=2.0, adversary=True)]
LINKS: dict[str, dict[str, Any]] = {
    "awgn": {},
    "one fade": {"channel": Rayleigh()},
    "no equaliser": {"channel": Rayleigh(coherence=1, equaliser=None)},
    "zf": {"channel": Rayleigh(coherence=1, equaliser="zf")},
    "mmse": {"channel": Rayleigh(coherence=1, equaliser="mmse")},
    "colluding": {"channel": Rayleigh(coherence=1), "nodes": TWO},
}
"""Of "one fade" a message has one, of others that fade each channel use its own. Two that collude have two antennas
each, the second at 2 dB."""
ALL = tuple(LINKS)


def games(link: str, scheme: Any, snr_db: float, count: int = COUNT, train: int = TRAIN) -> tuple[Game, Game]:
    """On the attacker's images and on those that it is tried on."""
    rules = {"num_symbols": N, "snr_db": snr_db, "constellation": scheme.constellation, **LINKS[link]}
    return Game(world(train), **rules), Game(world(count, "test"), **rules)


# -- what is measured of each message: of the attacker, of the best answer, and of no answer at all ----

Measured = tuple[Tensor, Tensor, float]


def identified(by: Callable[[Heard, Tensor], Tensor] = fits) -> Callable[[Any, Heard], Measured]:
    """Whether the image is found among all, by the attacker and by the likelihood of what each would have sent."""

    def measure(attacker: Any, heard: Heard) -> Measured:
        count = heard.candidates
        scores = attacker.match(heard.reception.received, heard.reception.csi, heard.images[:count])
        truth = torch.arange(len(heard.images)) % count
        best = by(heard, heard.symbols[:count])
        return metrics.reidentification(scores, truth), metrics.reidentification(best, truth), 1 / count

    return measure


def told(
    words: Tensor, truth: Callable[[Tensor], Tensor], by: Callable[[Heard, Tensor], Tensor] = fits
) -> Callable[[Any, Heard], Measured]:
    """Whether it is right which of these words [K, 8] was sent, so weighted that the mean is the balanced accuracy."""

    def measure(attacker: Any, heard: Heard) -> Measured:
        values = truth(sw.bright(heard.images))
        weight = len(values) / (len(words) * values.bincount()[values].double())
        answers = attacker.infer(heard.reception.received, heard.reception.csi), by(heard, words.double())
        theirs, best = (weight * (one.argmax(1) == values) for one in answers)
        return theirs, best, 1 / len(words)

    return measure


def rebuilt(estimate: Callable[[Heard], Tensor]) -> Callable[[Any, Heard], Measured]:
    """The share of the pixels' variance that is left, where the first ones are estimated in [-1, 1], [B, K]."""

    def measure(attacker: Any, heard: Heard) -> Measured:
        known = estimate(heard)
        level = torch.nn.functional.pad(known, (0, sw.PIXELS - known.shape[1]))
        best = (0.5 + sw.SPREAD * level).clamp(0, 1).view_as(heard.images)
        theirs = attacker.reconstruct(heard.reception.received, heard.reception.csi)
        left = ((one - heard.images).square().flatten(1).mean(1) / sw.SPREAD**2 for one in (theirs, best))
        return *left, 1.0

    return measure


def nothing(heard: Heard) -> Tensor:
    return torch.zeros(len(heard.images), 0)


# -- what is planted -----------------------------------------------------------------------------------

ASK, BARE, OPEN = {"candidate_queries": True}, {"unkeyed_encoder": True}, {"keys": "with-key"}
KEYS = {**ASK, **BARE}
AS_THEY_ARE = {"queries": TRAIN}
"""No changed copies of images, from which match learns: shifted ones have rows twice, and no image here does."""
MLP = {"width": 64, "steps": 400, "batch_size": 250, "dropout": 0.0, "learning_rate": 5e-3}
CNN = {"widths": (16, 16, 8, 8), "steps": 600, "batch_size": 100}
UNET = {"widths": (8, 16), "steps": 600, "batch_size": 100}
MATCH = {"stem": 8, "widths": (16, 32), "blocks": (0, 0), "width": 64, "steps": 600, "batch_size": 200}
LINEAR = {"base_attacks": ["linear"]}
READS = {"base_attacks": ["label"], "base_attack_kwargs": {"label": MLP}}
PAIRS = {"pairs": 128}

PIX, OWN, LABEL = "a block of pixels", "the image's own word", "the label's word"
SHUFFLE, ROTATION = "shuffle per_message", "rotation per_message"
block, signs, codewords = map(rebuilt, (sw.linear_estimate, sw.best_estimate, sw.mean_codewords))
word, word_in_any_order, points_in_any_order = map(
    identified, (fits, fits_in_any_order, sw.points_in_any_order)
)
label, label_in_any_order = (told(mean_power(LABELS), sw.label, by) for by in (fits, fits_in_any_order))
label_points = told(sw.POINTS[sw.LABEL_POINTS].flatten(1), sw.label, sw.points_in_any_order)
sign = told(mean_power(torch.tensor([[-1.0], [1.0]]).expand(2, 2 * N)), sw.rare)


@dataclass(frozen=True)
class Plant:
    """A message that leaks what an attacker is for, and the best that can be made of it.

    The attacker's figure may be off the best one by the 99.9 % interval of their difference and by ``slack``.
    """

    attacker: str
    message: str
    key: str | None
    snr_db: float
    measure: Callable[[Any, Heard], Measured]
    threat: dict[str, Any]
    options: dict[str, Any]
    slack: float
    links: tuple[str, ...] = ALL
    quick: tuple[str, ...] = ALL
    """The links that are tried without ``-m slow`` too."""
    draws: int = 2
    count: int = COUNT


EVEN, APART, ONE, TWO_LINKS = ALL[:2], ALL[2:], ("awgn",), ("awgn", "mmse")
PLANTS = [
    # The moments are those of 4,000 images: 0.005 of the variance.
    Plant("mean-image", PIX, None, 8, rebuilt(nothing), {}, {}, 0.005),
    Plant("linear", PIX, None, 8, block, {}, {}, 0.005),
    Plant("linear", PIX, SHUFFLE, 8, block, OPEN, {}, 0.005),
    Plant("linear", PIX, ROTATION, 8, block, OPEN, {}, 0.005),
    Plant("denoise", PIX, None, 3, block, {"receptions": 3}, LINEAR, 0.005),
    Plant("unshuffle", PIX, "shuffle fixed", 8, block, BARE, LINEAR, 0.005),
    Plant("unshuffle", PIX, "shuffle+signs fixed", 8, block, BARE, LINEAR, 0.005),
    Plant("unshuffle", PIX, "rotation fixed", 8, block, BARE, LINEAR, 0.005),
    Plant("codebook", "codewords", None, 10, codewords, {}, LINEAR, 0.005),
    Plant("codebook", "codewords", SHUFFLE, 10, codewords, OPEN, LINEAR, 0.005),
    # Which comparison is best is chosen by 500 images; an unknown order is the likeliest one, or where values met fades
    # of their own the mean over all, but for Bethe's approximation.
    Plant("match-query", OWN, None, 8, word, ASK, {}, 0.01),
    Plant("match-query", OWN, None, 3, word, {**ASK, "receptions": 3}, {}, 0.01),
    Plant("match-query", OWN, SHUFFLE, 8, word, {**ASK, **OPEN}, {}, 0.01),
    Plant("match-query", OWN, ROTATION, 8, word, {**ASK, **OPEN}, {}, 0.01),
    Plant("match-query", OWN, SHUFFLE, 15, word_in_any_order, ASK, {}, 0.03, EVEN, count=150),
    Plant("match-query", OWN, SHUFFLE, 15, word_in_any_order, ASK, {}, 0.02, APART, count=150),
    Plant("match-query", "codewords", SHUFFLE, 14, points_in_any_order, ASK, {}, 0.01),
    # With 128 pairs a key of eight values is nearly known, a rotation less well than an order: the angle of each of its
    # 28 planes to 1 / (128 x 10^0.8) in variance.
    Plant("few-pairs", OWN, "shuffle fixed", 8, word, KEYS, PAIRS, 0.01),
    Plant("few-pairs", OWN, "shuffle+signs fixed", 8, word, KEYS, PAIRS, 0.01),
    Plant("few-pairs", OWN, "rotation fixed", 8, word, KEYS, PAIRS, 0.02),
    # What is learnt in 400 or 600 steps of small networks.
    Plant("label", LABEL, None, 0, label, {}, MLP, 0.02, quick=ONE, draws=4),
    Plant("label", LABEL, "shuffle fixed", 0, label, {}, MLP, 0.02, quick=(), draws=4),
    Plant("attribute", "the attribute's sign", None, -10, sign, {}, MLP, 0.02, quick=ONE, draws=4),
    Plant("sorted", LABEL, SHUFFLE, 6, label_in_any_order, {}, READS, 0.02, quick=ONE, draws=4),
    Plant("sorted", "the label's points", SHUFFLE, 6, label_points, {}, READS, 0.02, quick=(), draws=4),
    Plant("inversion-mlp", PIX, None, 3, signs, {}, {**MLP, "components": 16}, 0.02, quick=ONE),
    Plant("inversion", PIX, None, 3, signs, {}, CNN, 0.02, TWO_LINKS, quick=()),
    Plant("inversion-unet", PIX, None, 3, signs, {}, UNET, 0.02, TWO_LINKS, quick=()),
    Plant("match", "a picture", None, 10, word, AS_THEY_ARE, MATCH, 0.05, TWO_LINKS, quick=()),
    Plant("match", "codewords", None, 6, word, AS_THEY_ARE, MATCH, 0.05, TWO_LINKS, quick=()),
]
CASES = [
    pytest.param(
        plant,
        link,
        id=f"{plant.attacker}: {plant.message}, {plant.key}, {link}",
        marks=[] if link in plant.quick else [pytest.mark.slow],
    )
    for plant in PLANTS
    for link in plant.links
]


def test_every_registered_attacker_has_a_planted_leak():
    planted = {plant.attacker for plant in PLANTS}
    for name in OURS:
        assert name in planted, (
            f"say in PLANTS what the attacker {name!r} is for, and what is the best it can do"
        )


def measured(plant: Plant, link: str) -> Measured:
    """What the attacker finds of each message, what the best answer does, and what no answer does."""
    scheme = sends(plant.message, plant.key)
    train, test = games(link, scheme, plant.snr_db, plant.count)
    threat = ThreatModel(colluding=link == "colluding", **plant.threat)
    attacker, _ = fit_eavesdropper(plant.attacker, train, scheme, threat=threat, options=plant.options)
    known = attacker.fitted_under
    told = {"repeated": attacker.repeated, "whole": attacker.whole_csi}
    return plant.measure(attacker, sw.hear(test, scheme, known, draws=plant.draws, **told))


@pytest.mark.parametrize(("plant", "link"), CASES)
def test_a_planted_leak_is_found_at_the_best_rate(plant, link):
    theirs, best, blind = measured(plant, link)
    off, interval = within(theirs - best)
    found, right, slack = float(theirs.mean()), float(best.mean()), interval + plant.slack
    assert abs(off) <= slack, f"{found:.4f}, and {right:.4f} is right"
    assert plant.attacker == "mean-image" or abs(right - blind) > 2 * slack, "so small a leak tells nothing"


def within(values: Tensor) -> tuple[float, float]:
    """The mean of values, and the half-width of its 99.9 % interval."""
    return float(values.double().mean()), Z * float(values.double().std()) / len(values) ** 0.5


def test_a_single_pair_of_a_held_order_says_what_the_mean_over_all_orders_says():
    """Law: the pair's fit at each place and value goes with the message's own, over AWGN, where it was heard at."""
    scheme, noise = sends(OWN, "shuffle fixed"), 10**-0.6 / 2
    train, test = games("awgn", scheme, 6.0, count=50)
    differences, gained = [], []
    for seed in range(8):
        view = Overheard(View(train, scheme, ThreatModel(**KEYS), seeded(seed)))
        attacker = make_eavesdropper("few-pairs", view.spec, pairs=1)
        attacker.fit(view, generator=seeded(seed))
        heard = sw.hear(test, scheme, ThreatModel(), seed=seed)
        y, s = (one[0].double() for one in (view.heard, view.unkeyed(view.index)[0]))
        known = (y[:, None] * s - s.square() / 2) / noise
        measure, kinds = identified(partial(fits_in_any_order, known=known)), attacker._known
        over_kinds = measure(attacker, heard)[0].double()
        attacker._known = [one for one in kinds if one[0] == attacker.kind]
        likeliest = measure(attacker, heard)[0].double()
        attacker._known = [one for one in kinds if one[0] == "permutation"]
        theirs, best, _ = measure(attacker, heard)
        differences.append(theirs - best)
        gained.append(over_kinds - likeliest)
    off, interval = within(torch.cat(differences))
    assert abs(off) <= interval + 0.01, "which is approximated"
    assert float(torch.cat(gained).mean()) >= 0, (
        "the mean over kinds of keys is no worse than the likeliest kind"
    )


class Overheard:
    """A view that remembers what was received last."""

    def __init__(self, view: View) -> None:
        self._view = view

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)

    def sample(self, index: Tensor) -> Any:
        reception, images = self._view.sample(index)
        self.index, self.heard = index, reception.received
        return reception, images


# -- the best answers are those of textbooks ------------------------------------------------------------

BRANCHES = {"awgn": None, "one fade": 1, "no equaliser": 1, "zf": 1, "mmse": 1, "colluding": 4}
"""Antennas with fades of their own; at 2 dB the second node hears as well as the first."""


def heard_often(message: str, link: str, snr_db: float) -> Heard:
    scheme = sends(message)
    _, test = games(link, scheme, snr_db, count=10_000)
    return sw.hear(test, scheme, ThreatModel(colluding=link == "colluding"), draws=2)


@pytest.mark.parametrize("link", ALL)
def test_the_best_linear_estimate_errs_as_theory_says(link):
    """Law: 1 / (1 + G / N0) of the variance is left, G being Gamma distributed with as many antennas."""
    heard = heard_often(PIX, link, 2.0)
    left = (sw.linear_estimate(heard) - (2 * sw.bright(heard.images)[:, : 2 * N] - 1)).square().mean(1)
    snr = 10**0.2
    antennas = BRANCHES[link]
    right = 1 / (1 + snr) if antennas is None else gamma(antennas).expect(lambda g: 1 / (1 + g * snr))
    off, interval = within(left - right)
    assert abs(off) <= interval


@pytest.mark.parametrize("link", ["awgn", "one fade", "mmse"])
def test_the_likeliest_sign_is_wrong_as_often_as_theory_says(link):
    """Law: Q(sqrt(2 E / N0)) of the energy E = 4, over a fade of the message, or as of four branches (Proakis,
    *Digital Communications*, eq. 14.4-15)."""
    heard = heard_often("the attribute's sign", link, -6.0)
    words = mean_power(torch.tensor([[-1.0], [1.0]]).expand(2, 2 * N)).double()
    wrong = (fits(heard, words).argmax(1) != sw.rare(sw.bright(heard.images))).double()
    branches, snr = {"awgn": (0, N), "one fade": (1, N), "mmse": (N, 1)}[link]
    snr *= 10**-0.6
    mu = math.sqrt(snr / (1 + snr))
    spread = ((1 - mu) / 2) ** branches * sum(
        comb(branches - 1 + k, k) * ((1 + mu) / 2) ** k for k in range(branches)
    )
    off, interval = within(wrong - (spread if branches else erfc(math.sqrt(snr)) / 2))
    assert abs(off) <= interval


def test_the_best_estimate_of_a_sign_errs_as_theory_says():
    """Law: 1 - E tanh(a + sqrt(a) Z) is left at the signal-to-noise ratio a (Guo, Shamai, Verdu, IEEE Transactions on
    Information Theory 51, 2005)."""
    heard = heard_often(PIX, "awgn", 3.0)
    left = (sw.best_estimate(heard) - (2 * sw.bright(heard.images)[:, : 2 * N] - 1)).square().mean(1)
    a = 10**0.3
    off, interval = within(left - (1 - norm.expect(lambda z: math.tanh(a + math.sqrt(a) * z))))
    assert abs(off) <= interval


def test_a_permanent_is_the_sum_over_all_orders():
    matrices = torch.rand(3, 5, 5, generator=seeded(), dtype=torch.float64)
    orders = itertools.permutations(range(5))
    wanted = sum(matrices[:, range(5), order].prod(1) for order in orders)
    torch.testing.assert_close(sw.permanent(matrices), wanted)


# -- where nothing leaks, nothing is found ---------------------------------------------------------------

SILENT = {
    "one message": ("nothing", None),
    "one message under a held key": ("nothing", "rotation fixed"),
    "the same points": ("the same points", None),
    "a rotation of each message": (OWN, ROTATION),
    "a shuffle of the same points": ("the same points in an own order", SHUFFLE),
}
THREATS: dict[str, tuple[str, dict[str, Any]]] = {
    "usual": ("awgn", {}),
    "candidates and the unkeyed encoder": ("mmse", KEYS),
    "no pairs": ("awgn", {**KEYS, "keys": "without-pairs"}),
    "the key": ("mmse", {**ASK, **OPEN}),
    "no CSI": ("zf", {**KEYS, "csi": False}),
    "little": ("awgn", {"csi": False, "labels": False, "codebook": False, "queries": 300}),
    "three receptions": ("no equaliser", {**KEYS, "receptions": 3}),
    "colluding": ("colluding", {**KEYS, "colluding": True}),
    "two apart": ("colluding", KEYS),
}
CLOSED_FORMS = {
    "mean-image": {},
    "linear": {},
    "match-query": {},
    "few-pairs": {"pairs": 32},
    **dict.fromkeys(("codebook", "sorted", "denoise", "unshuffle"), LINEAR),
}
SHORT = {"steps": 100, "batch_size": 50}
BASES = {
    "inversion-mlp": {**MLP, "components": 16, **SHORT},
    "label": {**MLP, **SHORT},
    "match": {**MATCH, **SHORT},
}
NETWORKS = {
    **BASES,
    "attribute": {**MLP, **SHORT},
    "inversion": {**CNN, **SHORT},
    "inversion-unet": {**UNET, **SHORT},
    **{name: {"base_attack_kwargs": BASES} for name in ("codebook", "sorted", "denoise", "unshuffle")},
}
DRAWS, CLOSE_DB = 2, 0.05
"""Draws of the noise, and how far above the PSNR of grey is not above it: one pixel of 16 that is known is 0.28 dB."""


def test_every_registered_attacker_is_tried_where_nothing_leaks():
    known = {**CLOSED_FORMS, **NETWORKS}
    left = set(OURS)
    for (message, key), (link, grants) in itertools.product(SILENT.values(), THREATS.values()):
        scheme = sends(message, key)
        view = View(games(link, scheme, 8.0)[0], scheme, ThreatModel(**grants), seeded())
        left -= {name for name in left & known.keys() if accepts(name, known[name], view)}
    assert not left, "say in CLOSED_FORMS or NETWORKS how they are fitted, and in SILENT or THREATS where"


def accepts(name: str, options: dict[str, Any], view: View) -> bool:
    return make_eavesdropper(name, view.spec, **options).refusal(view) is None


def test_what_is_no_chance_is_told():
    scheme = sends("a picture")
    train, test = games("awgn", scheme, 8.0)
    fitted = {
        name: fit_eavesdropper(name, train, scheme, threat=ThreatModel(**KEYS))[0]
        for name in ("mean-image", "linear", "match-query")
    }
    assert set(false_alarms(test, scheme, fitted, seed=0)) == {
        "linear: psnr_db",
        "linear: reid_pixels",
        "match-query: reid_query",
    }


@pytest.mark.parametrize(
    "attackers", [CLOSED_FORMS, pytest.param(NETWORKS, marks=pytest.mark.slow)], ids=["closed", "networks"]
)
@pytest.mark.parametrize("threat", THREATS)
@pytest.mark.parametrize("silent", SILENT)
def test_where_nothing_leaks_all_is_chance(silent, threat, attackers):
    """Within a 99.9 % interval, of so many figures not twice in two measurements."""
    message, key = SILENT[silent]
    if threat == "the key" and key is not None and key.endswith("per_message"):
        pytest.skip("with the key it leaks all")
    link, grants = THREATS[threat]
    scheme, granted = sends(message, key), ThreatModel(**grants)
    train, test = games(link, scheme, 8.0, train=1000)
    view = View(train, scheme, granted, seeded())
    fitted = {
        name: fit_eavesdropper(name, train, scheme, threat=granted, options=options)[0]
        for name, options in attackers.items()
        if accepts(name, options, view)
    }
    assert fitted
    alarms = false_alarms(test, scheme, fitted, seed=0)
    again = false_alarms(test, scheme, fitted, seed=1) if alarms else {}
    assert not {who: (alarms[who], again[who]) for who in alarms.keys() & again.keys()}


def false_alarms(test: Game, scheme: Any, attackers: dict[str, Any], seed: int) -> dict[str, float]:
    """All figures that lie outside of the interval around chance, by attacker and figure."""
    how = {"seeds": DRAWS, "seed": seed, "with_ssim": False, "with_floors": False, "candidates": COUNT}
    result = evaluate(test, scheme, attackers, snr_db=(8.0,), **how)
    found = {}
    for who, rows in result.leaks.items():
        for figure, share in next(iter(rows.values())).items():
            low, high = interval_of_chance(figure, result.chance.get(figure, 1 / COUNT))
            if not low <= share.mean <= high:
                found[f"{who}: {figure}"] = share.mean
    return found


def interval_of_chance(figure: str, chance: float) -> tuple[float, float]:
    """From and up to which value a figure is chance."""
    kind, _, of = figure.partition("_")
    if kind == "psnr":
        return -math.inf, CLOSE_DB - 20 * math.log10(sw.SPREAD) if figure == "psnr_db" else math.inf
    count = DRAWS * COUNT
    if kind == "reid":
        low, high = binom(count, chance).ppf([0.0005, 0.9995]) / count
        return low, high
    if kind == "plain":
        return 0.0, chance + Z * math.sqrt(chance * (1 - chance) / count)
    source = world(COUNT, "test")
    each = DRAWS * (source.labels if of == "label" else source.attributes[:, 0]).bincount().double()
    if kind == "infer":  # the mean of as many shares
        spread = float((chance * (1 - chance) / each).sum().sqrt()) / len(each)
    else:  # of the rarest value (Hanley and McNeil, Radiology 143, 1982); the mean of several is nearer to one half
        rare = float(each.min())
        spread = math.sqrt((count + 1) / (12 * rare * (count - rare)))
    return chance - Z * spread, chance + Z * spread

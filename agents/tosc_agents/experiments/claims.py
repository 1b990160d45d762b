"""The article's eight claims in our words, and the table of the criteria that they are judged by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import pandas as pd

from tosc_agents.experiments import article
from tosc_agents.experiments.criteria import (
    ABSENT,
    BASELINE,
    SET_ASIDE,
    Absent,
    Comparison,
    Criterion,
    Judge,
    Judged,
    Outcome,
    Results,
    above,
    at_most,
    below,
    between,
    close,
    every,
    fitted,
    listed,
    trend,
)
from tosc_agents.experiments.measurements import CONSTANT, ORIGINAL, Value
from tosc_agents.experiments.methods import METHODS, method

ALL = tuple(one.key for one in METHODS if one.article is not None)
"""The article's schemes; those of ours that it has no name for are no part of its claims."""
HONEST, CALIBRATED = ("dp-0.05", "dp-0.1", "dp-0.9"), ("dp-cal-0.05", "dp-cal-0.1", "dp-cal-0.9")
"""DP at the article's budgets, from the least: true to its budget, and with the fitted noise."""
ENCRYPTION = ("enc-fixed", "enc-shuffle")
"""Both readings of the article's key-guided shuffling."""
BUT_IBAL = tuple(key for key in ALL if key != "ibal")
BUT_ENCRYPTION = tuple(key for key in ALL if key not in ENCRYPTION)
PLAIN = tuple(key for key in ALL if key not in ("ibal", "lbvq"))
TABLED = tuple(one.key for one in METHODS if one.article in article.CELEBA and one.key != "lbvq")
"""LBVQ's rivals in the article's CelebA table, which has no unprotected scheme."""

TRAINED_DB, LOW_DB, TURN_DB = article.TRAINING_SNR_DB, 0.0, 4.0
"""Where all is trained, the lowest SNR of the test, and where the article's curves cross."""
HALF, ABOUT, SLOWER = 0.5, 0.1, 1.1
"""Privacy is kept below half of the unprotected leak; two leaks within a tenth of it are about the same; a scheme is
slower, or dearer to train, from 1.1 times the unprotected one's seconds."""
GENDER = "Male"

FAMILIES = (("honest DP", HONEST), ("calibrated DP", CALIBRATED), ("Encryption", ENCRYPTION))
"""What IBAL and LBVQ are compared with."""


def _high(results: Results) -> list[float]:
    return results.snrs(TURN_DB)


def _high_not_fitted(results: Results) -> list[float]:
    found = [snr_db for snr_db in _high(results) if snr_db != TRAINED_DB]
    if not found:
        raise Absent(f"fig3 above {TURN_DB:g} dB and beside {TRAINED_DB:g} dB")
    return found


def _both(figure: Callable[..., Value]) -> Callable[..., tuple[Value, Value]]:
    """The same figure of two methods, of which the first is claimed to be better."""
    return lambda results, mine, its, *at: (figure(results, mine, *at), figure(results, its, *at))


def _beside(figure: Callable[..., Value], factor: float, name: str) -> Callable[..., tuple[Value, Value]]:
    """A figure of a method, and a multiple of the unprotected scheme's."""

    def pair(results: Results, key: str, *at: Any) -> tuple[Value, Value]:
        return figure(results, key, *at), replace(figure(results, BASELINE, *at) * factor, who=name)

    return pair


def _loss(results: Results, key: str) -> Value:
    """Accuracy lost from 12 to 0 dB."""
    return replace(results.accuracy(key) - results.accuracy(key, LOW_DB), metric="points")


def _one_point(results: Results, key: str) -> tuple[Value, Value]:
    return _loss(results, key), Value("the limit", "points", 0.01, 0.0, 2)


def _degrades_less(key: str, rivals: tuple[str, ...]) -> Judge:
    """Judge that rivals lose less, unless all of them are so inaccurate that they have nothing to lose."""
    judge = every(above, _both(_loss), [key], rivals)

    def judged(results: Results) -> Outcome:
        useful = HALF * results.accuracy(BASELINE).mean
        accuracies = [results.accuracy(rival) for rival in rivals]
        if any(value.mean >= useful for value in accuracies):
            return judge(results)
        return Outcome(SET_ASIDE, f": {listed(accuracies)}, under half of the unprotected: nothing to lose")

    return judged


def _spread(results: Results, key: str) -> Value:
    """By how much the PSNR leak varies over the SNR."""
    leaks = sorted((results.leak(key, snr_db) for snr_db in results.snrs()), key=lambda value: value.mean)
    if len(leaks) < 2:
        raise Absent("fig3 at a second SNR")
    return leaks[-1] - leaks[0]


def _as_private(results: Results, key: str, snr_db: float) -> tuple[Value, Value, float]:
    leaks = results.leak(key, snr_db), results.leak("lbvq", snr_db)
    return (*leaks, ABOUT * results.leak(BASELINE, snr_db).mean)


def _gap(results: Results, key: str, snr_db: float) -> tuple[Value, float, float]:
    """The accuracy by which a method lies under LBVQ, and the article's "3-4 points"."""
    lbvq, mine = results.accuracy("lbvq", snr_db), results.accuracy(key, snr_db)
    return replace(lbvq - mine, metric="points", who=f"{mine.who} ({mine}) under LBVQ ({lbvq})"), 0.03, 0.04


def _undominated(mine: Value, leak: Value, its: Value, its_leak: Value) -> Comparison:
    """The claim that another is not clearly better in accuracy or leak while clearly worse in neither."""
    worse = mine.above(its) or its_leak.above(leak)
    better = its.above(mine) or leak.above(its_leak)
    text = f"{mine.who} {mine} with a leak of {leak} against {its.who} {its} with {its_leak}"
    # The more of the leak a rival spares, the more it shows.
    return Comparison(worse or not better, its_leak.mean - leak.mean, text, its.who)


def _trade_offs(results: Results, *keys: str) -> list[Value]:
    return [figure for key in keys for figure in (results.accuracy(key), results.leak(key))]


def _score(results: Results, key: str) -> Value:
    """Accuracy minus leak, each as a share of the unprotected scheme's."""
    accuracy, leak, whole, ceiling = _trade_offs(results, key, BASELINE)
    if whole.mean <= 0 or ceiling.mean <= 0:
        raise Absent("an unprotected scheme that is accurate and leaks")
    return replace(accuracy * (1 / whole.mean) - leak * (1 / ceiling.mean), metric="score")


def _beside_chance(results: Results, key: str, metric: str) -> tuple[Value, Value]:
    chance = results.one("fig4", CONSTANT, f"chance_plain_{GENDER}")
    return results.one("fig4", key, metric), replace(chance, who="a constant answer")


def _misled(key: str) -> Judge:
    """Judge that a classifier of faces is at chance on rebuilt ones; it must know the originals."""
    judge = every(at_most, _beside_chance, [key], ["gender_from_image"])

    def judged(results: Results) -> Outcome:
        original, chance = _beside_chance(results, ORIGINAL, "gender_original")
        if not original.above(chance):
            raise Absent(
                f"a classifier better than a constant answer on the originals ({original}, {chance})"
            )
        found = judge(results)
        return replace(found, evidence=f"{found.evidence}; that classifier on the originals {original}")

    return judged


def _balanced(results: Results, key: str, attribute: str) -> Value:
    return results.one("table2", key, f"balanced_{attribute}")


def _within_2(results: Results, mine: str, its: str, attribute: str) -> tuple[Value, Value, float]:
    return _balanced(results, mine, attribute), _balanced(results, its, attribute), 0.02


def _wholly_measured(results: Results) -> tuple[str, ...]:
    for attribute, key in product(article.ATTRIBUTES, ("lbvq", *TABLED)):
        _balanced(results, key, attribute)
    return article.ATTRIBUTES


def _lead(results: Results, attribute: str) -> tuple[Value, float, float]:
    """LBVQ's lead over the next best, and the article's "roughly 5-15 points"; means alone."""
    second = max((_balanced(results, key, attribute) for key in TABLED), key=lambda value: value.mean)
    lead = _balanced(results, "lbvq", attribute).mean - second.mean
    return Value(f"LBVQ over {second.who} ({second})", "points", lead, 0.0, 2), 0.05, 0.15


def _timed(metric: str, *schemes: str) -> Callable[[Results], list[str]]:
    """The methods that were timed of each of the article's schemes: one of its budgets or keys is enough."""

    def choose(results: Results) -> list[str]:
        chosen = []
        for scheme in schemes:
            keys = [key for key in ALL if article.complexity_key(method(key).article or "") == scheme]
            found = [key for key in keys if results.has("table1", key, metric)]
            chosen += found or keys[:1]
        return chosen

    return choose


_accuracies, _leaks, _attributes = _both(Results.accuracy), _both(Results.leak), _both(_balanced)
_faces = _both(lambda results, key, metric: results.one("fig4", key, metric))
_half = _beside(Results.leak, HALF, "half of DeepJSCC's")


def _seconds(results: Results, key: str, metric: str) -> Value:
    return results.one("table1", key, metric)


_slower = _beside(_seconds, SLOWER, f"{SLOWER:g} times DeepJSCC's")


STATEMENTS = {
    1: "Above 4 dB IBAL and LBVQ classify clearly better than DP and Encryption.",
    2: "Below 4 dB DP and Encryption lose less accuracy than IBAL and LBVQ, and LBVQ loses some: wrong symbols are "
    "wrong indices.",
    3: "LBVQ keeps its privacy at every SNR; at low SNR IBAL is the most private.",
    4: "The less budget, the more privacy and the less accuracy; DP-0.05 is about as private as LBVQ and, above 4 dB, "
    "3-4 points less accurate.",
    5: "Encryption leaks least, at the price of accuracy; IBAL has the best trade-off.",
    6: "On faces IBAL and LBVQ blur the attacker's image most, up to changing the apparent gender.",
    7: "On CelebA LBVQ is best on all three attributes, by roughly 5-15 points; IBAL is above DP on all, and near "
    "Encryption on Mustache and Wavy Hair.",
    8: "Only LBVQ slows inference; IBAL and LBVQ cost most to train, DP and Encryption almost nothing more.",
}
"""The article's claims in our words, in its order."""

LOW = (LOW_DB, TURN_DB)
BOTH = (("ibal", "IBAL"), ("lbvq", "LBVQ"))
IMAGE, EPOCH = "seconds_per_image", "seconds_per_epoch"

CRITERIA = (
    *(
        Criterion(
            1, f"{name} clearly above {family} above 4 dB", every(above, _accuracies, [key], rivals, _high)
        )
        for key, name in BOTH
        for family, rivals in FAMILIES
    ),
    *(
        Criterion(2, f"{family} loses less than {name} from 12 to 0 dB", _degrades_less(key, rivals))
        for key, name in BOTH
        for family, rivals in FAMILIES
    ),
    Criterion(2, "LBVQ loses clearly more than 1 point from 12 to 0 dB", every(above, _one_point, ["lbvq"])),
    Criterion(
        3, "LBVQ's PSNR leak clearly below half at every SNR", every(below, _half, ["lbvq"], Results.snrs)
    ),
    Criterion(
        3, "LBVQ's PSNR leak varies less than DeepJSCC's", every(below, _both(_spread), ["lbvq"], [BASELINE])
    ),
    Criterion(
        3,
        "LBVQ's re-identification clearly below half at every SNR",
        every(below, _half, ["lbvq"], Results.snrs, ["reid"]),
    ),
    Criterion(3, "IBAL's PSNR leak the lowest at 0 and 4 dB", every(below, _leaks, ["ibal"], BUT_IBAL, LOW)),
    Criterion(
        3,
        "IBAL's re-identification the lowest at 0 and 4 dB",
        every(below, _leaks, ["ibal"], BUT_IBAL, LOW, ["reid"]),
    ),
    *(
        Criterion(4, f"{name}: the more budget, the {what} at 12 dB", trend(figure, keys))
        for name, keys in FAMILIES[:2]
        for what, figure in (("more accuracy", Results.accuracy), ("larger the PSNR leak", Results.leak))
    ),
    *(
        Criterion(
            4,
            f"{name} 0.05 as private as LBVQ above 4 dB (PSNR leaks within 10 % of the unprotected one)",
            every(close, _as_private, keys[:1], _high),
        )
        for name, keys in FAMILIES[:2]
    ),
    Criterion(4, "honest DP 0.05 3-4 points under LBVQ above 4 dB", every(between, _gap, HONEST[:1], _high)),
    Criterion(
        4,
        "calibrated DP 0.05 3-4 points under LBVQ at 12 dB",
        fitted(every(between, _gap, CALIBRATED[:1], [TRAINED_DB]), "c was chosen to make it 3.5 points"),
    ),
    Criterion(
        4,
        "calibrated DP 0.05 3-4 points under LBVQ at the other SNRs above 4 dB",
        every(between, _gap, CALIBRATED[:1], _high_not_fitted),
    ),
    *(
        Criterion(5, f"{name} leaks least in PSNR at 12 dB", every(below, _leaks, [key], BUT_ENCRYPTION))
        for key, name in (("enc-fixed", "a fixed shuffle"), ("enc-shuffle", "a shuffle per message"))
    ),
    Criterion(
        5,
        "Encryption clearly less accurate than DeepJSCC at 12 dB",
        every(below, _accuracies, ENCRYPTION, [BASELINE]),
    ),
    Criterion(
        5,
        "IBAL on the Pareto front of accuracy and PSNR leak at 12 dB",
        every(_undominated, _trade_offs, ["ibal"], BUT_IBAL),
    ),
    Criterion(
        5,
        "IBAL with the largest accuracy minus leak, each as a share of the unprotected scheme's, at 12 dB",
        every(above, _both(_score), ["ibal"], BUT_IBAL),
    ),
    *(
        Criterion(
            6,
            f"{name}'s faces blurred more than all others",
            every(below, _faces, [key], PLAIN, ["psnr_db", "ssim"]),
        )
        for key, name in BOTH
    ),
    *(
        Criterion(
            6, f"a gender classifier no better than a constant answer on faces under {name}", _misled(key)
        )
        for key, name in BOTH
    ),
    *(
        Criterion(
            6,
            f"gender stays hidden under {name} from one trained on rebuilt faces or on the symbols",
            every(at_most, _beside_chance, [key], ["gender_adaptive", f"plain_{GENDER}"]),
        )
        for key, name in BOTH
    ),
    Criterion(
        7,
        "LBVQ best on all three (balanced accuracy)",
        every(above, _attributes, ["lbvq"], TABLED, article.ATTRIBUTES),
    ),
    Criterion(
        7, "LBVQ's lead over the next best 5-15 points on all three", every(between, _lead, _wholly_measured)
    ),
    *(
        Criterion(
            7,
            f"IBAL above {name} on all three",
            every(above, _attributes, ["ibal"], keys, article.ATTRIBUTES),
        )
        for name, keys in FAMILIES[:2]
    ),
    Criterion(
        7,
        "IBAL within 2 points of Encryption on Mustache and Wavy Hair",
        every(close, _within_2, ["ibal"], ENCRYPTION, ["Mustache", "Wavy_Hair"]),
    ),
    Criterion(8, "LBVQ more than 10 % slower at inference", every(above, _slower, ["lbvq"], [IMAGE])),
    Criterion(
        8,
        "no other scheme more than 10 % slower at inference",
        every(at_most, _slower, _timed(IMAGE, "DP", "Encryption", "IBAL"), [IMAGE]),
    ),
    Criterion(
        8,
        "IBAL and LBVQ cost more to train than all others",
        every(
            above, _both(_seconds), ["ibal", "lbvq"], _timed(EPOCH, "DeepJSCC", "DP", "Encryption"), [EPOCH]
        ),
    ),
    Criterion(
        8,
        "DP and Encryption cost at most 10 % more to train",
        every(at_most, _slower, _timed(EPOCH, "DP", "Encryption"), [EPOCH]),
    ),
)
"""One declaration each: the number of its claim, what is claimed, and the comparison that decides it."""

RULES = (
    "A difference counts only where it exceeds the square root of the sum of both squared 95 % intervals; a single "
    'sample has no interval, counts as exact, and is marked "one sample".',
    "All criteria of a claim hold: it holds; none does: it does not hold here; else, or where one was not measured, it "
    "holds in part. What was fitted, or could not have come out otherwise, is set aside: it counts neither way, and a "
    "claim with such a criterion never plainly holds.",
    "Leak is the strongest attacker's PSNR above the mean image's, at least 0; re-identification is the strongest "
    "attacker's top-1 rate. Claims are about the article's schemes alone: label-only, plain VQ and the rotation are no "
    "part of them; both readings of DP (honest and calibrated) and of its shuffle (fixed and per message) are.",
)
"""How the verdicts are reached, for the report."""


def judge(table: pd.DataFrame) -> list[Judged]:
    """The eight claims, in order, whatever was measured.

    >>> from tosc_agents.experiments.measurements import frame
    >>> {one.verdict for one in judge(frame([]))}
    {'not measured'}
    """
    results = Results(table)

    def outcome(criterion: Criterion) -> Outcome:
        try:
            return criterion.judge(results)
        except Absent as absent:
            return Outcome(ABSENT, f", lacks {absent}")

    return [
        Judged(number, text, tuple((one.name, outcome(one)) for one in CRITERIA if one.claim == number))
        for number, text in STATEMENTS.items()
    ]

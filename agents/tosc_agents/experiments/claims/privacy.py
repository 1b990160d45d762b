"""Claims 3 and 5: leaks over the SNR, and the trade-off between accuracy and leak."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tosc_agents.experiments.claims import criteria
from tosc_agents.experiments.claims.criteria import (
    Comparison,
    Criterion,
    Outcome,
    clearly_above,
    difference,
    every,
    scaled,
    told,
)
from tosc_agents.experiments.claims.results import (
    ALL,
    BASELINE,
    ENCRYPTION,
    TRAINED_DB,
    Absent,
    Results,
    label,
)
from tosc_agents.experiments.methods import method
from tosc_agents.experiments.pareto import front, points_of
from tosc_agents.experiments.sections import Measurement

LOW_SNRS_DB = (0.0, 4.0)
"""What "low SNR" is read as."""
HALF = 0.5
"""Privacy counts as kept where the leak is clearly below this share of the unprotected scheme's."""
OTHERS = tuple(key for key in ALL if key != "ibal")
SHUFFLED = tuple(key for key in ALL if key not in ENCRYPTION)
"""The rivals of Encryption, which is one scheme."""

KEYED = (
    "A fresh shuffle per message leaves no attacker more than the multiset of values, and honest noise leaves "
    "nothing at all: a scheme that sends features for everyone to decode cannot get below those."
)
REID = (
    "A PSNR near the floor does not hide which image it was: symbols that serve the task still tell images apart, "
    "and whoever can encode the candidates need not rebuild anything."
)


def _at_most_half(results: Results, kind: str, snr_db: float) -> Comparison:
    unprotected, mine = results.leak(BASELINE, snr_db, kind), results.leak("lbvq", snr_db, kind)
    names = ("LBVQ", f"half of {label(unprotected)}'s")
    return criteria.below(f"at {snr_db:g} dB", mine, scaled(unprotected, HALF), names)


def _varies_less(results: Results) -> Comparison:
    snrs = results.snrs()
    if len(snrs) < 2:
        raise Absent("fig3 at a second SNR")

    def spread(key: str) -> Measurement:
        leaks = sorted((results.leak(key, snr_db) for snr_db in snrs), key=lambda m: m.mean)
        return difference(leaks[-1], leaks[0], leaks[0].figure)

    return criteria.below("between its largest and its smallest leak", spread("lbvq"), spread(BASELINE))


def _less(results: Results, key: str, kind: str, snr_db: float, rival: str) -> Comparison:
    mine, its = results.leak(key, snr_db, kind), results.leak(rival, snr_db, kind)
    return criteria.below(f"at {snr_db:g} dB", mine, its)


OVER_SNR = (
    Criterion(
        "LBVQ's PSNR leak clearly below half of the unprotected one at every SNR",
        every(_at_most_half, ["psnr_db"], Results.snrs),
    ),
    Criterion("LBVQ's PSNR leak varies less over the SNR than the unprotected one", every(_varies_less)),
    Criterion(
        "LBVQ's re-identification clearly below half at every SNR",
        every(_at_most_half, ["reid"], Results.snrs),
        REID,
    ),
    Criterion(
        "IBAL's PSNR leak the lowest of the article's schemes at 0 and 4 dB",
        every(_less, ["ibal"], ["psnr_db"], LOW_SNRS_DB, OTHERS),
        KEYED,
    ),
    Criterion(
        "IBAL's re-identification the lowest at 0 and 4 dB",
        every(_less, ["ibal"], ["reid"], LOW_SNRS_DB, OTHERS),
        REID,
    ),
)
"""Claim 3."""


def _priced(results: Results, key: str) -> Comparison:
    return criteria.below(f"at {TRAINED_DB:g} dB", results.accuracy(key), results.accuracy(BASELINE))


def _undominated(results: Results, rival: str) -> Comparison:
    """It does not clearly dominate IBAL: be no worse in either, as far as intervals say, and clearly better in one."""
    accuracy, leak = results.accuracy("ibal"), results.leak("ibal")
    its_accuracy, its_leak = results.accuracy(rival), results.leak(rival)
    worse = clearly_above(accuracy, its_accuracy) or clearly_above(its_leak, leak)
    better = clearly_above(its_accuracy, accuracy) or clearly_above(leak, its_leak)
    text = (
        f"IBAL {told(accuracy)} with a leak of {told(leak)} against {label(its_accuracy)} {told(its_accuracy)} "
        f"with {told(its_leak)}"
    )
    # The more of the leak a rival spares, the more it shows.
    return Comparison("", text, worse or not better, its_leak.mean - leak.mean, label(its_accuracy))


def _score(results: Results, key: str) -> Measurement:
    """Accuracy minus leak, each as a share of the unprotected scheme's."""
    accuracy, leak = results.accuracy(key), results.leak(key)
    whole, ceiling = results.accuracy(BASELINE).mean, results.leak(BASELINE).mean
    if whole <= 0 or ceiling <= 0:
        raise Absent("an unprotected scheme that is accurate and leaks")
    return difference(scaled(accuracy, 1 / whole), scaled(leak, 1 / ceiling), criteria.SCORE)


def _scores_more(results: Results, rival: str) -> Comparison:
    return criteria.above("", _score(results, "ibal"), _score(results, rival))


def _best_of_the_front(results: Results) -> Outcome:
    found = every(_scores_more, OTHERS)(results)
    at: dict[str, Any] = {"snr_db": TRAINED_DB, "figures": ("psnr_db",), "floor": results.floor}
    best = front(points_of(results.fig3, methods=ALL, **at))
    listed = ", ".join(method(point.method).label for point in best)
    told_front = f"by the means the front is, from the least leak, {listed}"
    return replace(found, evidence=f"{found.evidence}; {told_front}")


TRADE_OFF = (
    Criterion(
        "Encryption (fixed shuffle) leaks least in PSNR of the article's schemes at 12 dB",
        every(_less, ["enc-fixed"], ["psnr_db"], [TRAINED_DB], SHUFFLED),
        "Any attacker that trains on shuffled symbols learns a fixed permutation with the rest: it hides nothing.",
    ),
    Criterion(
        "Encryption (shuffle per message) leaks least in PSNR of the article's schemes at 12 dB",
        every(_less, ["enc-shuffle"], ["psnr_db"], [TRAINED_DB], SHUFFLED),
        "Honest noise leaves even less than a shuffle, whose multiset of values anyone can sort.",
    ),
    Criterion(
        "Encryption clearly less accurate than the unprotected scheme at 12 dB",
        every(_priced, ENCRYPTION),
        "With the key the receiver undoes the shuffle exactly, and white noise stays the same under it: Encryption "
        "costs no accuracy.",
    ),
    Criterion(
        "IBAL on the Pareto front of accuracy and PSNR leak at 12 dB",
        every(_undominated, OTHERS),
        "A scheme that is as accurate and leaks less takes IBAL off the front.",
    ),
    Criterion(
        "IBAL with the largest accuracy minus leak, each as a share of the unprotected scheme's, at 12 dB",
        _best_of_the_front,
        "By this measure a shuffle per message, which costs no accuracy, is hard to beat while its key is secret.",
    ),
)
"""Claim 5."""

"""Claims 1, 2 and 4: accuracy over the SNR; what a privacy budget buys, and DP-0.05 beside LBVQ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from tosc_agents.experiments.claims import criteria
from tosc_agents.experiments.claims.criteria import (
    FAILED,
    HELD,
    POINTS,
    SET_ASIDE,
    Comparison,
    Criterion,
    Outcome,
    clearly_above,
    difference,
    every,
    told,
)
from tosc_agents.experiments.claims.results import (
    BASELINE,
    CALIBRATED,
    ENCRYPTION,
    HONEST,
    TRAINED_DB,
    Absent,
    Results,
    label,
)
from tosc_agents.experiments.methods import BUDGETS
from tosc_agents.experiments.sections import Measurement

TURN_DB, LOW_DB = 4.0, 0.0
"""Where the article's curves cross, and the SNR it shows below that."""
NOTABLE = 0.01
"""A loss of accuracy that is worth a word, as a share."""
WORKING = 0.5
"""A scheme with less than this share of the unprotected accuracy has nothing left to lose."""
ABOUT = 0.1
"""Two leaks are about the same when they differ by at most this share of the unprotected scheme's."""
FEWEST, MOST = 0.03, 0.04
"""The article's "3-4 points"."""

LEARNED = (("ibal", "IBAL"), ("lbvq", "LBVQ"))
NEAR_CHANCE = "Honest noise at these budgets leaves a receiver close to chance, whatever the SNR."
RIVALS = (
    ("honest DP", HONEST, NEAR_CHANCE, NEAR_CHANCE),
    (
        "calibrated DP",
        CALIBRATED,
        "The calibrated noise is c/epsilon: at 0.1 and 0.9 a half and an eighteenth of that at 0.05, too little to "
        "cost a receiver that was trained with it much.",
        "The channel's noise comes on top of the calibrated one.",
    ),
    (
        "Encryption",
        ENCRYPTION,
        "With the key the receiver undoes the shuffle exactly, and white noise stays the same under it: Encryption "
        "is as accurate as the unprotected scheme at every SNR.",
        "Encryption loses what the unprotected scheme loses; a scheme loses less whose training has heard the "
        "channel's errors.",
    ),
)
"""What IBAL and LBVQ are compared with, and why that may turn out otherwise than in the article: above 4 dB, below."""


def _high_snrs(results: Results) -> list[float]:
    return results.snrs(TURN_DB)


def _leads(results: Results, scheme: str, rival: str, snr_db: float) -> Comparison:
    mine, its = results.accuracy(scheme, snr_db), results.accuracy(rival, snr_db)
    return criteria.above(f"at {snr_db:g} dB", mine, its)


ABOVE_4_DB = tuple(
    Criterion(f"{name} clearly above {family} above 4 dB", every(_leads, [key], rivals, _high_snrs), reason)
    for key, name in LEARNED
    for family, rivals, reason, _ in RIVALS
)
"""Claim 1."""


def _lost(results: Results, key: str) -> Measurement:
    return difference(results.accuracy(key), results.accuracy(key, LOW_DB), POINTS)


def _loses_more(results: Results, scheme: str, rival: str) -> Comparison:
    where = f"in what is lost from {TRAINED_DB:g} to {LOW_DB:g} dB"
    return criteria.above(where, _lost(results, scheme), _lost(results, rival))


def _degrades_less(scheme: str, rivals: Sequence[str], results: Results) -> Outcome:
    useful = WORKING * results.accuracy(BASELINE).mean
    accuracies = [results.accuracy(rival) for rival in rivals]
    if all(m.mean < useful for m in accuracies):
        listed = ", ".join(f"{label(m)} {told(m)}" for m in accuracies)
        why = "less than half of the unprotected accuracy: there is nothing to lose"
        return Outcome(SET_ASIDE, f"{listed} at {TRAINED_DB:g} dB, {why}")
    return every(_loses_more, [scheme], rivals)(results)


def _lbvq_loses(results: Results) -> Outcome:
    lost = _lost(results, "lbvq")
    high, low = told(results.accuracy("lbvq")), told(results.accuracy("lbvq", LOW_DB))
    beyond = clearly_above(lost, Measurement("fig3", "lbvq", POINTS, NOTABLE, 0.0))
    return Outcome(
        HELD if beyond else FAILED,
        f"{told(lost)} lost, {high} at {TRAINED_DB:g} dB and {low} at {LOW_DB:g} dB (asked: clearly more than 1 point)",
    )


BELOW_4_DB = (
    *(
        Criterion(f"{family} loses less than {name} below 4 dB", partial(_degrades_less, scheme, rivals), why)
        for scheme, name in LEARNED
        for family, rivals, _, why in RIVALS
    ),
    Criterion(
        "LBVQ loses accuracy below 4 dB",
        _lbvq_loses,
        "Here the codebook starts on the Gray-mapped constellation and is trained through the channel's errors, so "
        "that a wrong symbol, nearly always a neighbour, stands for a near codeword.",
    ),
)
"""Claim 2."""


def _rises(keys: Sequence[str], figure: Callable[[Results, str], Measurement], results: Results) -> Outcome:
    """More budget, more of the figure: clearly more at the largest than at the least, and clearly less at no step."""
    found = [figure(results, key) for key in keys]
    risen = clearly_above(found[-1], found[0])
    fallen = any(clearly_above(low, high) for low, high in pairwise(found))
    listed = ", ".join(f"{told(m)} at {budget:g}" for m, budget in zip(found, BUDGETS, strict=True))
    return Outcome(HELD if risen and not fallen else FAILED, listed)


def _as_private(results: Results, key: str, snr_db: float) -> Comparison:
    within = ABOUT * results.leak(BASELINE, snr_db).mean
    leaks = results.leak(key, snr_db), results.leak("lbvq", snr_db)
    return criteria.near(f"at {snr_db:g} dB", *leaks, within)


def _three_to_four(results: Results, key: str, snr_db: float) -> Comparison:
    lbvq, private = results.accuracy("lbvq", snr_db), results.accuracy(key, snr_db)
    gap = difference(lbvq, private, POINTS)
    low, high = (Measurement("", key, POINTS, limit, 0.0) for limit in (FEWEST, MOST))
    ok = not clearly_above(low, gap) and not clearly_above(gap, high)
    where, slack = f"at {snr_db:g} dB", min(gap.mean - FEWEST, MOST - gap.mean)
    return Comparison(
        where, f"{told(gap)} under LBVQ ({told(private)} against {told(lbvq)})", ok, slack, where
    )


def _fitted_gap(results: Results) -> Outcome:
    text = _three_to_four(results, CALIBRATED[0], TRAINED_DB).text
    return Outcome(SET_ASIDE, f"{text}: fitted, since c was chosen to put it 3.5 points under")


def _not_fitted(results: Results) -> list[float]:
    found = [snr_db for snr_db in _high_snrs(results) if snr_db != TRAINED_DB]
    if not found:
        raise Absent(f"fig3 above {TURN_DB:g} dB and beside {TRAINED_DB:g} dB")
    return found


PRIVACY_FOR_ACCURACY = (
    *(
        Criterion(
            f"{name}: the more budget, the {what} at 12 dB",
            partial(_rises, keys, figure),
            "Where every budget leaves attacker or receiver at chance, or none costs them much, there is little to "
            "order.",
        )
        for name, keys in (("honest DP", HONEST), ("calibrated DP", CALIBRATED))
        for what, figure in (("more accuracy", Results.accuracy), ("larger the PSNR leak", Results.leak))
    ),
    Criterion(
        "honest DP 0.05 about as private as LBVQ above 4 dB (PSNR leaks within 10 % of the unprotected one)",
        every(_as_private, HONEST[:1], _high_snrs),
        "Honest noise at 0.05 drowns the message: what it keeps from the attacker it keeps from the receiver.",
    ),
    Criterion(
        "calibrated DP 0.05 about as private as LBVQ above 4 dB (PSNR leaks within 10 % of the unprotected one)",
        every(_as_private, CALIBRATED[:1], _high_snrs),
        "Noise that costs 3.5 points of accuracy need not hide as much as an encoder that was trained to hide.",
    ),
    Criterion(
        "honest DP 0.05 3-4 points less accurate than LBVQ above 4 dB",
        every(_three_to_four, HONEST[:1], _high_snrs),
        "No receiver of an honest message exceeds e^eps/(e^eps + 9) on ten balanced classes: 10.5, 10.9 and 21.5 % at "
        "0.05, 0.1 and 0.9.",
    ),
    Criterion(
        "calibrated DP 0.05 3-4 points less accurate than LBVQ at 12 dB",
        _fitted_gap,
        "The gap of calibrated DP at 12 dB was fitted and is no finding.",
    ),
    Criterion(
        "calibrated DP 0.05 3-4 points less accurate than LBVQ at the other SNRs above 4 dB",
        every(_three_to_four, CALIBRATED[:1], _not_fitted),
        "The fit at 12 dB need not carry over to other SNRs.",
    ),
)
"""Claim 4."""

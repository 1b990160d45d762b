"""Statements 1 and 2: accuracy over the SNR."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product

from tosc_agents.experiments.findings import Row
from tosc_agents.experiments.statements.comparing import POINTS, Case, above, difference, label, scaled, told
from tosc_agents.experiments.statements.measured import (
    BASELINE,
    CALIBRATED,
    ENCRYPTION,
    HONEST,
    TRAINED_DB,
    Measured,
)
from tosc_agents.experiments.statements.parts import FAILED, HELD, SET_ASIDE, Found, Part, every

TURN_DB, LOW_DB = 4.0, 0.0
"""Where the article's curves cross, and the SNR it shows below that."""
NOTABLE = 0.01
"""A loss of accuracy that is worth a word, as a share."""
WORKING = 0.5
"""A scheme with less than this share of the unprotected accuracy has nothing left to lose."""

RIVALS = (
    (
        "honest DP",
        HONEST,
        "Honest noise at these budgets leaves a receiver close to chance, whatever the SNR.",
    ),
    (
        "calibrated DP",
        CALIBRATED,
        "The calibrated noise is c/epsilon: at 0.1 and 0.9 a half and an eighteenth of that at 0.05, too little to "
        "cost a receiver that was trained with it much.",
    ),
    (
        "Encryption",
        ENCRYPTION,
        "With the key the receiver undoes the shuffle exactly, and white noise stays the same under it: Encryption "
        "is as accurate as the unprotected scheme at every SNR.",
    ),
)
"""What IBAL and LBVQ are compared with, and why a comparison may turn out otherwise than in the article."""


def _leads(scheme: str, rivals: Sequence[str], m: Measured) -> Found:
    def compare(rival: str, snr_db: float) -> Case:
        return above(f"at {snr_db:g} dB", m.accuracy(scheme, snr_db), m.accuracy(rival, snr_db))

    return every(compare, product(rivals, m.snrs(TURN_DB)))


ABOVE_4_DB = tuple(
    Part(f"{name} clearly above {family} above 4 dB", partial(_leads, scheme, rivals), reason)
    for scheme, name in (("ibal", "IBAL"), ("lbvq", "LBVQ"))
    for family, rivals, reason in RIVALS
)
"""Statement 1."""


def _lost(m: Measured, key: str) -> Row:
    return difference(m.accuracy(key, TRAINED_DB), m.accuracy(key, LOW_DB), POINTS)


def _degrades_less(scheme: str, rivals: Sequence[str], m: Measured) -> Found:
    useful = scaled(m.accuracy(BASELINE, TRAINED_DB), WORKING)
    accuracies = [m.accuracy(rival, TRAINED_DB) for rival in rivals]
    if all(row.mean < useful.mean for row in accuracies):
        listed = ", ".join(f"{label(row)} {told(row)}" for row in accuracies)
        return Found(
            SET_ASIDE,
            f"{listed} at {TRAINED_DB:g} dB, less than half of the unprotected accuracy: there is nothing to lose",
        )

    def compare(rival: str) -> Case:
        where = f"in what is lost from {TRAINED_DB:g} to {LOW_DB:g} dB"
        return above(where, _lost(m, scheme), _lost(m, rival))

    return every(compare, product(rivals))


def _lbvq_loses(m: Measured) -> Found:
    lost = _lost(m, "lbvq")
    high, low = told(m.accuracy("lbvq", TRAINED_DB)), told(m.accuracy("lbvq", LOW_DB))
    beyond = above("", lost, Row("fig3", "lbvq", POINTS, NOTABLE, 0.0)).ok
    return Found(
        HELD if beyond else FAILED,
        f"{told(lost)} lost, {high} at {TRAINED_DB:g} dB and {low} at {LOW_DB:g} dB (asked: clearly more than 1 point)",
    )


BELOW_4_DB = (
    *(
        Part(f"{family} loses less than {name} below 4 dB", partial(_degrades_less, scheme, rivals), reason)
        for scheme, name in (("ibal", "IBAL"), ("lbvq", "LBVQ"))
        for family, rivals, reason in (
            (
                "honest DP",
                HONEST,
                "Honest noise at these budgets leaves a receiver close to chance, whatever the SNR.",
            ),
            ("calibrated DP", CALIBRATED, "The channel's noise comes on top of the calibrated one."),
            (
                "Encryption",
                ENCRYPTION,
                "Encryption loses what the unprotected scheme loses; a scheme loses less whose training has heard "
                "the channel's errors.",
            ),
        )
    ),
    Part(
        "LBVQ loses accuracy below 4 dB",
        _lbvq_loses,
        "Here the codebook starts on the Gray-mapped constellation and is trained through the channel's errors, so "
        "that a wrong symbol, nearly always a neighbour, stands for a near codeword.",
    ),
)
"""Statement 2."""

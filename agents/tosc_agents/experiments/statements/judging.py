"""The verdicts on the article's eight statements, and their table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tosc_agents.experiments.findings import Findings, Row, Table
from tosc_agents.experiments.statements.accuracy import ABOVE_4_DB, BELOW_4_DB
from tosc_agents.experiments.statements.budgets import PRIVACY_FOR_ACCURACY
from tosc_agents.experiments.statements.cost import TIME
from tosc_agents.experiments.statements.faces import ATTRIBUTES, BLUR
from tosc_agents.experiments.statements.measured import Measured
from tosc_agents.experiments.statements.parts import FAILED, HELD, SET_ASIDE, Absent, Part
from tosc_agents.experiments.statements.privacy import OVER_SNR, TRADE_OFF
from tosc_env.errors import InputError

HOLDS, IN_PART, FAILS, UNTESTED = "holds", "holds in part", "does not hold here", "not measured"
"""Verdicts."""

CLAIMS: tuple[tuple[str, tuple[Part, ...]], ...] = (
    ("Above 4 dB IBAL and LBVQ classify clearly better than DP and Encryption.", ABOVE_4_DB),
    (
        "Below 4 dB DP and Encryption lose less accuracy than IBAL and LBVQ, and LBVQ loses some: wrong symbols are "
        "wrong indices.",
        BELOW_4_DB,
    ),
    ("LBVQ keeps its privacy at every SNR; at low SNR IBAL is the most private.", OVER_SNR),
    (
        "The less budget, the more privacy and the less accuracy; DP-0.05 is about as private as LBVQ and, above 4 dB, "
        "3-4 points less accurate.",
        PRIVACY_FOR_ACCURACY,
    ),
    ("Encryption leaks least, at the price of accuracy; IBAL has the best trade-off.", TRADE_OFF),
    (
        "On faces IBAL and LBVQ blur the attacker's image most, up to changing the apparent gender.",
        BLUR,
    ),
    (
        "On CelebA LBVQ is best on all three attributes, by roughly 5-15 points; IBAL is above DP on all, and near "
        "Encryption on Mustache and Wavy Hair.",
        ATTRIBUTES,
    ),
    (
        "Only LBVQ slows inference; IBAL and LBVQ cost most to train, DP and Encryption almost nothing more.",
        TIME,
    ),
)
"""The article's statements in our words, in its order, each with the parts that it is judged by."""

RULES = (
    "A difference counts only where it exceeds the square root of the sum of both squared 95 % intervals; a single "
    'sample has no interval, counts as exact, and is marked "one sample".',
    "Each statement is split into parts. All hold: it holds; none does: it does not hold here; else, or where a part "
    "was not measured, it holds in part. What was fitted, or could not have come out otherwise, is set aside: it "
    "counts neither as holding nor as failing, and a statement with such a part never plainly holds.",
    "More budget counts as more accuracy, or more leak, where the largest is clearly above the least and no step is "
    "clearly down. A scheme is on the Pareto front where no other is clearly better in accuracy or leak and clearly "
    "worse in neither. A classifier that is not clearly above the best constant answer knows nothing.",
    "Leak is the strongest attacker's PSNR above the mean image's, at least 0; re-identification is the strongest "
    "attacker's top-1 rate. Statements are about the article's schemes alone: label-only, plain VQ and the rotation "
    "are no part of them. Both readings of DP (honest and calibrated) and of its shuffle (fixed and per message) are.",
)
"""How the verdicts were reached, for the report."""


@dataclass(frozen=True)
class Statement:
    """One of the article's statements and how far it holds here.

    Attributes:
        number: 1 to 8.
        claim: the article's, in our words.
        verdict: :data:`HOLDS`, :data:`IN_PART`, :data:`FAILS` or :data:`UNTESTED`.
        evidence: a sentence for each part that was measured, with the figures it rests on.
        why: where it does not hold, what is known of the reason, and on which data; else empty.
        missing: each part that was not measured, with what it lacks.
    """

    number: int
    claim: str
    verdict: str
    evidence: tuple[str, ...]
    why: str
    missing: tuple[str, ...]


def judge(rows: Sequence[Row], *, floor_db: float | None, data_note: str) -> list[Statement]:
    """The eight statements, in order, whatever was measured.

    Args:
        rows: of fig3, table1, table2 and fig4, as far as they exist.
        floor_db: PSNR of the mean image on fig3's test images; None leaves what rests on leaks unmeasured.
        data_note: which data this is about, in a sentence or a clause; every verdict names it that does not hold.

    Raises:
        InputError: a row is not a finite number or there twice, or the data are not named.

    Example:
        >>> [one.verdict for one in judge([], floor_db=None, data_note="none")] == [UNTESTED] * 8
        True
    """
    if not data_note.strip():
        raise InputError("data_note must say which data the rows are about; it is empty.")
    measured = Measured(rows, floor_db)
    return [
        _judged(number, claim, parts, measured, data_note) for number, (claim, parts) in enumerate(CLAIMS, 1)
    ]


def _judged(number: int, claim: str, parts: Sequence[Part], measured: Measured, data_note: str) -> Statement:
    evidence, reasons, missing, outcomes = [], [], [], []
    for part in parts:
        try:
            found = part.find(measured)
        except Absent as absent:
            missing.append(f"{part.name}: lacks {absent}")
            continue
        outcomes.append(found.outcome)
        evidence.append(f"{_capital(part.name)}: {found.outcome}; {found.evidence}.")
        if found.outcome != HELD:
            reasons.append(part.reason)
    verdict = _verdict(outcomes, len(missing))
    why = ""
    if verdict in (IN_PART, FAILS):
        known = [reason for reason in dict.fromkeys(reasons) if reason]
        if FAILED in outcomes and not known:
            known = ["Why is not known."]
        why = " ".join([*known, f"Data: {data_note.strip().rstrip('.')}."])
    return Statement(number, claim, verdict, tuple(evidence), why, tuple(missing))


def _verdict(outcomes: Sequence[str], missing: int) -> str:
    counted = [outcome for outcome in outcomes if outcome != SET_ASIDE]
    if not counted:
        return UNTESTED
    if HELD not in counted:
        return FAILS
    return HOLDS if len(counted) == len(outcomes) and FAILED not in counted and not missing else IN_PART


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def statements_findings(rows: Sequence[Row], *, floor_db: float | None, data_note: str) -> Findings:
    """The eight statements as findings with one table, for the report.

    Args, errors: as for :func:`judge`. The findings have no rows of their own; those belong to their experiments.
    """
    statements = judge(rows, floor_db=floor_db, data_note=data_note)
    table = Table(
        "The article's statements",
        ("number", "statement", "verdict", "evidence", "why"),
        [
            (one.number, one.claim, one.verdict, " ".join(one.evidence), _why_and_missing(one))
            for one in statements
        ],
        caption=f"Data: {data_note.strip().rstrip('.')}.",
    )
    count = Counter(one.verdict for one in statements)
    verdicts = ", ".join(
        f"{verdict} {count[verdict]}" for verdict in (HOLDS, IN_PART, FAILS, UNTESTED) if count[verdict]
    )
    return Findings(
        "statements",
        "The article's statements, judged here",
        notes=[f"Verdicts on the eight statements: {verdicts}.", *RULES, _intervals(rows)],
        tables=[table],
        details={"floor_db": floor_db, "data": data_note, "statements": [asdict(one) for one in statements]},
    )


def _why_and_missing(one: Statement) -> str:
    return " ".join(filter(None, [one.why, *(f"Not measured: {absent}." for absent in one.missing)]))


def _intervals(rows: Sequence[Row]) -> str:
    """What the samples behind the intervals differ in, so that nobody takes noise for training."""
    over = Counter(row.over for row in rows if not math.isnan(row.interval))
    single = sum(math.isnan(row.interval) for row in rows)
    told = [f"{count} over {what}" for what, count in over.items()]
    return f"Rows given: {len(rows)}, with 95 % intervals {', '.join(told) or 'nowhere'}; single samples: {single}."

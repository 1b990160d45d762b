"""The verdicts on the article's eight claims, and their table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tosc_agents.experiments.claims.accuracy import ABOVE_4_DB, BELOW_4_DB, PRIVACY_FOR_ACCURACY
from tosc_agents.experiments.claims.cost import TIME
from tosc_agents.experiments.claims.criteria import FAILED, HELD, SET_ASIDE, Criterion
from tosc_agents.experiments.claims.faces import ATTRIBUTES, BLUR
from tosc_agents.experiments.claims.privacy import OVER_SNR, TRADE_OFF
from tosc_agents.experiments.claims.results import Absent, Results
from tosc_agents.experiments.sections import Measurement, Section, Table
from tosc_env.errors import InputError

HOLDS, IN_PART, FAILS, UNTESTED = "holds", "holds in part", "does not hold here", "not measured"
"""Verdicts."""

CLAIMS: tuple[tuple[str, tuple[Criterion, ...]], ...] = (
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
    ("On faces IBAL and LBVQ blur the attacker's image most, up to changing the apparent gender.", BLUR),
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
"""The article's claims in our words, in its order, each with the criteria that it is judged by."""

RULES = (
    "A difference counts only where it exceeds the square root of the sum of both squared 95 % intervals; a single "
    'sample has no interval, counts as exact, and is marked "one sample".',
    "Each claim is split into criteria. All hold: it holds; none does: it does not hold here; else, or where a "
    "criterion was not measured, it holds in part. What was fitted, or could not have come out otherwise, is set "
    "aside: it counts neither as holding nor as failing, and a claim with such a criterion never plainly holds.",
    "More budget counts as more accuracy, or more leak, where the largest is clearly above the least and no step is "
    "clearly down. A scheme is on the Pareto front where no other is clearly better in accuracy or leak and clearly "
    "worse in neither. A classifier that is not clearly above the best constant answer knows nothing.",
    "Leak is the strongest attacker's PSNR above the mean image's, at least 0; re-identification is the strongest "
    "attacker's top-1 rate. Claims are about the article's schemes alone: label-only, plain VQ and the rotation are no "
    "part of them. Both readings of DP (honest and calibrated) and of its shuffle (fixed and per message) are.",
)
"""How the verdicts were reached, for the report."""


@dataclass(frozen=True)
class Claim:
    """One of the article's claims and how far it holds here.

    Attributes:
        number: 1 to 8.
        text: the article's, in our words.
        verdict: :data:`HOLDS`, :data:`IN_PART`, :data:`FAILS` or :data:`UNTESTED`.
        evidence: a sentence for each criterion that was measured, with the figures it rests on.
        why: where it does not hold, what is known of the reason, and on which data; else empty.
        missing: each criterion that was not measured, with what it lacks.
    """

    number: int
    text: str
    verdict: str
    evidence: tuple[str, ...]
    why: str
    missing: tuple[str, ...]


def judge(measurements: Sequence[Measurement], *, floor_db: float | None, data_note: str) -> list[Claim]:
    """The eight claims, in order, whatever was measured.

    Args:
        measurements: of fig3, table1, table2 and fig4, as far as they exist.
        floor_db: PSNR of the mean image on fig3's test images; None leaves what rests on leaks unmeasured.
        data_note: which data this is about, in a sentence or a clause; every verdict names it that does not hold.

    Raises:
        InputError: a mean is not a finite number or there twice, or the data are not named.

    Example:
        >>> [one.verdict for one in judge([], floor_db=None, data_note="none")] == [UNTESTED] * 8
        True
    """
    if not data_note.strip():
        raise InputError("data_note must say which data the measurements are about; it is empty.")
    results = Results(measurements, floor_db)
    return [_judged(number, *claim, results, data_note) for number, claim in enumerate(CLAIMS, 1)]


def _judged(number: int, text: str, criteria: Sequence[Criterion], results: Results, data_note: str) -> Claim:
    evidence, reasons, missing, outcomes = [], [], [], []
    for criterion in criteria:
        try:
            found = criterion.judge(results)
        except Absent as absent:
            missing.append(f"{criterion.name}: lacks {absent}")
            continue
        outcomes.append(found.kind)
        name = criterion.name[0].upper() + criterion.name[1:]
        evidence.append(f"{name}: {found.kind}; {found.evidence}.")
        if found.kind != HELD:
            reasons.append(criterion.reason)
    verdict = _verdict(outcomes, len(missing))
    why = ""
    if verdict in (IN_PART, FAILS):
        known = [reason for reason in dict.fromkeys(reasons) if reason]
        if FAILED in outcomes and not known:
            known = ["Why is not known."]
        why = " ".join([*known, _data(data_note)])
    return Claim(number, text, verdict, tuple(evidence), why, tuple(missing))


def _verdict(outcomes: Sequence[str], missing: int) -> str:
    counted = [outcome for outcome in outcomes if outcome != SET_ASIDE]
    if not counted:
        return UNTESTED
    if HELD not in counted:
        return FAILS
    return HOLDS if len(counted) == len(outcomes) and FAILED not in counted and not missing else IN_PART


def _data(note: str) -> str:
    return f"Data: {note.strip().rstrip('.')}."


def claims_section(measurements: Sequence[Measurement], *, floor_db: float | None, data_note: str) -> Section:
    """The eight claims as a section with one table, for the report.

    Args, errors: as for :func:`judge`. It has no measurements of its own; those belong to their experiments.
    """
    claims = judge(measurements, floor_db=floor_db, data_note=data_note)
    lines = []
    for one in claims:
        missing = (f"Not measured: {absent}." for absent in one.missing)
        why = " ".join(filter(None, [one.why, *missing]))
        lines.append((one.number, one.text, one.verdict, " ".join(one.evidence), why))
    columns = ("number", "claim", "verdict", "evidence", "why")
    count = Counter(one.verdict for one in claims)
    verdicts = ", ".join(f"{each} {count[each]}" for each in (HOLDS, IN_PART, FAILS, UNTESTED) if count[each])
    # What the samples behind the intervals differ in, so that nobody takes noise for training.
    over = Counter(m.over for m in measurements if not math.isnan(m.interval))
    told = ", ".join(f"{number} over {what}" for what, number in over.items()) or "nowhere"
    given = f"Measurements: {len(measurements)}, with 95 % intervals {told}; "
    single = f"single samples: {len(measurements) - over.total()}."
    return Section(
        "claims",
        "The article's claims, judged here",
        notes=[f"Verdicts on the eight claims: {verdicts}.", *RULES, given + single],
        tables=[Table("The article's claims", columns, lines, _data(data_note))],
        details={"floor_db": floor_db, "data": data_note, "claims": [asdict(one) for one in claims]},
    )

"""Statements 3 and 5: leaks over the SNR, and the trade-off between accuracy and leak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from math import hypot, isnan

from tosc_agents.experiments.findings import Row
from tosc_agents.experiments.pareto import front, points_of
from tosc_agents.experiments.statements.comparing import (
    SCORE,
    Case,
    above,
    below,
    clearly_above,
    difference,
    label,
    scaled,
    told,
)
from tosc_agents.experiments.statements.measured import ALL, BASELINE, ENCRYPTION, TRAINED_DB, Measured
from tosc_agents.experiments.statements.parts import Absent, Found, Part, every

LOW_SNRS_DB = (0.0, 4.0)
"""What "low SNR" is read as."""
HALF = 0.5
"""Privacy counts as kept where the leak is clearly below this share of the unprotected scheme's."""

KEYED = (
    "A fresh shuffle per message leaves no attacker more than the multiset of values, and honest noise leaves "
    "nothing at all: a scheme that sends features for everyone to decode cannot get below those."
)
REID = (
    "A PSNR near the floor does not hide which image it was: symbols that serve the task still tell images apart, "
    "and whoever can encode the candidates need not rebuild anything."
)


def _at_most_half(kind: str, m: Measured) -> Found:
    def compare(snr_db: float) -> Case:
        unprotected = m.leak(BASELINE, snr_db, kind)
        names = ("LBVQ", f"half of {label(unprotected)}'s")
        return below(
            f"at {snr_db:g} dB", m.leak("lbvq", snr_db, kind), scaled(unprotected, HALF), names=names
        )

    return every(compare, product(m.snrs()))


def _varies_less(m: Measured) -> Found:
    snrs = m.snrs()
    if len(snrs) < 2:
        raise Absent("fig3 at a second SNR")

    def spread(key: str) -> Row:
        leaks = sorted((m.leak(key, snr_db) for snr_db in snrs), key=lambda row: row.mean)
        return difference(leaks[-1], leaks[0], leaks[0].figure)

    return every(
        lambda: below("between its largest and its smallest leak", spread("lbvq"), spread(BASELINE)), [()]
    )


def _least(keys: Sequence[str], snrs: Sequence[float], kind: str, m: Measured) -> Found:
    """Each of ``keys`` clearly leaks less than every other scheme of the article; Encryption is one scheme."""
    own = {*keys, *(ENCRYPTION if set(keys) & set(ENCRYPTION) else ())}
    rivals = [rival for rival in ALL if rival not in own]

    def compare(key: str, snr_db: float, rival: str) -> Case:
        return below(f"at {snr_db:g} dB", m.leak(key, snr_db, kind), m.leak(rival, snr_db, kind))

    return every(compare, product(keys, snrs, rivals))


OVER_SNR = (
    Part(
        "LBVQ's PSNR leak clearly below half of the unprotected one at every SNR",
        partial(_at_most_half, "psnr_db"),
    ),
    Part("LBVQ's PSNR leak varies less over the SNR than the unprotected one", _varies_less),
    Part("LBVQ's re-identification clearly below half at every SNR", partial(_at_most_half, "reid"), REID),
    Part(
        "IBAL's PSNR leak the lowest of the article's schemes at 0 and 4 dB",
        partial(_least, ("ibal",), LOW_SNRS_DB, "psnr_db"),
        KEYED,
    ),
    Part(
        "IBAL's re-identification the lowest at 0 and 4 dB",
        partial(_least, ("ibal",), LOW_SNRS_DB, "reid"),
        REID,
    ),
)
"""Statement 3."""


def _priced(m: Measured) -> Found:
    def compare(key: str) -> Case:
        return below(f"at {TRAINED_DB:g} dB", m.accuracy(key, TRAINED_DB), m.accuracy(BASELINE, TRAINED_DB))

    return every(compare, product(ENCRYPTION))


def _on_the_front(m: Measured) -> Found:
    """Nothing clearly dominates IBAL: no worse in either, as far as the intervals say, and clearly better in one."""
    accuracy, leak = m.accuracy("ibal", TRAINED_DB), m.leak("ibal", TRAINED_DB)

    def compare(rival: str) -> Case:
        its_accuracy, its_leak = m.accuracy(rival, TRAINED_DB), m.leak(rival, TRAINED_DB)
        worse = clearly_above(accuracy, its_accuracy) or clearly_above(its_leak, leak)
        better = clearly_above(its_accuracy, accuracy) or clearly_above(leak, its_leak)
        text = (
            f"IBAL {told(accuracy)} with a leak of {told(leak)} against {label(its_accuracy)} {told(its_accuracy)} "
            f"with {told(its_leak)}"
        )
        # The more of the leak a rival spares, the more it shows.
        return Case("", text, worse or not better, its_leak.mean - leak.mean, label(its_accuracy))

    return every(compare, product(rival for rival in ALL if rival != "ibal"))


def _score(m: Measured, key: str) -> Row:
    """Accuracy minus leak, each as a share of the unprotected scheme's."""
    accuracy, leak = m.accuracy(key, TRAINED_DB), m.leak(key, TRAINED_DB)
    whole, ceiling = m.accuracy(BASELINE, TRAINED_DB).mean, m.leak(BASELINE, TRAINED_DB).mean
    if whole <= 0 or ceiling <= 0:
        raise Absent("an unprotected scheme that is accurate and leaks")
    gain, harm = scaled(accuracy, 1 / whole), scaled(leak, 1 / ceiling)
    halves = [row.interval for row in (gain, harm) if not isnan(row.interval)]
    return replace(
        gain,
        figure=SCORE,
        mean=gain.mean - harm.mean,
        interval=hypot(*halves) if halves else gain.interval,
        samples=min(gain.samples, harm.samples),
    )


def _best_of_the_front(m: Measured) -> Found:
    def compare(rival: str) -> Case:
        return above("", _score(m, "ibal"), _score(m, rival))

    found = every(compare, product(rival for rival in ALL if rival != "ibal"))
    points = front(points_of(m.fig3, arms=ALL, snr_db=TRAINED_DB, figures=("psnr_db",), floor=m.floor))
    told_front = ", ".join(label(Row("fig3", point.arm, "", 0.0)) for point in points)
    return replace(
        found, evidence=f"{found.evidence}; by the means the front is, from the least leak, {told_front}"
    )


TRADE_OFF = (
    Part(
        "Encryption (fixed shuffle) leaks least in PSNR of the article's schemes at 12 dB",
        partial(_least, ("enc-fixed",), (TRAINED_DB,), "psnr_db"),
        "Any attacker that trains on shuffled symbols learns a fixed permutation with the rest: it hides nothing.",
    ),
    Part(
        "Encryption (shuffle per message) leaks least in PSNR of the article's schemes at 12 dB",
        partial(_least, ("enc-shuffle",), (TRAINED_DB,), "psnr_db"),
        "Honest noise leaves even less than a shuffle, whose multiset of values anyone can sort.",
    ),
    Part(
        "Encryption clearly less accurate than the unprotected scheme at 12 dB",
        _priced,
        "With the key the receiver undoes the shuffle exactly, and white noise stays the same under it: Encryption "
        "costs no accuracy.",
    ),
    Part(
        "IBAL on the Pareto front of accuracy and PSNR leak at 12 dB",
        _on_the_front,
        "A scheme that is as accurate and leaks less takes IBAL off the front.",
    ),
    Part(
        "IBAL with the largest accuracy minus leak, each as a share of the unprotected scheme's, at 12 dB",
        _best_of_the_front,
        "By this measure a shuffle per message, which costs no accuracy, is hard to beat while its key is secret.",
    ),
)
"""Statement 5."""

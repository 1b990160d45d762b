"""The tables of fig3: its figures by arm and SNR, who was strongest, and all attackers side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tosc_agents.experiments.arms import arm
from tosc_agents.experiments.findings import FOLDS, NOISE, TRAININGS, Row, Table, strongest

REFERENCE_DB = 12.0
"""The SNR that all systems are trained at, and that single figures are given for."""

PIXELS, MATCH, QUERY = "reid_pixels", "reid_match", "reid_query"
WITHOUT_QUERIES = (PIXELS, MATCH)
"""Re-identification by whoever cannot have the candidates encoded."""

FIGURES = {
    "psnr_db": "PSNR, dB",
    "psnr_clipped_db": "PSNR on the clipped scale, dB",
    "ssim": "SSIM",
    PIXELS: "re-identification by nearest reconstruction",
    MATCH: "re-identification, learned",
    QUERY: "re-identification by encoding the candidates",
    "infer_label": "label inferred",
}
"""An attacker's figures in words, in the order of tables."""


def is_share(figure: str) -> bool:
    """Whether a figure is a share in [0, 1], shown in percent."""
    return figure == "accuracy" or figure.startswith(("reid", "infer"))


def said(row: Row | None, *, minus: float = 0.0) -> str | None:
    """A figure with its interval, as a cell; ``minus`` is taken off the mean.

    >>> said(Row("fig3", "lbvq", "accuracy", 0.8601, 0.0012)), said(Row("fig3", "lbvq", "psnr_db", 13.3))
    ('86.01 ± 0.12 %', '13.30')
    """
    if row is None:
        return None
    scale, digits, unit = (
        (100, 2, " %") if is_share(row.figure) else (1, 3 if row.figure == "ssim" else 2, "")
    )
    spread = "" if math.isnan(row.interval) else f" ± {row.interval * scale:.{digits}f}"
    return f"{(row.mean - minus) * scale:.{digits}f}{spread}{unit}"


def intervals(rows: Sequence[Row]) -> str:
    """What the intervals of these rows mean, in a sentence.

    >>> intervals([Row("fig3", "lbvq", "accuracy", 0.8, 0.01, 3)])
    '± and error bars: 95 % interval of the mean over 3 draws of the channel noise, one training each.'
    """
    groups: dict[tuple[str, int], list[str]] = {}
    for row in rows:
        named = groups.setdefault((row.over, row.samples), [])
        if row.arm not in named:
            named.append(row.arm)
    if all(samples == 1 for _, samples in groups):
        return "Single samples: no interval."
    if len(groups) == 1:
        return f"± and error bars: 95 % interval of the mean over {_samples(*next(iter(groups)))}."
    most = max(groups, key=lambda group: len(groups[group]))
    apart = len({row.arm for row in rows}) == sum(map(len, groups.values()))  # each arm in one group
    told = []
    for (over, samples), named in groups.items():
        what = f"over {_samples(over, samples)}" if samples > 1 else "none, a single sample"
        whose = "all others" if apart and (over, samples) == most else ", ".join(arm(k).label for k in named)
        told.append((whose == "all others", f"{what} ({whose})"))
    return f"± and error bars: 95 % interval of the mean, {'; '.join(text for _, text in sorted(told))}."


def _samples(over: str, samples: int) -> str:
    return {
        NOISE: f"{samples} draws of the channel noise, one training each",
        TRAININGS: f"{samples} trainings",
        FOLDS: f"{samples} folds",
    }.get(over, f"{samples} samples of {over}")


def strongest_rows(rows: Sequence[Row], arms: Sequence[str], figures: Sequence[str]) -> list[Row]:
    """For each arm and SNR the row of the attacker that got most by any of these figures."""
    snrs = sorted({row.snr_db for row in rows if row.figure in figures and row.snr_db is not None})
    found = (strongest(rows, arm=key, snr_db=snr, figures=figures) for key in arms for snr in snrs)
    return [row for row in found if row is not None]


def by_snr(title: str, rows: Sequence[Row], arms: Sequence[str], caption: str = "") -> Table:
    """Arms down, SNRs across; rows hold at most one figure for each."""
    snrs = sorted({row.snr_db for row in rows if row.snr_db is not None})
    at = {(row.arm, row.snr_db): row for row in rows}
    body = [[arm(key).label, *(said(at.get((key, snr))) for snr in snrs)] for key in arms if _has(rows, key)]
    return Table(
        title, ["arm", *(f"{snr:g} dB" for snr in snrs)], body, f"{caption} {intervals(rows)}".strip()
    )


def _has(rows: Sequence[Row], key: str) -> bool:
    return any(row.arm == key for row in rows)


def leak_table(rows: Sequence[Row], arms: Sequence[str], floor: float) -> Table:
    """PSNR of the strongest attacker above the floor, and its share of what the unprotected system leaks.

    Args:
        rows: PSNR of the strongest attacker, at most one per arm and SNR.
        arms: keys, in order.
        floor: PSNR of the mean image, in dB.
    """
    snrs = sorted({row.snr_db for row in rows if row.snr_db is not None})
    at = {(row.arm, row.snr_db): row for row in rows}
    whole = at.get(("deepjscc", REFERENCE_DB))
    body: list[list[str | float | None]] = []
    for key in (key for key in arms if _has(rows, key)):
        here = at.get((key, REFERENCE_DB))
        share = None
        if here is not None and whole is not None and whole.mean > floor:
            share = f"{(here.mean - floor) / (whole.mean - floor) * 100:.1f} %"
        body.append([arm(key).label, *(said(at.get((key, snr)), minus=floor) for snr in snrs), share])
    return Table(
        "PSNR leak: the strongest attacker's PSNR above the floor, in dB",
        ["arm", *(f"{snr:g} dB" for snr in snrs), f"of DeepJSCC's at {REFERENCE_DB:g} dB"],
        body,
        f"The floor is the mean image's {floor:.2f} dB. {intervals(rows)} The share has no interval.",
    )


def strongest_table(rows: Sequence[Row], arms: Sequence[str]) -> Table:
    """At 12 dB, the worst case of each leak and who got it; a leak that nobody measured has no column."""
    leaks = {
        "PSNR, dB": ("psnr_db",),
        "re-identification, no candidate queries": WITHOUT_QUERIES,
        "re-identification": (*WITHOUT_QUERIES, QUERY),
        "label": ("infer_label",),
    }
    here = [row for row in rows if row.snr_db == REFERENCE_DB]
    found = {name: strongest_rows(here, arms, figures) for name, figures in leaks.items()}
    found = {name: best for name, best in found.items() if best}
    body: list[list[str | float | None]] = []
    for key in (key for key in arms if any(_has(best, key) for best in found.values())):
        cells: list[str | float | None] = [arm(key).label]
        for best in found.values():
            mine = next((row for row in best if row.arm == key), None)
            cells += [said(mine), None if mine is None else mine.attacker]
        body.append(cells)
    columns = ["arm", *(column for name in found for column in (name, f"{name.removesuffix(', dB')}: by"))]
    told = [row for best in found.values() for row in best]
    return Table(
        f"The strongest attacker of each leak at {REFERENCE_DB:g} dB", columns, body, intervals(told)
    )


def attackers_table(rows: Sequence[Row], arms: Sequence[str]) -> Table:
    """Every attacker against every arm at 12 dB, with all its figures."""
    here = [row for row in rows if row.snr_db == REFERENCE_DB and row.attacker and row.figure in FIGURES]
    names = [name for name in FIGURES if any(row.figure == name for row in here)]
    at = {(row.arm, row.attacker, row.figure): row for row in here}
    body: list[list[str | float | None]] = []
    for key in arms:
        for attacker in dict.fromkeys(row.attacker for row in here if row.arm == key):
            cells = (said(at.get((key, attacker, name))) for name in names)
            body.append([arm(key).label, attacker, *cells])
    return Table(
        f"Every attacker against every arm at {REFERENCE_DB:g} dB",
        ["arm", "attacker", *(FIGURES[name] for name in names)],
        body,
        intervals([row for row in here if row.arm in arms]),
    )


def trained_once_table(rows: Sequence[Row], arms: Sequence[str], figure: str) -> Table | None:
    """Attackers told their SNR, beside the same trained at a single one (``name@12dB``); None without any of those."""
    at = {(row.arm, row.attacker, row.snr_db): row for row in rows if row.figure == figure}
    body: list[list[str | float | None]] = []
    shown: list[Row] = []
    ordered = sorted(at.items(), key=lambda item: (item[0][1] or "", item[0][2] or 0.0))
    for key in arms:
        for (owner, attacker, snr), once in ordered:
            if owner != key or not attacker or "@" not in attacker:
                continue
            name, _, trained = attacker.partition("@")
            aware = at.get((key, name, snr))
            shown += [once] if aware is None else [once, aware]
            scale, unit = (100, " %") if is_share(figure) else (1, "")
            gap = None if aware is None else f"{(once.mean - aware.mean) * scale:+.2f}{unit}"
            body.append([arm(key).label, name, trained, snr, said(aware), said(once), gap])
    if not body:
        return None
    return Table(
        f"{FIGURES[figure]}: attackers trained for the SNR, and the same trained at one SNR alone",
        ["arm", "attacker", "trained once at", "tested at, dB", "SNR-aware", "trained once", "difference"],
        body,
        intervals(shown),
    )

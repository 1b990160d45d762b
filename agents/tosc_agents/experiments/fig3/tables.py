"""The tables of fig3: its figures by method and SNR, who was strongest, and all attackers side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tosc_agents.experiments.methods import method
from tosc_agents.experiments.pareto import Point
from tosc_agents.experiments.sections import FOLDS, NOISE, TRAININGS, Measurement, Table, strongest

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

Body = list[list[str | float | None]]


def is_share(figure: str) -> bool:
    """Whether a figure is a share in [0, 1], shown in percent."""
    return figure == "accuracy" or figure.startswith(("reid", "infer"))


def said(m: Measurement | None) -> str | None:
    """A figure with its interval, as a cell.

    >>> said(Measurement("fig3", "lbvq", "accuracy", 0.8601, 0.0012)), said(Measurement("fig3", "vq", "psnr_db", 13.3))
    ('86.01 ± 0.12 %', '13.30')
    """
    if m is None:
        return None
    return f"{m.text(2, 100)} %" if is_share(m.figure) else m.text(3 if m.figure == "ssim" else 2)


def intervals(measurements: Sequence[Measurement]) -> str:
    """What the intervals of these measurements mean, in a sentence.

    >>> intervals([Measurement("fig3", "lbvq", "accuracy", 0.8, 0.01, 3)])
    '± and error bars: 95 % interval of the mean over 3 draws of the channel noise, one training each.'
    """
    groups: dict[tuple[str, int], dict[str, None]] = {}
    for m in measurements:
        groups.setdefault((m.over, m.samples), {})[m.method] = None
    if all(samples == 1 for _, samples in groups):
        return "Single samples: no interval."
    if len(groups) == 1:
        return f"± and error bars: 95 % interval of the mean over {_samples(*next(iter(groups)))}."
    most = max(groups, key=lambda group: len(groups[group]))
    apart = len({m.method for m in measurements}) == sum(map(len, groups.values()))  # each in one group
    told = []
    for group, keys in groups.items():
        what = f"over {_samples(*group)}" if group[1] > 1 else "none, a single sample"
        others = apart and group == most
        whose = "all others" if others else ", ".join(method(key).label for key in keys)
        told.append((others, f"{what} ({whose})"))
    return f"± and error bars: 95 % interval of the mean, {'; '.join(text for _, text in sorted(told))}."


def _samples(over: str, samples: int) -> str:
    return {
        NOISE: f"{samples} draws of the channel noise, one training each",
        TRAININGS: f"{samples} trainings",
        FOLDS: f"{samples} folds",
    }.get(over, f"{samples} samples of {over}")


def snrs_of(measurements: Iterable[Measurement]) -> list[float]:
    """Their SNRs in dB, each once, rising."""
    return sorted({m.snr_db for m in measurements if m.snr_db is not None})


def strongest_of(
    measurements: Sequence[Measurement], methods: Sequence[str], figures: Sequence[str]
) -> list[Measurement]:
    """For each method and SNR that of the attacker that got most by any of these figures."""
    snrs = snrs_of(m for m in measurements if m.figure in figures)
    found = (
        strongest(measurements, method=key, snr_db=snr, figures=figures) for key in methods for snr in snrs
    )
    return [m for m in found if m is not None]


def _at_snrs(
    measurements: Sequence[Measurement], methods: Sequence[str]
) -> tuple[list[float], dict[str, list[Measurement | None]]]:
    """The SNRs, and by the key of each method that has any, its measurement at each of them."""
    snrs = snrs_of(measurements)
    at = {(m.method, m.snr_db): m for m in measurements}
    lines = {key: [at.get((key, snr)) for snr in snrs] for key in methods}
    return snrs, {key: line for key, line in lines.items() if any(line)}


def by_snr(
    title: str, measurements: Sequence[Measurement], methods: Sequence[str], caption: str = ""
) -> Table:
    """Methods down, SNRs across; there is at most one measurement for each."""
    snrs, lines = _at_snrs(measurements, methods)
    body = [[method(key).label, *map(said, line)] for key, line in lines.items()]
    caption = f"{caption} {intervals(measurements)}".strip()
    return Table(title, ["method", *(f"{snr:g} dB" for snr in snrs)], body, caption)


def leak_table(measurements: Sequence[Measurement], methods: Sequence[str], floor: float) -> Table:
    """PSNR of the strongest attacker above the floor, in dB, and its share of what the unprotected system leaks."""
    above = [replace(m, mean=m.mean - floor) for m in measurements]
    snrs, lines = _at_snrs(above, methods)
    reference = {m.method: m.mean for m in above if m.snr_db == REFERENCE_DB}
    whole = reference.get("deepjscc", 0.0)
    body: Body = []
    for key, line in lines.items():
        share = f"{reference[key] / whole * 100:.1f} %" if key in reference and whole > 0 else None
        body.append([method(key).label, *map(said, line), share])
    return Table(
        "PSNR leak: the strongest attacker's PSNR above the floor, in dB",
        ["method", *(f"{snr:g} dB" for snr in snrs), f"of DeepJSCC's at {REFERENCE_DB:g} dB"],
        body,
        f"The floor is the mean image's {floor:.2f} dB. {intervals(above)} The share has no interval.",
    )


def strongest_table(measurements: Sequence[Measurement], methods: Sequence[str]) -> Table:
    """At 12 dB, the worst case of each leak and who got it; a leak that nobody measured has no column."""
    leaks = {
        "PSNR, dB": ("psnr_db",),
        "re-identification, no candidate queries": WITHOUT_QUERIES,
        "re-identification": (*WITHOUT_QUERIES, QUERY),
        "label": ("infer_label",),
    }
    here = [m for m in measurements if m.snr_db == REFERENCE_DB]
    found = {name: strongest_of(here, methods, figures) for name, figures in leaks.items()}
    by_leak = {name: {m.method: m for m in best} for name, best in found.items() if best}
    body: Body = []
    for key in (key for key in methods if any(key in best for best in by_leak.values())):
        mine = [best.get(key) for best in by_leak.values()]
        body.append(
            [
                method(key).label,
                *(cell for m in mine for cell in (said(m), None if m is None else m.attacker)),
            ]
        )
    columns = [
        "method",
        *(column for name in by_leak for column in (name, f"{name.removesuffix(', dB')}: by")),
    ]
    told = [m for best in found.values() for m in best]
    title = f"The strongest attacker of each leak at {REFERENCE_DB:g} dB"
    return Table(title, columns, body, intervals(told))


def attackers_table(measurements: Sequence[Measurement], methods: Sequence[str]) -> Table:
    """Every attacker against every method at 12 dB, with all its figures."""
    here = [m for m in measurements if m.snr_db == REFERENCE_DB and m.attacker and m.figure in FIGURES]
    names = [name for name in FIGURES if any(m.figure == name for m in here)]
    at = {(m.method, m.attacker, m.figure): m for m in here}
    body: Body = [
        [method(key).label, attacker, *(said(at.get((key, attacker, name))) for name in names)]
        for key in methods
        for attacker in dict.fromkeys(m.attacker for m in here if m.method == key)
    ]
    return Table(
        f"Every attacker against every method at {REFERENCE_DB:g} dB",
        ["method", "attacker", *(FIGURES[name] for name in names)],
        body,
        intervals([m for m in here if m.method in methods]),
    )


def trained_once_table(measurements: Sequence[Measurement], methods: Sequence[str], figure: str) -> Table:
    """Attackers told their SNR, beside the same trained at a single one (``name@12dB``)."""
    mine = [m for m in measurements if m.figure == figure]
    at = {(m.method, m.attacker, m.snr_db): m for m in mine}
    body: Body = []
    shown: list[Measurement] = []
    mine.sort(key=lambda m: (m.attacker or "", m.snr_db or 0.0))
    for key, once in ((key, m) for key in methods for m in mine if m.method == key):
        name, once_at, trained = (once.attacker or "").partition("@")
        if not once_at:
            continue
        aware = at.get((key, name, once.snr_db))
        shown += [once] if aware is None else [once, aware]
        scale, unit = (100, " %") if is_share(figure) else (1, "")
        gap = None if aware is None else f"{(once.mean - aware.mean) * scale:+.2f}{unit}"
        body.append([method(key).label, name, trained, once.snr_db, said(aware), said(once), gap])
    return Table(
        f"{FIGURES[figure]}: attackers trained for the SNR, and the same trained at one SNR alone",
        ["method", "attacker", "trained once at", "tested at, dB", "SNR-aware", "trained once", "difference"],
        body,
        intervals(shown),
    )


def front_table(fronts: Mapping[str, Sequence[Point]]) -> Table:
    """The fronts of the planes, point by point."""
    body: Body = []
    for leak, best in fronts.items():
        for point in best:
            said = f"{point.leak:.2f} dB" if leak.endswith("dB") else f"{point.leak * 100:.2f} %"
            body.append(
                [leak, method(point.method).label, point.snr_db, f"{point.utility * 100:.2f} %", said]
            )
    columns = ["leak", "method", "SNR, dB", "accuracy", "leaked"]
    return Table("Pareto fronts of the privacy-utility planes", columns, body, "Of means; intervals aside.")

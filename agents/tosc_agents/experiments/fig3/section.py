"""What people read of fig3: its charts, the privacy-utility planes, its tables, and what its captions must say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tosc_agents.experiments import charts
from tosc_agents.experiments.fig3 import tables
from tosc_agents.experiments.fig3.tables import (
    FIGURES,
    MATCH,
    PIXELS,
    QUERY,
    WITHOUT_QUERIES,
    intervals,
    is_share,
    snrs_of,
    strongest_of,
)
from tosc_agents.experiments.methods import method
from tosc_agents.experiments.pareto import Point, front, points_of
from tosc_agents.experiments.sections import Measurement, Plot, Section, pick
from tosc_env.errors import InputError

FLOOR = "mean-image"
BROKEN_DB = 0.05
"""How far under the floor a strongest attacker must stay for the report to call it broken."""

NEAR = ", methods that do the task"
"""Ends the title of charts without those that are near chance, which would flatten all others."""


@dataclass(frozen=True)
class _Chart:
    """A plot over the SNR, and the table beneath it.

    Attributes:
        name: of the file.
        title, ylabel: of the chart.
        figures: the largest of these is drawn.
        chance: key of what guessing gives, drawn as a line where it is known.
        attacker: only this one's; None: the strongest's.
        told: the first sentences of the caption.
    """

    name: str
    title: str
    ylabel: str
    figures: tuple[str, ...]
    chance: str | None = None
    attacker: str | None = None
    told: str = "At each SNR, the attacker that got most of all that were tried."


_ACCURACY = _Chart("accuracy", "Accuracy against SNR", "accuracy", ("accuracy",), "label", told="")
_CHARTS = (
    _ACCURACY,
    _Chart("psnr", "PSNR of the strongest attacker", "PSNR, dB", ("psnr_db",)),
    _Chart(
        "psnr-clipped",
        "PSNR of the strongest attacker, on the clipped scale of published code",
        "clipped PSNR, dB",
        ("psnr_clipped_db",),
    ),
    _Chart("ssim", "SSIM of the strongest attacker", "SSIM", ("ssim",)),
    _Chart(
        "article-attacker",
        "PSNR of the article's attacker",
        "PSNR, dB",
        ("psnr_db",),
        attacker="article",
        told="The article's attacker alone: a decoder trained with MSE and a perceptual loss.",
    ),
    _Chart(
        "reid",
        "Re-identification: nearest reconstruction, learned, or by encoding the candidates",
        "found among the candidates",
        (*WITHOUT_QUERIES, QUERY),
        "reid",
    ),
    _Chart(
        "reid-without-queries",
        "Re-identification without candidate queries",
        "found among the candidates",
        WITHOUT_QUERIES,
        "reid",
        told=f"{_Chart.told} None of them may have the candidates encoded.",
    ),
    _Chart("label", "Label inferred by the strongest attacker", "label right", ("infer_label",), "label"),
)
_PLANES = (
    ("psnr", "PSNR leak above the mean image, dB", ("psnr_db",)),
    ("reid", "re-identification without candidate queries", WITHOUT_QUERIES),
    ("label", "label inferred by the strongest attacker", ("infer_label",)),
)
_PLANE_TOLD = (
    "One point per method and SNR. Ringed: no other method or SNR is at least as accurate and as private, and better "
    "in one. Means alone are compared: differences within their intervals say nothing. "
    "An attacker under the mean image counts as no leak."
)


def present(
    measurements: list[Measurement],
    floors: Mapping[str, Mapping[str, float]],
    chance: Mapping[str, float],
    folder: Path,
    methods: Sequence[str],
    notes: Sequence[str],
) -> Section:
    """Charts, planes and tables of fig3; a figure that a method does not have is left out and a note says so.

    Args:
        measurements: all; those of methods that are not asked for stay in the section, unseen.
        floors: by ``mean-image`` and ``class-mean``, what knowing nothing, or the class alone, gives: ``psnr_db``,
            and ``ssim`` and ``psnr_clipped_db`` where known.
        chance: how often guessing is right: ``label``, and ``reid`` where known.
        folder: where plots are written.
        methods: keys, in the order in which they are shown.
        notes: sentences that come first: data, threat model, seeds.

    Raises:
        InputError: no measurements, no PSNR floor of the mean image, or an unknown method.
        WriteError: a plot cannot be written.
    """
    if not measurements:
        raise InputError("fig3 has no measurements to show.")
    if "psnr_db" not in floors.get(FLOOR, {}):
        raise InputError(f"floors must hold psnr_db of {FLOOR!r}; given are {', '.join(floors) or 'none'}.")
    labels = {key: method(key).label for key in methods}
    floor = floors[FLOOR]["psnr_db"]
    found = Section("fig3", "Fig. 3: accuracy and privacy against SNR", [*notes], [*measurements])
    near = _working(measurements, methods, chance.get("label", 0.0))
    for chart in _CHARTS:
        if chart is _ACCURACY:
            chosen = [m for key in methods for m in pick(measurements, "accuracy", method=key)]
        else:
            heard = [m for m in measurements if chart.attacker in (None, m.attacker)]
            chosen = strongest_of(heard, methods, chart.figures)
        missing = [label for key, label in labels.items() if not any(m.method == key for m in chosen)]
        if not chosen:
            found.notes.append(f"{chart.title}: not measured here, so there is no chart of it.")
            continue
        if missing:
            found.notes.append(f"{chart.title}: not measured for {', '.join(missing)}.")
        found.plots.append(_curves(chart, chosen, floors, chance, folder, methods))
        close = [m for m in chosen if m.method in near]
        if chart is _ACCURACY and 0 < len(close) < len(chosen):
            closer = replace(chart, name="accuracy-near", title=f"{chart.title}{NEAR}", chance=None)
            found.plots.append(_curves(closer, close, floors, chance, folder, near))
        found.tables.append(tables.by_snr(chart.title, chosen, methods, chart.told))
    for figure in (PIXELS, MATCH, QUERY):
        chosen = strongest_of(measurements, methods, (figure,))
        if chosen:
            title = f"{FIGURES[figure][:1].upper()}{FIGURES[figure][1:]}, alone"
            found.tables.append(tables.by_snr(title, chosen, methods, _Chart.told))
    fronts = _planes(found, floor, folder, methods, near)
    psnr = strongest_of(measurements, methods, ("psnr_db",))
    made = [tables.leak_table(psnr, methods, floor)] if psnr else []
    made += [tables.strongest_table(measurements, methods), tables.attackers_table(measurements, methods)]
    made += [tables.trained_once_table(measurements, methods, figure) for figure in FIGURES]
    made.append(tables.front_table(fronts))
    found.tables += [table for table in made if table.rows]
    low = [f"{labels[m.method]} at {m.snr_db:g} dB" for m in psnr if m.mean < floor - BROKEN_DB]
    if low:
        found.notes.append(
            f"The strongest attacker stays under the mean image's {floor:.2f} dB for {', '.join(low)}: it is broken "
            "there, not defeated."
        )
    told = {name: [asdict(point) for point in best] for name, best in fronts.items()}
    found.details = {"floors": floors, "chance": chance, "pareto_fronts": told}
    return found


def _working(measurements: Sequence[Measurement], methods: Sequence[str], chance: float) -> list[str]:
    """The methods whose best accuracy lies in the upper half between chance and the best of all."""
    best = {m.method: m.mean for m in sorted(pick(measurements, "accuracy"), key=lambda m: m.mean)}
    top = max((best[key] for key in methods if key in best), default=0.0)
    return [key for key in methods if key in best and best[key] > (chance + top) / 2]


def _curves(
    chart: _Chart,
    chosen: Sequence[Measurement],
    floors: Mapping[str, Mapping[str, float]],
    chance: Mapping[str, float],
    folder: Path,
    methods: Sequence[str],
) -> Plot:
    references = [
        (f"{name} ({'floor' if name == FLOOR else 'knows the label alone'})", known[chart.figures[0]])
        for name, known in floors.items()
        if chart.figures[0] in known
    ]
    if chart.chance is not None and chart.chance in chance:
        references.append(("chance", chance[chart.chance]))
    path = folder / f"fig3-{chart.name}.svg"
    charts.curves(
        path,
        chosen,
        methods=methods,
        title=chart.title,
        ylabel=chart.ylabel,
        references=references,
        percent=is_share(chart.figures[0]),
    )
    told = [chart.told] if chart.told else []
    if any(m.method == "deepjscc" for m in chosen):
        told.append("DeepJSCC, which protects nothing, is the ceiling.")
    if not references and chart.figures != _ACCURACY.figures:
        told.append("What guessing gives is not known on this scale.")
    return Plot(chart.title, path, " ".join([*told, intervals(chosen)]))


def _planes(
    found: Section, floor: float, folder: Path, methods: Sequence[str], near: Sequence[str]
) -> dict[str, list[Point]]:
    """Draw a plane for each leak and add it to what was found, or a note that there is none; returns their fronts.

    The PSNR leak counts from ``floor``. Those who do the task (``near``) get a plane of their own.
    """
    fronts: dict[str, list[Point]] = {}
    for name, leak, figures in _PLANES:
        nothing = floor if figures == ("psnr_db",) else 0.0
        points = [
            point
            for snr in snrs_of(pick(found.measurements, "accuracy"))
            for point in points_of(
                found.measurements, methods=methods, snr_db=snr, figures=figures, floor=nothing
            )
        ]
        if not points:
            found.notes.append(f"Privacy-utility plane, {leak}: nothing measured to draw.")
            continue
        fronts[leak] = front(points)
        for ending, told, shown in (("", "", methods), ("-near", NEAR, near)):
            mine = [point for point in points if point.method in shown]
            if not mine or (ending and len(mine) == len(points)):
                continue
            title = f"Accuracy against leak{told}: {leak}"
            path = folder / f"fig3-plane-{name}{ending}.svg"
            best = [point for point in fronts[leak] if point.method in shown]
            charts.plane(path, mine, title=title, xlabel=leak, front=best, percent=is_share(figures[0]))
            found.plots.append(Plot(title, path, _PLANE_TOLD))
    return fronts

"""The privacy-utility planes of fig3: accuracy against each leak, and the fronts that nothing else beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tosc_agents.experiments import charts
from tosc_agents.experiments.arms import arm
from tosc_agents.experiments.fig3.tables import WITHOUT_QUERIES, is_share
from tosc_agents.experiments.findings import Findings, Picture, Row, Table, pick
from tosc_agents.experiments.pareto import Point, front, points_of

_PLANES = (
    ("psnr", "PSNR leak above the mean image, dB", ("psnr_db",)),
    ("reid", "re-identification without candidate queries", WITHOUT_QUERIES),
    ("label", "label inferred by the strongest attacker", ("infer_label",)),
)
_PLANE_TOLD = (
    "One point per arm and SNR. Ringed: no other arm or SNR is at least as accurate and as private, and better in one. "
    "Means alone are compared: differences within their intervals say nothing. "
    "An attacker under the mean image counts as no leak."
)
NEAR = ", arms that do the task"
"""Ends the title of charts without those that are near chance, which would flatten all others."""


def working(rows: Sequence[Row], arms: Sequence[str], chance: float) -> list[str]:
    """The arms whose best accuracy lies in the upper half between chance and the best of all."""
    best = {row.arm: row.mean for row in sorted(pick(rows, "accuracy"), key=lambda row: row.mean)}
    top = max((best[key] for key in arms if key in best), default=0.0)
    return [key for key in arms if key in best and best[key] > (chance + top) / 2]


def planes(
    found: Findings,
    rows: Sequence[Row],
    floor: float,
    folder: Path,
    arms: Sequence[str],
    near: Sequence[str],
) -> dict[str, list[Point]]:
    """Draw a plane for each leak into the folder and add it to what was found, or a note that there is none.

    Args:
        found: gets pictures and notes.
        rows: accuracy, and the attackers' figures.
        floor: PSNR of the mean image, in dB, off which the PSNR leak is counted.
        folder: where pictures are written.
        arms: keys of those compared.
        near: those that do the task, who get a plane of their own where they are not all.

    Returns:
        by leak, the points that no other one beats.
    """
    snrs = sorted({row.snr_db for row in pick(rows, "accuracy") if row.snr_db is not None})
    fronts: dict[str, list[Point]] = {}
    for name, leak, figures in _PLANES:
        nothing = floor if figures == ("psnr_db",) else 0.0
        points = [
            point
            for snr in snrs
            for point in points_of(rows, arms=arms, snr_db=snr, figures=figures, floor=nothing)
        ]
        if not points:
            found.notes.append(f"Privacy-utility plane, {leak}: nothing measured to draw.")
            continue
        fronts[leak] = front(points)
        for ending, told, shown in (("", "", arms), ("-near", NEAR, near)):
            mine = [point for point in points if point.arm in shown]
            if not mine or (ending and len(mine) == len(points)):
                continue
            title = f"Accuracy against leak{told}: {leak}"
            path = folder / f"fig3-plane-{name}{ending}.svg"
            best = [point for point in fronts[leak] if point.arm in shown]
            charts.plane(path, mine, title=title, xlabel=leak, front=best, percent=is_share(figures[0]))
            found.pictures.append(Picture(title, path, _PLANE_TOLD))
    return fronts


def front_table(fronts: Mapping[str, Sequence[Point]]) -> Table:
    """The fronts, point by point."""
    body: list[list[str | float | None]] = []
    for leak, best in fronts.items():
        for point in best:
            said = f"{point.leak:.2f} dB" if leak.endswith("dB") else f"{point.leak * 100:.2f} %"
            body.append([leak, arm(point.arm).label, point.snr_db, f"{point.utility * 100:.2f} %", said])
    columns = ["leak", "arm", "SNR, dB", "accuracy", "leaked"]
    return Table("Pareto fronts of the privacy-utility planes", columns, body, "Of means; intervals aside.")

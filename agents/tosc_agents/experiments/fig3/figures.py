"""What people read of fig3: its charts, the privacy-utility planes, its tables, and what its captions must say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tosc_agents.experiments import charts
from tosc_agents.experiments.arms import arm
from tosc_agents.experiments.fig3 import tables
from tosc_agents.experiments.fig3.planes import NEAR, front_table, planes, working
from tosc_agents.experiments.fig3.tables import (
    FIGURES,
    MATCH,
    PIXELS,
    QUERY,
    WITHOUT_QUERIES,
    intervals,
    is_share,
    strongest_rows,
)
from tosc_agents.experiments.findings import Findings, Picture, Row, Table, pick
from tosc_env.errors import InputError

ARTICLE = "article"
"""Key of the article's attacker: a decoder trained with MSE and a perceptual loss."""

FLOOR = "mean-image"
BROKEN_DB = 0.05
"""How far under the floor a strongest attacker must stay for the report to call it broken."""


@dataclass(frozen=True)
class _Chart:
    """A picture over the SNR, and the table beneath it.

    Attributes:
        name: of the file.
        title, ylabel: of the chart.
        figures: the largest of these is drawn.
        chance: key of what guessing gives, drawn as a line where it is known.
        attacker: only this one's rows; None: the strongest.
        told: the first sentences of the caption.
    """

    name: str
    title: str
    ylabel: str
    figures: tuple[str, ...]
    chance: str | None = None
    attacker: str | None = None
    told: str = ""


_STRONGEST = "At each SNR, the attacker that got most of all that were tried."
_ACCURACY = _Chart("accuracy", "Accuracy against SNR", "accuracy", ("accuracy",), "label")
_CHARTS = (
    _ACCURACY,
    _Chart("psnr", "PSNR of the strongest attacker", "PSNR, dB", ("psnr_db",), told=_STRONGEST),
    _Chart(
        "psnr-clipped",
        "PSNR of the strongest attacker, on the clipped scale of published code",
        "clipped PSNR, dB",
        ("psnr_clipped_db",),
        told=_STRONGEST,
    ),
    _Chart("ssim", "SSIM of the strongest attacker", "SSIM", ("ssim",), told=_STRONGEST),
    _Chart(
        "article-attacker",
        "PSNR of the article's attacker",
        "PSNR, dB",
        ("psnr_db",),
        attacker=ARTICLE,
        told="The article's attacker alone: a decoder trained with MSE and a perceptual loss.",
    ),
    _Chart(
        "reid",
        "Re-identification: nearest reconstruction, learned, or by encoding the candidates",
        "found among the candidates",
        (*WITHOUT_QUERIES, QUERY),
        "reid",
        told=_STRONGEST,
    ),
    _Chart(
        "reid-without-queries",
        "Re-identification without candidate queries",
        "found among the candidates",
        WITHOUT_QUERIES,
        "reid",
        told=f"{_STRONGEST} None of them may have the candidates encoded.",
    ),
    _Chart(
        "label",
        "Label inferred by the strongest attacker",
        "label right",
        ("infer_label",),
        "label",
        told=_STRONGEST,
    ),
)
_ALONE = (PIXELS, MATCH, QUERY)
"""Ways to re-identify that have a table each beside the best of them."""


def present(
    rows: list[Row],
    *,
    floors: dict[str, dict[str, float]],
    chance: dict[str, float],
    folder: Path,
    arms: Sequence[str],
    notes: list[str],
    details: dict[str, Any],
) -> Findings:
    """Charts, planes and tables of fig3; a figure that an arm does not have is left out and a note says so.

    Args:
        rows: all that was measured; those of arms that are not asked for stay in the findings, unseen.
        floors: by ``mean-image`` and ``class-mean``, what knowing nothing, or the class alone, gives: ``psnr_db``,
            and ``ssim`` and ``psnr_clipped_db`` where known.
        chance: how often guessing is right: ``label``, and ``reid`` where known.
        folder: where pictures are written.
        arms: keys, in the order in which they are shown.
        notes: sentences that come first: data, threat model, seeds.
        details: plain values for the JSON.

    Raises:
        InputError: no rows, no PSNR floor of the mean image, or an unknown arm.
        WriteError: a picture cannot be written.
    """
    if not rows:
        raise InputError("fig3 has no rows to show.")
    if "psnr_db" not in floors.get(FLOOR, {}):
        raise InputError(f"floors must hold psnr_db of {FLOOR!r}; given are {', '.join(floors) or 'none'}.")
    labels = {key: arm(key).label for key in arms}
    found = Findings("fig3", "Fig. 3: accuracy and privacy against SNR", [*notes], [*rows])
    near = working(rows, arms, chance.get("label", 0.0))
    for chart in _CHARTS:
        chosen = _chosen(rows, chart, arms)
        _say_missing(found, chart.title, labels, chosen)
        if not chosen:
            continue
        found.pictures.append(_curves(chart, chosen, floors, chance, folder, arms))
        close = [row for row in chosen if row.arm in near]
        if chart is _ACCURACY and 0 < len(close) < len(chosen):
            closer = replace(chart, name="accuracy-near", title=f"{chart.title}{NEAR}", chance=None)
            found.pictures.append(_curves(closer, close, floors, chance, folder, near))
        found.tables.append(tables.by_snr(chart.title, chosen, arms, chart.told))
    for figure in _ALONE:
        chosen = strongest_rows(rows, arms, (figure,))
        if chosen:
            title = f"{FIGURES[figure][:1].upper()}{FIGURES[figure][1:]}, alone"
            found.tables.append(tables.by_snr(title, chosen, arms, _STRONGEST))
    fronts = planes(found, rows, floors[FLOOR]["psnr_db"], folder, arms, near)
    found.tables += _more_tables(rows, arms, floors[FLOOR]["psnr_db"])
    found.tables += [front_table(fronts)] if fronts else []
    _say_broken(found, rows, arms, floors[FLOOR]["psnr_db"])
    found.details = {
        **details,
        "floors": floors,
        "chance": chance,
        "pareto_fronts": {
            name: [{"arm": p.arm, "snr_db": p.snr_db, "utility": p.utility, "leak": p.leak} for p in front]
            for name, front in fronts.items()
        },
    }
    return found


def _chosen(rows: Sequence[Row], chart: _Chart, arms: Sequence[str]) -> list[Row]:
    if chart is _ACCURACY:
        return [row for key in arms for row in pick(rows, "accuracy", arm=key)]
    if chart.attacker is not None:
        rows = [row for row in rows if row.attacker == chart.attacker]
    return strongest_rows(rows, arms, chart.figures)


def _say_missing(found: Findings, title: str, labels: Mapping[str, str], chosen: Sequence[Row]) -> None:
    missing = [label for key, label in labels.items() if not any(row.arm == key for row in chosen)]
    if not chosen:
        found.notes.append(f"{title}: not measured here, so there is no chart of it.")
    elif missing:
        found.notes.append(f"{title}: not measured for {', '.join(missing)}.")


def _curves(
    chart: _Chart,
    chosen: Sequence[Row],
    floors: Mapping[str, Mapping[str, float]],
    chance: Mapping[str, float],
    folder: Path,
    arms: Sequence[str],
) -> Picture:
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
        arms=arms,
        title=chart.title,
        ylabel=chart.ylabel,
        references=references,
        percent=is_share(chart.figures[0]),
    )
    told = [chart.told] if chart.told else []
    if any(row.arm == "deepjscc" for row in chosen):
        told.append("DeepJSCC, which protects nothing, is the ceiling.")
    if not references and chart.figures != _ACCURACY.figures:
        told.append("What guessing gives is not known on this scale.")
    return Picture(chart.title, path, " ".join([*told, intervals(chosen)]))


def _more_tables(rows: Sequence[Row], arms: Sequence[str], floor: float) -> list[Table]:
    made: list[Table | None] = []
    psnr = strongest_rows(rows, arms, ("psnr_db",))
    if psnr:
        made.append(tables.leak_table(psnr, arms, floor))
    made += [tables.strongest_table(rows, arms), tables.attackers_table(rows, arms)]
    made += [tables.trained_once_table(rows, arms, figure) for figure in FIGURES]
    return [table for table in made if table is not None and table.rows]


def _say_broken(found: Findings, rows: Sequence[Row], arms: Sequence[str], floor: float) -> None:
    low = [row for row in strongest_rows(rows, arms, ("psnr_db",)) if row.mean < floor - BROKEN_DB]
    if low:
        where = ", ".join(f"{arm(row.arm).label} at {row.snr_db:g} dB" for row in low)
        found.notes.append(
            f"The strongest attacker stays under the mean image's {floor:.2f} dB for {where}: it is broken there, "
            "not defeated."
        )

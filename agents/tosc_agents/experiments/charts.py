"""Charts of an experiment: curves over the SNR, the privacy-utility plane, bars beside the article's.

Importing this module imports no matplotlib; drawing does, and never touches pyplot.  The same rows make the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tosc_agents.experiments.arms import arm
from tosc_agents.experiments.canvas import INK, MUTED, REFERENCE_LINES, draw_page, in_percent, markers, style
from tosc_agents.experiments.findings import Row
from tosc_env.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tosc_agents.experiments.pareto import Point


@dataclass(frozen=True)
class Series:
    """The bars of one colour. None: nothing is drawn for that label.

    Attributes:
        label: in the legend.
        values: one per label of the chart.
        intervals: half-widths, one per label, or empty for none; nan for a value without one.
    """

    label: str
    values: Sequence[float | None]
    intervals: Sequence[float] = ()


def curves(
    path: Path,
    rows: Sequence[Row],
    *,
    arms: Sequence[str],
    title: str,
    ylabel: str,
    references: Sequence[tuple[str, float]] = (),
    percent: bool = False,
) -> None:
    """One line per arm over the SNR, with the rows' intervals as error bars.

    Args:
        path: of the picture, ``.svg`` or ``.png``, written whole or not at all.
        rows: of one figure, at most one per arm and SNR; those of other arms are ignored, and an arm without rows is
            not drawn.
        arms: keys, in the order of the legend.
        title: above the axes.
        ylabel: what is drawn, with its unit.
        references: label and value of horizontal lines: floors and ceilings.
        percent: the figures are shares in [0, 1] and shown in percent.

    Raises:
        InputError: nothing to draw, two rows at one point, a row without an SNR, or an unknown arm or format.
        WriteError: the file cannot be written.
    """
    lines = {key: _line(rows, key) for key in arms}
    lines = {key: line for key, line in lines.items() if line}
    if not lines:
        raise InputError(f"chart {title!r} has no row of the arms {', '.join(arms) or '(none)'}.")

    def draw(axes: Axes) -> None:
        for key, line in lines.items():
            how = style(key)
            x, y = [float(row.snr_db or 0.0) for row in line], [row.mean for row in line]
            half = [row.interval for row in line]
            axes.errorbar(
                x,
                y,
                yerr=None if all(map(math.isnan, half)) else half,
                label=arm(key).label,
                linestyle=how.line,
                linewidth=how.width,
                elinewidth=1.0,
                capsize=2.5,
                **markers(how),
            )
        for i, (label, value) in enumerate(references):
            dashes = REFERENCE_LINES[i % len(REFERENCE_LINES)]
            axes.axhline(value, color=MUTED, linewidth=1.0, linestyle=dashes, label=label, zorder=1)
        axes.set_xticks(
            sorted({row.snr_db for line in lines.values() for row in line if row.snr_db is not None})
        )
        axes.set_xlabel("SNR (Es/N0 per complex symbol), dB")
        axes.set_ylabel(ylabel)
        in_percent(axes, y=percent)

    draw_page(path, title, draw)


def _line(rows: Sequence[Row], key: str) -> list[Row]:
    mine = [row for row in rows if row.arm == key]
    where = [row.snr_db for row in mine]
    if None in where:
        raise InputError(f"{mine[where.index(None)].figure} of {key} has no SNR and cannot be drawn over it.")
    if len(set(where)) < len(where):
        raise InputError(f"{mine[0].figure} of {key} has several rows at one SNR; choose one of them.")
    return sorted(mine, key=lambda row: row.snr_db or 0.0)


def plane(
    path: Path,
    points: Sequence[Point],
    *,
    title: str,
    xlabel: str,
    ylabel: str = "accuracy",
    front: Sequence[Point] = (),
    percent: bool = False,
) -> None:
    """The privacy-utility plane: one point per arm and SNR, larger at higher SNR; up and to the left is better.

    Args:
        path: of the picture, ``.svg`` or ``.png``, written whole or not at all.
        points: leak (x) and utility (y, a share in [0, 1]); those of one arm are joined in order of SNR.
        title: above the axes.
        xlabel: what leaks, with its unit.
        ylabel: what is useful.
        front: the points that no other one beats, marked by a ring and joined by steps.
        percent: leaks are shares in [0, 1] and shown in percent.

    Raises:
        InputError: no points, or an unknown arm or format.
        WriteError: the file cannot be written.
    """
    if not points:
        raise InputError(f"chart {title!r} has no points.")
    snrs = sorted({point.snr_db for point in points})
    sizes = {snr: 3.5 + 4.0 * i / max(1, len(snrs) - 1) for i, snr in enumerate(snrs)}

    def draw(axes: Axes) -> None:
        for key in dict.fromkeys(point.arm for point in points):
            how = style(key)
            mine = sorted((point for point in points if point.arm == key), key=lambda point: point.snr_db)
            axes.plot(
                [p.leak for p in mine], [p.utility for p in mine], color=how.colour, linewidth=0.7, alpha=0.6
            )
            for point in mine:
                last = point is mine[-1]
                axes.plot(
                    [point.leak],
                    [point.utility],
                    linestyle="",
                    label=arm(key).label if last else None,
                    **{**markers(how), "markersize": sizes[point.snr_db]},
                )
        if front:
            best = sorted(front, key=lambda point: (point.leak, point.utility))
            x, y = [p.leak for p in best], [p.utility for p in best]
            axes.plot(x, y, drawstyle="steps-post", color=INK, linewidth=0.9, linestyle=(0, (5, 2)), zorder=1)
            axes.plot(
                x,
                y,
                linestyle="",
                marker="o",
                markersize=12,
                markerfacecolor="none",
                markeredgecolor=INK,
                markeredgewidth=0.9,
                label="Pareto front",
            )
        axes.set_xlabel(f"{xlabel}   (further left: more private)")
        axes.set_ylabel(ylabel)
        in_percent(axes, x=percent, y=True)

    at = f"{snrs[0]:g} dB" if len(snrs) == 1 else f"{snrs[0]:g} to {snrs[-1]:g} dB, larger: higher"
    draw_page(path, title, draw, legend=f"SNR {at}")


def bars(
    path: Path,
    labels: Sequence[str],
    series: Sequence[Series],
    *,
    title: str,
    xlabel: str,
    references: Sequence[tuple[str, float]] = (),
    percent: bool = False,
) -> None:
    """Horizontal bars from zero in groups, the first label on top, each with its value.

    Args:
        path: of the picture, ``.svg`` or ``.png``, written whole or not at all.
        labels: of the groups, for instance the arms' labels.
        series: one bar of each in every group, for instance ours and the article's.
        title: above the axes.
        xlabel: what is drawn, with its unit.
        references: label and value of vertical lines.
        percent: the values are shares in [0, 1] and shown in percent.

    Raises:
        InputError: nothing to draw, a series of another length than the labels, or an unknown format.
        WriteError: the file cannot be written.
    """
    if not labels or not series:
        raise InputError(f"chart {title!r} has no bars.")
    for one in series:
        if len(one.values) != len(labels) or len(one.intervals) not in (0, len(labels)):
            raise InputError(
                f"series {one.label!r} has {len(one.values)} values and {len(one.intervals)} intervals for "
                f"{len(labels)} labels."
            )
    colours = ("#0060a8", "#bfc5cc", "#e8743b", "#009e73", "#cc4fa0", "#edb120")
    thick = 0.8 / len(series)

    def draw(axes: Axes) -> None:
        for i, one in enumerate(series):
            told = [(g, value) for g, value in enumerate(one.values) if value is not None]
            halves = [one.intervals[g] if one.intervals else math.nan for g, _ in told]
            where = [g - 0.4 + thick * (i + 0.5) for g, _ in told]
            axes.barh(
                where,
                [value for _, value in told],
                thick * 0.92,
                color=colours[i % len(colours)],
                label=one.label,
                xerr=None if all(map(math.isnan, halves)) else halves,
                error_kw={"elinewidth": 1.0, "capsize": 2.0, "ecolor": INK},
            )
            for y, (_, value), half in zip(where, told, halves, strict=True):
                text = f"{value * 100:.1f}" if percent else f"{value:.3g}"
                axes.annotate(
                    text,
                    (value if math.isnan(half) else value + half, y),
                    (4, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=7,
                    color=INK,
                )
        for i, (label, value) in enumerate(references):
            axes.axvline(
                value, color=MUTED, linewidth=1.0, linestyle=REFERENCE_LINES[i % 4], label=label, zorder=1
            )
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.08)
        axes.set_xlabel(xlabel)
        in_percent(axes, x=percent)

    draw_page(path, title, draw, height=1.2 + len(labels) * max(0.3, 0.17 * len(series)))

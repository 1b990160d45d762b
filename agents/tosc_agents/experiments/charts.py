"""Charts of an experiment: curves over the SNR, the privacy-utility plane, bars beside the article's.

All are written whole or not at all, as ``.svg`` or ``.png``; a :class:`~tosc_env.io.files.WriteError` says that they
cannot be.  Importing this module imports no matplotlib; drawing does, and never touches pyplot.
The same measurements make the same bytes, whatever the user's settings of matplotlib.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosc_agents.experiments.methods import method
from tosc_agents.experiments.pareto import Point
from tosc_agents.experiments.sections import Measurement
from tosc_env.errors import InputError
from tosc_env.io.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#222222", "#6b6b6b", "#e3e6ea"


@dataclass(frozen=True)
class Style:
    """How a method is drawn, in every chart. ``hollow``: its markers are white inside."""

    colour: str
    marker: str
    line: str = "-"
    hollow: bool = False
    width: float = 1.5

    def markers(self) -> dict[str, Any]:
        """Colour and marker, as matplotlib's arguments."""
        return {
            "color": self.colour,
            "marker": self.marker,
            "markersize": 5.5,
            "markerfacecolor": "white" if self.hollow else self.colour,
            "markeredgecolor": self.colour,
            "markeredgewidth": 1.0,
        }


# One hue per family (Okabe and Ito's, which colour-blind readers tell apart), one marker per budget or mode, so that
# no two methods share colour and marker; dashed is honest DP, dotted the calibrated one.
STYLES: Mapping[str, Style] = {
    "deepjscc": Style("#000000", "o", width=3.0),
    "label-only": Style("#8a8a8a", "X", line="-."),
    "dp-0.05": Style("#7a2e00", "v", line="--", hollow=True),
    "dp-0.1": Style("#b84700", "s", line="--", hollow=True),
    "dp-0.9": Style("#e8743b", "^", line="--", hollow=True),
    "dp-cal-0.05": Style("#8a5a00", "v", line=":"),
    "dp-cal-0.1": Style("#c58600", "s", line=":"),
    "dp-cal-0.9": Style("#edb120", "^", line=":"),
    "enc-fixed": Style("#004d38", "P"),
    "enc-shuffle": Style("#009e73", "p"),
    "enc-rotation": Style("#5fcbaa", "h"),
    "ibal": Style("#cc4fa0", "D"),
    "vq": Style("#56b4e9", "<", hollow=True),
    "lbvq": Style("#0060a8", ">", width=2.0),
}
"""By the key of the method."""

OTHERS = (Style("#d62728", "*", "-."), Style("#7f3c8d", "H", "-."), Style("#a5aa99", "d", "-."))
"""For methods that other people register."""

DASHES = ((0, (4, 2)), (0, (1, 1.5)), (0, (6, 1.5, 1, 1.5)), (0, (2, 3)))
"""How floors and ceilings are dashed, in turn."""


def style(key: str) -> Style:
    """The method's style; a registered one gets one of a few, always the same.

    Raises:
        InputError: there is no such method.
    """
    if key not in STYLES:
        return OTHERS[zlib.crc32(method(key).key.encode()) % len(OTHERS)]
    return STYLES[key]


def curves(
    path: Path,
    measurements: Sequence[Measurement],
    *,
    methods: Sequence[str],
    title: str,
    ylabel: str,
    references: Sequence[tuple[str, float]] = (),
    percent: bool = False,
) -> None:
    """One line per method over the SNR, with the intervals as error bars.

    Args:
        measurements: of one figure, at most one per method and SNR; those of other methods are ignored, and a method
            without any is not drawn.
        methods: keys, in the order of the legend.
        ylabel: what is drawn, with its unit.
        references: label and value of horizontal lines: floors and ceilings.
        percent: the figures are shares in [0, 1] and shown in percent.

    Raises:
        InputError: nothing to draw, several at one point, one without an SNR, or an unknown method or format.
    """
    lines = {key: line for key in methods if (line := _line(measurements, key))}
    if not lines:
        raise InputError(f"chart {title!r} has no measurement of the methods {', '.join(methods)}.")
    with _page(path, title) as axes:
        for key, line in lines.items():
            how = style(key)
            axes.errorbar(
                list(line),
                [m.mean for m in line.values()],
                yerr=_bars([m.interval for m in line.values()]),
                label=method(key).label,
                linestyle=how.line,
                linewidth=how.width,
                elinewidth=1.0,
                capsize=2.5,
                **how.markers(),
            )
        _draw_references(axes.axhline, references)
        axes.set_xticks(sorted({snr_db for line in lines.values() for snr_db in line}))
        axes.set_xlabel("SNR (Es/N0 per complex symbol), dB")
        axes.set_ylabel(ylabel)
        _in_percent(axes, y=percent)


def _line(measurements: Sequence[Measurement], key: str) -> dict[float, Measurement]:
    """A method's measurements by their SNR, rising."""
    line: dict[float, Measurement] = {}
    for m in measurements:
        if m.method != key:
            continue
        if m.snr_db is None:
            raise InputError(f"{m.figure} of {key} has no SNR and cannot be drawn over it.")
        if m.snr_db in line:
            raise InputError(f"{m.figure} of {key} is there several times at one SNR; choose one of them.")
        line[m.snr_db] = m
    return dict(sorted(line.items()))


def _bars(intervals: Sequence[float]) -> Sequence[float] | None:
    """Half-widths of error bars; None where no value has one."""
    return None if all(map(math.isnan, intervals)) else intervals


def plane(
    path: Path,
    points: Sequence[Point],
    *,
    title: str,
    xlabel: str,
    front: Sequence[Point] = (),
    percent: bool = False,
) -> None:
    """The privacy-utility plane: one point per method and SNR, larger at higher SNR; up and to the left is better.

    Args:
        points: leak (x) and accuracy (y, a share in [0, 1]); those of one method are joined in order of SNR.
        xlabel: what leaks, with its unit.
        front: the points that no other one beats, marked by a ring and joined by steps.
        percent: leaks are shares in [0, 1] and shown in percent.

    Raises:
        InputError: no points, or an unknown method or format.
    """
    if not points:
        raise InputError(f"chart {title!r} has no points.")
    snrs = sorted({point.snr_db for point in points})
    sizes = {snr: 3.5 + 4.0 * i / max(1, len(snrs) - 1) for i, snr in enumerate(snrs)}
    at = f"{snrs[0]:g} dB" if len(snrs) == 1 else f"{snrs[0]:g} to {snrs[-1]:g} dB, larger: higher"
    with _page(path, title, legend=f"SNR {at}") as axes:
        for key in dict.fromkeys(point.method for point in points):
            how = style(key)
            mine = sorted((point for point in points if point.method == key), key=lambda point: point.snr_db)
            axes.plot(
                [p.leak for p in mine], [p.utility for p in mine], color=how.colour, linewidth=0.7, alpha=0.6
            )
            for point in mine:
                label = method(key).label if point is mine[-1] else None
                look = {**how.markers(), "markersize": sizes[point.snr_db]}
                axes.plot([point.leak], [point.utility], linestyle="", label=label, **look)
        if front:
            best = sorted(front, key=lambda point: (point.leak, point.utility))
            x, y = [p.leak for p in best], [p.utility for p in best]
            axes.plot(x, y, drawstyle="steps-post", color=INK, linewidth=0.9, linestyle=(0, (5, 2)), zorder=1)
            ring: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": INK, "markeredgewidth": 0.9}
            axes.plot(x, y, "o", markersize=12, label="Pareto front", **ring)
        axes.set_xlabel(f"{xlabel}   (further left: more private)")
        axes.set_ylabel("accuracy")
        _in_percent(axes, x=percent, y=True)


def bars(
    path: Path,
    labels: Sequence[str],
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    title: str,
    xlabel: str,
    references: Sequence[tuple[str, float]] = (),
) -> None:
    """Horizontal bars of shares in groups, from zero, the first label on top, each with its value in percent.

    Args:
        labels: of the groups, for instance the methods' labels.
        series: by its label in the legend, the value in [0, 1] and half-width (or nan) of a bar in every group.
        xlabel: what is drawn.
        references: label and value of vertical lines.

    Raises:
        InputError: nothing to draw, a series of another length than the labels, or an unknown format.
    """
    if not labels or not series:
        raise InputError(f"chart {title!r} has no bars.")
    for name, told in series.items():
        if len(told) != len(labels):
            raise InputError(f"series {name!r} has {len(told)} values for {len(labels)} labels.")
    colours = ("#0060a8", "#bfc5cc", "#e8743b", "#009e73", "#cc4fa0", "#edb120")
    thick = 0.8 / len(series)
    height = 1.2 + len(labels) * max(0.3, 0.17 * len(series))
    with _page(path, title, height=height) as axes:
        for i, (name, told) in enumerate(series.items()):
            where = [g - 0.4 + thick * (i + 0.5) for g in range(len(labels))]
            axes.barh(
                where,
                [value for value, _ in told],
                thick * 0.92,
                color=colours[i % len(colours)],
                label=name,
                xerr=_bars([half for _, half in told]),
                error_kw={"elinewidth": 1.0, "capsize": 2.0, "ecolor": INK},
            )
            for y, (value, half) in zip(where, told, strict=True):
                end = (value if math.isnan(half) else value + half, y)
                how: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 7}
                axes.annotate(f"{value * 100:.1f}", end, (4, 0), color=INK, **how)
        _draw_references(axes.axvline, references)
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.08)
        axes.set_xlabel(xlabel)
        _in_percent(axes, x=True)


def _draw_references(line: Callable[..., Any], references: Sequence[tuple[str, float]]) -> None:
    for i, (label, value) in enumerate(references):
        line(value, color=MUTED, linewidth=1.0, linestyle=DASHES[i % len(DASHES)], label=label, zorder=1)


def _in_percent(axes: Axes, *, x: bool = False, y: bool = False) -> None:
    """Show an axis of shares in [0, 1] in percent."""
    from matplotlib.ticker import PercentFormatter

    for axis, wanted in ((axes.xaxis, x), (axes.yaxis, y)):
        if wanted:
            axis.set_major_formatter(PercentFormatter(1.0))


@contextmanager
def _page(path: Path, title: str, *, legend: str | None = None, height: float = 4.6) -> Iterator[Axes]:
    """One pair of axes to draw in, with its legend, so titled, outside; ``height`` is the page's, in inches."""
    kind = path.suffix.removeprefix(".").lower()
    if kind not in ("svg", "png"):
        raise InputError(f"{path} is neither a .svg nor a .png file.")
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.hashsalt": "tosc", "svg.fonttype": "path", "font.size": 9})
        figure = Figure(figsize=(8.4, height), facecolor="white")
        axes = figure.add_subplot()
        axes.set_title(title, loc="left", fontsize=11, color=INK, pad=10)
        axes.grid(visible=True, color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(MUTED)
        axes.tick_params(colors=MUTED, labelcolor=INK)
        yield axes
        _legend(axes, legend)
        _save(figure, path, kind)


def _legend(axes: Axes, title: str | None) -> None:
    from matplotlib.container import BarContainer, ErrorbarContainer

    # Methods first, then floors and ceilings; error bars are not repeated here.
    entries = list(zip(*axes.get_legend_handles_labels(), strict=True))
    entries.sort(key=lambda entry: not isinstance(entry[0], ErrorbarContainer | BarContainer))
    axes.legend(
        [handle[0] if isinstance(handle, ErrorbarContainer) else handle for handle, _ in entries],
        [label for _, label in entries],
        loc="upper left",
        bbox_to_anchor=(1.015, 1.02),
        borderaxespad=0.0,
        frameon=False,
        fontsize=8,
        title=title,
        title_fontsize=8,
        handlelength=3.2,
        labelspacing=0.65,
        alignment="left",
    )


def _save(figure: Figure, path: Path, kind: str) -> None:
    # No date and no version of matplotlib: the same measurements make the same file.
    unsaid = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with replacing(path) as part:
        figure.savefig(part, format=kind, dpi=150, bbox_inches="tight", metadata=unsaid)

"""Charts of an experiment: curves over the SNR, and the privacy-utility plane.

All are SVG files, written whole or not at all.  Importing this module imports no matplotlib; drawing does, and never
touches pyplot.  The same measurements make the same bytes, whatever the user's settings of matplotlib.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from tosc_agents.experiments.measurements import in_order
from tosc_agents.experiments.methods import label, method
from tosc_env.io.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, GRID = "#222222", "#6b6b6b", "#e3e6ea"


class Style(NamedTuple):
    """The colour, line and marker of a method in every chart; a hollow one's markers are white inside."""

    colour: str
    marker: str
    line: str = "-"
    hollow: bool = False
    width: float = 1.5

    @property
    def markers(self) -> dict[str, Any]:
        """Colour and marker, as matplotlib's arguments."""
        inside = "white" if self.hollow else self.colour
        return {"color": self.colour, "marker": self.marker, "markersize": 5.5, "markerfacecolor": inside}


# One hue per family (Okabe and Ito's, which colour-blind readers tell apart), one marker per budget or mode, so that
# no two methods share colour and marker; dashed is the Laplace mechanism, dotted calibrated noise.
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
OTHERS = (Style("#d62728", "*", "-."), Style("#7f3c8d", "H", "-."), Style("#a5aa99", "d", "-."))
"""For methods that other people register."""


def style(key: str) -> Style:
    """The method's style; a registered one gets one of a few, always the same."""
    other = zlib.crc32(method(key).key.encode(errors="replace")) % len(OTHERS)
    return STYLES.get(key, OTHERS[other])


def curves(
    path: Path,
    table: pd.DataFrame,
    ylabel: str,
    *,
    references: Mapping[str, float] | None = None,
    percent: bool = False,
    closer: Sequence[str] = (),
) -> None:
    """One line per method over the SNR, with the intervals as error bars.

    Args:
        table: at most one row per method and SNR.
        references: horizontal lines by their label: floors and ceilings.
        percent: the figures are shares in [0, 1] and shown in percent.
        closer: methods that are drawn once more in a second panel, where others would flatten them.
    """
    with _page(path, panels=2 if closer else 1) as panels:
        for panel, keys in zip(panels, (in_order(table.method), closer), strict=False):
            for key in keys:
                line, how = table[table.method == key].sort_values("snr_db"), style(key)
                panel.errorbar(
                    line.snr_db,
                    line.value,
                    yerr=line.interval if line.interval.notna().any() else None,
                    label=label(key),
                    linestyle=how.line,
                    linewidth=how.width,
                    elinewidth=1.0,
                    capsize=2.5,
                    **how.markers,
                )
            panel.set_xticks(sorted(table.snr_db.unique()))
            panel.set_xlabel("SNR (Es/N0 per complex symbol), dB")
            _in_percent(panel.yaxis, percent)
        for (name, value), dashes in zip((references or {}).items(), ("--", ":", "-."), strict=False):
            panels[0].axhline(value, color=MUTED, linewidth=1.0, linestyle=dashes, label=name, zorder=1)
        panels[0].set_ylabel(ylabel)


def plane(
    path: Path, points: pd.DataFrame, front: pd.DataFrame, xlabel: str, *, percent: bool = False
) -> None:
    """The privacy-utility plane: one point per method and SNR, larger at higher SNR; up and to the left is better.

    ``points`` have ``method``, ``snr_db``, ``leak`` (x) and ``accuracy`` (y), joined in order of SNR; those of
    ``front``, which no other one beats, are ringed and joined by steps. In ``percent``: leaks are shares in [0, 1].
    """
    snrs = sorted(points.snr_db.unique())
    told = f"{snrs[0]:g} dB" if len(snrs) == 1 else f"{snrs[0]:g} to {snrs[-1]:g} dB, larger: higher"
    with _page(path, legend=f"SNR {told}") as (axes,):
        for key in in_order(points.method):
            mine = points[points.method == key].sort_values("snr_db")
            axes.plot(mine.leak, mine.accuracy, color=style(key).colour, linewidth=0.7, alpha=0.6)
            for i, point in enumerate(mine.itertuples(), 1):
                size = 3.5 + 4.0 * snrs.index(point.snr_db) / max(1, len(snrs) - 1)
                look = {**style(key).markers, "markersize": size, "linestyle": ""}
                axes.plot(point.leak, point.accuracy, label=label(key) if i == len(mine) else None, **look)
        best = front.sort_values(["leak", "accuracy"])
        steps: dict[str, Any] = {"drawstyle": "steps-post", "linestyle": "--", "linewidth": 0.9, "zorder": 1}
        axes.plot(best.leak, best.accuracy, color=INK, **steps)
        ring: dict[str, Any] = {"markersize": 12, "markerfacecolor": "none", "markeredgecolor": INK}
        axes.plot(best.leak, best.accuracy, "o", label="Pareto front", **ring)
        axes.set_xlabel(f"{xlabel}   (further left: more private)")
        axes.set_ylabel("accuracy")
        _in_percent(axes.xaxis, percent)
        _in_percent(axes.yaxis, True)


def _in_percent(axis: Any, wanted: bool) -> None:
    from matplotlib.ticker import PercentFormatter

    if wanted:
        axis.set_major_formatter(PercentFormatter(1.0))


@contextmanager
def _page(path: Path, *, panels: int = 1, legend: str | None = None) -> Iterator[list[Axes]]:
    """Axes to draw in, the first one's legend, so titled, to the right of all."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.hashsalt": "tosc", "svg.fonttype": "path", "font.size": 9})
        matplotlib.rcParams["text.parse_math"] = False  # a name is no formula
        figure = Figure(figsize=(8.4 if panels == 1 else 12.4, 4.6), facecolor="white")
        drawn: list[Axes] = list(figure.subplots(1, panels, squeeze=False)[0])
        for axes in drawn:
            axes.grid(visible=True, color=GRID, linewidth=0.8)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(colors=MUTED, labelcolor=INK)
        yield drawn
        names = drawn[0].get_legend_handles_labels()
        place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.015, 1.02), "borderaxespad": 0.0}
        place |= {"frameon": False, "fontsize": 8, "title_fontsize": 8, "alignment": "left"}
        drawn[-1].legend(*names, **place, title=legend)
        with replacing(path) as part:
            # No date and no version of matplotlib: the same measurements make the same file.
            figure.savefig(part, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})

"""What every chart shares: the arms' styles, and a page with axes, a legend beside them, and reproducible bytes.

Importing this module imports no matplotlib; drawing does, and never touches pyplot.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosc_agents.experiments.arms import arm
from tosc_env.errors import InputError
from tosc_env.io.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("svg", "png")
INK, MUTED, GRID = "#222222", "#6b6b6b", "#e3e6ea"


@dataclass(frozen=True)
class Style:
    """How an arm is drawn, in every chart. ``hollow``: its markers are white inside."""

    colour: str
    marker: str
    line: str = "-"
    hollow: bool = False
    width: float = 1.5


# One hue per family (Okabe and Ito's, which colour-blind readers tell apart), one marker per budget or mode, so that
# no two arms share colour and marker; dashed is honest DP, dotted the calibrated one.
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
"""By the key of the arm."""

OTHERS = tuple(
    Style(colour, marker, line="-.")
    for colour, marker in (("#d62728", "*"), ("#7f3c8d", "H"), ("#a5aa99", "d"))
)
"""For arms that other people register."""

REFERENCE_LINES = ((0, (4, 2)), (0, (1, 1.5)), (0, (6, 1.5, 1, 1.5)), (0, (2, 3)))
"""How floors and ceilings are dashed, in turn."""


def style(key: str) -> Style:
    """The arm's style; a registered arm gets one of a few, always the same.

    Raises:
        InputError: there is no such arm.
    """
    if key not in STYLES:
        return OTHERS[zlib.crc32(arm(key).key.encode()) % len(OTHERS)]
    return STYLES[key]


def markers(how: Style) -> dict[str, Any]:
    """The style's colour and marker, as matplotlib's arguments."""
    return {
        "color": how.colour,
        "marker": how.marker,
        "markersize": 5.5,
        "markerfacecolor": "white" if how.hollow else how.colour,
        "markeredgecolor": how.colour,
        "markeredgewidth": 1.0,
    }


def in_percent(axes: Axes, *, x: bool = False, y: bool = False) -> None:
    """Show an axis of shares in [0, 1] in percent."""
    from matplotlib.ticker import PercentFormatter

    for axis, wanted in ((axes.xaxis, x), (axes.yaxis, y)):
        if wanted:
            axis.set_major_formatter(PercentFormatter(1.0))


def draw_page(
    path: Path, title: str, draw: Callable[[Axes], None], *, legend: str | None = None, height: float = 4.6
) -> None:
    """One pair of axes with its legend outside, in matplotlib's own style whatever the user's is.

    Args:
        path: of the picture, ``.svg`` or ``.png``, written whole or not at all.
        title: above the axes.
        draw: draws into the axes it is given; what it labels is in the legend.
        legend: the legend's title.
        height: of the page, in inches.

    Raises:
        InputError: the path has another ending.
        WriteError: the file cannot be written.
    """
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise InputError(f"{path} is neither a .svg nor a .png file.")
    import matplotlib
    from matplotlib.figure import Figure

    ours: dict[Any, Any] = {"svg.hashsalt": "tosc", "svg.fonttype": "path", "font.size": 9}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(ours)
        figure = Figure(figsize=(8.4, height), facecolor="white")
        axes = figure.add_subplot()
        axes.set_title(title, loc="left", fontsize=11, color=INK, pad=10)
        axes.grid(visible=True, color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(MUTED)
        axes.tick_params(colors=MUTED, labelcolor=INK)
        draw(axes)
        _legend(axes, legend)
        _save(figure, path, kind)


def _legend(axes: Axes, title: str | None) -> None:
    from matplotlib.container import BarContainer, ErrorbarContainer

    # Arms first, then floors and ceilings; error bars are not repeated here.
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
    # No date and no version of matplotlib: the same rows make the same file.
    unsaid = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with replacing(path) as part:
        figure.savefig(part, format=kind, dpi=150, bbox_inches="tight", metadata=unsaid)

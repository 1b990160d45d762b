"""The layout of the viewer's pictures: matplotlib artists on an off-screen canvas, without pyplot."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text
from matplotlib.ticker import MultipleLocator
from torch import Tensor

from tosc_env.errors import printable
from tosc_env.rendering.snapshot import Snapshot

WIDTH, HEIGHT, DPI = 1200, 360, 100
PANEL, CAPTION = (0.174, 0.58), 0.044
"""Width and height of a panel, a square, and height of a tile's caption: in parts of the figure, as all places are."""
MOST_TILES = 16
FORMATS = ("png", "pdf", "svg")
ROLES = ("transmitter", "receiver", "eavesdropper")
INK, MUTED, LINE = "#222222", "#6b6b6b", "#d5d5d5"
AS_IT_IS = matplotlib.rc_context({"text.parse_math": False, "text.usetex": False})
"""How texts are drawn: a class or an attacker may be called ``$5``, which is no formula."""
RIGHT, WRONG = "#2f7d32", "#b3261e"
COLOURS = {"transmitter": "#5f6b7a", "receiver": "#1f6fb4", "eavesdropper": "#c8402a"}


class Board:
    """The frame's artists, made once and given new data for every frame.

    A discrete game's complex ``points`` are drawn behind the symbols. Several eavesdroppers, of which the 16 that are
    paid best are drawn, share the space of one.
    """

    @AS_IT_IS
    def __init__(self, points: Tensor | None, adversaries: Sequence[str] = ("eavesdropper",)) -> None:
        figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
        self.canvas = FigureCanvasAgg(figure)
        self.title = figure.text(0.5, 0.925, "", ha="center", va="center", fontsize=11, color=INK)
        self.adversaries = adversaries
        count = min(len(adversaries), MOST_TILES)
        one = count == 1
        symbols, images = ("symbols at the eavesdropper", "eavesdropper's image") if one else ("", "")
        self.image, self.truth = _picture(figure, _tiles(0.015)[0], "image sent")
        self.receiver = _Constellation(
            figure, _tiles(0.217)[0], "receiver", "symbols at the receiver", points
        )
        self.eavesdroppers = [
            _Constellation(figure, box, "eavesdropper", symbols, points) for box in _tiles(0.413, count)
        ]
        self.reconstructions = [_picture(figure, box, images) for box in _tiles(0.610, count)]
        if not one:
            best = f" (best {MOST_TILES})" if len(adversaries) > MOST_TILES else ""
            for left, text in ((0.413, "symbols at the eavesdroppers"), (0.610, "eavesdroppers' images")):
                figure.text(left + 0.087, 0.795, text + best, ha="center", fontsize=9, color=MUTED)
        figure.text(0.812, 0.795, "receiver decides", fontsize=9, color=MUTED)
        self.decision = figure.text(0.812, 0.765, "", va="top", fontsize=12, linespacing=1.15)
        figure.text(0.812, 0.475, "rewards", fontsize=9, color=MUTED)
        self.bars = _Bars(figure)

    def draw(self, snapshot: Snapshot, title: str, truth: str, decision: str | None) -> np.ndarray:
        """The picture uint8 [H, W, 3] of a snapshot, with its truth and decision in words."""
        self.title.set_text(title)
        self.image.set_data(_pixels(snapshot.image))
        self.truth.set_text(_shorten(f"truth: {truth}", 28, 1))
        sent = _complex(snapshot.sent)
        received = {name: _complex(symbols) for name, symbols in snapshot.received.items()}
        names = self._drawn(snapshot.rewards)
        eavesdropped = {name: received.get(name, _complex(None)) for name in names}
        at_receiver = next(iter(received.values()), _complex(None))
        limit = _limit(sent, at_receiver, *eavesdropped.values())
        self.receiver.draw(sent, at_receiver, limit)
        for name, panel in zip(names, self.eavesdroppers, strict=True):
            panel.draw(sent, eavesdropped[name], limit)
        for name, (picture, caption) in zip(names, self.reconstructions, strict=True):
            rebuilt, psnr = snapshot.reconstructions.get(name), snapshot.psnr_db.get(name)
            picture.set_data(np.full((1, 1, 3), 0.95) if rebuilt is None else _pixels(rebuilt))
            unit = "PSNR {:.1f} dB" if len(self.reconstructions) == 1 else "{:.1f} dB"
            caption.set_text("" if psnr is None else unit.format(psnr))
        self._decide(decision, float(decision == truth) if snapshot.accuracy is None else snapshot.accuracy)
        self.bars.draw(snapshot.rewards)
        self.canvas.draw()
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()

    def _drawn(self, rewards: Mapping[str, float]) -> list[str]:
        """The eavesdroppers of the tiles: all in order, or where they are too many the best paid, best first."""
        if len(self.adversaries) == len(self.eavesdroppers):
            return list(self.adversaries)
        best = sorted(self.adversaries, key=lambda name: rewards.get(name, -math.inf), reverse=True)
        return best[: len(self.eavesdroppers)]

    def _decide(self, decision: str | None, score: float) -> None:
        if decision is None:
            self.decision.set(text="nothing yet", color=MUTED)
            return
        verdict = "right" if score == 1.0 else "wrong" if score == 0.0 else f"{score:.0%} right"
        colour = RIGHT if score == 1.0 else WRONG if score == 0.0 else INK
        self.decision.set(text=f"{_shorten(decision, 25, 3)}\n({verdict})", color=colour)


class _Constellation:
    """Symbols as sent (crosses) and as they arrive at one role (dots) in the complex plane."""

    def __init__(self, figure: Figure, box: Box, role: str, title: str, points: Tensor | None) -> None:
        self.axes = axes = figure.add_axes(box)
        axes.set_title(title, fontsize=9, color=MUTED)
        axes.set_aspect("equal")
        for line, axis in ((axes.axhline, axes.xaxis), (axes.axvline, axes.yaxis)):
            line(0, color=LINE, linewidth=0.8, zorder=0)
            axis.set_major_locator(MultipleLocator(1))
        axes.tick_params(labelsize=7, colors=MUTED, length=2)
        axes.spines[:].set_color(LINE)
        size = math.sqrt(box[2] / PANEL[0])  # of the markers, which shrink less than a tile does
        if points is not None:
            known = points.detach().cpu().numpy()
            axes.plot(
                known.real, known.imag, "o", ms=9 * size, mfc="none", mec="#9a9a9a", mew=0.8 * size, zorder=1
            )
        (self.sent,) = axes.plot(
            [], [], "x", ms=4 * size, mew=size, color=INK, alpha=0.75, zorder=3, label="sent"
        )
        (self.arrived,) = axes.plot(
            [], [], "o", ms=4 * size, color=COLOURS[role], alpha=0.6, mew=0, zorder=2, label="received"
        )
        if not title:  # a tile: it has no room for numbers and a legend
            axes.tick_params(labelbottom=False, labelleft=False)
            return
        place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.09), "ncols": 2}
        axes.legend(fontsize=8, frameon=False, handletextpad=0.1, **place)

    def draw(self, sent: np.ndarray, arrived: np.ndarray, limit: float) -> None:
        self.sent.set_data(sent.real, sent.imag)
        self.arrived.set_data(arrived.real, arrived.imag)
        self.axes.set(xlim=(-limit, limit), ylim=(-limit, limit))


class _Bars:
    """The three roles' rewards, on [-1, 1] unless one lies outside; of several eavesdroppers, the best paid's."""

    def __init__(self, figure: Figure) -> None:
        self.axes = axes = figure.add_axes((0.887, 0.12, 0.066, 0.32))
        axes.set_yticks(range(len(ROLES)), ROLES, fontsize=9, color=INK)
        axes.tick_params(length=0)
        axes.set_xticks([])
        axes.invert_yaxis()
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.spines[:].set_visible(False)
        self.bars = axes.barh(range(len(ROLES)), [0.0] * 3, height=0.6, color=[COLOURS[r] for r in ROLES])
        style: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": 9, "color": INK}
        style["transform"] = axes.get_yaxis_transform()
        self.values = [axes.text(1.62, row, "", **style) for row in range(len(ROLES))]

    def draw(self, rewards: Mapping[str, float]) -> None:
        paid = [float(value) for name, value in rewards.items() if name not in ROLES[:2]]
        known = [float(rewards[role]) if role in rewards else None for role in ROLES[:2]]
        known.append(max(paid) if paid else None)
        limit = max([1.0, *(abs(v) for v in known if v is not None and np.isfinite(v))])
        self.axes.set_xlim(-limit, limit)
        for bar, label, value in zip(self.bars, self.values, known, strict=True):
            bar.set_width(0.0 if value is None or not np.isfinite(value) else value)
            label.set_text("-" if value is None else f"{value:+.2f}")


@AS_IT_IS
def grid(rows: Sequence[tuple[str, str, Tensor]], title: str) -> Figure:
    """A figure with a row of pictures [N, C, H, W] for each (name, note)."""
    columns = max(len(pictures) for _, _, pictures in rows)
    cell, margin, top = 0.9, 1.9, 0.45 if title else 0.1
    width, height = margin + cell * columns + 0.1, top + cell * len(rows) + 0.1
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    if title:
        figure.text(0.12 / width, 1 - 0.5 * top / height, title, va="center", fontsize=9, color=MUTED)
    for r, (name, note, pictures) in enumerate(rows):
        bottom = (height - top - cell * (r + 1)) / height
        middle = bottom + 0.5 * cell / height
        figure.text(0.12 / width, middle, _shorten(name, 22, 2), va="bottom", fontsize=10, color=INK)
        below = middle - 0.05 / height
        figure.text(0.12 / width, below, _shorten(note, 24, 2), va="top", fontsize=9, color=MUTED)
        for c, picture in enumerate(pictures):
            box = ((margin + cell * c) / width, bottom, (cell - 0.06) / width, (cell - 0.06) / height)
            axes = figure.add_axes(box)
            axes.imshow(_pixels(picture), interpolation="nearest")
            axes.axis("off")
    return figure


Box = tuple[float, float, float, float]
"""Left, bottom, width and height."""


def _tiles(left: float, count: int = 1) -> list[Box]:
    """Places of square tiles in the space of one panel, row by row from its top, a caption's height apart."""
    if count == 1:
        return [(left, 0.17, *PANEL)]
    columns = math.ceil(math.sqrt(count))
    across = PANEL[0] / columns
    width, height = 0.9 * across, 0.9 * across * WIDTH / HEIGHT
    return [
        (left + k % columns * across, 0.77 - (k // columns + 1) * (height + CAPTION) + CAPTION, width, height)
        for k in range(count)
    ]


def _picture(figure: Figure, box: Box, title: str) -> tuple[AxesImage, Text]:
    left, bottom, width, _ = box
    axes: Axes = figure.add_axes(box)
    axes.set_title(title, fontsize=9, color=MUTED)
    axes.axis("off")
    height, size = (0.095, 11) if title else (bottom - CAPTION / 2, 7)
    caption = figure.text(left + width / 2, height, "", ha="center", va="center", fontsize=size, color=INK)
    return axes.imshow(np.ones((1, 1, 3)), extent=(0, 1, 0, 1), interpolation="nearest"), caption


def _pixels(image: Tensor) -> np.ndarray:
    """[C, H, W] on any device, of one or three channels, as [H, W, 3] in [0, 1]."""
    array = image.detach().float().cpu().nan_to_num().clamp(0.0, 1.0)
    return array.expand(3, -1, -1).permute(1, 2, 0).numpy()


def _complex(symbols: Tensor | None) -> np.ndarray:
    if symbols is None:
        return np.empty(0, dtype=np.complex64)
    pairs = symbols.detach().float().cpu().nan_to_num().clamp(-1e6, 1e6).reshape(-1, 2).numpy()
    return pairs[:, 0] + 1j * pairs[:, 1]


def _limit(*groups: np.ndarray) -> float:
    """A half-width that shows nearly all symbols, in steps of 1/2 so that frames rarely jump."""
    values = np.concatenate([np.abs(part) for g in groups for part in (g.real, g.imag)])
    if not len(values):
        return 2.0
    return float(np.clip(np.ceil(2.2 * np.quantile(values, 0.98)) / 2, 2.0, 6.0))


def _shorten(text: str, width: int, lines: int) -> str:
    return "\n".join(textwrap.wrap(printable(text), width, max_lines=lines, placeholder=" ..."))

"""Pictures of the game: one round as a frame, and a grid that compares attackers; only drawing imports matplotlib."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from tosc_env import metrics
from tosc_env.errors import InputError, shown, warn_user
from tosc_env.io.files import replacing
from tosc_env.rendering.snapshot import Snapshot

if TYPE_CHECKING:
    from tosc_env.game import Game
    from tosc_env.rendering.figure import Board


class Viewer:
    """A window or frames of one game: image, both constellations, reconstruction, decision and rewards.

    Args:
        game: with the data set, task and constellation that the pictures name.
        stand_in: say in the title that the images stand in for a data set.

    Example:
        >>> import torch
        >>> from tosc_env.data import make_source
        >>> from tosc_env.game import Game
        >>> game = Game(make_source("shapes"))
        >>> round_ = game.draw(1, generator=torch.Generator().manual_seed(0))
        >>> viewer = Viewer(game)
        >>> viewer.frame(Snapshot(image=round_.batch.images[0], target=round_.targets[0])).shape
        (360, 1200, 3)
        >>> viewer.close()
    """

    def __init__(self, game: Game, stand_in: bool = False) -> None:
        self.game = game
        self.stand_in = stand_in
        self._board: Board | None = None
        self._window: Any = None  # and the image in it
        self._screen: Any = None
        self._headless = False

    def frame(self, snapshot: Snapshot) -> np.ndarray:
        """Draw the snapshot, uint8 [360, 1200, 3]."""
        if self._board is None:
            from tosc_env.rendering.figure import Board

            self._board = Board(self.game.points, self.game.adversaries)
        describe = self.game.task.describe
        decision = None if snapshot.decision is None else describe(snapshot.decision)
        return self._board.draw(snapshot, self._title(snapshot), describe(snapshot.target), decision)

    def show(self, snapshot: Snapshot) -> None:
        """Show the snapshot in a window, which stays responsive and follows later calls.

        Without a display it warns once and only draws. A window that the user has closed stays closed.
        """
        picture = self.frame(snapshot)
        if self._window is None and not self._headless:
            self._open(picture)
        if self._window is None:
            return
        from matplotlib import pyplot

        if pyplot.fignum_exists(self._window.number):
            self._screen.set_data(picture)
            self._window.canvas.draw_idle()
            self._window.canvas.flush_events()

    def close(self) -> None:
        """Close the window and free the figure; the viewer may be used again."""
        if self._window is not None:
            from matplotlib import pyplot

            pyplot.close(self._window)
        self._board = self._window = self._screen = None

    def _open(self, picture: np.ndarray) -> None:
        from matplotlib import pyplot

        height, width = picture.shape[:2]
        try:
            window = pyplot.figure(figsize=(width / 100, height / 100), dpi=100)
        except ImportError:  # a backend was asked for by name and there is no display for it
            window = None
        if window is None or window.canvas.required_interactive_framework is None:
            if window is not None:
                pyplot.close(window)
            self._headless = True
            warn_user(
                "there is no display to open a window on, so render_mode='human' draws off screen; use "
                "render_mode='rgb_array' to get the frames, or an interactive matplotlib backend."
            )
            return
        axes = window.add_axes((0, 0, 1, 1))
        axes.axis("off")
        self._screen = axes.imshow(picture)
        self._window = window
        window.show()

    def _title(self, snapshot: Snapshot) -> str:
        name = self.game.source.name + (" (stand-in)" if self.stand_in else "")
        parts = [name, f"{self.game.num_symbols} channel uses"]
        if self.game.constellation:
            parts.append(self.game.constellation)
        levels = [f"{node.replace('_', ' ')} at {snr:.1f} dB" for node, snr in snapshot.snr_db.items()]
        if len(levels) > 3:
            snrs = list(snapshot.snr_db.values())[1:]
            ends = dict.fromkeys(f"{end:.1f}" for end in (min(snrs), max(snrs)))
            levels[1:] = [f"{len(snrs)} eavesdroppers at {' to '.join(ends)} dB"]
        colluding = self.game.config.colluding and len(self.game.adversaries) > 1
        return "   |   ".join([*parts, *levels, *(["colluding"] if colluding else [])])


def comparison_grid(
    images: Tensor,
    reconstructions: Mapping[str, Tensor],
    path: str | os.PathLike[str],
    *,
    columns: int = 10,
    title: str = "",
    notes: Mapping[str, str] | None = None,
) -> Path:
    """Write a picture of attackers' reconstructions: the originals in the first row, then a row per attacker.

    Args:
        images: [N, C, H, W] in [0, 1].
        reconstructions: by the attacker's name, [N, C, H, W] each. The PSNR beside a name is the mean over
            all N images, also those that are not shown.
        path: the file to write, whole or not at all; its ending (``.png``, ``.pdf``, ``.svg``) is the format.
        columns: the number of images shown, at most.
        title: a line above the grid: the data set, the SNR, the threat model.
        notes: by the attacker's name, a text under it instead of the PSNR.

    Raises:
        InputError: no images, shapes that do not fit, or an unknown ending.
        WriteError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> import torch
        >>> images = torch.rand(4, 3, 32, 32)
        >>> file = Path(tempfile.mkdtemp()) / "grid.png"
        >>> comparison_grid(images, {"nothing": torch.full_like(images, 0.5)}, file).name
        'grid.png'
    """
    if images.dim() != 4 or len(images) == 0:
        raise InputError(f"a comparison needs images [N, C, H, W], at least one, not {list(images.shape)}.")
    if columns < 1:
        raise InputError(f"columns must be at least 1, not {shown(columns)}.")
    for name, rebuilt in reconstructions.items():
        if rebuilt.shape != images.shape:
            has, needs = list(rebuilt.shape), list(images.shape)
            raise InputError(f"reconstructions of {name!r} have the shape {has}, but the images {needs}.")
    from tosc_env.rendering.figure import FORMATS, grid

    path = Path(path)
    ending = path.suffix.lower().lstrip(".")
    if ending not in FORMATS:
        raise InputError(f"a picture's name must end in .png, .pdf or .svg, not {shown(path.name)}.")
    images = images.detach().float().cpu()
    rows = [("original", f"{len(images)} images", images[:columns])]
    for name, rebuilt in reconstructions.items():
        rebuilt = rebuilt.detach().float().cpu()
        mean = float(metrics.psnr(rebuilt, images).mean())
        rows.append((name, (notes or {}).get(name, f"{mean:.1f} dB"), rebuilt[:columns]))
    figure = grid(rows, title)
    with replacing(path) as part:
        figure.savefig(part, format=ending, dpi=150)
    return path

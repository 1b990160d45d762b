"""Progress of long work: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Called after each piece of work with what is done, what there is, and figures to show.

    Work in several parts begins again at the first piece of each, and its figures name the part.
    """

    def __call__(self, done: int, total: int, figures: Mapping[str, float | str]) -> None: ...


def _text(figures: Mapping[str, float | str]) -> str:
    shown = {name: value if isinstance(value, str) else f"{value:.4g}" for name, value in figures.items()}
    return "  ".join(f"{name} {value}" for name, value in shown.items())


@contextmanager
def show_progress(title: str, *, quiet: bool = False, every: float = 20.0) -> Iterator[Progress]:
    """A :class:`Progress` for a person: a bar with figures and time left, or a line every ``every`` seconds.

    The bar needs a terminal on standard error; a log file gets lines, the last piece of work always among them.
    """
    if quiet:
        yield lambda done, total, figures: None
        return
    if not sys.stderr.isatty():
        yield _Lines(title, every)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    # A title is text, though rich would read the brackets of an option's list as a style.
    text = TextColumn("{task.description}", markup=False), TextColumn("{task.fields[figures]}")
    columns = text[0], BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), text[1]
    with Bars(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task(title, total=None, figures="")

        def tell(done: int, total: int, figures: Mapping[str, float | str]) -> None:
            if done < bars.tasks[0].completed:
                bars.reset(bar)  # another part of the work, at a pace of its own
            bars.update(bar, completed=done, total=total, figures=_text(figures))

        yield tell


class _Lines:
    def __init__(self, title: str, every: float) -> None:
        self.title, self.every = title, every
        self.start = self.last = time.monotonic()
        self.first: int | None = None
        self.done = 0

    def __call__(self, done: int, total: int, figures: Mapping[str, float | str]) -> None:
        now = time.monotonic()
        if self.first is None or done < self.done:  # the work, or another part of it, begins
            self.start, self.first = now, done
        self.done = done
        if now - self.last < self.every and done < total:
            return
        self.last = now
        # The pace is that of this run: what an earlier, interrupted one had done was not done in this time.
        pace = (now - self.start) / max(1, done - self.first)
        left = f"{pace * (total - done):.0f} s left" if done > self.first else ""
        print(f"{self.title}: {done}/{total}  {_text(figures)}  {left}", file=sys.stderr, flush=True)

"""Progress of long work: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Called after each piece of work with what is done, what there is, and figures to show."""

    def __call__(self, done: int, total: int, figures: dict[str, float]) -> None: ...


def _text(figures: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())


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
        yield lambda done, total, figures: bars.update(
            bar, completed=done, total=total, figures=_text(figures)
        )


class _Lines:
    def __init__(self, title: str, every: float) -> None:
        self.title, self.every = title, every
        self.start = self.last = time.monotonic()
        self.first: int | None = None

    def __call__(self, done: int, total: int, figures: dict[str, float]) -> None:
        now = time.monotonic()
        if self.first is None:
            self.start, self.first = now, done
        if now - self.last < self.every and done < total:
            return
        self.last = now
        # The pace is that of this run: what an earlier, interrupted one had done was not done in this time.
        pace = (now - self.start) / max(1, done - self.first)
        left = f"{pace * (total - done):.0f} s left" if done > self.first else ""
        print(f"{self.title}: {done}/{total}  {_text(figures)}  {left}", file=sys.stderr, flush=True)

"""Pieces of work that are done once, resumed where they stopped, and shared between processes.

A cell is a function of plain values and of other cells.  Its result lies in a folder whose name holds a digest of
those values, so that a finished cell is found again and a changed one never mistaken for it.  Whoever works on a
cell holds its lock, which the system releases when the process dies; two processes on one folder share the work.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from tosc_agents.learning.progress import Progress, show_progress
from tosc_agents.records import commit, write_json
from tosc_env.errors import DataError
from tosc_env.io.files import WriteError

RESULT = "result.json"
LOCK = ".lock"
PAUSE = 1.0
"""Seconds between two looks at cells that others work on."""


@dataclass(frozen=True, eq=False)
class Cell:
    """A piece of work.

    Attributes:
        name: readable, unique within an experiment, and fit for a folder's name.
        inputs: plain values (JSON) that determine the result; a change of meaning needs a new ``version`` here.
        work: makes the result, plain values, and may write files into ``work.folder``.
        needs: cells whose results or files it uses.
    """

    name: str
    inputs: Mapping[str, Any]
    work: Callable[[Work], dict[str, Any]]
    needs: tuple[Cell, ...] = ()

    @property
    def digest(self) -> str:
        """Of the name, the inputs and everything needed."""
        told = [self.name, self.inputs, [cell.digest for cell in self.needs]]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:10]

    @property
    def slug(self) -> str:
        """The name of its folder."""
        return f"{self.name}-{self.digest}"


class Work:
    """What a cell's work is given.

    Attributes:
        folder: the cell's own, there already; a training keeps its run there to be resumed.
        device: where to compute.
    """

    def __init__(self, store: Store, cell: Cell) -> None:
        self._store, self._cell = store, cell
        self.folder = store.folder_of(cell)
        self.device = store.device

    @contextmanager
    def progress(self, title: str) -> Iterator[Progress]:
        """A bar on a terminal, lines in a log."""
        with show_progress(title, quiet=self._store.quiet) as told:
            yield told

    def result(self, cell: Cell) -> dict[str, Any]:
        """The result of a cell that this one needs."""
        return self._store.result(cell)

    def file(self, cell: Cell, name: str) -> Path:
        """A file of a cell that this one needs.

        Raises:
            DataError: it is gone.
        """
        path = self._store.folder_of(cell) / name
        if not path.is_file():
            raise DataError(f"{path} is gone; delete its folder to have it made again.")
        return path


class Store:
    """A folder of cells.

    Args:
        folder: made when needed; several processes may use it at once.
        device: where cells compute.
        quiet: no progress and no line per cell.

    Example:
        >>> import tempfile
        >>> store = Store(Path(tempfile.mkdtemp()), quiet=True)
        >>> two = Cell("two", {}, lambda work: {"value": 2})
        >>> four = Cell("four", {"factor": 2}, lambda work: {"value": 2 * work.result(two)["value"]}, (two,))
        >>> store.run([four])
        >>> store.result(four)
        {'value': 4}
    """

    def __init__(self, folder: Path, *, device: torch.device | str = "cpu", quiet: bool = False) -> None:
        self.folder, self.device, self.quiet = folder, torch.device(device), quiet

    def folder_of(self, cell: Cell) -> Path:
        """Where a cell's result and files lie."""
        return self.folder / cell.slug

    def finished(self, cell: Cell) -> bool:
        """Whether the cell needs no work."""
        return (self.folder_of(cell) / RESULT).is_file()

    def record(self, cell: Cell) -> dict[str, Any]:
        """Everything that was written down of a finished cell: inputs, result, seconds, commit, device.

        Raises:
            DataError: it is not finished, or its file is damaged.
        """
        path = self.folder_of(cell) / RESULT
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            record["result"]
        except FileNotFoundError:
            raise DataError(f"{cell.name} is not finished: there is no {path}.") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} is damaged ({error}); delete its folder to have it made again."
            ) from None
        return record

    def result(self, cell: Cell) -> dict[str, Any]:
        """What a finished cell's work returned."""
        return self.record(cell)["result"]

    def run(self, cells: Sequence[Cell]) -> None:
        """Finish all cells and what they need; waits for those that another process works on.

        Whatever was finished stays when a cell fails or the run is interrupted.
        """
        waiting = order(cells)
        total, done = len(waiting), 0
        while waiting:
            left = []
            for cell in waiting:
                if self.finished(cell) or (
                    all(self.finished(need) for need in cell.needs) and self._attempt(cell, done, total)
                ):
                    done += 1
                else:
                    left.append(cell)
            if len(left) == len(waiting):
                time.sleep(PAUSE)  # all that is left is in other hands
            waiting = left

    def _attempt(self, cell: Cell, done: int, total: int) -> bool:
        """Work on a cell; False when another process does."""
        folder = self.folder_of(cell)
        lock = FileLock(folder / LOCK)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(blocking=False)
        except Timeout:
            return False
        except OSError as error:
            raise WriteError(f"cannot write {folder}: {error.strerror or error}.") from error
        try:
            if self.finished(cell):  # by another, between our look and our lock
                return True
            start = time.perf_counter()
            result = cell.work(Work(self, cell))
            seconds = time.perf_counter() - start
            record = {
                "cell": cell.name,
                "inputs": dict(cell.inputs),
                "needs": [need.slug for need in cell.needs],
                "result": result,
                "seconds": round(seconds, 2),
                "device": str(self.device),
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
                "commit": commit(),
            }
            write_json(folder / RESULT, record)
            if not self.quiet:
                print(f"[{done + 1}/{total}] {cell.name}: {seconds:.0f} s", flush=True)
            return True
        finally:
            lock.release()


def order(cells: Sequence[Cell]) -> list[Cell]:
    """The cells and all they need, each once (by its folder's name), needs first."""
    found: dict[str, Cell] = {}

    def visit(cell: Cell) -> None:
        if cell.slug in found:
            return
        for need in cell.needs:
            visit(need)
        found[cell.slug] = cell

    for cell in cells:
        visit(cell)
    return list(found.values())

"""Jobs: work that is done once, resumed where it stopped, and shared between processes.

A job is a function of plain values and of other jobs.  Its result lies in a folder whose name holds a digest of
those values, so that a finished job is found again and a changed one never mistaken for it.  Whoever works on a
job holds its lock, which the system releases when the process dies; two processes on one folder share the work.
"""

from __future__ import annotations

import glob
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from tosc_agents.learning.progress import Progress, show_progress
from tosc_agents.records import commit, finite, write_json
from tosc_env.errors import DataError, shown
from tosc_env.identity import difference, digest, identity
from tosc_env.io.checkpoint_files import sha256
from tosc_env.io.files import WriteError, remove_leftovers

RESULT = "result.json"
PAUSE = 1.0
"""Seconds between two looks at jobs that others work on."""

DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What reading a record may end in that is not what was written."""


@dataclass(frozen=True, eq=False)
class Job:
    """A piece of work.

    Attributes:
        name: readable, unique within an experiment, and fit for a folder's name.
        inputs: plain values (JSON) that determine the result; objects are described as
            :mod:`tosc_env.identity` does. A change of meaning needs a new ``version`` here.
        work: from the cache and the job's own folder to the result, plain values; it may write files into the folder,
            and a training keeps its run there to be resumed.
        needs: jobs whose results or files it uses.
    """

    name: str
    inputs: Mapping[str, Any]
    work: Callable[[RunCache, Path], dict[str, Any]]
    needs: tuple[Job, ...] = ()

    @cached_property
    def known(self) -> dict[str, Any]:
        """Its :func:`~tosc_env.identity.identity`: the version of the code, the name, the inputs, everything needed."""
        return identity(job=self.name, inputs=self.inputs, needs=[need.slug for need in self.needs])

    @cached_property
    def slug(self) -> str:
        """The name of its folder, with a digest of its identity."""
        return f"{self.name}-{digest(self.known)[:10]}"


class RunCache:
    """A folder of jobs and their results; several processes may use it at once.

    Example:
        >>> import tempfile
        >>> cache = RunCache(Path(tempfile.mkdtemp()), quiet=True)
        >>> two = Job("two", {}, lambda cache, folder: {"value": 2})
        >>> four = Job("four", {}, lambda cache, folder: {"value": 2 * cache.result(two)["value"]}, (two,))
        >>> cache.run([four])
        >>> cache.result(four)
        {'value': 4}
    """

    def __init__(self, folder: Path, *, device: torch.device | str = "cpu", quiet: bool = False) -> None:
        self.folder, self.device, self.quiet = folder, torch.device(device), quiet

    def folder_of(self, job: Job) -> Path:
        """The folder of a job's result and files."""
        return self.folder / job.slug

    def finished(self, job: Job) -> bool:
        """Check that the job needs no work."""
        return (self.folder_of(job) / RESULT).is_file()

    def record(self, job: Job) -> dict[str, Any]:
        """Everything that was written down of a finished job; a DataError says that it is not finished, or damaged."""
        path = self.folder_of(job) / RESULT
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            told, named = record.pop("sha256"), isinstance(record["files"], dict)
            if told != digest(record) or record["identity"] != job.known or not named:
                raise ValueError("it is not what was written")
        except FileNotFoundError:
            raise DataError(f"{job.name} is not finished: there is no {path}.") from None
        except DAMAGED as error:
            raise DataError(
                f"{path} is damaged ({error}); delete its folder to have it made again."
            ) from None
        return record

    def result(self, job: Job) -> dict[str, Any]:
        """The value that a finished job's work returned."""
        return self.record(job)["result"]

    def file(self, job: Job, name: str) -> Path:
        """A file that a finished job left in its folder; a DataError says that it is gone, or another."""
        path = self.folder_of(job) / name
        if not path.is_file():
            raise DataError(f"{path} is gone; delete its folder to have it made again.")
        if self.record(job)["files"].get(name) != _digest(path, path.stat().st_mtime_ns):
            raise DataError(f"{path} is not what the job has left; delete its folder to have it made again.")
        return path

    def progress(self, title: str) -> AbstractContextManager[Progress]:
        """A bar on a terminal, lines in a log."""
        return show_progress(title, quiet=self.quiet)

    def run(self, jobs: Sequence[Job]) -> None:
        """Finish all jobs and what they need; waits for those that another process works on.

        What is finished already must lie there as it was left: a DataError names a result or a file that was changed.
        Whatever was finished stays when a job fails or the run is interrupted.
        """
        waiting = order(jobs)
        for job in waiting:
            remove_leftovers(self.folder_of(job))
            if self.finished(job):
                for name in self.record(job)["files"]:
                    self.file(job, name)
        asked = waiting
        while waiting:
            left = [job for job in waiting if not (self.finished(job) or self._attempt(job, asked))]
            if len(left) == len(waiting):
                time.sleep(PAUSE)  # all that is left is in other hands
            waiting = left

    def _attempt(self, job: Job, asked: Sequence[Job]) -> bool:
        """Work on a job; False when another process does, or on what it needs."""
        if not all(map(self.finished, job.needs)):
            return False
        folder = self.folder_of(job)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held = FileLock(folder / ".lock").acquire(blocking=False)
        except Timeout:
            return False
        except OSError as error:
            raise WriteError(f"cannot write {folder}: {error.strerror or error}.") from error
        with held:
            if self.finished(job):  # by another, between our look and our lock
                return True
            self._say_what_changed(job)
            start = time.perf_counter()
            result = job.work(self, folder)
            seconds = time.perf_counter() - start
            files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name[0] != "."]
            record = finite(
                {
                    "job": job.name,
                    "identity": job.known,
                    "result": result,
                    "files": {path.name: _digest(path, path.stat().st_mtime_ns) for path in files},
                    "seconds": round(seconds, 2),
                    "device": str(self.device),
                    "threads": torch.get_num_threads(),
                    "torch": torch.__version__,
                    "commit": commit(),
                }
            )
            write_json(folder / RESULT, {**record, "sha256": digest(record)})
            done = sum(map(self.finished, asked))
            self._say(f"[{done}/{len(asked)}] {job.name}: {seconds:.0f} s")
            return True

    def _say(self, text: str) -> None:
        if not self.quiet:
            print(text, flush=True)

    def _say_what_changed(self, job: Job) -> None:
        """What differs first between a job and the last one of its name that was finished, where there is one."""
        found: list[tuple[float, Path, Any]] = []
        for path in self.folder.glob(f"{glob.escape(job.name)}-*/{RESULT}"):
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
                if record["job"] == job.name:
                    found.append((path.stat().st_mtime, path.parent, record["identity"]))
            except DAMAGED:
                continue  # whoever wants it is told
        if found:
            _, folder, theirs = max(found, key=lambda one: one[0])
            name, old, new = difference(theirs, job.known) or ("nothing", None, None)
            self._say(
                f"{job.name} is made anew: {name} was {shown(old)} in {folder.name}, and is {shown(new)} now."
            )


@lru_cache(maxsize=1024)
def _digest(path: Path, changed: int) -> str:
    """The SHA-256 of a file, read once for each time that it was changed."""
    return sha256(path)


def order(jobs: Sequence[Job]) -> list[Job]:
    """The jobs and all they need, each once (by its folder's name), needs first."""
    found: dict[str, Job] = {}
    for job in jobs:
        for one in (*order(job.needs), job):
            found.setdefault(one.slug, one)
    return list(found.values())

"""Files of data sets: their root, checksums, and downloads that never leave an unchecked file."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from tosc_env.errors import DataError, one_line, told_as
from tosc_env.io.files import WriteError, to_disk

_PIECE = 1 << 16  # bytes; at most so many are lost when the connection breaks
_LONGEST = 2**26  # bytes of a text; CelebA's list of attributes has 26 million
_LONGEST_NOTE = 1000  # characters
_TIMEOUT = 30.0  # seconds without an answer


def data_root(root: str | os.PathLike[str] | None = None) -> Path:
    """The folder of the data sets, there or not: ``root``, else ``$TOSC_DATA_DIR``, else the user's cache folder.

    >>> data_root("/data").as_posix()
    '/data'
    """
    chosen = root if root is not None else os.environ.get("TOSC_DATA_DIR") or None
    if chosen is None:
        import pooch  # here, because it is slow to import and rarely needed

        chosen = pooch.os_cache("tosc_env")
    return Path(os.path.expanduser(chosen))


def file_digest(path: Path, algorithm: str) -> str:
    """The file's checksum in lower-case hex; ``algorithm`` is ``"md5"`` (as authors publish it) or ``"sha256"``."""
    made = partial(hashlib.new, algorithm, usedforsecurity=False)
    with told_as(DataError, f"cannot read {path}"), open(path, "rb") as file:
        return hashlib.file_digest(file, made).hexdigest()


def matches(path: Path, checksum: str) -> bool:
    """True if the file carries ``checksum`` (``"md5:..."``, ``"sha256:..."``, perhaps shortened)."""
    algorithm, _, expected = checksum.partition(":")
    return file_digest(path, algorithm).startswith(expected)


def read_text(path: Path) -> str:
    """The text of a list or record, in which what is no UTF-8 is replaced; DataError for a longer one."""
    if path.is_fifo():
        raise DataError(f"cannot read {path}: it is a pipe, which would be waited for.")
    with told_as(DataError, f"cannot read {path}"), open(path, "rb") as file:
        raw = file.read(_LONGEST + 1)
    if len(raw) > _LONGEST:
        raise DataError(f"{path} has more than {_LONGEST:,} bytes, which no list or record has.")
    return raw.decode("utf-8", errors="replace")


def stamps(paths: Iterable[Path]) -> tuple[tuple[int, int], ...]:
    """Time and size of files, as the key of a cache: a changed file is read again."""
    return tuple((status.st_mtime_ns, status.st_size) for status in (path.stat() for path in paths))


def with_note(provenance: str, folder: Path) -> str:
    """A sentence of provenance, ended by the first line of PROVENANCE.txt in the folder, if there is one."""
    path = folder / "PROVENANCE.txt"
    lines = read_text(path).splitlines() if path.is_file() else []
    note = one_line(lines[0].strip().rstrip("."), _LONGEST_NOTE) if lines else ""
    return f'{provenance}; PROVENANCE.txt beside them says: "{note}".' if note else f"{provenance}."


def retrieve(url: str, target: Path, checksum: str, progress: bool = True) -> Path:
    """Download ``url`` to ``target``, unless a file with the right checksum is there already.

    The bytes gather in ``<target>.part``, which a later call continues by an HTTP range request; ``target`` gets its
    name only when the whole file carries the ``checksum`` (:func:`matches`). DataError where the connection fails or
    the content is another one, WriteError where the folder cannot be written.
    """
    import requests

    part = target.with_name(target.name + ".part")
    with told_as(WriteError, f"cannot write {target}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_file() and matches(target, checksum):
            return target
        try:
            _gather(url, part, progress)
        except (requests.RequestException, ValueError) as error:
            # The latter of headers and redirections that are none.
            answer = getattr(error, "response", None)
            cause = f"HTTP {answer.status_code}" if answer is not None else type(error).__name__
            told = f"stopped after {_size(part):,} bytes ({cause}); run the same command again to continue"
            raise DataError(f"the download of {url} {told}.") from error
        if not matches(part, checksum):
            part.unlink()
            raise DataError(f"what {url} sent does not carry the checksum {checksum}; it was deleted.")
        to_disk(part)
        os.replace(part, target)
    return target


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _gather(url: str, part: Path, progress: bool) -> None:
    """Bring ``part`` to the length that the server announces."""
    import requests
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    have = _size(part)
    # Compressed transfers would make lengths and ranges mean something else than bytes of the file.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
        if answer.status_code == 416:  # nothing left to send, or the part is longer than the file
            return
        answer.raise_for_status()
        first = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
        resumed = answer.status_code == 206 and first is not None and int(first[1]) == have
        start = have if resumed else 0
        length = answer.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else None
        name = TextColumn("{task.description}", markup=False)
        columns = (name, BarColumn(), DownloadColumn(), TimeRemainingColumn())
        bar = Progress(*columns, console=Console(stderr=True), disable=not progress)
        task = bar.add_task(part.name.removesuffix(".part"), total=total, completed=start)
        with open(part, "ab" if resumed else "wb") as file, bar:
            for piece in answer.iter_content(_PIECE):
                file.write(piece)
                bar.advance(task, len(piece))
    if total is not None and _size(part) < total:
        raise requests.ConnectionError(f"{total:,} bytes were announced")

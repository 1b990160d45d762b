"""Downloads that survive an interruption and never leave a file that was not checked."""

from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from tosc_env.data.digests import file_digest
from tosc_env.errors import DataError

_PIECE = 1 << 16  # bytes; at most so many are lost when the connection breaks
_TIMEOUT = 30.0  # seconds without an answer


def retrieve(url: str, target: Path, checksum: str, progress: bool = True) -> Path:
    """Download ``url`` to ``target``, unless a file with the right checksum is there already.

    The bytes gather in ``<target>.part``, which a later call continues; ``target`` gets its name only when
    the whole file carries the checksum.

    Args:
        checksum: ``"md5:<hex>"`` or ``"sha256:<hex>"``; the first digits alone will do.

    Raises:
        DataError: the connection failed (call again to continue), or the content is not the expected one.
    """
    import pooch

    if target.is_file() and matches(target, checksum):
        return target
    pooch.get_logger().setLevel("WARNING")
    try:
        target.unlink(missing_ok=True)  # pooch would take a file of this name for good
        pooch.retrieve(
            url,
            known_hash=None,  # the downloader checks: pooch knows no shortened checksums
            fname=target.name,
            path=target.parent,
            downloader=ResumingDownloader(target.with_name(target.name + ".part"), checksum, progress),
        )
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"cannot store {target}: {error.strerror or error}.") from error
    return target


def matches(path: Path, checksum: str) -> bool:
    """Whether the file carries ``checksum`` (``"md5:..."``, ``"sha256:..."``, perhaps shortened)."""
    algorithm, _, expected = checksum.partition(":")
    return file_digest(path, algorithm).startswith(expected)


class ResumingDownloader:
    """A downloader for pooch that continues where the last one stopped, by an HTTP range request.

    Args:
        part: where the bytes gather, kept when the connection fails.
        checksum: what the whole file must carry; where it does not, ``part`` is deleted.
        progress: show a bar on stderr.
    """

    def __init__(self, part: Path, checksum: str, progress: bool = True) -> None:
        self.part, self.checksum, self.progress = part, checksum, progress

    def __call__(self, url: str, output_file: str | os.PathLike[str], pooch: object) -> None:
        import requests

        try:
            self._gather(url)
        except requests.RequestException as error:
            have = self.part.stat().st_size if self.part.is_file() else 0
            raise DataError(
                f"the download of {url} stopped after {have:,} bytes ({_cause(error)}); "
                f"run the same command again to continue."
            ) from error
        if not matches(self.part, self.checksum):
            self.part.unlink()
            raise DataError(f"what {url} sent does not carry the checksum {self.checksum}; it was deleted.")
        os.replace(self.part, output_file)

    def _gather(self, url: str) -> None:
        """Bring ``part`` to the length that the server announces."""
        import requests

        have = self.part.stat().st_size if self.part.is_file() else 0
        # Compressed transfers would make lengths and ranges mean something else than bytes of the file.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            if answer.status_code == 416:  # nothing left to send, or the part is longer than the file
                return
            answer.raise_for_status()
            resumed = answer.status_code == 206 and _range_start(answer.headers) == have
            start = have if resumed else 0
            length = answer.headers.get("Content-Length", "")
            total = start + int(length) if length.isdigit() else None
            with open(self.part, "ab" if resumed else "wb") as file, self._bar(start, total) as bar:
                for piece in answer.iter_content(_PIECE):
                    file.write(piece)
                    if bar is not None:
                        bar.advance(bar.task_ids[0], len(piece))
        if total is not None and self.part.stat().st_size < total:
            raise requests.ConnectionError(f"{total:,} bytes were announced")

    def _bar(self, start: int, total: int | None) -> AbstractContextManager[Any]:
        if not self.progress:
            return nullcontext()
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
        bar = Progress(*columns, console=Console(stderr=True))
        bar.add_task(self.part.name.removesuffix(".part"), total=total, completed=start)
        return bar


def _range_start(headers: Any) -> int | None:
    found = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _cause(error: Exception) -> str:
    response = getattr(error, "response", None)
    return f"HTTP {response.status_code}" if response is not None else type(error).__name__

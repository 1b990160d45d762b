"""Files written whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tosc_env.errors import InputError, ToscError, shown, told_as

LEFTOVER_AGE = 86_400.0
"""Seconds after which the temporary file of a killed process is removed."""

_OURS = re.compile(r"\..+\.[a-z0-9_]{8}\.part")
"""As :mod:`tempfile` names what is being written for the name NAME: ``.NAME.XXXXXXXX.part``."""


class WriteError(ToscError, OSError):
    """A file could not be written; whatever stood there before is untouched."""


def check_path(path: str | os.PathLike[str]) -> Path:
    """Return a path of a file, there or not; InputError for what no file can be called.

    >>> check_path("a.txt").name
    'a.txt'
    """
    try:
        if not os.fspath(path):
            raise ValueError("it is empty")
        os.lstat(path)
    except (TypeError, ValueError) as error:
        raise InputError(f"a path names a file, and {shown(path)} does not: {error}.") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(f"a path names a file, and {shown(path)} is too long for one.") from None
    return Path(path)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and move it there only if the block succeeds.

    The bytes reach the disk before the name changes, so a kill, a crash or a full disk leaves either the old file or
    the new one. WriteError where the folder cannot be written or the disk is full.

    >>> target = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with replacing(target) as part:
    ...     _ = part.write_text("whole")
    >>> target.read_text()
    'whole'
    """
    with replacing_all(path) as (part,):
        yield part


@contextmanager
def replacing_all(*paths: str | os.PathLike[str]) -> Iterator[list[Path]]:
    """Yield temporary paths as :func:`replacing` does; all files are on the disk before the first name changes."""
    targets = [Path(path) for path in paths]
    parts: list[Path] = []
    try:
        for target in targets:
            with told_as(WriteError, f"cannot write {target}"):
                parts.append(_part_of(target))
        with told_as(WriteError, f"cannot write {' and '.join(map(str, targets))}"):
            yield parts
        for target, part in zip(targets, parts, strict=True):
            with told_as(WriteError, f"cannot write {target}"):
                to_disk(part)
                os.umask(mask := os.umask(0))
                part.chmod(0o666 & ~mask)
                if target.is_dir():  # found out now, not after the first name has changed
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        for target, part in zip(targets, parts, strict=True):
            with told_as(WriteError, f"cannot write {target}"):
                os.replace(part, target)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def to_disk(path: Path) -> None:
    """Return when the bytes of a file are on the disk, so that it can be named as whole."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def remove_leftovers(folder: Path) -> None:
    """Remove the files and folders of our naming that processes killed :data:`LEFTOVER_AGE` ago were writing there."""
    for leftover in folder.glob(".*.????????.part"):
        if not _OURS.fullmatch(leftover.name):
            continue
        with suppress(OSError):
            if leftover.lstat().st_mtime < time.time() - LEFTOVER_AGE:
                if leftover.is_dir() and not leftover.is_symlink():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink()


def _part_of(path: Path) -> Path:
    """A new, empty temporary file beside ``path``; older ones that a killed process has left there are removed."""
    try:
        os.fsencode(path)
        path.parent.mkdir(parents=True, exist_ok=True)
    except ValueError as error:  # a zero byte, or half a character
        raise OSError(errno.EINVAL, f"no name of a file, {error}") from None
    remove_leftovers(path.parent)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    return Path(name)

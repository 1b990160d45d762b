"""Checksums of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tosc_env.errors import DataError


def file_digest(path: Path, algorithm: str) -> str:
    """The file's checksum in lower-case hex; ``algorithm`` is ``"md5"`` or ``"sha256"``.

    MD5 is what the data sets' authors publish; it tells damage and mix-ups, not malice.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(
                file, lambda: hashlib.new(algorithm, usedforsecurity=False)
            ).hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}.") from error

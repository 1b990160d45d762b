"""Where data sets live on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def data_root(root: str | os.PathLike[str] | None = None) -> Path:
    """The folder that holds the data sets: ``root``, else ``$TOSC_DATA_DIR``, else the user's cache folder.

    The folder need not exist.

    Example:
        >>> data_root("/data").as_posix()
        '/data'
    """
    chosen = root if root is not None else os.environ.get("TOSC_DATA_DIR") or None
    if chosen is None:
        import pooch  # here, because it is slow to import and rarely needed

        chosen = pooch.os_cache("tosc_env")
    return Path(chosen).expanduser()

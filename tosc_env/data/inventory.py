"""What is on this machine: the table behind ``tosc data list``."""

from __future__ import annotations

import os
from pathlib import Path

from tosc_env.data.celeba import missing_part
from tosc_env.data.celeba_files import read_lists, stamps
from tosc_env.data.cifar10 import find_layout
from tosc_env.data.cifar10_files import RECORDS
from tosc_env.data.root import data_root
from tosc_env.data.shapes import DEFAULT_COUNT
from tosc_env.data.transfer import matches
from tosc_env.errors import DataError

VGG_FILE = "vgg16-397923af.pth"
VGG_SHA256 = "397923af"  # the first 8 digits, which is what the name tells


def status(root: str | os.PathLike[str] | None = None) -> list[dict[str, object]]:
    """One row for each data set (and for VGG-16's weights), whether it is here or not.

    Returns:
        Dictionaries with ``name``; ``present`` (bool); ``where`` (a path, or what it is made of); ``images``
        (a number, or ``None``); ``official`` (``"yes"``, ``"no"``, ``"unknown"``: whether the files carry the
        official checksums); ``how`` (to get it). Damaged files show in ``how`` and raise nothing.

    Example:
        >>> status("/nonexistent")[0]["name"], [row["present"] for row in status("/nonexistent")[:4]]
        ('shapes', [True, False, False, False])
    """
    folder = data_root(root)
    made = sum(DEFAULT_COUNT.values())
    shapes = _row("shapes", True, "made in memory", made, "yes", "always there")
    return [shapes, _cifar10(folder), _celeba(folder), _vgg(folder), *_others()]


def _row(
    name: str, present: bool, where: object, images: int | None, official: str, how: str
) -> dict[str, object]:
    return {
        "name": name,
        "present": present,
        "where": str(where),
        "images": images,
        "official": official,
        "how": how,
    }


def _cifar10(root: Path) -> dict[str, object]:
    layout = find_layout(root)
    if layout is None:
        return _row("cifar10", False, root, None, "unknown", "tosc data get cifar10")
    try:
        official = {True: "yes", False: "no", None: "unknown"}[layout.official()]
    except DataError as error:
        return _row("cifar10", True, layout.folder, 6 * RECORDS, "unknown", str(error))
    return _row("cifar10", True, layout.folder, 6 * RECORDS, official, "tosc data get cifar10")


def _celeba(root: Path) -> dict[str, object]:
    how = "by hand; tosc data get celeba says how"
    folder = root / "celeba"
    if missing_part(root) is not None:
        return _row("celeba", False, folder, None, "unknown", how)
    try:
        faces = read_lists(folder, stamps(folder))
    except DataError as error:
        return _row("celeba", True, folder, None, "unknown", str(error))
    return _row("celeba", True, folder, len(faces.names), "yes" if faces.official(folder) else "no", how)


def _vgg(root: Path) -> dict[str, object]:
    path = root / VGG_FILE
    if not path.is_file():
        return _row("vgg", False, root, None, "unknown", "tosc data get vgg")
    official = "yes" if matches(path, f"sha256:{VGG_SHA256}") else "no"
    return _row("vgg", True, path, None, official, "tosc data get vgg")


def _others() -> list[dict[str, object]]:
    """Data sets that other packages registered."""
    from tosc_env.data import is_available, sources

    strangers = [name for name in sources if name not in ("shapes", "cifar10", "celeba")]
    return [
        _row(n, is_available(n), sources.origin(n), None, "unknown", "see its package") for n in strangers
    ]

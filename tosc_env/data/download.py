"""Download of data sets and pretrained weights, on request only, and the table of those that are present."""

from __future__ import annotations

import os
from pathlib import Path

from tosc_env.data import data_set, sources
from tosc_env.data.files import data_root, matches, retrieve
from tosc_env.errors import InputError, unknown, warn_user

VGG_URL = "https://download.pytorch.org/models/vgg16-397923af.pth"
VGG_FILE = "vgg16-397923af.pth"
VGG_SHA256 = "397923af"  # the first 8 digits, which is what the name tells


def fetch(
    name: str,
    root: str | os.PathLike[str] | None = None,
    url: str | None = None,
    progress: bool = True,
) -> Path:
    """Download a data set (or VGG-16's weights) from its official home, checked; returns its place.

    Does nothing where it is there already. An interrupted download continues when called again.

    Args:
        name: a registered data set, or ``"vgg"``.
        root: the data root; ``None`` for the usual one.
        url: a mirror of the same file, which must carry the official checksum.
        progress: show a bar on stderr.

    Raises:
        InputError: an unknown name, or nothing to download.
        DataError: the download failed, its content is wrong, or it can be got by hand only (with the way to do so).
        WriteError: the data root cannot be written.
    """
    folder = data_root(root)
    if name == "vgg":
        return retrieve(url or VGG_URL, folder / VGG_FILE, f"sha256:{VGG_SHA256}", progress)
    if name not in sources:
        raise unknown("download", name, (*sources, "vgg"))
    return data_set(name).get(folder, url, progress)


def status(root: str | os.PathLike[str] | None = None) -> list[dict[str, object]]:
    """One row for each data set (and for VGG-16's weights), present or not.

    Returns:
        Dictionaries with ``name``; ``present`` (bool); ``where`` (a path, or its origin); ``images`` (a number, or
        ``None``); ``official`` (``"yes"``, ``"no"``, ``"unknown"``: whether the files carry the official checksums);
        ``how`` (to get it, or the damage that was found).

    Example:
        >>> {row["name"]: row["present"] for row in status("/nonexistent") if row["name"] in ("shapes", "vgg")}
        {'shapes': True, 'vgg': False}
    """
    folder = data_root(root)
    rows = []
    for name in sources:
        try:
            data = data_set(name)
        except InputError as error:  # another package's, which cannot be imported
            warn_user(f"a data set is left out: {error}")
            continue
        known = data.status(folder)
        present = known["present"] if "present" in known else data.is_available()
        usual = {"present": present, "where": sources.origin(name), "images": None, "official": "unknown"}
        rows.append({"name": name, **usual, "how": data.how, **known})
    path = folder / VGG_FILE
    official = "unknown"
    if path.is_file():
        official = "yes" if matches(path, f"sha256:{VGG_SHA256}") else "no"
    vgg = {"present": path.is_file(), "where": str(path), "images": None, "official": official}
    return [*rows, {"name": "vgg", **vgg, "how": "tosc data get vgg"}]

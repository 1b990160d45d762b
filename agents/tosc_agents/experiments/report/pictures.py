"""Which pictures a report shows, and their bytes."""

from __future__ import annotations

import base64
from pathlib import Path

from tosc_agents.experiments.findings import Picture
from tosc_env.errors import DataError

TYPES = {".png": "image/png", ".svg": "image/svg+xml"}
"""The formats a report shows, and how a data URI names them."""

LEFT_OUT = "This picture shows faces and stays on the disk of whoever made it."
"""What stands in the place of a picture that is not shown."""


def inside(folder: Path, path: Path) -> str:
    """The picture's path relative to the result folder, with forward slashes.

    Raises:
        DataError: it lies elsewhere.
    """
    try:
        return path.resolve().relative_to(folder.resolve()).as_posix()
    except ValueError:
        raise DataError(f"picture {path} lies outside of the result folder {folder}.") from None


def shown(picture: Picture, *, faces: bool) -> bool:
    """Whether the report shows it: all of them, or those without faces."""
    return faces or not picture.faces


def content(picture: Picture) -> bytes:
    """The picture's bytes.

    Raises:
        DataError: it is missing, or no PNG or SVG.
    """
    kind = picture.path.suffix.lower()
    if kind not in TYPES:
        raise DataError(f"picture {picture.path} is neither a .png nor an .svg file.")
    try:
        found = picture.path.read_bytes()
    except OSError as error:
        raise DataError(f"picture {picture.path} cannot be read: {error.strerror or error}.") from None
    if not (found.startswith(b"\x89PNG\r\n\x1a\n") if kind == ".png" else b"<svg" in found):
        raise DataError(f"picture {picture.path} is damaged: its content is no {kind[1:].upper()}.")
    return found


def data_uri(picture: Picture) -> str:
    """The picture itself as an address. Base64 for SVG too: nothing in it can then end the attribute it stands in."""
    text = base64.b64encode(content(picture)).decode("ascii")
    return f"data:{TYPES[picture.path.suffix.lower()]};base64,{text}"

"""Pictures that people have, made into one table of pixels: decoded within bounds, cut and resized to one shape."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from tosc_env.errors import DataError, InputError, shown
from tosc_env.options import check_count

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "PPM")
"""What is decoded; Pillow has more formats, some of which start other programs."""
_LARGEST = 2**26
"""Pixels of one picture: 67 million, where a good camera makes 48 million."""
_IN_MEMORY = 2**30
"""Bytes of a table that is held in memory; a larger one is mapped from a file that has no name."""
_AHEAD = 256  # pictures in flight
_COLOURLESS = ("1", "L", "LA", "I;16", "I;16B", "I;16L")


def check_size(size: object) -> tuple[int, int] | None:
    """Height and width of an option: one number for both, a pair, or None."""
    if size is None:
        return None
    sides = [size, size] if not isinstance(size, list | tuple) else list(size)
    if len(sides) != 2:
        raise InputError(f"size must be a number of pixels or [height, width], not {shown(size)}.")
    height, width = (check_count(side, "size", 8, 1024) for side in sides)
    return height, width


def check_channels(channels: object) -> int | None:
    """1, 3 or None; InputError otherwise."""
    if channels is not None and check_count(channels, "channels", 1, 3) == 2:
        raise InputError("channels must be 1, 3 or None, not 2.")
    return channels if channels is None else int(channels)  # type: ignore[call-overload]


def open_picture(picture: Any) -> Any:
    """A file, or a picture of Pillow, opened and not yet decoded.

    Raises:
        ValueError: it is damaged, of a format that is not read, or too large; a phrase to stand behind its name.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the bound below is lower
            found = picture if isinstance(picture, Image.Image) else Image.open(picture, formats=FORMATS)
    except UnidentifiedImageError:
        raise ValueError(f"it is no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file") from None
    except Exception as error:  # a damaged header raises almost any
        raise ValueError(_phrase(error)) from error
    if found.width * found.height > _LARGEST:
        raise ValueError(f"it claims {found.width} x {found.height} pixels, more than {_LARGEST:,}")
    if found.mode in ("I", "F"):
        raise ValueError(f"nobody knows the range of its values (Pillow's mode {found.mode}); give it 8 bits")
    return found


def decode(picture: Any, channels: int | None, size: tuple[int, int] | None) -> np.ndarray:
    """One picture as uint8 [C, H, W], turned upright; what is transparent is white, and 16 bits become 8.

    Args:
        picture: a file, or a picture of Pillow.
        channels: 1 or 3; None: 1 for a picture without colour.
        size: height and width: the largest centred part of that shape is resized. None: as it is.

    Raises:
        ValueError: like :func:`open_picture`, and for what turns out to be damaged.
    """
    from PIL import Image, ImageOps

    found = open_picture(picture)
    grey = channels == 1 or (channels is None and found.mode in _COLOURLESS)
    try:
        image = ImageOps.exif_transpose(found)
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            layer = image.convert("RGBA")
            image = Image.new("RGBA", layer.size, "white")
            image.alpha_composite(layer)
        image = image.convert("L" if grey else "RGB")
        if size is not None and size != (image.height, image.width):
            scale = min(image.height / size[0], image.width / size[1])
            height, width = (max(1, round(side * scale)) for side in size)
            left, top = (image.width - width) // 2, (image.height - height) // 2
            # Bilinear in Pillow averages over the whole source area when shrinking: no aliasing.
            part = image.crop((left, top, left + width, top + height))
            image = part.resize(size[::-1], Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
    except Exception as error:  # damaged pixels raise almost any
        raise ValueError(_phrase(error)) from error
    finally:
        if found is not picture:
            found.close()
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def read_table(
    count: int,
    read: Callable[[int], np.ndarray],
    name: Callable[[int], str],
    *,
    skip_broken: bool,
    threads: int = 1,
) -> tuple[np.ndarray, list[int]]:
    """All pictures as uint8 [N, C, H, W], and which ones these are.

    Args:
        count: how many there are.
        read: gives one as uint8 [C, H, W], or raises ValueError with a phrase that says what is wrong with it.
        name: what one is called.
        skip_broken: leave out those that cannot be read, with a warning.
        threads: that read at once.

    Raises:
        DataError: some cannot be read, and are not to be left out; how many, and the first by name.
        InputError: they are of several shapes.
    """

    def attempt(i: int) -> np.ndarray | str:
        try:
            return read(i)
        except InputError:
            raise
        except ValueError as error:
            return _phrase(error)

    table: np.ndarray | None = None
    kept: list[int] = []
    broken: list[str] = []
    for i, pixels in enumerate(_in_turn(attempt, count, threads)):
        if isinstance(pixels, str):
            broken.append(f"{name(i)} ({pixels})")
            continue
        if table is None:
            table = _room((count, *pixels.shape))
        if pixels.shape != table.shape[1:]:
            one, other = ("x".join(map(str, shape)) for shape in (table.shape[1:], pixels.shape))
            raise InputError(
                f"{name(kept[0])} is {one} and {name(i)} is {other}: give the size that all are cut and resized to "
                "(size=64, size=[48, 64]) or their channels (channels=3)."
            )
        table[len(kept)] = pixels
        kept.append(i)
    if broken:
        told = f"{len(broken):,} of {count:,} images cannot be read, the first being {broken[0]}"
        if table is None or not skip_broken:
            raise DataError(f"{told}; skip_broken=True leaves such images out.")
        warnings.warn(f"{told}; they are left out.", stacklevel=2)
    if table is None:
        raise DataError("there are no images.")
    return table[: len(kept)], kept


def _in_turn(work: Callable[[int], Any], count: int, threads: int) -> Iterator[Any]:
    if threads == 1:
        yield from map(work, range(count))
        return
    # Pillow decodes outside Python's lock, so threads help.
    waiting = iter(range(count))
    with ThreadPoolExecutor(max_workers=threads) as pool:
        while chunk := list(islice(waiting, _AHEAD)):
            yield from pool.map(work, chunk)


def _room(shape: tuple[int, ...]) -> np.ndarray:
    """A table of that shape in memory, or on the disk where it is large."""
    if np.prod(shape, dtype=float) <= _IN_MEMORY:
        return np.empty(shape, dtype=np.uint8)
    try:
        with tempfile.TemporaryFile() as file:  # gone as soon as nobody maps it
            return np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)  # type: ignore[call-overload]
    except OSError as error:
        raise DataError(
            f"there is no room for images of {shape} in {tempfile.gettempdir()}: {error.strerror or error}; set "
            "TMPDIR to a larger disk, or give a smaller size."
        ) from error


def _phrase(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__


def usual_threads() -> int:
    """Threads that decode files at once."""
    return min(8, os.cpu_count() or 1)


def path_name(path: Path) -> str:
    """A path as any terminal shows it, also where its name is no text."""
    return os.fsencode(path).decode("utf-8", "replace")

"""Pictures that people have, made into one table of pixels: decoded within bounds, cut and resized to one shape."""

from __future__ import annotations

import math
import os
import tempfile
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tosc_env.errors import DataError, InputError, printable, told_as, warn_user
from tosc_env.options import check_count

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "PPM")
"""What is decoded; Pillow has more formats, some of which start other programs."""
_LARGEST = 2**26  # pixels of one picture, where a good camera makes 48 million
_LARGEST_TABLE, _IN_MEMORY = 2**34, 2**30
"""Bytes of the table of all pictures, and of one that is held in memory: a larger one lies in a file without a name."""
THREADS = min(8, os.cpu_count() or 1)  # that decode files at once
_STRIP = 64  # rows that are put on white at once
_COLOURLESS = ("1", "L", "LA", "I;16", "I;16B", "I;16L")


Size = int | tuple[int, int] | None
"""Pixels, one number or [height, width]: a picture's largest centred part of that shape is resized. None: as it is."""
Channels = Literal[1, 3] | None
"""1 is grey; None: as they are, if all are alike."""


def sides(size: Size) -> tuple[int, int] | None:
    """Height and width, from 8 to 1024; InputError for others."""
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    return check_count(height, "size", 8, 1024), check_count(width, "size", 8, 1024)


def decode(picture: Any, channels: int | None, size: tuple[int, int] | None) -> np.ndarray:
    """One picture, a file or one of Pillow, as uint8 [C, H, W], upright, on white where it is transparent.

    Without ``channels`` it has 1 where it has no colour; of a ``size`` (height and width) the largest centred part of
    that shape is resized. ValueError, with a phrase to stand behind its name, where it is damaged, of a format that is
    not read, or too large.
    """
    from PIL import Image, UnidentifiedImageError

    given = isinstance(picture, Image.Image)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the bound below is lower
            found = picture if given else Image.open(picture, formats=FORMATS)
        with nullcontext() if given else found:
            if found.width * found.height > _LARGEST:
                raise ValueError(f"it claims {found.width} x {found.height} pixels, more than {_LARGEST:,}")
            if found.mode in ("I", "F"):
                raise ValueError(f"nobody knows the range of its values (mode {found.mode}); give it 8 bits")
            with _share(found.width * found.height):
                return _pixels(found, not given, channels, size)
    except UnidentifiedImageError:
        raise ValueError(f"it is no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file") from None
    except Exception as error:  # damage raises almost any
        raise ValueError(phrase(error)) from error


def _pixels(found: Any, ours: bool, channels: int | None, size: tuple[int, int] | None) -> np.ndarray:
    from PIL import Image, ImageOps

    grey = channels == 1 or (channels is None and found.mode in _COLOURLESS)
    # In place, without a copy, it returns nothing.
    image = ImageOps.exif_transpose(found, in_place=ours) or found  # type: ignore[call-overload]
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    mode = "L" if grey else "RGB"
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = _on_white(image, mode)
    elif image.mode != mode:
        image = image.convert(mode)
    if size is not None and size != (image.height, image.width):
        scale = min(image.height / size[0], image.width / size[1])
        height, width = (max(1, round(side * scale)) for side in size)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        # Bilinear in Pillow averages over the whole source area when shrinking: no aliasing.
        image = image.crop((left, top, left + width, top + height))
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def _on_white(image: Any, mode: str) -> Any:
    """A picture with transparency before a white ground, a few rows at a time, as each takes several copies."""
    from PIL import Image

    flat = Image.new(mode, image.size)
    for top in range(0, image.height, _STRIP):
        layer = image.crop((0, top, image.width, min(top + _STRIP, image.height))).convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        flat.paste(Image.alpha_composite(white, layer).convert(mode), (0, top))
    return flat


class _Share:
    """Lets threads decode at once as long as their pictures have no more pixels together than one may have."""

    def __init__(self) -> None:
        self._free, self._changed = _LARGEST, threading.Condition()

    @contextmanager
    def __call__(self, pixels: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: pixels <= self._free)
            self._free -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()


_share = _Share()


def read_table(
    count: int,
    read: Callable[[int], np.ndarray],
    name: Callable[[int], str],
    *,
    skip_broken: bool,
    threads: int = 1,
) -> tuple[np.ndarray, list[int]]:
    """All pictures as uint8 [N, C, H, W], and which ones these are.

    Of ``count`` pictures, ``read`` gives one as uint8 [C, H, W], or raises ValueError with a phrase that says what is
    wrong with it; ``name`` is what one is called. Those that cannot be read are a DataError, or left out with a warning
    (``skip_broken``); several shapes are an InputError.
    """
    table: np.ndarray | None = None
    first = 0
    wrong: dict[int, str] = {}

    def put(i: int) -> None:
        """Read one into its row, or note what is wrong with it."""
        nonlocal table, first
        try:
            pixels = read(i)
        except InputError:
            raise
        except ValueError as error:
            wrong[i] = phrase(error)
            return
        if table is None:
            table, first = _room((count, *pixels.shape)), i
        if pixels.shape != table.shape[1:]:
            one, other = ("x".join(map(str, shape)) for shape in (table.shape[1:], pixels.shape))
            wanted = []
            if pixels.shape[1:] != table.shape[2:]:
                wanted.append("the size that all are cut and resized to (size=64, size=[48, 64])")
            if pixels.shape[0] != table.shape[1]:
                wanted.append("the channels that all get (channels=3)")
            raise InputError(f"{name(first)} is {one} and {name(i)} is {other}: give {' and '.join(wanted)}.")
        table[i] = pixels

    waiting = iter(range(count))
    for i in waiting:  # alone until the first is read, which says how large the table is
        put(i)
        if table is not None:
            break
    for _ in in_turn(put, waiting, threads):
        pass
    kept = [i for i in range(count) if i not in wrong]
    if wrong:
        broken = min(wrong)
        told = f"{len(wrong):,} of {count:,} images cannot be read, the first being {name(broken)} ({wrong[broken]})"
        if table is None or not skip_broken:
            raise DataError(f"{told}; skip_broken=True leaves such images out.")
        warn_user(f"{told}; they are left out.")
    if table is None:
        raise DataError("there are no images.")
    if wrong:
        for row, i in enumerate(kept):
            table[row] = table[i]
    return table[: len(kept)], kept


def in_turn(work: Callable[[int], Any], waiting: Iterable[int], threads: int) -> Iterator[tuple[int, Any]]:
    if threads == 1:
        yield from ((i, work(i)) for i in waiting)
        return
    # Pillow decodes outside Python's lock, so threads help; few are begun ahead, so that an error stops the work soon.
    begun: deque[tuple[int, Future[Any]]] = deque()
    with ThreadPoolExecutor(max_workers=threads) as pool:
        for i in waiting:
            begun.append((i, pool.submit(work, i)))
            if len(begun) > 2 * threads:
                i, done = begun.popleft()
                yield i, done.result()
        for i, done in begun:
            yield i, done.result()


def _room(shape: tuple[int, ...]) -> np.ndarray:
    """A table of that shape in memory, or on the disk where it is large."""
    size = math.prod(shape)
    if size > _LARGEST_TABLE:
        told = f"{shape[0]:,} images of {'x'.join(map(str, shape[1:]))} are {size:,} bytes"
        raise InputError(f"{told}, more than {_LARGEST_TABLE:,}: give a smaller size.")
    if size <= _IN_MEMORY:
        return np.empty(shape, dtype=np.uint8)
    told = f"there is no room for images of {shape} in {tempfile.gettempdir()}; set TMPDIR or give a smaller size"
    # The file is gone as soon as nobody maps it.
    with told_as(DataError, told), tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)  # type: ignore[call-overload]


def phrase(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__


def path_name(path: Path) -> str:
    """A path as any terminal shows it, also where its name is no text."""
    return printable(os.fsencode(path).decode("utf-8", "replace"))

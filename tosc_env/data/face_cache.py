"""JPEG files decoded once into one array on disk."""

from __future__ import annotations

import hashlib
import math
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from tosc_env.errors import DataError
from tosc_env.io.files import replacing

_BAR_FROM = 2000  # images; fewer are decoded in about a second
_AHEAD = 256  # images in flight, so that an error stops the work soon


def decoded_faces(
    folder: Path, names: Sequence[str], store: Path, title: str, size: int, crop: float
) -> np.ndarray:
    """The named images, uint8 [N, 3, size, size], mapped from a file in ``store`` that is made if missing.

    The file is written whole or not at all.  The array is a private, copy-on-write map: it costs no
    memory until read, and nothing written to it reaches the disk.

    Raises:
        DataError: an image is missing or damaged, or the file in ``store`` is; names the file.
        WriteError: ``store`` cannot be written.
    """
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:12]
    path = store / f"{title}-{size}px-crop{crop:g}-{len(names)}-{digest}.npy"
    shape = (len(names), 3, size, size)
    if not path.is_file():
        with replacing(path) as part:
            target = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
            _decode_all([folder / name for name in names], target, size, crop)
            target.flush()
    try:
        found = np.load(path, mmap_mode="c", allow_pickle=False)
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is damaged; delete it and it will be made again.") from error
    if found.shape != shape or found.dtype != np.uint8:
        raise DataError(f"{path} holds {found.dtype} {found.shape}, not uint8 {shape}; delete it.")
    return found


def decode_face(path: Path, size: int, crop: float) -> np.ndarray:
    """One JPEG as uint8 [3, size, size]: the centred square of ``crop`` times its shorter side, resized.

    Raises:
        DataError: the file is missing, or is no whole image.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=("JPEG",)) as image:
            # The decoder can shrink by 2, 4 or 8 while decoding, which is several times faster.
            least = math.ceil(size / crop)
            image.draft("RGB", (least, least))
            rgb = image.convert("RGB")
    except FileNotFoundError as error:
        raise DataError(f"the image {path} is listed but missing.") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"the image {path} is damaged: {error}.") from error
    width, height = rgb.size
    side = crop * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    # Bilinear in Pillow averages over the whole source area when shrinking: no aliasing.
    pixels = np.asarray(rgb.resize((size, size), Image.Resampling.BILINEAR, box=box))
    return pixels.transpose(2, 0, 1)


def _decode_all(paths: list[Path], target: np.ndarray, size: int, crop: float) -> None:
    # Pillow decodes outside Python's lock, so threads help.
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        waiting = iter(_with_bar(paths))
        start = 0
        while chunk := list(islice(waiting, _AHEAD)):
            for i, pixels in enumerate(pool.map(lambda p: decode_face(p, size, crop), chunk), start=start):
                target[i] = pixels
            start += len(chunk)


def _with_bar(paths: list[Path]) -> Iterable[Path]:
    if len(paths) <= _BAR_FROM or not sys.stderr.isatty():
        return paths
    from rich.console import Console
    from rich.progress import track

    return track(paths, description="decoding faces", console=Console(stderr=True))

"""CelebA's two lists: the attributes of each face and the split it belongs to."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from tosc_env.data.digests import file_digest
from tosc_env.errors import DataError

IMAGE_FOLDER = "img_align_celeba"
ATTRIBUTE_FILE = "list_attr_celeba.txt"
PARTITION_FILE = "list_eval_partition.txt"
OFFICIAL_MD5 = {
    "img_align_celeba.zip": "00d2c5bc6d35e252742224ab0c1e8fcb",
    ATTRIBUTE_FILE: "75e246fa4810816ffd6ee81facbd2244",
    PARTITION_FILE: "d32c9cbf5e040fd4025c592c306e6668",
}


@dataclass(frozen=True)
class FaceList:
    """What the two lists say.

    Attributes:
        names: file names [N], in the official order.
        attribute_names: [A].
        values: int8 [N, A], 1 where the attribute is present and 0 where not.
        partition: int8 [N], 0 train, 1 valid, 2 test.
    """

    names: tuple[str, ...]
    attribute_names: tuple[str, ...]
    values: np.ndarray
    partition: np.ndarray

    def rows(self, part: int) -> np.ndarray:
        """Where the images of one split stand."""
        return np.flatnonzero(self.partition == part)

    def official(self, folder: Path) -> bool:
        """Whether both lists are byte for byte the official ones."""
        return all(
            file_digest(folder / n, "md5") == OFFICIAL_MD5[n] for n in (ATTRIBUTE_FILE, PARTITION_FILE)
        )


def stamps(folder: Path) -> tuple[tuple[int, int], ...]:
    """Time and size of both lists: a changed list is read again."""
    status = [(folder / name).stat() for name in (ATTRIBUTE_FILE, PARTITION_FILE)]
    return tuple((s.st_mtime_ns, s.st_size) for s in status)


@lru_cache(maxsize=2)
def read_lists(folder: Path, stamp: tuple) -> FaceList:
    """The lists in ``folder``; ``stamp`` (see :func:`stamps`) only keys the cache.

    Raises:
        DataError: a list is truncated or malformed, or an image has no split; names file and line.
    """
    names, attribute_names, values = _read_attributes(folder / ATTRIBUTE_FILE)
    splits = _read_partition(folder / PARTITION_FILE)
    try:
        partition = np.array([splits[name] for name in names], dtype=np.int8)
    except KeyError as error:
        raise DataError(f"{folder / PARTITION_FILE} gives no split for the image {error.args[0]}.") from error
    return FaceList(names, attribute_names, values, partition)


def _read_attributes(path: Path) -> tuple[tuple[str, ...], tuple[str, ...], np.ndarray]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if len(lines) < 3 or not lines[0].strip().isdigit():
        raise DataError(
            f"{path} is not CelebA's attribute list: expected a count, the names, then a row per image."
        )
    titles = tuple(lines[1].split())
    rows = [line.split(None, 1) for line in lines[2:] if line.strip()]
    if len(rows) != int(lines[0]):
        raise DataError(f"{path} has {len(rows):,} rows where its first line promises {int(lines[0]):,}.")
    short = next((number for number, row in enumerate(rows, start=3) if len(row) != 2), None)
    if short is not None:
        raise DataError(f"{path} has no attributes in line {short}.")
    # One parse of the 8 million signs at once is ten times faster than a row at a time.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            signs = np.fromstring(" ".join(row[1] for row in rows), dtype=np.int64, sep=" ")
        except (ValueError, DeprecationWarning) as error:
            raise DataError(f"{path} holds an attribute that is neither 1 nor -1.") from error
    if signs.size != len(rows) * len(titles):
        raise DataError(
            f"{path} holds {signs.size:,} attributes, not {len(titles)} for each of {len(rows):,} images."
        )
    if not np.isin(signs, (-1, 1)).all():
        raise DataError(f"{path} holds an attribute that is neither 1 nor -1.")
    return tuple(row[0] for row in rows), titles, (signs > 0).astype(np.int8).reshape(len(rows), len(titles))


def _read_partition(path: Path) -> dict[str, int]:
    splits = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or words[1] not in ("0", "1", "2"):
            raise DataError(f"{path} line {number} is not an image name and 0, 1 or 2: {line.strip()!r}.")
        splits[words[0]] = int(words[1])
    return splits

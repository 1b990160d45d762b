"""CelebA: faces with 40 binary attributes each (Liu et al., 2015); for non-commercial research."""

from __future__ import annotations

import numbers
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from tosc_env.data.base import Source
from tosc_env.data.celeba_files import (
    ATTRIBUTE_FILE,
    IMAGE_FOLDER,
    PARTITION_FILE,
    FaceList,
    read_lists,
    stamps,
)
from tosc_env.data.checks import check_integer, check_split
from tosc_env.data.face_cache import decoded_faces
from tosc_env.data.root import data_root
from tosc_env.data.statistics import Statistics, compute_statistics
from tosc_env.errors import DataError, InputError, unknown

SPLITS = ("train", "valid", "test")


def load_celeba(
    split: str = "train",
    size: int = 64,
    crop: float = 0.8,
    attributes: str | Sequence[str] | None = None,
    balance: str | None = None,
    root: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> Source:
    """Faces uint8 [N, 3, size, size] from ``celeba/`` under the data root, in the official order.

    The JPEG files of a split are decoded once into ``cache`` and mapped into memory from there.  There
    are no classes: labels are zero.  Delete the cache file if you replace images under their old names.

    Args:
        split: ``"train"``, ``"valid"`` or ``"test"``, by the official partition file.
        size: height and width in pixels, 8 to 256.
        crop: side of the centred square that is kept, as a fraction of the image's shorter side, in (0, 1].
        attributes: the attributes to present, in this order; ``None`` for all 40.
        balance: an attribute of which equally many positive and negative images are kept, the first ones
            of the more frequent kind in the official order. Statistics stay those of all training images.
        root: the data root; ``None`` for the usual one.
        cache: folder of decoded images; ``None`` for ``cache/`` under the data root.

    Raises:
        InputError: an option out of its range or an unknown attribute.
        DataError: files are missing (says how to get them) or damaged (names the file).
    """
    check_split("celeba", split, SPLITS)
    size = check_integer("size of celeba", size, 8, 256)
    if isinstance(crop, bool) or not isinstance(crop, numbers.Real) or not 0 < crop <= 1:
        raise InputError(f"crop of celeba is a fraction of the shorter side in (0, 1], not {crop!r}.")
    base = data_root(root)
    gone = missing_part(base)
    if gone is not None:
        raise DataError(
            f"CelebA was not found: {gone} is missing; run 'tosc data get celeba' to read how to get it, "
            f"or set TOSC_DATA_DIR to the folder that holds celeba/."
        )
    folder = base / "celeba"
    store = Path(cache).expanduser() if cache is not None else base / "cache"
    faces = read_lists(folder, stamps(folder))
    columns = _columns(faces, attributes)
    rows = faces.rows(SPLITS.index(split))
    if not len(rows):
        raise DataError(f"{folder / PARTITION_FILE} assigns no image to the {split} split.")
    images = _decoded(folder, store, faces, split, size, float(crop))
    source = Source.from_arrays(
        images,
        name="celeba",
        split=split,
        class_names=("face",),
        attributes=faces.values[rows][:, columns],
        attribute_names=[faces.attribute_names[c] for c in columns],
        attribute_values=[("absent", "present")] * len(columns),
        training=lambda: _statistics(folder, store, size, float(crop), stamps(folder)),
        provenance=lambda: _provenance(folder, faces, split, size, float(crop), balance),
    )
    if balance is None:
        return source
    return source.subset(
        torch.from_numpy(_balanced(faces.values[rows][:, _columns(faces, balance)[0]], balance))
    )


def missing_part(root: Path) -> Path | None:
    """The first of CelebA's three parts that does not lie under ``root``; ``None`` if all do."""
    parts = [root / "celeba" / name for name in (IMAGE_FOLDER, ATTRIBUTE_FILE, PARTITION_FILE)]
    return next((part for part in parts if not part.exists()), None)


def _columns(faces: FaceList, names: str | Sequence[str] | None) -> list[int]:
    if names is None:
        return list(range(len(faces.attribute_names)))
    wanted = [names] if isinstance(names, str) else list(names)
    if not wanted or len(set(wanted)) != len(wanted):
        raise InputError(f"attributes of celeba must be one or several different names, not {names!r}.")
    for name in wanted:
        if name not in faces.attribute_names:
            raise unknown("CelebA attribute", name, faces.attribute_names)
    return [faces.attribute_names.index(name) for name in wanted]


def _balanced(values: np.ndarray, name: str) -> np.ndarray:
    """Positions of equally many ones and zeros, in order."""
    ones, zeros = np.flatnonzero(values == 1), np.flatnonzero(values == 0)
    count = min(len(ones), len(zeros))
    if count == 0:
        raise InputError(f"balance={name!r} is impossible: every image of this split has the same value.")
    return np.sort(np.concatenate([ones[:count], zeros[:count]]))


def _decoded(folder: Path, store: Path, faces: FaceList, split: str, size: int, crop: float) -> np.ndarray:
    names = [faces.names[i] for i in faces.rows(SPLITS.index(split))]
    return decoded_faces(folder / IMAGE_FOLDER, names, store, f"celeba-{split}", size, crop)


@lru_cache(maxsize=4)
def _statistics(folder: Path, store: Path, size: int, crop: float, stamp: tuple) -> Statistics:
    faces = read_lists(folder, stamp)
    images = torch.from_numpy(_decoded(folder, store, faces, "train", size, crop))
    return compute_statistics(images, torch.zeros(len(images), dtype=torch.int64), 1)


def _provenance(
    folder: Path, faces: FaceList, split: str, size: int, crop: float, balance: str | None
) -> str:
    whole = "the official checksums" if faces.official(folder) else "no official checksums"
    kept = f", balanced by {balance}" if balance else ""
    text = (
        f"CelebA ({len(faces.names):,} faces, {split} split{kept}, centred crop {crop:g}, {size}x{size}); "
        f"its list files carry {whole} and its images were not checked"
    )
    path = folder / "PROVENANCE.txt"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    return (
        f'{text}; PROVENANCE.txt beside them says: "{lines[0].strip().rstrip(".")}".' if lines else f"{text}."
    )

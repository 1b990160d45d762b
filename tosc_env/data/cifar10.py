"""CIFAR-10: 50,000 training and 10,000 test images, 32x32x3, ten classes (Krizhevsky, 2009)."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import numpy as np

from tosc_env.data.base import Source
from tosc_env.data.checks import check_split
from tosc_env.data.cifar10_files import RECORDS, Layout, layouts
from tosc_env.data.root import data_root
from tosc_env.data.statistics import Statistics, compute_statistics
from tosc_env.errors import DataError


def load_cifar10(split: str = "train", root: str | os.PathLike[str] | None = None) -> Source:
    """CIFAR-10 from ``cifar-10-batches-bin/``, else ``cifar-10-batches-py/``, under the data root.

    Images are uint8 [N, 3, 32, 32] in the official order, N being 50,000 (train) or 10,000 (test); the
    arrays are read once per process.

    Raises:
        InputError: another split.
        DataError: the files are missing (says how to get them), truncated or corrupt (names the file).
    """
    check_split("cifar10", split)
    folder = data_root(root)
    layout = find_layout(folder)
    if layout is None:
        raise _missing(folder)
    images, labels = _split(layout, split)
    return Source.from_arrays(
        images,
        labels,
        name="cifar10",
        split=split,
        class_names=layout.class_names(),
        training=lambda: _statistics(layout),
        provenance=lambda: _provenance(layout),
    )


def find_layout(root: Path) -> Layout | None:
    """The first of the two official layouts whose six batch files all lie under ``root``."""
    return next((layout for layout in layouts(root) if not layout.missing()), None)


def _missing(root: Path) -> DataError:
    for layout in layouts(root):
        if layout.folder.is_dir():
            gone = layout.missing()[0]
            return DataError(f"CIFAR-10 in {layout.folder} lacks the file {gone.name}; expected six batches.")
    return DataError(
        f"CIFAR-10 was not found in {root}: run 'tosc data get cifar10', or set TOSC_DATA_DIR to the folder "
        f"that holds cifar-10-batches-bin or cifar-10-batches-py."
    )


def _split(layout: Layout, split: str) -> tuple[np.ndarray, np.ndarray]:
    names = layout.batch_names(split)
    return _arrays(layout, names, tuple(_stamp(layout.folder / name) for name in names))


@lru_cache(maxsize=4)
def _arrays(layout: Layout, names: tuple[str, ...], stamps: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of the named batches; ``stamps`` make a changed file miss the cache."""
    images = np.empty((len(names) * RECORDS, 3, 32, 32), dtype=np.uint8)
    labels = np.empty(len(names) * RECORDS, dtype=np.int64)
    for i, name in enumerate(names):
        part = slice(i * RECORDS, (i + 1) * RECORDS)
        images[part], labels[part] = layout.read(name)
    return images, labels


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def _statistics(layout: Layout) -> Statistics:
    names = layout.batch_names("train")
    return _cached_statistics(layout, tuple(_stamp(layout.folder / name) for name in names))


@lru_cache(maxsize=4)
def _cached_statistics(layout: Layout, stamps: tuple) -> Statistics:
    import torch

    images, labels = _split(layout, "train")
    return compute_statistics(torch.from_numpy(images), torch.from_numpy(labels), 10)


def _provenance(layout: Layout) -> str:
    verdict = layout.official()
    said = {
        True: "its files carry the official checksums",
        False: "its files do not carry the official checksums",
        None: "its files were not checked against the official checksums, as no download record is there",
    }[verdict]
    sentence = f"CIFAR-10 from {layout.folder.name}; {said}"
    note = layout.note()
    return f'{sentence}; PROVENANCE.txt beside them says: "{note}".' if note else f"{sentence}."

"""Images of one's own in folders: a folder of images for each class."""

from __future__ import annotations

import os
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tosc_env.data.base import Source, shuffled
from tosc_env.data.checks import Owned
from tosc_env.data.dataset import DataSet
from tosc_env.data.files import stamps
from tosc_env.data.pictures import Channels, Size, decode, path_name, read_table, sides, usual_threads
from tosc_env.errors import DataError, InputError, warn_user
from tosc_env.io.files import check_path
from tosc_env.options import check_choice

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".pbm")
_FIFTH = 5  # one of so many images of each class is a test image, where no folder says which


class Folder(DataSet):
    """A folder that has a folder of images for each class, or two such folders, ``train`` and ``test``.

    ::

        pictures/cat/1.png  pictures/cat/2.jpg  pictures/dog/1.png ...
        pictures/train/cat/1.png ...  pictures/test/cat/9.png ...

    Without ``train`` and ``test`` a fifth of each class is for testing, chosen once and for all by file names.
    """

    name = "folder"
    terms = "Folder: images of whoever ran this, on terms of their own."
    how = "your own: --data folder --data-kwargs path=FOLDER"
    paths = ("path",)

    def load(
        self,
        split: str = "train",
        path: str | os.PathLike[str] | None = None,
        size: Size = None,
        channels: Channels = None,
        skip_broken: bool = False,
    ) -> Source:
        """Images uint8 [N, C, H, W] in no particular order; a table of more than 1 GiB lies on the disk, and more than
        16 GiB are refused.

        Args:
            split: ``"train"`` or ``"test"``.
            path: the folder.
            size, channels: what all images are brought to; None: as they are, if all are alike.
            skip_broken: leave out images that cannot be read, with a warning.

        Raises:
            InputError: an option out of its range, or images of several sizes and no size.
            DataError: no such folder, classes or images; or images that cannot be read.
        """
        if path is None:
            raise InputError(
                "the data set 'folder' needs path=, the folder that has a folder of images per class."
            )
        check_choice(split, "split of folder", self.splits)
        base = Path(os.path.expanduser(check_path(path)))
        classes, train, test = _listed(base)
        files, labels = train if split == "train" else test
        if not files:
            raise DataError(
                f"{path_name(base)} has no {split} images: a class needs {_FIFTH} for one to be a test image, or give "
                "folders train and test."
            )
        images, tags = _read(files, stamps(files), labels, channels, sides(size), skip_broken)
        again = partial(self.load, "train", os.path.abspath(base), size, images.shape[1], skip_broken)
        return Source.from_arrays(
            Owned(images),
            tags,
            name=self.name,
            split=split,
            class_names=classes,
            training=None if split == "train" else lambda: again().statistics,
            provenance=f"Images of the folder {path_name(base)}: {len(images):,} of its {split} split, "
            f"{images.shape[2]}x{images.shape[3]}.",
            halves="in-order",
        )

    def is_available(self) -> bool:
        return False


Files = tuple[tuple[Path, ...], tuple[int, ...]]
"""Files and their labels."""


def _listed(base: Path) -> tuple[tuple[str, ...], Files, Files]:
    """The classes, the training files and the test files."""
    if not os.path.isdir(base):
        told = "is no folder (unpack an archive first)" if os.path.exists(base) else "does not exist"
        raise DataError(
            f"{path_name(base)} {told}; expected a folder with a folder of images per class (on the command line "
            "--data-kwargs path=FOLDER)."
        )
    if (base / "train").is_dir():
        classes, train = _of_classes(base / "train")
        if not (base / "test").is_dir():
            return classes, train, ((), ())
        more, (files, labels) = _of_classes(base / "test")
        unseen = sorted(set(more) - set(classes))
        if unseen:
            raise DataError(f"{path_name(base)} has the class {unseen[0]!r} in test and not in train.")
        return classes, train, (files, tuple(classes.index(more[label]) for label in labels))
    classes, (files, labels) = _of_classes(base)
    held = _held_out(torch.tensor(labels)).tolist()
    parts = [[i for i, out in enumerate(held) if out == wanted] for wanted in (False, True)]
    train, test = ((tuple(files[i] for i in part), tuple(labels[i] for i in part)) for part in parts)
    return classes, train, test


def _of_classes(base: Path) -> tuple[tuple[str, ...], Files]:
    """The classes, which are the folders' names in order, and the files below them in order."""
    folders = sorted(f for f in base.iterdir() if f.is_dir() and not f.name.startswith("."))
    if not folders:
        raise DataError(f"{path_name(base)} has no folders; expected a folder of images per class.")
    files: list[Path] = []
    labels: list[int] = []
    others: list[Path] = []
    for label, folder in enumerate(folders):
        within = sorted(f for f in folder.rglob("*") if f.is_file() and not f.name.startswith("."))
        found = [f for f in within if f.suffix.lower() in SUFFIXES]
        others += (f for f in within if f.suffix.lower() not in SUFFIXES)
        if not found:
            inside = f"; it holds {path_name(within[0])}, which is no image" if within else ""
            raise DataError(f"the class {path_name(folder)} has no images ({', '.join(SUFFIXES)}){inside}.")
        files += found
        labels += [label] * len(found)
    if others:
        warn_user(
            f"{len(others):,} files below {path_name(base)} are no images by their names and left out, the first "
            f"being {path_name(others[0])}."
        )
    return tuple(path_name(Path(f.name)) for f in folders), (tuple(files), tuple(labels))


def _held_out(labels: Tensor) -> Tensor:
    """Choose the images for testing, bool [N]: one in five of each class, by a fixed seed."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        held[order[labels[order] == label][_FIFTH - 1 :: _FIFTH]] = True
    return held


@lru_cache(maxsize=4)
def _read(
    files: tuple[Path, ...],
    stamp: tuple,
    labels: tuple[int, ...],
    channels: int | None,
    size: tuple[int, int] | None,
    skip_broken: bool,
) -> tuple[np.ndarray, Tensor]:
    """The images and their labels, in an order whose first and second half have half of each class."""
    tags = torch.tensor(labels)
    order = shuffled(tags).tolist()
    images, kept = read_table(
        len(files),
        lambda i: decode(files[order[i]], channels, size),
        lambda i: path_name(files[order[i]]),
        skip_broken=skip_broken,
        threads=usual_threads(),
    )
    if len(kept) < len(files):  # once more without those that are broken, for halves of the same classes
        whole = sorted(order[i] for i in kept)
        left = tuple(files[i] for i in whole)
        return _read(left, stamps(left), tuple(labels[i] for i in whole), channels, size, False)
    return images, tags[order]

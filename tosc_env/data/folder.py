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
from tosc_env.data.pictures import THREADS, Channels, Size, decode, path_name, read_table, sides
from tosc_env.errors import DataError, InputError, warn_user
from tosc_env.io.files import check_path
from tosc_env.options import check_choice, checked

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

    @checked
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
            raise InputError("the data set 'folder' needs path=, the folder of a folder of images per class.")
        check_choice(split, "split of folder", self.splits)
        base = Path(os.path.expanduser(check_path(path)))
        classes, files = _listed(base)
        if not files[split]:
            hint = f"a class needs {_FIFTH} for one to be a test image, or give folders train and test"
            raise DataError(f"{path_name(base)} has no {split} images: {hint}.")
        stamp = stamps(file for file, _ in files[split])
        images, tags = _read(files[split], stamp, channels, sides(size), skip_broken)
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


Files = tuple[tuple[Path, int], ...]
"""Files, each with its label."""


def _listed(base: Path) -> tuple[tuple[str, ...], dict[str, Files]]:
    """The classes, and the files of each split."""
    if not os.path.isdir(base):
        told = "is no folder (unpack an archive first)" if os.path.exists(base) else "does not exist"
        wanted = "a folder with a folder of images per class (on the command line --data-kwargs path=FOLDER)"
        raise DataError(f"{path_name(base)} {told}; expected {wanted}.")
    if (base / "train").is_dir():
        classes, train = _of_classes(base / "train")
        more, test = _of_classes(base / "test") if (base / "test").is_dir() else (classes, ())
        for name in sorted(set(more) - set(classes)):
            raise DataError(f"{path_name(base)} has the class {name!r} in test and not in train.")
        return classes, {"train": train, "test": tuple((file, classes.index(more[k])) for file, k in test)}
    classes, files = _of_classes(base)
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(0)).tolist()
    by_class: list[list[int]] = [[] for _ in classes]
    for i in order:
        by_class[files[i][1]].append(i)
    held = {i for places in by_class for i in places[_FIFTH - 1 :: _FIFTH]}
    train = tuple(one for i, one in enumerate(files) if i not in held)
    return classes, {"train": train, "test": tuple(files[i] for i in sorted(held))}


def _of_classes(base: Path) -> tuple[tuple[str, ...], Files]:
    """The classes, which are the folders' names in order, and the files below them in order."""
    folders = sorted(f for f in base.iterdir() if f.is_dir() and not f.name.startswith("."))
    if not folders:
        raise DataError(f"{path_name(base)} has no folders; expected a folder of images per class.")
    files: list[tuple[Path, int]] = []
    others: list[Path] = []
    for label, folder in enumerate(folders):
        within = sorted(f for f in folder.rglob("*") if f.is_file() and not f.name.startswith("."))
        found = [(f, label) for f in within if f.suffix.lower() in SUFFIXES]
        others += (f for f in within if f.suffix.lower() not in SUFFIXES)
        if not found:
            inside = f"; it holds {path_name(within[0])}, which is no image" if within else ""
            raise DataError(f"the class {path_name(folder)} has no images ({', '.join(SUFFIXES)}){inside}.")
        files += found
    if others:
        warn_user(
            f"{len(others):,} files below {path_name(base)} are no images by their names and left out, the first "
            f"being {path_name(others[0])}."
        )
    return tuple(path_name(Path(f.name)) for f in folders), tuple(files)


@lru_cache(maxsize=4)
def _read(
    files: Files, stamp: tuple, channels: int | None, size: tuple[int, int] | None, skip_broken: bool
) -> tuple[np.ndarray, Tensor]:
    """The images and their labels, in an order whose first and second half have half of each class."""
    order = shuffled(torch.tensor([label for _, label in files])).tolist()
    chosen = [files[i] for i in order]
    images, kept = read_table(
        len(files),
        lambda i: decode(chosen[i][0], channels, size),
        lambda i: path_name(chosen[i][0]),
        skip_broken=skip_broken,
        threads=THREADS,
    )
    if len(kept) < len(files):  # once more without those that are broken, for halves of the same classes
        whole = tuple(files[i] for i in sorted(order[i] for i in kept))
        return _read(whole, stamps(file for file, _ in whole), channels, size, False)
    return images, torch.tensor([label for _, label in chosen])

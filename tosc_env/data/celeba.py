"""CelebA: faces with 40 binary attributes each (Liu et al., 2015); for non-commercial research."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
import re
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch

from tosc_env.data.base import Source
from tosc_env.data.checks import Owned
from tosc_env.data.dataset import DataSet
from tosc_env.data.files import data_root, file_digest, read_text, stamps, with_note
from tosc_env.data.pictures import THREADS, in_turn, phrase
from tosc_env.data.statistics import Statistics, compute_statistics
from tosc_env.errors import DataError, InputError, shown, unknown
from tosc_env.io.files import remove_leftovers, replacing
from tosc_env.options import SMALLEST, Within, checked

if TYPE_CHECKING:
    import pandas as pd

IMAGE_FOLDER = "img_align_celeba"
ARCHIVE = "img_align_celeba.zip"
LISTS = (ATTRIBUTE_FILE, PARTITION_FILE) = ("list_attr_celeba.txt", "list_eval_partition.txt")
OFFICIAL_MD5 = {
    ARCHIVE: "00d2c5bc6d35e252742224ab0c1e8fcb",
    ATTRIBUTE_FILE: "75e246fa4810816ffd6ee81facbd2244",
    PARTITION_FILE: "d32c9cbf5e040fd4025c592c306e6668",
}
_BAR_FROM = 2000  # images; fewer are decoded in about a second
_LARGEST = 2**24  # pixels of an image, of which several are decoded at once


class CelebA(DataSet):
    """Faces from ``celeba/`` under the data root.

    There are no classes: labels are zero. The usual task is the article's three attributes, on images of 64x64.
    """

    name = "celeba"
    terms = (
        "CelebA: for non-commercial research only, and so are weights trained on it; cite Liu, Luo, Wang and Tang, "
        "'Deep learning face attributes in the wild' (ICCV 2015)."
    )
    how = "by hand; tosc data get celeba describes it"
    splits = ("train", "valid", "test")
    usual_attributes = ("Mustache", "Smiling", "Wavy_Hair")
    usual_kwargs = MappingProxyType({"size": 64})
    stand_in = ("shapes", {"size": "size", "binary_attributes": "attributes"})

    @checked
    def load(
        self,
        split: str = "train",
        size: Annotated[int, Within(8, 256)] = 64,
        crop: Annotated[float, Within(SMALLEST, 1)] = 0.8,
        attributes: str | Sequence[str] | None = None,
        root: str | os.PathLike[str] | None = None,
    ) -> Source:
        """Faces uint8 [N, 3, size, size] in the official order.

        They are decoded once into ``cache/`` under the data root and mapped from there, and again when one is newer.

        Args:
            split: ``"train"``, ``"valid"`` or ``"test"``, by the official partition file.
            size: height and width in pixels, 8 to 256.
            crop: side of the centred square that is kept, as a fraction of the image's shorter side, in (0, 1].
            attributes: the attributes to present, in this order; ``None`` for all 40.
            root: the data root; ``None`` for the usual one.

        Raises:
            InputError: an option out of its range or an unknown attribute.
            DataError: files are missing (with the way to get them) or damaged (names the file).
        """
        base = data_root(root)
        if gone := missing_part(base):
            how = "run 'tosc data get celeba' to read how to get it, or set TOSC_DATA_DIR to the folder of celeba/"
            raise DataError(f"CelebA was not found: {gone} is missing; {how}.")
        folder = base / "celeba"
        place = folder, base / "cache", size, float(crop)
        faces = _faces(folder, _stamp(folder))
        known = list(faces.columns.drop("split"))
        wanted = (
            [attributes] if isinstance(attributes, str) else known if attributes is None else list(attributes)
        )
        if not wanted or len(set(wanted)) != len(wanted):
            raise InputError(
                f"attributes of celeba must be one or several different names, not {shown(attributes)}."
            )
        for name in wanted:
            if name not in known:
                raise unknown("CelebA attribute", name, known)
        chosen = faces.loc[_of_split(faces, split), wanted]
        if chosen.empty:
            raise DataError(f"{folder / PARTITION_FILE} assigns no image to the {split} split.")
        description = f"{split} split, centred crop {crop:g}, {size}x{size}"
        return Source.from_arrays(
            Owned(_decoded(*place, split)),
            name=self.name,
            split=split,
            class_names=("face",),
            attributes=chosen.to_numpy(),
            attribute_names=list(chosen.columns),
            attribute_values=[("absent", "present")] * chosen.shape[1],
            training=lambda: _statistics(*place, _stamp(folder)),
            provenance=lambda: _provenance(folder, len(faces), description),
            halves="in-order",
        )

    def is_available(self) -> bool:
        return missing_part(data_root()) is None

    def get(self, root: Path, url: str | None, progress: bool) -> Path:
        """Verify what was got by hand: its owners distribute it through a browser only."""
        if url is not None:
            raise InputError("celeba cannot be downloaded by a program, so it takes no url.")
        folder = root / "celeba"
        if missing_part(root) is not None:
            raise DataError(
                f"celeba is got through a browser only: place {' and '.join(LISTS)} of "
                f"mmlab.ie.cuhk.edu.hk/projects/CelebA.html in {folder}, unpack {ARCHIVE} there, and run this again."
            )
        # The archive itself is checked where the user kept it beside the folder it was unpacked to.
        for name in (*LISTS, ARCHIVE) if (folder / ARCHIVE).is_file() else LISTS:
            found = file_digest(folder / name, "md5")
            if found != OFFICIAL_MD5[name]:
                told = f"not the official {OFFICIAL_MD5[name]}; it can be used, and results will say so"
                raise DataError(f"{folder / name} has the MD5 {found}, {told}.")
        return folder

    def status(self, root: Path) -> dict[str, object]:
        folder = root / "celeba"
        row: dict[str, object] = {"present": missing_part(root) is None, "where": str(folder)}
        try:
            if row["present"]:
                row["images"] = len(_faces(folder, _stamp(folder)))
                row["official"] = "yes" if _official(folder) else "no"
        except DataError as error:
            row["how"] = str(error)
        return row


def missing_part(root: Path) -> Path | None:
    """The first of CelebA's three parts that does not lie under ``root``; ``None`` if all do."""
    parts = [root / "celeba" / name for name in (IMAGE_FOLDER, *LISTS)]
    return next((part for part in parts if not part.exists()), None)


def _stamp(folder: Path) -> tuple:
    return stamps(folder / name for name in LISTS)


def _official(folder: Path) -> bool:
    """True if both lists carry the official checksums."""
    return all(file_digest(folder / name, "md5") == OFFICIAL_MD5[name] for name in LISTS)


def _provenance(folder: Path, count: int, description: str) -> str:
    sums = "the official checksums" if _official(folder) else "no official checksums"
    checked = f"its list files carry {sums} and its images were not checked"
    return with_note(f"CelebA ({count:,} faces, {description}); {checked}", folder)


@lru_cache(maxsize=4)
def _statistics(folder: Path, store: Path, size: int, crop: float, stamp: tuple) -> Statistics:
    images = torch.from_numpy(_decoded(folder, store, size, crop, "train"))
    return compute_statistics(images, torch.zeros(len(images), dtype=torch.int64), 1)


# -- the two lists ----------------------------------------------------------------------------------------


def _of_split(faces: pd.DataFrame, split: str) -> np.ndarray:
    return (faces["split"] == CelebA.splits.index(split)).to_numpy()


@lru_cache(maxsize=2)
def _faces(folder: Path, stamp: tuple) -> pd.DataFrame:
    """A row per image, by its file's name in the official order: 1 or 0 for each attribute, and the number of its
    ``split``. The ``stamp`` only keys the cache."""
    path = folder / ATTRIBUTE_FILE
    count, titles, rows = (*read_text(path).split("\n", 2), "", "")[:3]
    names = titles.split()
    if not re.fullmatch(r"\s*[0-9]{1,12}\s*", count) or len({*names, "split"}) != len(names) + 1:
        raise DataError(f"{path} is not CelebA's attribute list: a count, the names, then a row per image.")
    faces = _table(path, rows, names)
    if len(faces) != int(count):
        raise DataError(f"{path} has {len(faces):,} rows where its first line promises {int(count):,}.")
    if not np.isin(faces, (-1, 1)).all():
        raise DataError(f"{path} holds an attribute that is neither 1 nor -1.")
    for name in faces.index:
        if os.path.basename(name) != name:
            raise DataError(f"{path} names {name!r}, which is no file of {IMAGE_FOLDER}.")
    path = folder / PARTITION_FILE
    splits = _table(path, read_text(path), ["split"])["split"]
    strange = splits[~splits.isin((0, 1, 2))]
    if len(strange):
        raise DataError(f"{path} gives {strange.index[0]!r} the split {strange.iloc[0]}, not 0, 1 or 2.")
    gone = faces.index.difference(splits.index)
    if len(gone):
        raise DataError(f"{path} gives no split for the image {gone[0]!r}.")
    return (faces > 0).astype(np.int8).assign(split=splits[~splits.index.duplicated(keep="last")])


def _table(path: Path, text: str, names: Sequence[str]) -> pd.DataFrame:
    """The lines of a list, a name and whole numbers each."""
    import pandas as pd

    layout = {"header": None, "names": ["image", *names], "index_col": "image", "dtype": {"image": str}}
    try:
        table = pd.read_csv(io.StringIO(text), sep=r"\s+", quoting=csv.QUOTE_NONE, na_filter=False, **layout)
        return table.astype(np.int64)
    except (ValueError, LookupError, OverflowError) as error:  # the second where a first line is too long
        told = f"is no list of names with {len(names)} numbers each: {phrase(error)}"
        raise DataError(f"{path} {told}.") from error


# -- the images -------------------------------------------------------------------------------------------


def _decoded(folder: Path, store: Path, size: int, crop: float, split: str) -> np.ndarray:
    """The images of a split, uint8 [N, 3, size, size], mapped copy-on-write from a file in ``store``."""
    faces = _faces(folder, _stamp(folder))
    names = list(faces.index[_of_split(faces, split)])
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:12]
    path = store / f"celeba-{split}-{size}px-crop{crop:g}-{len(names)}-{digest}.npy"
    shape = (len(names), 3, size, size)
    remove_leftovers(store)
    if not path.is_file() or path.stat().st_mtime < _newest(folder / IMAGE_FOLDER, set(names)):
        with replacing(path) as part:
            target = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
            _decode_all([folder / IMAGE_FOLDER / name for name in names], target, size, crop)
            target.flush()
    try:
        found = np.lib.format.open_memmap(path, mode="c")
    except Exception as error:  # a damaged header raises almost any
        raise DataError(f"{path} is damaged; delete it and it will be made again.") from error
    if found.shape != shape or found.dtype != np.uint8:
        raise DataError(f"{path} holds {found.dtype} {found.shape}, not uint8 {shape}; delete it.")
    return found


def _newest(folder: Path, names: set[str]) -> float:
    """The time at which the last of some images was written; those that are gone are not missed here."""
    with os.scandir(folder) as entries:
        return max((entry.stat().st_mtime for entry in entries if entry.name in names), default=0.0)


def _decode_all(paths: list[Path], target: np.ndarray, size: int, crop: float) -> None:
    from rich.console import Console
    from rich.progress import track

    quiet = len(paths) <= _BAR_FROM or not sys.stderr.isatty()
    decoded = in_turn(lambda i: decode_face(paths[i], size, crop), range(len(paths)), THREADS)
    bar = {"total": len(paths), "console": Console(stderr=True), "disable": quiet}
    for i, pixels in track(decoded, "decoding faces", **bar):  # type: ignore[arg-type]
        target[i] = pixels


def decode_face(path: Path, size: int, crop: float) -> np.ndarray:
    """Decode one JPEG to uint8 [3, size, size]: the centred square of ``crop`` times its shorter side, resized."""
    from PIL import Image

    try:
        if not path.is_file():  # a pipe would be waited for, a device has no end
            raise FileNotFoundError
        with Image.open(path, formats=("JPEG",)) as image:
            if image.width * image.height > _LARGEST:
                raise ValueError(f"it claims {image.width} x {image.height} pixels, more than {_LARGEST:,}")
            # The decoder can shrink by 2, 4 or 8 while decoding, which is several times faster.
            least = math.ceil(size / crop)
            image.draft("RGB", (least, least))
            rgb = image.convert("RGB")
    except FileNotFoundError as error:
        raise DataError(f"the image {path} is listed but missing.") from error
    except Exception as error:  # a damaged image raises almost any
        raise DataError(f"the image {path} is damaged: {phrase(error)}.") from error
    width, height = rgb.size
    side = crop * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    # Bilinear in Pillow averages over the whole source area when shrinking: no aliasing.
    pixels = np.asarray(rgb.resize((size, size), Image.Resampling.BILINEAR, box=box))
    return pixels.transpose(2, 0, 1)

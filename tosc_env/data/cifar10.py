"""CIFAR-10: 50,000 training and 10,000 test images, 32x32x3, ten classes (Krizhevsky, 2009)."""

from __future__ import annotations

import json
import math
import os
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from tosc_env.data.base import Source
from tosc_env.data.checks import Owned
from tosc_env.data.dataset import DataSet
from tosc_env.data.files import data_root, file_digest, read_text, retrieve, stamps, with_note
from tosc_env.data.pictures import phrase
from tosc_env.data.plain_pickle import Call, as_bytes, read_pickle
from tosc_env.data.statistics import Statistics, compute_statistics
from tosc_env.errors import DataError, told_as
from tosc_env.io.files import WriteError, remove_leftovers, to_disk

RECORDS = 10_000  # images per batch file
RECORD_BYTES = 3073  # one label byte, then 1024 red, 1024 green and 1024 blue bytes
_MOST_BYTES = 2 * RECORDS * RECORD_BYTES + 65536  # of any file of either release
VERIFIED = "VERIFIED.json"  # written by our downloader beside files it has checked
BATCHES = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}
PYTHON_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}


class CIFAR10(DataSet):
    """CIFAR-10 from ``cifar-10-batches-bin/``, else ``cifar-10-batches-py/``, under the data root."""

    name = "cifar10"
    terms = (
        "CIFAR-10: made freely available for research by its authors, who ask to cite Krizhevsky, 'Learning multiple "
        "layers of features from tiny images' (2009)."
    )
    how = "tosc data get cifar10"
    stand_in = ("shapes", {})
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    md5 = "c32a1d4ab5d03f1284b67883e8d87530"

    def load(self, split: str = "train", root: str | os.PathLike[str] | None = None) -> Source:
        """Images uint8 [N, 3, 32, 32] in the official order, N being 50,000 (train) or 10,000 (test); DataError where
        files are missing (with the way to get them) or damaged."""
        layout = find_layout(data_root(root))
        if layout is None:
            for partial in layouts(data_root(root)):
                if partial.folder.is_dir():
                    raise DataError(
                        f"CIFAR-10 in {partial.folder} lacks the file {partial.missing()[0].name}."
                    )
            how = "run 'tosc data get cifar10', or set TOSC_DATA_DIR to the folder of cifar-10-batches-bin or -py"
            raise DataError(f"CIFAR-10 was not found in {data_root(root)}: {how}.")
        images, labels = _arrays(layout, split, stamps(layout.paths(split)))
        return Source.from_arrays(
            Owned(images),
            labels,
            name=self.name,
            split=split,
            class_names=layout.class_names(),
            training=lambda: _statistics(layout, stamps(layout.paths("train"))),
            provenance=lambda: _provenance(layout),
            halves="in-order",
        )

    def is_available(self) -> bool:
        return find_layout(data_root()) is not None

    def get(self, root: Path, url: str | None, progress: bool) -> Path:
        layout = layouts(root)[0]
        archive = root / "cifar-10-binary.tar.gz"
        remove_leftovers(root)
        if layout.folder.exists():
            if gone := layout.missing():
                raise DataError(f"{layout.folder} lacks {gone[0].name}; move it away and run again.")
            if (layout.folder / VERIFIED).is_file():
                archive.unlink(missing_ok=True)  # of a download that was killed before it ended here
            return layout.folder
        address = url or self.url
        retrieve(address, archive, f"md5:{self.md5}", progress)
        _unpack(archive, layout, {"archive": archive.name, "md5": self.md5, "url": address})
        archive.unlink()
        return layout.folder

    def status(self, root: Path) -> dict[str, object]:
        layout = find_layout(root)
        if layout is None:
            return {"present": False, "where": str(root)}
        row = {"present": True, "where": str(layout.folder), "images": 6 * RECORDS}
        try:
            return {**row, "official": layout.official()}
        except DataError as error:
            return {**row, "how": str(error)}


def find_layout(root: Path) -> BinaryLayout | None:
    """The first of the two official layouts whose six batch files all lie under ``root``."""
    return next((layout for layout in layouts(root) if not layout.missing()), None)


@lru_cache(maxsize=4)
def _arrays(layout: BinaryLayout, split: str, stamp: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a split; ``stamp`` makes a changed file miss the cache."""
    paths = layout.paths(split)
    images = np.empty((len(paths) * RECORDS, 3, 32, 32), dtype=np.uint8)
    labels = np.empty(len(paths) * RECORDS, dtype=np.int64)
    for i, path in enumerate(paths):
        part = slice(i * RECORDS, (i + 1) * RECORDS)
        images[part], labels[part] = layout.read(path)
    return images, labels


@lru_cache(maxsize=4)
def _statistics(layout: BinaryLayout, stamp: tuple) -> Statistics:
    images, labels = _arrays(layout, "train", stamp)
    return compute_statistics(torch.from_numpy(images), torch.from_numpy(labels), 10)


def _provenance(layout: BinaryLayout) -> str:
    said = {
        "yes": "its files carry the official checksums",
        "no": "its files do not carry the official checksums",
        "unknown": "its files were not checked against the official checksums, as no download record is there",
    }[layout.official()]
    return with_note(f"CIFAR-10 from {layout.folder.name}; {said}", layout.folder)


def _unpack(archive: Path, layout: BinaryLayout, record: dict[str, str]) -> None:
    """The archive's folder as the layout's, whole or not at all, with a record of every file's checksum."""
    try:
        place = ".part", f".{layout.folder.name}.", layout.folder.parent
        with told_as(WriteError, f"cannot unpack {archive}"), tempfile.TemporaryDirectory(*place) as work:
            with tarfile.open(archive, "r:gz") as tar:
                for member in tar:
                    # The release has folders and plain files; links, devices and files with holes are another's.
                    plain = member.isdir() or (member.isreg() and not member.issparse())
                    if not plain or member.size > _MOST_BYTES or member.offset > 2**30:
                        raise DataError(f"{archive} holds {member.name!r}, which is too large or a link.")
                    tar.extract(member, work, filter="data")  # "data" refuses paths that leave the folder
            fresh = BinaryLayout(Path(work, layout.folder.name))
            if gone := fresh.missing():
                raise DataError(f"{record['url']} holds no {layout.folder.name}/{gone[0].name}.")
            files = [path for path in sorted(fresh.folder.iterdir()) if path.is_file()]
            checked = {**record, "files": {path.name: file_digest(path, "md5") for path in files}}
            (fresh.folder / VERIFIED).write_text(json.dumps(checked, indent=2) + "\n", encoding="utf-8")
            for path in (*files, fresh.folder / VERIFIED):
                to_disk(path)
            os.replace(fresh.folder, layout.folder)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{archive} cannot be unpacked: {error}.") from error


@dataclass(frozen=True)
class BinaryLayout:
    """``cifar-10-batches-bin``: six files, each of records of a label byte and 3,072 pixel bytes."""

    folder: Path
    meta: ClassVar[str] = "batches.meta.txt"
    suffix: ClassVar[str] = ".bin"

    def paths(self, *splits: str) -> list[Path]:
        """The batch files of some splits, in order."""
        return [self.folder / f"{name}{self.suffix}" for split in splits for name in BATCHES[split]]

    def missing(self) -> list[Path]:
        return [path for path in self.paths(*BATCHES) if not path.is_file()]

    def class_names(self) -> tuple[str, ...]:
        """The names of the ten classes, in the order of the labels."""
        path = self.folder / self.meta
        if not path.is_file():
            raise DataError(f"{path} is missing; it names the ten classes.")
        names = self.read_names(path)
        if len(set(names)) != 10 or len(names) != 10:
            raise DataError(f"{path} names {len(names)} classes where ten different ones are expected.")
        return tuple(names)

    def official(self) -> str:
        """Whether every batch carries the official checksum: ``"yes"``, ``"no"`` or ``"unknown"``."""
        sums = self.sums()
        if sums is None:
            return "unknown"
        found = (file_digest(path, "md5") == sums.get(path.name) for path in self.paths(*BATCHES))
        return "yes" if all(found) else "no"

    def read(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 [10000, 3, 32, 32] and labels int64 [10000] of one batch file."""
        pixels, labels = self.read_tables(path)
        wrong = labels[(labels < 0) | (labels > 9)]
        if wrong.size:
            raise DataError(f"{path} holds the label {wrong[0]} where 0..9 are expected: it is corrupt.")
        return pixels.reshape(RECORDS, 3, 32, 32), labels.astype(np.int64)

    def read_tables(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """Pixels uint8 [10000, 3072] and integer labels [10000] of one batch file."""
        expected, size = RECORDS * RECORD_BYTES, path.stat().st_size
        if size != expected:
            raise DataError(f"{path} has {size:,} bytes where {expected:,} are expected: it is damaged.")
        table = np.fromfile(path, dtype=np.uint8).reshape(RECORDS, RECORD_BYTES)
        return table[:, 1:], table[:, 0]

    def read_names(self, path: Path) -> list[str]:
        return read_text(path).split()

    def sums(self) -> dict[str, str] | None:
        """The official MD5 checksum of each batch, which our own download has written down; ``None`` without one."""
        record = self.folder / VERIFIED
        if not record.is_file():
            return None
        try:
            return dict(json.loads(read_text(record))["files"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"{record} is not a record of a verified download; delete it.") from error


class PythonLayout(BinaryLayout):
    """``cifar-10-batches-py``: pickled dictionaries, which are read and never unpickled."""

    meta = "batches.meta"
    suffix = ""

    def read_tables(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        content = _described(path)
        data, labels = _table(content.get("data")), content.get("labels")
        if data is None:
            raise DataError(f"{path} holds no uint8 table of {RECORDS:,} x 3,072 pixels: it is corrupt.")
        if type(labels) is not list or len(labels) != RECORDS or any(type(v) is not int for v in labels):
            raise DataError(f"{path} holds no list of {RECORDS:,} labels: it is corrupt.")
        return data, np.array(labels)

    def read_names(self, path: Path) -> list[str]:
        names = _described(path).get("label_names")
        words = [as_bytes(name) for name in names] if type(names) is list else []
        texts = [word.decode("utf-8", "replace") if type(word) is bytes else word for word in words]
        return texts if all(type(text) is str for text in texts) else []

    def sums(self) -> dict[str, str]:
        return PYTHON_MD5


def layouts(root: Path) -> tuple[BinaryLayout, BinaryLayout]:
    """Both layouts under ``root``, the one without pickles first."""
    return BinaryLayout(root / "cifar-10-batches-bin"), PythonLayout(root / "cifar-10-batches-py")


_NAMES = frozenset(
    {"_codecs.encode", "numpy.dtype", "numpy.ndarray"}
    | {f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")}
    | {f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")}
)
"""All that a pickled array of NumPy names; none of it is called."""


def _described(path: Path) -> dict[str, Any]:
    """The content of a pickled dictionary, in which a :class:`~tosc_env.data.plain_pickle.Call` stands for an array."""
    try:
        with told_as(DataError, f"cannot read {path}"):
            if path.stat().st_size > _MOST_BYTES:
                raise ValueError("it is longer than any")
            content = read_pickle(path.read_bytes(), _NAMES, opcodes=12 * RECORDS + 1000)
        if type(content) is not dict:
            raise ValueError("it holds no dictionary")
    except ValueError as error:
        raise DataError(f"{path} is not a CIFAR-10 batch: {phrase(error)}.") from error
    return content


def _table(described: object) -> np.ndarray | None:
    """The uint8 array [10000, 3072] that NumPy describes in a pickle; None where it is another one, or none."""
    match described:
        case Call(_, (Call("numpy.ndarray"), _, _), (1, shape, kind, False, data)):  # protocols 1 to 4
            data = as_bytes(data)
        case Call(_, (data, kind, shape, "C"), None):  # protocol 5
            pass
        case _:
            return None
    wanted = RECORDS, RECORD_BYTES - 1
    match kind:
        case Call("numpy.dtype", ("u1" | b"u1", _, _), (3, "|" | b"|", None, None, None, -1, -1, 0)):
            if shape == wanted and type(data) in (bytes, bytearray) and len(data) == math.prod(wanted):
                return np.frombuffer(data, dtype=np.uint8).reshape(wanted)
    return None

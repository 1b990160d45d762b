"""The two official file layouts of CIFAR-10, read without trusting the files."""

from __future__ import annotations

import json
import pickle
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tosc_env.data.digests import file_digest
from tosc_env.errors import DataError

RECORDS = 10_000  # images per batch file
RECORD_BYTES = 3073  # one label byte, then 1024 red, 1024 green and 1024 blue bytes
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


@dataclass(frozen=True)
class Layout(ABC):
    """A folder of six batch files: five for training, one for testing."""

    folder: Path

    def batch_names(self, split: str) -> tuple[str, ...]:
        return BATCHES[split]

    def missing(self) -> list[Path]:
        """The batch files that are not there."""
        names = self.batch_names("train") + self.batch_names("test")
        return [self.folder / name for name in names if not (self.folder / name).is_file()]

    @abstractmethod
    def read(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 [10000, 3, 32, 32] and labels int64 [10000] of one batch file."""

    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """The names of the ten classes, in the order of the labels."""

    def official(self) -> bool | None:
        """Whether every batch carries the official checksum; ``None`` where nothing tells."""
        record = self.folder / VERIFIED
        if not record.is_file():
            return None
        try:
            sums = json.loads(record.read_text(encoding="utf-8"))["files"]
            return all(
                file_digest(self.folder / name, "md5") == sums.get(name)
                for split in BATCHES
                for name in self.batch_names(split)
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{record} is not a record of a verified download; delete it.") from error

    def note(self) -> str:
        """The first line of PROVENANCE.txt beside the batches, or nothing."""
        path = self.folder / "PROVENANCE.txt"
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        return lines[0].strip().rstrip(".") if lines else ""


class BinaryLayout(Layout):
    """``cifar-10-batches-bin``: records of a label byte and 3,072 pixel bytes."""

    def batch_names(self, split: str) -> tuple[str, ...]:
        return tuple(f"{name}.bin" for name in BATCHES[split])

    def read(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        path = self.folder / name
        expected = RECORDS * RECORD_BYTES
        raw = np.fromfile(path, dtype=np.uint8)
        if raw.size != expected:
            raise DataError(
                f"{path} has {raw.size:,} bytes where {expected:,} are expected: it is truncated or corrupt."
            )
        table = raw.reshape(RECORDS, RECORD_BYTES)
        labels = table[:, 0].astype(np.int64)
        _check_labels(path, labels)
        return table[:, 1:].reshape(RECORDS, 3, 32, 32), labels

    def class_names(self) -> tuple[str, ...]:
        path = self.folder / "batches.meta.txt"
        if not path.is_file():
            raise DataError(f"{path} is missing; it names the ten classes.")
        return _ten(path, path.read_text(encoding="utf-8", errors="replace").split())


class PythonLayout(Layout):
    """``cifar-10-batches-py``: pickled dictionaries, of which only plain values are accepted."""

    def read(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        path = self.folder / name
        content = _unpickle(path)
        data, labels = content.get("data"), content.get("labels")
        if (
            not isinstance(data, np.ndarray)
            or data.dtype != np.uint8
            or data.shape != (RECORDS, RECORD_BYTES - 1)
        ):
            raise DataError(f"{path} holds no uint8 table of {RECORDS:,} x 3,072 pixels: it is corrupt.")
        whole = isinstance(labels, list) and len(labels) == RECORDS and all(type(v) is int for v in labels)
        if not whole:
            raise DataError(f"{path} holds no list of {RECORDS:,} labels: it is corrupt.")
        tags = np.array(labels)
        _check_labels(path, tags)
        return data.reshape(RECORDS, 3, 32, 32), tags.astype(np.int64)

    def class_names(self) -> tuple[str, ...]:
        path = self.folder / "batches.meta"
        if not path.is_file():
            raise DataError(f"{path} is missing; it names the ten classes.")
        names = _unpickle(path).get("label_names")
        return _ten(path, [_text(name) for name in names] if isinstance(names, list) else [])

    def official(self) -> bool | None:
        return all(file_digest(self.folder / name, "md5") == md5 for name, md5 in PYTHON_MD5.items())


def layouts(root: Path) -> tuple[Layout, Layout]:
    """Both layouts under ``root``, the one without pickles first."""
    return BinaryLayout(root / "cifar-10-batches-bin"), PythonLayout(root / "cifar-10-batches-py")


_PLAIN_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


class _PlainUnpickler(pickle.Unpickler):
    """Rebuilds containers, numbers, strings and NumPy arrays; refuses every other name a file asks for."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _PLAIN_NAMES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        # NumPy 2 moved the module; the old spelling still works but warns.
        return super().find_class(module.replace("numpy.core.", "numpy._core."), name)


def _unpickle(path: Path) -> dict[str, object]:
    try:
        with open(path, "rb") as file:
            content = _PlainUnpickler(file, encoding="bytes").load()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}.") from error
    except (
        Exception
    ) as error:  # a damaged pickle raises almost anything: EOFError, ValueError, IndexError, ...
        raise DataError(f"{path} is not a CIFAR-10 batch: {str(error) or type(error).__name__}.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is not a CIFAR-10 batch: it holds no dictionary.")
    return {_text(key): value for key, value in content.items()}


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _check_labels(path: Path, labels: np.ndarray) -> None:
    wrong = labels[(labels < 0) | (labels > 9)]
    if wrong.size:
        raise DataError(f"{path} holds the label {wrong[0]} where 0..9 are expected: it is corrupt.")


def _ten(path: Path, names: list[str]) -> tuple[str, ...]:
    if len(set(names)) != 10 or len(names) != 10:
        raise DataError(f"{path} names {len(names)} classes where ten different ones are expected.")
    return tuple(names)

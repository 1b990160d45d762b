"""Laws of the CIFAR-10 reader, on tiny files in the two official layouts."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import refused

from tosc_env.data import cifar10, data_set, make_source
from tosc_env.data.files import file_digest
from tosc_env.errors import DataError

RECORDS = 20
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
BATCHES = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]


@pytest.fixture(autouse=True)
def tiny_batches(monkeypatch, tmp_path):
    monkeypatch.setattr(cifar10, "RECORDS", RECORDS)
    monkeypatch.setenv("TOSC_DATA_DIR", str(tmp_path))


def content(number: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    return rng.integers(0, 256, (RECORDS, 3072), dtype=np.uint8), rng.integers(0, 10, RECORDS)


def write_binary(root: Path) -> Path:
    folder = root / "cifar-10-batches-bin"
    folder.mkdir()
    for number, name in enumerate(BATCHES):
        data, labels = content(number)
        table = np.concatenate([labels[:, None].astype(np.uint8), data], axis=1)
        (folder / f"{name}.bin").write_bytes(table.tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n\n")
    return folder


def write_python(root: Path, keys_as_bytes: bool = True, protocol: int = 4) -> Path:
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    code = (lambda text: text.encode()) if keys_as_bytes else str
    for number, name in enumerate(BATCHES):
        data, labels = content(number)
        files = [code(f"{i}.png") for i in range(RECORDS)]
        batch = {code("data"): data, code("labels"): labels.tolist(), code("filenames"): files}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=protocol))
    meta = {code("label_names"): [code(name) for name in CLASSES]}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=protocol))
    return folder


def test_the_binary_layout_is_read_in_the_official_order(tmp_path):
    write_binary(tmp_path)
    train, test = make_source("cifar10"), make_source("cifar10", split="test")
    assert (len(train), len(test)) == (5 * RECORDS, RECORDS)
    assert train.class_names == tuple(CLASSES)
    data, labels = content(2)  # the third batch
    part = slice(2 * RECORDS, 3 * RECORDS)
    assert torch.equal(train.images[part], torch.from_numpy(data.reshape(-1, 3, 32, 32)))
    assert train.labels[part].tolist() == labels.tolist()
    assert test.statistics.mean_image_mse == train.statistics.mean_image_mse


@pytest.mark.parametrize(
    ("keys_as_bytes", "protocol"), [(True, 1), (True, 2), (False, 2), (True, 4), (False, 5)]
)
def test_both_layouts_give_the_same_images(tmp_path, keys_as_bytes, protocol):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    write_binary(tmp_path / "a")
    write_python(tmp_path / "b", keys_as_bytes, protocol)
    for split in ("train", "test"):
        first = make_source("cifar10", split=split, root=tmp_path / "a")
        second = make_source("cifar10", split=split, root=tmp_path / "b")
        assert torch.equal(first.images, second.images)
        assert torch.equal(first.labels, second.labels)
        assert first.class_names == second.class_names


def test_a_file_written_by_python_2_is_read(tmp_path):
    """The official files name NumPy 1's modules and hold Python 2 strings."""
    folder = write_python(tmp_path)
    data, labels = content(5)
    old = b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04"
    old += b"K\x00\x85U\x01b\x87R"
    shape = b"(K\x01K" + bytes([RECORDS]) + b"M" + (3072).to_bytes(2, "little") + b"\x86"
    kind = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    pixels = b"\x89T" + data.size.to_bytes(4, "little") + data.tobytes() + b"tb"
    numbers = b"U\x06labels](" + b"".join(b"K" + bytes([v]) for v in labels) + b"eu."
    (folder / "test_batch").write_bytes(old + shape + kind + pixels + numbers)
    source = make_source("cifar10", split="test")
    assert torch.equal(source.images.flatten(1), torch.from_numpy(data))
    assert source.labels.tolist() == labels.tolist()


def test_a_complete_layout_is_preferred_to_a_partial_one(tmp_path):
    (write_binary(tmp_path) / "test_batch.bin").unlink()
    write_python(tmp_path)
    assert "cifar-10-batches-py" in make_source("cifar10").provenance


def test_what_is_missing_or_damaged_in_the_binary_layout_is_named(tmp_path):
    assert not data_set("cifar10").is_available()
    with refused(f"{tmp_path} TOSC_DATA_DIR tosc data get cifar10", DataError):
        make_source("cifar10")
    path = write_binary(tmp_path) / "test_batch.bin"
    raw = path.read_bytes()
    for content in (raw[:-1], raw + b"0", b""):
        path.write_bytes(content)
        with refused(f"test_batch.bin {len(content):,} 61,460", DataError):
            make_source("cifar10", split="test")
    os.truncate(path, 2**40)  # with a hole, which takes no room
    with refused(f"test_batch.bin {2**40:,} 61,460", DataError):
        make_source("cifar10", split="test")
    path.write_bytes(b"\x0b" + raw[1:])
    with refused("test_batch.bin 11 0..9", DataError):
        make_source("cifar10", split="test")
    path.write_bytes(raw)
    for name in ("batches.meta.txt", "VERIFIED.json", "PROVENANCE.txt"):
        (path.parent / name).touch()
        os.truncate(path.parent / name, 2**40)
        with refused(f"{name} bytes", DataError):
            assert make_source("cifar10", split="test").provenance
        (path.parent / name).write_text(" ".join(CLASSES))
        if name != "batches.meta.txt":
            (path.parent / name).unlink()
    path.unlink()
    with refused("test_batch.bin", DataError):
        make_source("cifar10")


def test_a_damaged_pickle_is_named(tmp_path):
    path = write_python(tmp_path) / "test_batch"
    images = np.zeros((RECORDS, 3072), np.uint8)
    for raw in (
        b"",
        b"not a pickle",
        path.read_bytes()[:1000],
        pickle.dumps([1, 2]),
        pickle.dumps({b"data": images[:3], b"labels": [0] * 3}),
        pickle.dumps({b"data": images, b"labels": ["0"] * RECORDS}),
        pickle.dumps({b"data": images, b"labels": [10] * RECORDS}),
    ):
        path.write_bytes(raw)
        with refused("test_batch", DataError):
            make_source("cifar10", split="test")


class Malice:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_that_asks_for_code_runs_none(tmp_path):
    folder = write_python(tmp_path)
    (folder / "data_batch_1").write_bytes(pickle.dumps({b"data": Malice(tmp_path / "owned")}))
    with refused("mkdir", DataError):
        make_source("cifar10")
    assert not (tmp_path / "owned").exists()


def member(name, content=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, io.BytesIO(content)


HOSTILE = {
    "a path that leaves": member("../owned", b"x"),
    "an absolute path": member("/tmp/owned-by-a-tar", b"x"),
    "a link": member("cifar-10-batches-bin/a", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "a hard link": member("cifar-10-batches-bin/a", type=tarfile.LNKTYPE, linkname="../../../etc/passwd"),
    "a device": member("cifar-10-batches-bin/a", type=tarfile.CHRTYPE, devmajor=1, devminor=5),
    "a pipe": member("cifar-10-batches-bin/a", type=tarfile.FIFOTYPE),
    "a file with holes": member("cifar-10-batches-bin/a", type=tarfile.GNUTYPE_SPARSE),
    "an archive within": member("cifar-10-batches-bin/a.tar.gz", bytes(200_000)),
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_an_archive_that_is_not_the_release_leaves_nothing(tmp_path, hostile):
    (tmp_path / "root").mkdir()
    archive = tmp_path / "root" / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(*hostile)
    layout = cifar10.BinaryLayout(tmp_path / "root" / "cifar-10-batches-bin")
    with pytest.raises(DataError) as caught:
        cifar10._unpack(archive, layout, {"url": "somewhere"})
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [archive]
    assert not Path("/tmp/owned-by-a-tar").exists()


@pytest.mark.parametrize("cut", [0, 10, 60, -8])
def test_a_cut_archive_leaves_nothing(tmp_path, cut):
    archive = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(*member("cifar-10-batches-bin/a", os.urandom(5000)))
    archive.write_bytes(archive.read_bytes()[:cut])
    with pytest.raises(DataError):
        cifar10._unpack(
            archive, cifar10.BinaryLayout(tmp_path / "cifar-10-batches-bin"), {"url": "somewhere"}
        )
    assert list(tmp_path.iterdir()) == [archive]


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize(
    "change",
    [
        (b"K\x00t\x94b", b"K\x3ft\x94b"),  # bytes that are addresses of objects
        (b"\x8c\x02u1", b"\x8c\x02O8"),
        (b"J\xff\xff\xff\xffJ\xff\xff\xff\xff", b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f"),  # huge items
        (b"NNN", b"NN}"),
    ],
    ids=["objects", "object type", "huge", "fields"],
)
def test_an_array_of_another_kind_is_refused_and_touches_no_memory(tmp_path, protocol, change):
    """Such a dtype, rebuilt by NumPy, reads and writes at addresses of a stranger's choice."""
    path = write_python(tmp_path, protocol=protocol) / "data_batch_1"
    raw = path.read_bytes()
    path.write_bytes(raw.replace(*change, 1))
    assert path.read_bytes() != raw
    with pytest.raises(DataError, match=r"data_batch_1 (holds no uint8 table|is not a CIFAR-10 batch)"):
        make_source("cifar10")


def test_a_pickle_that_claims_a_large_table_is_refused(tmp_path):
    folder = write_python(tmp_path)
    (folder / "test_batch").write_bytes(b"\x80\x04" + b"\x8e" + (2**60).to_bytes(8, "little") + b"x")
    with pytest.raises(DataError, match="test_batch is not a CIFAR-10 batch"):
        make_source("cifar10", split="test")
    os.truncate(folder / "test_batch", 2**30)  # with a hole, which takes no room
    with pytest.raises(DataError, match="longer than any"):
        make_source("cifar10", split="test")


def test_a_changed_file_is_read_again(tmp_path):
    path = write_binary(tmp_path) / "test_batch.bin"
    before = make_source("cifar10", split="test").images.clone()
    assert make_source("cifar10", split="test")._images.data_ptr() == (
        make_source("cifar10", split="test")._images.data_ptr()
    )
    path.write_bytes((path.parent / "data_batch_1.bin").read_bytes())
    os.utime(path, ns=(1, 1))
    assert not torch.equal(make_source("cifar10", split="test").images, before)


def test_provenance_tells_official_files_from_others(tmp_path, monkeypatch):
    folder = write_python(tmp_path)
    assert "do not carry the official checksums" in make_source("cifar10").provenance
    sums = {name: file_digest(folder / name, "md5") for name in BATCHES}
    monkeypatch.setattr(cifar10, "PYTHON_MD5", sums)
    assert "files carry the official checksums" in make_source("cifar10").provenance
    (folder / "PROVENANCE.txt").write_text("Decoded from a mirror.\nMore.\n")
    assert 'PROVENANCE.txt beside them says: "Decoded from a mirror".' in make_source("cifar10").provenance
    (folder / "PROVENANCE.txt").write_text("\x1b[31mred \u202e" + "x" * 10_000)
    told = make_source("cifar10").provenance
    assert "\x1b" not in told and "\u202e" not in told and len(told) < 1300


def test_a_record_of_a_download_vouches_only_for_the_files_it_lists(tmp_path):
    folder = write_binary(tmp_path)
    assert "not checked against the official checksums" in make_source("cifar10").provenance
    sums = {f"{name}.bin": file_digest(folder / f"{name}.bin", "md5") for name in BATCHES}
    (folder / "VERIFIED.json").write_text(json.dumps({"files": sums}))
    assert "files carry the official checksums" in make_source("cifar10").provenance
    (folder / "data_batch_1.bin").write_bytes((folder / "data_batch_2.bin").read_bytes())
    assert "do not carry the official checksums" in make_source("cifar10").provenance
    (folder / "VERIFIED.json").write_text("[]")
    with refused("VERIFIED", DataError):
        _ = make_source("cifar10").provenance

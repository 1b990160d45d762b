"""Laws of downloading, against a web server on this machine that can stop, ignore ranges and lie."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from refusals import refused

from tosc_env.data import celeba, cifar10, download, make_source
from tosc_env.data.download import fetch, status
from tosc_env.errors import DataError

RECORDS = 30
FOLDER = "cifar-10-batches-bin"


def archive(names: list[str] | None = None, folder: str = FOLDER) -> bytes:
    wanted = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin", "batches.meta.txt"]
    rng = np.random.default_rng(0)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name in wanted if names is None else names:
            table = rng.integers(0, 256, (RECORDS, 3073), dtype=np.uint8)
            table[:, 0] %= 10
            raw = "\n".join("abcdefghij").encode() if name.endswith("txt") else table.tobytes()
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    return packed.getvalue()


class Server:
    """A server of ``body``; it closes the connection after ``stop_after`` bytes, and may ignore ranges."""

    def __init__(self) -> None:
        self.body, self.stop_after, self.ranges, self.status = b"", None, True, None
        self.asked: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/file"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        self.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        if self.status or start >= len(self.body):
            handler.send_response(self.status or 416)
            handler.end_headers()
            return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.body) - 1}/{len(self.body)}")
        handler.send_header("Content-Length", str(len(self.body) - start))
        handler.end_headers()
        handler.wfile.write(self.body[start : self.stop_after])


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    running = Server()
    yield running
    running.http.shutdown()
    running.http.server_close()


@pytest.fixture
def cifar(server, monkeypatch, tmp_path):
    server.body = archive()
    monkeypatch.setattr(cifar10, "RECORDS", RECORDS)
    monkeypatch.setattr(cifar10.CIFAR10, "md5", hashlib.md5(server.body).hexdigest())
    monkeypatch.setattr(cifar10.CIFAR10, "url", server.url)
    monkeypatch.setenv("TOSC_DATA_DIR", str(tmp_path))
    return server


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("progress", [False, True])
def test_a_fetched_set_is_read_and_known_to_be_official(cifar, tmp_path, progress):
    assert fetch("cifar10", progress=progress) == tmp_path / FOLDER
    assert left_in(tmp_path) == [FOLDER]
    source = make_source("cifar10")
    assert len(source) == 5 * RECORDS
    assert "files carry the official checksums" in source.provenance
    fetch("cifar10", progress=False)
    assert len(cifar.asked) == 1, "fetching again asks nobody"


def test_an_interrupted_download_continues_where_it_stopped(cifar, tmp_path):
    cifar.stop_after = 200_000
    with refused("stopped", DataError):
        fetch("cifar10", progress=False)
    assert left_in(tmp_path) == ["cifar-10-binary.tar.gz.part"]
    have = (tmp_path / "cifar-10-binary.tar.gz.part").stat().st_size
    cifar.stop_after = None
    fetch("cifar10", progress=False)
    assert cifar.asked == [None, f"bytes={have}-"]
    assert 100_000 < have <= 200_000
    assert left_in(tmp_path) == [FOLDER]


@pytest.mark.parametrize("start", [0, 700])
def test_wrong_content_is_deleted_and_named(cifar, tmp_path, start):
    if start:
        (tmp_path / "cifar-10-binary.tar.gz.part").write_bytes(b"x" * start)
    cifar.body = cifar.body[:-1] + b"x"
    with refused("md5:", DataError):
        fetch("cifar10", progress=False)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (archive(["test_batch.bin"]), "data_batch_1"),
        (archive(folder="../outside"), "unpacked"),
        (b"no archive", "unpacked"),
        (archive()[:5000], "unpacked"),
    ],
)
def test_an_archive_of_something_else_leaves_no_data_set(cifar, tmp_path, monkeypatch, body, words):
    cifar.body = body
    monkeypatch.setattr(cifar10.CIFAR10, "md5", hashlib.md5(body).hexdigest())
    with refused(words, DataError):
        fetch("cifar10", root=tmp_path / "root", progress=False)
    assert left_in(tmp_path) == ["root"]
    assert left_in(tmp_path / "root") == ["cifar-10-binary.tar.gz"]


def test_weights_are_checked_by_the_digits_in_their_name(server, tmp_path, monkeypatch):
    server.body = b"weights"
    with refused("sha256:397923af", DataError):
        fetch("vgg", root=tmp_path, url=server.url, progress=False)
    assert left_in(tmp_path) == []
    monkeypatch.setattr(download, "VGG_SHA256", hashlib.sha256(b"weights").hexdigest()[:8])
    path = fetch("vgg", root=tmp_path, url=server.url, progress=False)
    assert path.read_bytes() == b"weights"
    assert left_in(tmp_path) == ["vgg16-397923af.pth"]


def test_celeba_is_explained_and_verified_once_it_is_there(tmp_path, monkeypatch):
    with pytest.raises(
        DataError,
        match=r"place list_attr_celeba.txt and list_eval_partition.txt of .* unpack img_align_celeba.zip there",
    ) as caught:
        fetch("celeba", root=tmp_path)
    assert str(tmp_path / "celeba") in str(caught.value)
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    sums = {}
    for name in ("list_attr_celeba.txt", "list_eval_partition.txt"):
        (folder / name).write_text(name)
        sums[name] = hashlib.md5(name.encode()).hexdigest()
    with refused("75e246fa4810816ffd6ee81facbd2244", DataError):
        fetch("celeba", root=tmp_path)
    monkeypatch.setattr(celeba, "OFFICIAL_MD5", celeba.OFFICIAL_MD5 | sums)
    assert fetch("celeba", root=tmp_path) == folder


def test_what_was_left_by_an_earlier_download_is_used_or_fetched_again(cifar, tmp_path):
    for name, left, ranges in (
        ("cifar-10-binary.tar.gz.part", cifar.body[:500], False),  # a server without ranges: from the start
        ("cifar-10-binary.tar.gz.part", cifar.body, True),
        ("cifar-10-binary.tar.gz", b"damaged", True),
    ):
        root = tmp_path / f"{len(left)} bytes"
        root.mkdir()
        (root / name).write_bytes(left)
        cifar.ranges = ranges
        fetch("cifar10", root=root, progress=False)
        assert left_in(root) == [FOLDER]


def test_what_cannot_be_fetched_is_refused(cifar, tmp_path):
    with refused("'cifar' 'cifar10'"):
        fetch("cifar", root=tmp_path)
    with refused("url celeba"):
        fetch("celeba", root=tmp_path, url="http://127.0.0.1/")
    (tmp_path / "file").write_text("")
    with refused("file", OSError):
        fetch("cifar10", root=tmp_path / "file" / "data", progress=False)
    (tmp_path / "root" / FOLDER).mkdir(parents=True)
    with refused("data_batch_1.bin", DataError):  # an incomplete folder of the user's own
        fetch("cifar10", root=tmp_path / "root", progress=False)
    assert cifar.asked == []
    cifar.status = 503
    with refused("503", DataError):
        fetch("cifar10", progress=False)
    cifar.http.server_close()
    with refused("0 bytes", DataError):
        fetch("cifar10", progress=False)
    assert left_in(tmp_path) == ["file", "root"]


def test_status_tells_what_is_here(cifar, tmp_path):
    before = {row["name"]: row for row in status()}
    assert (before["shapes"]["present"], before["cifar10"]["present"]) == (True, False)
    assert before["cifar10"]["how"] == "tosc data get cifar10"
    fetch("cifar10", progress=False)
    after = {row["name"]: row for row in status()}["cifar10"]
    assert (after["present"], after["images"], after["official"]) == (True, 6 * RECORDS, "yes")
    assert after["where"] == str(tmp_path / FOLDER)


@pytest.mark.parametrize(
    "head",
    [
        b"200 OK\r\nContent-Length: \xb2",  # a digit to str.isdigit, and to no int
        b"200 OK\r\nContent-Length: " + b"9" * 5000,
        b"206 Partial\r\nContent-Range: bytes " + b"9" * 5000 + b"-9/9",
        b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5",
        b"302 Found\r\nLocation: http://[::1",
        b"302 Found\r\nLocation: http://\xff\xfe/",
    ],
)
def test_an_answer_that_is_none_is_one_sentence(cifar, tmp_path, head):
    def answer(handler):
        handler.wfile.write(b"HTTP/1.1 " + head + b"\r\n\r\nabc")

    cifar.answer = answer
    with refused("the download of run the same command again", DataError):
        fetch("cifar10", progress=False)
    assert not [name for name in left_in(tmp_path) if not name.endswith(".part")]

"""Getting the data sets, when asked and only then."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

from tosc_env.data.celeba_files import ATTRIBUTE_FILE, OFFICIAL_MD5, PARTITION_FILE
from tosc_env.data.cifar10_files import VERIFIED, BinaryLayout
from tosc_env.data.digests import file_digest
from tosc_env.data.inventory import VGG_FILE, VGG_SHA256, status
from tosc_env.data.root import data_root
from tosc_env.data.transfer import retrieve
from tosc_env.errors import DataError, InputError, unknown
from tosc_env.io.files import WriteError

__all__ = ["fetch", "status"]

CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR10_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
VGG_URL = "https://download.pytorch.org/models/vgg16-397923af.pth"


def fetch(
    name: str,
    root: str | os.PathLike[str] | None = None,
    url: str | None = None,
    progress: bool = True,
) -> Path:
    """Get a data set (or VGG-16's weights) from its official home, checked; gives where it lies.

    Does nothing where it is there already. A download that is interrupted continues when called again.

    Args:
        name: ``"cifar10"``, ``"vgg"`` or ``"celeba"``. CelebA's owners distribute it through a browser only:
            the error says which files to place where; once they are there, their checksums are verified.
        root: the data root; ``None`` for the usual one.
        url: a mirror of the same file, which must carry the official checksum.
        progress: show a bar on stderr.

    Raises:
        InputError: an unknown name.
        DataError: the download failed, its content is wrong, or (CelebA) it must be got by hand.
        WriteError: the data root cannot be written.
    """
    folder = data_root(root)
    if name == "celeba":
        if url is not None:
            raise InputError("celeba cannot be downloaded by a program, so it takes no url.")
        return _verify_celeba(folder)
    if name not in ("cifar10", "vgg"):
        raise unknown("download", name, ("cifar10", "vgg", "celeba"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"cannot write {folder}: {error.strerror or error}.") from error
    if name == "vgg":
        target = folder / VGG_FILE
        return retrieve(url or VGG_URL, target, f"sha256:{VGG_SHA256}", progress)
    return _fetch_cifar10(folder, url or CIFAR10_URL, progress)


def _fetch_cifar10(root: Path, url: str, progress: bool) -> Path:
    layout = BinaryLayout(root / "cifar-10-batches-bin")
    if layout.folder.exists():
        if layout.missing():
            raise DataError(
                f"{layout.folder} is there but lacks {layout.missing()[0].name}; move it away and run again."
            )
        return layout.folder
    archive = retrieve(url, root / "cifar-10-binary.tar.gz", f"md5:{CIFAR10_MD5}", progress)
    work = Path(tempfile.mkdtemp(prefix=".cifar10.", dir=root))
    try:
        # "data" refuses links, devices and paths that leave the folder.
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(work, filter="data")
        fresh = BinaryLayout(work / layout.folder.name)
        if fresh.missing():
            raise DataError(f"{url} holds no {layout.folder.name}/{fresh.missing()[0].name}.")
        record = {
            "archive": archive.name,
            "md5": CIFAR10_MD5,
            "url": url,
            "files": {
                path.name: file_digest(path, "md5")
                for path in sorted(fresh.folder.iterdir())
                if path.is_file()
            },
        }
        (fresh.folder / VERIFIED).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        os.replace(fresh.folder, layout.folder)
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{archive} cannot be unpacked: {error}.") from error
    except OSError as error:
        if isinstance(error, DataError):
            raise
        raise WriteError(f"cannot unpack {archive}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    archive.unlink()
    return layout.folder


def _verify_celeba(root: Path) -> Path:
    folder = root / "celeba"
    wanted = (ATTRIBUTE_FILE, PARTITION_FILE)
    images = folder / "img_align_celeba"
    gone = [name for name in wanted if not (folder / name).is_file()]
    if gone or not images.is_dir():
        sums = ", ".join(f"{name} (MD5 {md5})" for name, md5 in OFFICIAL_MD5.items())
        raise DataError(
            "CelebA is for non-commercial research and its owners distribute it through a browser only: get "
            f"from its home page, mmlab.ie.cuhk.edu.hk/projects/CelebA.html, {sums}; place the two lists in "
            f"{folder} and unpack the archive there, so that {images} holds the JPEG files."
        )
    # The archive itself is checked where the user kept it beside the folder it was unpacked to.
    archive = "img_align_celeba.zip"
    present = [*wanted, archive] if (folder / archive).is_file() else list(wanted)
    for name in present:
        found = file_digest(folder / name, "md5")
        if found != OFFICIAL_MD5[name]:
            raise DataError(
                f"{folder / name} has the MD5 {found}, not the official {OFFICIAL_MD5[name]}; it can be "
                f"used as it is, and results will say so."
            )
    return folder

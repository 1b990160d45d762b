"""Folders of images: every picture that people have is read as it is seen, or refused by name; memory stays bounded."""

from __future__ import annotations

import io
import os
import struct
import tempfile
import threading
import time
import warnings
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from bounded import run_bounded
from PIL import Image

from tosc_env.data import make_source, pictures
from tosc_env.data.handed import as_source
from tosc_env.data.pictures import decode
from tosc_env.errors import DataError, InputError

STREAM = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    return STREAM.integers(0, 256, shape, dtype=np.uint8)


def a_folder(root, classes=("cat", "dog"), count=10, shape=(9, 13, 3)):
    """Classes of noise images; gives the pixels by file."""
    pixels = {}
    for name in classes:
        (root / name).mkdir(parents=True)
        for i in range(count):
            file = root / name / f"{i:02}.png"
            pixels[file] = noise(*shape)
            Image.fromarray(pixels[file]).save(file)
    return pixels


def load(root, **options):
    return make_source("folder", path=root, **options)


def as_rows(images) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def one_sentence(caught) -> str:
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".")
    return text


# -- what is read -----------------------------------------------------------------------------------


def test_every_image_is_in_one_split_with_its_class(tmp_path):
    pixels = a_folder(tmp_path)
    train, test = load(tmp_path), load(tmp_path, split="test")
    assert (len(train), len(test), train.image_shape) == (16, 4, (3, 9, 13))
    assert train.class_names == test.class_names == ("cat", "dog")
    assert torch.bincount(train.labels).tolist() == [8, 8] and torch.bincount(test.labels).tolist() == [2, 2]
    known = {image.transpose(2, 0, 1).tobytes(): file.parent.name for file, image in pixels.items()}
    for source in (train, test):
        for image, label in zip(source.images, source.labels, strict=True):
            assert known.pop(image.numpy().tobytes()) == source.class_names[label]
    assert not known
    assert torch.equal(test.statistics.mean_image, train.statistics.mean_image)


def test_folders_train_and_test_are_the_splits(tmp_path):
    pixels = a_folder(tmp_path / "train") | a_folder(tmp_path / "test", ("dog",), 3)
    train, test = load(tmp_path), load(tmp_path, split="test")
    assert (len(train), len(test), test.labels.tolist()) == (20, 3, [1, 1, 1])
    wanted = {image.transpose(2, 0, 1).tobytes() for f, image in pixels.items() if "test" in f.parts[-3]}
    assert as_rows(test.images) == wanted
    (tmp_path / "test" / "ox").mkdir()
    Image.fromarray(noise(9, 13, 3)).save(tmp_path / "test" / "ox" / "1.png")
    with pytest.raises(DataError, match="'ox' in test and not in train"):
        load(tmp_path, split="test")


def test_halves_have_half_of_every_class_although_folders_are_sorted(tmp_path):
    a_folder(tmp_path / "train", ("a", "b", "c"), 7, (8, 8))
    whole = load(tmp_path)
    system, attacker = load(tmp_path, half="system"), load(tmp_path, half="attacker")
    assert (len(system), len(attacker)) == (10, 11)
    assert system._images.data_ptr() == whole._images.data_ptr()  # no copy: they lie in that order
    for half in (system, attacker):
        assert set(torch.bincount(half.labels).tolist()) <= {3, 4}


def test_the_order_depends_on_names_alone(tmp_path):
    a_folder(tmp_path / "one")
    for file in sorted((tmp_path / "one").rglob("*.png"), reverse=True):
        copy = tmp_path / "two" / file.relative_to(tmp_path / "one")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    assert torch.equal(load(tmp_path / "one").images, load(tmp_path / "two").images)


@pytest.mark.parametrize("shape", [(28, 28), (96, 96, 3), (9, 13, 3), (96, 64)])
def test_any_size_is_read_as_it_is(tmp_path, shape):
    a_folder(tmp_path / "train", count=2, shape=shape)
    assert load(tmp_path).image_shape == (1 if len(shape) == 2 else 3, *shape[:2])


def test_one_class_two_images_and_a_class_with_one_image(tmp_path):
    a_folder(tmp_path / "one" / "train", ("only",), 2, (8, 8))
    assert load(tmp_path / "one", half="system").labels.tolist() == [0]
    a_folder(tmp_path / "two" / "train", ("few",), 1, (8, 8))
    a_folder(tmp_path / "two" / "train", ("many",), 4, (8, 8))
    with pytest.warns(UserWarning, match=r"half of folder has no image of 1 of its classes \('few'\)"):
        for half in ("system", "attacker"):
            load(tmp_path / "two", half=half)
    with pytest.raises(DataError, match="no test images: a class needs 5"):
        load(a_plain_folder(tmp_path / "three"), split="test")


def a_plain_folder(root):
    a_folder(root, count=2, shape=(8, 8))
    return root


def test_a_large_table_lies_in_a_file_that_nobody_finds(tmp_path, monkeypatch):
    a_folder(tmp_path / "in" / "train", count=3)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(pictures, "_IN_MEMORY", 0)
    images, _ = pictures.read_table(
        6, lambda i: np.full((3, 9, 13), i, np.uint8), str, skip_broken=False, threads=2
    )
    assert isinstance(images, np.memmap) and images[:, 0, 0, 0].tolist() == list(range(6))
    source = load(tmp_path / "in")
    assert (
        len(source) == 6 and source.statistics.mean_image_mse > 0 and not list((tmp_path / "tmp").iterdir())
    )


def test_names_of_any_alphabet(tmp_path):
    a_folder(tmp_path / "train", ("кошка", "犬", "é"), 2, (8, 8))
    assert load(tmp_path).class_names == ("é", "кошка", "犬")


def test_a_size_cuts_the_largest_centred_part_and_resizes_it(tmp_path):
    (tmp_path / "train" / "a").mkdir(parents=True)
    image = np.zeros((8, 24, 3), np.uint8)
    image[:, 8:16] = 200  # the centred square
    for i, factor in enumerate((1, 3)):
        Image.fromarray(image.repeat(factor, 0).repeat(factor, 1)).save(tmp_path / "train" / "a" / f"{i}.png")
    with pytest.raises(InputError, match=r"3x8x24 and .* is 3x24x72|3x24x72 and .* is 3x8x24") as caught:
        load(tmp_path)
    assert "size=" in one_sentence(caught)
    assert load(tmp_path, size=8).images.unique().tolist() == [200]
    assert load(tmp_path, size=[16, 8]).image_shape == (3, 16, 8)


# -- kinds of pictures ------------------------------------------------------------------------------


def opened(image: Image.Image, kind: str, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return Image.open(file)


def test_pictures_become_what_is_seen():
    colour, grey = noise(8, 9, 3), noise(8, 9)
    alpha = np.full((8, 9), 255, np.uint8)
    alpha[0, 0] = 0
    on_white = colour.copy()
    on_white[0, 0] = 255
    palette = Image.fromarray(colour).quantize(16)
    deep = (grey.astype(np.uint16) << 8) + 200
    cases = [
        (opened(Image.fromarray(colour), "PNG"), colour),
        (opened(Image.fromarray(np.dstack([colour, alpha])), "PNG"), on_white),
        (opened(palette, "PNG"), np.asarray(palette.convert("RGB"))),
        (opened(palette, "GIF"), np.asarray(palette.convert("RGB"))),
        (opened(Image.fromarray(grey), "PNG"), grey),
        (opened(Image.fromarray(deep), "PNG"), grey),
        (opened(Image.fromarray(grey > 99), "PNG"), 255 * (grey > 99)),
    ]
    for picture, wanted in cases:
        pixels = decode(picture, None, None)
        wanted = wanted[None] if wanted.ndim == 2 else wanted.transpose(2, 0, 1)
        assert pixels.dtype == np.uint8 and np.array_equal(pixels, wanted), picture.mode


def test_cmyk_is_colour_and_a_camera_held_sideways_is_turned():
    cmyk = opened(Image.new("CMYK", (9, 8), (0, 255, 255, 0)), "JPEG")
    assert np.abs(decode(cmyk, None, None).mean((1, 2)) - (254, 0, 0)).max() < 4
    image = Image.fromarray(noise(8, 16, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(opened(image, "JPEG", exif=exif), None, None).shape == (3, 16, 8)


def test_pixels_without_a_range_are_refused():
    with pytest.raises(ValueError, match="range of its values"):
        decode(Image.fromarray(np.zeros((8, 8), np.float32)), None, None)


# -- what is broken, and what strangers make --------------------------------------------------------


def test_broken_files_are_counted_named_and_left_out_if_asked(tmp_path):
    pixels = a_folder(tmp_path / "train", count=10)
    for name in ("cat/03.png", "dog/07.png"):
        file = tmp_path / "train" / name
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(
        DataError, match=r"2 of 20 images cannot be read, the first being .*0[37]\.png \("
    ) as caught:
        load(tmp_path)
    assert "skip_broken=True" in one_sentence(caught)
    with pytest.warns(UserWarning, match="2 of 20 images cannot be read"):
        source = load(tmp_path, skip_broken=True)
    good = {p.transpose(2, 0, 1).tobytes() for f, p in pixels.items() if f.name not in ("03.png", "07.png")}
    assert len(source) == 18 and good <= as_rows(source.images)
    for half in ("system", "attacker"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            counts = torch.bincount(load(tmp_path, skip_broken=True, half=half).labels)
        assert (counts[0] - counts[1]).abs() <= 1


@pytest.mark.slow
def test_one_broken_file_among_ten_thousand(tmp_path):
    a_folder(tmp_path / "train", count=5_000, shape=(8, 8))
    (tmp_path / "train" / "cat" / "77.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 of 10,000 images cannot be read, the first being .*77\.png"):
        load(tmp_path)
    with pytest.warns(UserWarning, match=r"1 of 10,000"):
        assert len(load(tmp_path, skip_broken=True)) == 9_999


def test_archives_are_to_be_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("cat/1.png", b"")
    with pytest.raises(DataError, match=r"all\.zip is no folder \(unpack an archive first\)"):
        load(tmp_path / "all.zip")
    pixels = a_folder(tmp_path / "train", count=2)
    os.rename(tmp_path / "all.zip", tmp_path / "train" / "cat" / "more.zip")
    with pytest.warns(UserWarning, match=r"1 files .* left out, the first being .*more\.zip"):
        assert len(load(tmp_path)) == len(pixels)
    (tmp_path / "train" / "ox").mkdir()
    os.rename(tmp_path / "train" / "cat" / "more.zip", tmp_path / "train" / "ox" / "ox.zip")
    with pytest.raises(DataError, match=r"ox has no images .* holds .*ox\.zip"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"path": None}, "needs path="),
        ({"size": 4}, "from 8 to 1024"),
        ({"size": (8, 8, 8)}, r"a list of 2 whole numbers .*\[8, 8, 8\]"),
        ({"channels": 2}, "1 or 3 or None, not 2"),
        ({"channels": 4}, "1 or 3 or None, not 4"),
        ({"split": "valid"}, "'train' or 'test'"),
    ],
)
def test_options_out_of_range_are_refused(tmp_path, options, words):
    a_folder(tmp_path, count=5)
    with pytest.raises(InputError, match=words) as caught:
        make_source("folder", **{"path": tmp_path, **options})
    one_sentence(caught)


def test_a_folder_that_is_none_or_flat_is_refused(tmp_path):
    for path, words in ((tmp_path / "gone", "does not exist"), (tmp_path, "has no folders")):
        with pytest.raises(DataError, match=words):
            load(path)


def a_png(width: int, height: int, pixels: bytes = b"", kind: bytes = b"\x08\x02\x00\x00\x00") -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = chunk(b"IHDR", struct.pack(">II", width, height) + kind)
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def test_pictures_that_claim_more_than_they_have_are_refused_within_bounds(tmp_path):
    """Two kilobytes that claim 10^12 pixels, a gigabyte of text that is zeros, and what only seems to be a picture."""
    text = zlib.compress(bytes(2**28))
    gif = b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\x00\x00" + bytes(6) + b";"
    bmp = b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 10**6, 10**6, 1, 24, 0, 0, 0, 0, 0, 0)
    files = {
        "claims.png": a_png(10**6, 10**6),
        "edge.png": a_png(2**13, 2**13),
        "text.png": a_png(8, 8)[:33] + struct.pack(">I", len(text) + 3) + b"zTXta\0\0" + text + bytes(4),
        "claims.gif": gif,
        "claims.bmp": bmp,
        "claims.ppm": b"P6 1000000 1000000 255\n",
        "long.ppm": b"P6 " + b"9" * 100_000,
        "script.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) (w) file\n",
        "empty.webp": b"RIFF" + struct.pack("<I", 4) + b"WEBP",
        "cut.jpg": jpeg()[:200],
    }
    code = """
    from pathlib import Path
    for file in sorted(Path(sys.argv[1]).rglob("*.*")):
        alone = Path(sys.argv[2]) / file.name
        (alone / "train" / "a").mkdir(parents=True)
        file.rename(alone / "train" / "a" / file.name)
        print(file.name, sentence(lambda: handed.as_source(alone)))
    """
    (tmp_path / "in").mkdir()
    for name, content in files.items():
        assert len(content) < 2**19
        (tmp_path / "in" / name).write_bytes(content)
    told = run_bounded(code, tmp_path / "in", tmp_path / "out", megabytes=512)
    assert len(told) == len(files)
    for line in told:
        name, _, sentence = line.partition(" ")
        assert (
            sentence.startswith("DataError: 1 of 1 images cannot be read, the first being ")
            and name in sentence
        )


def test_a_table_beyond_the_bound_is_refused_once_its_first_picture_says_so():
    read = []
    with pytest.raises(
        InputError, match=r"1,000,000 images of 3x128x128 are 49,152,000,000 bytes, more than"
    ):
        pictures.read_table(
            10**6,
            lambda i: read.append(i) or np.zeros((3, 128, 128), np.uint8),
            str,
            skip_broken=False,
            threads=4,
        )
    assert read == [0]


def test_few_pictures_are_read_beyond_one_that_stops_the_work():
    read = []
    with pytest.raises(InputError, match="0 is 1x8x8 and 1 is 1x8x9"):
        pictures.read_table(
            1000,
            lambda i: read.append(i) or np.zeros((1, 8, 8 + i), np.uint8),
            str,
            skip_broken=False,
            threads=2,
        )
    assert len(read) <= 8


@pytest.mark.parametrize("threads", [1, 3])
def test_rows_are_those_that_can_be_read_in_their_order(threads):
    def read(i):
        if i in (0, 1, 5, 19):
            raise ValueError("broken")
        return np.full((1, 8, 8), i, np.uint8)

    with pytest.warns(UserWarning, match=r"4 of 20 images cannot be read, the first being 0 \(broken\)"):
        images, kept = pictures.read_table(20, read, str, skip_broken=True, threads=threads)
    assert images[:, 0, 0, 0].tolist() == kept == [i for i in range(20) if i not in (0, 1, 5, 19)]


def test_pictures_decoded_at_once_have_no_more_pixels_than_the_largest_alone():
    share, lock, now, most = pictures._Share(), threading.Lock(), [0], [0]

    def work(pixels):
        with share(pixels):
            with lock:
                now[0] += pixels
                most[0] = max(most[0], now[0])
            time.sleep(0.002)
            with lock:
                now[0] -= pixels

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [pictures._LARGEST // n for n in (3, 1, 2, 4, 2, 1, 3, 3) * 4]))
    assert pictures._LARGEST // 2 < most[0] <= pictures._LARGEST and now == [0]


def test_white_behind_a_tall_picture_is_the_same_in_every_row():
    layer = Image.fromarray(noise(150, 9, 4))
    whole = Image.new("RGBA", layer.size, "white")
    whole.alpha_composite(layer)
    wanted = np.asarray(whole.convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(decode(layer, None, None), wanted)


def jpeg() -> bytes:
    file = io.BytesIO()
    Image.fromarray(noise(64, 64, 3)).save(file, "JPEG")
    return file.getvalue()


FUZZ = """
import io, random, warnings
from PIL import Image
from tosc_env.data.pictures import decode
warnings.simplefilter("ignore")
stream, told = random.Random(0), [0, 0]
image = Image.effect_noise((24, 17), 90)
raws = []
for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "PPM"):
    file = io.BytesIO()
    image.convert("RGB" if kind in ("WEBP", "JPEG") else "L").save(file, kind)
    raws.append(file.getvalue())
for i in range(int(sys.argv[2])):
    content = bytearray(stream.choice(raws))
    for _ in range(stream.randint(1, 6)):
        content[stream.randrange(min(len(content), 200 if stream.random() < 0.7 else 10**6))] = stream.randrange(256)
    if stream.random() < 0.2:
        del content[stream.randrange(len(content)):]
    path = handed.os.path.join(sys.argv[1], "x")
    with open(path, "wb") as file:
        file.write(content)
    try:
        decode(cifar10.Path(path), 3, (8, 8))
        told[0] += 1
    except ValueError as error:
        told[1] += 1
print(*told)
"""


@pytest.mark.parametrize("count", [300, pytest.param(20_000, marks=pytest.mark.slow)])
def test_damaged_pictures_are_read_or_refused(tmp_path, count):
    read, refused = map(int, run_bounded(FUZZ, tmp_path, count, megabytes=1024)[0].split())
    assert read + refused == count and read and refused


def test_a_folder_as_a_source_has_no_third_split(tmp_path):
    with pytest.raises(InputError, match="'train' or 'test', not 'valid'"):
        as_source(tmp_path, split="valid")

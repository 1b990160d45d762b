"""Laws of the CelebA reader, on a handful of tiny JPEG files in the official layout."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import refused

from tosc_env.data import celeba, data_set, make_source
from tosc_env.errors import DataError

COUNT = 12
NAMES = ["Mustache", "Smiling", "Wavy_Hair"]
SIGNS = np.random.default_rng(0).choice([-1, 1], (COUNT, 3))
HEADER = b"\x93NUMPY\x01\x00\x80\x00{'descr': %-116b}\n"
PARTITION = [0] * 8 + [1] * 2 + [2] * 2


@pytest.fixture(autouse=True)
def faces(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TOSC_DATA_DIR", str(tmp_path))
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    for i in range(COUNT):
        # A face of one grey level within a white frame that the crop of 0.5 leaves out.
        pixels = np.full((218, 178, 3), 255, np.uint8)
        pixels[50:168, 40:138] = 10 * i
        Image.fromarray(pixels).save(folder / "img_align_celeba" / f"{i + 1:06}.jpg", quality=95)
    write_lists(folder)
    return folder


def write_lists(folder: Path, count: int = COUNT) -> None:
    rows = [f"{i + 1:06}.jpg " + " ".join(f"{v:2}" for v in SIGNS[i]) for i in range(COUNT)]
    (folder / "list_attr_celeba.txt").write_text("\n".join([str(count), " ".join(NAMES), *rows]) + "\n")
    parts = [f"{i + 1:06}.jpg {PARTITION[i]}" for i in range(COUNT)]
    (folder / "list_eval_partition.txt").write_text("\n".join(parts) + "\n")


def test_splits_attributes_and_shapes_follow_the_lists():
    for split, rows in (("train", slice(0, 8)), ("valid", slice(8, 10)), ("test", slice(10, 12))):
        source = make_source("celeba", split=split, size=16)
        assert source.images.shape == (len(range(COUNT)[rows]), 3, 16, 16)
        assert source.attributes.tolist() == (SIGNS[rows] == 1).astype(int).tolist()
    assert source.attribute_names == tuple(NAMES)
    assert source.attribute_values == (("absent", "present"),) * 3
    assert (source.class_names, source.labels.tolist()) == (("face",), [0, 0])


def test_the_crop_keeps_the_centre():
    inner = make_source("celeba", size=16, crop=0.5).images.float()
    levels = torch.arange(8)[:, None, None, None] * 10
    assert (inner - levels).abs().max() <= 3  # JPEG rounding
    outer = make_source("celeba", size=16, crop=1).images
    assert (outer[:, :, :, 0] > 240).all()
    assert (outer[:, :, 8, 8].float() - levels[:, :, 0, 0]).abs().max() <= 3


def test_chosen_attributes_come_in_the_order_asked():
    source = make_source("celeba", size=16, attributes=["Wavy_Hair", "Mustache"])
    assert source.attributes.tolist() == (SIGNS[:8, [2, 0]] == 1).astype(int).tolist()
    assert make_source("celeba", size=16, attributes="Smiling").attribute_names == ("Smiling",)
    assert len(make_source("celeba", size=16, half="attacker")) == 4


def test_an_image_that_was_replaced_under_its_name_is_decoded_again(faces):
    before = make_source("celeba", size=16)
    kept = before.images.clone()
    path = faces / "img_align_celeba" / "000003.jpg"
    Image.fromarray(np.full((218, 178, 3), 200, np.uint8)).save(path)
    later = time.time() + 10
    os.utime(path, (later, later))
    after = make_source("celeba", size=16)
    changed = [i for i in range(8) if not torch.equal(after.images[i], kept[i])]
    assert changed == [2] and after.sha256 != before.sha256


def test_images_are_decoded_once_into_a_cache_that_nobody_writes_to_and_whose_damage_is_named(
    tmp_path, monkeypatch
):
    first = make_source("celeba", size=16)
    kept = first.images.clone()
    first.images.fill_(3)
    monkeypatch.setattr(celeba, "decode_face", None)
    assert torch.equal(make_source("celeba", size=16).images, kept)
    (path,) = (tmp_path / "cache").iterdir()
    path.write_bytes(path.read_bytes()[:100])
    with refused(f"{path.name} delete", DataError):
        make_source("celeba", size=16)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\x05\x00{((((",
        b"\x93NUMPY\x09\x00\x05\x00{}   ",
        b"PK\x03\x04" + bytes(30),
        b"\x80\x04}.",
        HEADER % b"'|O', 'fortran_order': False, 'shape': (8, 3, 16, 16)",
        HEADER % b"'|u1', 'fortran_order': False, 'shape': (8, 3, 16, 16)",
        HEADER % b"'|u1', 'fortran_order': False, 'shape': (1000000000000, 3, 16, 16)",
        HEADER % b"'|u1', 'fortran_order': False, 'shape': (-8, 3, 16, 16)",
    ],
)
def test_a_cache_that_is_no_array_is_one_sentence(faces, tmp_path, content):
    make_source("celeba", size=16)
    (path,) = (tmp_path / "cache").iterdir()
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"\.npy is damaged; delete it and it will be made again\.$"):
        make_source("celeba", size=16)


def test_the_cache_is_written_whole_or_not_at_all(faces, tmp_path, monkeypatch):
    def stop(path, size, crop):
        if path.name == "000005.jpg":
            raise KeyboardInterrupt
        return np.zeros((3, size, size), np.uint8)

    monkeypatch.setattr(celeba, "decode_face", stop)
    with pytest.raises(KeyboardInterrupt):
        make_source("celeba", size=16)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("part", ["img_align_celeba", "list_attr_celeba.txt", "list_eval_partition.txt"])
def test_a_missing_part_is_named_with_the_way_to_get_it(faces, part):
    assert data_set("celeba").is_available()
    (faces / part).rename(faces / "elsewhere")
    assert not data_set("celeba").is_available()
    with refused(f"{part} 'tosc data get celeba'", DataError):
        make_source("celeba")


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("list_attr_celeba.txt", lambda t: t.rsplit("\n", 2)[0], "11 12"),
        ("list_attr_celeba.txt", lambda t: t.replace("000002.jpg", "000002.jpg 1"), "3 line 2"),
        ("list_attr_celeba.txt", lambda t: t.replace("-1", "-x", 1), "3 numbers '-x'"),
        ("list_attr_celeba.txt", lambda t: t.replace("-1", "0", 1), "1 -1"),
        ("list_attr_celeba.txt", lambda t: t.replace("000002.jpg -1", "000002.jpg"), "3 numbers"),
        ("list_attr_celeba.txt", lambda t: "hello", "CelebA's attribute"),
        ("list_attr_celeba.txt", lambda t: t.replace("000002.jpg", "../../2.jpg"), "'../../2.jpg'"),
        (
            "list_eval_partition.txt",
            lambda t: t.replace("000004.jpg 0", "000004.jpg 7"),
            "000004.jpg 7 0, 1 or 2",
        ),
        ("list_eval_partition.txt", lambda t: t.replace("000004.jpg 0\n", ""), "000004"),
    ],
)
def test_a_damaged_list_is_named(faces, name, damage, words):
    path = faces / name
    path.write_text(damage(path.read_text()))
    with refused(words, DataError) as caught:
        make_source("celeba", size=16)
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["list_attr_celeba.txt", "list_eval_partition.txt"])
def test_a_list_that_no_memory_holds_is_refused(faces, name):
    os.truncate(faces / name, 2**40)  # with a hole, which takes no room
    with refused(f"{name} bytes", DataError):
        make_source("celeba", size=16)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["list_attr_celeba.txt", "img_align_celeba/000007.jpg"])
def test_nobody_waits_for_a_pipe(faces, name):
    (faces / name).unlink()
    os.mkfifo(faces / name)
    with refused(name, DataError):
        make_source("celeba", size=16)


def test_a_missing_or_damaged_image_is_named(faces):
    path = faces / "img_align_celeba" / "000007.jpg"
    raw = path.read_bytes()
    height_and_width = raw.index(bytes.fromhex("00da00b2"))
    bomb = raw[:height_and_width] + b"\xff\xff\xff\xff" + raw[height_and_width + 4 :]
    for content in (raw[: len(raw) // 2], b"", b"GIF89a" + raw, bomb):
        path.write_bytes(content)
        with refused("000007.jpg", DataError):
            make_source("celeba", size=16)
    path.unlink()
    with refused("000007.jpg", DataError):
        make_source("celeba", size=16)


def test_options_out_of_range_are_refused():
    for options, words in (
        ({"size": 0}, "size 0"),
        ({"crop": 0}, "crop 0"),
        ({"crop": 1.5}, "crop 1.5"),
        ({"crop": "half"}, "crop 'half'"),
        ({"attributes": "Smilling"}, "'Smilling' 'Smiling'"),
        ({"attributes": []}, "several"),
        ({"split": "all"}, "'valid' 'all'"),
        ({"split": "valid", "half": "system"}, "half='system' valid"),
    ):
        with refused(words):
            make_source("celeba", **options)

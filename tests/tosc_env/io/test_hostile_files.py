"""Hostile checkpoints are refused in one sentence: no crash, no code, no memory, no recursion."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
import torch
from bounded import run_bounded
from safetensors.torch import save

from tosc_env.errors import CheckpointError, ToscError
from tosc_env.io.checkpoint_files import card_path, read_card, read_plain, sha256, write_checkpoint
from tosc_env.io.checkpoints import load_checkpoint, save_checkpoint
from tosc_env.pipeline import make_scheme
from tosc_env.types import SystemSpec

SPEC = SystemSpec((1, 8, 8), 4, 4)
SMALL = {"stem": 4, "widths": (4,), "blocks": (0,), "receiver_width": 4, "receiver_depth": 0}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "scheme.safetensors"
    save_checkpoint(path, make_scheme("deepjscc", SPEC, **SMALL), {"data": {"name": "shapes"}})
    card_path(path).unlink()
    return path


def told(load, *parts: object) -> str:
    """The sentence that a load is refused with."""
    with pytest.raises(ToscError) as caught:
        load()
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".") and len(text) < 700
    assert all(str(part) in text for part in parts), text
    return text


# -- headers of safetensors -------------------------------------------------------------------------


def split(raw: bytes) -> tuple[dict, bytes]:
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def joined(header: dict | str, body: bytes) -> bytes:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text)) + text + body


def first(header: dict) -> dict:
    return header[next(name for name in header if name != "__metadata__")]


def overlapping(header):
    one, other = [name for name in header if name != "__metadata__"][:2]
    header[other]["data_offsets"] = header[one]["data_offsets"]


CRAFTED = {
    "offsets that overlap": overlapping,
    "offsets beyond the end": lambda header: first(header).update(data_offsets=[0, 2**62]),
    "offsets backwards": lambda header: first(header).update(data_offsets=[64, 0]),
    "negative offsets": lambda header: first(header).update(data_offsets=[-4, 4]),
    "an unknown type": lambda header: first(header).update(dtype="PICKLE"),
    "another type": lambda header: first(header).update(dtype="F64"),
    "a shape of 10^18 numbers": lambda header: first(header).update(shape=[10**9, 10**9]),
    "a shape that overflows": lambda header: first(header).update(shape=[2**63, 2**63, 2]),
    "no shape": lambda header: first(header).pop("shape"),
}


@pytest.mark.parametrize("change", CRAFTED.values(), ids=CRAFTED)
def test_a_crafted_header_is_one_sentence(path, change):
    header, body = split(path.read_bytes())
    change(header)
    path.write_bytes(joined(header, body))
    told(lambda: load_checkpoint(path), path)


@pytest.mark.parametrize("length", [2**63, 2**40, 99 * 2**20, 2**24])
def test_a_header_that_claims_to_be_huge_is_one_sentence(path, length):
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    told(lambda: load_checkpoint(path), path, f"{length:,} bytes")


def rewritten(path, text: str) -> None:
    """The file with another header of ours, as text."""
    path.write_bytes(save({"a": torch.zeros(3)}, metadata={"tosc_env": text}))


DEEP = 100_000
PLAIN = {
    "no object": ("[1]", "no JSON object"),
    "deep lists": ('{"a": ' + "[" * DEEP + "]" * DEEP + "}", "nested deeper"),
    "deep dictionaries": ('{"a": ' * 40 + "1" + "}" * 40, "nested deeper than 32"),
    "a huge integer": ('{"a": ' + "9" * 5000 + "}", "more than 20 digits"),
    "a large integer": ('{"a": -' + "9" * 30 + "}", "more than 20 digits"),
    "a huge float": ('{"a": 1e999}', "1e999, which is not finite"),
    "not a number": ('{"a": NaN}', "the number NaN"),
    "minus infinity": ('{"a": [-Infinity]}', "the number -Infinity"),
    "a key twice": ('{"format": 1, "x": {"a": 1, "a": 2}}', "the key 'a' twice"),
    "a long text": ('{"a": "' + "x" * 2**22 + '"}', "longer than"),
    "half a text": ('{"a": ', "no JSON"),
}


@pytest.mark.parametrize(("text", "words"), PLAIN.values(), ids=PLAIN)
def test_a_header_of_ours_that_is_not_plain_is_one_sentence(path, text, words):
    rewritten(path, text)
    told(lambda: load_checkpoint(path), path, words)


@pytest.mark.parametrize(("text", "words"), PLAIN.values(), ids=PLAIN)
def test_a_card_that_is_not_plain_is_one_sentence(path, text, words):
    card_path(path).write_text(text.replace("{", f'{{"sha256": "{sha256(path)}", ', 1))
    if text == "[1]":
        card_path(path).write_text(text)
    told(lambda: load_checkpoint(path), card_path(path), words)


def test_plain_values_come_back():
    value = {"a": [1, -2.5, 1e300, True, None, "NaN", 2**63, {"b": {}}], "c": 10**20 - 1}
    assert read_plain(json.dumps(value)) == value
    with pytest.raises(ValueError, match="20 digits"):
        read_plain(json.dumps({"a": 10**20}))


def test_a_card_says_numbers_without_end_in_words_and_takes_those_of_numpy(tmp_path):
    card = {"psnr": float("inf"), "loss": [float("nan")], "count": np.int64(3), "rate": np.float32(0.5)}
    write_checkpoint(tmp_path / "a.safetensors", {}, {"a": torch.zeros(1)}, card)
    assert read_card(tmp_path / "a.safetensors") == {"psnr": "inf", "loss": ["nan"], "count": 3, "rate": 0.5}


# -- what a header asks for -------------------------------------------------------------------------


def ours(path, **changes) -> None:
    header, body = split(path.read_bytes())
    plain = {**json.loads(header["__metadata__"]["tosc_env"]), **changes}
    header["__metadata__"]["tosc_env"] = json.dumps(plain)
    path.write_bytes(joined(header, body))


@pytest.mark.parametrize(
    "spec",
    [
        {"image_shape": [1, 8]},
        {"image_shape": [1, 10**6, 10**6]},
        {"image_shape": [1, 8, -8]},
        {"image_shape": "188"},
        {"num_outputs": 10**12},
        {"num_symbols": 0},
        {"num_symbols": 4.5},
        {"num_csi": True},
        {"binary": "no"},
        {"more": 1},
    ],
)
def test_shapes_that_nobody_trains_are_refused(path, spec):
    ours(path, spec={**SPEC.plain(), **spec})
    with pytest.raises(CheckpointError, match="damaged header: its 'spec' is"):
        load_checkpoint(path)


def test_a_small_file_that_asks_for_a_large_network_takes_no_memory(path):
    """30,000 channels to 30,000 are 32 GB; the file has a few hundred numbers."""
    options = [
        {"widths": [30_000, 30_000], "blocks": [0, 0]},
        {"stem": 10**9},
        {"receiver_width": 30_000, "receiver_depth": 10},
        {"widths": [1], "blocks": [10**9]},
        {"widths": [10**15] * 3, "blocks": [1] * 3},
    ]
    whole = path.read_bytes()
    files = []
    for i, change in enumerate(options):
        path.write_bytes(whole)
        ours(path, options={**SMALL, "told_snr_db": None, **change})
        files.append(path.with_name(f"{i}.safetensors"))
        path.rename(files[-1])
    code = """
    for file in sys.argv[1:]:
        print(sentence(lambda: checkpoints.load_checkpoint(file)))
    """
    for line in run_bounded(code, *files, megabytes=1024):
        assert "far larger network" in line or "whole number" in line


def test_loading_leaves_no_hook_behind(path):
    load_checkpoint(path)
    ours(path, options={**SMALL, "stem": 5000, "widths": [5000]})
    told(lambda: load_checkpoint(path), path, "far larger network")
    torch.nn.Linear(5000, 5000)

"""Recorded symbols and states of runs that a stranger made are one sentence, within bounds."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
import torch
from bounded import run_bounded
from safetensors.torch import save
from tosc_agents.commands.attack import _recorded
from tosc_agents.learning.state import _digest, load_state, save_state

from tosc_env.errors import CheckpointError, DataError

GOOD = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)


def npz(path, **arrays):
    np.savez(path, **{"train_second_half": GOOD, "test": GOOD, **arrays})


@pytest.mark.parametrize(
    "values",
    [
        GOOD,
        GOOD.astype(np.float64),
        GOOD.astype(">f4"),
        np.asfortranarray(GOOD),
        GOOD[:, ::-1],
        np.ones((6, 8), int),
    ],
)
def test_real_numbers_of_any_kind_are_symbols(tmp_path, values):
    npz(tmp_path / "a.npz", test=values)
    assert np.array_equal(_recorded(tmp_path / "a.npz")[1].numpy(), values.astype(np.float32))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.array([[object()] * 8] * 6, dtype=object), "finite real numbers"),
        (GOOD + 1j, "finite real numbers"),
        (np.where(GOOD > 0, np.nan, GOOD), "finite real numbers"),
        (GOOD.astype(np.float64) * 1e300, "finite real numbers"),
        (np.full((6, 8), "a"), "finite real numbers"),
        (np.zeros((6, 8), [("x", "f4")]), "finite real numbers"),
        (np.zeros(8, np.float32), r"\[N, 2n\]"),
        (np.zeros((6, 7), np.float32), r"\[N, 2n\]"),
        (np.zeros((10**12, 0), np.float32), r"\[N, 2n\]"),
        (np.zeros((0, 8), np.float32), r"\[N, 2n\]"),
    ],
)
def test_other_arrays_are_refused(tmp_path, values, words):
    npz(tmp_path / "a.npz", test=values)
    with pytest.raises(DataError, match=words) as caught:
        _recorded(tmp_path / "a.npz")
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


BOTH = "train_second_half", "test"


def npy(shape: str, body: bytes = b"", kind: str = "<f4") -> bytes:
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + body


def test_archives_that_claim_too_much_or_are_damaged_are_refused_within_bounds(tmp_path):
    def archive(name, *members, how=zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / name, "w", how) as file:
            for member, content in members:
                file.writestr(member, content)

    file = io.BytesIO()
    np.savez(file, train_second_half=GOOD, test=GOOD)
    raw = file.getvalue()
    archive("claims.npz", ("train_second_half.npy", npy("(1000000000000, 8)")), ("test.npy", npy("(6, 8)")))
    archive("nested.npz", ("train_second_half.npy", npy("(" * 90)), ("test.npy", b""))
    archive("empty.npz")
    archive("zip-in-zip.npz", ("train_second_half.npy", raw), ("test.npy", raw))
    (tmp_path / "cut.npz").write_bytes(raw[:200])
    (tmp_path / "flipped.npz").write_bytes(raw[:300] + bytes([raw[300] ^ 255]) + raw[301:])
    archive(
        "bomb.npz", ("train_second_half.npy", npy("(1048576, 8)", bytes(2**25))), ("test.npy", npy("(6, 8)"))
    )
    archive("bz2.npz", *((f"{name}.npy", npy("(6, 8)", bytes(192))) for name in BOTH), how=zipfile.ZIP_BZIP2)
    head = b"\x93NUMPY\x02\x00" + (2**32 - 1).to_bytes(4, "little")
    archive("header.npz", ("train_second_half.npy", head + bytes(2**28)), ("test.npy", b""))
    # A byte becomes four as float32, and eight are held before they become four.
    for kind, rows in (("|u1", 2**19), ("<f8", 2**18)):
        body = bytes(rows * 8 * int(kind[2:]))
        members = (
            ("train_second_half.npy", npy(f"({rows}, 8)", body, kind)),
            ("test.npy", npy("(1, 8)", bytes(32))),
        )
        archive(f"{kind[1:]}.npz", *members)
    code = """
    from pathlib import Path
    from tosc_agents.commands import attack
    attack._LARGEST_RECORD = 2**24
    for file in sys.argv[1:]:
        print(sentence(lambda: attack._recorded(Path(file))))
    """
    files = sorted(tmp_path.iterdir())
    for path, line in zip(files, run_bounded(code, *files), strict=True):
        assert line.startswith(f"DataError: {path} does not hold the arrays"), line


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"a": {"tensor": "b"}}',
        '{"a": {"tensor": []}}',
        '{"a": ' + "[" * 100_000,
        "[" * 5000 + "]" * 5000,
    ],
)
def test_a_damaged_state_is_one_sentence(tmp_path, text):
    tensors = {"a": torch.zeros(1)}
    told = {"tosc_run": text, "sha256": _digest(text, tensors)}
    (tmp_path / "state").write_bytes(save(tensors, metadata=told))
    with pytest.raises(CheckpointError, match="is not the state of this run") as caught:
        load_state(tmp_path / "state", torch.device("cpu"))
    assert "\n" not in str(caught.value)


def test_a_state_comes_back(tmp_path):
    save_state(tmp_path / "state", {"epoch": 3, "a": torch.ones(1)})
    assert load_state(tmp_path / "state", torch.device("cpu")) == {"epoch": 3, "a": torch.ones(1)}

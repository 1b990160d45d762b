"""A pickle is read or refused in a phrase; nothing that it names is imported or called."""

from __future__ import annotations

import pickle
import pickletools
import random

import numpy as np
import pytest
from bounded import run_bounded

from tosc_env.data.plain_pickle import Call, as_bytes, read_pickle

NAMES = frozenset(
    {
        "_codecs.encode",
        "numpy.dtype",
        "numpy.ndarray",
        "numpy._core.multiarray._reconstruct",
        "numpy._core.numeric._frombuffer",
    }
)
PLAIN = {
    "a": [1, 2, -3, 300, 70000],
    "b": ("x", (), (1,), (1, 2), (1, 2, 3, 4)),
    "c": {"d": None},
    "e": [True, False, b"y"],
}


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_plain_values_come_back(protocol):
    assert read_pickle(pickle.dumps(PLAIN, protocol=protocol), NAMES, 1000) == PLAIN


def test_strings_of_python_2_are_bytes_and_keys_are_text():
    assert read_pickle(b"\x80\x02}q\x01U\x01aU\x02b\xe9s.", NAMES, 100) == {"a": b"b\xe9"}


@pytest.mark.parametrize("protocol", [1, 2, 3])
def test_bytes_of_any_protocol_are_the_same_bytes(protocol):
    every = bytes(range(256))
    found = read_pickle(pickle.dumps({b"k": [every, True, False]}, protocol=protocol), NAMES, 100)
    assert [as_bytes(value) for value in found["k"]] == [every, True, False]


@pytest.mark.parametrize(
    "call",
    [
        Call("_codecs.encode", ("a", "rot13")),
        Call("_codecs.encode", (b"a", "latin1")),
        Call("_codecs.encode", ("\u1234", "latin1")),
        Call("_codecs.encode", ("a", "latin1"), {}),
        Call("_codecs.encode", ("a", "latin1", "ignore")),
        Call("_codecs.encode"),
        Call("numpy.dtype", ("a", "latin1")),
    ],
)
def test_no_other_call_is_bytes(call):
    assert as_bytes(call) is call


@pytest.mark.parametrize("protocol", [1, 2, 3, 4])
@pytest.mark.parametrize("key", ["x" * 300, b"x" * 300])
def test_a_key_is_short_as_each_is_copied(protocol, key):
    with pytest.raises(ValueError, match="key of more than 256 characters"):
        read_pickle(pickle.dumps({key: 1}, protocol=protocol), NAMES, 100)


def test_a_call_stays_words():
    found = read_pickle(pickle.dumps(np.zeros((2, 3), np.uint8), protocol=4), NAMES, 1000)
    assert type(found) is Call and found.name.endswith("_reconstruct")
    assert found.state[1] == (2, 3) and found.state[4] == bytes(6)


def test_a_dtype_of_an_attackers_state_is_not_rebuilt():
    """A dtype that claims Python objects and plain bytes at once makes NumPy follow the bytes as addresses."""
    body = b"\x80\x02cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNK\x08K\x08K\x3ftb."
    found = read_pickle(body, NAMES, 100)
    assert type(found) is Call and found.state == (3, b"|", None, None, None, 8, 8, 63)


@pytest.mark.parametrize("value", [print, pickle.Unpickler, 2**70, 1.5, {1, 2}, frozenset(), bytearray])
def test_what_no_plain_data_needs_is_refused(value):
    with pytest.raises(ValueError, match=r"it asks for builtins|it asks for _pickle|it has the opcode"):
        read_pickle(pickle.dumps(value), NAMES, 1000)


def test_a_long_pickle_is_refused_before_it_is_followed():
    with pytest.raises(ValueError, match="more than 100 opcodes"):
        read_pickle(pickle.dumps(list(range(1000))), NAMES, 100)


def test_deep_nesting_is_no_recursion():
    raw = b"\x80\x04" + b"]" + b"]" * 50_000 + b"a" * 50_000 + b"."
    found = read_pickle(raw, NAMES, 200_000)
    assert type(found) is list
    del found


OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]


def mutated(raw: bytes, stream: random.Random) -> bytes:
    """The pickle with a few bits flipped, its end cut off, or opcodes put in."""
    content = bytearray(raw)
    for _ in range(stream.randint(1, 8)):
        at = stream.randrange(max(1, len(content)))
        change = stream.randrange(4)
        if change == 0 and content:
            content[at] ^= 1 << stream.randrange(8)
        elif change == 1 and stream.random() < 0.2:
            del content[at:]
        elif change == 2:
            content[at:at] = stream.choice(OPCODES) + stream.randbytes(stream.randrange(5))
        else:
            content[at:at] = content[stream.randrange(len(content) + 1) :][: stream.randrange(40)]
    return bytes(content)


FUZZ = """
import codecs, pickle, random, sys
sys.path[:0] = sys.argv[3:]
from test_plain_pickle import NAMES, OPCODES, mutated
from tosc_env.data.plain_pickle import read_pickle
count, seed = map(int, sys.argv[1:3])
seen, watching = [], False
forbidden = {"import", "exec", "compile", "pickle.find_class", "os.system", "subprocess.Popen", "open"}
def hook(event, details):
    if watching and event in forbidden:
        seen.append((event, str(details)[:80]))
sys.addaudithook(hook)
codecs.lookup("raw-unicode-escape")  # a codec that pickletools has Python load when it meets its opcode
arrays = numpy.arange(12, dtype=numpy.uint8).reshape(3, 4)
raws = [pickle.dumps({b"data": arrays, b"labels": [1, 2, 3], "names": ["a", b"b"]}, protocol=p) for p in range(1, 6)]
raws += [pickle.dumps({b"data": arrays.tobytes(), b"labels": list(range(300))}, protocol=p) for p in (1, 2, 4)]
stream, told = random.Random(seed), {"read": 0, "refused": 0}
for _ in range(count):
    raw = mutated(stream.choice(raws), stream)
    watching = True
    try:
        read_pickle(raw, NAMES, 1000)
        told["read"] += 1
    except ValueError as error:
        told["refused"] += 1
        assert len(str(error)) < 400
    watching = False
assert not seen, seen
print(*told.values())
"""


@pytest.mark.parametrize("count", [2_000, pytest.param(200_000, marks=pytest.mark.slow)])
def test_any_mutation_is_read_or_refused_and_nothing_is_imported(count, request):
    read, refused = map(int, run_bounded(FUZZ, count, 1, request.path.parent)[0].split())
    assert read + refused == count and refused > count / 4 and read > 0

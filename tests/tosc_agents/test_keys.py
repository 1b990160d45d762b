"""A key is never shown, and its stream is RFC 8439's: uniform, and another one for every message."""

from __future__ import annotations

import copy
import json
import pickle
import stat

import pytest
import torch
from refusals import refused
from tosc_agents.keys import SecretKey, chacha20_blocks, hchacha20, keystream

HEX = bytes(range(200, 232)).hex()
KEY = SecretKey(HEX)


def messages(*rows):
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, 5)


# -- the key ----------------------------------------------------------------------------------------


def test_a_key_is_the_same_however_it_is_given():
    assert KEY == SecretKey(HEX.upper()) == SecretKey(bytes.fromhex(HEX)) == SecretKey(KEY)
    assert SecretKey(KEY) == SecretKey(HEX)
    assert SecretKey("00" * 32) != KEY and KEY != HEX
    assert SecretKey.random() != SecretKey.random()
    assert copy.copy(KEY) is KEY and copy.deepcopy({"key": KEY})["key"] is KEY, "a copy is the key itself"


def test_a_wrong_key_is_one_sentence_that_does_not_show_it():
    for value, told in [
        ("", "not 0 characters"),
        (HEX[:-2], "not 62 characters"),
        ("zq" + HEX[2:], "not 64 characters of which some are no such digits"),
        ("٣" * 64, "not 64 characters of which some are no such digits"),
        (bytes.fromhex(HEX)[:-1], "not 31 bytes"),
        (12345678901234567890, "not a value of the type int"),
        (None, "not a value of the type NoneType"),
    ]:
        with refused("32 64") as caught:
            SecretKey(value)
        text = str(caught.value)
        assert told in text and text.count(".") == 1
        assert not value or str(value)[:8] not in text
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_no_way_of_printing_shows_the_key():
    scheme = {"key": KEY}
    texts = [
        repr(KEY),
        str(KEY),
        f"{KEY}",
        f"{KEY!s:>80}",
        str([KEY]),
        str(scheme),
        repr(KEY.__class__.__dict__),
    ]
    raw = bytes.fromhex(HEX)
    assert not any(HEX in text or str(raw) in text for text in texts)
    assert not hasattr(KEY, "__dict__")
    with pytest.raises(TypeError):
        json.dumps(scheme)
    with pytest.raises(TypeError):
        bytes(KEY)


def test_a_key_is_not_pickled():
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with refused("pickling"):
            pickle.dumps({"key": KEY}, protocol)
        with refused("SecretKey.write"):
            KEY.__getstate__()


def test_a_fingerprint_tells_keys_apart_and_holds_nothing_of_them():
    prints = {SecretKey(bytes([i]) * 32).fingerprint() for i in range(200)}
    assert len(prints) == 200 and all(len(p) == 16 and int(p, 16) >= 0 for p in prints)
    assert KEY.fingerprint() == SecretKey(HEX).fingerprint() and KEY.fingerprint() not in HEX


# -- files ------------------------------------------------------------------------------------------


def test_a_key_file_is_its_owners_alone_and_gives_the_key_back(tmp_path):
    path = tmp_path / "new" / "link.key"
    KEY.write(path)
    assert SecretKey.from_file(path) == KEY and SecretKey.from_file(str(path)) == KEY
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with refused("link.key"):
        SecretKey.random().write(path)
    assert SecretKey.from_file(path) == KEY and [p.name for p in path.parent.iterdir()] == ["link.key"]
    first = SecretKey.at(tmp_path / "a.key")
    assert first == SecretKey.at(tmp_path / "a.key") != SecretKey.at(tmp_path / "b.key"), "made once"


def test_two_processes_that_make_the_same_file_have_the_same_key(tmp_path, monkeypatch):
    """The other one writes after this one has looked whether there is a file."""
    path = tmp_path / "a.key"
    real = SecretKey.random

    def slow():
        KEY.write(path)
        return real()

    monkeypatch.setattr(SecretKey, "random", slow)
    assert SecretKey.at(path) == KEY


def test_what_is_no_key_file_is_one_sentence_that_shows_nothing_of_it(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("my password is swordfish")
    with refused("notes.txt 24") as caught:
        SecretKey.at(path)
    assert "swordfish" not in str(caught.value)
    with refused("read missing.key"):
        SecretKey.from_file(tmp_path / "missing.key")
    with refused("write", OSError):
        KEY.write(path / "below" / "a.file")


# -- ChaCha20 ---------------------------------------------------------------------------------------


def octets(words):
    return b"".join(int(word).to_bytes(4, "little") for word in words.flatten())


def words_of(text):
    raw = bytes.fromhex(text)
    return torch.tensor([int.from_bytes(raw[i : i + 4], "little") for i in range(0, len(raw), 4)])


RFC_VECTORS = [
    # Section 2.3.2.
    (
        bytes(range(32)).hex(),
        1,
        "000000090000004a00000000",
        "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
        "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e",
    ),
    # Appendix A.1, test vector 1.
    (
        "00" * 32,
        0,
        "00" * 12,
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586",
    ),
]


def test_a_block_is_that_of_rfc_8439():
    for key, counter, nonce, block in RFC_VECTORS:
        found = chacha20_blocks(words_of(key), torch.tensor([counter]), words_of(nonce)[None])
        assert found.shape == (1, 16) and octets(found).hex() == block


def test_many_blocks_at_once_are_the_blocks_one_by_one():
    draw = torch.Generator().manual_seed(0)
    counters = torch.randint(2**32, (3, 5), generator=draw)
    nonces = torch.randint(2**32, (3, 5, 3), generator=draw)
    key = torch.randint(2**32, (8,), generator=draw)
    together = chacha20_blocks(key, counters, nonces)
    alone = [
        chacha20_blocks(key, c, n) for c, n in zip(counters.flatten(), nonces.flatten(0, 1), strict=True)
    ]
    assert torch.equal(together.flatten(0, 1), torch.stack(alone))


# -- the stream -------------------------------------------------------------------------------------


def test_a_subkey_belongs_to_one_key_environment_and_purpose():
    subkeys = [
        key.subkey(environment, purpose)
        for key in (KEY, SecretKey("00" * 32))
        for environment in (0, 1, -1, 11, 2**62, 2**70)
        for purpose in ("shuffle", "rotation", "1shuffle")
    ]
    assert len({tuple(words.tolist()) for words in subkeys}) == len(subkeys)
    assert torch.equal(KEY.subkey(3, "x"), SecretKey(HEX).subkey(3, "x"))
    assert not {w for words in subkeys for w in words.tolist()} & set(words_of(HEX).tolist())


def test_a_stream_is_chacha20_under_the_subkey_with_the_message_as_nonce():
    found = keystream(KEY, 5, messages((3, 4, 2**32 + 7, 2**33 + 1, 5)), 40, "x")
    own = hchacha20(KEY.subkey(5, "x"), torch.tensor([1, 2, 5, 0]))  # low and high words of what is sent
    blocks = chacha20_blocks(own, torch.arange(3), torch.tensor([[3, 4, 7]]).expand(3, -1))
    assert torch.equal(found[0], blocks.flatten()[:40])


def test_a_key_of_what_is_sent_is_that_of_the_xchacha_draft():
    """draft-irtf-cfrg-xchacha-03, section 2.2.1."""
    found = hchacha20(words_of(bytes(range(32)).hex()), words_of("000000090000004a0000000031415927")[None])
    assert torch.equal(found[0], words_of("82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"))


def test_every_message_has_a_stream_of_its_own_and_always_the_same():
    told = torch.cat([torch.zeros(1, 5), torch.eye(5)]).long()
    told = torch.cat([told, messages((0, 0, 0, 2**40, 0), (0, 0, 0, 0, 2**62), (2**32 - 1, 0, 0, 0, 0))])
    streams = [
        keystream(key, environment, told, 8, purpose)
        for key in (KEY, SecretKey("11" * 32))
        for environment in (0, 1)
        for purpose in ("a", "b")
    ]
    rows = torch.cat(streams).tolist()
    words = [word for row in rows for word in row]
    assert len(set(words)) == len(words)  # 576 of 2**32 words: all differ, but for a chance of 4e-5
    assert torch.equal(keystream(SecretKey(HEX), 0, told, 8, "a"), streams[0])


def test_a_message_does_not_see_what_else_is_in_the_batch():
    told = torch.randint(2**32, (7, 5), generator=torch.Generator().manual_seed(1))
    together = keystream(KEY, 1, told, 50, "x")
    for i in range(7):
        assert torch.equal(keystream(KEY, 1, told[i : i + 1], 50, "x")[0], together[i])
    assert torch.equal(keystream(KEY, 1, told, 20, "x"), together[:, :20])  # a longer stream goes on
    assert keystream(KEY, 1, told[:0], 5, "x").shape == (0, 5)
    for message, words, what in (
        (torch.zeros(2, 3).long(), 1, "int64 [B, 5] [2, 3]"),
        (torch.zeros(3).long(), 1, "[3]"),
        (torch.zeros(2, 5), 1, "float32"),
        (torch.zeros(2, 5).long(), 0, "words 1 0"),
    ):
        with refused(what):
            keystream(KEY, 0, message, words, "x")


def test_words_are_uniform_in_every_bit():
    told = torch.nn.functional.pad(torch.arange(2000)[:, None], (0, 4))
    words = keystream(KEY, 1, told, 32, "x")
    assert words.dtype == torch.int64 and int(words.min()) >= 0 and int(words.max()) < 2**32
    count = words.numel()
    mean = float((words.double() / 2**32).mean())
    assert abs(mean - 0.5) < 5 * (1 / 12 / count) ** 0.5
    bits = ((words[..., None] >> torch.arange(32)) & 1).double().flatten(0, 1)
    assert float((bits.mean(0) - 0.5).abs().max()) < 5 * 0.5 / count**0.5
    # Neighbouring messages, whose nonces differ in a bit or two, are unrelated.
    signs = (2 * bits - 1).unflatten(0, (2000, 32)).flatten(1)
    assert abs(float((signs[1:] * signs[:-1]).mean())) < 5 / signs.numel() ** 0.5

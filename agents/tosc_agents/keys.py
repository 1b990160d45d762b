"""Secret keys, and the streams of random words that both ends of a link draw from one.

::

    key (32 bytes) --SHAKE-256, with environment and purpose--> subkey (host, once)
    subkey, what is sent = (image, source) --HChaCha20--> the message's own subkey (device, all messages at once)
    its subkey, nonce = (row, episode, message number) --ChaCha20--> 32-bit words

What is sent goes in as in misuse-resistant encryption: whatever happens to the numbers, messages that carry different
images never share a stream.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import tempfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NoReturn

import torch
from torch import Tensor

from tosc_env.errors import InputError
from tosc_env.io.files import WriteError
from tosc_env.options import Within, check_dense, checked

KEY_BYTES = 32
_FORM = f"a secret key is {KEY_BYTES} bytes, written as {2 * KEY_BYTES} hexadecimal digits"
_WORD = 0xFFFFFFFF


class SecretKey:
    """32 secret bytes that are never shown, pickled or put into a record by accident.

    Made from 64 hexadecimal digits, 32 bytes, or another key; InputError for anything else gives its length, never
    the value.

    >>> SecretKey("00" * 32), SecretKey("00" * 32) == SecretKey(bytes(32))
    (SecretKey(fingerprint dacb0a0dad6342e0), True)
    >>> SecretKey("swordfish")
    Traceback (most recent call last):
    ...
    tosc_env.errors.InputError: a secret key is 32 bytes, written as 64 hexadecimal digits, not 9 characters.
    """

    __slots__ = ("_bytes", "_words")

    def __init__(self, value: SecretKey | str | bytes) -> None:
        self._bytes = _parse(value)
        # A cache of the object's own, which dies with it: no table outside ever holds the key.
        self._words = lru_cache(maxsize=64)(self._derive)

    @classmethod
    def random(cls) -> SecretKey:
        """A fresh key from the operating system's entropy."""
        return cls(secrets.token_bytes(KEY_BYTES))

    @classmethod
    def from_seed(cls, seed: int) -> SecretKey:
        """The key that follows from a seed, so that a training can be made again. It is secret to nobody."""
        return cls(hashlib.shake_256(f"tosc-env key of seed {seed}".encode()).digest(KEY_BYTES))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> SecretKey:
        """The key in a file of 64 hexadecimal digits, as :meth:`write` makes it; InputError where there is none."""
        try:
            with open(path, "rb") as file:
                text = file.read(1024).decode("ascii", errors="replace").strip()
        except (OSError, ValueError) as error:  # ValueError: a name that no file system has
            why = getattr(error, "strerror", None) or error
            raise InputError(f"cannot read the key file {path}: {why}.") from None
        try:
            return cls(text)
        except InputError as error:
            raise InputError(f"the file {path} holds no key: {error}") from None

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> SecretKey:
        """The key in this file; where there is no file yet, a fresh key that is written there."""
        if not os.path.exists(path):
            # If another process writes one in between, that one is the key of both.
            with suppress(InputError):
                cls.random().write(path)
        return cls.from_file(path)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write a file that its owner alone may read (mode 0600 from the start), whole or not at all.

        InputError where the file exists: a key that may be in use is not overwritten. WriteError where the folder
        cannot be written, or knows no hard links.
        """
        path = Path(path)
        part: Path | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # mkstemp makes the file with mode 0600; `tosc_env.io.files.replacing` would open it to the group.
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
            part = Path(name)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(self._bytes.hex() + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(part, path)  # unlike a rename, never over a file that is there already
        except FileExistsError:
            raise InputError(f"{path} exists, and a key file is never overwritten; choose another.") from None
        except OSError as error:
            raise WriteError(f"cannot write {path}: {error.strerror or error}.") from None
        finally:
            if part is not None:
                part.unlink(missing_ok=True)

    def fingerprint(self) -> str:
        """16 hexadecimal digits that tell keys apart and say nothing else about them, for records."""
        return hashlib.shake_256(b"tosc-env key fingerprint\0" + self._bytes).hexdigest(8)

    def identity(self) -> dict[str, str]:
        """Identify this key without showing it (:mod:`tosc_env.identity`)."""
        return {"fingerprint": self.fingerprint()}

    def subkey(self, environment: int, purpose: str, device: torch.device | str = "cpu") -> Tensor:
        """The 8 words, int64 [8], of a ChaCha20 key of its own for each environment and purpose."""
        return self._words(int(environment), purpose, str(device))

    def _derive(self, environment: int, purpose: str, device: str) -> Tensor:
        # SHAKE-256 is a sponge, so prefixing the key makes a sound key derivation; the decimal number ends at its NUL,
        # so no two pairs of environment and purpose are the same bytes.
        info = f"{environment}\0{purpose}".encode(errors="surrogatepass")
        subkey = hashlib.shake_256(b"tosc-env keystream\0" + self._bytes + info).digest(KEY_BYTES)
        words = [int.from_bytes(subkey[i : i + 4], "little") for i in range(0, KEY_BYTES, 4)]
        return torch.tensor(words, dtype=torch.int64, device=device)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretKey):
            return NotImplemented
        return hmac.compare_digest(self._bytes, other._bytes)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"SecretKey(fingerprint {self.fingerprint()})"

    def __deepcopy__(self, memo: Any = None) -> SecretKey:
        return self

    __copy__ = __deepcopy__

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise InputError(
            "a secret key is not written to files or sent to other processes by pickling it; save it with "
            "SecretKey.write(path), and read it with SecretKey.from_file(path)."
        )

    def __getstate__(self) -> NoReturn:
        self.__reduce_ex__(None)


def _parse(value: object) -> bytes:
    """The 32 bytes; every complaint is about length and type, never about content."""
    if isinstance(value, SecretKey):
        return value._bytes
    if isinstance(value, (bytes, bytearray)):
        if len(value) == KEY_BYTES:
            return bytes(value)
        told = f"{len(value)} bytes"
    elif not isinstance(value, str):
        told = f"a value of the type {type(value).__name__}"
    elif re.fullmatch(f"[0-9a-fA-F]{{{2 * KEY_BYTES}}}", value):
        return bytes.fromhex(value)
    else:
        some = " of which some are no such digits" if len(value) == 2 * KEY_BYTES else ""
        told = f"{len(value)} characters{some}"
    raise InputError(f"{_FORM}, not {told}.")


@checked
def keystream(
    key: SecretKey,
    context_environment: int,
    message: Tensor,
    words: Annotated[int, Within(1, 2**22)],
    purpose: str,
) -> Tensor:
    """Uniform 32-bit words for each message, the same at both ends of the link and unknown to everyone else.

    Another key, environment, purpose, row, episode, message number, image or source gives an unrelated stream. Row,
    episode and message number are ChaCha20's nonce, each **modulo 2**32**: beyond that an image sent again may meet
    the stream that it has met, and another image never does.

    Args:
        key: whose stream it is.
        context_environment: :attr:`tosc_env.types.Context.environment`.
        message: int64 [B, 5], :attr:`tosc_env.types.Context.message`.
        words: how many words each message needs.
        purpose: what they are for; uses that must not share words have purposes of their own.

    Returns:
        int64 [B, words] with values in [0, 2**32), on the device of ``message``. Nothing waits for the device.

    >>> message = torch.tensor([[0, 0, 0, 17, 5], [1, 0, 0, 4, 5]])
    >>> keystream(SecretKey("00" * 32), 7, message, words=3, purpose="example").shape
    torch.Size([2, 3])
    """
    check_dense(message, "message")
    if message.dim() != 2 or message.shape[1] != 5 or message.dtype != torch.int64:
        kind = str(message.dtype).removeprefix("torch.")
        raise InputError(f"message must be int64 [B, 5], not {kind} {list(message.shape)}.")
    subkey = key.subkey(context_environment, purpose, message.device)
    sent = torch.stack((message[:, 3:] & _WORD, message[:, 3:] >> 32 & _WORD), dim=2).flatten(1)
    own = hchacha20(subkey, sent)
    counters = torch.arange(-(-words // 16), device=message.device)
    nonces = (message[:, :3] & _WORD)[:, None, :].expand(-1, len(counters), -1)
    return chacha20_blocks(own[:, None], counters.expand(len(message), -1), nonces).flatten(1)[:, :words]


def fixed_keystream(key: SecretKey, words: int, purpose: str, device: torch.device | str = "cpu") -> Tensor:
    """Uniform 32-bit words int64 [1, words] that depend on key and purpose alone, the same for all messages."""
    counters = torch.arange(-(-words // 16), device=device)
    nonces = torch.zeros(len(counters), 3, dtype=torch.int64, device=device)
    return chacha20_blocks(key.subkey(0, purpose, device), counters, nonces).flatten()[None, :words]


def chacha20_blocks(key_words: Tensor, counters: Tensor, nonces: Tensor) -> Tensor:
    """The ChaCha20 block function (RFC 8439, section 2.3) for many blocks at once: int64 [..., 16].

    Torch has few operations on uint32, so that words are int64 and masked to 32 bits: those of one key [8] or of each
    block's [..., 8], the counters [...] and the nonces [..., 3].
    """
    start = _state(key_words, torch.cat([counters[..., None], nonces], dim=-1))
    rows = [(row + first) & _WORD for row, first in zip(_twenty_rounds(start), start, strict=True)]
    return torch.cat(rows).T.reshape(*counters.shape, 16)


def hchacha20(key_words: Tensor, inputs: Tensor) -> Tensor:
    """A key int64 [..., 8] for each input int64 [..., 4], as XChaCha20 derives it (draft-irtf-cfrg-xchacha-03, 2.2)."""
    first, _, _, last = _twenty_rounds(_state(key_words, inputs))
    return torch.cat([first, last]).T.reshape(*inputs.shape[:-1], 8)


def _state(key_words: Tensor, last: Tensor) -> tuple[Tensor, ...]:
    """RFC 8439's 4x4 state, a row [4, blocks] at a time, so that four quarter rounds run side by side."""
    constants = _constants(str(last.device))
    *_, keys = torch.broadcast_tensors(last[..., :1], key_words)
    key = keys.reshape(-1, 8).T
    return constants[:, None].expand(-1, key.shape[1]), key[:4], key[4:], last.reshape(-1, 4).T


def _twenty_rounds(start: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    a, b, c, d = (row.clone(memory_format=torch.contiguous_format) for row in start)
    for _ in range(10):
        _quarter_rounds(a, b, c, d)
        b, c, d = b.roll(-1, 0), c.roll(-2, 0), d.roll(-3, 0)  # the diagonals become columns
        _quarter_rounds(a, b, c, d)
        b, c, d = b.roll(1, 0), c.roll(2, 0), d.roll(3, 0)
    return a, b, c, d


@lru_cache(maxsize=8)
def _constants(device: str) -> Tensor:
    # "expand 32-byte k" (RFC 8439, section 2.3), copied to a device once.
    return torch.tensor((0x61707865, 0x3320646E, 0x79622D32, 0x6B206574), device=device)


def _quarter_rounds(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> None:
    """A quarter round (RFC 8439, section 2.1) on each column, in place."""
    for total, addend, target, shift in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        total.add_(addend).bitwise_and_(_WORD)
        target.bitwise_xor_(total).bitwise_left_shift_(shift)
        # What the shift has pushed past bit 32 comes back in at the bottom.
        target.bitwise_or_(target >> 32).bitwise_and_(_WORD)

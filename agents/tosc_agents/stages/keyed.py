"""Encryption of symbols under a secret key."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tosc_agents.keys import SecretKey, fixed_keystream, keystream
from tosc_env import Context, InputError, Stage, SystemSpec
from tosc_env.channels.base import mixed
from tosc_env.modulation import CONSTELLATIONS
from tosc_env.options import check_choice

ROUNDS = {"shuffle": 1, "shuffle+signs": 1, "rotation": 3}
"""The modes, and how many rounds of signs, shuffle and mixing each has."""

LIFETIMES = ("fixed", "per_message")


class _Secrets(NamedTuple):
    """A key's order and signs for each message; one row serves all messages if the key is fixed."""

    order: Tensor
    """int64 [B or 1, rounds, 2n]: where each place takes its value from."""
    signs: Tensor | None
    """float32 [B or 1, rounds, 2n] of +-1, or None."""


class Keyed(Stage):
    """A secret orthogonal transform of a message's 2n real numbers; the key inverts it.

    ::

        one round:  [B, 2n] -> keyed signs -> keyed shuffle -> Walsh-Hadamard mixing -> [B, 2n]

        shuffle          one round, the shuffle alone
        shuffle+signs    one round, without the mixing
        rotation         three whole rounds

    All modes keep a message's energy, and so commute with the game's power constraint; white noise stays white
    noise of the same power, so that over AWGN the receiver with the key loses nothing.  **None of them has a proof of
    secrecy:** a shuffle leaves the multiset of values, with signs that of magnitudes, a rotation the energy, and any
    ``fixed`` key is learnt from pairs of images and symbols.  What is left is measured, not promised.

    Over a fading link the equalised symbols are transformed back, and the amplitudes that they have met with them
    (:meth:`recover_gains`).

    Of a length that is no power of two, with m the largest power of two below 2n, the first m numbers are mixed, then
    the last m.  The two windows overlap, so that within three shuffled rounds every number reaches every place.

    Args:
        constellation: of a discrete scheme. Then the n *points* are shuffled (so are the indices they stand for), and
            the signs of I and Q flipped independently, which maps a square QAM onto itself; no ``rotation``.
        mode: ``shuffle``, ``shuffle+signs`` or ``rotation``.
        lifetime: ``per_message`` draws from key, environment, the message's numbers and the image that it carries
            (:func:`~tosc_agents.keys.keystream`), so that different images never meet the same; ``fixed`` from the key
            alone, once for all messages.
        key: 64 hexadecimal digits, 32 bytes, or a :class:`~tosc_agents.keys.SecretKey`. None draws a fresh one:
            to replay messages, or to decode elsewhere, give one.

    >>> context = Context(torch.full((2,), 12.0), torch.tensor([[0, 0, 0, 17, 5], [1, 0, 0, 4, 5]]))
    >>> cipher = Keyed(SystemSpec((3, 32, 32), 10, num_symbols=8), mode="rotation", key="00" * 32)
    >>> sent = cipher.protect(torch.ones(2, 16), context)
    >>> bool((sent[0] == sent[1]).all()), torch.allclose(cipher.recover(sent, sent, context), torch.ones(2, 16))
    (False, True)
    """

    name = "keyed"
    keyed = True
    _order: Tensor
    _signs: Tensor | None

    def __init__(
        self,
        spec: SystemSpec,
        constellation: str | None = None,
        *,
        mode: str = "shuffle",
        lifetime: str = "per_message",
        key: SecretKey | str | bytes | None = None,
    ) -> None:
        super().__init__(spec, constellation, mode=mode, lifetime=lifetime)
        check_choice(mode, "mode", tuple(ROUNDS))
        check_choice(lifetime, "lifetime", LIFETIMES)
        if constellation is not None:
            check_choice(constellation, "constellation", tuple(CONSTELLATIONS))
            if mode == "rotation":
                allowed = "a discrete scheme takes 'shuffle' or 'shuffle+signs'"
                raise InputError(f"'rotation' sends no points of {constellation!r} to points; {allowed}.")
        self.mode, self.lifetime = mode, lifetime
        self.stochastic = lifetime == "per_message"
        self._own_key = key is not None
        # Drawn once for a fixed key, and no part of the state: a checkpoint must hold nothing of the key.
        self.register_buffer("_order", None, persistent=False)
        self.register_buffer("_signs", None, persistent=False)
        self._take(SecretKey.random() if key is None else SecretKey(key), 0)

    def use_key(self, key: Any, place: int) -> None:
        given = self._key if key is None else SecretKey(key)
        self._take(self._key if self._own_key else given, place)

    def _take(self, key: SecretKey, place: int) -> None:
        self._key, self._place = key, place
        self._memo: tuple[Any, tuple[int, int], _Secrets] | None = None
        if not self.stochastic:
            drawn = self._draw(lambda words, purpose: fixed_keystream(self._key, words, purpose))
            where = None if self._order is None else self._order.device
            self._order = drawn.order.to(where)
            self._signs = None if drawn.signs is None else drawn.signs.to(where)

    @property
    def mixes(self) -> bool:  # type: ignore[override]
        """True of a rotation."""
        return self.mode == "rotation"

    @property
    def key_fingerprint(self) -> str:
        """16 hexadecimal digits that tell keys apart and show nothing of them."""
        return self._key.fingerprint()

    def protect(self, symbols: Tensor, context: Context) -> Tensor:
        """Encrypted symbols [B, 2n], differentiable; float16 and bfloat16 become float32."""
        order, signs = self._secrets(symbols, context)
        out = symbols.to(torch.promote_types(symbols.dtype, torch.float32))
        for i in range(ROUNDS[self.mode]):
            if signs is not None:
                out = out * signs[:, i]
            out = out.gather(1, order[:, i].expand_as(out))
            if self.mode == "rotation":
                out = _mix(out)
        return out

    def recover(self, received: Tensor, csi: Tensor, context: Context) -> Tensor:
        """The inverse of :meth:`protect`: bit for bit without a rotation, to rounding with it."""
        order, signs = self._secrets(received, context)
        out = received.to(torch.promote_types(received.dtype, torch.float32))
        for i in reversed(range(ROUNDS[self.mode])):
            if self.mode == "rotation":
                out = _mix(out, undo=True)
            # Each value goes back to where the shuffle took it from, whatever the order is.
            out = torch.zeros_like(out).scatter(1, order[:, i].expand_as(out), out)
            if signs is not None:
                out = out * signs[:, i]
        return out

    def recover_gains(self, gains: Tensor, csi: Tensor, context: Context) -> Tensor:
        """The amplitudes moved with the values, or :func:`~tosc_env.channels.base.mixed` by a rotation."""
        if self.mode == "rotation":
            return mixed(gains, csi)
        order, _ = self._secrets(gains, context)
        return torch.zeros_like(gains).scatter(1, order[:, 0].expand(gains.shape), gains)

    def extra_repr(self) -> str:
        return f"mode={self.mode}, lifetime={self.lifetime}, key_fingerprint={self.key_fingerprint}"

    def _secrets(self, values: Tensor, context: Context) -> _Secrets:
        length = 2 * self.spec.num_symbols
        if values.dim() != 2 or values.shape[1] != length or len(values) != len(context.message):
            wanted = [len(context.message), length]
            raise InputError(f"symbols of these messages have the shape {wanted}, not {list(values.shape)}.")
        if not self.stochastic:
            return _Secrets(self._order, self._signs)
        environment, message = context.environment, context.message
        numbers = environment, 0 if message.is_inference() else message._version
        if self._memo is None or self._memo[0]() is not message or self._memo[1] != numbers:
            with torch.inference_mode(False):
                drawn = self._draw(
                    lambda words, purpose: keystream(self._key, environment, message, words, purpose)
                )
            if message.is_inference():  # nobody notices when it is written to
                return drawn
            # Both ends ask for the same messages, the receiver after the transmitter.
            self._memo = weakref.ref(message), numbers, drawn
        return self._memo[2]

    def _draw(self, stream: Callable[[int, str], Tensor]) -> _Secrets:
        """Order and signs from one key stream, which is asked for a number of words for a purpose."""
        rounds, length = ROUNDS[self.mode], 2 * self.spec.num_symbols
        width = 1 if self.constellation is None else 2  # a point's I and Q move together
        moved = length // width
        flips = 0 if self.mode == "shuffle" else -(-length // 32)
        kind = "reals" if self.constellation is None else "points"
        # A key is not spent twice: every mode, lifetime, length and place has a stream of its own.
        purpose = f"{self.mode}/{self.lifetime}/{moved} {kind}" + (f"/{self._place}" if self._place else "")
        words = stream(rounds * (moved + flips), purpose).unflatten(1, (rounds, moved + flips))
        # Stable, so that both ends agree even where two words are equal, on any device.
        order = words[..., :moved].argsort(dim=-1, stable=True)
        order = (width * order[..., None] + torch.arange(width, device=order.device)).flatten(-2)
        if not flips:
            return _Secrets(order, None)
        bits = (words[..., moved:, None] >> torch.arange(32, device=order.device)) & 1
        return _Secrets(order, 1.0 - 2.0 * bits.flatten(-2)[..., :length].float())


def _mix(values: Tensor, *, undo: bool = False) -> Tensor:
    """Walsh-Hadamard transforms of the first m and then, if these are not all, of the last m numbers of [B, L]."""
    length = values.shape[1]
    size = 1 << (length.bit_length() - 1)
    if size == length:
        return _walsh_hadamard(values)
    starts = (0, length - size)
    for start in reversed(starts) if undo else starts:
        head, window, tail = values.split((start, size, length - start - size), dim=1)
        values = torch.cat((head, _walsh_hadamard(window), tail), dim=1)
    return values


def _walsh_hadamard(values: Tensor) -> Tensor:
    """The orthonormal Walsh-Hadamard transform of [B, m], m a power of two; it is its own inverse."""
    # Sums and differences rather than a matrix product, which autocast or TF32 would round to a few digits.
    size = values.shape[1]
    for _ in range(size.bit_length() - 1):
        even, odd = values[:, 0::2], values[:, 1::2]
        values = torch.cat((even + odd, even - odd), dim=1)
    return values * size**-0.5

"""What every wiretap channel is: two links that carry the same symbols, each ``y = h s + n``.

All randomness is drawn first (:meth:`Channel.draw`, from a generator it is given), then applied by a pure,
differentiable function (:meth:`Channel.apply`).  That split is what makes an environment reproducible bit
for bit, lets gradients reach the encoder, and lets ``torch.compile`` see the arithmetic without the
random numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from numbers import Real

import torch
from torch import Tensor

from tosc_env.errors import InputError
from tosc_env.types import Link, Links

EQUALISERS = (None, "zf", "mmse")


def complex_normal(*shape: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Circular complex Gaussian numbers of unit variance, complex64 (the variance of each part is 1/2)."""
    return torch.randn(*shape, dtype=torch.complex64, generator=generator, device=device)


def noise_power(snr_db: Tensor) -> Tensor:
    """N0 for unit symbol energy: ``10^(-SNR/10)``, total over both real dimensions; same shape as given.

    >>> noise_power(torch.tensor([0.0, 10.0]))
    tensor([1.0000, 0.1000])
    """
    return torch.pow(10.0, -snr_db / 10.0)


class Channel(ABC):
    """A wiretap channel: the legitimate link to the receiver and the eavesdropper's own link.

    A subclass says how its fades are drawn (:meth:`draw_fades`) and how they act on each channel use
    (:meth:`gains`); one with memory, interference or distortion may override :meth:`apply` instead.

    Args:
        coherence: channel uses during which a fade stays constant, at least 1. A message longer than this
            sees several independent fades; a coherence of several messages keeps one fade over several
            rounds, and must then be a whole multiple of the message length. ``None``: one message.
        correlation: correlation coefficient of the two links' scattered fades, in [0, 1].
        equaliser: ``"mmse"`` or ``"zf"`` divides the known fade out before a policy sees the symbols;
            ``None`` hands over ``h s + n`` as it arrives. Both sides always know their own link (perfect
            CSI).

    Raises:
        InputError: a value outside these ranges.
    """

    fading: bool = True
    """Whether the links fade at all; a channel without fading has noise alone."""

    def __init__(
        self, *, coherence: int | None = None, correlation: float = 0.0, equaliser: str | None = "mmse"
    ) -> None:
        if coherence is not None and not (is_number(coherence) and coherence >= 1 and coherence % 1 == 0):
            raise InputError(
                f"coherence must be a whole number (channel uses), at least 1, not {coherence!r}."
            )
        if not (is_number(correlation) and 0.0 <= correlation <= 1.0):
            raise InputError(f"correlation must be a number in [0, 1], not {correlation!r}.")
        if equaliser not in EQUALISERS:
            raise InputError(f"equaliser must be 'zf', 'mmse' or None, not {equaliser!r}.")
        self.coherence = None if coherence is None else int(coherence)
        self.correlation = float(correlation)
        self.equaliser = equaliser

    # -- what a subclass provides ------------------------------------------------------------------

    @abstractmethod
    def draw_fades(
        self, batch_size: int, num_symbols: int, generator: torch.Generator | None, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Fresh fades of the receiver's and the eavesdropper's link, complex64 [B, F] each, E|h|^2 = 1."""

    def num_fades(self, num_symbols: int) -> int:
        """F, the number of complex coefficients that describe one link during a message of n uses."""
        return 0 if not self.fading else -(-num_symbols // (self.coherence or num_symbols))

    def gains(self, fades: Tensor, num_symbols: int) -> Tensor:
        """The gain of each channel use, complex64 [B, n], from the fades [B, F]."""
        if fades.shape[1] == num_symbols:
            return fades
        block = self.coherence or num_symbols
        if fades.shape[1] == 1:
            return fades.expand(-1, num_symbols)
        return fades.repeat_interleave(block, dim=1)[:, :num_symbols]

    # -- what the game calls ------------------------------------------------------------------------

    def num_csi(self, num_symbols: int) -> int:
        """Real numbers in a link's channel state information: the SNR in dB, then Re h, Im h of each fade."""
        return 1 + 2 * self.num_fades(num_symbols)

    def check(self, num_symbols: int) -> None:
        """Raise InputError when this channel cannot carry messages of ``num_symbols`` channel uses."""
        if self.fading and self.coherence and self.coherence > num_symbols and self.coherence % num_symbols:
            raise InputError(
                f"a coherence of {self.coherence} channel uses is longer than a message of {num_symbols} and "
                f"not a whole multiple of it; choose at most {num_symbols} or a multiple of it."
            )

    def draw(
        self,
        batch_size: int,
        num_symbols: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        previous: Links | None = None,
        restart: Tensor | None = None,
    ) -> Links:
        """All random numbers for one message per row.

        Args:
            batch_size: B.
            num_symbols: n, the channel uses of a message.
            generator: the stream to draw from, on ``device``.
            device: where the tensors are made.
            previous: the links of the last message, whose fades live on within their coherence time.
            restart: bool [B], rows whose episode has just begun and whose fades are drawn anew.

        The numbers drawn do not depend on ``restart``, so one row's reset never moves another row's stream.
        """
        device = torch.device(device)
        shape = (batch_size, num_symbols)
        if self.fading:
            fades_b, fades_e = self.draw_fades(batch_size, num_symbols, generator, device)
        else:
            fades_b = fades_e = torch.empty(batch_size, 0, dtype=torch.complex64, device=device)
        age = torch.ones(batch_size, dtype=torch.int64, device=device)
        lifetime = max(1, (self.coherence or 0) // num_symbols)
        if previous is not None and self.fading and lifetime > 1:
            keep = previous.age < lifetime
            if restart is not None:
                keep &= ~restart
            fades_b = torch.where(keep[:, None], previous.receiver.fades, fades_b)
            fades_e = torch.where(keep[:, None], previous.eavesdropper.fades, fades_e)
            age = torch.where(keep, previous.age + 1, age)
        noise_b = complex_normal(*shape, generator=generator, device=device)
        noise_e = complex_normal(*shape, generator=generator, device=device)
        return Links(Link(fades_b, noise_b), Link(fades_e, noise_e), age)

    def apply(self, symbols: Tensor, link: Link, snr_db: Tensor) -> Tensor:
        """What arrives: ``h s + n``, equalised if asked.

        Args:
            symbols: complex64 [B, n].
            link: that link's fades and unit noise.
            snr_db: Es/N0 per complex symbol in dB, float32 [B].

        Returns:
            complex64 [B, n]; differentiable in ``symbols`` (and in ``snr_db``).
        """
        n0 = noise_power(snr_db)[:, None]
        noise = link.noise * n0.sqrt()
        if not self.fading:
            return symbols + noise
        gain = self.gains(link.fades, symbols.shape[1])
        received = gain * symbols + noise
        return equalise(received, gain, n0, self.equaliser)

    def csi(self, link: Link, snr_db: Tensor) -> Tensor:
        """The link's state as its own side knows it, float32 [B, 1 + 2F]: SNR in dB, Re h_1, Im h_1, ..."""
        if link.fades.shape[1] == 0:
            return snr_db[:, None]
        return torch.cat([snr_db[:, None], torch.view_as_real(link.fades).flatten(1)], dim=1)


def equalise(received: Tensor, gain: Tensor, n0: Tensor, method: str | None) -> Tensor:
    """Undo known gains on complex symbols: ``"zf"`` y/h, ``"mmse"`` conj(h) y / (|h|^2 + N0), None nothing.

    The MMSE estimate is biased: a symbol arrives scaled by ``|h|^2 / (|h|^2 + N0)``, which a decision on the
    points of a constellation has to undo (both numbers are in the CSI).
    """
    if method is None:
        return received
    power = gain.real.square() + gain.imag.square()
    floor = n0 if method == "mmse" else torch.finfo(torch.float32).tiny
    return received * gain.conj() / (power + floor)


def to_constellation(received: Tensor, csi: Tensor, equaliser: str | None = "mmse") -> Tensor:
    """Receptions in the scale of the sent points, as a hard decision needs them.

    Args:
        received: float [B, 2n], I and Q interleaved, as :meth:`Channel.apply` hands them over.
        csi: float [B, 1 + 2F]: SNR in dB, then Re h, Im h of F blocks of the message; F = 0 without fading.
        equaliser: what the channel's own equaliser was, by default the channels' default.

    Returns:
        float [B, 2n]: ``h s + n`` divided by ``h``, whatever of that is still to be done. A message whose fades
        are all told as 0 (CSI that a threat model denies) stays as it is.

    Example:
        >>> y = torch.tensor([[0.2, 0.0]])  # an MMSE equaliser shrank the symbol 1 at |h|^2 = 0.25, 0 dB
        >>> to_constellation(y, torch.tensor([[0.0, 0.5, 0.0]]))
        tensor([[1., 0.]])
    """
    if csi.shape[1] == 1 or equaliser == "zf":
        return received
    symbols = torch.complex(received[:, 0::2].float(), received[:, 1::2].float())
    fades = torch.complex(csi[:, 1::2].float(), csi[:, 2::2].float())
    uses = symbols.shape[1]
    gain = fades.repeat_interleave(-(-uses // fades.shape[1]), dim=1)[:, :uses]
    power = (gain.real.square() + gain.imag.square()).clamp_min(1e-12)
    if equaliser == "mmse":
        scaled = symbols * ((power + noise_power(csi[:, :1])) / power)
    else:
        scaled = symbols * gain.conj() / power
    unknown = (fades == 0).all(1, keepdim=True)
    return torch.view_as_real(torch.where(unknown, symbols, scaled)).flatten(1)


def is_number(value: object) -> bool:
    """Whether ``value`` is a real number, numpy's included, and no bool."""
    return isinstance(value, Real) and not isinstance(value, bool)

"""The base class of channels: a link to each node that carries the same waves, ``y = H x + n``.

::

    waves [B, T, n] --apply--> raw [B, A, n] --observe: combine antennas, equalise--> Reception [B, 2n]

All randomness is drawn first; what follows are pure, differentiable functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from tosc_env.errors import InputError
from tosc_env.options import Share, check_choice, check_count, check_dense, check_hint
from tosc_env.types import CSILayout, Link, Reception

Sizes = Sequence[tuple[int, int, int, int]]
"""The shape (B, A, T, F) of each node's fades."""


def complex_normal(*shape: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Circular complex Gaussian numbers of unit variance, complex64 (the variance of each part is 1/2)."""
    return torch.randn(*shape, dtype=torch.complex64, generator=generator, device=device)


def noise_power(snr_db: Tensor) -> Tensor:
    """N0 for unit symbol energy: ``10^(-SNR/10)``, total over both real dimensions; same shape as given.

    >>> noise_power(torch.tensor([0.0, 10.0]))
    tensor([1.0000, 0.1000])
    """
    return torch.pow(10.0, -snr_db / 10.0)


class Channel:
    """The links from the transmitter's T antennas to every node's A.

    A subclass has :meth:`draw_fades`, and :meth:`fade_of_use` where fades are not in blocks of equal length; one with
    memory, interference or distortion may override :meth:`draw` and :meth:`apply` instead.

    Args:
        coherence: channel uses during which a fade stays constant, at least 1. A message longer than this
            sees several independent fades; a coherence of several messages keeps one fade over several
            rounds, and must then be a whole multiple of the message length. ``None``: one message.
        correlation: correlation coefficient of each eavesdropper's scattered fades with the receiver's, in [0, 1].
        equaliser: ``"mmse"`` or ``"zf"`` divides the known fade out before a policy sees the symbols;
            ``None`` leaves ``h s + n``. All nodes know their own links (perfect CSI).
    """

    fading: bool = True
    """False for a channel of noise alone."""

    def __init__(
        self, *, coherence: int | None = None, correlation: float = 0.0, equaliser: str | None = "mmse"
    ) -> None:
        self.coherence = None if coherence is None else check_count(coherence, "coherence (in channel uses)")
        self.correlation = float(check_hint(correlation, Share, "correlation"))
        self.equaliser: str | None = check_choice(equaliser, "equaliser", ("zf", "mmse", None))
        self._layouts: dict[tuple[int, int, str | None], CSILayout] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_layouts": {}}

    # -- what a subclass provides ------------------------------------------------------------------

    def draw_fades(
        self, sizes: Sizes, generator: torch.Generator | None, device: torch.device
    ) -> Sequence[Tensor]:
        """Fresh fades of each node's link, complex64 of its size (B, A, T, F), E|h|^2 = 1; the receiver's first."""
        raise InputError(f"{type(self).__name__} says that it fades (fading=True) and has no draw_fades.")

    def num_fades(self, num_symbols: int) -> int:
        """F, the number of complex coefficients that describe one link during a message of n uses."""
        return 0 if not self.fading else -(-num_symbols // (self.coherence or num_symbols))

    def fade_of_use(self, num_symbols: int) -> Tensor:
        """The number of the fade that each channel use has, int64 [n] in [0, F)."""
        return torch.arange(num_symbols) // (self.coherence or num_symbols)

    # -- what the game calls ------------------------------------------------------------------------

    def layout(self, num_symbols: int) -> CSILayout:
        """The fade of each channel use, and the equaliser: all that is needed to read CSI."""
        key = num_symbols, self.num_fades(num_symbols), self.equaliser
        if not self.fading:
            return CSILayout()
        if key not in self._layouts:  # asked for each message, and listing numbers takes time
            uses = tuple(self.fade_of_use(num_symbols).tolist()) if key[1] > 1 else ()
            in_turn = uses == tuple(range(key[1]))
            self._layouts[key] = CSILayout(() if in_turn else uses, self.equaliser)
        return self._layouts[key]

    def num_csi(self, num_symbols: int) -> int:
        """Real numbers in a link's channel state information: the SNR in dB, then Re h, Im h of each fade."""
        return 1 + 2 * self.num_fades(num_symbols)

    def check(self, num_symbols: int) -> None:
        """Raise InputError when this channel cannot carry messages of ``num_symbols`` channel uses."""
        if self.fading and self.coherence and self.coherence > num_symbols and self.coherence % num_symbols:
            raise InputError(f"coherence must be up to or a multiple of {num_symbols}, not {self.coherence}.")

    def draw(
        self,
        snr_db: Sequence[Tensor],
        num_symbols: int,
        *,
        antennas: Sequence[int] | None = None,
        transmit_antennas: int = 1,
        generator: torch.Generator | None = None,
        previous: Sequence[Link] | None = None,
        restart: Tensor | None = None,
    ) -> list[Link]:
        """Draw all random numbers for one message of n symbols per row: a link for each node.

        Args:
            snr_db: float32 [B] for each node, the receiver first; the links are made on their device.
            antennas: A of each node; None: one each.
            transmit_antennas: T.
            generator: the stream to draw from, on that device.
            previous: the links of the last message, whose fades continue within their coherence time.
            restart: bool [B], rows whose episode has just begun and whose fades are drawn anew. It does not change
                the numbers drawn for other rows.
        """
        device, batch = snr_db[0].device, len(snr_db[0])
        ports = [1] * len(snr_db) if antennas is None else list(antennas)
        fades_each = self.num_fades(num_symbols)
        sizes = [(batch, count, transmit_antennas, fades_each) for count in ports]
        fades = [torch.empty(size, dtype=torch.complex64, device=device) for size in sizes]
        if fades_each:
            gives = f"{type(self).__name__}.draw_fades"
            fades = [
                check_dense(fade, f"what {gives} gives") for fade in self.draw_fades(sizes, generator, device)
            ]
            if [tuple(f.shape) for f in fades] != sizes or not all(f.is_complex() for f in fades):
                found = [(list(f.shape), str(f.dtype)) for f in fades]
                raise InputError(f"{gives} must give complex fades of the sizes {sizes}, not {found}.")
        age = torch.ones(batch, dtype=torch.int64, device=device)
        lifetime = max(1, (self.coherence or 0) // num_symbols)
        if previous is not None and self.fading and lifetime > 1:
            keep = previous[0].age < lifetime
            if restart is not None:
                keep &= ~restart
            row = keep[:, None, None, None]
            fades = [torch.where(row, old.fades, new) for old, new in zip(previous, fades, strict=True)]
            age = torch.where(keep, previous[0].age + 1, age)
        noises = [complex_normal(batch, a, num_symbols, generator=generator, device=device) for a in ports]
        return [Link(*parts, age) for parts in zip(fades, noises, snr_db, strict=True)]

    def gains(self, link: Link, num_symbols: int) -> Tensor:
        """The gain of each channel use, complex64 [B, A, T, n]."""
        return per_use(link.fades, self.layout(num_symbols), num_symbols)

    def apply(self, waves: Tensor, link: Link) -> Tensor:
        """The signals ``H x + n`` at a node's antennas, complex64 [B, A, n], for waves x complex64 [B, T, n].

        Differentiable in ``waves`` and in the link's SNR.
        """
        noise = link.noise * noise_power(link.snr_db)[:, None, None].sqrt()
        if not self.fading:
            return waves.sum(1, keepdim=True) + noise if waves.shape[1] > 1 else waves + noise
        gains = self.gains(link, waves.shape[2])
        if waves.shape[1] == 1:
            return gains[:, :, 0] * waves + noise
        return (gains * waves[:, None]).sum(2) + noise

    def observe(self, raw: Tensor, link: Link, weights: Tensor | None = None) -> Reception:
        """Combine and equalise a node's antennas' signals [B, A, n] of :meth:`apply`.

        ``weights`` are those of the symbols at the transmitter's antennas (:class:`~tosc_env.types.Waves`), complex
        [B, T, n]; None: there is one antenna.
        """
        return self.pool([raw], [link], weights)

    def pool(self, raws: Sequence[Tensor], links: Sequence[Link], weights: Tensor | None = None) -> Reception:
        """Combine the signals of all antennas of several nodes by maximum ratio, and equalise them as of one antenna.

        Against white noise ``sum conj(g_a) y_a / |g|`` is a sufficient statistic of a symbol that reaches the antennas
        with gains g: it is ``|g| s + n``, with noise as before (Tse and Viswanath, *Fundamentals of Wireless
        Communication*, section 3.3.1). Antennas of other noise are first scaled to that of the best node. Without
        fading the gain |g| goes to the SNR instead.
        """
        if len(raws) == 1 and raws[0].shape[1] == 1 and weights is None:
            symbols, link = raws[0][:, 0], links[0]
            if self.fading:
                gain = self.gains(link, symbols.shape[1])[:, 0, 0]
                symbols = equalise(symbols, gain, noise_power(link.snr_db)[:, None], self.equaliser)
            return Reception(torch.view_as_real(symbols).flatten(1), self.csi(link), raws[0])
        uses, tiny = raws[0].shape[2], torch.finfo(torch.float32).tiny
        gains = [self.gains(link, uses) for link in links]
        each = [one[:, :, 0] if weights is None else (one * weights[:, None]).sum(2) for one in gains]
        best = links[0].snr_db
        if len(links) > 1:
            best = torch.stack([link.snr_db for link in links]).amax(0)
            scales = [torch.pow(10.0, (link.snr_db - best) / 20.0)[:, None, None] for link in links]
            raws = [one * scale for one, scale in zip(raws, scales, strict=True)]
            each = [one * scale for one, scale in zip(each, scales, strict=True)]
        raw = raws[0] if len(raws) == 1 else torch.cat(list(raws), dim=1)
        gain = torch.cat(each, dim=1)
        strength = gain.abs().square().sum(1).sqrt()
        symbols = (gain.conj() * raw).sum(1) / strength.clamp_min(tiny)
        if not self.fading:
            # Of a precoder that changes with the uses, their mean.
            level = 10.0 * torch.log10(strength.square().mean(1).clamp_min(tiny))
            one = replace(links[0], fades=links[0].fades[:, :1, :1, :0], snr_db=best + level)
            symbols = symbols / strength.clamp_min(tiny)
        else:
            layout = self.layout(uses)
            fades = strength[:, _first_uses(layout, self.num_fades(uses), str(raw.device))]
            one = replace(links[0], fades=fades[:, None, None].to(raw.dtype), snr_db=best)
            # The CSI holds the gain of a fade's first use, though a precoder may change within the fade.
            known = per_use(fades, layout, uses)
            symbols = symbols * known / strength.clamp_min(tiny)
            symbols = equalise(symbols, known.to(raw.dtype), noise_power(best)[:, None], self.equaliser)
        return Reception(torch.view_as_real(symbols).flatten(1), self.csi(one), raw)

    def csi(self, link: Link) -> Tensor:
        """A link of one antenna as its node knows it, float32 [B, 1 + 2F]: SNR in dB, Re h_1, Im h_1, ..."""
        fades = link.fades[:, 0, 0]
        if fades.shape[1] == 0:
            return link.snr_db[:, None]
        return torch.cat([link.snr_db[:, None], torch.view_as_real(fades).flatten(1)], dim=1)


@lru_cache(maxsize=64)
def _uses(layout: CSILayout, device: str) -> Tensor:
    # Kept, because a copy of numbers to a GPU waits for all that was handed to it before.
    with torch.inference_mode(False):
        return torch.tensor(layout.fade_of_use, device=device)


@lru_cache(maxsize=64)
def _first_uses(layout: CSILayout, num_fades: int, device: str) -> Tensor:
    with torch.inference_mode(False):
        listed = layout.fade_of_use or range(num_fades)
        return torch.tensor([listed.index(k) for k in range(num_fades)], device=device)


def per_use(fades: Tensor, layout: CSILayout, num_symbols: int) -> Tensor:
    """The fade of each channel use, [..., F] -> [..., n]; 1 where F = 0. InputError for another layout."""
    count = fades.shape[-1]
    if count == 0:
        one = torch.ones((), dtype=fades.dtype, device=fades.device)
        return one.expand(*fades.shape[:-1], num_symbols)
    if count == 1:
        return fades.expand(*fades.shape[:-1], num_symbols)
    if len(layout.fade_of_use) == num_symbols:
        return fades[..., _uses(layout, str(fades.device))]
    if layout.fade_of_use or count != num_symbols:
        uses = len(layout.fade_of_use) or count
        raise InputError(
            f"a CSI layout of {uses} uses tells not which of {count} fades each of {num_symbols} has."
        )
    return fades


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


def matched(received: Tensor, csi: Tensor, layout: CSILayout) -> tuple[Tensor, Tensor]:
    """Receptions through the matched filter, conj(h) (h s + n), whatever the equaliser has made of them, and |h|^2.

    Args:
        received: float [..., 2n], I and Q interleaved, as :meth:`Channel.observe` hands them over.
        csi: float [..., 1 + 2F]: SNR in dB, then Re h, Im h of F fades; F = 0 without fading.
        layout: of that CSI (:meth:`Channel.layout`).

    Returns:
        both [..., 2n], in float32 or what is more precise.

    >>> y = torch.tensor([[0.2, 0.0]])  # an MMSE equaliser shrank the symbol 1 at |h|^2 = 0.25, 0 dB
    >>> matched(y, torch.tensor([[0.0, 0.5, 0.0]]), CSILayout())
    (tensor([[0.2500, 0.0000]]), tensor([[0.2500, 0.2500]]))
    """
    wide = torch.promote_types(received.dtype, torch.float32)
    received, csi = received.to(wide), csi.to(wide)
    if csi.shape[-1] == 1:
        return received, torch.ones_like(received)
    n0 = noise_power(csi[..., :1])
    if layout.aligned:
        power = csi[..., 1:].square()
        return received * (power + n0), power
    uses = received.shape[-1] // 2
    gain = per_use(torch.complex(csi[..., 1::2], csi[..., 2::2]), layout, uses)
    power = (gain.real.square() + gain.imag.square()).repeat_interleave(2, dim=-1)
    if layout.equaliser is None:
        wave = torch.view_as_complex(received.unflatten(-1, (uses, 2)).contiguous())
        return torch.view_as_real(wave * gain.conj()).flatten(-2), power
    return received * (power + n0 if layout.equaliser == "mmse" else power), power


def aligned(received: Tensor, csi: Tensor, layout: CSILayout) -> tuple[Tensor, Tensor]:
    """Receptions behind an MMSE equaliser whatever the channel's, and CSI that stays true when values are moved.

    Args:
        received, csi, layout: as in :func:`matched`, of a link that fades.

    Returns:
        received float [B, 2n], and CSI [B, 1 + 2n]: the SNR in dB, then the amplitude that each real number has met;
        its layout is ``CSILayout(aligned=True)``.  A message whose fades are all told as 0 (CSI that a threat
        model denies) stays as it is.
    """
    filtered, power = matched(received, csi, layout)
    if layout.equaliser != "mmse":
        known, shrunk = (csi[:, 1:] != 0).any(1, keepdim=True), filtered / (power + noise_power(csi[:, :1]))
        received = torch.where(known, shrunk, received.to(filtered.dtype))
    return received, torch.cat([csi[:, :1], power.sqrt()], dim=1)


def mixed(gains: Tensor, csi: Tensor) -> Tensor:
    """The amplitude of values that were each spread over all channel uses, by a rotation that is undone.

    Behind an MMSE equaliser each is ``b`` times what it was, b the mean of ``g^2 / (g^2 + N0)`` over the uses' gains
    [B, L], with an error of the SINR ``b / (1 - b)`` (Tse and Viswanath, *Fundamentals of Wireless Communication*,
    section 8.3.3): as over a link of the squared amplitude ``N0 b / (1 - b)``.  Returns [B, L], equal in each row.
    """
    # 1 - b is the mean of N0 / (g^2 + N0), in which nothing is subtracted, and N0 is a factor of both sides.
    power = gains.square()
    whole = power + noise_power(csi[:, :1])
    squared = (power / whole).mean(1, keepdim=True) / (1.0 / whole).mean(1, keepdim=True)
    return squared.sqrt().expand_as(gains)


def to_constellation(received: Tensor, csi: Tensor, layout: CSILayout) -> Tensor:
    """Receptions [B, 2n] in the scale of the sent points, as a hard decision needs them: ``s + n / h``.

    The arguments are those of :func:`matched`. A message whose fades are all told as 0 stays as it is.

    Example:
        >>> y = torch.tensor([[0.2, 0.0]])  # an MMSE equaliser shrank the symbol 1 at |h|^2 = 0.25, 0 dB
        >>> to_constellation(y, torch.tensor([[0.0, 0.5, 0.0]]), CSILayout())
        tensor([[1., 0.]])
    """
    if csi.shape[1] == 1 or (layout.equaliser == "zf" and not layout.aligned):
        return received
    filtered, power = matched(received, csi, layout)
    scaled = filtered / power.clamp_min(1e-12)
    return torch.where((csi[:, 1:] == 0).all(1, keepdim=True), received.to(scaled.dtype), scaled)

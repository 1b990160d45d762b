"""Channels from Sionna: the 3GPP tapped delay lines, carried by OFDM.

Sionna is imported when fades are first drawn, not before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tosc_env.channels.base import Channel, Sizes
from tosc_env.channels.sionna_rng import import_sionna, lend_generator, sionna_device
from tosc_env.errors import InputError, unknown
from tosc_env.options import check_count, check_positive, check_weight

MODELS = ("A", "B", "C", "D", "E")
LINE_OF_SIGHT = ("D", "E")

CYCLIC_PREFIX = 144 / 2048
"""Length of 5G NR's normal cyclic prefix in terms of the useful part of an OFDM symbol (TS 38.211, 5.3.1)."""


class TDL(Channel):
    """A tapped delay line of 3GPP TR 38.901 (section 7.7.2) under OFDM: frequency-selective block fading.

    Channel use i is subcarrier ``i mod S`` of OFDM symbol ``i div S``, S being ``min(num_subcarriers, n)``
    adjacent subcarriers about the carrier. There the link's gain is its frequency response
    ``h(f) = sum_l a_l exp(-j 2 pi f tau_l)``, with E|h|^2 = 1; single realisations are not normalised. One gain per
    subcarrier presumes a cyclic prefix longer than the delays, and a channel at rest during an OFDM symbol.

    The scattered taps of an eavesdropper's antenna a are correlated with those of the receiver's antenna a (modulo its
    number of antennas), ``a_E = rho a_B + sqrt(1 - rho^2) a'``; the line of sight of profiles D and E has one random
    phase per message, the same for all links.

    Args:
        model: the delay profile: A, B, C without, D, E with a line of sight.
        delay_spread: RMS delay spread in seconds, at least 0; TR 38.901 calls 100 ns nominal.
        carrier_frequency: in Hz.
        speed: in m/s, at least 0. Above 0 the channel ages from one OFDM symbol of a message to the next (not
            within a message that fits into one); every message starts from fresh fades.
        subcarrier_spacing: in Hz.
        num_subcarriers: the width of the OFDM grid; a longer message takes several OFDM symbols.
        coherence: channel uses during which the fades stay, a whole multiple of the message length (then
            ``speed`` must be 0 unless it is one message); None: one message.
        correlation, equaliser: see :class:`~tosc_env.channels.base.Channel`.

    Example:
        >>> import torch
        >>> channel = TDL(model="C", delay_spread=300e-9)
        >>> snr_db = torch.full((3,), 12.0)
        >>> links = channel.draw([snr_db, snr_db], 64, generator=torch.Generator().manual_seed(0))
        >>> links[0].fades.shape, channel.num_csi(64)
        (torch.Size([3, 1, 1, 64]), 129)
    """

    def __init__(
        self,
        *,
        model: str = "A",
        delay_spread: float = 100e-9,
        carrier_frequency: float = 3.5e9,
        speed: float = 0.0,
        subcarrier_spacing: float = 30e3,
        num_subcarriers: int = 64,
        coherence: int | None = None,
        correlation: float = 0.0,
        equaliser: str | None = "mmse",
    ) -> None:
        super().__init__(coherence=coherence, correlation=correlation, equaliser=equaliser)
        if model not in MODELS:
            raise unknown("TDL model", model, MODELS)
        self.model = model
        self.delay_spread = check_weight(delay_spread, "delay_spread (in seconds)")
        self.carrier_frequency = check_positive(carrier_frequency, "carrier_frequency (in Hz)")
        self.speed = check_weight(speed, "speed (in m/s)")
        self.subcarrier_spacing = check_positive(subcarrier_spacing, "subcarrier_spacing (in Hz)")
        self.num_subcarriers = check_count(num_subcarriers, "num_subcarriers")
        self._weights = _eavesdropper_weights(self.correlation, model in LINE_OF_SIGHT)
        self._blocks: dict[tuple[str, int, int], Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_blocks": {}}  # each belongs to one device

    def num_fades(self, num_symbols: int) -> int:
        """F: the gains of one OFDM symbol at rest, of the whole message in motion."""
        return num_symbols if self.speed > 0 else min(self.num_subcarriers, num_symbols)

    def fade_of_use(self, num_symbols: int) -> Tensor:
        """The subcarrier of each channel use, again for every OFDM symbol; in motion every use has its own fade."""
        return torch.arange(num_symbols) % self.num_fades(num_symbols)

    def check(self, num_symbols: int) -> None:
        """Raise InputError when the coherence does not fit messages of ``num_symbols`` channel uses."""
        if self.coherence is None:
            return
        if self.coherence % num_symbols:
            raise InputError(f"coherence must be a multiple of {num_symbols} uses, not {self.coherence}.")
        if self.speed > 0 and self.coherence > num_symbols:
            raise InputError(f"coherence={self.coherence}, over messages, needs speed=0, not {self.speed:g}.")

    def draw_fades(
        self, sizes: Sizes, generator: torch.Generator | None, device: torch.device
    ) -> Sequence[Tensor]:
        """Fresh frequency responses of all links."""
        batch, reference, transmit, fades = sizes[0]
        width = min(self.num_subcarriers, fades)
        steps = -(-fades // width)
        symbol_rate = self.subcarrier_spacing / (1.0 + CYCLIC_PREFIX)
        utils = import_sionna("sionna.phy.channel")
        name = sionna_device(device)
        own = len(self._weights) - 1  # realisations behind each of an eavesdropper's antennas
        receive = reference + own * sum(size[1] for size in sizes[1:])
        block = self._block(name, receive, transmit)
        with lend_generator(generator, name), torch.no_grad():
            taps, delays = block(batch, steps, symbol_rate)
        spacing = self.subcarrier_spacing
        frequencies = utils.subcarrier_frequencies(width, spacing, precision="single", device=name)
        # All rows have the same delays; one row of them is enough, and saves an exponential per row.
        response = utils.cir_to_ofdm_channel(frequencies, taps, delays[:1])
        drawn = response.reshape(batch, receive, transmit, steps * width)[..., :fades]
        links, at = [drawn[:, :reference].contiguous()], reference
        for _, antennas, _, _ in sizes[1:]:
            parts = []
            for antenna in range(antennas):
                seen = [antenna % reference, *range(at, at + own)]
                parts.append(sum(w * drawn[:, k] for w, k in zip(self._weights, seen, strict=True) if w))
                at += own
            links.append(torch.stack(parts, dim=1))
        return links

    def _block(self, device: str, receive: int, transmit: int) -> Any:
        """Sionna's TDL on ``device``, with one receive antenna for each realisation that the links need."""
        key = device, receive, transmit
        if key not in self._blocks:
            tr38901 = import_sionna("sionna.phy.channel.tr38901")
            with torch.inference_mode(False):
                profile = self.model, self.delay_spread, self.carrier_frequency
                speeds = {"min_speed": self.speed, "max_speed": self.speed}
                sizes = {"num_rx_ant": receive, "num_tx_ant": transmit}
                self._blocks[key] = tr38901.TDL(
                    *profile, **speeds, **sizes, precision="single", device=device
                )
        return self._blocks[key]


def _eavesdropper_weights(rho: float, line_of_sight: bool) -> tuple[float, ...]:
    """Weights w of the eavesdropper's link ``sum_k w_k h_k``, where ``h_0`` is the receiver's link.

    The ``h_k`` are Sionna's receive antennas: scattered taps of their own and, with a line of sight, the same
    specular one. Scattered taps of correlation rho and unchanged power ask for ``w_0 = rho`` and
    ``sum w_k^2 = 1``, which two realisations give. A line of sight that keeps its power asks for
    ``sum w_k = 1`` as well, which takes a third:
    ``w_1, w_2 = ((1 - rho) +- sqrt((1 - rho)(1 + 3 rho))) / 2``.
    """
    if not line_of_sight or rho in (0.0, 1.0):
        return rho, math.sqrt(1.0 - rho * rho)
    root = math.sqrt((1.0 - rho) * (1.0 + 3.0 * rho))
    return rho, (1.0 - rho + root) / 2.0, (1.0 - rho - root) / 2.0

"""A decision at the transmitter, which is all that is sent."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from tosc_agents.backbones.cnn import CNN
from tosc_env.channels.base import matched, noise_power
from tosc_env.errors import InputError, shown
from tosc_env.game import ENERGY_EPSILON
from tosc_env.options import check_options
from tosc_env.schemes import PrivacyScheme, Transmit, Trial, defaults
from tosc_env.types import Context, SystemSpec

CLEAR_DB = 20.0
"""The SNR that a receiver is told whose symbols have met no noise."""


@defaults(weights="deepjscc")
class Label(PrivacyScheme):
    """The transmitter decides the task and sends the label, repetition-coded in QPSK.

    ::

        transmitter:  image -> both ends of another backbone, without a channel -> label
                      label -> bits -> repeated over all 2n real dimensions, +-1/sqrt(2)
        receiver:     correlates with each label's codeword, channel uses weighted by their fades (maximum likelihood)

    No scheme that works can leak less than its label, so every leak is compared with this one's. Where the task is
    several yes-or-no attributes (``spec.binary``), each has its own bit.

    Args:
        backbone: who decides; None: a fresh :class:`~tosc_agents.backbones.cnn.CNN`, made with the options.

    >>> scheme = Label(SystemSpec((3, 32, 32), 10)).eval()
    >>> context = Context(torch.full((2,), 12.0), torch.zeros(2, 5, dtype=torch.long))
    >>> symbols = scheme.encode(torch.rand(2, 3, 32, 32), context)
    >>> scheme.decode(symbols, torch.full((2, 1), 12.0), context).shape, scheme.bits
    (torch.Size([2, 10]), 4.0)
    """

    name = "label"
    constellation = "qpsk"
    codewords: Tensor

    def __init__(self, spec: SystemSpec, *, backbone: PrivacyScheme | None = None, **options: Any) -> None:
        check_options(CNN, self.name, options, given=1)
        if backbone is not None and not isinstance(backbone, PrivacyScheme):
            raise InputError(f"backbone takes a ready scheme, not {shown(backbone)}.")
        decider = backbone or CNN(spec, **options)
        if decider.constellation is not None:
            raise InputError(f"a label is decided on any symbols, not on the points of {decider.name!r}.")
        bits = _num_bits(spec)
        if bits > 2 * spec.num_symbols:
            raise InputError(
                f"a label of {bits} bits needs num_symbols of at least {-(-bits // 2)}, not {spec.num_symbols}: a "
                "channel use carries two bits."
            )
        super().__init__(spec, **decider.options)
        self.decider = decider
        self.register_buffer("codewords", _codewords(spec), persistent=False)

    def logits(self, images: Tensor) -> Tensor:
        """The transmitter's own opinion, [B, K], before anything is sent."""
        clear = images.new_full((len(images),), CLEAR_DB, dtype=torch.float32)
        context = Context(clear, torch.zeros(len(images), 5, dtype=torch.int64, device=images.device))
        symbols = self.decider.encode(images, context).float()
        energy = symbols.square().sum(1, keepdim=True) / self.spec.num_symbols
        return self.decider.decode(symbols * torch.rsqrt(energy + ENERGY_EPSILON), clear[:, None], context)

    def encode(self, images: Tensor, context: Context) -> Tensor:
        return self._symbols(self.logits(images))

    def decode(self, received: Tensor, csi: Tensor, context: Context) -> Tensor:
        # The log-likelihoods of the codewords, of equal energy in each channel use, given the raw reception h s + n
        # with white noise of variance N0/2 per real dimension.
        scale = 2.0 / noise_power(csi[:, :1])
        filtered, _ = matched(received, csi, context.layout)
        return scale * (filtered @ self.codewords.T)

    def forward(self, images: Tensor, context: Context, transmit: Transmit) -> Trial:
        """The decision at the transmitter is what is trained: no gradient passes a hard label."""
        logits = self.logits(images)
        sent = transmit(self._symbols(logits.detach()))
        return Trial(logits, logits, sent, sent.eavesdropper.received)

    @property
    def bits(self) -> float:
        return float(_num_bits(self.spec))

    def _symbols(self, logits: Tensor) -> Tensor:
        if not self.spec.binary:
            return self.codewords[logits.argmax(1)]
        signs = torch.where(logits > 0, 1.0, -1.0)
        return _repeat(signs, 2 * self.spec.num_symbols) * math.sqrt(0.5)


def _num_bits(spec: SystemSpec) -> int:
    return spec.num_outputs if spec.binary else max(1, math.ceil(math.log2(spec.num_outputs)))


def _repeat(bits: Tensor, length: int) -> Tensor:
    """Bits [B, m], one after the other and again from the first, to [B, length]."""
    return bits.repeat(1, -(-length // bits.shape[1]))[:, :length]


def _codewords(spec: SystemSpec) -> Tensor:
    """Rows to correlate with, [K, 2n]: each label's symbols, or each attribute's own positions."""
    length = 2 * spec.num_symbols
    if spec.binary:
        return _repeat(torch.eye(spec.num_outputs), length) * math.sqrt(0.5)
    labels = torch.arange(spec.num_outputs)[:, None]
    bits = (labels >> torch.arange(_num_bits(spec))) & 1
    return _repeat(1.0 - 2.0 * bits.float(), length) * math.sqrt(0.5)

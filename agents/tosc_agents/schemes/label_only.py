"""The obvious rival: decide at the transmitter, and send nothing but the decision."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from tosc_agents.networks import scaled_snr
from tosc_agents.schemes.deepjscc import DeepJSCC
from tosc_env.channels import noise_power
from tosc_env.game import Game, Round
from tosc_env.options import check_options
from tosc_env.policies import Context, SystemSpec
from tosc_env.tasks import Task


class LabelOnly(DeepJSCC):
    """The transmitter decides the task and sends the label, repetition-coded in QPSK.

    ::

        transmitter:  image -> the baseline's two networks, without a channel -> label
                      label -> bits -> repeated over all 2n real dimensions, +-1/sqrt(2)
        receiver:     correlates with each label's codeword (maximum likelihood)

    No scheme that works can leak less than its label, so every leak is compared with this one's.  It has the
    networks of :class:`~tosc_agents.schemes.deepjscc.DeepJSCC` and plays with the weights of a trained one.

    Where the task is several yes-or-no attributes (``spec.binary``), each has its own bit.

    Args:
        spec: the system's shapes.
        options: of the networks, as for the baseline.

    Example:
        >>> import torch
        >>> from tosc_env.policies import Context
        >>> scheme = LabelOnly(SystemSpec((3, 32, 32), 10)).eval()
        >>> context = Context(torch.full((2,), 12.0), torch.zeros(2, 3, dtype=torch.long))
        >>> symbols = scheme.encode(torch.rand(2, 3, 32, 32), context)
        >>> scheme.decode(symbols, torch.full((2, 1), 12.0), context).shape, scheme.bits()
        (torch.Size([2, 10]), 4.0)
    """

    name = "label-only"
    constellation = "qpsk"
    weights_of = "deepjscc"
    codewords: Tensor

    def __init__(self, spec: SystemSpec, **options: Any) -> None:
        check_options(DeepJSCC, self.name, options, given=1)
        super().__init__(spec, **options)
        self.register_buffer("codewords", _codewords(spec), persistent=False)

    def logits(self, images: Tensor, context: Context) -> Tensor:
        """The transmitter's own opinion, [B, K], before anything is sent."""
        features = self.transmitter(images).float()
        energy = features.square().sum(1, keepdim=True) / self.spec.num_symbols
        told = torch.full_like(context.snr_db, 20.0 if self.told_snr_db is None else self.told_snr_db)
        return self.receiver(torch.cat([features * torch.rsqrt(energy + 1e-12), scaled_snr(told)], dim=1))

    def encode(self, images: Tensor, context: Context) -> Tensor:
        logits = self.logits(images, context)
        if not self.spec.binary:
            return self.codewords[logits.argmax(1)]
        signs = torch.where(logits > 0, 1.0, -1.0)
        return _repeat(signs, 2 * self.spec.num_symbols) * math.sqrt(0.5)

    def decode(self, received: Tensor, csi: Tensor, context: Context) -> Tensor:
        # The log-likelihoods of the codewords in white noise of variance N0/2 per real dimension.
        scale = 2.0 / noise_power(csi[:, :1])
        return scale * (received @ self.codewords.T)

    def loss(
        self, game: Game, round_: Round, context: Context, task: Task
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The decision at the transmitter is what is trained: no gradient passes a hard label."""
        logits = self.logits(round_.batch.images, context)
        score = task.score(task.decide(logits.detach()), round_.targets).mean()
        return task.loss(logits, round_.targets), {"accuracy": score}

    def bits(self) -> float:
        return float(_num_bits(self.spec))


def _num_bits(spec: SystemSpec) -> int:
    return spec.num_outputs if spec.binary else max(1, math.ceil(math.log2(spec.num_outputs)))


def _repeat(bits: Tensor, length: int) -> Tensor:
    """Bits [B, m], one after the other and again from the first, to [B, length]."""
    return bits.repeat(1, -(-length // bits.shape[1]))[:, :length]


def _codewords(spec: SystemSpec) -> Tensor:
    """What is correlated with: each label's symbols [K, 2n], or each attribute's own positions."""
    length = 2 * spec.num_symbols
    if spec.binary:
        return _repeat(torch.eye(spec.num_outputs), length) * math.sqrt(0.5)
    labels = torch.arange(spec.num_outputs)[:, None]
    bits = (labels >> torch.arange(_num_bits(spec))) & 1
    return _repeat(1.0 - 2.0 * bits.float(), length) * math.sqrt(0.5)

"""Learned vector quantisation: a message is a row of codeword indices, one QAM symbol each."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tosc_agents.backbones.cnn import CNN
from tosc_agents.networks import ImageEncoder
from tosc_env import Context, InputError, SystemSpec
from tosc_env.channels import noise_power
from tosc_env.channels.base import to_constellation
from tosc_env.modulation import constellation_for, constellation_points, hard_decision, modulate
from tosc_env.options import check_count, check_options
from tosc_env.schemes import Transmit, Trial, defaults


@defaults(weights="lbvq", objectives=("task", "codebook"))
class VQ(CNN):
    """The CNN's networks with a learned codebook between them, and M-QAM over the channel.

    ::

        image -> transmitter -> features [B, n, d] -> nearest of M codewords -> index -> Gray-mapped M-QAM point
        received -> hard decision -> index -> codeword -> [B, n d] -> receiver -> logits [B, K]

    The indices that train the receiver have been over the channel, errors included. Gradients pass the
    quantiser and the channel straight through; the codebook learns from the task and from
    :class:`~tosc_agents.objectives.codebook.Codebook`. It starts on the constellation's own points, so that a wrong
    decision, which is nearly always a neighbour, stands for a near codeword.

    Its rate for a bottleneck is the divergence of the soft assignments from the uniform distribution, in nats per
    symbol.

    Args:
        codewords: M, of a square QAM: 4, 16, 64 or 256.
        dimension: d, real features per channel use.
        network: sizes of the networks and ``told_snr_db``, as for the CNN.

    >>> scheme = VQ(SystemSpec((3, 32, 32), 10)).eval()
    >>> scheme.constellation, scheme.bits
    ('16qam', 256.0)
    """

    name = "vq"
    constellation: str
    usage: Tensor

    def __init__(self, spec: SystemSpec, *, codewords: int = 16, dimension: int = 2, **network: Any) -> None:
        check_options(CNN, self.name, network, given=1)
        codewords = check_count(codewords, "codewords", low=0)
        constellation = constellation_for(codewords)
        dimension = check_count(dimension, "dimension", high=1024)
        for option in ("sharpness", "told"):
            if network.get(option) is not None:
                raise InputError(f"{option} belongs to symbols of any value; a codebook's are points.")
        super().__init__(spec, **network)
        self.options |= {"codewords": codewords, "dimension": dimension}
        self.constellation, self.dimension = constellation, dimension
        if dimension != 2:
            widths = {k: tuple(self.options[k]) for k in ("widths", "blocks")}
            outputs = spec.num_symbols * dimension
            self.transmitter = ImageEncoder(spec.image_shape[0], outputs, stem=self.options["stem"], **widths)
            first = self.receiver[0]
            self.receiver[0] = torch.nn.Linear(outputs + 1, first.out_features)  # type: ignore[arg-type]
        self.codewords = torch.nn.Parameter(_start(constellation_points(constellation), dimension))
        self.register_buffer("usage", torch.full((codewords,), 1.0 / codewords))

    def quantise(self, features: Tensor) -> Tensor:
        """The index of the nearest codeword, int64 [B, n], for features [B, n d]."""
        return self._distances(self._scaled(features)).argmin(-1)

    def encode(self, images: Tensor, context: Context) -> Tensor:
        return modulate(self.quantise(self.transmitter(images).float()), self.points)

    def decode(self, received: Tensor, csi: Tensor, context: Context) -> Tensor:
        return self.logits(self.codewords[self._decide(received, csi, context)].flatten(1), csi, context)

    @property
    def points(self) -> Tensor:
        """The constellation, complex64 [M]."""
        return constellation_points(self.constellation, device=self.codewords.device)

    @property
    def codebook(self) -> Tensor:  # type: ignore[override]
        return self.codewords

    def _decide(self, received: Tensor, csi: Tensor, context: Context) -> Tensor:
        return hard_decision(to_constellation(received, csi, context.layout), self.points)

    def _scaled(self, features: Tensor) -> Tensor:
        """Features [B, n, d] of unit mean square: a network could otherwise grow away from its codewords."""
        energy = features.square().mean(1, keepdim=True)
        return (features * torch.rsqrt(energy + 1e-8)).unflatten(1, (self.spec.num_symbols, self.dimension))

    def _distances(self, features: Tensor) -> Tensor:
        """Squared distances [B, n, M] of features [B, n, d] to the codewords."""
        # In float32: with products in bf16 a feature between two codewords would fall to either side.
        with torch.autocast(features.device.type, enabled=False):
            words = self.codewords.float()
            cross = features @ words.T
            return features.square().sum(-1, keepdim=True) - 2.0 * cross + words.square().sum(-1)

    @torch.no_grad()
    def revive(self, threshold: float = 0.2) -> int:
        """Move codewords used below ``threshold`` of their fair share beside the most used ones; returns how many."""
        fair = 1.0 / len(self.usage)
        dead = (self.usage < threshold * fair).nonzero().flatten()
        if len(dead) == 0:
            return 0
        order = self.usage.argsort(descending=True)
        living = order[: len(order) - len(dead)]
        place = torch.arange(len(dead), device=dead.device)
        busiest = living[place % len(living)]
        # Slightly to either side: each pair then shares what the busy one had.
        side = (1.0 + place // len(living)) * torch.where(place % 2 == 0, 0.1, -0.1)
        spread = self.codewords[living].std() if len(living) > 1 else torch.zeros(())
        # Codewords at one point have none: others are put as far away as features are, whose mean square is 1.
        spread = spread if spread > 1e-3 else torch.ones(())
        self.codewords[dead] = self.codewords[busiest] + side[:, None] * spread.to(dead.device)
        sharing = 1.0 + torch.bincount(busiest, minlength=len(order))
        self.usage[dead] = 0.0
        self.usage[living] /= sharing[living]
        self.usage[dead] = self.usage[busiest]
        self.usage /= self.usage.sum()
        return len(dead)

    def forward(self, images: Tensor, context: Context, transmit: Transmit) -> Trial:
        features = self._scaled(self.transmitter(images).float())
        distances = self._distances(features)
        index = distances.detach().argmin(-1)
        if self.training:
            self._count(index)
        # Forward: the codewords that were decided on. Backward: to those codewords, and straight through to the
        # features as if nothing lay between.
        through = features - features.detach()
        # An adversary passes a gradient on to the features along the constellation's own geometry, and through
        # whatever stages and channel the symbols have passed.
        sent = transmit(modulate(index, self.points) + self._on_air(through))
        decided = self._decide(sent.receiver.received.detach(), sent.receiver.csi, context)
        logits = self.logits((self.codewords[decided] + through).flatten(1), sent.receiver.csi, context)

        def rate() -> Tensor:
            soft = F.log_softmax(-distances / (2.0 * noise_power(context.snr_db)[:, None, None]), dim=-1)
            return (soft.exp() * soft).sum(-1).mean() + math.log(len(self.points))

        return Trial(
            logits,
            features,
            sent,
            sent.eavesdropper.received,
            rate=rate,
            quantised=(features, self.codewords[index]),
            figures={"symbol_errors": (decided != index).float().mean()},
        )

    def _on_air(self, through: Tensor) -> Tensor:
        """A zero [B, 2n] that carries the features' gradient, each at its own symbol's I and Q."""
        if self.dimension == 2:
            return through.flatten(1) * math.sqrt(0.5)
        return through.mean(-1, keepdim=True).expand(-1, -1, 2).flatten(1)

    @torch.no_grad()
    def _count(self, index: Tensor) -> None:
        # Compared and summed, not bincount, which waits for the device to learn how many bins there are.
        words = torch.arange(len(self.usage), device=index.device)
        share = (index[..., None] == words).float().mean((0, 1))
        self.usage.lerp_(share, 0.02)


def _start(points: Tensor, dimension: int) -> Tensor:
    """Codewords [M, d] at the constellation's points, scaled to the features' unit mean square."""
    plane = torch.view_as_real(points) * math.sqrt(2.0)
    if dimension == 1:
        # Along the Gray order of I, then Q: neighbours on the line are neighbours in the constellation.
        side = math.isqrt(len(points))
        step = plane.max() * 2 / (side - 1)
        place = ((plane - plane.min()) / step).round()
        line = place[:, 0] * side + torch.where(place[:, 0] % 2 == 0, place[:, 1], side - 1 - place[:, 1])
        return ((line - line.mean()) / line.std())[:, None]
    return plane.repeat(1, -(-dimension // 2))[:, :dimension].contiguous()

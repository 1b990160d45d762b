"""The convolutional backbone: an image's task features straight as channel symbols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from tosc_agents.networks import ImageEncoder, ResidualMLP, scaled_log, scaled_snr
from tosc_env import Context, PrivacyScheme, SystemSpec, defaults
from tosc_env.errors import InputError
from tosc_env.options import LARGEST, Positive, Size, Within, check_range, checked

NETWORK = ("stem", "widths", "blocks", "receiver_width", "receiver_depth")
"""The options that decide the sizes of the networks."""

OPTIONS = ("told_snr_db", *NETWORK, "sharpness", "told")
"""All options of a :class:`CNN`."""

LARGE_NETWORK: Mapping[str, Any] = MappingProxyType(
    {"stem": 64, "widths": (112, 224, 448), "blocks": (3, 2, 1), "receiver_width": 1024, "receiver_depth": 2}
)
"""Options for the size of public code's networks on CIFAR-10: 9.60 M parameters, 0.396 G multiply-accumulates."""


@defaults(weights="deepjscc")
class CNN(PrivacyScheme):
    """Deep joint source-channel coding for a task, of images of any size.

    ::

        transmitter:  image [B, C, H, W] -> residual CNN (-> sharpened) -> symbols [B, 2n]
        receiver:     received [B, 2n], noise level, knobs -> MLP -> logits [B, K]

    With the default sizes and 32x32 images both ends together have about 3.19 M parameters and 0.085 G
    multiply-accumulates per image, the article's figures.

    Args:
        told_snr_db: the noise level the receiver is told. None: its own link's SNR. A number: that constant,
            for a scheme trained at one SNR, which has never learned what another value means.
        stem, widths, blocks: the transmitter's network (:class:`~tosc_agents.networks.ImageEncoder`).
        receiver_width, receiver_depth: the receiver's network.
        sharpness: of :func:`sharpened` symbols, before a stage that adds noise; None: the network's output as it is.
        told: the stages' knobs that the receiver is told for each message, and the range ``[low, high]`` that it
            learns of each in training, such as ``{"epsilon": [1, 100]}``; None instead of a range: one value alone.

    >>> scheme = CNN(SystemSpec((3, 32, 32), 10)).eval()
    >>> context = Context(torch.full((2,), 12.0), torch.zeros(2, 5, dtype=torch.long))
    >>> scheme.encode(torch.rand(2, 3, 32, 32), context).shape
    torch.Size([2, 128])
    """

    name = "cnn"

    @checked
    def __init__(
        self,
        spec: SystemSpec,
        *,
        told_snr_db: Annotated[float, Within(-LARGEST, LARGEST)] | None = None,
        stem: Size = 32,
        widths: Sequence[Size] = (64, 128, 224),
        blocks: Sequence[Annotated[int, Within(0, 1000)]] = (1, 2, 1),
        receiver_width: Size = 752,
        receiver_depth: Annotated[int, Within(0, 1000)] = 2,
        sharpness: Positive | None = None,
        told: Mapping[str, Any] | None = None,
    ) -> None:
        widths, blocks = list(widths), list(blocks)
        super().__init__(
            spec,
            told_snr_db=told_snr_db,
            stem=stem,
            widths=widths,
            blocks=blocks,
            receiver_width=receiver_width,
            receiver_depth=receiver_depth,
        )
        self.told_snr_db, self.sharpness = told_snr_db, None if sharpness is None else float(sharpness)
        self.ranges = {name: check_range(name, bounds) for name, bounds in (told or {}).items()}
        if self.sharpness is not None:
            self.options["sharpness"] = self.sharpness
        if self.ranges:
            self.options["told"] = self.ranges
        if len(widths) != len(blocks):
            raise InputError(f"widths and blocks need one entry per stage, not {widths} and {blocks}.")
        self.transmitter = ImageEncoder(
            spec.image_shape[0], 2 * spec.num_symbols, stem=stem, widths=tuple(widths), blocks=tuple(blocks)
        )
        self.receiver = nn.Sequential(
            nn.Linear(2 * spec.num_symbols + 1, receiver_width),
            nn.ReLU(inplace=True),
            ResidualMLP(receiver_width, receiver_depth),
            nn.Linear(receiver_width, spec.num_outputs),
        )
        if self.ranges:
            # Zero, so that a receiver that begins with the weights of one that is told nothing begins as that one.
            self.told = nn.Linear(len(self.ranges), receiver_width)
            nn.init.zeros_(self.told.weight)
            nn.init.zeros_(self.told.bias)

    def encode(self, images: Tensor, context: Context) -> Tensor:
        symbols = self.transmitter(images)
        return symbols if self.sharpness is None else sharpened(symbols.float(), self.sharpness)

    def decode(self, received: Tensor, csi: Tensor, context: Context) -> Tensor:
        return self.logits(received, csi, context)

    def logits(self, values: Tensor, csi: Tensor, context: Context) -> Tensor:
        """Logits [B, K] from what was received or what it stands for, [B, d], and what the receiver is told."""
        snr_db = csi[:, 0] if self.told_snr_db is None else torch.full_like(csi[:, 0], self.told_snr_db)
        inputs = torch.cat([values, scaled_snr(snr_db)], dim=1)
        if not self.ranges:
            return self.receiver(inputs)
        return self.receiver[1:](self.receiver[0](inputs) + self.told(self._knobs(context)))

    def _knobs(self, context: Context) -> Tensor:
        """The logarithm of each knob, brought to [-1, 1] over its range; [B, number of knobs]."""
        columns = []
        for name, bounds in self.ranges.items():
            if name not in context.knobs:
                raise InputError(f"the receiver of {self.name!r} is told {name!r}, a knob that no stage has.")
            value = context.knobs[name]
            columns.append(torch.zeros_like(value) if bounds is None else scaled_log(value, *bounds))
        return torch.stack(columns, dim=1)


def sharpened(features: Tensor, sharpness: float) -> Tensor:
    """``sinh(sharpness z)`` of features [B, d] scaled to unit mean square, brought to L1 norm 1.

    A signed softmax, whose largest entry soon has most of the norm, and whose gradient reaches all of them.
    """
    z = sharpness * features * torch.rsqrt(features.square().mean(1, keepdim=True) + 1e-12)
    # sinh, divided by e^peak / 2, so that nothing overflows.
    size, peak = z.abs(), z.detach().abs().amax(1, keepdim=True)
    grown = z.sign() * (torch.exp(size - peak) - torch.exp(-size - peak))
    return grown / grown.abs().sum(1, keepdim=True).clamp_min(1e-12)

"""The unprotected baseline: an image's task features straight as channel symbols."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from tosc_agents.networks import ImageEncoder, ResidualMLP, scaled_snr
from tosc_env.errors import InputError
from tosc_env.policies import Context, PrivacyScheme, SystemSpec

LARGE_NETWORK: Mapping[str, Any] = MappingProxyType(
    {"stem": 64, "widths": (112, 224, 448), "blocks": (3, 2, 1), "receiver_width": 1024, "receiver_depth": 2}
)
"""Options for the size of public code's networks on CIFAR-10: 9.60 M parameters, 0.396 G multiply-accumulates."""


class DeepJSCC(PrivacyScheme):
    """Deep joint source-channel coding for a task, without protection.

    ::

        transmitter:  image [B, C, H, W] -> residual CNN -> symbols [B, 2n]
        receiver:     received [B, 2n], noise level -> MLP -> logits [B, K]

    With the default sizes and 32x32 images both ends together have about 3.19 M parameters and 0.085 G
    multiply-accumulates per image, the article's figures; works for any image whose sides are multiples of 8.

    Args:
        spec: the system's shapes.
        told_snr_db: the noise level the receiver is told. None: its own link's SNR. A number: that constant,
            for a scheme trained at one SNR, which has never learned what another value means.
        stem, widths, blocks: the transmitter's network (:class:`~tosc_agents.networks.ImageEncoder`).
        receiver_width, receiver_depth: the receiver's network.

    Example:
        >>> import torch
        >>> from tosc_env.policies import Context
        >>> scheme = DeepJSCC(SystemSpec((3, 32, 32), 10)).eval()
        >>> context = Context(torch.full((2,), 12.0), torch.zeros(2, 3, dtype=torch.long))
        >>> scheme.encode(torch.rand(2, 3, 32, 32), context).shape
        torch.Size([2, 128])
        >>> scheme.decode(torch.randn(2, 128), torch.full((2, 1), 12.0), context).shape
        torch.Size([2, 10])
    """

    name = "deepjscc"

    def __init__(
        self,
        spec: SystemSpec,
        *,
        told_snr_db: float | None = None,
        stem: int = 32,
        widths: tuple[int, ...] = (64, 128, 224),
        blocks: tuple[int, ...] = (1, 2, 1),
        receiver_width: int = 752,
        receiver_depth: int = 2,
    ) -> None:
        super().__init__(
            spec,
            told_snr_db=told_snr_db,
            stem=stem,
            widths=list(widths),
            blocks=list(blocks),
            receiver_width=receiver_width,
            receiver_depth=receiver_depth,
        )
        check_sides(spec)
        if len(widths) != len(blocks):
            raise InputError(
                f"widths and blocks need one entry per stage, not {list(widths)} and {list(blocks)}."
            )
        self.told_snr_db = told_snr_db
        self.transmitter = ImageEncoder(
            spec.image_shape[0], 2 * spec.num_symbols, stem=stem, widths=tuple(widths), blocks=tuple(blocks)
        )
        self.receiver = nn.Sequential(
            nn.Linear(2 * spec.num_symbols + 1, receiver_width),
            nn.ReLU(inplace=True),
            ResidualMLP(receiver_width, receiver_depth),
            nn.Linear(receiver_width, spec.num_outputs),
        )

    def encode(self, images: Tensor, context: Context) -> Tensor:
        return self.transmitter(images)

    def decode(self, received: Tensor, csi: Tensor, context: Context) -> Tensor:
        snr_db = csi[:, 0] if self.told_snr_db is None else torch.full_like(csi[:, 0], self.told_snr_db)
        return self.receiver(torch.cat([received, scaled_snr(snr_db)], dim=1))


def check_sides(spec: SystemSpec) -> None:
    """Raise InputError unless the image's sides are multiples of 8, which three halvings need."""
    _, height, width = spec.image_shape
    if height % 8 or width % 8:
        raise InputError(f"image sides must be multiples of 8, not {height}x{width}.")

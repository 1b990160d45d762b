"""The cost of a scheme: parameters, multiply-accumulates, channel uses and bits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tosc_env.schemes import PrivacyScheme
from tosc_env.types import Context


@dataclass(frozen=True)
class Complexity:
    """The cost of sending and deciding one image.

    Attributes:
        parameters: of transmitter and receiver together.
        training_parameters: those and what only training needs (a simulated adversary).
        macs: multiply-accumulates of both, half the floating-point operations that torch counts.
        channel_uses: complex symbols per message.
        bits: per message, None for full-resolution symbols.
    """

    parameters: int
    training_parameters: int
    macs: int
    channel_uses: int
    bits: float | None

    def __str__(self) -> str:
        bits = "full-resolution symbols" if self.bits is None else f"{self.bits:g} bits"
        return (
            f"{self.parameters / 1e6:.2f} M parameters, {self.macs / 1e9:.4f} G multiply-accumulates per image, "
            f"{self.channel_uses} channel uses, {bits}"
        )

    def plain(self) -> dict[str, Any]:
        """As plain values, for a card."""
        return asdict(self)


@torch.no_grad()
def complexity(scheme: PrivacyScheme, objectives: Iterable[nn.Module] = ()) -> Complexity:
    """Count one image's way through transmitter and receiver with torch's own counter; ``objectives`` are those of the
    training, whose parameters are needed besides.

    >>> import tosc_env
    >>> print(complexity(tosc_env.make_scheme("deepjscc")))
    3.19 M parameters, 0.0868 G multiply-accumulates per image, 64 channel uses, full-resolution symbols
    """
    spec, mode = scheme.spec, scheme.training
    device = next((p.device for p in scheme.parameters()), torch.device("cpu"))
    context = Context(
        torch.zeros(1, device=device),
        torch.zeros(1, 5, dtype=torch.int64, device=device),
        generator=torch.Generator(device).manual_seed(0),
    )
    scheme.eval()
    with FlopCounterMode(display=False) as counter:
        scheme.encode(torch.full((1, *spec.image_shape), 0.5, device=device), context)
        scheme.decode(
            torch.zeros(1, 2 * spec.num_symbols, device=device),
            torch.zeros(1, spec.num_csi, device=device),
            context,
        )
    scheme.train(mode)
    own = sum(p.numel() for p in scheme.parameters())
    more = sum(p.numel() for objective in objectives for p in objective.parameters())
    return Complexity(own, own + more, counter.get_total_flops() // 2, spec.num_symbols, scheme.bits)

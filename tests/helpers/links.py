"""Symbols over a link as a node is given them, so that the laws of channels are short."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tosc_env.channels import Channel
from tosc_env.types import Link


def seeded(seed: int = 0) -> torch.Generator:
    """A random stream of its own."""
    return torch.Generator().manual_seed(seed)


def draw(
    channel: Channel,
    batch: int,
    n: int,
    *,
    snr_db: Any = 10.0,
    nodes: int = 2,
    generator: torch.Generator | int = 0,
    **more: Any,
) -> list[Link]:
    """A link for each node, the receiver first, at one SNR (a number or [B]); ``generator`` may be a seed."""
    stream = seeded(generator) if isinstance(generator, int) else generator
    level = torch.as_tensor(snr_db, dtype=torch.float32, device=stream.device).expand(batch)
    return channel.draw([level] * nodes, n, generator=stream, **more)


def at(link: Link, snr_db: Any) -> Link:
    """The same link at another SNR, a number or [B]."""
    return replace(link, snr_db=torch.as_tensor(snr_db, dtype=torch.float32).expand_as(link.snr_db))


def receive(channel: Channel, symbols: Tensor, link: Link) -> Tensor:
    """Symbols [B, n] sent from one antenna, combined and equalised, complex [B, n]."""
    return as_complex(channel.observe(channel.apply(symbols[:, None], link), link).received)


def as_complex(received: Tensor) -> Tensor:
    """Interleaved I and Q [B, 2n] as complex numbers [B, n]."""
    return torch.view_as_complex(received.unflatten(1, (-1, 2)))

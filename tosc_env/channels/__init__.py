"""Channels by name: ``awgn``, ``rayleigh``, ``rician``, ``tdl``, and whatever a plug-in registers."""

from __future__ import annotations

from typing import Any

from tosc_env.channels.base import Channel, complex_normal, equalise, noise_power
from tosc_env.options import build
from tosc_env.registry import Registry
from tosc_env.types import Link, Reception

channels: Registry[Channel] = Registry("channel", group="tosc_env.channels")
register_channel = channels.register


def make_channel(channel: str | Channel = "awgn", **options: Any) -> Channel:
    """Make a channel from its registered name and options; an object is handed back as it is.

    >>> make_channel("rayleigh", coherence=16, correlation=0.5).num_fades(64)
    4
    """
    return build(channels, Channel, channel, options)


__all__ = [
    "Channel",
    "Link",
    "Reception",
    "channels",
    "complex_normal",
    "equalise",
    "make_channel",
    "noise_power",
    "register_channel",
]

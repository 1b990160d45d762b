"""Streams of random numbers that no attacker may know: the channel's while it learns and is measured, and candidates'.

An attacker's author has read this source, and knows or guesses the seed of a run.  So the seed of each stream is the
digest of that seed, of its purpose, and of the weights of the system under attack, which no threat model hands over.
Of a system without weights the seed is all, and must then be secret itself (``evaluate(seed=None)`` takes one from the
operating system).  The generators are torch's, for simulation: they are no ciphers.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import nn

from tosc_env.identity import digest, tensor_digest


def secret_of(scheme: nn.Module, *known: Any) -> str:
    """What the streams of a run against a system are made from: a digest of its weights and of what else is known."""
    return digest([tensor_digest([*scheme.parameters(), *scheme.buffers()]), *known])


def stream(secret: str, purpose: str, number: int, device: torch.device | str = "cpu") -> torch.Generator:
    """The stream of a purpose and a number, of which no other says anything.

    >>> torch.rand(1, generator=stream("a", "noise", 0)) == torch.rand(1, generator=stream("a", "noise", 1))
    tensor([False])
    """
    word = hashlib.sha256(f"{secret} {purpose} {number}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(word[:8], "big") >> 1)

"""Small untrained policies, so that the environments are tested without the reference ones."""

from __future__ import annotations

import torch
from torch import nn

from tosc_env.attackers import Eavesdropper
from tosc_env.schemes import PrivacyScheme
from tosc_env.types import SystemSpec

SPEC = SystemSpec((3, 32, 32), 10)


class FakeScheme(PrivacyScheme):
    """A random linear map and back.

    With ``stochastic`` it adds noise from the context's generator and notes the messages' numbers; without it reads
    nothing of its context, so that a pipeline remembers its symbols.
    """

    name = "fake"

    def __init__(self, spec: SystemSpec = SPEC, *, stochastic: bool = False, seed: int = 0) -> None:
        super().__init__(spec, stochastic=stochastic, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        size = torch.Size(spec.image_shape).numel()
        self.up = nn.Parameter(torch.randn(size, 2 * spec.num_symbols, generator=generator) / size**0.5)
        self.down = nn.Parameter(torch.randn(2 * spec.num_symbols, spec.num_outputs, generator=generator))
        self.dropout = nn.Dropout(0.5)
        self.messages: list[tuple[int, ...]] = []

    def encode(self, images, context):
        symbols = self.dropout(images.flatten(1) @ self.up)
        if self.options["stochastic"]:
            self.messages += [(context.environment, *row) for row in context.message.tolist()]
            symbols = symbols + torch.randn(symbols.shape, generator=context.generator)
        return symbols

    def decode(self, received, csi, context):
        return received @ self.down


class FakeEavesdropper(Eavesdropper):
    """A random linear reconstruction, some of it outside [0, 1]."""

    name = "fake"

    def __init__(self, spec: SystemSpec = SPEC, *, seed: int = 0) -> None:
        super().__init__(spec, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        size = torch.Size(spec.image_shape).numel()
        self.out = nn.Parameter(torch.randn(2 * spec.num_symbols, size, generator=generator) / 10)

    def fit(self, view, *, generator, progress=None):
        return {}

    def reconstruct(self, received, csi):
        return (0.5 + received @ self.out).unflatten(1, self.spec.image_shape)


def spec_of(game_kwargs: dict) -> SystemSpec:
    """The shapes over the channel of these environment options, on Shapes."""
    from tosc_env.channels import make_channel

    channel = make_channel(game_kwargs.get("channel", "awgn"), **game_kwargs.get("channel_kwargs", {}))
    n = game_kwargs.get("num_symbols", 64)
    return SystemSpec((3, 32, 32), 10, n, channel.num_csi(n))


SMALL = {"num_images": 64}
"""``data_kwargs`` that keep the embedded data set small."""


def options_for(role: str, **kwargs) -> dict:
    """Options of a Shapes environment with fake policies for the roles that are not ``role``."""
    options: dict = {"role": role, "data_kwargs": SMALL, "scheme": FakeScheme(spec_of(kwargs))}
    if role != "eavesdropper":
        options["eavesdropper"] = FakeEavesdropper(spec_of(kwargs))
    return options | kwargs

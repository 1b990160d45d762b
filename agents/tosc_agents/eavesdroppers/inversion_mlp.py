"""Quick model inversion: an MLP from symbols to the principal components of the images."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from tosc_agents.eavesdroppers.base import (
    NeuralEavesdropper,
    attacker_inputs,
    held_out,
    input_width,
    symbol_mlp,
)
from tosc_agents.learning.precision import Precision
from tosc_env.errors import InputError
from tosc_env.options import Share, Size, Within
from tosc_env.privacy.view import View
from tosc_env.types import SystemSpec


class InversionMLP(NeuralEavesdropper):
    """An MLP that predicts the leading principal components of the image; the rest stays at its mean.

    Symbols of a task-trained system hold little beyond coarse colour and layout, which a hundred components
    describe, so this equals a convolutional decoder at a tenth of the cost.

    Args:
        components: principal components to predict; by default 96, or as many as there are pixels.
        width, depth, dropout: of the MLP.
        steps, batch_size, learning_rate, precision: of its training.

    Example:
        >>> attacker = InversionMLP(SystemSpec((3, 32, 32), 10), width=64).eval()
        >>> attacker.reconstruct(torch.zeros(2, 128), torch.zeros(2, 1)).shape
        torch.Size([2, 3, 32, 32])
    """

    name = "inversion-mlp"
    mean: Tensor
    basis: Tensor
    scale: Tensor

    def __init__(
        self,
        spec: SystemSpec,
        *,
        components: int | None = None,
        width: Size = 1024,
        depth: Annotated[int, Within(0, 1000)] = 2,
        dropout: Share = 0.1,
        steps: int = 6000,
        batch_size: int = 500,
        learning_rate: float = 1e-3,
        precision: Precision = "auto",
    ) -> None:
        pixels = torch.Size(spec.image_shape).numel()
        components = min(96, pixels) if components is None else components
        network = {"components": components, "width": width, "depth": depth, "dropout": dropout}
        super().__init__(spec, steps, batch_size, learning_rate, precision, **network)
        if not 1 <= components <= pixels:
            raise InputError(f"components must lie in 1..{pixels}, not {components}.")
        self.network = symbol_mlp(input_width(spec), width, depth, components, dropout)
        self.register_buffer("mean", torch.full((pixels,), 0.5))
        self.register_buffer("basis", torch.zeros(components, pixels))
        self.register_buffer("scale", torch.ones(()))

    def fit(self, view: View, *, generator: torch.Generator, progress: Any = None) -> dict[str, Any]:
        index, _ = held_out(view)
        images = torch.cat([view.images(part).flatten(1) for part in index.split(1000)])
        self.mean, self.basis = principal_components(images, self.options["components"], generator)
        scale = ((images - self.mean) @ self.basis.T).std(correction=0)
        # A single image, or equal ones, are their own mean: nothing is left for components to say.
        self.scale = torch.where(scale > 0, scale, torch.ones_like(scale))

        def step_loss(part: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            reception, images = view.sample(part)
            with torch.autocast(view.device.type, enabled=False):
                targets = (images.flatten(1) - self.mean) @ self.basis.T / self.scale
            predicted = self.network(attacker_inputs(reception.received, reception.csi, self.spec))
            return (predicted.float() - targets).square().mean(), {}

        return self.train_to_rebuild(view, step_loss, generator, progress)

    def reconstruct(self, received: Tensor, csi: Tensor) -> Tensor:
        components = self.network(attacker_inputs(received, csi, self.spec)).float() * self.scale
        return (self.mean + components @ self.basis).clamp(0.0, 1.0).unflatten(1, self.spec.image_shape)


def principal_components(
    rows: Tensor, count: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Mean [D] and leading orthonormal components [count, D] of rows [N, D], by randomised subspace iteration.

    Halko, Martinsson, Tropp, SIAM Review 2011: with a few iterations the leading components of images, whose
    spectrum falls fast, are exact for every purpose here.
    """
    mean = rows.mean(0)
    centred = rows - mean
    width = min(count + 16, *rows.shape)
    basis = torch.randn(rows.shape[1], width, generator=generator, device=rows.device)
    for _ in range(4):
        basis = torch.linalg.qr(centred.T @ (centred @ basis)).Q
    small = centred @ basis
    _, vectors = torch.linalg.eigh(small.T @ small)
    found = (basis @ vectors.flip(1)).T[:count]
    if len(found) < count:
        found = torch.cat([found, found.new_zeros(count - len(found), found.shape[1])])
    return mean, found.contiguous()

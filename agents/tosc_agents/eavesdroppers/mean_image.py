"""The floor: the mean image, which takes no reception."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tosc_env.attackers import Eavesdropper
from tosc_env.privacy.view import View
from tosc_env.types import SystemSpec


class MeanImage(Eavesdropper):
    """The mean training image, whatever is received. An attacker below this one is broken, not defeated.

    Example:
        >>> attacker = MeanImage(SystemSpec((3, 32, 32), 10))
        >>> attacker.reconstruct(torch.zeros(2, 128), torch.zeros(2, 1)).shape
        torch.Size([2, 3, 32, 32])
    """

    name = "mean-image"
    instant = True
    image: Tensor

    def __init__(self, spec: SystemSpec) -> None:
        super().__init__(spec)
        self.register_buffer("image", torch.full(spec.image_shape, 0.5))

    def fit(self, view: View, *, generator: torch.Generator, progress: Any = None) -> dict[str, Any]:
        self.image = view.statistics.mean_image.clone()
        return {}

    def reconstruct(self, received: Tensor, csi: Tensor) -> Tensor:
        return self.image.expand(len(received), -1, -1, -1).clone()

"""Re-identification by a contrastive embedding of received symbols and candidate images."""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tosc_agents.eavesdroppers.base import NeuralEavesdropper, attacker_inputs
from tosc_agents.learning.precision import Precision
from tosc_agents.networks import ImageEncoder, ResidualMLP
from tosc_env.options import Size, Within
from tosc_env.privacy.view import View
from tosc_env.types import SystemSpec


class Match(NeuralEavesdropper):
    """Re-identification without asking the encoder about the candidates.

    ::

        received [B, 2n], SNR -> MLP -> embedding --+
                                                    +--> cosine similarity x temperature
        candidate [N, C, H, W] -> CNN -> embedding -+

    Both towers learn on the attacker's own pairs with the symmetric InfoNCE loss: each message against all
    images of the batch, each image against all messages.

    Args:
        embedding: length of the embeddings.
        stem, widths, blocks: of the image tower.
        width: of the symbol tower.
        epochs, batch_size, learning_rate, precision: of the training.

    Example:
        >>> attacker = Match(SystemSpec((3, 32, 32), 10)).eval()
        >>> attacker.match(torch.zeros(2, 128), torch.zeros(2, 1), torch.rand(5, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    name = "match"

    def __init__(
        self,
        spec: SystemSpec,
        *,
        embedding: Size = 128,
        stem: Size = 16,
        widths: tuple[Size, ...] = (48, 96, 192),
        blocks: tuple[Annotated[int, Within(0, 1000)], ...] = (1, 1, 1),
        width: Size = 512,
        epochs: int = 30,
        batch_size: int = 500,
        learning_rate: float = 2e-3,
        precision: Precision = "auto",
    ) -> None:
        tower = {"stem": stem, "widths": list(widths), "blocks": list(blocks)}
        super().__init__(
            spec, epochs, batch_size, learning_rate, precision, embedding=embedding, width=width, **tower
        )
        self.symbol_tower = nn.Sequential(
            nn.Linear(2 * spec.num_symbols + 1, width),
            nn.ReLU(inplace=True),
            ResidualMLP(width, 1),
            nn.Linear(width, embedding),
        )
        self.image_tower = ImageEncoder(
            spec.image_shape[0], embedding, stem=stem, widths=tuple(widths), blocks=tuple(blocks)
        )
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self._candidates: tuple[Tensor, Tensor] | None = None

    def embed_symbols(self, received: Tensor, csi: Tensor) -> Tensor:
        """Unit embeddings [B, embedding] of received symbols."""
        return F.normalize(self.symbol_tower(attacker_inputs(received, csi)).float(), dim=1)

    def embed_images(self, images: Tensor) -> Tensor:
        """Unit embeddings [N, embedding] of images."""
        return F.normalize(self.image_tower(images).float(), dim=1)

    def fit(self, view: View, *, generator: torch.Generator, progress: Any = None) -> dict[str, Any]:
        self._candidates = None
        self.to(view.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        scores_device = view.device.type

        def step_loss(part: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            reception, images = view.sample(part)
            messages = self.embed_symbols(reception.received, reception.csi)
            candidates = self.embed_images(images)
            # In float32: a hundredfold temperature would blow bf16's rounding up to whole units.
            with torch.autocast(scores_device, enabled=False):
                scores = messages @ candidates.T * self.log_scale.clamp_max(math.log(100.0)).exp()
            truth = torch.arange(len(part), device=scores.device)
            loss = (F.cross_entropy(scores, truth) + F.cross_entropy(scores.T, truth)) / 2
            return loss, {"top1": (scores.detach().argmax(1) == truth).float().mean()}

        return self.train_on(view, step_loss, generator, progress)

    def match(self, received: Tensor, csi: Tensor, candidates: Tensor) -> Tensor:
        return self.embed_symbols(received, csi) @ self._embedded(candidates).T

    def _embedded(self, candidates: Tensor) -> Tensor:
        """Embeddings of candidates, remembered while the same ones are asked about, as over several SNRs."""
        if self.training or torch.is_grad_enabled():
            return self.embed_images(candidates)
        known = self._candidates
        if known is not None and known[0].device == candidates.device and torch.equal(known[0], candidates):
            return known[1]
        embedded = self.embed_images(candidates)
        self._candidates = (candidates.clone(), embedded)
        return embedded

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        self._candidates = None  # they were embedded by other weights
        return super().load_state_dict(*args, **kwargs)

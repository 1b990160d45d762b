"""The simulated attacker that a scheme trains against, and what its presence costs the scheme."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tosc_agents.networks import scaled_snr
from tosc_env.errors import InputError
from tosc_env.game import Game, Round
from tosc_env.policies import Context, PrivacyScheme, SystemSpec


class SimulatedAdversary(nn.Module):
    """A plain MLP from a reception to a small version of the image.

    ::

        received [B, 2n], SNR -> (linear -> GELU) x 2 -> linear -> sigmoid -> image [B, C, side, side]

    What the symbols of a task-trained system leak is coarse colour and layout, so the image is pooled to
    ``side`` x ``side`` pixels: the adversary then costs next to nothing beside the encoder. None of the
    eavesdroppers that are measured has this network.

    Args:
        spec: the system's shapes.
        width: of its two hidden layers.
        side: height and width of the image it rebuilds.
    """

    def __init__(self, spec: SystemSpec, *, width: int = 384, side: int = 16) -> None:
        super().__init__()
        if width < 1 or side < 1:
            raise InputError(f"an adversary needs a width and side of at least 1, not {width} and {side}.")
        self.shape = (spec.image_shape[0], side, side)
        self.network = nn.Sequential(
            nn.Linear(2 * spec.num_symbols + 1, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, torch.Size(self.shape).numel()),
        )

    def forward(self, received: Tensor, csi: Tensor) -> Tensor:
        """Small images [B, C, side, side] in (0, 1) from receptions [B, 2n] and CSI [B, c]."""
        inputs = torch.cat([received, scaled_snr(csi[:, 0])], dim=1)
        return torch.sigmoid(self.network(inputs).float()).unflatten(1, self.shape)

    def small(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] at the adversary's size."""
        return F.adaptive_avg_pool2d(images, self.shape[1:])

    def error(self, received: Tensor, csi: Tensor, images: Tensor) -> Tensor:
        """Its mean squared error on a batch; gradients reach its weights and the reception."""
        return (self(received, csi) - self.small(images)).square().mean()

    def leak(self, received: Tensor, csi: Tensor, images: Tensor) -> Tensor:
        """How much it knows, from 0 (no more than the mean image) to 1 (everything); gradients reach the
        reception alone.

        An encoder that drives its adversary beyond the mean image's error only fools that one adversary, and
        hides nothing: there the leak is 0 and its slope too.
        """
        frozen = {name: p.detach() for name, p in self.named_parameters()}
        rebuilt = torch.func.functional_call(self, frozen, (received, csi))
        target = self.small(images)
        floor = (target - target.mean(0)).square().mean()
        return F.relu(1.0 - (rebuilt - target).square().mean() / floor)


def adversary_pass(
    scheme: PrivacyScheme, adversary: SimulatedAdversary, game: Game, round_: Round, context: Context
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a pass that trains the adversary alone: the system sends, frozen, and the adversary rebuilds."""
    images = round_.batch.images
    with torch.no_grad():
        heard = game.transmit(round_, scheme.encode(images, context)).eavesdropper
    error = adversary.error(heard.received, heard.csi, images)
    return error, {"adversary": error.detach()}


def min_norm_weight(first: Tensor, second: Tensor) -> Tensor:
    """The weight a in [0, 1] of the first of two objectives for which ``a g1 + (1 - a) g2`` is shortest.

    The multiple-gradient descent choice for two objectives (Sener and Koltun, NeurIPS 2018, algorithm 2),
    from their gradients with respect to the shared representation: the step then harms neither.

    Args:
        first, second: gradients of the same shape.

    Example:
        >>> float(min_norm_weight(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])))
        0.800000011920929
    """
    difference = second - first
    weight = (difference * second).sum() / difference.square().sum().clamp_min(1e-20)
    return weight.clamp(0.0, 1.0)

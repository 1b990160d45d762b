"""The simulated attacker that a scheme trains against, and what its presence costs the scheme."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tosc_agents.networks import scaled_snr
from tosc_env import Game, InputError, Objective, Round, SystemSpec, Task, Transmission, Trial
from tosc_env.channels import noise_power
from tosc_env.options import Size, Weight, check_choice, check_count, check_weight

WEIGHTINGS = ("fixed", "multiple-gradient")


class SimulatedAdversary(nn.Module):
    """A plain MLP from a reception to a small version of the image.

    ::

        received [B, 2n], SNR -> (linear -> GELU) x 2 -> linear -> sigmoid -> image [B, C, side, side]

    What a task-trained system leaks is coarse colour and layout, so the image is pooled to ``side`` x ``side`` pixels.
    None of the eavesdroppers that are measured has this network.
    """

    def __init__(self, spec: SystemSpec, *, width: int = 384, side: int = 16) -> None:
        super().__init__()
        self.shape = (spec.image_shape[0], side, side)
        self._mean: Tensor | None = None
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

    def prepare(self, mean_image: Tensor) -> None:
        """Learn the mean image [C, H, W] of the data set, which :meth:`leak` is measured by."""
        # A batch's own mean knows its images the better the fewer they are, and a single one completely.
        self._mean = self.small(mean_image[None])

    def leak(self, received: Tensor, csi: Tensor, images: Tensor) -> Tensor:
        """The adversary's knowledge, from 0 (no more than the data set's mean image) to 1 (everything), with gradients
        to the reception alone.

        Beyond the mean image's error, where only this one adversary is fooled, the leak is 0 and its slope too.
        """
        if self._mean is None:
            raise InputError(
                "a simulated adversary needs the mean image of its data: call prepare(game) first."
            )
        frozen = {name: p.detach() for name, p in self.named_parameters()}
        rebuilt = torch.func.functional_call(self, frozen, (received, csi))
        target = self.small(images)
        # Where all images are the mean one there is nothing to hide, and any error is above its.
        floor = (target - self._mean).square().mean().clamp_min(1e-12)
        return F.relu(1.0 - (rebuilt - target).square().mean() / floor)


class Adversary(Objective):
    """A simulated attacker, which learns to rebuild the image while the scheme learns to prevent it.

    ::

        loss = first * (loss so far) + second * weight / (1 + sigma) * leak + adversary's own error

    ``leak`` is that of the :class:`SimulatedAdversary`.  An epoch begins with a pass of the adversary, the system as it
    is; in the system's pass it learns on from its receptions.

    Args:
        weight: of the adversary's leak, at least 0.
        width: of its network.
        weighting: ``"fixed"``: first and second are 1; ``"multiple-gradient"``: in each step the two are weighted so
            that the common step harms neither (:func:`min_norm_weight`).

    >>> Adversary(SystemSpec((3, 32, 32), 10)).plain()
    {'name': 'adversary', 'weight': 1.0, 'width': 384, 'weighting': 'fixed'}
    """

    name = "adversary"
    phases = ("adversary",)

    def __init__(
        self, spec: SystemSpec, *, weight: Weight = 1.0, width: Size = 384, weighting: str = "fixed"
    ) -> None:
        check_choice(weighting, "weighting", WEIGHTINGS)
        weight, width = check_weight(weight, "weight"), check_count(width, "width")
        super().__init__(spec, weight=weight, width=width, weighting=weighting)
        self.weight, self.weighting = weight, weighting
        self.adversary = SimulatedAdversary(spec, width=width)

    def prepare(self, game: Game) -> None:
        self.adversary.prepare(game.source.statistics.mean_image)

    def loss(
        self, loss: Tensor, trial: Trial, round_: Round, task: Task
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        images, reception = round_.batch.images, trial.transmission.eavesdropper
        leak = self.adversary.leak(trial.eavesdropped, reception.csi, images)
        # The noisier the link, the less there is to hide: sigma is the noise at unit power per real dimension.
        sigma = noise_power(round_.snr_db).sqrt().mean()
        private = self.weight * leak / (1.0 + sigma)
        if self.weighting == "multiple-gradient":
            first = min_norm_weight(*(_gradient(part, trial.features) for part in (loss, private)))
            loss, private = first * loss, (1.0 - first) * private
        error = self.adversary.error(reception.received.detach(), reception.csi, images)
        return loss + private + error, {"leak": leak.detach(), "adversary": error.detach()}

    def phase_loss(
        self, phase: str, transmission: Transmission, round_: Round
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        reception = transmission.eavesdropper
        error = self.adversary.error(reception.received, reception.csi, round_.batch.images)
        return error, {"adversary": error.detach()}


def _gradient(objective: Tensor, features: Tensor) -> Tensor:
    found = None
    if objective.requires_grad:
        (found,) = torch.autograd.grad(objective, features, retain_graph=True, allow_unused=True)
    if found is None:
        raise InputError(
            "'multiple-gradient' needs the leak and objectives before it to reach the features with a gradient."
        )
    return found.detach()


def min_norm_weight(first: Tensor, second: Tensor) -> Tensor:
    """The weight a in [0, 1] of the first of two objectives for which ``a g1 + (1 - a) g2`` is shortest.

    The multiple-gradient descent choice for two objectives (Sener and Koltun, NeurIPS 2018, algorithm 2), from their
    gradients with respect to the shared representation: the step then harms neither. An objective whose gradient is
    zero asks for nothing, and the other has all the weight.

    >>> float(min_norm_weight(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])))
    0.800000011920929
    """
    difference = second - first
    weight = (difference * second).sum() / difference.square().sum().clamp_min(1e-20)
    one = torch.ones_like(weight)
    weight = torch.where(first.any(), weight.clamp(0.0, 1.0), 0.0 * one)
    return torch.where(second.any(), weight, one)

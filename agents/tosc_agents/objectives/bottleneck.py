"""The information bottleneck."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from tosc_env import Objective, PrivacyScheme, Round, SystemSpec, Task, Trial
from tosc_env.channels import noise_power
from tosc_env.options import check_count, check_weight


class Bottleneck(Objective):
    """A penalty on the information in the symbols about the image; the channel's noise is the bottleneck's.

    ::

        loss = (loss so far) + beta * anneal * rate

    For symbols of any value the rate is their KL divergence to a log-uniform prior, approximated as in variational
    dropout (Molchanov et al., ICML 2017) with ``alpha^2 = sigma^2 / (z^2 + 1e-4)`` per real dimension, unit mean power.
    A scheme with a measure of its own (:attr:`~tosc_env.schemes.Trial.rate`), such as a codebook, has that one.

    ``start``, ``ramp``: epochs without it, and epochs over which its weight rises to ``beta``, which is at least 0.

    >>> Bottleneck(SystemSpec((3, 32, 32), 10)).plain()
    {'name': 'bottleneck', 'beta': 0.001, 'start': 5, 'ramp': 10}
    """

    name = "bottleneck"

    def __init__(self, spec: SystemSpec, *, beta: float = 1e-3, start: int = 5, ramp: int = 10) -> None:
        super().__init__(
            spec,
            beta=check_weight(beta, "beta"),
            start=check_count(start, "start", low=0),
            ramp=check_count(ramp, "ramp", low=0),
        )
        self.beta, self.start, self.ramp = beta, start, ramp
        self._anneal = 1.0

    def begin(self, scheme: PrivacyScheme, phase: str, epoch: int, epochs: int) -> None:
        self._anneal = min(1.0, max(0.0, (epoch + 1 - self.start) / max(1, self.ramp)))

    def loss(
        self, loss: Tensor, trial: Trial, round_: Round, task: Task
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        own = trial.rate
        rate = _log_uniform_kl(trial.transmission.sent, round_.snr_db).mean() if own is None else own()
        return loss + self.beta * self._anneal * rate, {"kl": rate.detach()}


def _log_uniform_kl(sent: Tensor, snr_db: Tensor) -> Tensor:
    """KL divergence of each message's noisy symbols [B, 2n] to a log-uniform prior, summed over dimensions, [B]."""
    # A unit of energy per complex symbol is half a unit per real.
    power = 2.0 * sent.float().square()
    log_alpha = noise_power(snr_db)[:, None].log() - (power + 1e-4).log()
    k1, k2, k3 = 0.63576, 1.8732, 1.48695
    return -(k1 * torch.sigmoid(k2 + k3 * log_alpha) - 0.5 * F.softplus(-log_alpha) - k1).sum(1)

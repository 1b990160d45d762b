"""Information bottleneck and adversarial learning: send little, and nothing that a simulated attacker can use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from tosc_agents.schemes.adversary import SimulatedAdversary, adversary_pass, min_norm_weight
from tosc_agents.schemes.deepjscc import DeepJSCC
from tosc_env.channels import noise_power
from tosc_env.errors import InputError, unknown
from tosc_env.game import Game, Round, Transmission
from tosc_env.options import check_options
from tosc_env.policies import Context, SystemSpec
from tosc_env.tasks import Task

WEIGHTINGS = ("fixed", "multiple-gradient")


class IBAL(DeepJSCC):
    """The baseline's networks, trained to keep what the task needs and to starve a simulated attacker.

    ::

        image -> transmitter -> symbols --channel--> received -+-> receiver ---> task loss
                                  |                            +-> adversary --> its error
                                  +-> KL to a log-uniform prior (the channel's noise is the bottleneck's)

        loss = task loss + beta * anneal * KL + adversary_weight / (1 + sigma) * leak

    With ``alpha^2 = sigma^2 / (z^2 + 1e-4)`` per real dimension, unit mean power, the KL divergence to a
    log-uniform prior is approximated as in variational dropout (Molchanov et al., ICML 2017). ``leak`` is
    ``1 - error / error of the mean image`` of the adversary
    (:class:`~tosc_agents.schemes.adversary.SimulatedAdversary`), cut off at 0. An epoch is a pass of the adversary, the
    rest frozen, then one of the system, during which the adversary learns on from what it hears.

    Args:
        spec: the system's shapes.
        beta: weight of the KL divergence.
        kl_start, kl_ramp: epochs without it, and epochs over which its weight rises to ``beta``.
        adversary_weight: weight of the adversary's leak, at least 0.
        adversary_width: width of its network.
        weighting: ``"fixed"``, or ``"multiple-gradient"``: in each step the two objectives are weighted so that the
            common step harms neither (:func:`~tosc_agents.schemes.adversary.min_norm_weight`).
        options: of the networks, as for the baseline.

    Example:
        >>> import torch
        >>> from tosc_env.policies import Context
        >>> scheme = IBAL(SystemSpec((3, 32, 32), 10)).eval()
        >>> context = Context(torch.full((2,), 12.0), torch.zeros(2, 3, dtype=torch.long))
        >>> scheme.encode(torch.rand(2, 3, 32, 32), context).shape
        torch.Size([2, 128])
    """

    name = "ibal"
    passes = ("adversary", "system")
    training_only = ("adversary",)
    training_defaults: ClassVar[Mapping[str, Any]] = {
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "weight_decay": 0.05,
    }

    def __init__(
        self,
        spec: SystemSpec,
        *,
        beta: float = 1e-3,
        kl_start: int = 5,
        kl_ramp: int = 10,
        adversary_weight: float = 1.0,
        adversary_width: int = 384,
        weighting: Literal["fixed", "multiple-gradient"] = "fixed",
        **options: Any,
    ) -> None:
        check_options(DeepJSCC, self.name, options, given=1)
        super().__init__(spec, **options)
        for name, value in (("beta", beta), ("adversary_weight", adversary_weight)):
            check_weight(name, value)
        for name, value in (("kl_start", kl_start), ("kl_ramp", kl_ramp)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise InputError(f"{name} must be a whole number of epochs of at least 0, not {value!r}.")
        if weighting not in WEIGHTINGS:
            raise unknown("weighting", weighting, WEIGHTINGS)
        self.options |= {
            "beta": beta,
            "kl_start": kl_start,
            "kl_ramp": kl_ramp,
            "adversary_weight": adversary_weight,
            "adversary_width": adversary_width,
            "weighting": weighting,
        }
        self.beta, self.kl_start, self.kl_ramp = beta, kl_start, kl_ramp
        self.adversary_weight, self.weighting = adversary_weight, weighting
        self.adversary = SimulatedAdversary(spec, width=adversary_width)
        self._pass, self._anneal = "system", 1.0

    def begin_pass(self, name: str, epoch: int, epochs: int) -> None:
        self._pass = name
        self._anneal = min(1.0, max(0.0, (epoch + 1 - self.kl_start) / max(1, self.kl_ramp)))

    def loss(
        self, game: Game, round_: Round, context: Context, task: Task
    ) -> tuple[Tensor, dict[str, Tensor]]:
        images = round_.batch.images
        if self._pass == "adversary":
            return adversary_pass(self, self.adversary, game, round_, context)
        symbols = self.encode(images, context)
        sent = game.transmit(round_, symbols)
        logits = self.decode(sent.receiver.received, sent.receiver.csi, context)
        score = task.score(task.decide(logits.detach()), round_.targets).mean()
        kl = _log_uniform_kl(sent.sent, round_.snr_db).mean()
        useful = task.loss(logits, round_.targets) + self.beta * self._anneal * kl
        leak, private = self._privacy(sent, round_)
        first = second = torch.ones((), device=symbols.device)
        if self.weighting == "multiple-gradient":
            first = min_norm_weight(*(_gradient(part, symbols) for part in (useful, private)))
            second = 1.0 - first
        heard = sent.eavesdropper
        chase = self.adversary.error(heard.received.detach(), heard.csi, images)
        loss = first * useful + second * private + chase
        return loss, {"accuracy": score, "leak": leak, "kl": kl.detach(), "adversary": chase.detach()}

    def _privacy(self, sent: Transmission, round_: Round) -> tuple[Tensor, Tensor]:
        """The adversary's leak as a figure, and as the weighted term of the loss."""
        heard = sent.eavesdropper
        leak = self.adversary.leak(heard.received, heard.csi, round_.batch.images)
        # The noisier the link, the less there is to hide: sigma is the noise at unit power per real dimension.
        sigma = noise_power(round_.snr_db).sqrt().mean()
        return leak.detach(), self.adversary_weight * leak / (1.0 + sigma)


def check_weight(name: str, value: object) -> None:
    """Raise InputError unless ``value`` is a finite number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise InputError(f"{name} must be a number of at least 0, not {value!r}.")


def _gradient(objective: Tensor, symbols: Tensor) -> Tensor:
    return torch.autograd.grad(objective, symbols, retain_graph=True)[0].detach()


def _log_uniform_kl(sent: Tensor, snr_db: Tensor) -> Tensor:
    """KL divergence of each message's noisy symbols to a log-uniform prior, summed over dimensions, [B].

    Args:
        sent: normalised symbols [B, 2n]; a unit of energy per complex symbol is half a unit per real.
        snr_db: [B].
    """
    power = 2.0 * sent.float().square()
    log_alpha = noise_power(snr_db)[:, None].log() - (power + 1e-4).log()
    k1, k2, k3 = 0.63576, 1.8732, 1.48695
    return -(k1 * torch.sigmoid(k2 + k3 * log_alpha) - 0.5 * F.softplus(-log_alpha) - k1).sum(1)

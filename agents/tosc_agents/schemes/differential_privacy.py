"""Noise for differential privacy: an honest Laplace mechanism, and the article's, which is only calibrated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tosc_agents.accounting import Budget, check_count, check_positive
from tosc_agents.networks import scaled_snr
from tosc_agents.schemes.deepjscc import DeepJSCC
from tosc_agents.schemes.perturbation import Perturbation
from tosc_env.errors import InputError
from tosc_env.game import ENERGY_EPSILON, Game, Round
from tosc_env.modulation import constellation_points, hard_decision, modulate
from tosc_env.options import check_options
from tosc_env.policies import Context, SystemSpec
from tosc_env.tasks import Task

MODES = ("honest", "article")


class LaplaceMechanism(Perturbation):
    """Independent Laplace noise on a message's 2n reals, before the power constraint.

    ::

        honest:   symbols [B, 2n] -> clip to L1 norm C -> + Laplace(2C / epsilon)        -> power, channel
        article:  symbols [B, 2n] -> unit energy       -> + Laplace(constant / epsilon)  -> power, channel

    ``honest`` is the Laplace mechanism (Dwork, McSherry, Nissim and Smith, TCC 2006). Any two clipped vectors
    differ by 2C at most in L1 norm, so replacing a message's image by *any other* changes the density of what is
    sent by a factor of e^epsilon at most: pure epsilon-DP of the image that is sent. It is no statement about the
    images that the weights were trained on. Power constraint, channel and whatever an attacker computes come
    after the noise and cannot weaken it (post-processing). Each further transmission of an image draws fresh
    noise and spends as much again: :class:`~tosc_agents.accounting.Budget`.

    ``article`` clips nothing, so no sensitivity is known: its noise is *calibrated* by ``constant``
    (:func:`~tosc_agents.calibration.calibrate_constant`), and no differential privacy is claimed of it.

    For a discrete scheme the same is done to I and Q of the points, and the result snaps to the nearest point.
    Clipped points are close to 0, so before they snap an honest mechanism amplifies them by a constant that
    depends on C and the constellation alone.

    Real numbers are float64 here and the sum is rounded to float32. The proof is about real numbers, though: the
    last bits of a float betray some of what the noise was added to (Mironov, "On significance of the least
    significant bits for differential privacy", CCS 2012). An attacker behind a noisy channel has no such bits; who
    reads the transmitter's memory does.

    Args:
        num_symbols, constellation: see :class:`~tosc_agents.schemes.perturbation.Perturbation`.
        epsilon: the budget of each message, above 0.
        clip: C, the largest L1 norm of a message's 2n reals (``honest`` only).
        mode: ``"honest"`` or ``"article"``.
        constant: of ``"article"``, which needs it.

    Raises:
        InputError: a number that is not finite and positive, an unknown mode, a constant missing or out of place.

    Example:
        >>> import torch
        >>> mechanism = LaplaceMechanism(4, epsilon=20.0)
        >>> mechanism
        LaplaceMechanism(honest, epsilon=20, clip=1)
        >>> context = Context(torch.zeros(2), torch.zeros(2, 3), generator=torch.Generator().manual_seed(0))
        >>> mechanism.protect(torch.randn(2, 8), context).shape
        torch.Size([2, 8])
        >>> LaplaceMechanism(4, epsilon=0.05, mode="article", constant=0.01).guarantee()
        'calibrated noise (Laplace, scale 0.2, on features of unit energy): no differential privacy is claimed'
    """

    stochastic = True

    def __init__(
        self,
        num_symbols: int,
        constellation: str | None = None,
        *,
        epsilon: float = 20.0,
        clip: float = 1.0,
        mode: str = "honest",
        constant: float | None = None,
    ) -> None:
        super().__init__(num_symbols, constellation, epsilon=epsilon, clip=clip, mode=mode, constant=constant)
        if mode not in MODES:
            raise InputError(f"mode must be one of {', '.join(MODES)}, not {mode!r}.")
        if (constant is None) == (mode == "article"):
            raise InputError(
                "mode 'article' needs its calibrated constant, a number above 0."
                if constant is None
                else f"constant belongs to mode 'article'; mode 'honest' takes none, not {constant!r}."
            )
        self.epsilon, self.clip = check_positive(epsilon, "epsilon"), check_positive(clip, "clip")
        self.mode, self.constant = mode, None if constant is None else check_positive(constant, "constant")
        # What the scale is divided by epsilon of: the sensitivity, or the number that stands in its place.
        self.reach = 2 * self.clip if self.constant is None else self.constant
        # The L1 norm of an average message of points, found once: to look it up on a GPU is to wait for it.
        self._usual = 0.0 if constellation is None else num_symbols * _mean_norm(constellation)

    def protect(self, symbols: Tensor, context: Context, epsilon: Tensor | None = None) -> Tensor:
        """Noisy symbols [B, 2n].

        Args:
            symbols: float [B, 2n], any scale.
            context: whose generator draws the noise.
            epsilon: [B], another budget for each message instead of :attr:`epsilon`.
        """
        clean = self.bounded(symbols)
        scale = self.reach / (self.epsilon if epsilon is None else epsilon.double()[:, None])
        noisy = clean + scale * _laplace(clean, context.generator)
        return noisy.float() if self.constellation is None else self._snap(noisy)

    def bounded(self, symbols: Tensor) -> Tensor:
        """What the noise is added to, float64 [B, 2n]: of L1 norm C at most, or in ``article`` of unit energy."""
        # A feature that is no number must not pass the clip: nan and inf would show through any noise.
        values = torch.nan_to_num(symbols.float()).double()
        if self.mode == "honest":
            return values * (self.clip / values.abs().sum(1, keepdim=True).clamp_min(self.clip))
        energy = values.square().sum(1, keepdim=True) / self.num_symbols
        return values * torch.rsqrt(energy + ENERGY_EPSILON)

    def _snap(self, noisy: Tensor) -> Tensor:
        points = constellation_points(self.constellation or "", device=noisy.device)
        if self.mode == "honest":
            noisy = noisy * max(1.0, self._usual / self.clip)
        return modulate(hard_decision(noisy.float(), points), points)

    def guarantee(self, transmissions: int = 1) -> str:
        check_count(transmissions, "transmissions")
        scale = self.reach / self.epsilon
        if self.mode == "article":
            return (
                f"calibrated noise (Laplace, scale {scale:.3g}, on features of unit energy): "
                "no differential privacy is claimed"
            )
        one = (
            f"each message is {self.epsilon:g}-DP for its image "
            f"(pure; Laplace noise of scale {scale:.3g} on features of L1 norm at most {self.clip:g})"
        )
        if transmissions == 1:
            return one
        return (
            f"{one}; {transmissions} transmissions of the same image: {Budget(self.epsilon, transmissions)}"
        )

    def __repr__(self) -> str:
        if self.mode == "article":
            return f"LaplaceMechanism(calibrated noise, not private by proof, scale={self.reach / self.epsilon:g})"
        return f"LaplaceMechanism(honest, epsilon={self.epsilon:g}, clip={self.clip:g})"


def _mean_norm(constellation: str) -> float:
    return float(torch.view_as_real(constellation_points(constellation)).abs().sum(1).mean())


def _laplace(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Laplace noise of scale 1, shaped like ``like``.

    The difference of two exponentials. The usual inverse, sign(u) log(1 - 2|u|) of a uniform u, is infinite when u
    is exactly 1/2 and has no tail beyond the smallest step of u, which a budget does not forgive.
    """
    first, second = (torch.empty_like(like).exponential_(generator=generator) for _ in range(2))
    return first - second


def sharpened(features: Tensor, sharpness: float) -> Tensor:
    """``sinh(sharpness z)`` of features [B, d] scaled to unit mean square, brought to L1 norm 1.

    Close to linear for small features, exponential for large ones: a signed softmax, whose largest entry soon
    has most of the norm, and whose gradient reaches all of them.

    >>> sharpened(torch.tensor([[3.0, -1.0, 1.0, 0.0]]), 2.0)
    tensor([[ 0.8596, -0.0702,  0.0702,  0.0000]])
    """
    z = sharpness * features * torch.rsqrt(features.square().mean(1, keepdim=True) + ENERGY_EPSILON)
    # sinh, divided by e^peak / 2, so that nothing overflows.
    size, peak = z.abs(), z.detach().abs().amax(1, keepdim=True)
    grown = z.sign() * (torch.exp(size - peak) - torch.exp(-size - peak))
    return grown / grown.abs().sum(1, keepdim=True).clamp_min(ENERGY_EPSILON)


class DPLaplace(DeepJSCC):
    """The baseline with Laplace noise on its features, whose receiver knows how much noise there is.

    ::

        transmitter:  image -> residual CNN -> sharpened -> features [B, 2n] -> LaplaceMechanism -> symbols [B, 2n]
        receiver:     received [B, 2n], noise level, budget -> MLP -> logits [B, K]

    Where all features share the budget, each drowns in noise: m equal ones have energy C^2 / m together. So the
    best code says everything with one feature at a time, and :func:`sharpened` makes that easy to learn; it is
    part of the encoder, before the clip, and changes nothing about the proof. (``article`` has no norm to spare
    and no sharpening.)

    Args:
        spec: the system's shapes.
        epsilon, clip, mode, constant: see :class:`LaplaceMechanism`.
        epsilon_range: ``[low, high]``: in training each message draws a budget of its own from there,
            log-uniformly, and the receiver, which is told it, learns them all. None: trained at ``epsilon``.
        sharpness: see :func:`sharpened` (``honest`` only).
        told_snr_db, options: of the baseline.

    Raises:
        InputError: as for the mechanism; a range that is none, or ``epsilon`` outside of it.

    Example:
        >>> scheme = DPLaplace(SystemSpec((3, 32, 32), 10), epsilon=5.0, epsilon_range=[1, 100])
        >>> scheme.guarantee(2).split("; ")[-1]
        '2 transmissions of the same image: 10-DP by basic composition'
    """

    name = "dp-laplace"
    free_options: ClassVar[tuple[str, ...]] = ("epsilon",)
    training_defaults: ClassVar[dict[str, Any]] = {"optimizer": "adamw", "learning_rate": 1e-3}
    stochastic = True

    def __init__(
        self,
        spec: SystemSpec,
        *,
        epsilon: float = 20.0,
        clip: float = 1.0,
        mode: str = "honest",
        constant: float | None = None,
        epsilon_range: Sequence[float] | None = None,
        sharpness: float = 4.0,
        told_snr_db: float | None = None,
        **options: Any,
    ) -> None:
        check_options(DeepJSCC, self.name, options, given=1)
        super().__init__(spec, told_snr_db=told_snr_db, **options)
        self.mechanism = LaplaceMechanism(
            spec.num_symbols, epsilon=epsilon, clip=clip, mode=mode, constant=constant
        )
        self.epsilon_range = _check_range(epsilon_range, self.epsilon)
        self.sharpness = check_positive(sharpness, "sharpness")
        self.options |= {
            "epsilon": self.epsilon,
            "clip": self.mechanism.clip,
            "mode": mode,
            "constant": self.mechanism.constant,
            "epsilon_range": self.epsilon_range,
            "sharpness": self.sharpness,
        }
        # Starts at zero, so that a receiver that begins with the baseline's weights begins as the baseline's.
        self.told = nn.Linear(1, self.receiver[0].out_features)  # type: ignore[union-attr, arg-type]
        nn.init.zeros_(self.told.weight)
        nn.init.zeros_(self.told.bias)

    @property
    def epsilon(self) -> float:
        """The budget of each message outside of training."""
        return self.mechanism.epsilon

    @classmethod
    def perturbation(
        cls, num_symbols: int, constellation: str | None = None, **options: Any
    ) -> LaplaceMechanism:
        """The noise alone, for other schemes."""
        check_options(LaplaceMechanism, cls.name, options, given=2)
        return LaplaceMechanism(num_symbols, constellation, **options)

    def features(self, images: Tensor) -> Tensor:
        features = self.transmitter(images).float()
        if self.mechanism.mode == "article":
            return features
        return self.mechanism.clip * sharpened(features, self.sharpness)

    def emit(self, features: Tensor, context: Context) -> Tensor:
        return self.mechanism.protect(features, context)

    def encode(self, images: Tensor, context: Context) -> Tensor:
        return self.emit(self.features(images), context)

    def decode(self, received: Tensor, csi: Tensor, context: Context) -> Tensor:
        return self._decode(received, csi, torch.full_like(csi[:, 0], self.epsilon))

    def _decode(self, received: Tensor, csi: Tensor, epsilon: Tensor) -> Tensor:
        """Logits [B, K], where the receiver is told each message's budget [B]."""
        snr_db = csi[:, 0] if self.told_snr_db is None else torch.full_like(csi[:, 0], self.told_snr_db)
        first = self.receiver[0](torch.cat([received, scaled_snr(snr_db)], dim=1))
        return self.receiver[1:](first + self.told(self._scaled(epsilon)[:, None]))

    def _scaled(self, epsilon: Tensor) -> Tensor:
        """The logarithm of the budget, and so of the noise's scale, brought to [-1, 1] over the range."""
        if self.epsilon_range is None:
            return torch.zeros_like(epsilon)  # one budget alone was learned: another value would mean nothing
        low, high = (math.log(bound) for bound in self.epsilon_range)
        return (2 * epsilon.log() - low - high) / (high - low)

    def loss(
        self, game: Game, round_: Round, context: Context, task: Task
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The baseline's loss at this step's budgets; ``peak`` is the largest feature's share of the clip."""
        epsilon = self._draw_budgets(context)
        features = self.features(round_.batch.images)
        sent = self.mechanism.protect(features, context, epsilon)
        reception = game.transmit(round_, sent).receiver
        logits = self._decode(reception.received, reception.csi, epsilon)
        score = task.score(task.decide(logits.detach()), round_.targets).mean()
        with torch.no_grad():
            clean = self.mechanism.bounded(features).abs()
            peak = (clean.amax(1) / clean.sum(1).clamp_min(1e-12)).mean().float()
        return task.loss(logits, round_.targets), {"accuracy": score, "peak": peak}

    def _draw_budgets(self, context: Context) -> Tensor:
        """Each message's budget [B]: from the range in training, else :attr:`epsilon`."""
        epsilon = torch.full_like(context.snr_db, self.epsilon)
        if not self.training or self.epsilon_range is None:
            return epsilon
        low, high = self.epsilon_range
        share = torch.rand(epsilon.shape, generator=context.generator, device=epsilon.device)
        return low * (high / low) ** share

    def guarantee(self, transmissions: int = 1) -> str:
        return self.mechanism.guarantee(transmissions)


def _check_range(given: Sequence[float] | None, epsilon: float) -> list[float] | None:
    """The range as two floats; InputError when it is none, or does not hold ``epsilon``."""
    if given is None:
        return None
    if isinstance(given, str) or not isinstance(given, Sequence) or len(given) != 2:
        raise InputError(f"epsilon_range must be None or two numbers [low, high], not {given!r}.")
    low, high = (check_positive(bound, f"each bound of epsilon_range {list(given)!r}") for bound in given)
    if not low < high:
        raise InputError(f"epsilon_range must have low < high, not {list(given)!r}.")
    if not low <= epsilon <= high:
        raise InputError(f"epsilon must lie in epsilon_range [{low:g}, {high:g}], not {epsilon:g}.")
    return [low, high]

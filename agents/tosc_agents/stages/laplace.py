"""Laplace noise: a mechanism of differential privacy, and the article's noise, which is only calibrated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tosc_agents.accounting import composed
from tosc_env import Context, Stage, SystemSpec
from tosc_env.errors import InputError, shown
from tosc_env.game import ENERGY_EPSILON
from tosc_env.modulation import constellation_points, hard_decision, modulate
from tosc_env.options import check_choice, check_count, check_positive, check_range

MODES = ("laplace", "calibrated")


class Laplace(Stage):
    """Independent Laplace noise on a message's 2n reals, before the power constraint.

    ::

        laplace:     symbols [B, 2n] -> clip to L1 norm C -> + Laplace(2C / epsilon)        -> power, channel
        calibrated:  symbols [B, 2n] -> unit energy       -> + Laplace(constant / epsilon)  -> power, channel

    ``laplace`` is the Laplace mechanism (Dwork, McSherry, Nissim and Smith, TCC 2006). Any two clipped vectors
    differ by 2C at most in L1 norm, so replacing a message's image by *any other* changes the density of what is
    sent by a factor of e^epsilon at most: pure epsilon-DP of the image that is sent, not of those that the weights were
    trained on. What comes after the noise cannot weaken it (post-processing). Each further transmission of an image
    draws fresh noise and spends as much again: :func:`~tosc_agents.accounting.composed`.

    ``calibrated`` clips nothing, so no sensitivity is known: its noise is *calibrated* by ``constant``
    (:func:`~tosc_agents.training.calibrate.calibrate`), and no differential privacy is claimed of it.

    For a discrete scheme the same is done to I and Q of the points, and the result snaps to the nearest point.
    Clipped points are close to 0, so before they snap ``laplace`` amplifies them by a constant that depends on C and
    the constellation alone.

    The proof is about real numbers, which are float64 here: the last bits of a float depend on what the noise was
    added to (Mironov, CCS 2012). An attacker behind a noisy channel has no such bits; who reads the transmitter's
    memory does. The noise comes from the environment's seeded stream, so that episodes replay: whoever knows the seed
    knows the noise. A transmitter in the field draws from its operating system's entropy.

    Args:
        spec, constellation: see :class:`~tosc_env.Stage`.
        epsilon: the budget of each message, above 0; its knob.
        clip: C, the largest L1 norm of a message's 2n reals (``laplace`` only).
        mode, constant: ``"laplace"``, or ``"calibrated"`` with its constant.
        epsilon_range: ``[low, high]``, which holds ``epsilon``: in training each message draws a budget of its own from
            there, log-uniformly, and a receiver that is told it (:class:`~tosc_agents.backbones.cnn.CNN`) learns them
            all. None: trained at ``epsilon``.

    >>> spec = SystemSpec((3, 32, 32), 10, num_symbols=4)
    >>> Laplace(spec, epsilon=20.0)
    Laplace(epsilon=20, clip=1)
    >>> Laplace(spec, epsilon=0.05, mode="calibrated", constant=0.01).guarantee()
    'calibrated noise (Laplace, scale 0.2, on features of unit energy): no differential privacy is claimed'
    """

    name = "laplace"
    stochastic = True

    def __init__(
        self,
        spec: SystemSpec,
        constellation: str | None = None,
        *,
        epsilon: float = 20.0,
        clip: float = 1.0,
        mode: str = "laplace",
        constant: float | None = None,
        epsilon_range: Sequence[float] | None = None,
    ) -> None:
        super().__init__(spec, constellation)
        check_choice(mode, "mode", MODES)
        if (constant is None) == (mode == "calibrated"):
            raise InputError(
                "mode 'calibrated' needs its calibrated constant, a number above 0."
                if constant is None
                else f"constant belongs to mode 'calibrated'; mode 'laplace' takes none, not {shown(constant)}."
            )
        self.epsilon, self.clip = check_positive(epsilon, "epsilon"), check_positive(clip, "clip")
        self.epsilon_range = check_range("epsilon", epsilon_range)
        low, high = self.epsilon_range or (self.epsilon, self.epsilon)
        if not low <= self.epsilon <= high:
            raise InputError(f"epsilon must lie in epsilon_range [{low:g}, {high:g}], not {self.epsilon:g}.")
        self.mode, self.constant = mode, None if constant is None else check_positive(constant, "constant")
        # What the scale is divided by epsilon of: the sensitivity, or the number that stands in its place.
        self.reach = 2 * self.clip if self.constant is None else self.constant
        # The L1 norm of an average message of points, found once: to look it up on a GPU is to wait for it.
        self._usual = 0.0
        if constellation is not None:
            points = torch.view_as_real(constellation_points(constellation))
            self._usual = spec.num_symbols * float(points.abs().sum(1).mean())
        names = ("epsilon", "clip", "mode", "constant", "epsilon_range")
        self.options = {name: getattr(self, name) for name in names}

    @property
    def knobs(self) -> Mapping[str, float]:  # type: ignore[override]
        """``epsilon``, the budget of each message outside of training."""
        return {"epsilon": self.epsilon}

    def protect(self, symbols: Tensor, context: Context) -> Tensor:
        """Noisy symbols [B, 2n] of symbols [B, 2n] of any scale; the context's generator draws the noise."""
        clean = self.bounded(symbols)
        epsilon = context.knobs.get("epsilon")
        scale = self.reach / (self.epsilon if epsilon is None else epsilon.double()[:, None])
        noisy = clean + scale * _laplace(clean, context.generator)
        if self.constellation is None:
            return noisy.float()
        points = constellation_points(self.constellation, device=noisy.device)
        if self.mode == "laplace":
            noisy = noisy * max(1.0, self._usual / self.clip)
        return modulate(hard_decision(noisy.float(), points), points)

    def draw_knobs(self, context: Context) -> Mapping[str, Tensor]:
        """Draw each message's budget [B] from the range, in training."""
        if not self.training or self.epsilon_range is None:
            return {}
        low, high = self.epsilon_range
        like = context.snr_db
        share = torch.rand(like.shape, generator=context.generator, device=like.device)
        return {"epsilon": low * (high / low) ** share}

    def bounded(self, symbols: Tensor) -> Tensor:
        """Symbols before the noise, float64 [B, 2n]: of L1 norm C at most, or in ``calibrated`` of unit energy."""
        # A feature that is no number must not pass the clip: nan and inf would show through any noise.
        values = torch.nan_to_num(symbols.float()).double()
        if self.mode == "laplace":
            return values * (self.clip / values.abs().sum(1, keepdim=True).clamp_min(self.clip))
        energy = values.square().sum(1, keepdim=True) / self.spec.num_symbols
        return values * torch.rsqrt(energy + ENERGY_EPSILON)

    def guarantee(self, transmissions: int = 1) -> str:
        check_count(transmissions, "transmissions")
        scale = self.reach / self.epsilon
        if self.mode == "calibrated":
            return (
                f"calibrated noise (Laplace, scale {scale:.3g}, on features of unit energy): "
                "no differential privacy is claimed"
            )
        told = (
            f"each message is {self.epsilon:g}-DP for its image "
            f"(pure; Laplace noise of scale {scale:.3g} on features of L1 norm at most {self.clip:g}; "
            "whoever knows the seed knows the noise)"
        )
        if transmissions > 1:
            told += (
                f"; {transmissions} transmissions of the same image: {composed(self.epsilon, transmissions)}"
            )
        return told

    def __repr__(self) -> str:
        if self.mode == "calibrated":
            return f"Laplace(calibrated noise, not private by proof, scale={self.reach / self.epsilon:g})"
        return f"Laplace(epsilon={self.epsilon:g}, clip={self.clip:g})"


def _laplace(like: Tensor, generator: torch.Generator | None) -> Tensor:
    # The difference of two exponentials: the usual inverse, sign(u) log(1 - 2|u|) of a uniform u, is infinite when u is
    # exactly 1/2 and has no tail beyond the smallest step of u.
    first, second = (torch.empty_like(like).exponential_(generator=generator) for _ in range(2))
    return first - second

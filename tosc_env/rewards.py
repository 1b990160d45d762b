"""Rewards of the three roles. A reward is an injected object, not a flag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from tosc_env import metrics
from tosc_env.async_checks import check
from tosc_env.errors import InputError, shown
from tosc_env.options import build, check_choice, check_reals, check_weight
from tosc_env.registry import Registry

ROLES = ("transmitter", "receiver", "eavesdropper")


@dataclass(frozen=True)
class Outcome:
    """The result of a round against one eavesdropper, one row per message.

    Attributes:
        score: task score, [B] in [0, 1].
        mse, psnr_db: the eavesdropper's error, [B].
        images, reconstruction: [B, C, H, W].
        floor: M, the MSE of the mean-image predictor.
    """

    score: Tensor
    mse: Tensor
    psnr_db: Tensor
    images: Tensor
    reconstruction: Tensor
    floor: float


@runtime_checkable
class Reward(Protocol):
    """A callable from an :class:`Outcome` to finite floating-point numbers [B] for each of :data:`ROLES`."""

    def __call__(self, outcome: Outcome) -> dict[str, Tensor]: ...


rewards: Registry[Any] = Registry("reward", group="tosc_env.rewards")
register_reward = rewards.register


@register_reward("privacy-utility")
class PrivacyUtility:
    """Task score minus weighted reconstruction quality, and that quality for the eavesdropper.

    Args:
        privacy_weight: the cost of a unit of quality to the system, at least 0.
        quality: ``"q"`` for (M - e) / (M + e), ``"ssim"`` for structural similarity.

    >>> import torch
    >>> image = torch.full((1, 3, 32, 32), 0.5)
    >>> outcome = Outcome(torch.ones(1), torch.zeros(1), torch.full((1,), 100.0), image, image, 0.05)
    >>> PrivacyUtility(privacy_weight=0.5)(outcome)["transmitter"]
    tensor([0.5000])
    """

    def __init__(self, privacy_weight: float = 1.0, quality: str = "q") -> None:
        self.privacy_weight = check_weight(privacy_weight, "privacy_weight")
        self.quality = check_choice(quality, "quality", ("q", "ssim"))

    def __call__(self, outcome: Outcome) -> dict[str, Tensor]:
        if self.quality == "ssim":
            q = metrics.ssim(outcome.reconstruction, outcome.images)
        else:
            q = metrics.quality(outcome.mse, outcome.floor)
        system = outcome.score - self.privacy_weight * q
        return {"transmitter": system, "receiver": system, "eavesdropper": q}


def make_reward(reward: Any = "privacy-utility", **options: Any) -> Reward:
    """Make a reward from its registered name and options; any other callable is handed back as it is."""
    if isinstance(reward, type):
        raise InputError(f"a reward is a name or a function of an outcome, not the class {reward.__name__}.")
    made = build(rewards, Reward, reward, options)
    if not callable(made):
        raise InputError(f"the reward {reward!r} must be made as a callable, not {type(made).__name__}.")
    return made


def checked_rewards(reward: Reward, outcome: Outcome) -> dict[str, Tensor]:
    """The rewards that a reward returns for an outcome, as float32 [B] by role; InputError where it returns others, or
    has written to the outcome, of which figures are still to be told."""
    before = _writes(outcome)
    paid: Any = reward(outcome)
    for name, count in _writes(outcome).items():
        if count != before[name]:
            raise InputError(f"a reward_fn must leave an outcome as it is, and has written to its {name}.")
    if not isinstance(paid, Mapping) or set(paid) != set(ROLES):
        raise InputError(f"a reward_fn must return a dictionary for {', '.join(ROLES)}, not {shown(paid)}.")
    like = outcome.score
    rewards = {}
    for role in ROLES:
        what = f"the reward_fn's reward of the {role}"
        given = check_reals(paid[role], what, like.shape)
        if given.device != like.device:
            raise InputError(f"{what} must be on {like.device}, not on {given.device}.")
        rewards[role] = given.float()
        # An image that is no numbers is not the reward's fault, and is told of as such.
        check(
            (~rewards[role].detach().isfinite() & outcome.mse.isfinite()).any(),
            f"{what} must be finite float32 numbers, and was not.",
        )
    return rewards


def _writes(outcome: Outcome) -> dict[str, int]:
    """How often each tensor of an outcome was written to; PyTorch does not count it of those of inference mode."""
    tensors = {name: value for name, value in vars(outcome).items() if isinstance(value, Tensor)}
    return {name: 0 if tensor.is_inference() else tensor._version for name, tensor in tensors.items()}

"""Shift of the pipelined environment's late rewards to the step that earned them."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from tosc_env.errors import InputError, shown
from tosc_env.options import check_dense

Rewards = TypeVar("Rewards")


def shift_transmitter_rewards(rewards: Rewards, terminations: Any = None, following: Any = None) -> Rewards:
    """Move each of the transmitter's rewards one step back, to the action that earned it.

    In :class:`~tosc_env.envs.parallel.PipelinedEnv` the transmitter acts on message t at step t and is paid at
    step t + 1. Apply this to stored trajectories before computing returns or advantages.

    Args:
        rewards: the transmitter's, as an array, tensor or sequence of numbers [T, ...], time first.
        terminations: true where an episode ended, in the form of ``rewards``; nothing moves across an end. None: one
            episode, or a part of one.
        following: the transmitter's reward [...] of the step after the last, where a rollout was cut in the
            middle of an episode. By default 0, so that the last transition of a cut rollout is not paid.

    Returns:
        The same form, in new memory. The last step of each episode, whose action is ignored, is paid 0.

    Example:
        >>> shift_transmitter_rewards([0.0, 1.0, 2.0, 0.0, 3.0], terminations=[0, 0, 1, 0, 1])
        [1.0, 2.0, 0.0, 3.0, 0.0]
    """
    values = _numbers(rewards, "rewards")
    if values.dim() == 0:
        raise InputError("rewards need a time axis [T, ...], and this is a single number.")
    if not values.is_floating_point():
        values = values.to(torch.float64)
    shifted = torch.zeros_like(values)
    shifted[:-1] = values[1:]
    if following is not None:
        last = _numbers(following, "following")
        if last.dim() and last.shape != values.shape[1:]:
            raise InputError(f"following must have shape {list(values.shape[1:])}, not {list(last.shape)}.")
        shifted[-1:] = last
    if terminations is not None:
        ends = _numbers(terminations, "terminations")
        if ends.shape != values.shape:
            raise InputError(f"terminations must have shape {list(values.shape)}, not {list(ends.shape)}.")
        shifted[ends.to(values.device).bool()] = 0.0
    if isinstance(rewards, Tensor):
        return shifted  # type: ignore[return-value]
    return shifted.numpy() if isinstance(rewards, np.ndarray) else shifted.tolist()  # type: ignore[return-value]


def _numbers(value: Any, name: str) -> Tensor:
    """Real numbers as a tensor; InputError for anything else."""
    check_dense(value, name)
    try:
        tensor = value if isinstance(value, Tensor) else torch.tensor(np.asarray(value))
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name} must be an array of real numbers, not {shown(value)}.") from None
    return check_dense(tensor, name, real=True)

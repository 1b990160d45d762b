"""Shift of the pipelined environment's late rewards to the step that earned them."""

from __future__ import annotations

from collections.abc import Mapping
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
        rewards: the transmitter's, as an array, tensor or sequence of numbers [T, ...], time first; or a
            trajectory of all agents: a mapping from agent to such rewards, or a sequence of the dictionaries
            that ``step`` returned. In a trajectory only ``transmitter_*`` moves.
        terminations: true where an episode ended, in the form of ``rewards`` (of a trajectory: the transmitter's
            [T, ...], or the sequence of dictionaries ``step`` returned); nothing moves across an end. None: one
            episode, or a part of one.
        following: the transmitter's reward [...] of the step after the last, where a rollout was cut in the
            middle of an episode. By default 0, so that the last transition of a cut rollout is not paid.

    Returns:
        The same form, in new memory. The last step of each episode, whose action is ignored, is paid 0.

    Raises:
        InputError: no time axis, or terminations of another shape.

    Example:
        >>> shift_transmitter_rewards([0.0, 1.0, 2.0, 0.0, 3.0], terminations=[0, 0, 1, 0, 1])
        [1.0, 2.0, 0.0, 3.0, 0.0]
        >>> shift_transmitter_rewards({"transmitter_0": [0.0, 1.0], "receiver_0": [0.0, 1.0]})
        {'transmitter_0': [1.0, 0.0], 'receiver_0': [0.0, 1.0]}
    """
    if isinstance(rewards, Mapping):
        if rewards and not any(map(_late, rewards)):
            raise InputError(
                f"rewards must have a transmitter's among the agents', not {shown(list(rewards))} alone."
            )
        return {  # type: ignore[return-value]
            agent: _shift(value, _of(terminations, agent), _of(following, agent)) if _late(agent) else value
            for agent, value in rewards.items()
        }
    if isinstance(rewards, (list, tuple)) and rewards and isinstance(rewards[0], Mapping):
        columns = {agent: _of(rewards, agent) for agent in rewards[0] if _late(agent)}
        moved = shift_transmitter_rewards(columns, terminations, following)
        return [  # type: ignore[return-value]
            {**step, **{agent: values[t] for agent, values in moved.items()}}
            for t, step in enumerate(rewards)
        ]
    return _shift(rewards, terminations, following)


def _late(agent: object) -> bool:
    return isinstance(agent, str) and agent.startswith("transmitter")


def _of(value: Any, agent: str) -> Any:
    """An agent's part of a mapping, of a sequence of mappings, or the plain value that is meant for it."""
    steps = isinstance(value, (list, tuple)) and value and isinstance(value[0], Mapping)
    if not steps and not isinstance(value, Mapping):
        return value
    try:
        return [step[agent] for step in value] if steps else value[agent]
    except (KeyError, TypeError):
        raise InputError(f"{agent} is missing in {shown(value)}.") from None


def _shift(rewards: Any, terminations: Any, following: Any) -> Any:
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
            raise InputError(
                f"following has the shape {tuple(last.shape)}, but a step's rewards have {tuple(values.shape[1:])}."
            )
        shifted[-1:] = last
    if terminations is not None:
        ends = _numbers(terminations, "terminations")
        if ends.shape != values.shape:
            raise InputError(
                f"terminations have shape {tuple(ends.shape)}, but the rewards have {tuple(values.shape)}."
            )
        shifted[ends.to(values.device).bool()] = 0.0
    if isinstance(rewards, Tensor):
        return shifted
    return shifted.numpy() if isinstance(rewards, np.ndarray) else shifted.tolist()


def _numbers(value: Any, name: str) -> Tensor:
    """Real numbers as a tensor; InputError for anything else."""
    check_dense(value, name)
    try:
        tensor = value if isinstance(value, Tensor) else torch.tensor(np.asarray(value))
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name} must be an array of real numbers, not {shown(value)}.") from None
    return check_dense(tensor, name, real=True)

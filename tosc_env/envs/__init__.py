"""Thin adapters over :class:`~tosc_env.envs.session.Session`: Gymnasium, its vector form, and PettingZoo's two."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tosc_env.envs.aec import TurnsEnv, aec_env
    from tosc_env.envs.parallel import PipelinedEnv, parallel_env
    from tosc_env.envs.reward_shift import shift_transmitter_rewards
    from tosc_env.envs.role import RoleEnv
    from tosc_env.envs.vector import ToscVectorEnv

_HOMES = {
    "PipelinedEnv": "tosc_env.envs.parallel",
    "RoleEnv": "tosc_env.envs.role",
    "ToscVectorEnv": "tosc_env.envs.vector",
    "TurnsEnv": "tosc_env.envs.aec",
    "aec_env": "tosc_env.envs.aec",
    "parallel_env": "tosc_env.envs.parallel",
    "shift_transmitter_rewards": "tosc_env.envs.reward_shift",
}

__all__ = [
    "PipelinedEnv",
    "RoleEnv",
    "ToscVectorEnv",
    "TurnsEnv",
    "aec_env",
    "parallel_env",
    "shift_transmitter_rewards",
]


def __getattr__(name: str) -> Any:
    # Whoever wants the Gymnasium form alone does not load PettingZoo, and the other way round.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])

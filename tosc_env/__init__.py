"""tosc-env: a Gymnasium-style simulation environment for privacy in task-oriented semantic communication.

Importing this package registers ``ToSC-CIFAR-v0``, ``ToSC-CelebA-v0`` and ``ToSC-Shapes-v0`` and loads little
else: every name below is imported when it is first used.

Example:
    >>> import gymnasium as gym
    >>> import tosc_env
    >>> "ToSC-CIFAR-v0" in gym.registry
    True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tosc_env.registration import register_all

if TYPE_CHECKING:
    from tosc_env import testing
    from tosc_env.channels import Channel, make_channel, register_channel
    from tosc_env.data import Source, make_source, register_source
    from tosc_env.envs.credit import shift_transmitter_rewards
    from tosc_env.envs.parallel import parallel_env
    from tosc_env.envs.turns import aec_env
    from tosc_env.errors import InputError, ToscError
    from tosc_env.game import Game
    from tosc_env.policies import (
        Context,
        Eavesdropper,
        PrivacyScheme,
        SystemSpec,
        make_eavesdropper,
        make_scheme,
        register_eavesdropper,
        register_scheme,
    )
    from tosc_env.registration import register_env
    from tosc_env.rewards import Outcome, make_reward, register_reward
    from tosc_env.senders import SchemeSender
    from tosc_env.tasks import Task, make_task, register_task
    from tosc_env.threat import ThreatModel
    from tosc_env.view import View

__version__ = "0.1.0"

_HOMES = {
    "Channel": "channels",
    "Context": "policies",
    "Eavesdropper": "policies",
    "Game": "game",
    "InputError": "errors",
    "Outcome": "rewards",
    "PrivacyScheme": "policies",
    "SchemeSender": "senders",
    "Source": "data",
    "SystemSpec": "policies",
    "Task": "tasks",
    "ThreatModel": "threat",
    "ToscError": "errors",
    "View": "view",
    "aec_env": "envs.turns",
    "make_channel": "channels",
    "make_eavesdropper": "policies",
    "make_reward": "rewards",
    "make_scheme": "policies",
    "make_source": "data",
    "make_task": "tasks",
    "parallel_env": "envs.parallel",
    "register_channel": "channels",
    "register_eavesdropper": "policies",
    "register_env": "registration",
    "register_reward": "rewards",
    "register_scheme": "policies",
    "register_source": "data",
    "register_task": "tasks",
    "shift_transmitter_rewards": "envs.credit",
}

__all__ = [
    "Channel",
    "Context",
    "Eavesdropper",
    "Game",
    "InputError",
    "Outcome",
    "PrivacyScheme",
    "SchemeSender",
    "Source",
    "SystemSpec",
    "Task",
    "ThreatModel",
    "ToscError",
    "View",
    "__version__",
    "aec_env",
    "make_channel",
    "make_eavesdropper",
    "make_reward",
    "make_scheme",
    "make_source",
    "make_task",
    "parallel_env",
    "register_channel",
    "register_eavesdropper",
    "register_env",
    "register_reward",
    "register_scheme",
    "register_source",
    "register_task",
    "shift_transmitter_rewards",
    "testing",
]


def __getattr__(name: str) -> Any:
    if name == "testing":
        return import_module("tosc_env.testing")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"tosc_env.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register_all()

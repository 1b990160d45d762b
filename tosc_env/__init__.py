"""tosc-env: a Gymnasium-style simulation environment for privacy in task-oriented semantic communication.

Importing this package registers the environment ids that installed packages declare and loads little else: every
name below is imported when it is first used.

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
    from tosc_env.attackers import Eavesdropper, make_eavesdropper, register_eavesdropper
    from tosc_env.channels import Channel, make_channel, register_channel
    from tosc_env.data import DataSet, Source, make_source, register_source
    from tosc_env.data.handed import as_source
    from tosc_env.envs.aec import aec_env
    from tosc_env.envs.parallel import parallel_env
    from tosc_env.envs.reward_shift import shift_transmitter_rewards
    from tosc_env.errors import InputError, ToscError
    from tosc_env.exchange import rollout
    from tosc_env.game import Game, GameConfig
    from tosc_env.io.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
    from tosc_env.mixture import Mixture
    from tosc_env.nodes import WIRETAP, Node, wiretap
    from tosc_env.pipeline import Pipeline, make_scheme
    from tosc_env.privacy.threat import ThreatModel
    from tosc_env.privacy.view import View
    from tosc_env.registration import register_env
    from tosc_env.rewards import Outcome, make_reward, register_reward
    from tosc_env.schemes import (
        Objective,
        PrivacyScheme,
        Stage,
        Trial,
        defaults,
        make_objectives,
        make_stage,
        register_objective,
        register_scheme,
        register_stage,
    )
    from tosc_env.tasks import Task, make_task, register_task
    from tosc_env.types import Batch, Context, Reception, Round, SystemSpec, Transmission, Waves
    from tosc_env.zoos import load_eavesdropper, load_scheme

__version__ = "0.1.0"

_MODULES = {
    "attackers": ("Eavesdropper", "make_eavesdropper", "register_eavesdropper"),
    "channels": ("Channel", "make_channel", "register_channel"),
    "data": ("DataSet", "Source", "make_source", "register_source"),
    "data.handed": ("as_source",),
    "envs.aec": ("aec_env",),
    "envs.parallel": ("parallel_env",),
    "envs.reward_shift": ("shift_transmitter_rewards",),
    "errors": ("InputError", "ToscError"),
    "exchange": ("rollout",),
    "game": ("Game", "GameConfig"),
    "io.checkpoints": ("Checkpoint", "load_checkpoint", "save_checkpoint"),
    "mixture": ("Mixture",),
    "nodes": ("WIRETAP", "Node", "wiretap"),
    "pipeline": ("Pipeline", "make_scheme"),
    "privacy.threat": ("ThreatModel",),
    "privacy.view": ("View",),
    "registration": ("register_env",),
    "rewards": ("Outcome", "make_reward", "register_reward"),
    "schemes": (
        *("Objective", "PrivacyScheme", "Stage", "Trial", "defaults", "make_objectives", "make_stage"),
        *("register_objective", "register_scheme", "register_stage"),
    ),
    "tasks": ("Task", "make_task", "register_task"),
    "types": ("Batch", "Context", "Reception", "Round", "SystemSpec", "Transmission", "Waves"),
    "zoos": ("load_eavesdropper", "load_scheme"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "WIRETAP",
    "Batch",
    "Channel",
    "Checkpoint",
    "Context",
    "DataSet",
    "Eavesdropper",
    "Game",
    "GameConfig",
    "InputError",
    "Mixture",
    "Node",
    "Objective",
    "Outcome",
    "Pipeline",
    "PrivacyScheme",
    "Reception",
    "Round",
    "Source",
    "Stage",
    "SystemSpec",
    "Task",
    "ThreatModel",
    "ToscError",
    "Transmission",
    "Trial",
    "View",
    "Waves",
    "__version__",
    "aec_env",
    "as_source",
    "defaults",
    "load_checkpoint",
    "load_eavesdropper",
    "load_scheme",
    "make_channel",
    "make_eavesdropper",
    "make_objectives",
    "make_reward",
    "make_scheme",
    "make_source",
    "make_stage",
    "make_task",
    "parallel_env",
    "register_channel",
    "register_eavesdropper",
    "register_env",
    "register_objective",
    "register_reward",
    "register_scheme",
    "register_source",
    "register_stage",
    "register_task",
    "rollout",
    "save_checkpoint",
    "shift_transmitter_rewards",
    "testing",
    "wiretap",
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

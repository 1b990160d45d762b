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
    from tosc_env.attackers import Eavesdropper, make_eavesdropper, register_eavesdropper
    from tosc_env.channels import Channel, make_channel, register_channel
    from tosc_env.data import DataSet, Source, make_source, register_source
    from tosc_env.data.handed import as_source
    from tosc_env.envs.aec import aec_env
    from tosc_env.envs.parallel import parallel_env
    from tosc_env.envs.reward_shift import shift_transmitter_rewards
    from tosc_env.errors import InputError, ToscError
    from tosc_env.game import Game, GameConfig
    from tosc_env.io.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
    from tosc_env.mixture import Mixture
    from tosc_env.nodes import WIRETAP, Node, wiretap
    from tosc_env.pipeline import Pipeline, make_scheme
    from tosc_env.privacy.threat import ThreatModel
    from tosc_env.privacy.view import View
    from tosc_env.registration import register_env
    from tosc_env.rewards import Outcome, make_reward, register_reward
    from tosc_env.rollout import rollout
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

_HOMES = {
    "Batch": "types",
    "Channel": "channels",
    "Checkpoint": "io.checkpoints",
    "Context": "types",
    "DataSet": "data",
    "Eavesdropper": "attackers",
    "Game": "game",
    "GameConfig": "game",
    "InputError": "errors",
    "Mixture": "mixture",
    "Node": "nodes",
    "Objective": "schemes",
    "Outcome": "rewards",
    "Pipeline": "pipeline",
    "PrivacyScheme": "schemes",
    "Reception": "types",
    "Round": "types",
    "Source": "data",
    "Stage": "schemes",
    "SystemSpec": "types",
    "Task": "tasks",
    "ThreatModel": "privacy.threat",
    "ToscError": "errors",
    "Transmission": "types",
    "Trial": "schemes",
    "View": "privacy.view",
    "WIRETAP": "nodes",
    "Waves": "types",
    "aec_env": "envs.aec",
    "as_source": "data.handed",
    "defaults": "schemes",
    "load_checkpoint": "io.checkpoints",
    "load_eavesdropper": "zoos",
    "load_scheme": "zoos",
    "make_channel": "channels",
    "make_eavesdropper": "attackers",
    "make_objectives": "schemes",
    "make_reward": "rewards",
    "make_scheme": "pipeline",
    "make_source": "data",
    "make_stage": "schemes",
    "make_task": "tasks",
    "parallel_env": "envs.parallel",
    "register_channel": "channels",
    "register_eavesdropper": "attackers",
    "register_env": "registration",
    "register_objective": "schemes",
    "register_reward": "rewards",
    "register_scheme": "schemes",
    "register_source": "data",
    "register_stage": "schemes",
    "register_task": "tasks",
    "rollout": "rollout",
    "save_checkpoint": "io.checkpoints",
    "shift_transmitter_rewards": "envs.reward_shift",
    "wiretap": "nodes",
}

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

"""The environment ids: Gymnasium's registry is the one table, and the PettingZoo forms read it too."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from tosc_env.errors import unknown

ENTRY_POINT = "tosc_env.envs.role:RoleEnv"
VECTOR_ENTRY_POINT = "tosc_env.envs.vector:ToscVectorEnv"

IDS = {"ToSC-CIFAR-v0": "cifar10", "ToSC-CelebA-v0": "celeba", "ToSC-Shapes-v0": "shapes"}
"""The built-in ids, and the data set behind each."""


def register_env(id: str, data_id: str, **options: Any) -> None:
    """Register an environment id over a data set, so that ``gym.make(id)`` and all other forms know it.

    Args:
        id: the new id, such as ``"ToSC-Mine-v0"``.
        data_id: a registered data set (:func:`tosc_env.register_source`).
        options: defaults of the environment's keyword arguments.

    Example:
        >>> register_env("ToSC-Test-v0", "shapes", num_symbols=32)
        >>> data_of("ToSC-Test-v0")
        {'data_id': 'shapes', 'num_symbols': 32}
        >>> del gym.registry["ToSC-Test-v0"]
    """
    gym.register(
        id,
        entry_point=ENTRY_POINT,
        vector_entry_point=VECTOR_ENTRY_POINT,
        kwargs={"data_id": data_id, **options},
    )


def register_all() -> None:
    """Register the built-in ids; a second call does nothing."""
    for id, data_id in IDS.items():
        if id not in gym.registry:
            register_env(id, data_id)


def data_of(id: str) -> dict[str, Any]:
    """The keyword arguments behind an id.

    Raises:
        InputError: no such id, or one of another package's environments.
    """
    ours = {name: spec for name, spec in gym.registry.items() if spec.entry_point == ENTRY_POINT}
    if id not in ours:
        raise unknown("environment", id, ours)
    return dict(ours[id].kwargs)

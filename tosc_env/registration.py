"""Environment ids: Gymnasium's registry is the one table, and the PettingZoo forms read it too."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

import gymnasium as gym

from tosc_env.errors import InputError, shown, unknown, warn_user
from tosc_env.options import checked

ENTRY_POINT = "tosc_env.envs.role:RoleEnv"
VECTOR_ENTRY_POINT = "tosc_env.envs.vector:ToscVectorEnv"


@checked
def register_env(id: str, data_id: str, **options: Any) -> None:
    """Register an environment id over a registered data set, for ``gym.make(id)`` and all other forms.

    ``options`` are defaults of the environment's keyword arguments.

    Example:
        >>> register_env("ToSC-Test-v0", "shapes", num_symbols=32)
        >>> data_of("ToSC-Test-v0")
        {'data_id': 'shapes', 'num_symbols': 32}
        >>> del gym.registry["ToSC-Test-v0"]
    """
    try:
        options = {"data_id": data_id, **options}
        gym.register(id, entry_point=ENTRY_POINT, vector_entry_point=VECTOR_ENTRY_POINT, kwargs=options)
    except gym.error.Error as error:
        raise InputError(f"an environment cannot be registered as {shown(id)}: {error}.") from None


def register_all() -> None:
    """Register the ids that installed packages declare, this one among them; a second call does nothing.

    The entry-point group ``tosc_env.environments`` maps an id to the object that ``tosc_env.sources`` names; it is
    not loaded.
    """
    declared = entry_points()
    names = {entry.value: entry.name for entry in declared.select(group="tosc_env.sources")}
    for entry in declared.select(group="tosc_env.environments"):
        if entry.value not in names:
            warn_user(
                f"the environment {entry.name} is declared on {entry.value}, which is no data set under the entry "
                "points tosc_env.sources, so it is left out."
            )
        elif entry.name not in gym.registry:
            register_env(entry.name, names[entry.value])


def environments() -> dict[str, str]:
    """The registered ids, and the data set behind each."""
    ours = (spec for spec in gym.registry.values() if spec.entry_point == ENTRY_POINT)
    return {spec.id: spec.kwargs["data_id"] for spec in ours}


@checked
def data_of(id: str) -> dict[str, Any]:
    """The keyword arguments behind an id; InputError for none of ours."""
    if id not in environments():
        raise unknown("environment", id, environments())
    return dict(gym.registry[id].kwargs)

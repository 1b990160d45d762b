"""Reference policies for tosc-env: schemes, eavesdroppers, their training, and a zoo of trained weights."""

# ruff: noqa: F401

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tosc_agents.learning.loop import LoopConfig
    from tosc_agents.learning.progress import show_progress
    from tosc_agents.pictures import attack_picture
    from tosc_agents.training.evaluate import Evaluation, evaluate
    from tosc_agents.training.fit_eavesdropper import fit_eavesdropper
    from tosc_agents.training.fit_scheme import SchemeTraining, fit_scheme
    from tosc_agents.training.identification import identification_curve

_HOMES = {
    "Evaluation": "training.evaluate",
    "LoopConfig": "learning.loop",
    "SchemeTraining": "training.fit_scheme",
    "attack_picture": "pictures",
    "evaluate": "training.evaluate",
    "fit_eavesdropper": "training.fit_eavesdropper",
    "fit_scheme": "training.fit_scheme",
    "identification_curve": "training.identification",
    "show_progress": "learning.progress",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"tosc_agents.{_HOMES[name]}"), name)
    globals()[name] = value
    return value

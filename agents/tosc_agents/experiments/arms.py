"""Who is compared: every scheme of the article, what it left out, and the obvious rivals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tosc_env.errors import InputError, unknown
from tosc_env.registry import Registry


@dataclass(frozen=True)
class Arm:
    """One curve of a figure: a trained system and how it plays.

    Attributes:
        key: short name, of files and rows.
        label: what figures show.
        training: key of the training whose weights it plays with (see ``presets``).
        scheme: the scheme that plays.
        options: of the scheme, over those it was trained with.
        article: the article's name for it, or None for what the article does not have.
        note: what a reader must know, in a clause.
        recipe: of a registered arm with a training of its own, the arguments of a
            :class:`~tosc_agents.experiments.trainings.Recipe`.
    """

    key: str
    label: str
    training: str
    scheme: str
    options: Mapping[str, Any] = field(default_factory=dict)
    article: str | None = None
    note: str = ""
    recipe: Mapping[str, Any] | None = None


def _private(epsilon: float) -> Arm:
    return Arm(
        f"dp-{epsilon:g}",
        f"DP {epsilon:g}",
        "dp",
        "dp-laplace",
        {"epsilon": epsilon},
        f"DP-{epsilon:g}",
        f"honest: each message is {epsilon:g}-DP for its image",
    )


def _calibrated(epsilon: float) -> Arm:
    return Arm(
        f"dp-cal-{epsilon:g}",
        f"DP {epsilon:g} (calibrated)",
        "dp-calibrated",
        "dp-laplace",
        {"epsilon": epsilon},
        f"DP-{epsilon:g}",
        "noise c/epsilon with a fitted c: no differential privacy is claimed",
    )


BUDGETS = (0.05, 0.1, 0.9)
"""The article's privacy budgets."""

ARMS: tuple[Arm, ...] = (
    Arm(
        "deepjscc",
        "DeepJSCC",
        "baseline",
        "deepjscc",
        {},
        "DeepJSCC",
        "no protection: the ceiling of every leak",
    ),
    Arm(
        "label-only", "label only", "baseline", "label-only", {}, None, "sends its decision and nothing else"
    ),
    *(_private(epsilon) for epsilon in BUDGETS),
    *(_calibrated(epsilon) for epsilon in BUDGETS),
    Arm(
        "enc-fixed",
        "Encryption (fixed shuffle)",
        "baseline",
        "encryption",
        {"mode": "shuffle", "lifetime": "fixed"},
        "Encryption",
        "one permutation for ever",
    ),
    Arm(
        "enc-shuffle",
        "Encryption (shuffle per message)",
        "baseline",
        "encryption",
        {"mode": "shuffle", "lifetime": "per_message"},
        "Encryption",
        "a fresh permutation for every message",
    ),
    Arm(
        "enc-rotation",
        "Encryption (rotation per message)",
        "baseline",
        "encryption",
        {"mode": "rotation", "lifetime": "per_message"},
        None,
        "a fresh keyed orthogonal transform for every message",
    ),
    Arm("ibal", "IBAL", "ibal", "ibal", {}, "IBAL"),
    Arm("vq", "plain VQ", "vq", "lbvq", {}, None, "LBVQ without its adversarial term"),
    Arm("lbvq", "LBVQ", "lbvq", "lbvq", {}, "LBVQ", "with its adversarial term"),
)
"""In the order of every table and legend."""

KEYS: tuple[str, ...] = tuple(arm.key for arm in ARMS)


others: Registry[Arm] = Registry("arm", group="tosc_agents.arms")
"""Other people's arms: functions that return an :class:`Arm`, by its key. They are compared when they are named."""

register_arm = others.register


def arm(key: str) -> Arm:
    """The arm of that key, built in or registered.

    Raises:
        InputError: there is none, or the registered one has another key, a built-in training or no recipe.

    >>> arm("dp-0.1").options
    {'epsilon': 0.1}
    """
    for one in ARMS:
        if one.key == key:
            return one
    if key not in others:
        raise unknown("arm", key, (*KEYS, *others))
    found: Arm = others[key]()
    if found.key != key:
        raise InputError(f"the arm registered as {key!r} calls itself {found.key!r}.")
    if found.recipe is None and found.training not in {one.training for one in ARMS}:
        raise InputError(f"the arm {key!r} needs a recipe for its training {found.training!r}.")
    return found

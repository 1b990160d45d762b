"""The methods compared: every scheme of the article, what it left out, and the obvious rivals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tosc_env.errors import InputError, unknown
from tosc_env.registry import Registry


@dataclass(frozen=True)
class Method:
    """One curve of a plot: a trained system and how it plays.

    Attributes:
        key: short name, of files and measurements.
        label: what plots and tables show.
        training: key of the training whose weights it plays with (see ``presets``).
        scheme: the scheme that plays.
        options: of the scheme, over those it was trained with.
        article: the article's name for it, or None for what the article does not have.
        recipe: of a registered method with a training of its own, the arguments of a
            :class:`~tosc_agents.experiments.systems.Recipe`.
    """

    key: str
    label: str
    training: str
    scheme: str
    options: Mapping[str, Any] = field(default_factory=dict)
    article: str | None = None
    recipe: Mapping[str, Any] | None = None

    def plain(self) -> dict[str, Any]:
        """Describe what determines how it plays, for a job's inputs."""
        return {"key": self.key, "scheme": self.scheme, "options": dict(self.options)}


BUDGETS = (0.05, 0.1, 0.9)
"""The article's privacy budgets."""


def _noisy(key: str, label: str, training: str) -> list[Method]:
    """Laplace noise at each of the article's budgets."""
    return [
        Method(
            f"{key}-{e:g}",
            label.format(f"{e:g}"),
            training,
            "dp-laplace",
            {"epsilon": e},
            article=f"DP-{e:g}",
        )
        for e in BUDGETS
    ]


def _keyed(key: str, label: str, mode: str, lifetime: str, article: str | None) -> Method:
    options = {"mode": mode, "lifetime": lifetime}
    return Method(key, f"Encryption ({label})", "baseline", "encryption", options, article=article)


METHODS: tuple[Method, ...] = (
    Method("deepjscc", "DeepJSCC", "baseline", "deepjscc", article="DeepJSCC"),
    Method("label-only", "label only", "baseline", "label-only"),
    # Laplace mechanism: each message is epsilon-DP for its image. Calibrated: noise c/epsilon, c fitted, no proof.
    *_noisy("dp", "DP {}", "dp"),
    *_noisy("dp-cal", "DP {} (calibrated)", "dp-calibrated"),
    _keyed("enc-fixed", "fixed shuffle", "shuffle", "fixed", "Encryption"),
    _keyed("enc-shuffle", "shuffle per message", "shuffle", "per_message", "Encryption"),
    _keyed("enc-rotation", "rotation per message", "rotation", "per_message", None),
    Method("ibal", "IBAL", "ibal", "ibal", article="IBAL"),
    Method("vq", "plain VQ", "vq", "lbvq"),  # LBVQ without its adversarial term
    Method("lbvq", "LBVQ", "lbvq", "lbvq", article="LBVQ"),
)
"""In the order of every table and legend."""

KEYS: tuple[str, ...] = tuple(method.key for method in METHODS)

others: Registry[Method] = Registry("method", group="tosc_agents.methods")
"""Other people's methods: functions that return a :class:`Method`, by its key. They are compared when named."""

register_method = others.register


def label(key: str) -> str:
    """The method's name in plots; a key that is no method's stays as it is.

    >>> label("lbvq"), label("mean-image")
    ('LBVQ', 'mean-image')
    """
    return method(key).label if key in KEYS or key in others else key


def method(key: str) -> Method:
    """The method of that key, built in or registered.

    Raises:
        InputError: there is none, or the registered one has another key, a built-in training or no recipe.

    >>> method("dp-0.1").options
    {'epsilon': 0.1}
    """
    if key in KEYS:
        return METHODS[KEYS.index(key)]
    if key not in others:
        raise unknown("method", key, (*KEYS, *others))
    found: Method = others[key]()
    if found.key != key:
        raise InputError(f"the method registered as {key!r} calls itself {found.key!r}.")
    if found.recipe is None and found.training not in {one.training for one in METHODS}:
        raise InputError(f"the method {key!r} needs a recipe for its training {found.training!r}.")
    return found

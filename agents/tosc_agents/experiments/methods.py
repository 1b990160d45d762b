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

_FIXED, _SHUFFLE, _ROTATION = (
    {"mode": mode, "lifetime": lifetime}
    for mode, lifetime in (("shuffle", "fixed"), ("shuffle", "per_message"), ("rotation", "per_message"))
)

METHODS: tuple[Method, ...] = (
    Method("deepjscc", "DeepJSCC", "baseline", "deepjscc", article="DeepJSCC"),
    Method("label-only", "label only", "baseline", "label-only"),
    # Laplace mechanism: each message is epsilon-DP for its image. Calibrated: noise c/epsilon, c fitted, no proof.
    *(Method(f"dp-{e:g}", f"DP {e:g}", "dp", "dp-laplace", {"epsilon": e}, f"DP-{e:g}") for e in BUDGETS),
    *(
        Method(
            f"dp-cal-{e:g}",
            f"DP {e:g} (calibrated)",
            "dp-calibrated",
            "dp-laplace",
            {"epsilon": e},
            f"DP-{e:g}",
        )
        for e in BUDGETS
    ),
    Method("enc-fixed", "Encryption (fixed shuffle)", "baseline", "encryption", _FIXED, "Encryption"),
    Method(
        "enc-shuffle", "Encryption (shuffle per message)", "baseline", "encryption", _SHUFFLE, "Encryption"
    ),
    Method("enc-rotation", "Encryption (rotation per message)", "baseline", "encryption", _ROTATION),
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
    """The method of that key, built in or registered; an InputError says that there is none, or what is wrong with it.

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

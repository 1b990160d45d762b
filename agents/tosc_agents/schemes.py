"""The registered schemes: each a short composition of a backbone and stages, and what it is trained for.

===========  ==========================  =======================================
name         backbone and stages         weights, and what they are trained for
===========  ==========================  =======================================
deepjscc     cnn                         own: the task
label-only   label                       deepjscc's
dp-laplace   cnn (sharpened) + laplace   own: the task, at many budgets
encryption   cnn + keyed                 deepjscc's
ibal         cnn                         own: task, bottleneck, adversary
lbvq         vq                          own: task, codebook
layered      vq + keyed                  lbvq's
===========  ==========================  =======================================

Whatever stands above is only a beginning: ``stages=`` puts more between a scheme and the channel.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tosc_agents.backbones.cnn import CNN
from tosc_agents.backbones.label import Label
from tosc_agents.backbones.vq import VQ
from tosc_agents.stages.keyed import Keyed
from tosc_agents.stages.laplace import Laplace
from tosc_env.errors import InputError
from tosc_env.pipeline import Pipeline
from tosc_env.schemes import PrivacyScheme, defaults
from tosc_env.types import SystemSpec

ADAMW: Mapping[str, Any] = {"optimizer": "adamw", "learning_rate": 1e-3}
STRONG_DECAY: Mapping[str, Any] = {**ADAMW, "weight_decay": 0.05}


@defaults()
def deepjscc(spec: SystemSpec, **network: Any) -> Pipeline:
    """The unprotected baseline: task features straight as symbols (:class:`~tosc_agents.backbones.cnn.CNN`)."""
    backbone = CNN(spec, **_known(deepjscc, network, CNN))
    return Pipeline(backbone, name="deepjscc", options=backbone.options)


@defaults(weights="deepjscc")
def label_only(spec: SystemSpec, *, backbone: PrivacyScheme | None = None, **network: Any) -> Pipeline:
    """The transmitter decides, and sends the label alone (:class:`~tosc_agents.backbones.label.Label`)."""
    label = Label(spec, backbone=_given(backbone, network) or CNN(spec, **_known(label_only, network, CNN)))
    return Pipeline(label, name="label-only", options=label.options)


@defaults(open=("epsilon",), training=ADAMW)
def dp_laplace(
    spec: SystemSpec,
    *,
    epsilon: float = 20.0,
    mode: str = "laplace",
    constant: float | None = None,
    epsilon_range: Sequence[float] | None = None,
    sharpness: float = 4.0,
    **network: Any,
) -> Pipeline:
    """The baseline with Laplace noise on its features, whose receiver is told how much.

    ::

        image -> residual CNN -> sharpened -> Laplace noise -> symbols
        received, noise level, epsilon -> MLP -> logits

    Where all features share the budget, each drowns in noise: m equal ones have energy 1 / m together. So the best
    code says everything with one feature at a time, which :func:`~tosc_agents.backbones.cnn.sharpened` makes easy to
    learn. It is part of the encoder, before the clip, and changes nothing about the proof; mode ``calibrated`` clips
    nothing and sharpens nothing.

    Args:
        epsilon, mode, constant, epsilon_range: of :class:`~tosc_agents.stages.laplace.Laplace`.
        sharpness, network: of the :class:`~tosc_agents.backbones.cnn.CNN`.

    Example:
        >>> scheme = dp_laplace(SystemSpec((3, 32, 32), 10), epsilon=5.0, epsilon_range=[1, 100])
        >>> scheme.guarantee(2).split("; ")[-1]
        '2 transmissions of the same image: 10-DP by basic composition'
    """
    noise = Laplace(spec, epsilon=epsilon, mode=mode, constant=constant, epsilon_range=epsilon_range)
    backbone = CNN(
        spec,
        sharpness=sharpness if mode == "laplace" else None,
        told={"epsilon": noise.epsilon_range},
        **_known(dp_laplace, network, CNN),
    )
    kept = {k: v for k, v in backbone.options.items() if k not in ("sharpness", "told")}
    said = {k: v for k, v in noise.options.items() if k != "clip"}
    return Pipeline(
        backbone, [noise], name="dp-laplace", options={**kept, **said, "sharpness": float(sharpness)}
    )


@defaults(weights="deepjscc", open=("mode", "lifetime"))
def encryption(
    spec: SystemSpec,
    *,
    mode: str = "rotation",
    lifetime: str = "per_message",
    backbone: PrivacyScheme | None = None,
    **network: Any,
) -> Pipeline:
    """The baseline with its symbols encrypted (:class:`~tosc_agents.stages.keyed.Keyed`).

    Over AWGN it decides as well as the baseline: the receiver's network is given the very same symbols in noise of the
    same distribution.  Nothing is proven of its privacy.

    Example:
        >>> import torch
        >>> import tosc_env
        >>> scheme = tosc_env.make_scheme("encryption", mode="shuffle", key="00" * 32).eval()
        >>> scheme.options["mode"], scheme.options["lifetime"], "key" in scheme.options, scheme.key_fingerprint
        ('shuffle', 'per_message', False, 'dacb0a0dad6342e0')
    """
    base = _given(backbone, network) or CNN(spec, **_known(encryption, network, CNN))
    cipher = Keyed(spec, base.constellation, mode=mode, lifetime=lifetime)
    return Pipeline(base, [cipher], name="encryption", options={**base.options, **cipher.options})


@defaults(objectives=("task", "bottleneck", "adversary"), training=STRONG_DECAY)
def ibal(spec: SystemSpec, **network: Any) -> Pipeline:
    """The baseline's networks, trained to keep what the task needs and to starve a simulated attacker.

    Its objectives: :class:`~tosc_agents.objectives.bottleneck.Bottleneck` and
    :class:`~tosc_agents.objectives.adversary.Adversary`.
    """
    backbone = CNN(spec, **_known(ibal, network, CNN))
    return Pipeline(backbone, name="ibal", options=backbone.options)


@defaults(objectives=("task", "codebook"), training=STRONG_DECAY)
def lbvq(spec: SystemSpec, **options: Any) -> Pipeline:
    """Learned vector quantisation: one QAM symbol per codeword index (:class:`~tosc_agents.backbones.vq.VQ`).

    With the objective ``adversary`` after the usual ones a simulated attacker listens in training.
    """
    backbone = VQ(spec, **_known(lbvq, options, VQ, CNN))
    return Pipeline(backbone, name="lbvq", options=backbone.options)


@defaults(weights="lbvq", open=("mode", "lifetime"), objectives=("task", "codebook"), training=STRONG_DECAY)
def layered(
    spec: SystemSpec,
    *,
    mode: str = "shuffle",
    lifetime: str = "per_message",
    backbone: PrivacyScheme | None = None,
    **options: Any,
) -> Pipeline:
    """Two protections, one over the other: ``lbvq`` under a keyed shuffle, short for ``stages=["keyed"]``."""
    base = _given(backbone, options) or VQ(spec, **_known(layered, options, VQ, CNN))
    cipher = Keyed(spec, base.constellation, mode=mode, lifetime=lifetime)
    return Pipeline(base, [cipher], name="layered", options={**base.options, **cipher.options})


def _given(backbone: PrivacyScheme | None, options: Mapping[str, Any]) -> PrivacyScheme | None:
    """The backbone that was given; InputError where an option asks for another."""
    if backbone is not None:
        for name, value in options.items():
            has = backbone.options.get(name)
            if (list(value) if isinstance(value, tuple) else value) != has:
                raise InputError(f"the weights that were given have {name}={has!r}, not {value!r}.")
    return backbone


def _known(
    scheme: Callable[..., Any], options: Mapping[str, Any], *networks: Callable[..., Any]
) -> Mapping[str, Any]:
    """The options as they are; InputError where neither the scheme's factory nor its networks take one of them."""
    makers: list[Callable[..., Any]] = [scheme, *networks]
    parameters = [p for maker in makers for p in inspect.signature(maker).parameters.values()]
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "backbone"]
    for option in options:
        if option not in known:
            name = scheme.__name__.replace("_", "-")
            raise InputError(f"{name!r} has no option {option!r}; its options are: {', '.join(known)}.")
    return options

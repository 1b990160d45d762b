"""The registered schemes: each a short composition of a backbone and stages, and what it is trained for.

``stages=`` puts more between any of these and the channel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tosc_agents.backbones import cnn
from tosc_agents.backbones.cnn import CNN
from tosc_agents.backbones.label import Label
from tosc_agents.backbones.vq import VQ
from tosc_agents.stages.keyed import Keyed
from tosc_agents.stages.laplace import Laplace
from tosc_env import Pipeline, PrivacyScheme, SystemSpec, defaults
from tosc_env.errors import InputError, shown

ADAMW: Mapping[str, Any] = {"optimizer": "adamw", "learning_rate": 1e-3}
STRONG_DECAY: Mapping[str, Any] = {**ADAMW, "weight_decay": 0.05}

VQ_OPTIONS = ("codewords", "dimension", "told_snr_db", *cnn.NETWORK)
KEYED_OPTIONS = ("mode", "lifetime")
DP_OPTIONS = ("epsilon", "mode", "constant", "epsilon_range", "sharpness", "told_snr_db", *cnn.NETWORK)


@defaults()
def deepjscc(spec: SystemSpec, **network: Any) -> Pipeline:
    """The unprotected baseline: task features straight as symbols (:class:`~tosc_agents.backbones.cnn.CNN`)."""
    return Pipeline(CNN(spec, **_known("deepjscc", network, *cnn.OPTIONS)), name="deepjscc")


@defaults(weights="deepjscc")
def label_only(spec: SystemSpec, *, backbone: PrivacyScheme | None = None, **network: Any) -> Pipeline:
    """The transmitter decides, and sends the label alone (:class:`~tosc_agents.backbones.label.Label`)."""
    decider = _given(backbone, network) or CNN(spec, **_known("label-only", network, *cnn.OPTIONS))
    return Pipeline(Label(spec, backbone=decider), name="label-only")


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

    Of m equal features that share the budget each has an energy of 1 / m^2 in the same noise. So the best code uses one
    feature at a time, which :func:`~tosc_agents.backbones.cnn.sharpened` makes easy to learn: part of the encoder,
    before the clip, it changes nothing about the proof. Mode ``calibrated`` clips nothing and sharpens nothing.

    Its options: those of :class:`~tosc_agents.stages.laplace.Laplace` and :class:`~tosc_agents.backbones.cnn.CNN`.

    >>> scheme = dp_laplace(SystemSpec((3, 32, 32), 10), epsilon=5.0, epsilon_range=[1, 100])
    >>> scheme.guarantee(2).split("; ")[-1]
    '2 transmissions of the same image: 10-DP by basic composition'
    """
    noise = Laplace(spec, epsilon=epsilon, mode=mode, constant=constant, epsilon_range=epsilon_range)
    backbone = CNN(
        spec,
        sharpness=sharpness if mode == "laplace" else None,
        told={"epsilon": noise.epsilon_range},
        **_known("dp-laplace", network, *DP_OPTIONS),
    )
    kept = {k: v for k, v in backbone.options.items() if k not in ("sharpness", "told")}
    own = {k: v for k, v in noise.options.items() if k != "clip"} | {"sharpness": float(sharpness)}
    return Pipeline(backbone, [noise], name="dp-laplace", options={**kept, **own})


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

    >>> import tosc_env
    >>> scheme = tosc_env.make_scheme("encryption", mode="shuffle", key="00" * 32).eval()
    >>> scheme.options["mode"], scheme.options["lifetime"], "key" in scheme.options, scheme.key_fingerprint
    ('shuffle', 'per_message', False, 'dacb0a0dad6342e0')
    """
    known = (*KEYED_OPTIONS, *cnn.OPTIONS)
    base = _given(backbone, network) or CNN(spec, **_known("encryption", network, *known))
    return _encrypted("encryption", base, mode, lifetime)


@defaults(objectives=("task", "bottleneck", "adversary"), training=STRONG_DECAY)
def ibal(spec: SystemSpec, **network: Any) -> Pipeline:
    """The baseline's networks, trained for the task, for little information, and against a simulated attacker.

    :class:`~tosc_agents.objectives.bottleneck.Bottleneck`, :class:`~tosc_agents.objectives.adversary.Adversary`.
    """
    return Pipeline(CNN(spec, **_known("ibal", network, *cnn.OPTIONS)), name="ibal")


@defaults(objectives=("task", "codebook"), training=STRONG_DECAY)
def lbvq(spec: SystemSpec, **options: Any) -> Pipeline:
    """Learned vector quantisation: one QAM symbol per codeword index (:class:`~tosc_agents.backbones.vq.VQ`).

    The objective ``adversary`` after the usual ones trains it against a simulated attacker.
    """
    return Pipeline(VQ(spec, **_known("lbvq", options, *VQ_OPTIONS)), name="lbvq")


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
    base = _given(backbone, options) or VQ(spec, **_known("layered", options, *KEYED_OPTIONS, *VQ_OPTIONS))
    return _encrypted("layered", base, mode, lifetime)


def _encrypted(name: str, base: PrivacyScheme, mode: str, lifetime: str) -> Pipeline:
    cipher = Keyed(base.spec, base.constellation, mode=mode, lifetime=lifetime)
    return Pipeline(base, [cipher], name=name, options={**base.options, **cipher.options})


def _given(backbone: PrivacyScheme | None, options: Mapping[str, Any]) -> PrivacyScheme | None:
    """The backbone that was given; InputError where it is none, or where an option asks for another."""
    if backbone is None:
        return None
    if not isinstance(backbone, PrivacyScheme):
        raise InputError(f"backbone takes a ready scheme, not {shown(backbone)}.")
    for name, value in options.items():
        has = backbone.options.get(name)
        if (list(value) if isinstance(value, tuple) else value) != has:
            raise InputError(f"the weights that were given have {name}={has!r}, not {shown(value)}.")
    return backbone


def _known(scheme: str, options: Mapping[str, Any], *known: str) -> Mapping[str, Any]:
    """The options as they are; InputError where one is none of those that the scheme has."""
    for option in options:
        if option not in known:
            told = f"its options are: {', '.join(known)}"
            raise InputError(f"{scheme!r} has no option {shown(option)}; {told}.")
    return options

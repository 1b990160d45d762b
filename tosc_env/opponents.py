"""Turning ``scheme=`` and ``eavesdropper=`` into policies: an object, a checkpoint, or a name.

A name with trainable weights is looked up in the *zoos* that installed packages offer through the entry-point
group ``tosc_env.zoos``; this package ships none itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

import torch

from tosc_env.checkpoints import check_fits, load_checkpoint, read_header
from tosc_env.errors import InputError
from tosc_env.game import Game
from tosc_env.policies import (
    Eavesdropper,
    PrivacyScheme,
    eavesdroppers,
    make_eavesdropper,
    make_scheme,
    schemes,
)
from tosc_env.senders import SchemeSender
from tosc_env.threat import ThreatModel
from tosc_env.view import View

SUFFIX = ".safetensors"


class Zoo(Protocol):
    """A collection of trained weights."""

    def find(
        self,
        kind: str,
        name: str,
        game: Game,
        *,
        scheme: str | None,
        stand_in: bool,
        options: Mapping[str, Any],
    ) -> Path | None:
        """The checkpoint of a scheme or eavesdropper for this game, or None when this zoo has no such one.

        Args:
            kind, name: ``"scheme"`` or ``"eavesdropper"``, and its registered name.
            game: whose data, shapes, task and SNR the weights must fit.
            scheme: whom an eavesdropper was trained against.
            stand_in: whether the game's images stand in for others.
            options: with which a scheme's weights must agree; of an eavesdropper, the options that the scheme it
                was trained against must agree with.
        """

    def listing(self) -> list[str]:
        """One line for each set of weights: name, data, channel uses, SNRs."""


def zoos() -> list[Zoo]:
    """Every installed zoo."""
    return [entry.load() for entry in entry_points(group="tosc_env.zoos")]


def resolve_scheme(
    scheme: str | os.PathLike[str] | PrivacyScheme | None,
    options: dict[str, Any] | None,
    game: Game,
    *,
    stand_in: bool = False,
) -> PrivacyScheme:
    """The transmitter and receiver of a game.

    Args:
        scheme: an object, a checkpoint's path, or a registered name (None: ``"deepjscc"``).
        options: the scheme's options, with a name only.
        game: whose data, shapes and SNR the weights must fit.
        stand_in: whether the game's images stand in for others.

    Raises:
        InputError: an unknown name, or a name without weights for this game; lists the weights there are.
        CheckpointError: a file of another data set or code length.
    """
    if isinstance(scheme, PrivacyScheme):
        _refuse_options("scheme", options)
        _check_shapes("scheme", scheme, game)
        return scheme.to(game.device)
    name = _name("scheme", scheme, "deepjscc")
    if _is_path(name):
        _refuse_options("scheme", options)
        return _load(Path(name), "scheme", game)
    cls: Any = schemes[name]
    if not getattr(cls, "trainable", True):
        return make_scheme(name, game.spec, **(options or {})).to(game.device).eval()
    return _from_zoo("scheme", name, game, None, stand_in, options)


def resolve_eavesdropper(
    eavesdropper: str | os.PathLike[str] | Eavesdropper | None,
    options: dict[str, Any] | None,
    game: Game,
    scheme: PrivacyScheme | None,
    *,
    stand_in: bool = False,
) -> Eavesdropper:
    """The attacker of a game; see :func:`resolve_scheme`. None means ``"inversion"``.

    An attacker that needs no training to speak of (``instant``) is fitted on the spot to the game's source.
    """
    if isinstance(eavesdropper, Eavesdropper):
        _refuse_options("eavesdropper", options)
        _check_shapes("eavesdropper", eavesdropper, game)
        return eavesdropper.to(game.device)
    name = _name("eavesdropper", eavesdropper, "inversion")
    if _is_path(name):
        _refuse_options("eavesdropper", options)
        return _load(Path(name), "eavesdropper", game)
    cls: Any = eavesdroppers[name]
    if getattr(cls, "instant", False):
        with torch.random.fork_rng(devices=[]):
            policy = make_eavesdropper(name, game.spec, **(options or {})).to(game.device)
            sender = SchemeSender(scheme or make_scheme("label-only", game.spec))
        generator = torch.Generator(game.device).manual_seed(0)
        policy.fit(View(game, sender, ThreatModel(), generator), generator=generator)
        return policy.eval()
    return _from_zoo("eavesdropper", name, game, scheme, stand_in, options)


def _from_zoo(
    kind: str,
    name: str,
    game: Game,
    scheme: PrivacyScheme | None,
    stand_in: bool,
    options: dict[str, Any] | None,
) -> Any:
    against = None if kind == "scheme" else "deepjscc" if scheme is None else scheme.name
    lender, settled = name, {}
    if kind == "scheme":
        cls: Any = schemes[name]
        lender, settled = cls.lender(options or {}) or name, cls.fixed_options(options or {})
    else:
        _refuse_options(kind, options)
        if scheme is not None:
            settled = {k: scheme.options[k] for k in scheme.free_options if k in scheme.options}
    installed = zoos()
    for zoo in installed:
        path = zoo.find(kind, lender, game, scheme=against, stand_in=stand_in, options=settled)
        if path is not None:
            return load_checkpoint(path, device=game.device, kind=kind, name=name, options=options).policy  # type: ignore[arg-type]
    there = (
        "; ".join(line for zoo in installed for line in zoo.listing()) or "none (is tosc_agents installed?)"
    )
    wanted = f"{kind} {name!r}" + (f" against {against!r}" if against else "")
    told = ", ".join(f"{k}={v!r}" for k, v in settled.items())
    raise InputError(
        f"no trained weights of the {wanted}{f' with {told}' if told else ''} for {game.source.name} images of shape "
        f"{game.spec.image_shape}, {game.spec.num_outputs} outputs, {game.num_symbols} channel uses and SNR "
        f"{game.snr_db} dB; train some ('tosc train', 'tosc attack') and give "
        f"their path, or use what there is: {there}."
    )


def _load(path: Path, kind: Any, game: Game) -> Any:
    header = read_header(path)
    data = header["card"].get("data", {}).get("name")
    check_fits(header, path, game.spec, game.source.name if data else None)
    return load_checkpoint(path, device=game.device, kind=kind).policy


def _name(kind: str, value: object, default: str) -> str:
    if value is None:
        return default
    if not isinstance(value, (str, os.PathLike)):
        raise InputError(
            f"{kind}= takes a registered name, a checkpoint's path or a ready {kind}, not {value!r}."
        )
    return os.fspath(value)


def _is_path(name: str) -> bool:
    return name.endswith(SUFFIX) or os.sep in name


def _refuse_options(kind: str, options: dict[str, Any] | None) -> None:
    if options:
        raise InputError(
            f"{kind}_kwargs go with the name of a {kind} that is built on the spot, not with trained weights or an "
            f"object; {sorted(options)} were given."
        )


def _check_shapes(kind: str, policy: PrivacyScheme | Eavesdropper, game: Game) -> None:
    for what in ("image_shape", "num_outputs", "num_symbols"):
        has, needs = getattr(policy.spec, what), getattr(game.spec, what)
        if has != needs and not (kind == "eavesdropper" and what == "num_outputs"):
            raise InputError(
                f"the {kind} {policy.name!r} was made for {what} {has!r}, but this game has {needs!r}."
            )

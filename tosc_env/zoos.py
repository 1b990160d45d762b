"""From ``scheme=`` and ``eavesdropper=`` to policies: an object, a checkpoint, or a name.

A name with trainable weights is looked up in the *zoos* of installed packages (entry-point group
``tosc_env.zoos``); this package ships none itself.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

import torch

from tosc_env.attackers import Eavesdropper, eavesdroppers, make_eavesdropper
from tosc_env.devices import resolve_device
from tosc_env.envs.stand_in import game_of
from tosc_env.errors import LONGEST, LONGEST_VALUE, InputError, ToscError, one_line, shown, warn_user
from tosc_env.game import Game
from tosc_env.io.checkpoint_files import SUFFIX, data_of, read_header
from tosc_env.io.checkpoints import check_fits, load_checkpoint
from tosc_env.options import checked, named_options
from tosc_env.pipeline import Pipeline, as_pipeline, in_words, make_scheme
from tosc_env.privacy.threat import ThreatModel
from tosc_env.privacy.view import View
from tosc_env.registration import data_of as registered
from tosc_env.schemes import PrivacyScheme, defaults_of
from tosc_env.types import SystemSpec

USUAL_SCHEME, USUAL_EAVESDROPPER, UNTRAINED_EAVESDROPPER = "deepjscc", "inversion", "linear"
"""The default policies, and the substitute for a default eavesdropper that no zoo has weights of."""

FITTED_IMAGES = 5000
"""Number of images that this substitute is fitted to at most: to encode them takes a few seconds."""

UNPROTECTED: Mapping[str, Any] = {"weights": USUAL_SCHEME, "backbone": "cnn", "stages": []}
"""The system that an attacker is looked up against where no scheme plays (:attr:`Pipeline.composition`)."""


@dataclass(frozen=True)
class Wanted:
    """The game, with shapes, task, channel and SNRs, and the data set, for which trained weights are looked up."""

    data: str
    game: Game
    any_labels: bool = False
    """Whether another order or naming of the labels will do, as for images that stand in for others."""


class Zoo(Protocol):
    """A collection of trained weights."""

    def find(
        self,
        kind: str,
        name: str,
        wanted: Wanted,
        *,
        options: Mapping[str, Any],
        against: Mapping[str, Any] | None,
    ) -> Path | None:
        """The checkpoint of a scheme or eavesdropper for this game; None when this zoo has none.

        Args:
            kind, name: ``"scheme"`` or ``"eavesdropper"``, and its registered name.
            options: with which a scheme's weights must agree.
            against: the :attr:`~tosc_env.Pipeline.composition` of the system that an eavesdropper was trained against.
        """

    def listing(self) -> list[str]:
        """One line for each set of weights: name, data, channel uses, SNRs."""


def installed_zoos() -> list[Zoo]:
    """Every installed zoo; one that cannot be imported is left out with a warning."""
    found: list[Zoo] = []
    for entry in entry_points(group="tosc_env.zoos"):
        try:
            found.append(entry.load())
        except Exception as error:  # whatever another package's module raises when it is imported
            warn_user(f"the zoo {entry.name!r}, declared as {entry.value}, cannot be loaded: {error}.")
    return found


def listing() -> list[str]:
    """One line for each set of weights in the installed zoos; a damaged zoo is left out with a warning."""
    lines: list[str] = []
    for zoo in installed_zoos():
        try:
            lines += zoo.listing()
        except ToscError as error:
            warn_user(f"a zoo is left out: {error}")
    return lines


def scheme_file(name: str, where: str | Game, options: Mapping[str, Any] | None = None) -> Path:
    """Find the file that :func:`load_scheme` loads; InputError, which lists what there is, where there is none."""
    wanted = _wanted(where)
    path = _scheme_path(name, wanted, options or {})
    if path is None:
        raise _no_scheme(name, wanted, options or {})
    return path


def eavesdropper_file(name: str, data: str, game: Game, scheme: Pipeline) -> Path:
    """Find the file of an attacker that was trained against a scheme on a data set; InputError where there is none."""
    return _eavesdropper_file(name, Wanted(data, game), scheme)


def check_has_weights(name: str) -> None:
    """Raise InputError for an attacker whose work no file can hold: it asks the encoder while it attacks."""
    if "candidate_queries" in eavesdroppers[name].needs:  # type: ignore[attr-defined]
        raise InputError(
            f"the eavesdropper {name!r} has candidates encoded while it attacks, which no file can do: 'tosc attack' "
            f"runs it (--eavesdropper {name}), as fit_eavesdropper does, and evaluate takes what that returns."
        )


@checked
def load_scheme(
    name: str, where: str | Game, *, stages: Any = (), device: str | torch.device = "cpu", **options: Any
) -> Pipeline:
    """Load a trained scheme of an installed zoo, in evaluation mode; the images themselves are not needed.

    Args:
        name: a registered scheme; InputError lists the weights that there are, where none are of it.
        where: an environment's id, or a game.
        stages: more stages between the scheme and the channel.
        device: of the weights.
        options: of the scheme, with which the weights must agree unless they leave them open (an epsilon, a key).

    Example:
        >>> load_scheme("encryption", "ToSC-Shapes-v0", mode="shuffle").title
        'encryption'
    """
    found = _find_scheme(name, _wanted(where), named_options("load_scheme", options), stages)
    return found.to(resolve_device(device))


@checked
def load_eavesdropper(
    name: str,
    where: str | Game,
    *,
    scheme: str | PrivacyScheme = USUAL_SCHEME,
    device: str | torch.device = "cpu",
) -> Eavesdropper:
    """Load a trained attacker of an installed zoo, in evaluation mode, as :func:`load_scheme` does.

    ``scheme`` is the scheme that it was trained against, by name or as an object.

    Example:
        >>> load_eavesdropper("inversion", "ToSC-Shapes-v0", scheme="lbvq").name
        'inversion'
    """
    wanted = _wanted(where)
    target = _find_scheme(scheme, wanted, {}, ()) if isinstance(scheme, str) else as_pipeline(scheme)
    path = _eavesdropper_file(name, wanted, target)
    return load_checkpoint(path, kind="eavesdropper").policy.to(resolve_device(device))


def resolve_scheme(
    scheme: str | os.PathLike[str] | PrivacyScheme | None,
    options: dict[str, Any] | None,
    game: Game,
    *,
    stages: Any = (),
    stand_in: bool = False,
) -> Pipeline:
    """Find the transmitter and receiver of a game: of an object, a checkpoint's path, or a registered name (None:
    :data:`USUAL_SCHEME`) whose weights fit the game's data, shapes and SNR.

    Args:
        options: the scheme's options, with a name; with a path, those that its weights leave open.
        stages: more stages between the scheme and the channel.
        stand_in: whether the game's images stand in for others.
    """
    options = named_options("scheme_kwargs", options)
    if isinstance(scheme, PrivacyScheme):
        _refuse_options("scheme", options)
        check_shapes("scheme", scheme, game)
        return as_pipeline(scheme).with_stages(stages).to(game.device)
    name = _name("scheme", scheme, USUAL_SCHEME)
    if _is_path(name):
        _check_file(name, game, options)
        return load_checkpoint(name, device=game.device, kind="scheme", options=options, stages=stages).policy
    return _find_scheme(name, Wanted(game.source.name, game, stand_in), options, stages).to(game.device)


def resolve_eavesdropper(
    eavesdropper: str | os.PathLike[str] | Eavesdropper | None,
    options: dict[str, Any] | None,
    game: Game,
    scheme: Pipeline | None,
    *,
    stand_in: bool = False,
    warn: bool = True,
) -> Eavesdropper:
    """Find the attacker of a game, like :func:`resolve_scheme`.

    An ``instant`` attacker is fitted on the spot to the game's source. None means :data:`USUAL_EAVESDROPPER`; where no
    zoo has weights of it against this scheme, :data:`UNTRAINED_EAVESDROPPER` is fitted to :data:`FITTED_IMAGES` images
    in its place, with a warning unless ``warn`` is False.
    """
    options = named_options("eavesdropper_kwargs", options)
    if isinstance(eavesdropper, Eavesdropper):
        _refuse_options("eavesdropper", options)
        check_shapes("eavesdropper", eavesdropper, game)
        return eavesdropper.to(game.device)
    name = _name("eavesdropper", eavesdropper, USUAL_EAVESDROPPER)
    if _is_path(name):
        _refuse_options("eavesdropper", options)
        _check_file(name, game)
        return load_checkpoint(name, device=game.device, kind="eavesdropper").policy
    if getattr(eavesdroppers[name], "instant", False):
        return _fitted(name, options, game, scheme)
    _refuse_options("eavesdropper", options)
    wanted = Wanted(game.source.name, game, stand_in)
    path = _eavesdropper_path(name, wanted, scheme)
    if path is not None:
        return load_checkpoint(path, kind="eavesdropper").policy.to(game.device)
    if eavesdropper is not None or UNTRAINED_EAVESDROPPER not in eavesdroppers:
        raise _no_weights("eavesdropper", f"{name!r} against {_title(scheme)}", wanted)
    if warn:
        warn_user(
            f"no zoo has weights of the usual eavesdropper {name!r} against {_title(scheme)} for this game: "
            f"{UNTRAINED_EAVESDROPPER!r}, fitted on the spot to {FITTED_IMAGES:,} images at most, plays instead. "
            "Train a stronger one with 'tosc attack' and give its path as eavesdropper=."
        )
    return _fitted(UNTRAINED_EAVESDROPPER, {}, game, scheme, FITTED_IMAGES)


def _fitted(
    name: str, options: Mapping[str, Any], game: Game, scheme: Pipeline | None, queries: int | None = None
) -> Eavesdropper:
    with torch.random.fork_rng(devices=[]):
        policy = make_eavesdropper(name, game.spec, **options).to(game.device)
        target = scheme or make_scheme("label-only", game.spec)
    # The channel's and the attacker's own: who knows one is not to know the other.
    channel, own = (torch.Generator(game.device).manual_seed(seed) for seed in (0, 1))
    threat = ThreatModel(queries=queries, colluding=game.config.colluding)
    policy.fit(View(game, target, threat, channel), generator=own)
    return policy.eval()


def _find_scheme(name: str, wanted: Wanted, options: dict[str, Any], stages: Any) -> Pipeline:
    path = _scheme_path(name, wanted, options)
    if path is not None:
        return load_checkpoint(path, kind="scheme", name=name, options=options, stages=stages).policy
    with torch.random.fork_rng(devices=[]):
        fresh = make_scheme(name, wanted.game.spec, stages=stages, **options)
    if fresh.trainable:
        raise _no_scheme(name, wanted, options)
    return fresh.eval()


def _settled(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a scheme's weights do not leave open."""
    return {k: v for k, v in options.items() if k != "key" and k not in defaults_of(name).open}


def _find(
    kind: str, name: str, wanted: Wanted, options: Mapping[str, Any], against: Mapping[str, Any] | None
) -> Path | None:
    found = (zoo.find(kind, name, wanted, options=options, against=against) for zoo in installed_zoos())
    return next((path for path in found if path is not None), None)


def _scheme_path(name: str, wanted: Wanted, options: Mapping[str, Any]) -> Path | None:
    return _find("scheme", defaults_of(name).weights or name, wanted, _settled(name, options), None)


def _no_scheme(name: str, wanted: Wanted, options: Mapping[str, Any]) -> InputError:
    with_ = ", ".join(f"{k}={shown(v)}" for k, v in _settled(name, options).items())
    return _no_weights("scheme", f"{name!r}{f' with {with_}' if with_ else ''}", wanted)


def _eavesdropper_path(name: str, wanted: Wanted, scheme: Pipeline | None) -> Path | None:
    return _find("eavesdropper", name, wanted, {}, UNPROTECTED if scheme is None else scheme.composition)


def _eavesdropper_file(name: str, wanted: Wanted, scheme: Pipeline) -> Path:
    check_has_weights(name)
    path = _eavesdropper_path(name, wanted, scheme)
    if path is None:
        raise _no_weights("eavesdropper", f"{name!r} against {_title(scheme)}", wanted)
    return path


def _title(scheme: Pipeline | None) -> str:
    if scheme is None:
        return repr(USUAL_SCHEME)
    return repr(" + ".join([scheme.name, *map(in_words, scheme.composition["stages"])]))


def _no_weights(kind: str, what: str, wanted: Wanted) -> InputError:
    game = wanted.game
    step = f"; '{'tosc train' if kind == 'scheme' else 'tosc attack'}' makes some"
    there = [line for line in listing() if line.startswith(kind)]
    shape = "x".join(map(str, game.spec.image_shape))
    asked = f"{kind} {what} for {wanted.data} {shape}"
    near = get_close_matches(asked, there, n=2, cutoff=0.0)
    near = [line.removeprefix(f"{kind} ") for line in near] or ["none (is tosc_agents installed?)"]
    told = (
        f"no trained weights of the {kind} {one_line(what, 2 * LONGEST_VALUE)} for {wanted.data} {shape}, "
        f"{game.num_symbols} channel uses, {game.snr_db} dB; nearest of {len(there)}: "
    )
    while len(near) > 1 and len(told) + len("; ".join(near)) + len(step) >= LONGEST:
        near.pop()
    return InputError(f"{told}{'; '.join(near)}{step}.")


def _wanted(where: str | Game) -> Wanted:
    if isinstance(where, Game):
        return Wanted(where.source.name, where)
    known = registered(where)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # stand-in images will do: they have the same spaces
        game = game_of(**known)
    return Wanted(known["data_id"], game, any_labels=game.source.name != known["data_id"])


def _check_file(path: str, game: Game, options: Mapping[str, Any] | None = None) -> None:
    """Raise where a file is not of this game, or InputError for an option that the weights in it have settled."""
    header = read_header(Path(path))
    check_fits(header, Path(path), game.spec, game.source.name if data_of(header["card"]) else None)
    allowed = ("key", *(defaults_of(header["name"]).open if header["kind"] == "scheme" else ()))
    for name in options or {}:
        if name not in allowed:
            raise InputError(
                f"of the trained weights {path} scheme_kwargs may set {', '.join(allowed)}, not {shown(name)}."
            )


def _name(kind: str, value: object, default: str) -> str:
    if value is None:
        return default
    if not isinstance(value, (str, os.PathLike)):
        raise InputError(f"{kind}= takes a name, a checkpoint's path or a ready {kind}, not {shown(value)}.")
    return os.fspath(value)


def _is_path(name: str) -> bool:
    return name.endswith(SUFFIX) or os.sep in name


def _refuse_options(kind: str, options: dict[str, Any] | None) -> None:
    if options:
        raise InputError(
            f"{kind}_kwargs go with the name of a {kind} that is built on the spot, not with trained weights or an "
            f"object; {sorted(options)} were given."
        )


def check_shapes(
    kind: str, policy: PrivacyScheme | Eavesdropper, game: Game, played: SystemSpec | None = None
) -> None:
    """Raise InputError when a scheme or eavesdropper was made for other shapes than ``played`` (None: the game's)."""
    played = played or game.spec
    for what in ("image_shape", "num_outputs", "num_symbols"):
        has, needs = getattr(policy.spec, what), getattr(played, what)
        if has != needs and not (kind == "eavesdropper" and what == "num_outputs"):
            raise InputError(f"the {kind} {policy.name!r} was made for {what} {has!r}, not {needs!r}.")
    spec = policy.spec
    if kind == "eavesdropper" and spec.num_csi == played.num_csi > 1 and spec.layout != played.layout:
        raise InputError(
            f"the eavesdropper {policy.name!r} was made for CSI of the {spec.layout}, not of the {played.layout}."
        )

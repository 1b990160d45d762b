"""From the arguments of ``gym.make`` to a game and the policies that play the roles nobody outside plays."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tosc_env.data import is_available, make_source
from tosc_env.data.base import Source
from tosc_env.devices import resolve_device
from tosc_env.errors import InputError, unknown
from tosc_env.game import Game
from tosc_env.opponents import resolve_eavesdropper, resolve_scheme
from tosc_env.policies import Eavesdropper, PrivacyScheme, schemes
from tosc_env.rewards import ROLES, Reward
from tosc_env.snr import SNR, SNRRange
from tosc_env.tasks import Task


@dataclass(frozen=True)
class DataSet:
    """What an environment's id means: its data, and the task people expect on it."""

    options: dict[str, Any]
    attributes: tuple[str, ...] | None = None


DATA_SETS = {
    "cifar10": DataSet({}),
    "shapes": DataSet({}),
    "celeba": DataSet({"size": 64}, attributes=("Mustache", "Smiling", "Wavy_Hair")),
}


@dataclass(frozen=True)
class System:
    """A game and its players.

    Attributes:
        game: the rules, on one device.
        scheme: plays the transmitter and receiver that are not played from outside; None if both are.
        eavesdropper: likewise.
        stand_in: whether embedded images stand in for the data set that was meant.
        data_id: the data set that was meant.
    """

    game: Game
    scheme: PrivacyScheme | None
    eavesdropper: Eavesdropper | None
    stand_in: bool
    data_id: str


def build_system(
    data_id: str,
    *,
    outside: Collection[str],
    scheme: Any = None,
    scheme_kwargs: dict[str, Any] | None = None,
    eavesdropper: Any = None,
    eavesdropper_kwargs: dict[str, Any] | None = None,
    channel: Any = "awgn",
    channel_kwargs: dict[str, Any] | None = None,
    num_symbols: int = 64,
    snr_db: SNR | SNRRange = 12.0,
    eavesdropper_snr_db: SNR | SNRRange | None = None,
    task: Task | str | None = None,
    task_kwargs: dict[str, Any] | None = None,
    attributes: Sequence[str] | str | None = None,
    reward_fn: Reward | str | None = None,
    privacy_weight: float | None = None,
    source: Source | None = None,
    data: str = "auto",
    data_kwargs: dict[str, Any] | None = None,
    split: str = "train",
    constellation: str | None = None,
    repeat: int = 1,
    metrics: Sequence[str] = (),
    device: str | torch.device = "cpu",
) -> System:
    """Build the game and its inside players.

    Args:
        data_id: the data set of the environment's id.
        outside: the roles that are played from outside; a policy given for one is refused.
        scheme, eavesdropper: a registered name, a checkpoint's path or an object; with options by keyword.
        channel, channel_kwargs, num_symbols, snr_db, eavesdropper_snr_db, repeat, metrics: see
            :class:`~tosc_env.game.Game`.
        task, task_kwargs: a task or its registered name; ``attributes`` is short for the task of that name.
        reward_fn: a callable from outcome to rewards, or a name; ``privacy_weight`` (default 1) goes with the
            default one.
        source: the caller's own images instead of a data set.
        data: ``"auto"``: the data set where it is found, else a stand-in with a warning; or a name, which
            never falls back.
        data_kwargs: the data set's own options.
        split: ``"train"`` (the eavesdropper's half if it is the only one outside, else the system's half) or
            ``"test"``.
        constellation: makes an outside transmitter take the points of this constellation.
        device: where everything happens.

    Raises:
        InputError, DataError, CheckpointError: bad input, in one sentence.
    """
    where = resolve_device(device)
    outside = set(outside)
    _check_outside(outside, scheme, scheme_kwargs, eavesdropper, eavesdropper_kwargs, constellation)
    if source is not None and (data != "auto" or data_kwargs):
        raise InputError(f"give either source= (your own images) or data={data!r} and data_kwargs, not both.")
    half = "attacker" if outside == {"eavesdropper"} else "system"
    names = _attribute_names(data_id, task, attributes, source)
    stand_in = False
    if source is None:
        source, stand_in = _find_source(data_id, data, data_kwargs or {}, split, half, names)
    if task is None:
        task = "attributes" if names else "classification"
        task_kwargs = {"names": list(names)} if names else {}
    if reward_fn is not None and privacy_weight is not None:
        raise InputError(
            "privacy_weight belongs to the default reward; a reward_fn of your own sets its own."
        )
    rules: dict[str, Any] = {
        "task": task,
        "task_kwargs": task_kwargs,
        "channel": channel,
        "channel_kwargs": channel_kwargs,
        "num_symbols": num_symbols,
        "snr_db": snr_db,
        "eavesdropper_snr_db": eavesdropper_snr_db,
        "reward": reward_fn or "privacy-utility",
        "reward_kwargs": {}
        if reward_fn
        else {"privacy_weight": 1.0 if privacy_weight is None else privacy_weight},
        "repeat": repeat,
        "metrics": metrics,
    }
    game = Game(source.to(where), constellation=constellation, **rules)
    inside: PrivacyScheme | None = None
    if not {"transmitter", "receiver"} <= outside:
        inside = resolve_scheme(scheme, scheme_kwargs, game, stand_in=stand_in)
        if "transmitter" not in outside and inside.constellation is not None:
            game = Game(game.source, constellation=inside.constellation, **rules)
    attacker: Eavesdropper | None = None
    if "eavesdropper" not in outside:
        attacker = resolve_eavesdropper(eavesdropper, eavesdropper_kwargs, game, inside, stand_in=stand_in)
    return System(game, inside, attacker, stand_in, data_id)


def _check_outside(
    outside: set[str], scheme: Any, scheme_kwargs: Any, eavesdropper: Any, kwargs: Any, points: Any
) -> None:
    for role in outside:
        if role not in ROLES:
            raise unknown("role", role, ROLES)
    if {"transmitter", "receiver"} <= outside and (scheme is not None or scheme_kwargs):
        raise InputError("transmitter and receiver are both played from outside, so no scheme can be given.")
    if "eavesdropper" in outside and (eavesdropper is not None or kwargs):
        raise InputError("the eavesdropper is played from outside, so no eavesdropper can be given.")
    if points is not None and "transmitter" not in outside:
        raise InputError(
            f"constellation={points!r} is for a transmitter played from outside; a scheme brings its own."
        )
    if isinstance(scheme, str) and scheme.isidentifier() and scheme not in schemes:
        raise unknown("scheme", scheme, schemes)


def _attribute_names(data_id: str, task: Any, attributes: Any, source: Source | None) -> tuple[str, ...]:
    if attributes is not None:
        if task is not None:
            raise InputError("give either task= or attributes=, not both.")
        return (attributes,) if isinstance(attributes, str) else tuple(attributes)
    default = (
        DATA_SETS[data_id].attributes if data_id in DATA_SETS and source is None and task is None else None
    )
    return default or ()


def _find_source(
    data_id: str, data: str, options: dict[str, Any], split: str, half: str, names: tuple[str, ...]
) -> tuple[Source, bool]:
    options = {
        **(DATA_SETS[data_id].options if data_id in DATA_SETS and data in ("auto", data_id) else {}),
        **options,
    }
    wanted = data_id if data == "auto" else data
    part: dict[str, Any] = {"split": split, "half": half if split == "train" else None}
    if data != "auto" or is_available(wanted):
        if wanted == "celeba" and names:
            options = {"attributes": list(names), **options}
        return make_source(wanted, **part, **options), False
    warnings.warn(
        f"{wanted} was not found under the data root, so embedded Shapes images stand in for it (same spaces, other "
        f"images; info['stand_in'] is 1): for the real data run 'tosc data get {wanted}' or set TOSC_DATA_DIR.",
        stacklevel=2,
    )
    allowed = {"size": options["size"]} if "size" in options else {}
    binary: dict[str, Any] = {"binary_attributes": names} if names else {}
    return make_source("shapes", **part, **allowed, **binary), True


def with_rules(game: Game, **changes: Any) -> Game:
    """A copy of a game with other rules on the same source, task and channel (``snr_db=0.0``, say)."""
    rules: dict[str, Any] = {
        "task": game.task,
        "channel": game.channel,
        "num_symbols": game.num_symbols,
        "snr_db": game.snr_db,
        "eavesdropper_snr_db": game.eavesdropper_snr_db,
        "reward": game.reward,
        "constellation": game.constellation,
        "repeat": game.repeat,
        "metrics": game.metrics,
    }
    return Game(changes.pop("source", game.source), **{**rules, **changes})


__all__ = ["DATA_SETS", "DataSet", "System", "build_system", "with_rules"]

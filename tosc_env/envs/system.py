"""From the arguments of ``gym.make`` to a game and the policies that play the roles nobody outside plays."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tosc_env.attackers import Eavesdropper
from tosc_env.data.base import Source
from tosc_env.devices import resolve_device
from tosc_env.envs.stand_in import find_source, with_task
from tosc_env.errors import InputError, unknown
from tosc_env.game import Game, GameConfig
from tosc_env.pipeline import Pipeline
from tosc_env.privacy.oracle import Outside
from tosc_env.rewards import ROLES
from tosc_env.schemes import listed, schemes
from tosc_env.zoos import resolve_eavesdropper, resolve_scheme


@dataclass(frozen=True)
class System:
    """A game and its players.

    Attributes:
        game: the rules, on one device.
        scheme: plays the transmitter and receiver that are not played from outside. Its added stages stand between
            whoever transmits and the channel, and are undone for whoever receives. None if both are played from
            outside without stages.
        eavesdropper: likewise.
        stand_in: whether embedded images stand in for the data set that was meant.
        data_id: the data set that was meant.
    """

    game: Game
    scheme: Pipeline | None
    eavesdropper: Eavesdropper | None
    stand_in: bool
    data_id: str


def build_system(
    config: GameConfig,
    *,
    outside: Collection[str],
    data: str = "auto",
    split: str = "train",
    source: Source | None = None,
    attributes: Sequence[str] | str | None = None,
    scheme: Any = None,
    scheme_kwargs: dict[str, Any] | None = None,
    stages: Any = (),
    eavesdropper: Any = None,
    eavesdropper_kwargs: dict[str, Any] | None = None,
    device: str | torch.device = "cpu",
) -> System:
    """Build the game and its inside players.

    Args:
        config: the rules, and the data set that is meant.
        outside: the roles that are played from outside; a policy given for one is refused.
        data: ``"auto"``: the config's data set where it is found, else a stand-in with a warning; or a name, which
            never falls back.
        split: ``"train"`` (the eavesdropper's half if it is the only one outside, else the system's half) or
            ``"test"``.
        source: the caller's own images instead of a data set.
        attributes: short for the task of these attributes.
        scheme, eavesdropper: a registered name, a checkpoint's path or an object; with options by keyword.
        stages: more stages between the transmitter, whoever plays it, and the channel, undone for the receiver.
        device: where everything happens.

    Raises:
        InputError, DataError, CheckpointError: bad input, in one sentence.
    """
    where = resolve_device(device)
    outside = set(outside)
    _check_outside(outside, scheme, scheme_kwargs, eavesdropper, eavesdropper_kwargs, config)
    if source is not None and (data != "auto" or config.data_kwargs):
        raise InputError(f"give either source= (your own images) or data={data!r} and data_kwargs, not both.")
    config, names = with_task(config, attributes, source)
    half = "attacker" if outside == {"eavesdropper"} else "system"
    stand_in = False
    if source is None:
        source, stand_in = find_source(config, data, split, half, names)
    game = Game(source.to(where), config)
    inside: Pipeline | None = None
    if not {"transmitter", "receiver"} <= outside:
        inside = resolve_scheme(scheme, scheme_kwargs, game, stages=stages, stand_in=stand_in)
    elif listed("stages", stages):
        inside = Pipeline(Outside(game.spec, config.constellation), stages).to(where).eval()
    # A transmitter outside that faces a scheme's receiver may send what it likes.
    binding = "transmitter" not in outside or "receiver" in outside
    if inside is not None and inside.constellation is not None and binding:
        game = game.with_rules(constellation=inside.constellation)
    attacker: Eavesdropper | None = None
    if "eavesdropper" not in outside:
        attacker = resolve_eavesdropper(eavesdropper, eavesdropper_kwargs, game, inside, stand_in=stand_in)
    return System(game, inside, attacker, stand_in, config.data)


def _check_outside(
    outside: set[str],
    scheme: Any,
    scheme_kwargs: Any,
    eavesdropper: Any,
    kwargs: Any,
    config: GameConfig,
) -> None:
    for role in outside:
        if role not in ROLES:
            raise unknown("role", role, ROLES)
    if {"transmitter", "receiver"} <= outside and (scheme is not None or scheme_kwargs):
        raise InputError("transmitter and receiver are both played from outside, so no scheme can be given.")
    if "eavesdropper" in outside and (eavesdropper is not None or kwargs):
        raise InputError("the eavesdropper is played from outside, so no eavesdropper can be given.")
    if config.constellation is not None and "transmitter" not in outside:
        raise InputError(
            f"constellation={config.constellation!r} is for a transmitter played from outside; a scheme brings "
            "its own."
        )
    if isinstance(scheme, str) and scheme.isidentifier() and scheme not in schemes:
        raise unknown("scheme", scheme, schemes)

"""The system of an environment: from the arguments of ``gym.make`` to a game and the policies of its inside roles."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tosc_env.attackers import Eavesdropper
from tosc_env.data.base import check_source
from tosc_env.devices import resolve_device
from tosc_env.envs.stand_in import find_source, with_task
from tosc_env.errors import InputError, unknown
from tosc_env.game import Game, GameConfig
from tosc_env.nodes import as_nodes
from tosc_env.options import checked, named_options
from tosc_env.pipeline import Pipeline
from tosc_env.privacy.oracle import Absent
from tosc_env.roles import player_of
from tosc_env.schemes import listed, schemes
from tosc_env.zoos import resolve_eavesdropper, resolve_scheme


@dataclass(frozen=True)
class System:
    """A game and its players.

    Attributes:
        scheme: plays the transmitter and receiver that are not played from outside. Its added stages stand before
            the channel, whoever transmits, and are undone for the receiver. None: both are outside, without stages.
        eavesdroppers: by node, the policies of those that are not played from outside.
        stand_in: whether embedded images stand in for the data set that was asked for.
        data_id: the data set that was asked for.
    """

    game: Game
    scheme: Pipeline | None
    eavesdroppers: Mapping[str, Eavesdropper]
    stand_in: bool
    data_id: str


@checked
def build_system(
    config: GameConfig,
    *,
    outside: Collection[str],
    data: str = "auto",
    split: str = "train",
    source: Any = None,
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
        config: the rules and the data set.
        outside: the roles that are played from outside (:func:`~tosc_env.roles.player_of`); a policy given for one is
            refused.
        data: ``"auto"``: the config's data set where it is found, else a stand-in with a warning; or a name, which
            never falls back.
        split: ``"train"`` (the eavesdropper's half if it is the only one outside, else the system's half) or
            ``"test"``.
        source: the caller's own images, a :class:`~tosc_env.data.base.Source`, instead of a data set.
        attributes: short for the task of these attributes.
        scheme: a registered name, a checkpoint's path or an object; with options by keyword.
        eavesdropper: the same for every eavesdropper, or by the name of its node. Colluding ones share one.
        stages: more stages between the transmitter and the channel, undone for the receiver.
        device: of the game and its players.
    """
    where = resolve_device(device)
    scheme_kwargs = named_options("scheme_kwargs", scheme_kwargs)
    eavesdropper_kwargs = named_options("eavesdropper_kwargs", eavesdropper_kwargs)
    nodes = as_nodes(config.nodes)
    outside = {player_of(role, nodes) for role in outside}
    inside = [node.name for node in nodes[1:] if node.name not in outside]
    if {"transmitter", "receiver"} <= outside and (scheme is not None or scheme_kwargs):
        raise InputError("transmitter and receiver are both played from outside, so no scheme can be given.")
    if not inside and (eavesdropper is not None or eavesdropper_kwargs):
        raise InputError("the eavesdropper is played from outside, so no eavesdropper can be given.")
    for name in eavesdropper if isinstance(eavesdropper, Mapping) else ():
        if name not in inside:
            raise unknown("eavesdropper inside", name, inside)
    if config.constellation is not None and "transmitter" not in outside:
        raise InputError(
            f"constellation={config.constellation!r} is for a transmitter played from outside; a scheme has its own."
        )
    if isinstance(scheme, str) and scheme.isidentifier() and scheme not in schemes:
        raise unknown("scheme", scheme, schemes)
    if source is not None:
        check_source(source, "source")
    if source is not None and (data != "auto" or config.data_kwargs):
        raise InputError(f"give either source= (your own images) or data={data!r} and data_kwargs, not both.")
    config, names = with_task(config, attributes, source)
    half = "system" if outside & {"transmitter", "receiver"} else "attacker"
    stand_in = False
    if source is None:
        source, stand_in = find_source(config, data, split, half, names)
    game = Game(source.to(where), config)
    pipeline: Pipeline | None = None
    if not {"transmitter", "receiver"} <= outside:
        pipeline = resolve_scheme(scheme, scheme_kwargs, game, stages=stages, stand_in=stand_in)
    elif listed("stages", stages):
        reason = "transmitter and receiver are played from outside"
        backbone = Absent(game.spec, "outside", reason, config.constellation)
        pipeline = Pipeline(backbone, stages).to(where).eval()
        pipeline.receives = False
    if pipeline is not None:
        given, of_scheme = config.constellation, pipeline.backbone.constellation
        if given not in (None, of_scheme) and pipeline.added:
            raise InputError(
                f"constellation={given!r} is of a transmitter's symbols, and the stages stand behind "
                f"symbols of {of_scheme or 'any value'}, as the scheme {pipeline.name!r} has them."
            )
        # A transmitter outside that faces a scheme's receiver may send what it likes.
        if pipeline.constellation is not None and ("transmitter" not in outside or "receiver" in outside):
            game = game.with_rules(constellation=pipeline.constellation)
    target = None if pipeline is None or not pipeline.receives else pipeline
    attackers: dict[str, Eavesdropper] = {}
    told = False  # what plays in place of the usual eavesdropper, once for all of them
    for name in inside:
        if game.config.colluding and attackers:
            attackers[name] = next(iter(attackers.values()))
            continue
        policy = eavesdropper.get(name) if isinstance(eavesdropper, Mapping) else eavesdropper
        alone = game if game.config.colluding or len(nodes) == 2 else game.with_only(name)
        attackers[name] = resolve_eavesdropper(
            policy, eavesdropper_kwargs, alone, target, stand_in=stand_in, warn=policy is not None or not told
        )
        told |= policy is None
    return System(game, pipeline, attackers, stand_in, config.data)

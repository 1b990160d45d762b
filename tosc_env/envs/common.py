"""What the environments share at their NumPy edge: options, conversion, pictures."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from tosc_env.errors import InputError, unknown
from tosc_env.nodes import WIRETAP, as_nodes
from tosc_env.rendering.snapshot import Snapshot
from tosc_env.roles import agents_of

if TYPE_CHECKING:
    from tosc_env.envs.session import Session
    from tosc_env.envs.system import System

RENDER_MODES = ["human", "rgb_array"]
RENDER_FPS = 4

PLAYERS = (
    *("scheme", "scheme_kwargs", "stages", "eavesdropper", "eavesdropper_kwargs"),
    *("data", "split", "source", "attributes", "device"),
)
"""What an environment takes besides the rules (:class:`~tosc_env.game.GameConfig`) and its own keywords."""


def make_system(
    data_id: str, outside: Collection[str], options: Mapping[str, Any], own: Collection[str]
) -> System:
    """The system that an environment's options describe.

    Args:
        data_id: the data set of the environment's id.
        outside: the roles played from outside.
        options: keyword arguments that the environment did not take itself.
        own: the names of those it did, for the error message.

    Raises:
        InputError: a keyword that nobody takes, or a value that is not allowed.
    """
    from tosc_env.envs.system import build_system
    from tosc_env.game import GameConfig

    rules = [f.name for f in fields(GameConfig) if f.name != "data"]
    for name in options:
        if name not in (*rules, *PLAYERS):
            raise unknown("keyword argument of the environment", name, [*own, *rules, *PLAYERS])
    given = {name: value for name, value in options.items() if name in rules}
    players = {name: value for name, value in options.items() if name in PLAYERS}
    if players.get("attributes") is not None and given.get("task") is not None:
        raise InputError("give either task= or attributes=, not both.")
    return build_system(GameConfig(data_id, **given), outside=outside, **players)


def everybody_outside(
    data_id: str, options: Mapping[str, Any], own: Collection[str], max_cycles: int
) -> Session:
    """A session of one row whose players are all played from outside."""
    from tosc_env.envs.session import Session

    nodes = as_nodes(options.get("nodes", WIRETAP))
    system = make_system(data_id, set(agents_of(nodes)), options, own)
    return Session(system, set(agents_of(nodes)), max_cycles=max_cycles)


def to_numpy(observation: Mapping[str, Tensor], flat: spaces.Dict | None = None) -> Any:
    """The only row of a batch of one, as float32 arrays with memory of their own; as one, where the space of its parts
    is given as ``flat``."""
    seen = {key: np.array(value[0].cpu().numpy(), dtype=np.float32) for key, value in observation.items()}
    return seen if flat is None else spaces.flatten(flat, seen)


def shown_as(space: spaces.Dict, flatten: bool) -> spaces.Space[Any]:
    """The observation space of an environment: a role's, or with ``flatten`` the Box of its numbers in a row.

    The order is that of ``gymnasium.spaces.flatten``: the parts in the order of their names (``csi``, then ``image`` or
    ``received``), each in row-major order; ``gymnasium.spaces.unflatten(space, observation)`` has the parts again.

    >>> shown_as(spaces.Dict({"received": spaces.Box(-1, 1, (4,)), "csi": spaces.Box(0, 9, (1,))}), True).high
    array([9., 1., 1., 1., 1.], dtype=float32)
    """
    if not isinstance(flatten, bool):
        raise InputError(f"flatten is True or False, not {flatten!r}.")
    return spaces.flatten_space(space) if flatten else space


def to_floats(info: Mapping[str, Tensor]) -> dict[str, float]:
    """The only row of a batch of one, as Python floats (one transfer from the device for all of them)."""
    return dict(zip(info, torch.stack([value[0] for value in info.values()]).tolist(), strict=True))


def snapshot(session: Session, row: int = 0) -> Snapshot:
    """One row for the viewer: its last finished round, or the present message as far as it has gone."""
    done = session.last
    message = session.present if done is None else done.message
    if message is None:
        raise InputError("call reset() before render(): no message has been drawn yet.")
    round_, air = message.round, message.transmission
    known: dict[str, Any] = {}
    if air is not None:
        heard = {name: session.reception(name, message).received[row] for name in air.receptions}
        known = {"sent": air.sent[row], "received": heard}
    if done is not None:
        known |= {
            "reconstructions": {name: images[row] for name, images in done.reconstructions.items()},
            "psnr_db": {name: float(leak.psnr_db[row]) for name, leak in done.scores.leaks.items()},
            "decision": done.decision[row],
            "rewards": {player: float(reward[row]) for player, reward in done.scores.rewards.items()},
            "accuracy": float(done.scores.accuracy[row]),
        }
    return Snapshot(
        image=round_.batch.images[row],
        target=round_.targets[row],
        snr_db={name: float(link.snr_db[row]) for name, link in round_.links.items()},
        **known,
    )


class Screen:
    """Draws a session's rounds; loads the viewer only when there is something to draw.

    Args:
        session: whose rounds are drawn.
        render_mode: None, ``"human"`` for a window, ``"rgb_array"`` for frames.
        modes: what is allowed besides None.

    Raises:
        InputError: another mode.
    """

    def __init__(
        self, session: Session, render_mode: str | None, modes: Collection[str] = RENDER_MODES
    ) -> None:
        if render_mode is not None and render_mode not in modes:
            raise unknown("render_mode", render_mode, modes)
        self.session = session
        self.render_mode = render_mode
        self._viewer: Any = None

    def frame(self, row: int = 0) -> np.ndarray:
        """One row's last finished round, or the first message of an episode, as uint8 [H, W, 3]."""
        return self._open().frame(snapshot(self.session, row))

    def render(self) -> np.ndarray | None:
        """A frame for ``"rgb_array"``; shows the round and returns None for ``"human"``.

        Raises:
            InputError: the environment was made without a ``render_mode``.
        """
        if self.render_mode is None:
            raise InputError('rendering needs render_mode="rgb_array" or "human" at gym.make or its like.')
        if self.render_mode == "human":
            self._open().show(snapshot(self.session))
            return None
        return self.frame()

    def close(self) -> None:
        """Close the window; a second call does nothing."""
        if self._viewer is not None:
            self._viewer.close()
            self._viewer = None

    def __getstate__(self) -> dict[str, Any]:
        # A window is not copied; another is opened when it is wanted.
        return {**vars(self), "_viewer": None}

    def _open(self) -> Any:
        if self._viewer is None:
            from tosc_env.rendering.viewer import Viewer

            self._viewer = Viewer(self.session.game, stand_in=self.session.system.stand_in)
        return self._viewer

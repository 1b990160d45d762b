"""The common parts of the environments: options, conversion to NumPy, pictures."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from tosc_env.envs.session import Session
from tosc_env.envs.system import System, build_system
from tosc_env.errors import InputError, listing, shown, unknown
from tosc_env.game import GameConfig
from tosc_env.options import named_options
from tosc_env.rendering.snapshot import Snapshot
from tosc_env.rendering.viewer import Viewer

RENDERING: dict[str, Any] = {"render_modes": ["human", "rgb_array"], "render_fps": 4}
"""What an environment's metadata say of its pictures."""

PLAYERS = [name for name in inspect.signature(build_system).parameters if name not in ("config", "outside")]
"""An environment's keywords besides the rules (:class:`~tosc_env.game.GameConfig`) and those of its form."""


def make_system(
    data_id: str, outside: Collection[str], options: Mapping[str, Any], own: Collection[str] = ()
) -> System:
    """Build the system that an environment's options describe; ``own`` names those that its form alone takes."""
    own = (*own, "max_cycles", "render_mode", "flatten")
    rules = [f.name for f in fields(GameConfig) if f.name != "data"]
    for name in options:
        if name not in (*rules, *PLAYERS):
            close = get_close_matches(name, [*own, *rules, *PLAYERS], n=1)
            hint = f", did you mean {close[0]!r}? It" if close else "; it"
            takes = ", ".join(one for one in (*own, *PLAYERS) if not one.endswith("_kwargs"))
            raise InputError(
                f"an environment has no option {shown(name)}{hint} takes {takes}, their _kwargs, and a GameConfig's."
            )
    given = {name: value for name, value in options.items() if name in rules}
    players = {name: value for name, value in options.items() if name in PLAYERS}
    if players.get("attributes") is not None and given.get("task") is not None:
        raise InputError("give either task= or attributes=, not both.")
    return build_system(GameConfig(data_id, **given), outside=outside, **players)


def reset_options(options: object, *allowed: str) -> dict[str, Any]:
    """The ``options`` of a reset, of which ``allowed`` are known; None stands for none."""
    given = named_options("options", options, beside=())
    for name, value in given.items():
        if name not in allowed:
            told = f"its options: {listing(allowed)}" if allowed else "it takes none"
            raise InputError(f"reset has no option {shown(name)} (given as {shown(value)}); {told}.")
    return given


def to_numpy(observation: Mapping[str, Tensor], flat: spaces.Dict | None = None) -> Any:
    """The only row of a batch of one, as float32 arrays of their own; as one, with the space of its parts ``flat``."""
    seen = {key: np.array(value[0].cpu().numpy(), dtype=np.float32) for key, value in observation.items()}
    return seen if flat is None else spaces.flatten(flat, seen)


def shown_as(space: spaces.Dict, flatten: bool) -> spaces.Space[Any]:
    """The observation space of an environment: a role's, or with ``flatten`` the Box of its numbers in a row.

    The order is that of ``gymnasium.spaces.flatten``: the parts in the order of their names (``csi``, then ``image`` or
    ``received``), each in row-major order; ``gymnasium.spaces.unflatten(space, observation)`` has the parts again.
    """
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
    round_, transmission = message.round, message.transmission
    known: dict[str, Any] = {}
    if transmission is not None:
        received = {name: session.reception(name, message).received[row] for name in transmission.receptions}
        known = {"sent": transmission.sent[row], "received": received}
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


class Rendered:
    """The pictures of an environment's session; the viewer is loaded only when there is something to draw."""

    metadata: dict[str, Any]
    session: Session
    render_mode: str | None
    _viewer: Viewer | None = None

    def _set_render_mode(self, render_mode: str | None) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise unknown("render_mode", render_mode, self.metadata["render_modes"])
        self.render_mode = render_mode

    def render(self) -> Any:
        """Draw the last finished round as uint8 [H, W, 3]; in ``"human"`` mode show it in a window and return None."""
        if self.render_mode is None:
            raise InputError('rendering needs render_mode="rgb_array" or "human" at gym.make or its like.')
        if self.render_mode == "human":
            self._open_viewer().show(snapshot(self.session))
            return None
        return self._frame()

    def close(self) -> None:
        """Close the window, if one is open."""
        if self._viewer is not None:
            self._viewer.close()
            self._viewer = None

    def __getstate__(self) -> dict[str, Any]:
        # A window is not copied; another is opened when it is wanted.
        return {**vars(self), "_viewer": None}

    def _frame(self, row: int = 0) -> np.ndarray:
        return self._open_viewer().frame(snapshot(self.session, row))

    def _show(self) -> None:
        if self.render_mode == "human":
            self.render()

    def _open_viewer(self) -> Viewer:
        if self._viewer is None:
            self._viewer = Viewer(self.session.game, stand_in=self.session.system.stand_in)
        return self._viewer

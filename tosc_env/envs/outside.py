"""The common base of both PettingZoo forms: all roles are played from outside, one message at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import Space

from tosc_env.envs.common import Screen, make_system
from tosc_env.envs.session import Session
from tosc_env.nodes import WIRETAP, as_nodes
from tosc_env.roles import action_space, agents_of, observation_space

OWN = ("max_cycles", "render_mode")


class EverybodyOutside:
    """The session, spaces and screen of a PettingZoo environment.

    Args:
        data_id: the data set behind the environment's id.
        max_cycles: messages per episode.
        render_mode: None, ``"human"`` or ``"rgb_array"``.
        options: of :func:`tosc_env.envs.system.build_system`. All roles are outside, so no policy is needed.

    Raises:
        InputError: an unknown keyword or value, when made; a wrong or missing action, naming its agent, when
            stepped.
    """

    def __init__(
        self, data_id: str, *, max_cycles: int = 16, render_mode: str | None = None, **options: Any
    ) -> None:
        super().__init__()
        everybody = set(agents_of(as_nodes(options.get("nodes", WIRETAP))))
        system = make_system(data_id, everybody, options, OWN)
        self.session = Session(system, everybody, max_cycles=max_cycles)
        game, agents = system.game, self.session.agents
        self.agents: list[str] = []
        self.possible_agents = list(agents.values())
        self.observation_spaces = {agent: observation_space(game, player) for player, agent in agents.items()}
        self.action_spaces = {agent: action_space(game, player) for player, agent in agents.items()}
        self._players = {agent: player for player, agent in agents.items()}
        self.render_mode = render_mode
        self._screen = Screen(self.session, render_mode)

    @property
    def max_cycles(self) -> int:
        """Messages per episode; may be changed between episodes."""
        return self.session.max_cycles

    @max_cycles.setter
    def max_cycles(self, value: int) -> None:
        self.session.max_cycles = value

    def observation_space(self, agent: str) -> Space[Any]:
        """The same object at every call."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Space[Any]:
        """The same object at every call."""
        return self.action_spaces[agent]

    def render(self) -> np.ndarray | None:
        """The last finished round as uint8 [H, W, 3], or None in ``"human"`` mode."""
        return self._screen.render()

    def close(self) -> None:
        """Close the window, if one is open."""
        self._screen.close()

    def _show(self) -> None:
        if self.render_mode == "human":
            self._screen.render()

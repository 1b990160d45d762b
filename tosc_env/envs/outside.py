"""The common base of both PettingZoo forms: all roles are played from outside, one message at a time."""

from __future__ import annotations

from typing import Any

from gymnasium import Space

from tosc_env.envs.common import Rendered, make_system
from tosc_env.envs.session import Session
from tosc_env.nodes import WIRETAP, as_nodes
from tosc_env.options import Count, checked
from tosc_env.roles import action_space, agents_of, observation_space

OWN = ("max_cycles", "render_mode")


class EverybodyOutside(Rendered):
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

    @checked
    def __init__(
        self, data_id: str, *, max_cycles: Count = 16, render_mode: str | None = None, **options: Any
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
        self._set_render_mode(render_mode)

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

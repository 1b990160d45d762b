"""The common base of both PettingZoo forms: all roles are played from outside, one message at a time."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import Space, spaces
from gymnasium.utils.seeding import np_random
from torch import Tensor

from tosc_env.envs.common import Rendered, make_system, reset_options, shown_as, to_floats, to_numpy
from tosc_env.envs.session import InFlight, Session, as_seed
from tosc_env.errors import InputError
from tosc_env.nodes import WIRETAP, as_nodes
from tosc_env.options import Count, check_count, checked
from tosc_env.roles import action_space, agents_of, reals
from tosc_env.types import Scores


class EverybodyOutside(Rendered):
    """The session, spaces and screen of a PettingZoo environment.

    Args:
        data_id: the data set behind the environment's id.
        max_cycles: messages per episode.
        render_mode: None, ``"human"`` or ``"rgb_array"``.
        flatten: an agent's observation is one vector, as by :func:`~tosc_env.envs.common.shown_as`.
        options: as of :class:`~tosc_env.envs.role.RoleEnv`. All roles are outside, so no policy is needed.
    """

    _stages: tuple[str, ...]
    """What the messages are called that are under way at once."""

    _late = 0
    """Steps of an episode besides its messages."""

    np_random: np.random.Generator
    """For wrappers that draw from it, as PettingZoo's environments have it; the game does not."""

    @checked
    def __init__(
        self,
        data_id: str,
        *,
        max_cycles: Count = 16,
        render_mode: str | None = None,
        flatten: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        everybody = set(agents_of(as_nodes(options.get("nodes", WIRETAP))))
        system = make_system(data_id, everybody, options)
        self.session = Session(system, everybody)
        self.max_cycles = max_cycles
        game, agents = system.game, self.session.agents
        self.agents: list[str] = []
        self.possible_agents = list(agents.values())
        parts = {agent: self.session.observation_space(player) for player, agent in agents.items()}
        self.observation_spaces = {agent: shown_as(space, flatten) for agent, space in parts.items()}
        self._flat = parts if flatten else {}
        self.action_spaces = {agent: action_space(game, player) for player, agent in agents.items()}
        self._players = {agent: player for player, agent in agents.items()}
        self._set_render_mode(render_mode)

    @property
    def max_cycles(self) -> int:
        """Messages (of a pipeline: steps) per episode; may be changed between episodes."""
        return self.session.max_cycles + self._late

    @max_cycles.setter
    def max_cycles(self, value: int) -> None:
        self.session.max_cycles = check_count(value, "max_cycles", 1 + self._late) - self._late

    def observation_space(self, agent: str) -> Space[Any]:
        """The same object at every call."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Space[Any]:
        """The same object at every call."""
        return self.action_spaces[agent]

    @cached_property
    def state_parts(self) -> spaces.Dict:
        """The parts of :meth:`state`, by name and of fixed shape: ``progress`` and each message that is under way."""
        game = self.session.game
        message = {
            "image": spaces.Box(0.0, 1.0, game.source.image_shape, np.float32),
            "target": spaces.Box(0.0, 1.0, spaces.flatten_space(game.task.space()).shape, np.float32),  # type: ignore[arg-type]
            "snr_db": reals(len(game.nodes)),
            "sent": reals(2 * game.num_symbols),
            "receptions": spaces.Dict(
                {a: self.session.observation_space(self._players[a]) for a in self.possible_agents[1:]}
            ),
        }
        progress = spaces.Box(0.0, 1.0, (1,), np.float32)
        return spaces.Dict({**{stage: spaces.Dict(message) for stage in self._stages}, "progress": progress})

    @cached_property
    def state_space(self) -> spaces.Box:
        """The space of :meth:`state`."""
        return spaces.flatten_space(self.state_parts)  # type: ignore[return-value]

    def state(self) -> np.ndarray:
        """All that the referee knows, float32 [S], for a centralised critic; no agent is told of it.

        Of each message that is under way: its ``image`` [C, H, W]; ``receptions``, what each agent but the
        transmitter observes of it (zeros before it is transmitted); ``sent`` [2n], the symbols as sent (likewise);
        ``snr_db`` of their links, the receiver's first; and ``target``, the right answer as a one-hot vector or bits.
        And ``progress``, the share of the episode's messages that have been played, in the pipeline: sent. The turns
        have one message under way, ``message``; the pipeline has another before it, ``answered`` by the others (zeros
        before the first has been sent).

        The order is that of ``gymnasium.spaces.flatten``, and ``gymnasium.spaces.unflatten(env.state_parts,
        env.state())`` has the parts by name.
        """
        if self.session.present is None:
            raise InputError("call reset() before state(): no message has been drawn yet.")
        parts: dict[str, Any] = {stage: self._referee(stage, one) for stage, one in self._messages().items()}
        played = self.session.cycles[0] / self.session.max_cycles
        parts["progress"] = np.array([played], np.float32)
        return spaces.flatten(self.state_parts, parts)  # type: ignore[return-value]

    def _begin(self, seed: int | None, options: dict[str, Any] | None) -> None:
        """Begin an episode with all agents present."""
        # What PettingZoo's own tests hand over, and mean nothing by.
        probe = isinstance(options, dict) and list(options) == ["options"] and type(options["options"]) is int
        if not probe or options != {"options": 1}:
            reset_options(options)
        self.session.reset(seed)
        if seed is not None or not hasattr(self, "np_random"):
            self.np_random, _ = np_random(as_seed(seed))
        self.agents = list(self.possible_agents)

    def _messages(self) -> dict[str, InFlight | None]:
        """The messages that are under way, by what they are called."""
        raise NotImplementedError

    def _referee(self, stage: str, message: InFlight | None) -> Any:
        space: Any = self.state_parts[stage]
        if message is None:
            return spaces.unflatten(space, np.zeros(spaces.flatdim(space), np.float32))
        session, round_, air = self.session, message.round, message.transmission
        task = session.game.task.space()
        target = round_.targets[0].cpu().numpy() + (task.start if isinstance(task, spaces.Discrete) else 0)
        silence = np.zeros(space["sent"].shape, np.float32)
        return {
            "image": round_.batch.images[0].cpu().numpy(),
            "target": spaces.flatten(task, target).astype(np.float32),  # type: ignore[union-attr]
            "snr_db": np.array([link.snr_db[0].item() for link in round_.links.values()], np.float32),
            "sent": silence if air is None else air.sent[0].detach().cpu().numpy(),
            "receptions": {
                agent: to_numpy(session.observe(self._players[agent], message))
                for agent in self.possible_agents[1:]
            },
        }

    def _infos(self, scores: Scores | None, message: InFlight | None = None) -> dict[str, dict[str, float]]:
        players = self.session.agents.items()
        return {agent: to_floats(self.session.info(player, scores, message)) for player, agent in players}

    def _numpy(self, agent: str, observation: dict[str, Tensor]) -> Any:
        return to_numpy(observation, self._flat.get(agent))

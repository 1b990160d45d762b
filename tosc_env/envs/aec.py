"""All three roles as a PettingZoo :class:`~pettingzoo.AECEnv`: one acts after the other on each message."""

from __future__ import annotations

from typing import Any, ClassVar

from pettingzoo import AECEnv
from pettingzoo.utils import OrderEnforcingWrapper
from torch import Tensor

from tosc_env.envs.common import RENDERING
from tosc_env.envs.outside import EverybodyOutside
from tosc_env.envs.session import InFlight
from tosc_env.errors import InputError
from tosc_env.options import checked
from tosc_env.registration import data_of
from tosc_env.roles import as_action


class AecEnv(EverybodyOutside, AECEnv[str, Any, Any]):
    """``transmitter_0`` -> ``receiver_0`` -> ``eavesdropper_0`` (-> ``eavesdropper_1`` ...), then the next message.

    Keywords and errors are those of :class:`~tosc_env.envs.outside.EverybodyOutside`.

    **Observation** and **action**: as in :mod:`tosc_env.roles`, NumPy float32; the receiving agents see zeros until the
    present message is sent. **Reward**: all agents are paid when the last eavesdropper has answered, so ``last()``
    gives an agent on its next turn the reward of its last action. **Episode**: ``max_cycles`` messages, after which all
    agents terminate together; their last observation shows the last message. **Info**: as of
    :class:`~tosc_env.envs.role.RoleEnv`, about the last message that all have answered. **State**: :meth:`state`.
    """

    _stages = ("message",)

    metadata: ClassVar[dict[str, Any]] = {**RENDERING, "name": "tosc_aec_v0", "is_parallelizable": False}  # type: ignore[misc]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Begin an episode. There are no ``options``."""
        self._begin(seed, options)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self._answers: dict[str, Tensor] = {}
        self.infos = self._infos(None)
        self.agent_selection = self.agents[0]
        self._skip_agent_selection = None
        self._show()

    def observe(self, agent: str) -> Any:
        """The observation of the present message for ``agent``, in fresh arrays."""
        if agent not in self._players:
            raise InputError(f"unknown agent {agent!r}; available: {', '.join(self.possible_agents)}.")
        return self._numpy(agent, self.session.observe(self._players[agent]))

    def _messages(self) -> dict[str, InFlight | None]:
        return {"message": self.session.present}

    def step(self, action: Any) -> None:
        """Take the selected agent's action; the last eavesdropper's completes the round and pays all agents."""
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        session, agents = self.session, self.possible_agents
        chosen = as_action(agent, action, self.action_spaces[agent], device=session.game.device)
        self._cumulative_rewards[agent] = 0.0
        self._clear_rewards()
        if agent == agents[0]:
            session.send(chosen)
        else:
            self._answers[self._players[agent]] = chosen
        last = agent == agents[-1]
        if last:
            scores, self._answers = session.play(self._answers), {}
            self.rewards = {one: float(scores.rewards[self._players[one]][0]) for one in self.agents}
            self.infos = self._infos(scores)
            self.terminations = dict.fromkeys(self.agents, bool(session.over[0]))
            session.advance()
        self.agent_selection = agents[(agents.index(agent) + 1) % len(agents)]
        self._accumulate_rewards()
        if last:
            self._show()


@checked
def aec_env(id: str, *, raw: bool = False, **options: Any) -> AECEnv[str, Any, Any]:
    """The game of an environment id as a PettingZoo AEC environment, with the options of :class:`AecEnv`.

    ``raw`` leaves out PettingZoo's OrderEnforcingWrapper.

    Example:
        >>> env = aec_env("ToSC-Shapes-v0", max_cycles=1)
        >>> env.reset(seed=0)
        >>> for agent in env.agent_iter():
        ...     observation, reward, terminated, truncated, info = env.last()
        ...     env.step(None if terminated else env.action_space(agent).sample())
        >>> env.agents
        []
    """
    env = AecEnv(**{**data_of(id), **options})
    return env if raw else OrderEnforcingWrapper(env)

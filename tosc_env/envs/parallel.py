"""All three roles as a PettingZoo :class:`~pettingzoo.ParallelEnv`: a pipeline one message deep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pettingzoo import ParallelEnv
from torch import Tensor

from tosc_env.envs.common import RENDERING
from tosc_env.envs.outside import EverybodyOutside
from tosc_env.envs.session import InFlight
from tosc_env.errors import InputError, shown
from tosc_env.options import checked
from tosc_env.registration import data_of
from tosc_env.roles import as_action


class PipelinedEnv(EverybodyOutside, ParallelEnv[str, Any, Any]):
    """At step t the transmitter sends message t while the others answer for message t - 1.

    Keywords and errors are those of :class:`~tosc_env.envs.outside.EverybodyOutside`, but ``max_cycles`` counts an
    episode's steps, as in PettingZoo, and is 2 at least.

    ::

        step         0         1         2        ...   T
        transmitter  sends 0   sends 1   sends 2  ...   (ignored)
        others       (ignored) answer 0  answer 1 ...   answer T - 1
        rewards      0         for 0     for 1    ...   for T - 1, terminated

    An episode of T messages therefore takes T + 1 = ``max_cycles`` steps, and **the transmitter is paid one
    step late**: its reward at step t is for the message it sent at step t - 1. Before learning from stored
    trajectories, mend it with :func:`~tosc_env.envs.reward_shift.shift_transmitter_rewards`; with the same seed and
    actions the rewards are then those of :class:`~tosc_env.envs.aec.AecEnv`, which is exact by itself.

    **Observation** and **action**: as in :mod:`tosc_env.roles`, NumPy float32. At reset the receiving agents
    see zeros; at the last step the transmitter sees its last image again. **Info**: as of
    :class:`~tosc_env.envs.role.RoleEnv`, about the message whose answers were given at that step (0.0 at reset and at
    step 0). **State**: :meth:`state`, of the message to be answered and of the one to be sent.
    """

    metadata: ClassVar[dict[str, Any]] = {**RENDERING, "name": "tosc_pipelined_v0"}  # type: ignore[misc]

    _stages, _late = ("answered", "message"), 1
    _arrived: InFlight | None = None

    def __init__(self, data_id: str, *, max_cycles: int = 17, **options: Any) -> None:
        super().__init__(data_id, max_cycles=max_cycles, **options)

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
        """Begin an episode: (observations, infos). There are no ``options``."""
        self._begin(seed, options)
        self._arrived = None
        self._show()
        return self._observe(), self._infos(None)

    def step(  # type: ignore[override]
        self, actions: Mapping[str, Any]
    ) -> tuple[
        dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, float]]
    ]:
        """Take all agents' actions: (observations, rewards, terminations, truncations, infos)."""
        if not self.agents:
            raise InputError("the episode is over (or has not begun); call reset() before step().")
        if not isinstance(actions, Mapping):
            raise InputError(f"actions must be a dictionary of each agent's, not {shown(actions)}.")
        session, agents = self.session, self.agents
        chosen = {player: self._action(agent, actions) for player, agent in session.agents.items()}
        answered, scores = self._arrived, None
        rewards = dict.fromkeys(agents, 0.0)
        if answered is not None:
            scores = session.answer(answered, chosen)
            rewards = {agent: float(scores.rewards[player][0]) for player, agent in session.agents.items()}
        done = bool(session.over[0])
        if not done:
            session.send(chosen["transmitter"])
            self._arrived = session.present
            session.cycles += 1  # counts messages sent: the last one is still to be answered
            session.advance()
        observations, infos = self._observe(), self._infos(scores, answered)
        if done:
            self.agents = []
        self._show()
        return observations, rewards, dict.fromkeys(agents, done), dict.fromkeys(agents, False), infos

    def _action(self, agent: str, actions: Mapping[str, Any]) -> Tensor:
        if agent not in actions:
            raise InputError(f"{agent}: no action was given; every live agent acts at every step.")
        return as_action(agent, actions[agent], self.action_spaces[agent], device=self.session.game.device)

    def _observe(self) -> dict[str, Any]:
        session, seen = self.session, {}
        for player, agent in session.agents.items():
            if player == "transmitter":
                shown = session.observe(player)
            elif self._arrived is None:
                shown = session.silence(player)
            else:
                shown = session.observe(player, self._arrived)
            seen[agent] = self._numpy(agent, shown)
        return seen

    def _messages(self) -> dict[str, InFlight | None]:
        return {"answered": self._arrived, "message": self.session.present}


@checked
def parallel_env(id: str, **options: Any) -> PipelinedEnv:
    """The game of an environment id as a PettingZoo parallel environment, with the options of :class:`PipelinedEnv`.

    Example:
        >>> env = parallel_env("ToSC-Shapes-v0", max_cycles=2)
        >>> observations, infos = env.reset(seed=0)
        >>> steps = 0
        >>> while env.agents:
        ...     _ = env.step({agent: env.action_space(agent).sample() for agent in env.agents})
        ...     steps += 1
        >>> steps
        2
    """
    return PipelinedEnv(**{**data_of(id), **options})

"""All three roles as a PettingZoo :class:`~pettingzoo.AECEnv`: one acts after the other on each message."""

from __future__ import annotations

from typing import Any, ClassVar

from pettingzoo import AECEnv
from pettingzoo.utils import OrderEnforcingWrapper
from torch import Tensor

from tosc_env.envs.common import RENDER_FPS, RENDER_MODES, to_floats
from tosc_env.envs.outside import EverybodyOutside
from tosc_env.envs.session import InFlight
from tosc_env.errors import InputError
from tosc_env.registration import data_of
from tosc_env.roles import as_action
from tosc_env.types import Scores


class TurnsEnv(EverybodyOutside, AECEnv[str, Any, Any]):
    """``transmitter_0`` -> ``receiver_0`` -> ``eavesdropper_0`` (-> ``eavesdropper_1`` ...), then the next message.

    Everybody is paid when the last eavesdropper has answered, for the very message it acted on: what
    ``last()`` gives an agent on its next turn is the pay for its last action.

    **Observation**: as in :mod:`tosc_env.roles`, NumPy float32. The receiving agents see zeros while the
    present message is not on the air. **Action**: likewise; ``None`` once an agent is dead.

    **Episode**: ``max_cycles`` messages, after which all agents terminate together; their last observation
    shows the last message. **Info**: the keys of :class:`~tosc_env.envs.role.RoleEnv`, about the last
    message that everybody has answered (0.0 before the first). **State**: :meth:`state`.

    The order of the roles is the physics, so ``metadata["is_parallelizable"]`` is False;
    :class:`~tosc_env.envs.parallel.PipelinedEnv` is the parallel form.

    Args:
        data_id: the data set behind the environment's id.
        max_cycles: messages per episode.
        render_mode: None, ``"human"`` or ``"rgb_array"``.
        flatten: an agent's observation is one vector, as by :func:`~tosc_env.envs.common.shown_as`.
        options: of :func:`tosc_env.envs.system.build_system`. All roles are outside, so no policy is needed.

    Raises:
        InputError: an unknown keyword or value, when made; a wrong action, naming its agent, when stepped.
    """

    _stages = ("message",)

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "name": "tosc_turns_v0",
        "render_modes": RENDER_MODES,
        "render_fps": RENDER_FPS,
        "is_parallelizable": False,
    }

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Begin an episode; ``options`` are not used."""
        self.session.reset(seed)
        self.agents = list(self.possible_agents)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self._answers: dict[str, Tensor] = {}
        self._tell(None)
        self.agent_selection = self.agents[0]
        self._skip_agent_selection = None
        self._show()

    def observe(self, agent: str) -> Any:
        """What ``agent`` sees of the present message, in fresh arrays."""
        if agent not in self._players:
            raise InputError(f"unknown agent {agent!r}; available: {', '.join(self.possible_agents)}.")
        return self._numpy(agent, self.session.observe(self._players[agent]))

    def _messages(self) -> dict[str, InFlight | None]:
        return {"message": self.session.present}

    def step(self, action: Any) -> None:
        """Take the selected agent's action; the last eavesdropper's completes the round and pays everybody."""
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
            self._finish()
        self.agent_selection = agents[(agents.index(agent) + 1) % len(agents)]
        self._accumulate_rewards()
        if last:
            self._show()

    def _finish(self) -> None:
        scores, self._answers = self.session.play(self._answers), {}
        self.rewards = {agent: float(scores.rewards[self._players[agent]][0]) for agent in self.agents}
        self._tell(scores)
        over = bool(self.session.over[0])
        self.terminations = dict.fromkeys(self.agents, over)
        self.session.advance()

    def _tell(self, scores: Scores | None) -> None:
        self.infos = {a: to_floats(self.session.info(self._players[a], scores)) for a in self.agents}


def aec_env(id: str = "ToSC-CIFAR-v0", *, raw: bool = False, **options: Any) -> AECEnv[str, Any, Any]:
    """The three-role game of an environment id as a PettingZoo AEC environment.

    Args:
        id: a registered id, such as ``"ToSC-CIFAR-v0"``.
        raw: leave out PettingZoo's OrderEnforcingWrapper.
        options: of :class:`TurnsEnv`.

    Raises:
        InputError: an unknown id or keyword, or a value that is not allowed.

    Example:
        >>> env = aec_env("ToSC-Shapes-v0", max_cycles=1)
        >>> env.reset(seed=0)
        >>> for agent in env.agent_iter():
        ...     observation, reward, terminated, truncated, info = env.last()
        ...     env.step(None if terminated else env.action_space(agent).sample())
        >>> env.agents
        []
    """
    env = TurnsEnv(**{**data_of(id), **options})
    return env if raw else OrderEnforcingWrapper(env)

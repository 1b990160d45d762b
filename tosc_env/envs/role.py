"""One role of the game as a :class:`gymnasium.Env`."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from tosc_env.envs.common import (
    RENDERING,
    Rendered,
    make_system,
    reset_options,
    shown_as,
    to_floats,
    to_numpy,
)
from tosc_env.envs.session import Session, as_seed
from tosc_env.errors import InputError
from tosc_env.options import Count, checked
from tosc_env.roles import action_space, as_action, player_of


class RoleEnv(Rendered, gym.Env[Any, Any]):
    """Play the transmitter, the receiver or the eavesdropper against fixed policies for the other two.

    Made by ``gym.make("ToSC-CIFAR-v0", role=...)``; the observation and action of each role are listed in
    :mod:`tosc_env.roles`. Everything is NumPy float32 here.

    **Reward**: a Python float, the role's pay for the message just played, see :mod:`tosc_env.rewards`.

    **Episode**: ``max_cycles`` messages, ended by ``terminated``; ``truncated`` is always False. Rounds are
    independent but for channel memory and keys, so with memoryless channels this is a contextual bandit. As
    no message follows the last one, the observation that comes with ``terminated`` shows the last one again.

    **Info**: the same finite floats at reset and at every step: ``accuracy``, ``psnr_db`` and ``mse`` of the
    message just played (0.0 at reset), ``snr_db`` of the role's own link, ``stand_in``, and the ``metrics=`` asked for.

    Args:
        data_id: the data set behind the environment's id.
        role: ``"transmitter"``, ``"receiver"`` or ``"eavesdropper"``; of several eavesdroppers that is the first, and
            ``"eavesdropper_1"`` the next.
        max_cycles: messages per episode.
        render_mode: None, ``"human"`` or ``"rgb_array"``.
        flatten: an observation is one vector, as by :func:`~tosc_env.envs.common.shown_as`.
        options: of :func:`tosc_env.envs.system.build_system`, such as ``scheme=``, and of
            :class:`~tosc_env.game.GameConfig`, such as ``channel=``, ``snr_db=``.

    Raises:
        InputError: an unknown keyword, role, name or value, when made; an action of the wrong shape or type,
            with NaN or infinite numbers, or (with ``constellation=``) off the constellation, when stepped.

    Example:
        >>> import gymnasium as gym
        >>> import tosc_env
        >>> env = gym.make("ToSC-Shapes-v0", role="eavesdropper", scheme="label-only", snr_db=12.0)
        >>> observation, info = env.reset(seed=0)
        >>> observation["received"].shape, env.action_space.shape, info["snr_db"]
        ((128,), (3, 32, 32), 12.0)
    """

    metadata: dict[str, Any] = RENDERING

    @checked
    def __init__(
        self,
        data_id: str,
        *,
        role: str = "transmitter",
        max_cycles: Count = 16,
        render_mode: str | None = None,
        flatten: bool = False,
        **options: Any,
    ) -> None:
        self.session = Session(make_system(data_id, {role}, options, ["role"]), {role}, max_cycles=max_cycles)
        self.role = player_of(role, self.session.game.nodes)
        parts = self.session.observation_space(self.role)
        self.observation_space = shown_as(parts, flatten)
        self._flat = parts if flatten else None
        self.action_space = action_space(self.session.game, role)
        self._set_render_mode(render_mode)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, float]]:
        """Begin an episode: (observation, info). There are no ``options``."""
        reset_options(options)
        super().reset(seed=as_seed(seed))
        self.session.reset(seed)
        self._show()
        return self._observe(), to_floats(self.session.info(self.role, None))

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, float]]:
        """Play one message: (observation, reward, terminated, truncated, info).

        An image outside [0, 1] is clipped; symbols may have any finite amplitude, the game sets the power.
        """
        session = self.session
        if session.over[0]:
            raise InputError("the episode is over; call reset() before the next step().")
        chosen = as_action(session.agents[self.role], action, self.action_space, device=session.game.device)
        scores = session.play({self.role: chosen})
        terminated = bool(session.over[0])
        info = to_floats(session.info(self.role, scores))
        session.advance()
        self._show()
        return self._observe(), float(scores.rewards[self.role][0]), terminated, False, info

    def _observe(self) -> Any:
        return to_numpy(self.session.observe(self.role), self._flat)

"""Many copies of one role as a :class:`gymnasium.vector.VectorEnv` of torch tensors, stepped as one batch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import torch
from gymnasium import Space
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from tosc_env.devices import to_device
from tosc_env.envs.common import RENDERING, Rendered, make_system, reset_options, shown_as
from tosc_env.envs.seeded_rows import SeededRows
from tosc_env.envs.session import Session, as_seed
from tosc_env.errors import InputError, shown
from tosc_env.options import MOST_MESSAGES, Count, Within, check_count, checked
from tosc_env.roles import action_space, as_action, player_of
from tosc_env.rows import select

OWN = ("num_envs", "role", "autoreset_mode", "validate", "max_episode_steps")


class ToscVectorEnv(VectorEnv[Any, Any, Tensor], Rendered):
    """``num_envs`` rows of one game, as tensors on the game's device, without a loop over rows.

    Made by ``gym.make_vec("ToSC-CIFAR-v0", num_envs=1024, role=..., device="cuda:0")``. Observations, rewards
    (float32 [B]), terminations and truncations (bool [B]) and infos are fresh torch tensors; actions are
    torch tensors or NumPy arrays. With one row, a trajectory equals that of
    :class:`~tosc_env.envs.role.RoleEnv` with the same seed, bit for bit. Where a wrapper needs NumPy, put
    ``gymnasium.wrappers.vector.ArrayConversion(env, env_xp=torch, target_xp=numpy)`` first (it needs the package
    array-api-compat); Gymnasium's wrappers of observations besides ask for ``autoreset_mode="NEXT_STEP"``.

    **Episode**: every row plays ``max_cycles`` messages and ends by termination; with ``max_episode_steps`` it is
    truncated after so many, as by ``gymnasium.wrappers.TimeLimit``. Rows begin together and so end together, unless
    some are reset earlier by ``reset(options={"reset_mask": bool [B]})``; such a reset changes nothing in what the
    other rows will see of their episodes.

    **Autoreset** (``gymnasium.vector.AutoresetMode``):

    - ``SAME_STEP`` (default): the step that ends an episode returns the first observation of the next one;
      ``infos["final_obs"]`` and ``infos["final_info"]`` hold the last ones of the episode, batched, and
      ``_final_obs``, ``_final_info`` the rows concerned (other rows' values mean nothing). ``final_obs`` shows the
      last message again; of a truncated episode it shows the next, which is not played.
    - ``NEXT_STEP``: the step after the end ignores that row's action, pays 0 and begins the next episode.
    - ``DISABLED``: the caller resets ended rows with ``reset_mask`` before stepping on.

    **Info**: the keys of the single environment, float32 [B], each with Gymnasium's ``_key`` mask.

    Args:
        data_id: the data set behind the environment's id.
        num_envs: B, at least 1.
        role, max_cycles, flatten, options: as in :class:`~tosc_env.envs.role.RoleEnv`.
        autoreset_mode: an :class:`~gymnasium.vector.AutoresetMode`, or its name or value.
        validate: look for NaN, infinite or impossible actions, at the price of one wait for the device per
            step; False checks shape and type alone, and NaN then counts as 0 (:func:`~tosc_env.roles.as_action`).
        render_mode: None or ``"rgb_array"``.
        max_episode_steps: messages after which an episode is truncated; None or -1: it never is.
    """

    metadata: dict[str, Any] = {**RENDERING, "render_modes": ["rgb_array"]}  # noqa: RUF012 (Gymnasium declares it so)

    @checked
    def __init__(
        self,
        data_id: str,
        *,
        num_envs: Annotated[int, Within(1, MOST_MESSAGES)] = 1,
        role: str = "transmitter",
        max_cycles: Count = 16,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        validate: bool = True,
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        flatten: bool = False,
        **options: Any,
    ) -> None:
        self.autoreset_mode = _mode(autoreset_mode)
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        limited = max_episode_steps is not None and max_episode_steps != -1
        self._limit = check_count(max_episode_steps, "max_episode_steps") if limited else sys.maxsize
        system = make_system(data_id, {role}, options, OWN)
        self.session = Session(system, {role}, num_envs=num_envs, max_cycles=max_cycles)
        self.role = player_of(role, self.session.game.nodes)
        self.num_envs = num_envs
        self.validate = validate
        self.device = self.session.game.device
        parts = self.session.observation_space(self.role)
        self.single_observation_space = shown_as(parts, flatten)
        self._flat = list(parts.spaces) if flatten else None
        self.single_action_space = action_space(self.session.game, role)
        self._set_render_mode(render_mode)

    # The bounds of a large batch of images take more memory than the game: made when somebody asks.

    @cached_property
    def observation_space(self) -> Space[Any]:  # type: ignore[override]
        return batch_space(self.single_observation_space, self.num_envs)

    @cached_property
    def action_space(self) -> Space[Any]:  # type: ignore[override]
        return action_space(self.session.game, self.role, self.num_envs)

    def reset(  # type: ignore[override]
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin episodes: (observations, infos).

        Args:
            seed: one number for the whole batch, which is drawn as one. Or a list of one for each row: row i is then
                the single environment with the i-th seed, bit for bit, and a step takes as long as ``num_envs`` of
                those, until a number is given again. A None among them lets that row's stream go on.
            options: ``{"reset_mask": bool [B]}`` restarts those rows only, which the info masks name.
        """
        mask = reset_options(options, "reset_mask").get("reset_mask")
        kind: Any = type(self.session)
        if isinstance(seed, list | tuple) or (isinstance(seed, np.ndarray) and seed.ndim):
            kind = SeededRows
        elif seed is not None:
            super().reset(seed=as_seed(seed))
            kind = Session
        if kind is type(self.session):
            self.session.reset(seed, mask)  # type: ignore[arg-type]
        else:
            session = kind(
                self.session.system, {self.role}, num_envs=self.num_envs, max_cycles=self.session.max_cycles
            )
            session.reset(seed, mask)
            self.session = session
        rows = torch.ones(self.num_envs, dtype=torch.bool) if mask is None else torch.as_tensor(mask)
        rows = rows.to(self.device, non_blocking=True)
        return self._observe(), _masked(self.session.info(self.role, None), rows)

    def step(  # type: ignore[override]
        self, actions: Any
    ) -> tuple[Any, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Play one message per row: (observations, rewards, terminations, truncations, infos)."""
        session, mode = self.session, self.autoreset_mode
        resting = session.over | (session.cycles >= self._limit)
        if mode is AutoresetMode.DISABLED and resting.any():
            raise InputError(
                f"{int(resting.sum())} of {self.num_envs} episodes are over; reset them by a reset_mask first."
            )
        agent, space = session.agents[self.role], self.single_action_space
        chosen = as_action(
            agent, actions, space, batch=self.num_envs, device=self.device, validate=self.validate
        )
        if self.render_mode is not None:
            chosen = chosen.clone()  # the round is drawn later, when the caller may have reused the tensor
        scores = session.play({self.role: chosen})
        rewards = scores.rewards[self.role].detach().to(torch.float32, copy=True)
        info = session.info(self.role, scores)
        over, late = session.over & ~resting, (session.cycles >= self._limit) & ~resting
        terminations = to_device(over, self.device)
        truncations = to_device(late, self.device) if late.any() else torch.zeros_like(terminations)
        final: dict[str, Any] = {}
        if mode is AutoresetMode.SAME_STEP:
            begun, broken = over | late, late & ~over
            last = self._observe() if begun.any() else None
            session.advance(restart=over)
            if broken.any():  # what they would have seen next is drawn; it is not played
                last = select(terminations, last, self._observe())
                session.restart(broken)
            if last is not None:
                ended = terminations | truncations
                final = {
                    "final_obs": last,
                    "_final_obs": ended.clone(),
                    "final_info": _masked({key: value.clone() for key, value in info.items()}, ended),
                    "_final_info": ended,
                }
        else:
            session.advance(restart=resting)
            begun = resting
            if resting.any():
                rewards = rewards.masked_fill(to_device(resting, self.device), 0.0)
        if begun.any():
            info = select(to_device(begun, self.device), session.info(self.role, None), info)
        everyone = torch.ones_like(terminations)
        infos = _masked(info, everyone) | final
        return self._observe(), rewards, terminations, truncations, infos

    def render(self) -> tuple[np.ndarray, ...] | None:  # type: ignore[override]
        """The last round of every row as uint8 [H, W, 3]; with ``render_mode="rgb_array"`` only."""
        if self.render_mode is None:
            return Rendered.render(self)
        return tuple(self._frame(row) for row in range(self.num_envs))

    def close_extras(self, **kwargs: Any) -> None:
        Rendered.close(self)

    def _observe(self) -> Any:
        seen = self.session.observe(self.role)
        flat = self._flat
        return seen if flat is None else torch.cat([seen[part].flatten(1) for part in flat], dim=1)


def _masked(info: dict[str, Tensor], rows: Tensor) -> dict[str, Any]:
    """An info with Gymnasium's masks: ``_key`` says for which rows ``key`` holds."""
    return info | {f"_{key}": rows.clone() for key in info}


def _mode(value: AutoresetMode | str) -> AutoresetMode:
    for mode in AutoresetMode:
        if value in (mode, mode.name, mode.value):
            return mode
    listing = ", ".join(mode.name for mode in AutoresetMode)
    raise InputError(f"autoreset_mode must be one of {listing}, not {shown(value)}.")

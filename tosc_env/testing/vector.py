"""The laws of a vector environment that gives one role of the game."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Tensor

from tosc_env.testing.laws import global_streams_untouched, require, step

FIGURES = ("accuracy", "psnr_db", "mse", "snr_db", "stand_in")
"""Keys that every info has."""

SEES = ({"image", "csi"}, {"received", "csi"})
"""The parts of an observation: the transmitter's, and that of both others."""


class _Step(NamedTuple):
    """One step of the environment, as NumPy arrays of its own; ``info`` is the whole, ``figures`` its numbers."""

    observation: dict[str, np.ndarray]
    reward: np.ndarray
    ended: np.ndarray
    figures: dict[str, np.ndarray]
    info: dict[str, Any]


def check_vector_env(env: VectorEnv, max_steps: int = 200) -> None:
    """Check a vector environment over one role of the game, this package's or another's, of torch tensors or arrays.

    It is reset and stepped, and left open. The laws: observations ``{"image" or "received", "csi"}``, float32, finite
    and in their space; rewards float32 [B]; ends bool [B], one within ``max_steps``; the same finite figures in the
    info at reset and at every step; the seed fixes a trajectory whatever the global generators do, and they are left
    alone; what is returned is the caller's to overwrite; the autoreset mode is declared and kept; a NaN action is
    refused.

    Example:
        >>> import gymnasium as gym
        >>> import tosc_env
        >>> class Pixels(tosc_env.PrivacyScheme):
        ...     def encode(self, images, context):
        ...         return images.flatten(1)[:, :128]
        ...     def decode(self, received, csi, context):
        ...         return received[:, :10]
        >>> scheme = Pixels(tosc_env.SystemSpec(image_shape=(3, 32, 32), num_outputs=10))
        >>> check_vector_env(gym.make_vec("ToSC-Shapes-v0", num_envs=3, role="eavesdropper", scheme=scheme))
    """
    require(isinstance(env, VectorEnv), f"a vector environment derives from VectorEnv, not {type(env)}.")
    mode = _check_declarations(env)
    with global_streams_untouched("the environment"):
        first = _play(env, mode, 7, max_steps)
    again = _play(env, mode, 7, max_steps, meddle=True)
    for t, (one, other) in enumerate(zip(first, again, strict=True)):
        alike = data_equivalence(one[:4], other[:4], exact=True)
        why = "when global generators move or the caller overwrites what was returned; return copies"
        require(alike, f"the same seed gives another trajectory (from step {t} on) {why}.")
    one, two = (_copied(env.reset(seed=seed)[0]) for seed in (1, 2))
    require(any(not np.array_equal(one[k], two[k]) for k in one), "two seeds give the same observations.")
    _check_autoreset(env, mode, first)
    if mode is AutoresetMode.DISABLED and env.num_envs > 1:
        _check_partial_reset(env)
    _check_nan(env)


def _check_declarations(env: VectorEnv) -> AutoresetMode:
    count = env.num_envs
    require(isinstance(count, int) and count >= 1, f"num_envs must be at least 1, not {count!r}.")
    single = env.single_observation_space
    require(isinstance(single, spaces.Dict), f"the observation space must be a Dict, not {single}.")
    keys = set(single.keys())  # type: ignore[attr-defined]
    require(keys in SEES, f"an observation has the parts image (or received) and csi, not {sorted(keys)}.")
    for key, space in single.items():  # type: ignore[attr-defined]
        box = isinstance(space, spaces.Box) and space.dtype == np.float32
        require(box, f"{key} must be a float32 Box, not {space}.")
        batched = env.observation_space[key].shape  # type: ignore[index]
        require(batched == (count, *space.shape), f"the batched space of {key} has the shape {batched}.")
    mode = env.metadata.get("autoreset_mode")
    if not isinstance(mode, AutoresetMode):
        raise AssertionError(f'metadata["autoreset_mode"] must be a gymnasium AutoresetMode, not {mode!r}.')
    attribute = getattr(env, "autoreset_mode", mode)
    require(attribute is mode, f"the attribute autoreset_mode is {attribute}, but the metadata says {mode}.")
    return mode


def _play(
    env: VectorEnv, mode: AutoresetMode, seed: int, max_steps: int, meddle: bool = False
) -> list[_Step]:
    """Play one seeded episode and the step after its end; ``meddle`` overwrites results and draws global numbers."""
    env.action_space.seed(seed)
    with step(f"reset(seed={seed})"):
        observation, info = env.reset(seed=seed)
    none = np.zeros(env.num_envs, np.float32)
    returned: tuple[Any, ...] = (observation, none, none > 0, none > 0, info)
    steps: list[_Step] = []
    for _ in range(max_steps + 1):
        steps.append(_checked(env, *returned))
        keys, expected = (sorted(found.figures) for found in (steps[-1], steps[0]))
        require(keys == expected, f"the info has {keys} at a step, but {expected} at reset.")
        if meddle:
            for part in (*returned[0].values(), returned[1], returned[2], *_figures(returned[4]).values()):
                part[...] = 0
            torch.rand(3)
            np.random.rand(3)  # noqa: NPY002
            random.random()
        *before, now = (bool(found.ended.any()) for found in steps)
        if any(before) or (now and mode is AutoresetMode.DISABLED):
            return steps
        with step("step() with a sampled action"):
            returned = env.step(env.action_space.sample())
    raise AssertionError(f"no episode ended within {max_steps} steps.")


def _checked(
    env: VectorEnv, observation: Any, reward: Any, terminated: Any, truncated: Any, info: Any
) -> _Step:
    count, single = env.num_envs, env.single_observation_space
    require(isinstance(observation, Mapping), f"an observation is a dictionary, not {type(observation)}.")
    parts = sorted(single.keys())  # type: ignore[attr-defined]
    require(sorted(observation) == parts, f"an observation has {sorted(observation)}, not {parts}.")
    seen, told = _copied(observation), _copied(info)
    ends = {"terminations": _array(terminated), "truncations": _array(truncated)}
    arrays = {**seen, "rewards": _array(reward), **ends}
    for name, value in arrays.items():
        dtype = "bool" if name in ends else "float32"
        shape = (count, *(single[name].shape if name in seen else ()))  # type: ignore[index]
        lawful = value.shape == shape and value.dtype == dtype
        require(lawful, f"{name} must be {dtype} {list(shape)}, not {value.dtype} {list(value.shape)}.")
        require(np.isfinite(value).all(), f"{name} is not finite.")
    for key, space in single.items():  # type: ignore[attr-defined]
        inside = (seen[key] >= space.low).all() and (seen[key] <= space.high).all()
        require(inside, f"{key} leaves its space {space}.")
    figures = _figures(told)
    for key in FIGURES:
        require(key in figures, f"the info lacks {key!r}; it always has {', '.join(FIGURES)}.")
    for key, number in figures.items():
        lawful = number.shape == (count,) and number.dtype.kind == "f" and np.isfinite(number).all()
        require(lawful, f"info[{key!r}] must be finite floats of the shape ({count},).")
    return _Step(seen, arrays["rewards"], ends["terminations"] | ends["truncations"], figures, told)


def _figures(info: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in info.items() if not k.startswith("_") and k not in ("final_obs", "final_info")}


def _check_autoreset(env: VectorEnv, mode: AutoresetMode, steps: list[_Step]) -> None:
    """Check the steps at an episode's end, shortly after which they stop."""
    at = next(t for t, found in enumerate(steps) if found.ended.any())
    ended, info = steps[at].ended, steps[at].info
    if mode is AutoresetMode.SAME_STEP:
        for key in ("final_obs", "_final_obs", "final_info", "_final_info"):
            require(key in info, f"with SAME_STEP, the info of a step that ends an episode has {key!r}.")
        for key in ("_final_obs", "_final_info"):
            require(np.array_equal(info[key], ended), f"info[{key!r}] must name the rows that ended.")
    elif mode is AutoresetMode.NEXT_STEP:
        after = steps[at + 1]
        begins = not after.ended[ended].any() and not after.reward[ended].any()
        require(begins, "with NEXT_STEP, the step after the end begins an episode: reward 0, and no end.")


def _check_partial_reset(env: VectorEnv) -> None:
    env.reset(seed=3)
    before = _copied(env.step(env.action_space.sample())[0])
    mask = np.zeros(env.num_envs, dtype=bool)
    mask[0] = True
    with step('reset(options={"reset_mask": ...})'):
        after = _copied(env.reset(options={"reset_mask": mask})[0])
    kept = all(np.array_equal(before[key][1:], after[key][1:]) for key in before)
    require(kept, "a reset of row 0 alone changed what other rows see.")
    main = next(key for key in before if key != "csi")
    require(not np.array_equal(before[main][0], after[main][0]), "a reset of row 0 alone did not restart it.")


def _check_nan(env: VectorEnv) -> None:
    if not isinstance(env.single_action_space, spaces.Box) or getattr(env, "validate", True) is False:
        return
    env.reset(seed=4)
    action = np.array(env.action_space.sample())
    action.reshape(-1)[0] = np.nan
    try:
        env.step(action)
    except ValueError:
        return
    raise AssertionError("an action that contains NaN must be refused with a ValueError (InputError).")


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(part) for key, part in value.items()}
    return _array(value)


def _array(value: Any) -> np.ndarray:
    """A NumPy copy of a tensor or array."""
    return np.array(value.detach().cpu().numpy() if isinstance(value, Tensor) else value)

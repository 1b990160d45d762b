"""Reinforcement learning as an attack: PPO of stable-baselines3 plays the eavesdropper and is paid q per message.

Three thousand pixels are too many actions to explore, so a wrapper lets the agent choose sixteen numbers instead: the
leading principal components of the attacker's own training images, in units of their standard deviation. Messages
are independent, so this is a contextual bandit and the discount is 0.

    received [128], SNR --PPO--> action [16] in [-1, 1] --wrapper--> image [3, 32, 32] --environment--> q

The untrained policy shows nearly the mean image and is paid a little more than 0 for it: q is 0 at the mean image's
*average* error, and convex in the error.

Needs the extra ``rl``: pip install 'tosc-env[rl]'.

Example: python examples/ppo_eavesdropper.py --steps 400000 --num-envs 512
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from gymnasium import spaces
from gymnasium.vector import VectorActionWrapper, VectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

import tosc_env


class PrincipalComponents(VectorActionWrapper):
    """A wrapper that lets an agent answer with a few principal components instead of pixels.

    Args:
        env: a vector environment in the eavesdropper's role.
        images: the attacker's own images, float32 [N, C, H, W] in [0, 1].
        count: how many components an action has.
        spread: standard deviations of a component that an action of 1 stands for.
    """

    def __init__(self, env: VectorEnv, images: Tensor, count: int = 16, spread: float = 2.0) -> None:
        super().__init__(env)
        pixels = images.flatten(1)
        self.mean = pixels.mean(0)
        _, singular, components = torch.svd_lowrank(pixels - self.mean, q=count + 8, niter=4)
        std = singular[:count] / len(pixels) ** 0.5
        self.basis = spread * std[:, None] * components[:, :count].T
        self.single_action_space = spaces.Box(-1.0, 1.0, (count,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (env.num_envs, count), np.float32)

    def actions(self, actions: Any) -> Tensor:
        """Images [B, C, H, W] from components [B, count]."""
        pixels = self.mean + torch.as_tensor(actions, dtype=torch.float32) @ self.basis
        return pixels.clamp(0.0, 1.0).unflatten(1, self.env.single_action_space.shape)


class StableBaselines(VecEnv):
    """One of our vector environments as stable-baselines3 wants it: NumPy, one flat observation, a dict per row.

    The observation is what was received, then the SNR in units of 10 dB.
    """

    def __init__(self, env: VectorEnv) -> None:
        self.env = env
        size = env.unwrapped.single_observation_space["received"].shape[0]
        observation = spaces.Box(-np.inf, np.inf, (size + 1,), np.float32)
        super().__init__(env.num_envs, observation, env.single_action_space)

    def reset(self) -> np.ndarray:
        """Begin episodes; ``seed()`` fixes them."""
        observation, _ = self.env.reset(seed=self._seeds[0])
        self._reset_seeds()
        return _flat(observation)

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Play one message per row. Ended episodes begin anew within the step, as SB3 expects."""
        observation, rewards, terminated, truncated, infos = self.env.step(self._actions)
        done = (terminated | truncated).numpy()
        told: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if done.any():
            last = _flat(infos["final_obs"])
            for row in done.nonzero()[0]:
                told[row] = {
                    "terminal_observation": last[row],
                    "TimeLimit.truncated": bool(truncated[row] & ~terminated[row]),
                }
        return _flat(observation), rewards.numpy(), done, told

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The same value for each row: they are one object."""
        return [getattr(self.env, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set it once for all rows."""
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call it once; each row gets the answer."""
        answer = getattr(self.env, method_name)(*args, **kwargs)
        return [answer] * len(list(self._get_indices(indices)))

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """None of SB3's wrappers are inside."""
        return [False] * len(list(self._get_indices(indices)))


def _flat(observation: dict[str, Tensor]) -> np.ndarray:
    return torch.cat([observation["received"], observation["csi"][:, :1] / 10.0], dim=1).numpy()


@dataclass
class Arguments:
    """Train PPO in the eavesdropper's role on Shapes and measure it on test images."""

    steps: int = 100_000
    """Messages to learn from."""
    num_envs: int = 256
    """Messages at a time."""
    scheme: str = "deepjscc"
    """The system under attack: a name in the zoo, or a checkpoint's path."""
    snr_db: float = 12.0
    """Es/N0 of both links in dB."""
    components: int = 16
    """Numbers in an action."""
    spread: float = 2.0
    """Standard deviations of a component that an action of 1 stands for."""
    learning_rate: float = 1e-3
    """At the start; falls linearly to 0."""
    log_std: float = -1.0
    """Logarithm of the standard deviation with which actions are explored at first."""
    rollout: int = 16
    """Messages of each environment between two updates."""
    batch_size: int = 1024
    """Messages per gradient step; the reward of a single one says little about sixteen numbers."""
    epochs: int = 4
    """Passes over the messages of a rollout; more learn the noise of its rewards by heart."""
    hidden: int = 128
    """Width of the one hidden layer of policy and value network."""
    test_messages: int = 4000
    """Messages of the evaluation."""
    seed: int = 0
    """Of weights, exploration and episodes."""


def make(arguments: Arguments, images: Tensor, split: str, num_envs: int) -> StableBaselines:
    """The environment as PPO sees it."""
    env = gym.make_vec(
        "ToSC-Shapes-v0",
        num_envs=num_envs,
        role="eavesdropper",
        scheme=arguments.scheme,
        snr_db=arguments.snr_db,
        split=split,
    )
    return StableBaselines(PrincipalComponents(env, images, arguments.components, arguments.spread))


def evaluate(model: BaseAlgorithm, env: StableBaselines, messages: int, seed: int) -> float:
    """Mean q of the policy without exploration, always on the same messages."""
    env.seed(seed)
    observation, rewards = env.reset(), []
    for _ in range(-(-messages // env.num_envs)):
        action, _ = model.predict(observation, deterministic=True)
        observation, reward, _, _ = env.step(action)
        rewards.append(reward)
    return float(np.mean(rewards))


def main(arguments: Arguments) -> tuple[float, float]:
    """Train, and return the mean q on test messages before and after."""
    source = tosc_env.make_source("shapes", half="attacker")
    images = source.images.float() / 255
    torch.manual_seed(arguments.seed)
    train = make(arguments, images, "train", arguments.num_envs)
    test = make(arguments, images, "test", 250)
    model = PPO(
        "MlpPolicy",
        train,
        learning_rate=lambda left: arguments.learning_rate * left,
        n_steps=arguments.rollout,
        batch_size=arguments.batch_size,
        n_epochs=arguments.epochs,
        gamma=0.0,
        policy_kwargs={"net_arch": [arguments.hidden], "log_std_init": arguments.log_std},
        seed=arguments.seed,
        device="cpu",
    )
    before = evaluate(model, test, arguments.test_messages, arguments.seed)
    start = time.perf_counter()
    model.learn(arguments.steps)
    took = time.perf_counter() - start
    after = evaluate(model, test, arguments.test_messages, arguments.seed)
    print(f"q on {arguments.test_messages} test messages: {before:+.3f} untrained, {after:+.3f} trained")
    print(
        f"({model.num_timesteps:,} messages in {took:.0f} s; 1 is a perfect copy, 0 the mean image's mean error)"
    )
    return before, after


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))

"""An hour of every form of environment: no number that is none, and memory that stays where it is.

Every combination of form, role, channel, number of eavesdroppers and stages is played for a moment, again and again,
with random valid actions, early resets, masks, seeds and lists of seeds. Whatever is returned must be finite and in its
space, or the run stops with the combination and its seed. Memory is read (on Linux) after each pass over all
combinations and at intervals between; what the first minutes take, in which libraries are loaded, tables filled and the
allocator's pools grow, does not count, and a shorter run says nothing of memory. The policies inside are one linear map
each, because it is the environment that is tried here.

Example: python benchmarks/soak.py --minutes 20
"""

from __future__ import annotations

import ctypes
import gc
import itertools
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from gymnasium import spaces
from torch import Tensor, nn

import tosc_env

GROWTH_MB = 20.0
"""How much more memory the last third of the passes may hold than the first, by their medians: single passes differ
by more."""
SETTLED_MINUTES = 5.0
"""From when on memory counts."""


@dataclass
class Arguments:
    """Play every form at random, watch the memory, and print JSON."""

    minutes: float = 60.0
    """How long."""
    each: float = 0.5
    """Seconds that a combination is played at a time."""
    every: float = 60.0
    """Seconds between lines about the memory, on stderr."""
    num_envs: int = 32
    """Rows of the vector environments."""
    seed: int = 0
    """Of the actions, resets and environments."""
    device: str = "cpu"
    """Where they run, e.g. cuda:0."""


class Linear(tosc_env.PrivacyScheme):
    """A random linear map, and noise from the context's stream."""

    def __init__(self, spec: tosc_env.SystemSpec) -> None:
        super().__init__(spec)
        self.up = nn.Linear(torch.Size(spec.image_shape).numel(), 2 * spec.num_symbols)
        self.down = nn.Linear(2 * spec.num_symbols, spec.num_outputs)

    def encode(self, images: Tensor, context: tosc_env.Context) -> Tensor:
        symbols = self.up(images.flatten(1))
        return symbols + 0.1 * torch.randn(symbols.shape, generator=context.generator, device=symbols.device)

    def decode(self, received: Tensor, csi: Tensor, context: tosc_env.Context) -> Tensor:
        return self.down(received)


class Guess(tosc_env.Eavesdropper):
    """A random linear picture of what it receives."""

    def __init__(self, spec: tosc_env.SystemSpec) -> None:
        super().__init__(spec)
        self.out = nn.Linear(2 * spec.num_symbols, torch.Size(spec.image_shape).numel())

    def fit(self, view: tosc_env.View, *, generator: torch.Generator, progress: Any = None) -> dict[str, Any]:
        return {}

    def reconstruct(self, received: Tensor, csi: Tensor) -> Tensor:
        return self.out(received).sigmoid().unflatten(1, self.spec.image_shape)


FORMS = ("single", "rows", "turns", "pipeline")
ROLES = ("transmitter", "receiver", "eavesdropper")
CHANNELS = ("awgn", "rayleigh", "rician", "tdl")
EAVESDROPPERS = (1, 2, 4)
STAGES = ((), ("laplace", "keyed"))


def combinations() -> Iterator[dict[str, Any]]:
    """The combinations that are played; where everybody is outside, roles make no difference."""
    for form, role, channel, count, stages in itertools.product(
        FORMS, ROLES, CHANNELS, EAVESDROPPERS, STAGES
    ):
        if form in ("single", "rows") or role == ROLES[0]:
            yield {"form": form, "role": role, "channel": channel, "eavesdroppers": count, "stages": stages}


def make(what: Mapping[str, Any], random: np.random.Generator, arguments: Arguments) -> Any:
    """The environment of a combination; what else may differ is drawn."""
    nodes = tosc_env.wiretap(what["eavesdroppers"])
    options: dict[str, Any] = {
        "channel": what["channel"],
        "nodes": nodes,
        "stages": list(what["stages"]),
        "snr_db": {"low": 0, "high": 20},
        "eavesdropper_snr_db": [0.0, 10.0] if random.random() < 0.5 else None,
        "colluding": bool(random.random() < 0.3),
        "repeat": int(random.integers(1, 3)),
        "max_cycles": int(random.integers(2, 9)),
        "flatten": bool(random.random() < 0.5),
        "metrics": ("ssim",) if random.random() < 0.2 else (),
        "data_kwargs": {"num_images": 500},
        "device": arguments.device,
    }
    if what["form"] in ("turns", "pipeline"):
        form = tosc_env.aec_env if what["form"] == "turns" else tosc_env.parallel_env
        return form("ToSC-Shapes-v0", **options)
    source = tosc_env.make_source("shapes", num_images=500)
    spec = tosc_env.Game(source, channel=what["channel"], num_symbols=64).spec
    options["role"] = what["role"]
    options["scheme"] = Linear(spec)
    if what["role"] != "eavesdropper" or what["eavesdroppers"] > 1:
        options["eavesdropper"] = Guess(spec)
    limit = int(random.integers(2, 9)) if random.random() < 0.3 else None
    if what["form"] == "single":
        return gym.make("ToSC-Shapes-v0", max_episode_steps=limit, **options)
    return gym.make_vec(
        "ToSC-Shapes-v0",
        arguments.num_envs,
        autoreset_mode=["NEXT_STEP", "SAME_STEP", "DISABLED"][random.integers(3)],
        max_episode_steps=limit,
        **options,
    )


def check(value: Any, space: spaces.Space[Any] | None = None) -> None:
    """Raise AssertionError unless every number is finite, and the whole in its space."""
    if isinstance(value, Mapping):
        for part in value.values():
            check(part)
    elif isinstance(value, Tensor):
        assert value.isfinite().all(), "a number is none"
    else:
        assert np.isfinite(value).all(), "a number is none"
    if space is not None:
        assert space.contains(value), f"outside of {space}"


def play_single(env: Any, random: np.random.Generator) -> Callable[[], None]:
    """One step of a single environment at each call."""
    env.action_space.seed(int(random.integers(2**31)))
    env.reset(seed=int(random.integers(2**31)))

    def step() -> None:
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        check(observation, env.observation_space), check(reward), check(info)
        if terminated or truncated or random.random() < 0.05:
            seed = int(random.integers(2**31)) if random.random() < 0.3 else None
            observation, info = env.reset(seed=seed)
            check(observation, env.observation_space), check(info)

    return step


def play_rows(env: Any, random: np.random.Generator) -> Callable[[], None]:
    """One step of a vector environment at each call."""
    env.action_space.seed(int(random.integers(2**31)))
    env.reset(seed=int(random.integers(2**31)))
    disabled = env.unwrapped.autoreset_mode is gym.vector.AutoresetMode.DISABLED

    def step() -> None:
        observation, rewards, terminations, truncations, infos = env.step(env.action_space.sample())
        check(observation), check(rewards), check(infos)
        ended = (terminations | truncations).cpu().numpy()
        chance = random.random()
        if disabled and ended.any():
            check(env.reset(options={"reset_mask": ended})[0])
        elif chance < 0.1:
            mask = random.random(env.num_envs) < 0.3
            mask[random.integers(env.num_envs)] = True
            check(env.reset(options={"reset_mask": mask})[0])
        elif chance < 0.12:
            check(env.reset(seed=int(random.integers(2**31)))[0])
        elif chance < 0.13:
            check(env.reset(seed=random.integers(2**31, size=env.num_envs).tolist())[0])

    return step


def play_turns(env: Any, random: np.random.Generator) -> Callable[[], None]:
    """One turn of an AEC environment at each call."""
    for agent in env.possible_agents:
        env.action_space(agent).seed(int(random.integers(2**31)))
    env.reset(seed=int(random.integers(2**31)))

    def step() -> None:
        agent = env.agent_selection
        observation, reward, terminated, truncated, info = env.last()
        check(observation, env.observation_space(agent)), check(reward), check(info)
        check(env.state(), env.state_space)
        env.step(None if terminated or truncated else env.action_space(agent).sample())
        if not env.agents or random.random() < 0.02:
            env.reset(seed=int(random.integers(2**31)) if random.random() < 0.3 else None)

    return step


def play_pipeline(env: Any, random: np.random.Generator) -> Callable[[], None]:
    """One step of a parallel environment at each call."""
    for agent in env.possible_agents:
        env.action_space(agent).seed(int(random.integers(2**31)))
    env.reset(seed=int(random.integers(2**31)))

    def step() -> None:
        actions = {agent: env.action_space(agent).sample() for agent in env.agents}
        observations, rewards, _, _, infos = env.step(actions)
        for agent, observation in observations.items():
            check(observation, env.observation_space(agent))
        check(rewards), check(infos), check(env.state(), env.state_space)
        if not env.agents or random.random() < 0.05:
            env.reset(seed=int(random.integers(2**31)) if random.random() < 0.3 else None)

    return step


PLAYERS = {"single": play_single, "rows": play_rows, "turns": play_turns, "pipeline": play_pipeline}


def give_back() -> None:
    """Collect garbage, and have the C library's allocator give back what it holds free, as far as it can (glibc)."""
    gc.collect()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def memory_mb() -> float:
    """Memory of this process that is in use, swapped or not, in MB; NaN where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return float("nan")
    return sum(int(status.split(part)[1].split()[0]) for part in ("VmRSS:", "VmSwap:")) / 1024


def main(arguments: Arguments) -> None:
    """Play until the time is over and print one JSON object; exit code 1 where memory has grown."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    start = told = time.monotonic()
    end = start + 60.0 * arguments.minutes
    steps, seed = dict.fromkeys(FORMS, 0), arguments.seed
    passes: list[tuple[float, float]] = []
    objects: list[int] = []
    everything = list(combinations())
    while time.monotonic() < end:
        np.random.default_rng(seed).shuffle(everything)  # type: ignore[arg-type]
        for what in everything:
            seed += 1
            random = np.random.default_rng(seed)
            try:
                env = make(what, random, arguments)
                step = PLAYERS[what["form"]](env, random)
                until = min(end, time.monotonic() + arguments.each)
                while time.monotonic() < until:
                    step()
                    steps[what["form"]] += 1
                env.close()
            except Exception as error:
                raise RuntimeError(f"{what} of seed {seed} failed: {error}") from error
            if time.monotonic() - told > arguments.every:
                told = time.monotonic()
                print(f"{(told - start) / 60:6.1f} min  {memory_mb():8.1f} MB  {steps}", file=sys.stderr)
            if time.monotonic() > end:
                break
        else:
            give_back()
            objects.append(len(gc.get_objects()))
            passes.append(((time.monotonic() - start) / 60, round(memory_mb(), 1)))
    settled = [memory for minutes, memory in passes if minutes >= SETTLED_MINUTES]
    record: dict[str, Any] = {
        "what": "random valid actions, resets, masks and seeds in every form",
        "requirement": {"growth_mb_at_most": GROWTH_MB, "from_minute": SETTLED_MINUTES},
        "minutes": round((time.monotonic() - start) / 60, 1),
        "combinations": len(everything),
        "steps": steps,
        "memory_mb_after_each_pass": [memory for _, memory in passes],
        "objects_after_each_pass": objects,
        "torch": torch.__version__,
        "device": arguments.device,
    }
    third = len(settled) // 3
    if third:
        record["growth_mb"] = round(median(settled[-third:]) - median(settled[:third]), 1)
        record["meets_requirement"] = record["growth_mb"] <= GROWTH_MB
    print(json.dumps(record, indent=2))
    sys.exit(record.get("meets_requirement") is False)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))

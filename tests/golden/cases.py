"""The cases of the golden record: each has a name and computes named tensors by the public interface alone.

An episode case plays a fixed seed with actions from a generator of its own and stacks what every step gave:
``observation/image``, ``reward``, ``info/accuracy`` and so on. Every stand-in is embedded, no data set is read.

===========  ====================================================================================================
``form/``    every environment id, role and form over the default channel; every combination has weights
``channel/`` every channel, with links of equal, of different and of drawn SNRs
``scheme/``  every scheme as an eavesdropper hears it, and as its own receiver where an attacker of it has weights
``game/``    the differentiable core, and the gradient through it
``zoo/``     every file of trained weights, on fixed inputs
===========  ====================================================================================================

:data:`CASES` maps each name to a function without arguments; :func:`compute` runs one in a fixed surrounding.
:func:`verdicts` judges the statements of the stored reports again.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

import tosc_env

Tensors = dict[str, Tensor]

KEY = "5a" * 32

# The one place that spells the schemes' options: (scheme, options) for each name that the record knows.
SCHEMES: dict[str, tuple[str, dict[str, Any]]] = {
    "unprotected": ("deepjscc", {}),
    "label alone": ("label-only", {}),
    "laplace noise": ("dp-laplace", {}),
    "laplace noise, budget 5": ("dp-laplace", {"epsilon": 5.0}),
    "laplace noise, calibrated": ("dp-laplace", {"mode": "calibrated"}),
    "encryption, defaults": ("encryption", {"key": KEY}),
    "encryption, shuffle for ever": ("encryption", {"mode": "shuffle", "lifetime": "fixed", "key": KEY}),
    "encryption, shuffle per message": (
        "encryption",
        {"mode": "shuffle", "lifetime": "per_message", "key": KEY},
    ),
    "encryption, shuffle and signs for ever": (
        "encryption",
        {"mode": "shuffle+signs", "lifetime": "fixed", "key": KEY},
    ),
    "encryption, shuffle and signs per message": (
        "encryption",
        {"mode": "shuffle+signs", "lifetime": "per_message", "key": KEY},
    ),
    "encryption, rotation for ever": ("encryption", {"mode": "rotation", "lifetime": "fixed", "key": KEY}),
    "encryption, rotation per message": (
        "encryption",
        {"mode": "rotation", "lifetime": "per_message", "key": KEY},
    ),
    "information bottleneck": ("ibal", {}),
    "codebook": ("lbvq", {}),
    "layered, defaults": ("layered", {"key": KEY}),
    "layered, signs over a codebook": (
        "layered",
        {"mode": "shuffle+signs", "lifetime": "fixed", "key": KEY},
    ),
    "layered, rotation over the unprotected": ("deepjscc", {"key": KEY}),
    "layered, noise over the bottleneck": ("ibal", {}),
}

STAGES: dict[str, list[Any]] = {
    "layered, rotation over the unprotected": [{"name": "keyed", "mode": "rotation", "lifetime": "fixed"}],
    "layered, noise over the bottleneck": [{"name": "laplace", "epsilon": 50.0}],
}
"""What stands between a scheme of that name and the channel besides its own stages."""

# Schemes against which an attacker on the embedded images has weights.
ATTACKED = (
    "unprotected",
    "label alone",
    "laplace noise",
    "encryption, defaults",
    "information bottleneck",
    "codebook",
    "layered, defaults",
)

CHANNELS: dict[str, dict[str, Any]] = {"awgn": {}, "rayleigh": {}, "rician": {"coherence": 16}, "tdl": {}}

LINKS: dict[str, dict[str, Any]] = {
    "equal links": {},
    "weaker eavesdropper": {"eavesdropper_snr_db": 6.0},
    "drawn snr": {"snr_db": {"low": 0, "high": 20}},
}

IDS = ("ToSC-CIFAR-v0", "ToSC-CelebA-v0", "ToSC-Shapes-v0")
ROLES = ("transmitter", "receiver", "eavesdropper")
STEPS, CYCLES, ROWS, SEED = 6, 4, 5, 7


def compute(name: str) -> Tensors:
    """The tensors of one case: one thread, seeded global generators, an empty data root, no warnings."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as root, torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = os.environ.get("TOSC_DATA_DIR")
        os.environ["TOSC_DATA_DIR"] = root
        try:
            torch.manual_seed(0)
            return CASES[name]()
        finally:
            os.environ.pop("TOSC_DATA_DIR")
            if before is not None:
                os.environ["TOSC_DATA_DIR"] = before


def load(path: Path) -> Any:
    """The policy in a file of weights."""
    return tosc_env.load_checkpoint(path).policy


# -- episodes -------------------------------------------------------------------------------------------


class Log:
    """Values by name, stacked over the steps in which they came."""

    def __init__(self) -> None:
        self.values: dict[str, list[Tensor]] = defaultdict(list)

    def add(self, name: str, value: Any) -> None:
        """Keep a copy of an array or number; a mapping's values go under their own names, its masks together."""
        if isinstance(value, Mapping):
            for key in sorted(value):
                self.add(f"{name}/masks" if key.startswith("_") else f"{name}/{key}", value[key])
        else:
            tensor = value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
            self.values[name].append(tensor.detach().cpu().clone())

    def stacked(self) -> Tensors:
        """Each name's values as one tensor."""
        return {name: torch.stack(values) for name, values in sorted(self.values.items())}


def action(space: spaces.Space[Any], role: str, rng: np.random.Generator, rows: int | None = None) -> Any:
    """An action of a role, or one per row: Gaussian symbols, a guess, or an image a little out of range."""
    lead = () if rows is None else (rows,)
    if isinstance(space, spaces.Discrete):
        guess = rng.integers(space.n, size=lead)
        return int(guess) if rows is None else guess
    if isinstance(space, spaces.MultiBinary):
        return rng.integers(2, size=(*lead, *space.shape)).astype(np.int8)
    assert space.shape is not None
    if role == "transmitter":
        return rng.standard_normal((*lead, *space.shape)).astype(np.float32)
    return rng.uniform(-0.1, 1.1, (*lead, *space.shape)).astype(np.float32)


def single(id: str, role: str, **options: Any) -> Tensors:
    """An episode and a half of ``gym.make``."""
    env, rng, log = gym.make(id, role=role, max_cycles=CYCLES, **options), np.random.default_rng(SEED), Log()
    observation, info = env.reset(seed=SEED)
    log.add("observation", observation)
    log.add("info", info)
    for _ in range(STEPS):
        observation, reward, terminated, truncated, info = env.step(action(env.action_space, role, rng))
        for name, value in (("observation", observation), ("reward", reward), ("info", info)):
            log.add(name, value)
        log.add("ended", [terminated, truncated])
        if terminated:
            observation, info = env.reset()
            log.add("observation", observation)
            log.add("info", info)
    env.close()
    return log.stacked()


def vector(id: str, role: str, **options: Any) -> Tensors:
    """An episode and a half of ``gym.make_vec``, which begins the second one by itself."""
    env = gym.make_vec(id, num_envs=ROWS, role=role, max_cycles=CYCLES, **options)
    rng, log = np.random.default_rng(SEED), Log()
    observation, info = env.reset(seed=SEED)
    log.add("observation", observation)
    log.add("info", info)
    for _ in range(STEPS):
        chosen = torch.from_numpy(action(env.single_action_space, role, rng, ROWS))
        observation, reward, terminated, truncated, info = env.step(chosen)
        for name, value in (("observation", observation), ("reward", reward), ("info", info)):
            log.add(name, value)
        log.add("ended", torch.stack([terminated, truncated]))
    env.close()
    return log.stacked()


def turns(id: str) -> Tensors:
    """An episode and a half of ``aec_env``, as each agent is told on its turn."""
    env, rng, log = tosc_env.aec_env(id, max_cycles=CYCLES), np.random.default_rng(SEED), Log()
    env.reset(seed=SEED)
    for _ in range(3 * STEPS + 3):  # the three turns on which each agent learns that it is over count too
        agent = env.agent_selection
        observation, reward, terminated, truncated, info = env.last()
        for name, value in (("observation", observation), ("reward", reward), ("info", info)):
            log.add(f"{agent}/{name}", value)
        log.add(f"{agent}/ended", [terminated, truncated])
        role = agent.removesuffix("_0")
        env.step(None if terminated else action(env.action_space(agent), role, rng))
        if not env.agents:
            env.reset()
    env.close()
    return log.stacked()


def parallel(id: str) -> Tensors:
    """An episode and a part of the next of ``parallel_env``."""
    env, rng, log = tosc_env.parallel_env(id, max_cycles=CYCLES + 1), np.random.default_rng(SEED), Log()
    observations, infos = env.reset(seed=SEED)
    log.add("observation", observations)
    log.add("info", infos)
    for _ in range(STEPS + 1):
        actions = {a: action(env.action_space(a), a.removesuffix("_0"), rng) for a in env.agents}
        told = env.step(actions)
        names = ("observation", "reward", "terminated", "truncated", "info")
        for name, values in zip(names, told, strict=True):
            log.add(name, values)
        if not env.agents:
            observations, infos = env.reset()
            log.add("observation", observations)
            log.add("info", infos)
    env.close()
    return log.stacked()


def heard(form: Callable[..., Tensors], name: str, role: str) -> Tensors:
    """An episode of a scheme of :data:`SCHEMES`."""
    scheme, options = SCHEMES[name]
    stages = {"stages": STAGES[name]} if name in STAGES else {}
    return form("ToSC-Shapes-v0", role, scheme=scheme, scheme_kwargs=dict(options) or None, **stages)


# -- the core and the weights ---------------------------------------------------------------------------


def core(channel: str) -> Tensors:
    """Two rounds of the game over a channel, and the gradient of a reception in the symbols."""
    source = tosc_env.make_source("shapes", split="test")
    game = tosc_env.Game(source, channel=channel, channel_kwargs=CHANNELS[channel], eavesdropper_snr_db=6.0)
    generator, log = torch.Generator().manual_seed(SEED), Log()
    round_ = None
    for _ in range(2):
        round_ = game.draw(ROWS, generator=generator, previous=round_)
        symbols = torch.randn(ROWS, 128, generator=generator).requires_grad_()
        sent = game.transmit(round_, symbols)
        both = sent.receiver.received.square().sum() + sent.eavesdropper.received.pow(3).sum()
        log.add("gradient", torch.autograd.grad(both, symbols)[0])
        log.add("receiver", {"received": sent.receiver.received, "csi": sent.receiver.csi})
        log.add("eavesdropper", {"received": sent.eavesdropper.received, "csi": sent.eavesdropper.csi})
        scores = game.score(round_, round_.targets, torch.rand(ROWS, 3, 32, 32, generator=generator))
        log.add("rewards", scores.rewards)
        log.add("scores", {"accuracy": scores.accuracy, "mse": scores.mse, "psnr_db": scores.psnr_db})
        log.add("message", round_.message[:, :3])
    return log.stacked()


def smooth_images(shape: Iterable[int], seed: int, count: int = 8) -> Tensor:
    """Images in [0, 1], float32 [count, C, H, W]: noise on a coarse grid, interpolated."""
    channels, *size = shape
    coarse = np.random.default_rng(seed).random((count, channels, 6, 6), dtype=np.float32)
    return torch.nn.functional.interpolate(
        torch.from_numpy(coarse), size=size, mode="bilinear", align_corners=True
    ).clamp(0, 1)


def noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """Standard normal numbers, float32."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


def told_csi(spec: Any, rows: int) -> Tensor:
    """CSI of 12 dB, padded with zeros to the width that a policy is made for."""
    return torch.nn.functional.pad(torch.full((rows, 1), 12.0), (0, spec.num_csi - 1))


@torch.no_grad()
def weights(path: Path) -> Tensors:
    """The outputs of trained weights for fixed inputs."""
    policy = load(path)
    return of_scheme(policy) if hasattr(policy, "encode") else of_eavesdropper(policy)


def of_scheme(scheme: Any) -> Tensors:
    """The symbols of eight images, and the logits of a noisy reception of them."""
    images = smooth_images(scheme.spec.image_shape, seed=1)
    rows = len(images)
    numbers = torch.stack([torch.arange(rows), torch.ones(rows).long(), torch.arange(rows) % 3], dim=1)
    message = torch.nn.functional.pad(numbers, (0, 2))
    context = tosc_env.Context(torch.full((rows,), 12.0), message, 17, torch.Generator().manual_seed(3))
    symbols = scheme.encode(images, context)
    scale = symbols.square().sum(1, keepdim=True) / scheme.spec.num_symbols
    received = symbols * torch.rsqrt(scale) + 0.2 * noise(tuple(symbols.shape), seed=2)
    return {"symbols": symbols, "logits": scheme.decode(received, told_csi(scheme.spec, rows), context)}


def of_eavesdropper(eavesdropper: Any) -> Tensors:
    """The outputs of an eavesdropper for eight fixed receptions, of whichever kinds it has."""
    spec = eavesdropper.spec
    received, csi = noise((8, 2 * spec.num_symbols), seed=4) * 0.5**0.5, told_csi(spec, 8)
    extra = {"reconstruct": (), "match": (smooth_images(spec.image_shape, seed=5),), "infer": ()}
    found = {}
    for capability, more in extra.items():
        try:
            found[capability] = getattr(eavesdropper, capability)(received, csi, *more)
        except (tosc_env.ToscError, NotImplementedError, AttributeError):
            continue
    assert found
    return found


def weight_files() -> dict[str, Path]:
    """Every file of trained weights by its stem."""
    import tosc_agents.zoo

    folder = Path(tosc_agents.zoo.__file__).parent
    return {path.stem: path for path in sorted(folder.rglob("*.safetensors"))}


# -- the table ------------------------------------------------------------------------------------------


def _cases() -> dict[str, Callable[[], Tensors]]:
    cases: dict[str, Callable[[], Tensors]] = {}
    for id in IDS:
        for role in ROLES:
            cases[f"form/{id} {role}, single"] = partial(single, id, role)
            cases[f"form/{id} {role}, vector"] = partial(vector, id, role)
        cases[f"form/{id} turns"] = partial(turns, id)
        cases[f"form/{id} parallel"] = partial(parallel, id)
    for channel, options in CHANNELS.items():
        for link, snrs in LINKS.items():
            for role in ("transmitter", "eavesdropper"):
                cases[f"channel/{channel} {role}, {link}"] = partial(
                    vector, "ToSC-Shapes-v0", role, channel=channel, channel_kwargs=options, **snrs
                )
        cases[f"game/{channel}"] = partial(core, channel)
    for name in SCHEMES:
        cases[f"scheme/{name}, vector"] = partial(heard, vector, name, "eavesdropper")
        cases[f"scheme/{name}, single"] = partial(heard, single, name, "eavesdropper")
    for name in ATTACKED:
        cases[f"scheme/{name}, receiver"] = partial(heard, vector, name, "receiver")
    for stem, path in weight_files().items():
        cases[f"zoo/{stem}"] = partial(weights, path)
    return cases


CASES = _cases()


# -- claims ---------------------------------------------------------------------------------------------

REPORTS = Path(__file__).parents[2] / "docs" / "results"
DATA = {"cifar10": "reproduction", "shapes": "reproduction/shapes"}
"""The folders of the stored reports that judge the claims, by their data."""


def verdicts() -> dict[str, dict[str, list[Any]]]:
    """For the data of each stored report: number -> [verdict, [outcome of each criterion]].

    They are judged again from the measurements in ``results.csv``; a criterion that lacks some is "absent", and those
    come last.
    """
    from tosc_agents.experiments.claims import judge
    from tosc_agents.experiments.measurements import read

    judged = {}
    for data, folder in DATA.items():
        claims = judge(read(REPORTS / folder / "results.csv"))
        judged[data] = {str(one.number): [one.verdict, _outcomes(one)] for one in claims}
    return judged


def _outcomes(claim: Any) -> list[str]:
    kinds = [outcome.kind for _, outcome in claim.criteria]
    told = [kind for kind in kinds if kind != "not measured"]
    return told + ["absent"] * (len(kinds) - len(told))

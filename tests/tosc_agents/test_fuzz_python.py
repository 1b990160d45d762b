"""Odd values for every keyword of every public callable: a right answer, or one sentence that says what is allowed."""

from __future__ import annotations

import inspect
import json
import math
import random
import resource
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from fakes import SMALL
from tosc_agents import zoo
from tosc_agents.keys import SecretKey, keystream
from tosc_agents.learning.loop import LoopConfig
from tosc_agents.training.evaluate import evaluate
from tosc_agents.training.fit_eavesdropper import fit_eavesdropper
from tosc_agents.training.fit_receiver import fit_receiver
from tosc_agents.training.fit_scheme import SchemeTraining, fit_scheme

import tosc_env
from tosc_env import modulation
from tosc_env.attackers import eavesdroppers
from tosc_env.channels import channels
from tosc_env.errors import LONGEST, InputError, ToscError
from tosc_env.exchange import rollout
from tosc_env.options import check_positive
from tosc_env.rewards import rewards
from tosc_env.schemes import objectives, schemes, stages
from tosc_env.tasks import tasks

SPEC = tosc_env.SystemSpec((3, 32, 32), 10)
ID = "ToSC-Shapes-v0"
TRIED = 4000
"""Cases of all that there are, drawn with a seed."""

MEMORY = 4 * 2**30
"""Bytes that all of it may take; a number that is taken for a size must not."""


class NoText:
    """An object whose text cannot be had."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")


class Colour(Enum):
    """A choice that is no choice of ours."""

    RED = 1


def ramp() -> np.ndarray:
    return np.arange(6.0)


ODD: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "-inf": lambda: -math.inf,
    "True": lambda: True,
    "numpy's False": lambda: np.bool_(False),
    "huge": lambda: 10**12,
    "beyond float": lambda: 10**400,
    "beyond print": lambda: 10**5000,
    "-1": lambda: -1,
    "0": lambda: 0,
    "2": lambda: 2,
    "1.5": lambda: 1.5,
    "text": lambda: "x",
    "no text": lambda: "",
    "bytes": lambda: b"x",
    "NUL": lambda: "a\0b",
    "lines": lambda: "a\nb\u2028c",
    "long": lambda: "ü" * 5000,
    "list": list,
    "long list": lambda: [1] * 5000,
    "[1]": lambda: [1],
    "texts": lambda: ["12"],
    "dict": dict,
    "a dict": lambda: {"a": 1},
    "number keys": lambda: {1: 2},
    "nested": lambda: [[[None]]],
    "within itself": lambda: (lambda a: a.append(a) or a)([]),
    "complex": lambda: 1 + 2j,
    "object": object,
    "no repr": NoText,
    "class": lambda: int,
    "function": lambda: len,
    "int64": lambda: np.int64(3),
    "float32": lambda: np.float32(0.5),
    "numpy's nan": lambda: np.float64("nan"),
    "numpy's text": lambda: np.str_("x"),
    "array": ramp,
    "reversed": lambda: ramp()[::-1],
    "big-endian": lambda: ramp().astype(">f8"),
    "masked": lambda: np.ma.masked_array(ramp(), ramp() > 2),
    "0-d": lambda: np.array(2),
    "text array": lambda: np.array(["a"]),
    "object array": lambda: np.array([None]),
    "tensor": lambda: torch.ones(3),
    "empty tensor": lambda: torch.empty(0),
    "nan tensor": lambda: torch.tensor([math.nan]),
    "int tensor": lambda: torch.tensor(2),
    "sparse tensor": lambda: torch.eye(3).to_sparse(),
    "sparse rows": lambda: torch.eye(3).to_sparse_csr(),
    "quantized tensor": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "meta tensor": lambda: torch.ones(3, device="meta"),
    "nested tensor": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "complex tensor": lambda: torch.ones(3) * 1j,
    "bfloat16 tensor": lambda: torch.ones(3, dtype=torch.bfloat16),
    "float8 tensor": lambda: torch.ones(3).to(torch.float8_e4m3fn),
    "uint64 tensor": lambda: torch.tensor([2**63], dtype=torch.uint64),
    "bool tensor": lambda: torch.ones(3, dtype=torch.bool),
    "uint64 array": lambda: np.array([2**64 - 1], np.uint64),
    "half array": lambda: np.ones(3, np.float16),
    "long double": lambda: np.longdouble("1e4000"),
    "record array": lambda: np.zeros(3, [("x", "f4")]),
    "dates": lambda: np.array(["2026-01-01"], "datetime64[D]"),
    "read-only array": lambda: np.broadcast_to(np.float32(1), (2, 128)),
    "fraction": lambda: Fraction(1, 3),
    "decimal": lambda: Decimal("0.1"),
    "colour": lambda: Colour.RED,
    "own mapping": lambda: MappingProxyType({"a": 1}),
    "own text": lambda: type("Own", (str,), {})("x"),
    "own number": lambda: type("Own", (int,), {})(3),
    "-0.0": lambda: -0.0,
    "subnormal": lambda: 5e-324,
    "surrogate": lambda: "\ud800",
    "right to left": lambda: "\u202ex",
    "path": lambda: Path("nonexistent"),
    "range": lambda: range(3),
    "set": lambda: {1},
    "generator": lambda: (i for i in range(2)),
}
"""What people hand over by mistake, made afresh for each case."""

NEVER = (
    "complex",
    "object",
    "no repr",
    "nested",
    "within itself",
    "number keys",
    "object array",
    "generator",
)
"""Labels of values that no option means: to accept one is to ignore it."""

CALLED = ("reward_fn", "constraint", "precode", "progress", "choose", "provenance", "training")
"""Keywords of functions: what somebody's own raises when it is called is a traceback of his own."""

THEIRS = {("gym.make", "render_mode"), ("gym.make", "max_episode_steps")}
"""Keywords that Gymnasium reads before this package does, with errors of its own."""


@cache
def source(split: str = "train") -> tosc_env.Source:
    return tosc_env.make_source("shapes", split=split, **SMALL)


@cache
def game(split: str = "train") -> tosc_env.Game:
    return tosc_env.Game(source(split))


@cache
def scheme() -> tosc_env.Pipeline:
    return tiny().eval()


def tiny() -> tosc_env.Pipeline:
    """A scheme of its own, that trains in no time."""
    sizes = {"stem": 4, "widths": (4, 8, 8), "blocks": (0, 0, 0), "receiver_width": 16, "receiver_depth": 1}
    return tosc_env.make_scheme("deepjscc", SPEC, **sizes)


def played(make: Callable[..., Any], **options: Any) -> None:
    """An environment, made, reset, stepped and closed."""
    env = make(**options)
    try:
        env.reset(seed=0)
        if hasattr(env, "action_space") and not callable(env.action_space):
            env.step(env.action_space.sample())
    finally:
        env.close()


def played_by(role: str) -> dict[str, Any]:
    """Who plays the other roles."""
    others = {} if role == "eavesdropper" else {"eavesdropper": "mean-image"}
    return {"role": role, "data_kwargs": SMALL, "scheme": scheme(), **others}


@cache
def role_env(role: str = "transmitter") -> Any:
    return gym.make(ID, disable_env_checker=True, **played_by(role)).unwrapped


@cache
def vector_env(role: str = "transmitter") -> Any:
    return gym.make_vec(ID, num_envs=2, **played_by(role))


@cache
def aec() -> Any:
    return tosc_env.aec_env(ID, data_kwargs=SMALL)


@cache
def parallel() -> Any:
    return tosc_env.parallel_env(ID, data_kwargs=SMALL)


FORMS = {"AecEnv": aec, "ParallelEnv": parallel}


def actions() -> dict[str, Any]:
    """What all agents of a pipelined environment may do."""
    image = np.ones((3, 32, 32), np.float32)
    return {"transmitter_0": np.ones(128, np.float32), "receiver_0": 1, "eavesdropper_0": image}


def view() -> tosc_env.View:
    threat = tosc_env.ThreatModel(candidate_queries=True, unkeyed_encoder=True, receptions=2)
    return tosc_env.View(game(), scheme(), threat, torch.Generator())


def stepped(env: Any) -> Callable[..., Any]:
    """A step after a reset."""

    def call(action: Any) -> None:
        env.reset(seed=0)
        env.step(action)

    return call


def parts() -> Iterator[tuple[str, tuple[Callable[..., Any], dict[str, Any], list[str]]]]:
    """Everything that is registered, with its own options."""
    makers: dict[str, Callable[..., Any]] = {
        "channel": tosc_env.make_channel,
        "scheme": lambda name, **options: tosc_env.make_scheme(name, SPEC, **options),
        "stage": lambda name, **options: tosc_env.make_stage({"name": name, **options}, SPEC),
        "eavesdropper": lambda name, **options: tosc_env.make_eavesdropper(name, SPEC, **options),
        "objective": lambda name, **options: tosc_env.make_objectives([{"name": name, **options}], SPEC)[0],
        "task": lambda name, **options: tosc_env.make_task(name, source(), **options),
        "reward": tosc_env.make_reward,
    }

    def plain(kind: str, name: str, **options: Any) -> None:
        made = makers[kind](name, **options)
        if isinstance(made, torch.nn.Module):  # a checkpoint holds its options
            json.dumps(made.options, allow_nan=False)

    network = [
        "stem",
        "widths",
        "blocks",
        "receiver_width",
        "receiver_depth",
        "told_snr_db",
        "sharpness",
        "told",
    ]
    for registry in (channels, schemes, stages, eavesdroppers, objectives, tasks, rewards):
        for name in registry:
            if not registry[name].__module__.startswith("tosc_"):
                continue  # another test's plug-in
            known = [
                p.name
                for p in inspect.signature(registry[name]).parameters.values()
                if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
                and p.name not in ("spec", "constellation", "source")
            ]
            if registry is schemes:
                known += [*network, "codewords", "dimension", "key", "stages"]
            door = lambda kind=registry.kind, name=name, **options: plain(kind, name, **options)  # noqa: E731
            usual = {"names": ["colour"]} if name == "attributes" else {}
            yield f"{registry.kind} {name}", (door, usual, list(dict.fromkeys(known)))


def doors() -> dict[str, tuple[Callable[..., Any], dict[str, Any], list[str]]]:
    """Each public callable by a name: what to call, keywords that work, and the keywords to try."""
    images, labels = np.zeros((6, 3, 8, 8), np.uint8), [0, 1, 2, 0, 1, 2]
    rules = [p for p in inspect.signature(tosc_env.GameConfig).parameters if p not in ("data", "data_kwargs")]
    players = ["scheme", "scheme_kwargs", "stages", "eavesdropper", "eavesdropper_kwargs"]
    environment = [
        *rules,
        *players,
        "data",
        "data_kwargs",
        "split",
        "device",
        "source",
        "attributes",
        "max_cycles",
    ]
    weights = next(Path(zoo.__file__).parent.rglob("deepjscc*.safetensors"))
    play = {"data_kwargs": SMALL, "max_cycles": 2}
    alone = {**play, "eavesdropper": "mean-image", "scheme": scheme()}

    def names(function: Callable[..., Any], *but: str) -> list[str]:
        return [name for name in inspect.signature(function).parameters if name not in ("options", *but)]

    return {
        "gym.make": (
            lambda **o: played(lambda **p: gym.make(ID, disable_env_checker=True, **p), **o),
            alone,
            [*environment, "role", "render_mode", "max_episode_steps"],
        ),
        "gym.make_vec": (
            lambda **o: played(lambda **p: gym.make_vec(ID, **{"num_envs": 2, **p}), **o),
            alone,
            [*environment, "role", "num_envs", "validate", "autoreset_mode"],
        ),
        "aec_env": (
            lambda **o: played(lambda **p: tosc_env.aec_env(**{"id": ID, **p}), **o),
            play,
            [*environment, "render_mode", "raw", "id"],
        ),
        "parallel_env": (
            lambda **o: played(lambda **p: tosc_env.parallel_env(**{"id": ID, **p}), **o),
            play,
            [*environment, "render_mode", "id"],
        ),
        "RoleEnv.reset": (role_env().reset, {}, ["seed", "options"]),
        **{
            f"RoleEnv.step as {role}": (stepped(role_env(role)), {"action": action}, ["action"])
            for role, action in (("receiver", 1), ("eavesdropper", np.ones((3, 32, 32), np.float32)))
        },
        **{
            f"VectorEnv.step as {role}": (stepped(vector_env(role)), {"action": action}, ["action"])
            for role, action in (("receiver", [1, 2]), ("eavesdropper", np.ones((2, 3, 32, 32), np.float32)))
        },
        **{f"{name}.reset": (env().reset, {}, ["seed", "options"]) for name, env in FORMS.items()},
        "AecEnv.step": (stepped(aec()), {"action": np.ones(128, np.float32)}, ["action"]),
        "ParallelEnv.step": (
            lambda **o: stepped(parallel())({**actions(), **o}),
            {},
            ["transmitter_0", "receiver_0", "eavesdropper_0"],
        ),
        "ParallelEnv.step(actions)": (stepped(parallel()), {"action": actions()}, ["action"]),
        **{
            f"View.{name}": (lambda name=name, **o: getattr(view(), name)(**o), {key: usual}, [key])
            for name, key, usual in (
                *(
                    (name, "index", torch.tensor([0, 1]))
                    for name in ("images", "labels", "symbols", "sample")
                ),
                ("sample_repeated", "index", torch.tensor([0])),
                ("unkeyed", "index", torch.tensor([0])),
                ("encode", "images", torch.zeros(2, 3, 32, 32)),
            )
        },
        "shift_transmitter_rewards": (
            lambda **o: tosc_env.shift_transmitter_rewards(**{"rewards": np.ones(3), **o}),
            {},
            names(tosc_env.shift_transmitter_rewards),
        ),
        "RoleEnv.step": (stepped(role_env()), {"action": np.ones(128, np.float32)}, ["action"]),
        "VectorEnv.reset": (vector_env().reset, {}, ["seed", "options"]),
        "VectorEnv.reset(reset_mask)": (
            lambda **o: vector_env().reset(options=o),
            {"reset_mask": np.ones(2, bool)},
            ["reset_mask"],
        ),
        "VectorEnv.step": (stepped(vector_env()), {"action": np.ones((2, 128), np.float32)}, ["action"]),
        "GameConfig": (
            lambda **o: tosc_env.GameConfig(**{"data": "shapes", "data_kwargs": SMALL, **o}).game(),
            {},
            [*rules, "data", "data_kwargs"],
        ),
        "Game": (lambda **o: tosc_env.Game(**{"source": source(), **o}), {}, [*rules, "source", "config"]),
        "Game.draw": (
            lambda **o: game().draw(**{"batch_size": 2, **o}),
            {},
            ["batch_size", "generator", "previous", "restart", "index"],
        ),
        "Game.transmit": (
            lambda **o: game().transmit(**{"round_": game().draw(2), "symbols": torch.ones(2, 128), **o}),
            {},
            ["symbols", "constraint", "precode", "round_"],
        ),
        "Game.score": (
            lambda **o: game().score(
                **{
                    "round_": game().draw(2),
                    "decision": torch.zeros(2),
                    "reconstructions": torch.zeros(2, 3, 32, 32),
                    **o,
                }
            ),
            {},
            ["decision", "reconstructions", "round_"],
        ),
        "Game.with_only": (game().with_only, {"node": "eavesdropper"}, ["node"]),
        "Source.from_arrays": (
            lambda **o: tosc_env.Source.from_arrays(
                **{"images": images, "labels": labels, "name": "mine", **o}
            ),
            {},
            names(tosc_env.Source.from_arrays),
        ),
        "Source.subset": (source().subset, {"index": [1, 2]}, ["index"]),
        "as_source": (
            lambda **o: tosc_env.as_source(**{"given": images, **o}),
            {},
            [*names(tosc_env.as_source, "facts"), "class_names", "device"],
        ),
        "make_source": (
            lambda **o: tosc_env.make_source(**{"name": "shapes", **SMALL, **o}),
            {},
            ["name", "split", "half", "device", "num_images", "size", "seed", "binary_attributes"],
        ),
        "make_scheme": (
            lambda **o: tosc_env.make_scheme(**{"scheme": "deepjscc", **o}),
            {},
            ["scheme", "spec", "stages", "key"],
        ),
        "make_stage": (
            lambda **o: tosc_env.make_stage(**{"stage": "keyed", "spec": SPEC, **o}),
            {},
            ["stage", "spec", "constellation"],
        ),
        "make_eavesdropper": (
            lambda **o: tosc_env.make_eavesdropper(**{"eavesdropper": "linear", "spec": SPEC, **o}),
            {},
            ["eavesdropper", "spec"],
        ),
        "make_channel": (tosc_env.make_channel, {}, ["channel"]),
        "make_task": (
            lambda **o: tosc_env.make_task(**{"task": "classification", "source": source(), **o}),
            {},
            ["task", "source"],
        ),
        "make_reward": (tosc_env.make_reward, {}, ["reward"]),
        "make_objectives": (
            lambda **o: tosc_env.make_objectives(**{"given": "task", "spec": SPEC, **o}),
            {},
            ["given", "spec"],
        ),
        "load_scheme": (
            lambda **o: tosc_env.load_scheme(**{"name": "deepjscc", "where": game(), **o}),
            {},
            names(tosc_env.load_scheme),
        ),
        "load_eavesdropper": (
            lambda **o: tosc_env.load_eavesdropper(**{"name": "inversion", "where": game(), **o}),
            {},
            names(tosc_env.load_eavesdropper),
        ),
        "load_checkpoint": (
            lambda **o: tosc_env.load_checkpoint(**{"path": weights, **o}),
            {},
            [*names(tosc_env.load_checkpoint), "options"],
        ),
        "save_checkpoint": (
            lambda **o: tosc_env.save_checkpoint(**{"path": "x.safetensors", "policy": scheme(), **o}),
            {},
            names(tosc_env.save_checkpoint),
        ),
        "ThreatModel": (
            lambda **o: json.dumps(tosc_env.ThreatModel(**o).plain(), allow_nan=False),
            {},
            names(tosc_env.ThreatModel),
        ),
        "Node": (
            lambda **o: json.dumps(tosc_env.Node(**{"name": "b", **o}).plain(), allow_nan=False),
            {},
            names(tosc_env.Node),
        ),
        "wiretap": (tosc_env.wiretap, {}, ["eavesdroppers", "antennas", "snr_db"]),
        "SystemSpec": (
            lambda **o: tosc_env.make_eavesdropper(
                "mean-image", tosc_env.SystemSpec(**{"image_shape": (3, 32, 32), "num_outputs": 10, **o})
            ),
            {},
            names(tosc_env.SystemSpec),
        ),
        "View": (
            lambda **o: tosc_env.View(
                **{
                    "game": game(),
                    "scheme": scheme(),
                    "threat": tosc_env.ThreatModel(),
                    "generator": torch.Generator(),
                    **o,
                }
            ),
            {},
            ["game", "scheme", "threat", "generator"],
        ),
        "Mixture": (
            lambda **o: tosc_env.Mixture(
                **{"schemes": [scheme()], "choose": lambda context: context.message[:, 0], **o}
            ),
            {},
            ["schemes", "choose", "stages"],
        ),
        "Pipeline": (
            lambda **o: tosc_env.Pipeline(**{"backbone": scheme().backbone, **o}),
            {},
            ["backbone", "stages", "name", "options"],
        ),
        "rollout": (
            lambda **o: next(
                iter(rollout(**{"game": game(), "scheme": scheme(), "generator": torch.Generator(), **o}))
            ),
            {"batch_size": 8},
            names(rollout),
        ),
        "evaluate": (
            lambda **o: evaluate(**{"game": game("test"), "scheme": scheme(), "attackers": {}, **o}),
            {"seeds": 1, "with_floors": False},
            names(evaluate),
        ),
        "fit_eavesdropper": (
            lambda **o: fit_eavesdropper(
                **{"eavesdropper": "mean-image", "game": game(), "scheme": scheme(), **o}
            ),
            {},
            [*names(fit_eavesdropper), "options"],
        ),
        "fit_scheme": (
            lambda **o: fit_scheme(
                **{"scheme": tiny(), "game": game(), "config": SchemeTraining(LoopConfig(epochs=1)), **o}
            ),
            {},
            names(fit_scheme, "state_path"),
        ),
        "fit_receiver": (
            lambda **o: fit_receiver(**{"scheme": tiny(), "game": game(), **o}),
            {"config": SchemeTraining(LoopConfig(epochs=1)), "copies": 1},
            names(fit_receiver, "state_path"),
        ),
        "SchemeTraining": (SchemeTraining, {}, names(SchemeTraining)),
        "LoopConfig": (LoopConfig, {}, names(LoopConfig)),
        "SecretKey": (SecretKey, {"value": "00" * 32}, ["value"]),
        "keystream": (
            lambda **o: keystream(
                **{
                    "key": SecretKey("00" * 32),
                    "context_environment": 0,
                    "message": torch.zeros(1, 5, dtype=torch.int64),
                    "words": 3,
                    "purpose": "x",
                    **o,
                }
            ),
            {},
            names(keystream),
        ),
        "constellation_points": (
            lambda **o: modulation.constellation_points(**{"name": "qpsk", **o}),
            {},
            ["name", "device"],
        ),
        "register_env": (
            lambda **o: tosc_env.register_env(**{"id": "ToSC-Odd-v0", "data_id": "shapes", **o}),
            {},
            ["id", "data_id"],
        ),
        **dict(parts()),
    }


def outcome(call: Callable[..., Any], options: dict[str, Any]) -> str:
    """What became of it: "accepted", "refused", or what is wrong with it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call(**options)
    except ToscError as error:
        text = str(error)
        if len(text) > LONGEST or len(text.splitlines()) > 1:
            return f"a sentence of {len(text)} characters: {text[:160]}"
        return "refused"
    except Exception as error:
        trace = inspect.trace()
        where = next((f for f in reversed(trace) if "site-packages" not in f.filename), trace[-1])
        return f"{type(error).__name__}: {str(error)[:100]!r} at {Path(where.filename).name}:{where.lineno}"
    return "accepted"


@contextmanager
def memory_limit(extra: int) -> Iterator[None]:
    """A context in which no more memory can be had than ``extra`` bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + extra, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def faults(seed: int, count: int | None) -> tuple[Counter[str], list[str]]:
    """How the cases ended that a seed draws (None: all), and what is wrong with some."""
    known = doors()
    cases = [(door, name, label) for door, (_, _, names) in known.items() for name in names for label in ODD]
    drawn = cases if count is None else random.Random(seed).sample(cases, count)
    ended, wrong = Counter[str](), []
    with memory_limit(MEMORY):
        for door, name, label in drawn:
            call, usual, _ = known[door]
            torch.manual_seed(0)
            if (door, name) in THEIRS or (name in CALLED and label in ("function", "class")):
                continue
            what = outcome(call, {**usual, name: ODD[label]()})
            ended[what if what in ("accepted", "refused") else "fault"] += 1
            if what not in ("accepted", "refused"):
                wrong.append(f"{door}({name}={label}): {what}")
            elif what == "accepted" and label in NEVER:
                wrong.append(f"{door}({name}={label}): accepted")
            gym.registry.pop("ToSC-Odd-v0", None)
    return ended, wrong


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit of memory is Linux's")
def test_every_keyword_of_every_door_takes_an_odd_value_or_says_so_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some odd values are names of files
    ended, wrong = faults(seed=0, count=TRIED)
    print(f"{ended.total()} tried: {dict(ended)}")
    assert not wrong, f"{len(wrong)} of {sum(ended.values())}:\n" + "\n".join(wrong)


def test_every_door_opens(tmp_path, monkeypatch):
    """Or else each odd value would be refused for another's sake."""
    monkeypatch.chdir(tmp_path)
    for door, (call, usual, _) in doors().items():
        assert outcome(call, usual) == "accepted", door
        gym.registry.pop("ToSC-Odd-v0", None)


def test_the_hunt_tells_a_traceback_and_a_long_sentence_from_an_answer():
    """Or else the test above would show nothing."""

    def tell(text):
        error = InputError(".")
        error.args = (text,)
        raise error

    assert outcome(check_positive, {"value": 1, "name": "x"}) == "accepted"
    assert outcome(check_positive, {"value": NoText(), "name": "x"}) == "refused"
    assert outcome(len, {}).startswith("TypeError")
    assert outcome(tell, {"text": "x" * 300}).startswith("a sentence of 300")
    assert outcome(tell, {"text": "a\nb"}).startswith("a sentence of 3")

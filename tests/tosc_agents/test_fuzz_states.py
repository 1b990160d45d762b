"""Odd values in every field of what an interrupted run or a finished job left: the right result, or one sentence."""

from __future__ import annotations

import copy
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from fakes import SMALL, FakeScheme
from tosc_agents.experiments.jobs import RESULT, Job, RunCache
from tosc_agents.learning.loop import LoopConfig
from tosc_agents.learning.state import load_state, save_state
from tosc_agents.training.fit_eavesdropper import fit_eavesdropper
from tosc_agents.training.fit_receiver import fit_receiver
from tosc_agents.training.fit_scheme import SchemeTraining, fit_scheme

import tosc_env
from tosc_env.errors import LONGEST, CheckpointError, DataError, ToscError
from tosc_env.identity import digest

CPU = torch.device("cpu")
TRIED = 600
"""Cases of each kind of state, drawn with a seed."""

ODD: dict[str, Callable[[Any], Any]] = {
    "gone": lambda old: ...,
    "None": lambda old: None,
    "True": lambda old: True,
    "-1": lambda old: -1,
    "0": lambda old: 0,
    "1.5": lambda old: 1.5,
    "huge": lambda old: 10**30,
    "nan": lambda old: math.nan,
    "inf": lambda old: math.inf,
    "text": lambda old: "x" * 1000,
    "list": lambda old: [],
    "nested": lambda old: [[[None]]],
    "dict": lambda old: {},
    "a dict": lambda old: {"a": 1},
    "tensor": lambda old: torch.zeros(3),
    "empty tensor": lambda old: torch.empty(0),
    "one more": lambda old: old + 1 if isinstance(old, int | float) else [old],
    "other shape": lambda old: old[None] if isinstance(old, torch.Tensor) else "\ud7ff",
    "other type": lambda old: old.double() if isinstance(old, torch.Tensor) else str(old),
    "not finite": lambda old: old * math.nan if isinstance(old, torch.Tensor) else -math.inf,
}
"""From what stands there to what is put in its place."""


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all parts of a tree."""
    if path:
        yield path
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from places(value, (*path, key))
    elif isinstance(tree, list | tuple):
        for place, value in enumerate(tree):
            yield from places(value, (*path, place))


def changed(tree: Any, path: tuple[Any, ...], odd: Callable[[Any], Any]) -> Any:
    """A copy of the tree with another value at a path."""
    tree = copy.deepcopy(tree)
    inner = tree
    for step in path[:-1]:
        inner = inner[step]
    value = odd(inner[path[-1]])
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return tree


def legal(path: tuple[Any, ...], label: str) -> bool:
    """Whether it is another state's value, and no odd one: whoever writes it with a digest of its own has made that
    state. A parameter without a gradient has no place in the optimizer's."""
    idle = len(path) == 3 and path[:2] == ("optimizer", "state") and label == "gone"
    looked = path[:1] == ("looks",) and len(path) == 2 and label in ("one more", "-1", "0", "1.5", "huge")
    return (path in (("epoch",), ("carried", "transmissions")) and label == "one more") or idle or looked


def cases(tree: Any, seed: int) -> list[tuple[tuple[Any, ...], str]]:
    every = [(path, label) for path in places(tree) for label in ODD if not legal(path, label)]
    return random.Random(seed).sample(every, min(TRIED, len(every)))


class Killed(BaseException):
    pass


def killed_late(done: int, total: int, figures: Any) -> None:
    """After the first of two epochs."""
    if done > 0.7 * total:
        raise Killed


def tiny() -> tosc_env.Pipeline:
    sizes = {"stem": 4, "widths": (4, 8), "blocks": (0, 0), "receiver_width": 8, "receiver_depth": 0}
    torch.manual_seed(0)
    return tosc_env.make_scheme("deepjscc", tosc_env.SystemSpec((3, 32, 32), 10), **sizes)


GAME = tosc_env.Game(tosc_env.make_source("shapes", **SMALL))
TWICE = SchemeTraining(LoopConfig(epochs=2, batch_size=32))
ADAM = SchemeTraining(LoopConfig(epochs=2, batch_size=32, optimizer="adamw", learning_rate=1e-3))


def trained(state, config, progress=None):
    scheme = tiny()
    figures = fit_scheme(scheme, GAME, config, state_path=state, progress=progress)
    return [figures, *scheme.state_dict().values()]


def receiving(state, progress=None):
    scheme = tiny()
    figures = fit_receiver(scheme, GAME, ADAM, copies=1, state_path=state, progress=progress)
    return [figures, *scheme.state_dict().values()]


def attacked(state, progress=None):
    options = {"steps": 150, "batch_size": 16, "width": 8, "depth": 0, "components": 4}
    attacker, record = fit_eavesdropper(
        "inversion-mlp", GAME, FakeScheme(), options=options, state_path=state, progress=progress
    )
    return [record["queries"], record["fit"], *attacker.state_dict().values()]


RUNS: dict[str, Callable[..., list[Any]]] = {
    "a scheme's training": lambda state, progress=None: trained(state, TWICE, progress),
    "one with Adam": lambda state, progress=None: trained(state, ADAM, progress),
    "a receiver's training": receiving,
    "an attack": attacked,
}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    return one == other


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNS)
def test_every_field_of_the_state_of_a_run(tmp_path, kind):
    """Written with a digest of its own, as by somebody who knows the format."""
    run, path = RUNS[kind], tmp_path / "a.run"
    wanted = run(None)
    with pytest.raises(Killed):
        run(path, killed_late)
    good = load_state(path, CPU)
    assert all(map(same, run(path), wanted)), "resumed"
    ended, wrong = Counter[str](), []
    for place, label in cases(good, seed=1):
        try:
            save_state(path, changed(good, place, ODD[label]))
        except (TypeError, ValueError, RuntimeError):
            continue  # no file could hold it
        what = outcome(lambda: run(path), CheckpointError, wanted)
        ended[what if what in ("right", "refused") else "fault"] += 1
        if what not in ("right", "refused"):
            wrong.append(f"{'/'.join(map(str, place))} = {label}: {what}")
    print(f"{kind}: {dict(ended)}")
    assert not wrong, f"{len(wrong)} of {ended.total()}:\n" + "\n".join(wrong)


def outcome(call: Callable[[], Any], allowed: type[ToscError], wanted: Any) -> str:
    try:
        found = call()
    except allowed as error:
        text = str(error)
        return "refused" if len(text) <= LONGEST and len(text.splitlines()) == 1 else f"told in {text[:99]!r}"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:120]!r}"
    return "right" if all(map(same, found, wanted)) else "another result"


@pytest.mark.slow
def test_any_byte_of_the_state_of_a_run(tmp_path):
    path = tmp_path / "a.run"
    run = RUNS["an attack"]
    wanted = run(None)
    with pytest.raises(Killed):
        run(path, killed_late)
    good, stream = path.read_bytes(), random.Random(2)
    for _ in range(200):
        place = stream.randrange(len(good))
        path.write_bytes(good[:place] + bytes([good[place] ^ 1 << stream.randrange(8)]) + good[place + 1 :])
        assert outcome(lambda: run(path), CheckpointError, wanted) in ("right", "refused"), place


def test_a_changed_weight_in_a_state_is_noticed(tmp_path):
    """A quick one of the above."""
    path = tmp_path / "a.run"
    with pytest.raises(Killed):
        attacked(path, killed_late)
    good = path.read_bytes()
    path.write_bytes(good[:-3] + bytes([good[-3] ^ 1]) + good[-2:])
    with pytest.raises(CheckpointError, match="not what was written"):
        attacked(path)
    state = load_state_of(good, tmp_path)
    for place, label in ((("looks",), "1.5"), (("optimizer", "param_groups", 0, "weight_decay"), "1.5")):
        save_state(path, changed(state, place, ODD[label]))
        with pytest.raises(CheckpointError, match=str(place[0])):
            attacked(path)


def load_state_of(content: bytes, folder) -> dict[str, Any]:
    (folder / "b.run").write_bytes(content)
    return load_state(folder / "b.run", CPU)


@pytest.mark.parametrize("seed", range(2))
def test_every_field_of_a_jobs_record(tmp_path, seed):
    made = []

    def work(cache, folder):
        made.append(1)
        (folder / "weights").write_bytes(b"w")
        figures = {"0": {"psnr_db": {"mean": 14.5, "interval95": None}}}
        return {
            "evaluation": {"accuracy": {"12": {"mean": 0.5}}, "leaks": {"linear": figures}},
            "bits": [1, 2.5],
        }

    cache = RunCache(tmp_path, quiet=True)
    bottom = Job("bottom", {"data": {"sha256": "a"}}, work)
    top = Job("top", {"x": 1}, lambda cache, folder: {"bits": cache.result(bottom)["bits"]}, (bottom,))
    cache.run([top])
    path = cache.folder_of(bottom) / RESULT
    good, wanted = path.read_text(), cache.result(bottom)
    ended = Counter[str]()
    record = json.loads(good)
    for place, label in cases(record, seed):
        try:
            path.write_text(json.dumps(changed(record, place, ODD[label])))
        except TypeError:
            continue

        def again():
            cache.run([top])
            return [cache.result(bottom), cache.file(bottom, "weights").read_bytes()]

        what = outcome(again, DataError, [wanted, b"w"])
        assert what in ("right", "refused"), (place, label, what)
        ended[what] += 1
    path.write_text(good)
    cache.run([top])
    assert len(made) == 1 and ended["refused"] > 0.9 * ended.total()


def test_a_record_with_a_digest_of_its_own_is_of_this_job_or_refused(tmp_path):
    """By somebody who knows the format: another job's result under this one's name."""
    cache = RunCache(tmp_path, quiet=True)
    job = Job("one", {"x": 1}, lambda cache, folder: {"value": 1})
    cache.run([job])
    path = cache.folder_of(job) / RESULT
    record = {k: v for k, v in json.loads(path.read_text()).items() if k != "sha256"}
    for place, label in cases({k: record[k] for k in ("identity", "files")}, 3):
        try:
            forged = changed(record, place, ODD[label])
            path.write_text(json.dumps({**forged, "sha256": digest(forged)}))
        except (TypeError, ValueError):
            continue
        assert outcome(lambda: [cache.result(job)], DataError, [{"value": 1}]) in ("right", "refused")
        assert outcome(lambda: cache.run([job]) or [], DataError, []) in ("right", "refused")

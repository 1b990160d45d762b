"""A cell is computed once: not again when it is finished, nor by two processes; what was finished survives."""

import json
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from tosc_agents.experiments.cells import RESULT, Cell, Store, order

from tosc_env.errors import DataError


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cells", quiet=True)


def counting(name, inputs, calls, needs=()):
    def work(work):
        calls.append(name)
        return {"name": name, "values": [work.result(need)["name"] for need in needs]}

    return Cell(name, inputs, work, needs)


def test_a_finished_cell_is_never_computed_again(store):
    calls = []
    first = counting("first", {"x": 1}, calls)
    second = counting("second", {}, calls, (first,))
    store.run([second])
    store.run([second, first])
    assert calls == ["first", "second"]
    assert store.result(second) == {"name": "second", "values": ["first"]}


@pytest.mark.parametrize("changed", ["own", "needed"])
def test_other_inputs_are_another_cell(store, changed):
    calls = []

    def chain(own, needed):
        return counting("top", {"x": own}, calls, (counting("bottom", {"x": needed}, calls),))

    store.run([chain(1, 1)])
    calls.clear()
    store.run([chain(2, 1) if changed == "own" else chain(1, 2)])
    assert calls == (["top"] if changed == "own" else ["bottom", "top"])
    assert store.finished(chain(1, 1))  # nothing is lost


def test_needs_come_first_and_each_once():
    bottom = Cell("bottom", {}, lambda work: {})
    left, right = (Cell(name, {}, lambda work: {}, (bottom,)) for name in ("left", "right"))
    top = Cell("top", {}, lambda work: {}, (left, right))
    assert [cell.name for cell in order([top, left])] == ["bottom", "left", "right", "top"]


def test_a_failure_keeps_what_was_finished(store):
    calls = []
    first = counting("first", {}, calls)

    def fail(work):
        raise DataError("no data")

    broken = Cell("broken", {}, fail, (first,))
    with pytest.raises(DataError, match="no data"):
        store.run([broken])
    assert store.finished(first) and not store.finished(broken)
    store.run([Cell("broken", {}, lambda work: {"mended": True}, (first,))])
    assert calls == ["first"]


def test_a_record_says_how_it_was_made(store):
    cell = Cell("one", {"epochs": 3}, lambda work: {"value": 1.5})
    store.run([cell])
    record = store.record(cell)
    assert record["inputs"] == {"epochs": 3} and record["result"] == {"value": 1.5}
    assert record.keys() >= {"seconds", "commit", "device", "threads", "torch", "needs"}


def test_a_damaged_result_and_a_lost_file_are_named(store):
    cell = Cell("one", {}, lambda work: {"value": 1})
    with pytest.raises(DataError, match="one is not finished"):
        store.result(cell)
    store.run([cell])
    user = Cell("user", {}, lambda work: {"path": str(work.file(cell, "weights"))}, (cell,))
    with pytest.raises(DataError, match="weights is gone"):
        store.run([user])
    (store.folder_of(cell) / RESULT).write_text('{"resul')
    with pytest.raises(DataError, match="is damaged"):
        store.result(cell)


SCRIPT = """
    import sys, time
    from pathlib import Path
    from tosc_agents.experiments.cells import Cell, Store

    folder, pause = Path(sys.argv[1]), float(sys.argv[2])

    def make(name, needs=()):
        def work(work):
            with open(folder / "log", "a") as log:
                log.write(name + "\\n")
            time.sleep(pause)
            return {"name": name}
        return Cell(name, {}, work, needs)

    ground = make("ground")
    Store(folder / "cells", quiet=True).run([make(f"cell{i}", (ground,)) for i in range(6)])
"""


def start(tmp_path, pause):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    return subprocess.Popen([sys.executable, str(script), str(tmp_path), str(pause)])


def test_two_processes_share_one_folder(tmp_path):
    both = [start(tmp_path, 0.2) for _ in range(2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    done = sorted((tmp_path / "log").read_text().split())
    assert done == sorted(["ground", *(f"cell{i}" for i in range(6))])


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    process = start(tmp_path, 60)
    deadline = time.monotonic() + 60
    while not (tmp_path / "log").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    ground = Cell("ground", {}, lambda work: {"name": "ground"})
    store = Store(tmp_path / "cells", quiet=True)
    assert not store.finished(ground)
    store.run([ground])
    assert json.loads((store.folder_of(ground) / RESULT).read_text())["cell"] == "ground"

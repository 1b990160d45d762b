"""A job is computed once: not again when it is finished, nor by two processes; what was finished survives."""

import json
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from tosc_agents.experiments.jobs import RESULT, Job, RunCache, order

from tosc_env.errors import DataError


@pytest.fixture
def cache(tmp_path):
    return RunCache(tmp_path / "jobs", quiet=True)


def counting(name, inputs, calls, needs=()):
    def work(cache, folder):
        calls.append(name)
        return {"name": name, "values": [cache.result(need)["name"] for need in needs]}

    return Job(name, inputs, work, needs)


def test_a_finished_job_is_never_computed_again(cache):
    calls = []
    first = counting("first", {"x": 1}, calls)
    second = counting("second", {}, calls, (first,))
    cache.run([second])
    cache.run([second, first])
    assert calls == ["first", "second"]
    assert cache.result(second) == {"name": "second", "values": ["first"]}


@pytest.mark.parametrize("changed", ["own", "needed"])
def test_other_inputs_are_another_job(cache, changed):
    calls = []

    def chain(own, needed):
        return counting("top", {"x": own}, calls, (counting("bottom", {"x": needed}, calls),))

    cache.run([chain(1, 1)])
    calls.clear()
    cache.run([chain(2, 1) if changed == "own" else chain(1, 2)])
    assert calls == (["top"] if changed == "own" else ["bottom", "top"])
    assert cache.finished(chain(1, 1))  # nothing is lost


def test_needs_come_first_and_each_once():
    bottom = Job("bottom", {}, lambda cache, folder: {})
    left, right = (Job(name, {}, lambda cache, folder: {}, (bottom,)) for name in ("left", "right"))
    top = Job("top", {}, lambda cache, folder: {}, (left, right))
    assert [job.name for job in order([top, left])] == ["bottom", "left", "right", "top"]


def test_a_failure_keeps_what_was_finished(cache):
    calls = []
    first = counting("first", {}, calls)

    def fail(cache, folder):
        raise DataError("no data")

    broken = Job("broken", {}, fail, (first,))
    with pytest.raises(DataError, match="no data"):
        cache.run([broken])
    assert cache.finished(first) and not cache.finished(broken)
    cache.run([Job("broken", {}, lambda cache, folder: {"mended": True}, (first,))])
    assert calls == ["first"]


def test_a_record_says_how_it_was_made(cache):
    job = Job("one", {"epochs": 3}, lambda cache, folder: {"value": 1.5})
    cache.run([job])
    record = cache.record(job)
    assert record["identity"]["inputs"] == {"epochs": 3} and record["result"] == {"value": 1.5}
    assert record.keys() >= {"seconds", "commit", "device", "threads", "torch", "identity"}


def test_a_damaged_result_and_a_lost_file_are_named(cache):
    job = Job("one", {}, lambda cache, folder: {"value": 1})
    with pytest.raises(DataError, match="one is not finished"):
        cache.result(job)
    cache.run([job])
    user = Job("user", {}, lambda cache, folder: {"path": str(cache.file(job, "weights"))}, (job,))
    with pytest.raises(DataError, match="weights is gone"):
        cache.run([user])
    (cache.folder_of(job) / RESULT).write_text('{"resul')
    with pytest.raises(DataError, match="is damaged"):
        cache.result(job)


def test_a_job_that_is_made_anew_says_what_differs_first(tmp_path, capsys):
    cache = RunCache(tmp_path)
    data = {"data": {"sha256": "a" * 64, "images": 6}}
    cache.run([counting("one", {"x": 1, **data}, [])])
    cache.run([counting("one", {"x": 1, **data}, [])])
    assert "made anew" not in capsys.readouterr().out
    cache.run([counting("one", {"x": 1, "data": {"sha256": "b" * 64, "images": 6}}, [])])
    assert "one is made anew: inputs.data.sha256 was" in capsys.readouterr().out
    cache.run([counting("one", {"x": 2, "data": {"sha256": "c" * 64, "images": 6}}, [])])
    assert "one is made anew: inputs.x was 1 in one-" in capsys.readouterr().out


def test_a_finished_job_whose_result_or_files_were_changed_is_refused(cache):
    def work(cache, folder):
        (folder / "weights").write_bytes(b"one")
        return {"value": 0.5, "of": [1, None]}

    job = Job("one", {"x": 1}, work)
    cache.run([job])
    path, file = cache.folder_of(job) / RESULT, cache.folder_of(job) / "weights"
    good = path.read_text()
    for old, new in (
        ("0.5", "0.6"),
        ('"x": 1', '"x": 2'),
        ("null", "1"),
        ('"device": "cpu"', '"device": "gpu"'),
    ):
        assert old in good
        path.write_text(good.replace(old, new, 1))
        with pytest.raises(DataError, match="is damaged"):
            cache.run([job])
    path.write_text(good)
    cache.run([job])
    file.write_bytes(b"two")
    with pytest.raises(DataError, match="weights is not what the job has left"):
        cache.run([job])
    file.unlink()
    with pytest.raises(DataError, match="weights is gone"):
        cache.run([job])


SCRIPT = """
    import sys, time
    from pathlib import Path
    from tosc_agents.experiments.jobs import Job, RunCache

    folder, pause = Path(sys.argv[1]), float(sys.argv[2])

    def make(name, needs=()):
        def work(cache, own):
            with open(folder / "log", "a") as log:
                log.write(name + "\\n")
            time.sleep(pause)
            return {"name": name}
        return Job(name, {}, work, needs)

    ground = make("ground")
    RunCache(folder / "jobs", quiet=True).run([make(f"job{i}", (ground,)) for i in range(6)])
"""


def start(tmp_path, pause):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    return subprocess.Popen([sys.executable, str(script), str(tmp_path), str(pause)])


@pytest.mark.slow
def test_two_processes_share_one_folder(tmp_path):
    both = [start(tmp_path, 0.2) for _ in range(2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    done = sorted((tmp_path / "log").read_text().split())
    assert done == sorted(["ground", *(f"job{i}" for i in range(6))])


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    process = start(tmp_path, 60)
    deadline = time.monotonic() + 60
    while not (tmp_path / "log").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    ground = Job("ground", {}, lambda cache, folder: {"name": "ground"})
    cache = RunCache(tmp_path / "jobs", quiet=True)
    assert not cache.finished(ground)
    cache.run([ground])
    assert json.loads((cache.folder_of(ground) / RESULT).read_text())["job"] == "ground"

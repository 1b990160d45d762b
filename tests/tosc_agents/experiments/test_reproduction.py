"""``tosc reproduce`` from training to report, tiny: everything is done once, and the report says what was found."""

import json

import pytest
from command_line import slip
from tiny_preset import tiny
from tosc_agents.commands.reproduce import parse_given
from tosc_agents.experiments import reproduction
from tosc_agents.experiments.jobs import Job, RunCache
from tosc_agents.experiments.measurements import read
from tosc_agents.experiments.report import Section, Table
from tosc_agents.experiments.reproduction import EXPERIMENTS, Reproduction
from tosc_agents.experiments.systems import SCHEME

from tosc_env.errors import DataError, InputError

METHODS = ("deepjscc", "enc-rotation")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reproduction")
    whole = Reproduction(tiny(), methods=METHODS)
    cache = RunCache(folder / "jobs", quiet=True)
    cache.run(whole.jobs("all"))
    return whole, cache, folder, whole.report(cache, folder)


def test_the_report_holds_every_experiment_and_all_eight_claims(made):
    _, _, folder, paths = made
    assert {path.name for path in paths} == {"report.html", "report.md", "results.json", "results.csv"}
    record, table = json.loads((folder / "results.json").read_text()), read(folder / "results.csv")
    assert set(record["sections"]) == set(table.experiment) == set(EXPERIMENTS)
    assert len(record["claims"]) == 8
    measured = table[(table.experiment == "fig3") & table.snr_db.notna()]
    assert set(measured.method) == set(METHODS)
    assert {"accuracy", "psnr_db", "reid_query"} <= set(measured.metric) and set(measured.seed) == {0}
    page = (folder / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page
    assert "DeepJSCC" in page and "data:image/png;base64," in page


def test_nothing_is_computed_twice(made):
    whole, cache, _, _ = made
    before = {path: path.stat().st_mtime_ns for path in cache.folder.glob("*/result.json")}
    again = Reproduction(tiny(), methods=METHODS)
    cache.run(again.jobs("all"))
    assert {path: path.stat().st_mtime_ns for path in cache.folder.glob("*/result.json")} == before
    assert len(before) == len({job.slug for job in whole.jobs("all")} | _needs(whole.jobs("all")))


def _needs(jobs):
    return {slug for job in jobs for slug in ({n.slug for n in job.needs} | _needs(job.needs))}


def test_what_is_not_finished_is_named_and_not_drawn(made, tmp_path):
    whole = made[0]
    part = RunCache(tmp_path / "jobs", quiet=True)
    with pytest.raises(DataError, match="nothing is finished"):
        whole.report(part, tmp_path)
    fig3 = whole.experiment("fig3")
    part.run(fig3.jobs[:2])
    whole.report(part, tmp_path)
    missing = json.loads((tmp_path / "results.json").read_text())["missing"]
    assert any(name.startswith("attack-deepjscc-linear") for name in missing["fig3"])
    assert set(missing) == set(EXPERIMENTS)
    table = read(tmp_path / "results.csv")
    assert set(table[table.metric == "accuracy"].method) == {"deepjscc"} and set(table.experiment) == {"fig3"}
    assert "fig3, table2, fig4, table1: what is missing" in (tmp_path / "report.html").read_text()


def test_an_experiment_is_a_class_and_an_entry(monkeypatch, tmp_path):
    class Mine:
        jobs = (Job("mine-count", {}, lambda cache, folder: {"count": 7}),)

        def __init__(self, preset, methods):
            pass

        def rows(self, cache):
            value = cache.result(self.jobs[0])["count"]
            return [{"experiment": "mine", "method": "lbvq", "metric": "count", "value": value}]

        def section(self, cache, folder):
            return Section("My experiment", "no data")

        @staticmethod
        def show(table, folder):
            return [], [Table("Mine", table[["method", "value"]].astype(str))]

    monkeypatch.setattr(reproduction, "EXPERIMENTS", {"mine": Mine})
    whole, cache = Reproduction(tiny()), RunCache(tmp_path / "jobs", quiet=True)
    cache.run(whole.jobs("mine"))
    whole.report(cache, tmp_path)
    assert "| lbvq | 7.0 |" in (tmp_path / "report.md").read_text()
    assert read(tmp_path / "results.csv").value.tolist() == [7.0]


def test_a_checkpoint_that_nothing_takes_is_refused(made):
    whole, cache, _, _ = made
    file = cache.folder_of(whole.preset.images.training("baseline")) / SCHEME
    unused = Reproduction(tiny(), methods=METHODS, given={("images", "baseline", 5): file})
    with pytest.raises(InputError, match="no job takes the training baseline:5"):
        unused.jobs("fig3")


def test_an_output_that_cannot_be_written_is_one_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    told = slip(capsys, "reproduce", "fig3", "--methods", "deepjscc", "--output", tmp_path / "file")
    assert "is no folder" in told and (tmp_path / "file").read_text() == "mine"


def test_bad_arguments_are_named():
    with pytest.raises(InputError, match="'lbvc'"):
        Reproduction(tiny(), methods=("lbvc",))
    with pytest.raises(InputError, match="'ibla'"):
        Reproduction(tiny(), given=parse_given(("ibla=a.safetensors",)))
    for bad in ("lbvq", "lbvq=", "=a", "lbvq:x=a", "lbvq:=a"):
        with pytest.raises(InputError, match="takes TRAINING=FILE"):
            parse_given((bad,))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--methods", "nobody"], "nobody"),
        (["--trainings", "0"], "trainings must be at least 1, not 0"),
        (["--use", "lbvq"], "TRAINING=FILE"),
        (["--use", "lbvq=/none.safetensors"], "cannot read /none.safetensors"),
        (["--use", "lbvq=a", "lbvq:0=b"], "--use names lbvq:0 twice"),
        (["--use", "baseline:1=a"], "cannot read a"),
        (["--only-report"], "nothing is finished"),
    ],
)
def test_a_slip_on_the_command_line_is_one_sentence(tmp_path, capsys, arguments, told):
    assert told in slip(capsys, "reproduce", "fig3", "--output", tmp_path / "out", *arguments)

"""``tosc reproduce`` from training to report, tiny: everything is done once, and the report says what was found."""

import json

import pytest
from command_line import slip
from tiny_preset import tiny
from tosc_agents.commands.reproduce import parse_given
from tosc_agents.experiments.cells import Store
from tosc_agents.experiments.reproduction import EXPERIMENTS, Reproduction
from tosc_agents.experiments.trainings import SCHEME

from tosc_env.errors import DataError, InputError

ARMS = ("deepjscc", "enc-rotation")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reproduction")
    whole = Reproduction(tiny(), arms=ARMS)
    store = Store(folder / "cells", quiet=True)
    store.run(whole.cells("all"))
    return whole, store, folder, whole.report(store, folder)


def test_the_report_holds_every_experiment_and_all_eight_statements(made):
    _, _, folder, paths = made
    assert {path.name for path in paths} == {"report.html", "report.md", "results.json", "results.csv"}
    found = {one["experiment"]: one for one in json.loads((folder / "results.json").read_text())["findings"]}
    assert set(found) == {"statements", *EXPERIMENTS}
    assert len(found["statements"]["tables"][0]["rows"]) == 8
    arms = {row["arm"] for row in found["fig3"]["rows"]}
    assert arms == set(ARMS)
    assert {"accuracy", "psnr_db", "reid_query"} <= {row["figure"] for row in found["fig3"]["rows"]}
    page = (folder / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page
    assert "DeepJSCC" in page and "data:image/png;base64," in page


def test_nothing_is_computed_twice(made):
    whole, store, _, _ = made
    before = {path: path.stat().st_mtime_ns for path in store.folder.glob("*/result.json")}
    again = Reproduction(tiny(), arms=ARMS)
    store.run(again.cells("all"))
    assert {path: path.stat().st_mtime_ns for path in store.folder.glob("*/result.json")} == before
    assert len(before) == len({cell.slug for cell in whole.cells("all")} | _needs(whole.cells("all")))


def _needs(cells):
    return {slug for cell in cells for slug in ({n.slug for n in cell.needs} | _needs(cell.needs))}


def test_what_is_not_finished_is_named_and_not_drawn(made, tmp_path):
    whole = made[0]
    part = Store(tmp_path / "cells", quiet=True)
    with pytest.raises(DataError, match="nothing is finished"):
        whole.report(part, tmp_path)
    first = whole.fig3.cells[:2]
    part.run(first)
    found = whole.findings(part, tmp_path)
    assert [one.experiment for one in found] == ["statements", "fig3"]
    assert any("Not finished" in note and "attack-deepjscc-linear" in note for note in found[1].notes)
    assert {row.arm for row in found[1].rows} == {"deepjscc"}


def test_a_checkpoint_that_nothing_takes_is_refused(made):
    whole, store, _, _ = made
    file = store.folder_of(whole.images.training("baseline")) / SCHEME
    unused = Reproduction(tiny(), arms=ARMS, given={("images", "baseline", 5): file})
    with pytest.raises(InputError, match="no cell takes the training baseline:5"):
        unused.cells("fig3")


def test_an_output_that_cannot_be_written_is_one_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    told = slip(capsys, "reproduce", "fig3", "--arms", "deepjscc", "--output", tmp_path / "file")
    assert "cannot write" in told and (tmp_path / "file").read_text() == "mine"


def test_bad_arguments_are_named():
    with pytest.raises(InputError, match="'lbvc'"):
        Reproduction(tiny(), arms=("lbvc",))
    with pytest.raises(InputError, match="'ibla'"):
        Reproduction(tiny(), given=parse_given(("ibla=a.safetensors",)))
    for bad in ("lbvq", "lbvq=", "=a", "lbvq:x=a", "lbvq:=a"):
        with pytest.raises(InputError, match="takes TRAINING=FILE"):
            parse_given((bad,))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--arms", "nobody"], "nobody"),
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

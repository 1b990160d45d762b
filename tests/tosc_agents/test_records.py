"""Results say how they were obtained, and JSON, CSV and Markdown agree with one another."""

from __future__ import annotations

import csv
import json
import math
import re
import subprocess
from dataclasses import replace

import pytest
import torch
from tosc_agents import records
from tosc_agents.records import HEADINGS, markdown, print_evaluation, provenance, rows, write_csv, write_json
from tosc_agents.training.evaluate import Evaluation, Figure

from tosc_env.data import make_source
from tosc_env.game import GameConfig


@pytest.fixture
def evaluation():
    leak = {"psnr_db": Figure(14.25, 0.125), "reid_pixels": Figure(0.5, math.nan), "ssim": Figure(0.3, 0.01)}
    return Evaluation(
        accuracy={12.0: Figure(0.875, 0.01)},
        leaks={"linear": {0.0: leak, 12.5: leak}, "match": {0.0: {"reid_match": Figure(0.25, 0.02)}}},
        floors={"mean-image": {"psnr_db": 12.75, "ssim": 0.125}},
        images=100,
        seeds=3,
        candidates=100,
    )


def test_provenance_names_data_device_versions_and_commit():
    source = make_source("shapes", num_images=20, size=16)
    record = provenance(source, torch.device("cpu"))
    assert record["data"] == {
        "name": "shapes",
        "provenance": source.provenance,
        "images": 20,
        "sha256": source.sha256,
    }
    assert record["device"] == "cpu" and record["torch"] == torch.__version__ and record["threads"] == 1
    assert re.fullmatch(r"[0-9a-f]{7,}(-dirty)?|unknown|.*-g[0-9a-f]+(-dirty)?", record["commit"])
    json.dumps(record)


@pytest.mark.parametrize("error", [FileNotFoundError("git"), subprocess.CalledProcessError(128, "git")])
def test_outside_of_a_checkout_the_commit_is_unknown(monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(records.subprocess, "run", fail)
    assert records.commit() == "unknown"


def test_a_row_has_the_receivers_snr_and_its_accuracy_there(evaluation):
    paired = replace(evaluation, receiver_snr_db={0.0: 12.0})
    assert [(r["snr_db"], r.get("accuracy")) for r in rows(paired)] == [
        (12.0, 0.875),
        (12.5, None),
        (12.0, 0.875),
    ]
    (alone,) = rows(replace(evaluation, leaks={}))
    assert (alone["attacker"], alone["snr_db"], alone["accuracy"]) == ("", 12.0, 0.875)


@pytest.mark.parametrize("name", ["=cmd()", "+1", "-1", "@x", "\t=1", " =1", "\n=1", "＝1"])
def test_no_name_in_a_csv_is_a_formula(tmp_path, name):
    write_csv(tmp_path / "r.csv", [{"attacker": name, "gap": -0.5, name: 1}])
    with open(tmp_path / "r.csv", newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["attacker", "gap", f"'{name}"], [f"'{name}", "-0.5", "1"]]


def test_what_is_not_finite_is_null_in_json(tmp_path):
    write_json(tmp_path / "r.json", {"a": [math.nan, (1.0, -math.inf)], "b": {"c": math.nan}})
    assert json.loads((tmp_path / "r.json").read_text()) == {"a": [None, [1.0, None]], "b": {"c": None}}


def test_csv_and_json_hold_the_same_numbers(evaluation, tmp_path):
    write_csv(tmp_path / "r.csv", rows(evaluation))
    write_json(tmp_path / "r.json", evaluation.plain())
    with open(tmp_path / "r.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    record = json.loads((tmp_path / "r.json").read_text())
    assert len(table) == 3 and table[2]["psnr_db"] == ""
    for row in table:
        leak = record["leaks"][row["attacker"]][f"{float(row['eavesdropper_snr_db']):g}"]
        for figure, value in leak.items():
            assert float(row[figure]) == value["mean"]
    assert record["leaks"]["linear"]["0"]["reid_pixels"]["interval95"] is None
    assert record["test_images"] == 100 and record["seeds_vary"] == "channel noise only"


def test_every_form_says_among_how_many_candidates(evaluation, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "160")
    fewer = replace(evaluation, candidates=1750)
    print_evaluation("deepjscc", fewer, "A note.")
    records.write_results(tmp_path, {}, fewer, "A note.", "deepjscc")
    for text in (capsys.readouterr().out, (tmp_path / "results.md").read_text()):
        assert "among 1,750 candidates" in " ".join(text.split())
    with open(tmp_path / "results.csv", newline="", encoding="utf-8") as file:
        assert {row["candidates"] for row in csv.DictReader(file)} == {"1750"}
    (alone,) = rows(replace(evaluation, leaks={}))
    assert "candidates" not in alone


def tables(text):
    """The tables of a Markdown text, each a list of rows of cells."""
    parts = [part.splitlines() for part in text.strip().split("\n\n")]
    return [[[cell.strip() for cell in line.strip("|").split("|")] for line in part] for part in parts]


def test_the_markdown_tables_are_rectangular_and_hold_figures_intervals_and_floors(evaluation):
    accuracy, leaks = tables(markdown(evaluation))
    for table in (accuracy, leaks):
        assert len({len(row) for row in table}) == 1
    assert accuracy[0] == ["SNR", "12 dB"] and "87.50" in accuracy[2][1] and "1.00" in accuracy[2][1]
    assert len(leaks[0]) == 2 + len(HEADINGS) and len(leaks) == 2 + 3 + 1
    first = dict(zip(leaks[0], leaks[2], strict=True))
    assert first["attacker"] == "linear" and first["SNR dB"] == "0"
    assert "14.25" in first["PSNR dB"] and "0.12" in first["PSNR dB"] and first["re-id pixels"] == "50.0%"
    assert leaks[3][1] == "12.5" and "25.0" in leaks[4][6]
    assert "mean-image (floor)" in leaks[5][0] and leaks[5][2] == "12.75"


@pytest.mark.parametrize("with_accuracy", [True, False])
def test_the_printed_table_says_the_same(evaluation, capsys, monkeypatch, with_accuracy):
    monkeypatch.setenv("COLUMNS", "160")
    if not with_accuracy:
        evaluation.accuracy.clear()
    print_evaluation("deepjscc", evaluation, "100 images.")
    told = capsys.readouterr().out
    for part in ("deepjscc", "14.25", "50.0%", "25.0%", "12.75", "100 images."):
        assert part in told
    assert ("87.5% at 12 dB" in told) == with_accuracy


@pytest.mark.parametrize("name", ["[/bold]", "[32,64]", ":key:", "<b>|x</b>", "a\nb"])
def test_what_strangers_named_is_text_in_the_terminal_and_in_markdown(evaluation, capsys, tmp_path, name):
    evaluation.leaks[name] = evaluation.leaks.pop("linear")
    print_evaluation(name, evaluation, name)
    assert capsys.readouterr().out.count(name) >= 2 or "\n" in name
    records.write_results(tmp_path, {}, evaluation, name, name)
    text = (tmp_path / "results.md").read_text()
    assert ("<b>" not in text and text.count(name.replace("<", "&lt;")) >= 2) or "\n" in name
    assert len({line.replace("\\|", "").count("|") for line in text.splitlines()[6:-2] if line}) == 1


# -- settings ---------------------------------------------------------------------------------------


def test_the_usual_task_of_a_data_set_is_written_out():
    assert GameConfig("shapes").task == "classification"
    faces = GameConfig("celeba")
    assert faces.task == "attributes" and faces.task_kwargs == {"names": ["Mustache", "Smiling", "Wavy_Hair"]}
    smiling = {"names": ["Smiling"]}
    assert GameConfig("celeba", task="attributes", task_kwargs=smiling).task_kwargs == smiling


def test_a_name_that_is_no_text_is_written_in_escapes(tmp_path):
    """Such as Linux lets a folder have: half a character."""
    name = b"caf\xe9".decode(errors="surrogateescape")
    write_json(tmp_path / "a.json", {name: "ü"})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {name: "ü"}
    write_csv(tmp_path / "a.csv", [{"class": name}])
    assert r"caf\udce9" in (tmp_path / "a.csv").read_text(encoding="utf-8")

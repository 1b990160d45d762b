"""The published tables are made from the records, and the records can be made again."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path

import pytest

RESULTS = Path(__file__).parents[2] / "docs" / "results"


@pytest.fixture(scope="module")
def tables():
    spec = importlib.util.spec_from_file_location("tables", RESULTS / "tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_records_say(tables):
    assert (RESULTS / "attackers.md").read_text(encoding="utf-8") == tables.page()


def test_each_record_is_small_whole_and_has_its_command(tables):
    commands = (RESULTS / "attacks.sh").read_text()
    for name, record in tables.records().items():
        assert f"attack {name.removesuffix('-' + record['data'])} " in commands, name
        text = (RESULTS / "records" / f"{name}.json").read_text(encoding="utf-8")
        assert text == tables.dumped(record) and len(text) < 12_000, name
        assert record["attackers"] and all(one["seconds"] >= 0 for one in record["attackers"].values()), name


def test_no_figure_exceeds_what_is_proven(tables):
    """Law: no attacker whatever gains more bits than the proof allows, but for the chance of the draw."""
    bounded = 0
    for name, record in tables.records().items():
        bound = tables.proven(record)
        for who, one in record["attackers"].items():
            for kind, curve in one.get("bits", {}).items():
                for size, bits in curve.items() if bound else ():
                    # A share p of `test_images` messages lies within 4 of its deviations of what is true.
                    true = 2 ** bound(int(size), kind) / int(size)
                    most = true + 4 * math.sqrt(true * (1 - true) / record["test_images"])
                    assert 2**bits / int(size) <= most * 1.01, (name, who, kind, size)
                    bounded += 1
    assert bounded > 100


def test_a_record_is_made_of_what_an_attack_wrote(tables, tmp_path):
    figures = {
        "psnr_db": {"mean": 14.12345, "interval95": None},
        "reid_pixels": {"mean": 0.5, "interval95": None},
    }
    fit = {
        "images": 8,
        "steps": 7,
        "stopped_by": "limit",
        "held_out_psnr_db": 14.0,
        "rise_per_100_steps": 0.5,
    }
    whole = {
        "system": {
            "scheme": "encryption",
            "options": {"mode": "rotation", "lifetime": "per_message"},
            "stages": [],
        },
        "attacked": {"setting": {"data": "shapes", "channel": "awgn"}},
        "threat_model": {"images": "other-half"},
        "guarantee": None,
        "commit": "abc",
        "attackers": {"inversion": {"fit": fit, "seconds": 1.5}},
        "curves": {"inversion": {"overall": {"16": 0.5}, "within_class": {}}},
        "results": {
            "accuracy": {"12": {"mean": 0.9, "interval95": 0.01}},
            "leaks": {"inversion": {"12": figures}},
            "floors": {"mean-image": {"psnr_db": 12.5}},
            "test_images": 16,
            "candidates": 16,
            "seeds": 1,
        },
    }
    (tmp_path / "results.json").write_text(json.dumps(whole))
    record = tables.record_of(tmp_path)
    assert record["attackers"]["inversion"] == {
        "psnr_db": 14.1234,
        "reid_pixels": 0.5,
        "held_out_psnr_db": 14.0,
        "steps": 7,
        "stopped_by": "limit",
        "rise_per_100_steps": 0.5,
        "seconds": 1.5,
        "bits": {"overall": {16: 3.0}, "within_class": {}},
    }
    assert tables.proven(record)(16, "overall") == 0.0
    assert json.loads(tables.dumped(record))["snr_db"] == 12.0

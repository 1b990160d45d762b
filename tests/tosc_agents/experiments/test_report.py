"""A report says first what a reader wants to know, says everything, fetches nothing, and shows no face unasked."""

from __future__ import annotations

import base64
import csv
import json
import math
import re
import sys
from html.parser import HTMLParser

import pandas as pd
import pytest
from tosc_agents.experiments.measurements import frame, read
from tosc_agents.experiments.report import LEFT_OUT, Plot, Section, Table, write_report

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>evil()</script><text>"&gt;</text></svg>'
NASTY = '<script>alert("1")</script> & a|b *c*'
PROVENANCE = {"data": f"made up {NASTY}", "preset": "quick", "commit": "abc"}


class First:
    @staticmethod
    def show(table, folder):
        (folder / "main.svg").write_bytes(SVG)
        cells = pd.DataFrame({"scheme": [NASTY, "b"], "x|y": ["86.0 ± 0.1 %", ""]})
        return [Plot(f"Main {NASTY}", "main.svg", "K")], [
            Table("T", cells, f"C {NASTY}"),
            Table("Second", cells),
        ]


class Faces:
    @staticmethod
    def show(table, folder):
        return [], []


def rows():
    at = {"experiment": "fig3", "metric": "accuracy", "snr_db": 12.0}
    return [
        {**at, "method": "lbvq", "value": 0.85, "seed": 0},
        {**at, "method": "lbvq", "value": 0.87, "seed": 1},
        {**at, "method": "=cmd()", "value": -0.5, "attacker": "@evil"},
    ]


@pytest.fixture
def write(tmp_path):
    (tmp_path / "faces.png").write_bytes(PNG)
    sections = {
        "fig3": Section(f"Figure {NASTY}", "Shapes", [f"A note {NASTY}."]),
        "fig4": Section("Faces", "CelebA", plots=[Plot("who", "faces.png", "people", faces=True)]),
    }

    def writing(**options):
        kinds = {"fig3": First, "fig4": Faces}
        missing = {"fig3": ["attack-1", "attack-2"]}
        facts = {"provenance": PROVENANCE, "missing": missing, "jobs": {"lost": math.nan}}
        return write_report(tmp_path, frame(rows()), sections, kinds, facts, **options)

    return writing


class Page(HTMLParser):
    """Every tag with its attributes, the text outside of scripts and styles, and that outside of what is folded."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.first, self._raw, self._folded, self._summary = "", "", False, 0, False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._raw = tag in ("script", "style")
        self._folded += tag == "details"
        self._summary |= tag == "summary"

    def handle_endtag(self, tag):
        self._raw = False
        self._folded -= tag == "details"
        self._summary &= tag != "summary"

    def handle_data(self, data):
        self.text += "" if self._raw else data
        self.first += "" if self._raw or (self._folded and not self._summary) else data

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture
def page(write, tmp_path):
    write()
    return Page((tmp_path / "report.html").read_text(encoding="utf-8"))


def test_the_first_screen_has_run_verdicts_main_chart_and_schemes_and_the_rest_is_folded(page):
    for part in (
        "made up",
        "quick",
        "abc",
        "not finished",
        "8. Only LBVQ slows inference",
        "not measured",
        "Main",
        "86.0 ± 0.1 %",
    ):
        assert part in page.first
    assert "Second" in page.text and "Second" not in page.first and "A note" not in page.first
    assert page.text.count("attack-1, attack-2") == 1  # what is missing is said once
    assert len([one for one in page.all("details") if one.get("class") == "claim"]) == 8


def test_html_escapes_everything_and_fetches_nothing(page, tmp_path):
    assert (
        page.text.count(NASTY) == 1 + 1 + 2 + 1 + 1 + 1
    )  # data; chart; two tables' cells; caption; title; note
    assert not page.all("script") and not page.all("link") and not page.all("iframe")
    for _, attributes in page.tags:
        for name in ("src", "srcset", "href", "action", "data", "poster", "background"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/"))
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "script" not in policy
    text = (tmp_path / "report.html").read_text()
    assert "http" not in re.sub(r"data:image/[^\"]*", "", text).replace("http-equiv", "")
    assert "url(" not in text and "@import" not in text and "evil()" not in text


def test_html_holds_the_plots_themselves(page):
    kinds, bodies = zip(*(img["src"].split(";base64,") for img in page.all("img")), strict=True)
    assert kinds == ("data:image/svg+xml", "data:image/png")
    assert [base64.b64decode(body) for body in bodies] == [SVG, PNG]


def test_csv_has_every_measurement_and_no_formula_and_json_no_nan(write, tmp_path):
    write()
    with open(tmp_path / "results.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [(r["method"], r["seed"], r["attacker"], float(r["value"])) for r in table] == [
        ("lbvq", "0", "", 0.85),
        ("lbvq", "1", "", 0.87),
        ("'=cmd()", "0", "'@evil", -0.5),
    ]
    assert len(read(tmp_path / "results.csv")) == 3

    def refuse(constant):
        raise AssertionError(constant)

    record = json.loads((tmp_path / "results.json").read_text(), parse_constant=refuse)
    assert record["provenance"] == PROVENANCE and len(record["claims"]) == 8
    assert record["jobs"] == {"lost": None}


def test_markdown_has_the_same_tables_and_no_markup_of_strangers(write, tmp_path):
    write()
    lines = (tmp_path / "report.md").read_text().splitlines()
    start = lines.index("| scheme | x\\|y |")
    assert lines[start + 1] == "|---|---:|" and lines[start + 2].endswith("| 86.0 ± 0.1 % |")
    assert lines[start + 2].startswith("| &lt;script>") and lines[start + 3] == "| b |  |"
    assert any(line.startswith("| 1 | Above 4 dB") for line in lines)
    assert any("](main.svg)" in line for line in lines)


def test_a_name_neither_commands_a_terminal_nor_turns_the_figure_beside_it(write, tmp_path, monkeypatch):
    for code in ("\x1b[31m", "\x00", "\u202e", "\u2066"):
        monkeypatch.setitem(PROVENANCE, "data", f"made{code} up")
        monkeypatch.setattr(sys.modules[__name__], "NASTY", code)  # cells, captions and titles
        write()
        for name in ("report.html", "report.md"):
            text = (tmp_path / name).read_text()
            assert code[0] not in text and "made\N{REPLACEMENT CHARACTER}" in text


def test_faces_are_shown_only_where_they_may_be(write, tmp_path):
    write(faces=False)
    for name in ("report.html", "report.md"):
        text = (tmp_path / name).read_text()
        assert LEFT_OUT in text and base64.b64encode(PNG).decode() not in text and "faces.png" not in text

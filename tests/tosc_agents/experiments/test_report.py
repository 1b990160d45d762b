"""A report says everything that was found, fetches nothing, shows no face unasked, and can be read back."""

from __future__ import annotations

import base64
import csv
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib import resources

import pytest
from tosc_agents.experiments.report import write_report
from tosc_agents.experiments.report.markdown import md_text
from tosc_agents.experiments.sections import TRAININGS, Measurement, Plot, Section, Table

from tosc_env.errors import DataError, InputError

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>evil()</script><text>"&gt;</text></svg>'
NASTY = '<script>alert("1")</script> & a|b *c*'
HEADING = (f"Report {NASTY}", {"preset": "quick", "commit": "abc", "command": "tosc reproduce all <x>"})


@pytest.fixture
def sections(tmp_path):
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots/a chart.svg").write_bytes(SVG)
    (tmp_path / "grid.png").write_bytes(PNG)
    (tmp_path / "faces.png").write_bytes(PNG + b"face")
    first = Section(
        "fig3",
        f"Figure {NASTY}",
        [f"A note {NASTY} with `code`."],
        [
            Measurement("fig3", "lbvq", "accuracy", 0.86, 0.01, 3, TRAININGS, 12.0),
            Measurement("fig3", "lbvq", "psnr_db", 13.25, snr_db=0.0, attacker="linear"),
        ],
        [
            Table(
                f"T {NASTY}",
                ["method", "x|y"],
                [[NASTY, "86.01 ± 0.12 %"], ["b", None], ["c", 9.5]],
                f"C {NASTY}",
            )
        ],
        [Plot(f"P {NASTY}", tmp_path / "plots/a chart.svg", f"K {NASTY}"), Plot("g", tmp_path / "grid.png")],
        {"floors": {"mean-image": 12.75}, "lost": math.nan, "by": {12.0: [1, True, None]}},
    )
    second = Section("fig4", "Faces", plots=[Plot("who", tmp_path / "faces.png", "people", faces=True)])
    return [first, second]


class Page(HTMLParser):
    """Every tag with its attributes, and the text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._raw = "", False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._raw = tag in ("script", "style")

    def handle_endtag(self, tag):
        self._raw = False

    def handle_data(self, data):
        self.text += "" if self._raw else data

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


def page(folder):
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_four_files_are_written_and_named(sections, tmp_path):
    written = write_report(tmp_path, sections, *HEADING)
    assert [path.name for path in written] == ["report.html", "report.md", "results.json", "results.csv"]
    assert all(path.stat().st_size for path in written) and not list(tmp_path.glob("*.part"))


def test_json_holds_everything_and_no_nan(sections, tmp_path):
    write_report(tmp_path, sections, *HEADING)

    def refuse(constant):
        raise AssertionError(constant)

    record = json.loads((tmp_path / "results.json").read_text(), parse_constant=refuse)
    assert record["heading"] == {"title": HEADING[0], "provenance": HEADING[1]}
    first, second = record["sections"]
    assert [
        Measurement(**{**m, "interval": m["interval"] or math.nan}).plain() for m in first["measurements"]
    ] == [m.plain() for m in sections[0].measurements]
    assert first["measurements"][1]["interval"] is None
    assert [Table(**table) for table in first["tables"]] == sections[0].tables
    assert first["plots"][0]["path"] == "plots/a chart.svg" and second["plots"][0]["faces"]
    assert first["details"] == {"floors": {"mean-image": 12.75}, "lost": None, "by": {"12": [1, True, None]}}


def test_csv_has_every_measurement_of_every_section(sections, tmp_path):
    sections[1].measurements.append(Measurement("fig4", "ibal", "infer_Male", 0.5, 0.1))
    write_report(tmp_path, sections, *HEADING)
    with open(tmp_path / "results.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [(r["experiment"], r["method"], r["figure"], float(r["mean"])) for r in table] == [
        (r.experiment, r.method, r.figure, r.mean) for one in sections for r in one.measurements
    ]
    assert table[0]["over"] == TRAININGS and table[0]["snr_db"] == "12.0" and table[1]["interval"] == ""


def test_an_empty_report_has_a_csv_header(tmp_path):
    write_report(tmp_path, [], *HEADING)
    assert (tmp_path / "results.csv").read_text().startswith("experiment,method,figure,mean,interval,")


def test_html_escapes_everything(sections, tmp_path):
    write_report(tmp_path, sections, *HEADING)
    found = page(tmp_path)
    # title, h1; contents: 3; h2, note; plot: title, caption; table: title, cell, caption
    assert found.text.count(NASTY) == 2 + 3 + 2 + 2 + 3
    assert len(found.all("script")) == 1 and not found.all("b")
    assert {"code"} <= {tag for tag, _ in found.tags}


def test_html_fetches_nothing(sections, tmp_path):
    write_report(tmp_path, sections, *HEADING)
    found = page(tmp_path)
    for _, attributes in found.tags:
        for name in ("src", "srcset", "href", "action", "data", "poster", "background"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/"))
    assert not found.all("link") and not found.all("iframe")
    policy = next(m["content"] for m in found.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "img-src data:" in policy
    text = (tmp_path / "report.html").read_text()
    assert "http" not in re.sub(r"data:image/[^\"]*", "", text).replace("http-equiv", "")
    assert "url(" not in text and "@import" not in text


def test_html_holds_the_plots_themselves(sections, tmp_path):
    write_report(tmp_path, sections, *HEADING)
    kinds, bodies = zip(*(img["src"].split(";base64,") for img in page(tmp_path).all("img")), strict=True)
    assert kinds == ("data:image/svg+xml", "data:image/png", "data:image/png")
    assert [base64.b64decode(body) for body in bodies] == [SVG, PNG, PNG + b"face"]
    assert b"evil()" not in (tmp_path / "report.html").read_bytes()


def test_contents_lead_to_every_section_plot_and_table(sections, tmp_path):
    write_report(tmp_path, [*sections, Section("fig3", "again")], *HEADING)
    found = page(tmp_path)
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    links = [a["href"].removeprefix("#") for a in found.all("a")]
    assert len(ids) == len(set(ids)) and sorted(links) == sorted(ids)
    assert len(links) == 3 + 3 + 1  # sections, plots, tables


def test_headers_are_buttons_and_cells_carry_their_order(sections, tmp_path):
    write_report(tmp_path, sections, *HEADING)
    found = page(tmp_path)
    headers = found.all("th")
    assert [h["aria-sort"] for h in headers] == ["none"] * 2 and all(h["scope"] == "col" for h in headers)
    assert [b["type"] for b in found.all("button")] == ["button"] * 2
    cells = found.all("td")
    assert [c.get("data-key") for c in cells[1::2]] == ["86.01", None, "9.5"]
    assert ["data-empty" in c for c in cells] == [False, False, False, True, False, False]
    assert [c["class"] for c in cells] == ["long", "n", "short", "n", "short", "n"]


@pytest.mark.skipif(shutil.which("node") is None, reason="node runs the page's script")
def test_the_script_sorts_up_down_and_back_with_empty_cells_last():
    script = (resources.files("tosc_agents.experiments.report") / "sort.js").read_text()
    stub = """
const cell = (key) => ({ dataset: key === null ? { empty: "" } : typeof key === "number" ? { key: String(key) } : {},
                         textContent: typeof key === "string" ? key : "" });
const attributes = { "aria-sort": "none" };
let click;
const header = { querySelector: () => ({ addEventListener: (_, f) => { click = f; } }),
                 getAttribute: (n) => attributes[n], setAttribute: (n, v) => { attributes[n] = v; } };
const keys = [10, null, -2, "b", 9.5, "a", null, 100];
const body = { rows: keys.map((key, i) => ({ cells: [cell(key)], i })), append(...rows) { this.rows = rows; } };
const table = { tBodies: [body], tHead: { rows: [{ cells: [header] }] } };
globalThis.document = { querySelectorAll: () => [table] };
SCRIPT
const told = [];
for (let i = 0; i < 3; i++) { click(); told.push([attributes["aria-sort"], body.rows.map((row) => keys[row.i])]); }
console.log(JSON.stringify(told));
"""
    done = subprocess.run(
        ["node", "-e", stub.replace("SCRIPT", script)], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(done.stdout) == [
        ["ascending", [-2, 9.5, 10, 100, "a", "b", None, None]],
        ["descending", [100, 10, 9.5, -2, "b", "a", None, None]],
        ["none", [10, None, -2, "b", 9.5, "a", None, 100]],
    ]


def test_markdown_has_the_same_tables_and_links(sections, tmp_path):
    write_report(tmp_path, sections, *HEADING)
    text = (tmp_path / "report.md").read_text()
    lines = text.splitlines()
    assert "](plots/a%20chart.svg)" in text and "](grid.png)" in text
    start = lines.index("| method | x\\|y |")
    assert lines[start + 1] == "|---|---:|"
    assert lines[start + 2].endswith("| 86.01 ± 0.12 % |") and lines[start + 3 : start + 5] == [
        "| b |  |",
        "| c | 9.5 |",
    ]
    for line in lines[start : start + 5]:
        assert len(re.findall(r"(?<!\\)\|", line)) == 3
    assert "<script" not in text and "`code`" in text and "- commit: abc" in lines


@pytest.mark.parametrize("text", ["a\nb", "a\r\n\n# b"])
def test_markdown_text_stays_on_its_line(text):
    assert "\n" not in md_text(text) and "\r" not in md_text(text)


def test_faces_stay_on_the_disk_of_their_owner(sections, tmp_path):
    (tmp_path / "faces.png").unlink()  # whoever passes a report on need not have them
    write_report(tmp_path, sections, *HEADING, faces=False)
    found, text = page(tmp_path), (tmp_path / "report.md").read_text()
    assert len(found.all("img")) == 2 and "shows faces" in found.text
    assert "faces.png" not in text and "shows faces" in text and "people" in text


@pytest.mark.parametrize("name", ["../outside.svg", "missing.png", "text.svg", "broken.png", "grid.jpg"])
def test_a_plot_that_cannot_be_shown_is_refused_and_the_old_report_stays(sections, tmp_path, name):
    (tmp_path.parent / "outside.svg").write_bytes(SVG)
    (tmp_path / "text.svg").write_text("no plot")
    (tmp_path / "broken.png").write_bytes(b"PNG")
    (tmp_path / "grid.jpg").write_bytes(b"\xff\xd8\xff")
    write_report(tmp_path, sections, *HEADING)
    before = {path: path.read_bytes() for path in tmp_path.glob("re*.*")}
    sections[1].plots.append(Plot("bad", tmp_path / name))
    with pytest.raises(DataError, match=re.escape(name.split("/")[-1])):
        write_report(tmp_path, sections, *HEADING)
    assert {path: path.read_bytes() for path in tmp_path.glob("re*.*")} == before and len(before) == 4


def test_a_link_out_of_the_folder_is_outside(sections, tmp_path):
    (tmp_path.parent / "private.png").write_bytes(PNG)
    (tmp_path / "link.png").symlink_to(tmp_path.parent / "private.png")
    sections[1].plots.append(Plot("link", tmp_path / "link.png"))
    with pytest.raises(DataError, match="outside"):
        write_report(tmp_path, sections, *HEADING)


def test_what_is_no_figure_is_refused(sections, tmp_path):
    sections[0].measurements.append(Measurement("fig3", "ibal", "accuracy", math.nan))
    with pytest.raises(InputError, match="accuracy of ibal"):
        write_report(tmp_path, sections, *HEADING)
    with pytest.raises(InputError, match="details of fig4 holds a object"):
        write_report(tmp_path, [Section("fig4", "x", details={"a": object()})], *HEADING)
    assert not (tmp_path / "results.json").exists()

"""What is shown of fig3 is what was measured: the strongest attacker, above the floor, and nothing unmeasured."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from tosc_agents.experiments import charts
from tosc_agents.experiments.fig3 import tables
from tosc_agents.experiments.fig3.section import present
from tosc_agents.experiments.pareto import Point, front
from tosc_agents.experiments.report import write_report
from tosc_agents.experiments.sections import NOISE, TRAININGS, Measurement

from tosc_env.errors import InputError

FLOORS = {"mean-image": {"psnr_db": 12.75, "ssim": 0.18}, "class-mean": {"psnr_db": 13.125, "ssim": 0.19}}
CHANCE = {"label": 0.1, "reid": 0.001}
METHODS = ("deepjscc", "dp-0.05", "lbvq")
ACCURACY = {"deepjscc": 0.87, "dp-0.05": 0.105, "lbvq": 0.85}
LEAK = {"deepjscc": 2.0, "dp-0.05": 0.0, "lbvq": 1.0}


@pytest.fixture
def measurements():
    made = []
    for key in METHODS:
        for snr in (0.0, 12.0):
            leak = LEAK[key] * (1.0 if snr else 0.5)
            figures = {
                (None, "accuracy"): ACCURACY[key],
                ("linear", "psnr_db"): 12.75 + leak / 2,
                ("linear", "reid_pixels"): 0.01,
                ("inversion-mlp", "psnr_db"): 12.75 + leak,
                ("inversion-mlp", "psnr_clipped_db"): 7.5 + leak,
                ("inversion-mlp", "ssim"): 0.18 + leak / 100,
                ("inversion-mlp@12dB", "psnr_db"): 12.75 + leak * (1.0 if snr else 0.5),
                ("match", "reid_match"): 0.3 * leak + 0.001,
                ("nearest-symbols", "reid_query"): 0.4 * leak + 0.001,
                ("label", "infer_label"): ACCURACY[key],
            }
            made += [Measurement("fig3", key, f, v, 0.01, 3, NOISE, snr, a) for (a, f), v in figures.items()]
    return [*made, Measurement("fig3", "deepjscc", "psnr_db", 14.5, 0.01, 3, NOISE, 12.0, "article")]


@pytest.fixture
def references(monkeypatch):
    """Charts are noted, with their floors and ceilings, and not drawn."""
    noted = {}

    def note(path, *args, references=(), **options):
        noted[path.stem.removeprefix("fig3-")] = dict(references)

    monkeypatch.setattr(charts, "curves", note)
    monkeypatch.setattr(charts, "plane", note)
    return noted


@pytest.fixture
def drawing(tmp_path):
    """Shows measurements, with real plots."""

    def shown(measurements, *, methods=METHODS, floors=FLOORS, chance=CHANCE):
        return present(measurements, floors, chance, tmp_path, methods, ["Data: made up."])

    return shown


@pytest.fixture
def show(references, drawing):
    """Shows measurements; the plots are not drawn."""
    return drawing


def table(found, beginning):
    return next(one for one in found.tables if one.title.startswith(beginning))


def cell(one, method, column):
    row = next(row for row in one.rows if row[0] == method)
    return row[list(one.columns).index(column)]


def test_all_plots_are_drawn_and_fit_a_report(measurements, drawing, tmp_path):
    found = drawing(measurements)
    names = [plot.path.name.removeprefix("fig3-").removesuffix(".svg") for plot in found.plots]
    assert names == [
        "accuracy", "accuracy-near", "psnr", "psnr-clipped", "ssim", "article-attacker", "reid", "reid-without-queries",
        "label", "plane-psnr", "plane-psnr-near", "plane-reid", "plane-reid-near", "plane-label", "plane-label-near",
    ]  # fmt: skip
    assert all(plot.path.is_file() and not plot.faces for plot in found.plots)
    assert found.measurements == measurements and found.notes[0] == "Data: made up."
    assert len(write_report(tmp_path, [found], "t", {})) == 4


def test_each_leak_is_that_of_its_strongest_attacker(measurements, show):
    found = show(measurements)
    one = table(found, "The strongest attacker of each leak")
    assert (
        cell(one, "LBVQ", "PSNR, dB") == "13.75 ± 0.01" and cell(one, "LBVQ", "PSNR: by") == "inversion-mlp"
    )
    assert cell(one, "LBVQ", "re-identification") == "40.10 ± 1.00 %"
    at = list(one.columns).index("re-identification")
    lbvq = next(row for row in one.rows if row[0] == "LBVQ")
    assert lbvq[at + 1] == "nearest-symbols"
    assert lbvq[at - 2 : at] == ["30.10 ± 1.00 %", "match"]  # without candidate queries
    assert cell(one, "LBVQ", "label") == "85.00 ± 1.00 %"


def test_the_leak_is_counted_from_the_floor_and_against_the_unprotected(measurements, show):
    one = table(show(measurements), "PSNR leak")
    assert cell(one, "LBVQ", "12 dB") == "1.00 ± 0.01" and cell(one, "LBVQ", "0 dB") == "0.50 ± 0.01"
    assert cell(one, "LBVQ", "of DeepJSCC's at 12 dB") == "50.0 %"
    assert cell(one, "DeepJSCC", "of DeepJSCC's at 12 dB") == "100.0 %"
    alone = [m for m in measurements if m.method != "deepjscc"]
    assert cell(table(show(alone, methods=("lbvq",)), "PSNR leak"), "LBVQ", "of DeepJSCC's at 12 dB") is None


def test_tables_hold_every_attacker_and_both_ways_of_training(measurements, show):
    found = show(measurements)
    every = table(found, "Every attacker")
    assert len(every.rows) == len(
        {(r.method, r.attacker) for r in measurements if r.attacker and r.snr_db == 12.0}
    )
    once = table(found, "PSNR, dB: attackers trained for the SNR")
    assert [row for row in once.rows if row[0] == "LBVQ"] == [
        ["LBVQ", "inversion-mlp", "12dB", 0.0, "13.25 ± 0.01", "13.00 ± 0.01", "-0.25"],
        ["LBVQ", "inversion-mlp", "12dB", 12.0, "13.75 ± 0.01", "13.75 ± 0.01", "+0.00"],
    ]
    assert cell(table(found, "Accuracy"), "LBVQ", "12 dB") == "85.00 ± 1.00 %"
    assert (
        cell(table(found, "Re-identification by nearest reconstruction, alone"), "LBVQ", "0 dB")
        == "1.00 ± 1.00 %"
    )


def test_fronts_are_those_of_the_points(measurements, show):
    found = show(measurements)
    leak = "PSNR leak above the mean image, dB"
    points = [Point(k, s, ACCURACY[k], LEAK[k] * (1.0 if s else 0.5)) for k in METHODS for s in (0.0, 12.0)]
    told = [(p["method"], p["snr_db"]) for p in found.details["pareto_fronts"][leak]]
    assert told == [(p.method, p.snr_db) for p in front(points)]
    assert len(table(found, "Pareto").rows) == sum(
        len(one) for one in found.details["pareto_fronts"].values()
    )


def test_what_was_not_measured_is_said_and_not_drawn(measurements, show):
    found = show(
        [m for m in measurements if m.figure != "infer_label" and (m.method, m.figure) != ("lbvq", "ssim")]
    )
    names = {plot.path.name for plot in found.plots}
    assert not names & {"fig3-label.svg", "fig3-plane-label.svg"} and "fig3-ssim.svg" in names
    assert "PSNR of the article's attacker: not measured for DP 0.05, LBVQ." in found.notes
    assert "SSIM of the strongest attacker: not measured for LBVQ." in found.notes
    assert any(
        note.startswith("Label inferred by the strongest attacker: not measured here") for note in found.notes
    )
    assert "LBVQ" not in [row[0] for row in table(found, "SSIM").rows]
    assert not any(one.title.startswith("Label inferred") for one in found.tables)


def test_floors_and_chance_are_drawn_in_where_they_are_known(measurements, show, references):
    captions = {plot.path.stem: plot.caption for plot in show(measurements).plots}
    assert (
        list(references["psnr"].values()) == list(references["article-attacker"].values()) == [12.75, 13.125]
    )
    assert list(references["ssim"].values()) == [0.18, 0.19] and references["psnr-clipped"] == {}
    assert references["accuracy"] == references["label"] == {"chance": 0.1}
    assert references["reid"] == references["reid-without-queries"] == {"chance": 0.001}
    unknown = [name for name, caption in captions.items() if "not known on this scale" in caption]
    assert unknown == ["fig3-psnr-clipped"]
    known = {name: {**by, "psnr_clipped_db": 7.5} for name, by in FLOORS.items()}
    assert not any("not known" in plot.caption for plot in show(measurements, floors=known).plots)
    assert list(references["psnr-clipped"].values()) == [7.5, 7.5]


def test_captions_say_what_intervals_are_over(measurements, show):
    mixed = [replace(m, over=TRAININGS) if m.method == "lbvq" else m for m in measurements]
    said = {plot.path.stem: plot.caption for plot in show(mixed).plots}
    for name in ("accuracy", "psnr", "psnr-clipped", "ssim", "reid", "label"):
        assert "3 trainings (LBVQ)" in said[f"fig3-{name}"]
        assert "3 draws of the channel noise, one training each (all others)" in said[f"fig3-{name}"]
    single = [replace(m, interval=math.nan, samples=1) for m in measurements]
    assert "Single samples: no interval." in show(single).plots[0].caption
    one = tables.intervals(
        [*measurements[:2], replace(measurements[0], method="ibal", samples=1, interval=math.nan)]
    )
    assert "none, a single sample (" in one


def test_an_attacker_under_the_floor_is_called_broken(measurements, show):
    assert not any("broken" in note for note in show(measurements).notes)
    weak = [
        replace(r, mean=12.5) if (r.method, r.figure, r.snr_db) == ("lbvq", "psnr_db", 0.0) else r
        for r in measurements
    ]
    note = next(note for note in show(weak).notes if "broken" in note)
    assert "LBVQ at 0 dB" in note and "DeepJSCC" not in note


def test_without_a_method_near_chance_nothing_is_drawn_twice(measurements, show):
    found = show(measurements, methods=("deepjscc", "lbvq"))
    assert not any(plot.path.stem.endswith("-near") for plot in found.plots)
    lost = [replace(m, mean=0.1) if m.figure == "accuracy" else m for m in measurements]
    assert not any(plot.path.stem == "fig3-accuracy-near" for plot in show(lost).plots)


def test_bad_input_is_refused(measurements, show):
    with pytest.raises(InputError, match="no measurements"):
        show([])
    with pytest.raises(InputError, match="must hold psnr_db of 'mean-image'; given are class-mean"):
        show(measurements, floors={"class-mean": FLOORS["class-mean"]})
    with pytest.raises(InputError, match="unknown method 'ibla'"):
        show(measurements, methods=("ibla",))

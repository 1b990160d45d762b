"""Laws of fig3: it shows what was measured, the strongest attacker, above the floor, and nothing unmeasured."""

from __future__ import annotations

import random

import pandas as pd
import pytest
from tosc_agents.experiments import charts
from tosc_agents.experiments.fig3 import Fig3, front
from tosc_agents.experiments.measurements import frame

METHODS = ("deepjscc", "dp-0.05", "lbvq")
ACCURACY = {"deepjscc": 0.87, "dp-0.05": 0.105, "lbvq": 0.85}
LEAK = {"deepjscc": 2.0, "dp-0.05": -0.1, "lbvq": 1.0}


@pytest.fixture
def rows():
    known = {
        ("mean-image", "psnr_db"): 12.75,
        ("class-mean", "psnr_db"): 13.125,
        ("constant", "chance_plain_label"): 0.1,
        ("constant", "chance_infer_label"): 0.1,
    }
    made = [{"method": name, "metric": metric, "value": value} for (name, metric), value in known.items()]
    for key in METHODS:
        for snr in (0.0, 12.0):
            leak = LEAK[key] * (1.0 if snr else 0.5)
            figures = {
                ("", "accuracy"): ACCURACY[key],
                ("linear", "psnr_db"): 12.75 + leak - 0.5,
                ("inversion-mlp", "psnr_db"): 12.75 + leak,
                ("inversion-mlp", "ssim"): 0.18 + leak / 100,
                ("match", "reid_match"): 0.1 * leak + 0.02,
                ("nearest-symbols", "reid_query"): 0.4 * leak + 0.1,
                ("label", "infer_label"): ACCURACY[key],
            }
            more = {"method": key, "snr_db": snr, "interval": 0.01, "samples": 3}
            made += [dict(attacker=a, metric=m, value=v, **more) for (a, m), v in figures.items()]
    return [{"experiment": "fig3", **one} for one in made]


@pytest.fixture
def drawn(monkeypatch):
    """Charts are noted, and not drawn."""
    noted = {}
    monkeypatch.setattr(
        charts, "curves", lambda path, table, *_, **options: noted.update({path.stem: (table, options)})
    )
    monkeypatch.setattr(
        charts, "plane", lambda path, points, best, *_, **options: noted.update({path.stem: (points, best)})
    )
    return noted


def test_all_plots_are_drawn_the_privacy_utility_plane_first(rows, tmp_path):
    plots, tables = Fig3.show(frame(rows), tmp_path)
    names = ["plane-psnr", "plane-reid", "accuracy", "psnr", "reid", "label"]
    assert [plot.file for plot in plots] == [f"fig3-{name}.svg" for name in names]
    assert all((tmp_path / plot.file).is_file() and not plot.faces for plot in plots)
    assert tables[0].title.startswith("Schemes at 12 dB")


def test_the_table_of_schemes_has_the_strongest_above_the_floor_and_against_the_unprotected(
    rows, drawn, tmp_path
):
    cells = Fig3.show(frame(rows), tmp_path)[1][0].cells.set_index("scheme")
    assert cells.loc["LBVQ"].to_dict() == {
        "accuracy, 0 dB": "85.0 %",
        "accuracy, 12 dB": "85.0 %",
        "PSNR leak": "1.00 dB",
        "by": "inversion-mlp",
        "of DeepJSCC's": "50%",
        "re-identified": "12.0 %",
        "by encoding candidates": "50.0 %",
        "label inferred": "85.0 %",
    }
    assert (
        cells.loc["DP 0.05", "PSNR leak"] == "0.00 dB"
    )  # an attacker below the floor is broken, not defeated
    alone = [one for one in rows if one["method"] != "deepjscc"]
    assert "of DeepJSCC's" not in Fig3.show(frame(alone), tmp_path)[1][0].cells


def test_who_is_near_chance_flattens_no_chart_and_is_named(rows, drawn, tmp_path):
    plots, tables = Fig3.show(frame(rows), tmp_path)
    points, best = drawn["fig3-plane-psnr"]
    assert set(points.method) == {"deepjscc", "lbvq"} and set(best.method) == {"deepjscc", "lbvq"}
    assert plots[0].caption.endswith("Near chance and left out: DP 0.05.")
    accuracy, options = drawn["fig3-accuracy"]
    assert set(accuracy.method) == set(METHODS) and options["closer"] == ["deepjscc", "lbvq"]
    assert list(tables[1].cells.scheme) == ["DeepJSCC", "DP 0.05", "LBVQ"]
    near = [one for one in rows if one["method"] != "dp-0.05"]
    assert (
        "left out" not in Fig3.show(frame(near), tmp_path)[0][0].caption
        and drawn["fig3-accuracy"][1]["closer"] == []
    )


def test_floors_and_chance_are_drawn_in(rows, drawn, tmp_path):
    Fig3.show(frame(rows), tmp_path)
    assert list(drawn["fig3-psnr"][1]["references"].values()) == [12.75, 13.125]
    assert drawn["fig3-label"][1]["references"] == {"chance": 0.1}


def test_what_was_not_measured_is_not_drawn(rows, drawn, tmp_path):
    less = [one for one in rows if one["metric"] != "infer_label"]
    plots, tables = Fig3.show(frame(less), tmp_path)
    assert "fig3-label.svg" not in {plot.file for plot in plots}
    assert "label inferred" not in tables[0].cells


def test_every_attacker_is_in_the_last_table(rows, drawn, tmp_path):
    cells = Fig3.show(frame(rows), tmp_path)[1][-1].cells
    assert len(cells) == len(METHODS) * 5
    one = cells[(cells.method == "LBVQ") & (cells.attacker == "inversion-mlp")].iloc[0]
    assert (one["PSNR"], one["SSIM"]) == ("13.75 ± 0.01 dB", "0.190 ± 0.010")


@pytest.mark.parametrize("levels", [2, 5, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_the_front_is_what_brute_force_leaves(seed, levels):
    """Few levels make many ties and coincident points."""
    draw = random.Random(seed)
    made = [(f"m{i}", draw.randrange(levels) / 10, draw.randrange(levels) / 10) for i in range(40)]

    def dominates(a, b):
        return a[1] >= b[1] and a[2] <= b[2] and a[1:] != b[1:]

    found = front(pd.DataFrame(made, columns=["method", "accuracy", "leak"]))
    assert set(found.method) == {p[0] for p in made if not any(dominates(q, p) for q in made)}

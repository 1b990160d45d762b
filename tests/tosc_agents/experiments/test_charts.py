"""Charts draw what was measured, look the same whatever subset is drawn, and make the same bytes twice."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from tosc_agents.experiments import charts
from tosc_agents.experiments.methods import KEYS
from tosc_agents.experiments.pareto import Point
from tosc_agents.experiments.sections import Measurement

from tosc_env.errors import InputError


def measured(*methods, interval=0.01):
    at = {12.0: 0.5, 0.0: 0.52, 4.0: 0.54}
    return [
        Measurement("fig3", key, "accuracy", mean, interval, 3, snr_db=snr)
        for key in methods
        for snr, mean in at.items()
    ]


@pytest.fixture
def drawn(monkeypatch):
    """The axes of every chart drawn, caught as they are saved."""
    caught = []
    save = charts._save
    monkeypatch.setattr(
        charts, "_save", lambda figure, *rest: (caught.append(figure.axes[0]), save(figure, *rest))
    )
    return caught


def curves(path, some, methods, **options):
    charts.curves(path, some, methods=methods, title="t", ylabel="y", **options)


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_every_method_has_a_style_of_its_own():
    assert set(charts.STYLES) == set(KEYS)
    looks = [(one.colour, one.marker, one.hollow) for one in charts.STYLES.values()]
    assert len(set(looks)) == len(KEYS) and len({one.colour for one in charts.STYLES.values()}) == len(KEYS)
    for key, one in charts.STYLES.items():
        assert (one.line == ":") == key.startswith("dp-cal")
        assert (one.line == "--") == (key.startswith("dp-") and not key.startswith("dp-cal"))
    with pytest.raises(InputError, match="unknown method 'lbqv', did you mean 'lbvq'"):
        charts.style("lbqv")


def test_a_method_looks_the_same_in_every_subset(tmp_path, drawn):
    curves(tmp_path / "a.svg", measured(*KEYS), KEYS)
    curves(tmp_path / "b.svg", measured("lbvq", "ibal"), ["ibal", "lbvq"])

    def look(axes, label):
        line = next(h for h in axes.containers if h.get_label() == label)[0]
        return line.get_color(), line.get_marker(), line.get_linestyle(), line.get_linewidth()

    everyone, two = drawn
    for label in ("IBAL", "LBVQ"):
        assert look(everyone, label) == look(two, label)
    assert legend(two) == ["IBAL", "LBVQ"] and len(legend(everyone)) == len(KEYS)


def test_curves_show_means_in_order_of_snr_with_their_intervals(tmp_path, drawn):
    curves(tmp_path / "a.svg", measured("lbvq"), ["lbvq"], references=[("floor", 0.1), ("ceiling", 0.9)])
    line, _, (bars,) = drawn[0].containers[0]
    assert list(line.get_xdata()) == [0.0, 4.0, 12.0] and list(line.get_ydata()) == pytest.approx(
        [0.52, 0.54, 0.5]
    )
    assert [s[1][1] - s[0][1] for s in bars.get_segments()] == pytest.approx([0.02] * 3)
    assert legend(drawn[0]) == ["LBVQ", "floor", "ceiling"]
    levels = {line.get_label(): line.get_ydata()[0] for line in drawn[0].lines}
    assert levels["floor"] == 0.1 and levels["ceiling"] == 0.9


def test_a_single_sample_has_no_error_bar(tmp_path, drawn):
    curves(tmp_path / "none.svg", measured("lbvq", interval=math.nan), ["lbvq"])
    some = measured("lbvq")
    curves(tmp_path / "one.svg", [replace(some[0], interval=math.nan), *some[1:]], ["lbvq"])
    none, one = drawn
    assert none.containers[0][2] == ()
    told = [s for s in one.containers[0][2][0].get_segments() if len(s) and not any(map(math.isnan, s[:, 1]))]
    assert len(told) == 2


def test_the_legend_stands_outside_of_the_axes(tmp_path, drawn):
    curves(tmp_path / "a.svg", measured("lbvq"), ["lbvq"])
    axes = drawn[0]
    assert axes.get_legend().get_window_extent().x0 > axes.get_window_extent().x1


def test_only_methods_asked_for_with_measurements_are_drawn(tmp_path, drawn):
    curves(tmp_path / "a.svg", measured("lbvq", "vq"), ["deepjscc", "lbvq"])
    assert legend(drawn[0]) == ["LBVQ"]
    with pytest.raises(InputError, match="no measurement of the methods ibal"):
        curves(tmp_path / "b.svg", measured("lbvq"), ["ibal"])
    assert not (tmp_path / "b.svg").exists()


def test_curves_refuse_what_has_no_single_place(tmp_path):
    with pytest.raises(InputError, match="several times at one SNR"):
        curves(tmp_path / "a.svg", measured("lbvq") * 2, ["lbvq"])
    with pytest.raises(InputError, match="has no SNR"):
        curves(tmp_path / "a.svg", [Measurement("table1", "lbvq", "macs", 1.0)], ["lbvq"])
    with pytest.raises(InputError, match=r"a\.jpg is neither a \.svg nor a \.png"):
        curves(tmp_path / "a.jpg", measured("lbvq"), ["lbvq"])


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_the_same_measurements_make_the_same_file_whatever_the_users_settings(tmp_path, monkeypatch, ending):
    import matplotlib

    curves(tmp_path / f"a.{ending}", measured("lbvq", "ibal"), KEYS, references=[("floor", 0.1)])
    for name, value in {"font.size": 20.0, "svg.fonttype": "none", "axes.facecolor": "red"}.items():
        monkeypatch.setitem(matplotlib.rcParams, name, value)
    curves(tmp_path / f"b.{ending}", measured("lbvq", "ibal"), KEYS, references=[("floor", 0.1)])
    assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()
    assert matplotlib.rcParams["font.size"] == 20.0  # and they keep theirs


def test_an_svg_needs_no_font_and_no_date(tmp_path):
    curves(tmp_path / "a.svg", measured("lbvq"), ["lbvq"])
    text = (tmp_path / "a.svg").read_text()
    names = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(text).iter()}
    assert "path" in names and not names & {"text", "image", "script"}
    assert "<dc:date" not in text and not re.search(r'(href|src)="(?!#)', text)


def test_drawing_loads_no_pyplot_and_importing_no_matplotlib(tmp_path):
    script = f"""
import sys
from pathlib import Path
from tosc_agents.experiments import charts
assert "matplotlib" not in sys.modules
charts.bars(Path({str(tmp_path / "a.svg")!r}), ["a"], {{"s": [(1.0, 0.1)]}}, title="t", xlabel="x")
assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_the_plane_joins_an_methods_points_by_snr_and_rings_the_front(tmp_path, drawn):
    points = [
        Point("lbvq", s, u, leak) for s, u, leak in ((12.0, 0.9, 1.5), (0.0, 0.7, 1.0), (4.0, 0.8, 1.6))
    ]
    charts.plane(tmp_path / "a.svg", points, title="t", xlabel="leak, dB", front=[points[0], points[1]])
    axes = drawn[0]
    joined = next(line for line in axes.lines if len(line.get_xdata()) == 3)
    assert list(joined.get_xdata()) == [1.0, 1.6, 1.5] and list(joined.get_ydata()) == [0.7, 0.8, 0.9]
    ring = next(line for line in axes.lines if line.get_label() == "Pareto front")
    assert ring.get_markerfacecolor() == "none" and list(ring.get_xdata()) == [1.0, 1.5]
    steps = next(line for line in axes.lines if line.get_drawstyle() == "steps-post")
    assert list(steps.get_ydata()) == [0.7, 0.9]
    sizes = {line.get_xdata()[0]: line.get_markersize() for line in axes.lines if line.get_marker() == ">"}
    assert sizes[1.0] < sizes[1.6] < sizes[1.5]  # by SNR
    assert legend(axes) == ["LBVQ", "Pareto front"]
    with pytest.raises(InputError, match="no points"):
        charts.plane(tmp_path / "b.svg", [], title="t", xlabel="x")


def test_bars_start_at_zero_and_show_their_values(tmp_path, drawn):
    series = {"here": [(0.7, 0.02), (0.8, math.nan)], "there": [(0.6, math.nan), (0.75, math.nan)]}
    charts.bars(tmp_path / "a.svg", ["DP", "LBVQ"], series, title="t", xlabel="accuracy")
    axes = drawn[0]
    assert sorted(patch.get_width() for patch in axes.patches) == [0.6, 0.7, 0.75, 0.8]
    assert {patch.get_x() for patch in axes.patches} == {0.0} and axes.get_xlim()[0] == 0.0
    assert [text.get_text() for text in axes.texts] == ["70.0", "80.0", "60.0", "75.0"]
    assert legend(axes) == ["here", "there"]
    first, second = (next(p for p in axes.patches if p.get_width() == w).get_y() for w in (0.7, 0.8))
    assert axes.transData.transform((0, first))[1] > axes.transData.transform((0, second))[1]  # first on top


def test_bars_refuse_series_that_do_not_fit(tmp_path):
    with pytest.raises(InputError, match="series 'here' has 1 values for 2 labels"):
        charts.bars(tmp_path / "a.svg", ["a", "b"], {"here": [(1.0, 0.1)]}, title="t", xlabel="x")
    with pytest.raises(InputError, match="has no bars"):
        charts.bars(tmp_path / "a.svg", [], {}, title="t", xlabel="x")

"""Charts draw what was measured, look the same whatever subset is drawn, and make the same bytes twice."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from xml.etree import ElementTree

import pandas as pd
import pytest
from tosc_agents.experiments import charts
from tosc_agents.experiments.measurements import frame
from tosc_agents.experiments.methods import KEYS

from tosc_env.errors import InputError


def measured(*methods, interval=0.01):
    at = {"experiment": "fig3", "metric": "accuracy", "interval": interval, "samples": 3}
    by_snr = {12.0: 0.5, 0.0: 0.52, 4.0: 0.54}
    return frame({**at, "method": key, "snr_db": s, "value": v} for key in methods for s, v in by_snr.items())


@pytest.fixture
def drawn(monkeypatch):
    """The axes of every chart drawn, caught as they are saved."""
    from matplotlib.figure import Figure

    caught = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (caught.append(self.axes), save(self, *a, **k))[1]
    )
    return caught


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_every_method_has_a_style_of_its_own():
    assert set(charts.STYLES) == set(KEYS)
    looks = [(one.colour, one.marker, one.hollow) for one in charts.STYLES.values()]
    assert len(set(looks)) == len(KEYS) and len({one.colour for one in charts.STYLES.values()}) == len(KEYS)
    with pytest.raises(InputError, match="unknown method 'lbqv', did you mean 'lbvq'"):
        charts.style("lbqv")


def test_a_method_looks_the_same_in_every_subset_and_the_closer_panel(tmp_path, drawn):
    charts.curves(tmp_path / "a.svg", measured(*KEYS), "y", closer=["lbvq"])
    charts.curves(tmp_path / "b.svg", measured("lbvq", "ibal"), "y")

    def look(axes):
        line = next(h for h in axes.containers if h.get_label() == "LBVQ")[0]
        return line.get_color(), line.get_marker(), line.get_linestyle(), line.get_linewidth()

    (everyone, closer), (two,) = drawn
    assert look(everyone) == look(two) == look(closer) and len(closer.containers) == 1
    assert legend(two) == ["IBAL", "LBVQ"] and len(legend(closer)) == len(KEYS)


def test_curves_show_means_in_order_of_snr_with_their_intervals(tmp_path, drawn):
    charts.curves(tmp_path / "a.svg", measured("lbvq"), "y", references={"floor": 0.1})
    ((axes,),) = drawn
    line, _, (bars,) = axes.containers[0]
    assert list(line.get_xdata()) == [0.0, 4.0, 12.0]
    assert list(line.get_ydata()) == pytest.approx([0.52, 0.54, 0.5])
    assert [s[1][1] - s[0][1] for s in bars.get_segments()] == pytest.approx([0.02] * 3)
    assert sorted(legend(axes)) == ["LBVQ", "floor"]
    assert axes.get_legend().get_window_extent().x0 > axes.get_window_extent().x1


def test_a_single_sample_has_no_error_bar(tmp_path, drawn):
    charts.curves(tmp_path / "none.svg", measured("lbvq", interval=math.nan), "y")
    assert drawn[0][0].containers[0][2] == ()


def test_the_same_measurements_make_the_same_file_whatever_the_users_settings(tmp_path, monkeypatch):
    import matplotlib

    charts.curves(tmp_path / "a.svg", measured("lbvq", "ibal"), "y", references={"floor": 0.1})
    for name, value in {"font.size": 20.0, "svg.fonttype": "none", "axes.facecolor": "red"}.items():
        monkeypatch.setitem(matplotlib.rcParams, name, value)
    charts.curves(tmp_path / "b.svg", measured("lbvq", "ibal"), "y", references={"floor": 0.1})
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert matplotlib.rcParams["font.size"] == 20.0  # and they keep theirs
    text = (tmp_path / "a.svg").read_text()
    names = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(text).iter()}
    assert "path" in names and not names & {"text", "image", "script"}
    assert "<dc:date" not in text and not re.search(r'(href|src)="(?!#)', text)


def test_importing_charts_loads_no_matplotlib():
    script = "import sys; import tosc_agents.experiments.charts; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_the_plane_joins_a_methods_points_by_snr_and_rings_the_front(tmp_path, drawn):
    points = pd.DataFrame({"snr_db": [12.0, 0.0, 4.0], "accuracy": [0.9, 0.7, 0.8], "leak": [1.5, 1.0, 1.6]})
    points.insert(0, "method", "lbvq")
    charts.plane(tmp_path / "a.svg", points, points.iloc[:2], "leak, dB")
    ((axes,),) = drawn
    joined = next(line for line in axes.lines if len(line.get_xdata()) == 3)
    assert list(joined.get_xdata()) == [1.0, 1.6, 1.5] and list(joined.get_ydata()) == [0.7, 0.8, 0.9]
    ring = next(line for line in axes.lines if line.get_label() == "Pareto front")
    assert ring.get_markerfacecolor() == "none" and list(ring.get_xdata()) == [1.0, 1.5]
    sizes = {line.get_xdata()[0]: line.get_markersize() for line in axes.lines if line.get_marker() == ">"}
    assert sizes[1.0] < sizes[1.6] < sizes[1.5]  # by SNR
    assert legend(axes) == ["LBVQ", "Pareto front"]

"""The viewer draws every stage of a round, off screen, and touches no global figure."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from refusals import refused

from tosc_env.channels.flat import AWGN
from tosc_env.data import make_source
from tosc_env.data.base import Source
from tosc_env.errors import InputError
from tosc_env.game import Game
from tosc_env.io.files import WriteError
from tosc_env.nodes import wiretap
from tosc_env.rendering.snapshot import Snapshot
from tosc_env.rendering.viewer import Viewer, comparison_grid


@pytest.fixture(scope="module")
def source():
    return make_source("shapes", num_images=64)


@pytest.fixture
def viewer(source):
    viewer = Viewer(Game(source, channel=AWGN()))
    yield viewer
    viewer.close()


def snapshot(game: Game, **changes) -> Snapshot:
    g = torch.Generator().manual_seed(0)
    round_ = game.draw(2, generator=g)
    sent = game.transmit(round_, torch.randn(2, 2 * game.num_symbols, generator=g))
    values = {
        "image": round_.batch.images[0],
        "target": round_.targets[0],
        "sent": sent.sent[0],
        "received": {name: reception.received[0] for name, reception in sent.receptions.items()},
        "reconstructions": {name: torch.full_like(round_.batch.images[0], 0.5) for name in game.adversaries},
        "decision": round_.targets[0],
        "rewards": {"transmitter": 0.4, "receiver": 0.4, "eavesdropper": 0.6},
        "accuracy": 1.0,
        "psnr_db": dict.fromkeys(game.adversaries, 13.0),
        "snr_db": {"receiver": 12.0, **dict.fromkeys(game.adversaries, 0.0)},
    }
    return Snapshot(**{**values, **changes})


def texts(viewer: Viewer) -> str:
    board = viewer._board
    return "\n".join(
        t.get_text()
        for t in [
            *(board.title, board.truth, board.decision, *board.bars.values),
            *(caption for _, caption in board.reconstructions),
        ]
    )


def test_a_frame_is_a_uint8_picture_of_fixed_size_and_says_everything(viewer):
    shot = snapshot(viewer.game)
    frame = viewer.frame(shot)
    assert frame.shape == (360, 1200, 3) and frame.dtype == np.uint8
    truth = viewer.game.task.describe(shot.target)
    for words in ("shapes", "receiver at 12.0 dB", "eavesdropper at 0.0 dB", f"truth: {truth}", "(right)",
                  "PSNR 13.0 dB", "+0.40", "+0.60"):  # fmt: skip
        assert words in texts(viewer)
    assert "stand-in" not in texts(viewer)
    standing_in = Viewer(viewer.game, stand_in=True)
    standing_in.frame(shot)
    assert "shapes (stand-in)" in texts(standing_in)


def test_a_wrong_decision_is_called_wrong_and_shows_both_words(viewer):
    shot = snapshot(viewer.game)
    other = (shot.target + 1) % 10
    viewer.frame(snapshot(viewer.game, decision=other, accuracy=0.0))
    assert viewer.game.task.describe(other) in texts(viewer) and "(wrong)" in texts(viewer)
    viewer.frame(snapshot(viewer.game, decision=other, accuracy=None))
    assert "(wrong)" in texts(viewer)


@pytest.mark.parametrize("count", [2, 5])
def test_of_several_eavesdroppers_each_is_drawn(source, count):
    """In a picture of the same size; what one has changes its own tiles alone."""
    viewer = Viewer(Game(source, nodes=wiretap(count)))
    shot = snapshot(viewer.game)
    frame = viewer.frame(shot)
    assert frame.shape == (360, 1200, 3) and texts(viewer).count("13.0 dB") == count
    for name in viewer.game.adversaries:
        white = {**shot.reconstructions, name: torch.ones(3, 32, 32)}
        changed = (viewer.frame(snapshot(viewer.game, reconstructions=white)) != frame).any(-1)
        assert 0 < changed.mean() < 0.16 / count


@pytest.mark.parametrize(
    ("count", "words"), [(2, "eavesdropper 1 at 0.0 dB"), (3, "3 eavesdroppers at 0.0 dB")]
)
def test_the_title_says_who_eavesdrops_and_whether_they_collude(source, count, words):
    for colluding in (False, True):
        viewer = Viewer(Game(source, nodes=wiretap(count), colluding=colluding))
        viewer.frame(snapshot(viewer.game))
        assert words in texts(viewer) and ("colluding" in texts(viewer)) == colluding


def test_captions_of_sixteen_eavesdroppers_do_not_overlap(source):
    viewer = Viewer(Game(source, nodes=wiretap(16)))
    viewer.frame(snapshot(viewer.game))
    artists = [caption for _, caption in viewer._board.reconstructions]
    artists += [picture.axes for picture, _ in viewer._board.reconstructions]
    boxes = [artist.get_window_extent() for artist in artists]
    assert not [1 for k, box in enumerate(boxes) for other in boxes[:k] if box.overlaps(other)]


def test_of_more_eavesdroppers_than_tiles_the_best_paid_are_drawn(source):
    viewer = Viewer(Game(source, nodes=wiretap(40)))
    names = viewer.game.adversaries
    shot = snapshot(viewer.game)
    paid = {name: shot.rewards["receiver"] + k / 100 for k, name in enumerate(names)}
    levels = {name: 10.0 + k for k, name in enumerate(names)}
    viewer.frame(snapshot(viewer.game, rewards={**shot.rewards, **paid}, psnr_db=levels))
    shown = [caption.get_text() for _, caption in viewer._board.reconstructions]
    assert shown == [f"{levels[name]:.1f} dB" for name in reversed(names[-16:])]


def test_what_is_not_known_yet_leaves_no_trace_of_the_last_frame(viewer):
    """Frames reuse the artists: an earlier round must not shine through a later one."""
    shot = snapshot(viewer.game)
    bare = Snapshot(image=shot.image, target=shot.target)
    fresh = viewer.frame(bare)
    viewer.frame(shot)
    assert np.array_equal(viewer.frame(bare), fresh)


def test_discrete_games_show_their_ideal_points(source):
    plain, discrete = Viewer(Game(source)), Viewer(Game(source, constellation="16qam"))
    shot = snapshot(plain.game)
    assert len(discrete.game.points) == 16
    frame = discrete.frame(shot)
    assert not np.array_equal(frame[60:300], plain.frame(shot)[60:300])
    assert "16qam" in texts(discrete)


def test_several_attributes_and_grey_images_are_drawn():
    images = np.random.default_rng(0).integers(0, 255, (8, 1, 16, 16), dtype=np.uint8)
    grey = Source.from_arrays(images, name="grey", attributes=np.eye(8, 3, dtype=int))
    game = Game(grey, task="attributes", task_kwargs={"names": grey.attribute_names}, num_symbols=8)
    viewer = Viewer(game)
    viewer.frame(snapshot(game, accuracy=2 / 3))
    assert "(67% right)" in texts(viewer)


def test_a_name_is_no_formula(tmp_path):
    source = Source.from_arrays(
        np.zeros((4, 3, 8, 8), np.uint8), [0, 1, 0, 1], name="$\\x$", class_names=["$5", "$\\y$"]
    )
    viewer = Viewer(Game(source, channel=AWGN()))
    viewer.frame(snapshot(viewer.game))
    assert "$\\x$" in texts(viewer)
    viewer.close()
    images = torch.zeros(2, 3, 8, 8)
    comparison_grid(images, {"$\\z$": images, "\ud800": images}, tmp_path / "grid.png")


def test_broken_numbers_are_drawn_and_not_raised(viewer):
    """A picture is wanted most when training has gone wrong."""
    nan = float("nan")
    shot = snapshot(
        viewer.game,
        reconstructions={"eavesdropper": torch.full((3, 32, 32), nan)},
        psnr_db={"eavesdropper": nan},
        received={"receiver": torch.full((128,), float("inf"))},
        rewards={"eavesdropper": nan},
    )
    assert viewer.frame(shot).shape == (360, 1200, 3)


def test_frames_touch_no_pyplot_state():
    """In a fresh process: importing the viewer loads no matplotlib, and drawing loads no pyplot."""
    code = """
import sys, torch
import tosc_env.rendering.viewer
assert "matplotlib" not in sys.modules, "matplotlib at import"
from tosc_env.data import make_source
from tosc_env.game import Game
viewer = tosc_env.rendering.viewer.Viewer(Game(make_source("shapes", num_images=16)))
viewer.frame(tosc_env.rendering.viewer.Snapshot(image=torch.rand(3, 32, 32), target=torch.tensor(1)))
assert "matplotlib.figure" in sys.modules
assert "matplotlib.pyplot" not in sys.modules, "pyplot in frame"
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_show_without_a_display_warns_once_and_leaves_no_figure(viewer, monkeypatch):
    from matplotlib import pyplot

    monkeypatch.setattr(pyplot, "get_backend", lambda: "agg")
    pyplot.switch_backend("agg")
    before = pyplot.get_fignums()
    with pytest.warns(UserWarning, match="no display"):
        viewer.show(snapshot(viewer.game))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        viewer.show(snapshot(viewer.game))
    assert pyplot.get_fignums() == before

    def fail(*args, **kwargs):
        raise ImportError("Cannot load backend 'TkAgg' which requires the 'tk' interactive framework")

    monkeypatch.setattr(pyplot, "figure", fail)
    with pytest.warns(UserWarning, match="no display"):
        Viewer(viewer.game).show(snapshot(viewer.game))


def test_show_updates_one_window_and_a_closed_window_stays_closed(viewer, monkeypatch):
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    make, windows = pyplot.figure, []

    def interactive(*args, **kwargs):
        window = make(*args, **kwargs)
        window.canvas.required_interactive_framework = "pretended"
        window.show = lambda: None
        windows.append(window)
        return window

    monkeypatch.setattr(pyplot, "figure", interactive)
    viewer.show(snapshot(viewer.game))
    shown = viewer._screen.get_array()
    viewer.show(snapshot(viewer.game, psnr_db={"eavesdropper": 40.0}))
    assert len(windows) == 1 and not np.array_equal(viewer._screen.get_array(), shown)
    pyplot.close(windows[0])
    viewer.show(snapshot(viewer.game))
    assert len(windows) == 1
    viewer.close()
    viewer.show(snapshot(viewer.game))
    assert len(windows) == 2
    viewer.close()
    assert not pyplot.fignum_exists(windows[1].number)


def test_the_grid_averages_the_psnr_over_all_images_or_has_a_note_of_its_own(tmp_path, monkeypatch):
    from tosc_env.rendering import figure as viewer_figure

    seen, draw = {}, viewer_figure.grid
    monkeypatch.setattr(
        viewer_figure, "grid", lambda rows, title: seen.update(rows=rows) or draw(rows, title)
    )
    images = torch.zeros(4, 1, 16, 16)
    rebuilt = torch.stack([torch.full((1, 16, 16), e) for e in (0.1, 0.1, 1.0, 1.0)])
    rows, notes = {"half": rebuilt, "noted": rebuilt}, {"noted": "of 750 images"}
    for ending, start in (("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")):
        path = comparison_grid(
            images, rows, tmp_path / f"grid.{ending}", columns=2, notes=notes, title="noise"
        )
        assert start in path.read_bytes()[:100], "in the format of its name"
    (_, _, first), (name, note, shown), (_, own, _) = seen["rows"]
    assert (name, note, len(first), len(shown), own) == ("half", "10.0 dB", 2, 2, "of 750 images")
    assert len(list(tmp_path.iterdir())) == 3


def test_no_label_of_a_grid_runs_into_its_pictures():
    from tosc_env.rendering.figure import grid

    figure = grid(
        [("Encryption (shuffle per message)", "inversion-mlp@12dB, 13.34 dB", torch.rand(2, 3, 8, 8))], ""
    )
    left = min(axes.get_window_extent().x0 for axes in figure.axes)
    assert all(text.get_window_extent().x1 < left for text in figure.texts)


def test_a_comparison_grid_refuses_what_does_not_fit(tmp_path):
    images = torch.rand(2, 3, 16, 16)
    (tmp_path / "file").write_text("")
    for shown, rebuilt, path, options, words, error in (
        (images, {"wrong": images[:1]}, "a.png", {}, "'wrong'", InputError),
        (images, {}, "a.xyz", {}, ".png xyz", InputError),
        (images[:0], {}, "a.png", {}, "one", InputError),
        (images, {}, "a.png", {"columns": 0}, "columns 0", InputError),
        (images, {}, "file/a.png", {}, "a.png", WriteError),
    ):
        with refused(words, error):
            comparison_grid(shown, rebuilt, tmp_path / path, **options)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]

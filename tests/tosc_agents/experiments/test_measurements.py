"""Measurements are one table that says of each figure what it is, is read back bit for bit, and refuses nonsense."""

from __future__ import annotations

import math
import random

import pytest
from tosc_agents.experiments.measurements import (
    FOLDS,
    frame,
    intervals,
    knob,
    of_evaluation,
    over_seeds,
    read,
    strongest,
)
from tosc_agents.training.evaluate import Figure

from tosc_env.errors import InputError


def row(method="vq", metric="accuracy", value=0.5, **more):
    return {"experiment": "fig3", "method": method, "metric": metric, "value": value, **more}


def test_what_was_written_is_read_back_to_the_last_bit(tmp_path):
    draw = random.Random(0)
    rows = [row(metric=f"m{i}", value=draw.gauss(0, 10.0 ** draw.randint(-9, 9))) for i in range(500)]
    table = frame(
        [*rows, row("NA", snr_db=4.0, seed=2, attacker="linear", threat="all", interval=0.1, samples=3)]
    )
    table.to_csv(tmp_path / "results.csv", index=False)
    assert read(tmp_path / "results.csv").equals(table)


def test_nonsense_is_refused_with_its_name():
    with pytest.raises(InputError, match=r"accuracy of lbvq in fig3 at 4 dB is not a finite number: nan"):
        frame([row("lbvq", value=math.nan, snr_db=4.0)])
    with pytest.raises(InputError, match=r"accuracy of vq in fig3 is there twice"):
        frame([row(), row()])
    with pytest.raises(InputError, match=r"no column valeu"):
        frame([row(valeu=1.0)])


def test_trainings_and_folds_are_joined_and_a_single_one_keeps_its_own_interval():
    rows = [row(value=v, seed=s, interval=0.1, samples=3) for s, v in enumerate((0.7, 0.8, 0.9))]
    rows += [
        row("ibal", value=0.6, interval=0.2, samples=3),
        row("lbvq", seed=1, over=FOLDS),
        row("lbvq", over=FOLDS),
    ]
    joined = {r.method: r for r in over_seeds(frame(rows)).itertuples()}
    assert (joined["vq"].value, joined["vq"].interval) == pytest.approx(
        (0.8, Figure.of([0.7, 0.8, 0.9]).interval)
    )
    assert (joined["vq"].samples, joined["vq"].over) == (3, "trainings")
    assert (joined["ibal"].interval, joined["ibal"].over) == (0.2, "channel noise")
    assert (joined["lbvq"].samples, joined["lbvq"].over) == (2, FOLDS)


def test_the_strongest_is_the_attacker_with_the_most_of_any_of_the_metrics():
    rows = [
        row(metric=metric, value=value, snr_db=snr_db, attacker=attacker)
        for snr_db, metric, attacker, value in (
            (0.0, "reid_match", "match", 0.2),
            (0.0, "reid_query", "query", 0.1),
            (12.0, "reid_match", "match", 0.2),
            (12.0, "reid_query", "query", 0.9),
            (12.0, "psnr_db", "linear", 13.0),
        )
    ]
    best = strongest(frame([*rows, row(snr_db=12.0)]), ("reid_match", "reid_query"))
    assert list(zip(best.snr_db, best.attacker, strict=True)) == [(0.0, "match"), (12.0, "query")]


def test_an_evaluation_gives_a_row_for_each_figure_with_what_the_attacker_had():
    told = {"mean": 0.5, "interval95": None}
    leaks = {"linear": {"12": {"psnr_db": {"mean": 13.0, "interval95": 0.1}}}}
    evaluation = {"accuracy": {"0": told}, "leaks": leaks, "seeds": 3}
    first, second = of_evaluation("fig3", "dp-0.1", {"evaluation": evaluation}, seed=1, threat="everything")
    assert (first["metric"], first["snr_db"], first["attacker"], first["threat"]) == ("accuracy", 0.0, "", "")
    assert (second["attacker"], second["threat"], second["interval"]) == ("linear", "everything", 0.1)
    assert (second["samples"], second["seed"]) == (3, 1)
    assert frame([second]).knob.tolist() == ["epsilon=0.1"]
    assert knob("mean-image") == ""


def test_captions_say_what_intervals_are_over():
    rows = [row("vq", samples=3, interval=0.1), row("ibal", samples=3, interval=0.1)]
    mixed = frame([*rows, row("lbvq", samples=3, interval=0.1, over="trainings")])
    assert intervals(mixed).endswith("3 draws of the channel noise (most); 3 trainings (LBVQ).")
    assert intervals(frame([row()])) == "Single samples: no interval."

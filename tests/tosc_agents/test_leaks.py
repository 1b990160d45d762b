"""The strongest of several attackers, by leak and SNR, with floor and ceiling beside it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from tosc_agents.leaks import describe, strongest, unprotected
from tosc_agents.training.evaluate import Evaluation, Figure
from tosc_agents.zoo import WEIGHTS

from tosc_env import GameConfig, ThreatModel
from tosc_env.io.checkpoints import read_header


def one(value):
    return Figure.of([value])


FOUND = Evaluation(
    accuracy={12.0: one(0.9)},
    leaks={
        "linear": {12.0: {"psnr_db": one(13.5), "reid_pixels": one(0.02)}, 0.0: {"psnr_db": one(12.9)}},
        "mlp": {12.0: {"psnr_db": one(14.0), "reid_pixels": one(0.01)}, 0.0: {"psnr_db": one(12.8)}},
        "match": {12.0: {"reid_match": one(0.6)}},
        "label": {12.0: {"infer_label": one(0.8), "infer_colour": one(0.3)}},
    },
    floors={"mean-image": {"psnr_db": 12.5, "ssim": 0.1}},
    images=2000,
    seeds=1,
    candidates=1000,
    chance={"infer_label": 0.1, "infer_colour": 0.2},
)


def test_each_leak_has_its_own_strongest_attacker_at_each_snr():
    top = strongest(FOUND)
    assert {leak: best["attacker"] for leak, best in top["12"].items()} == {
        "psnr_db": "mlp",
        "reid": "match",
        "label": "label",
        "colour": "label",
    }
    assert top["0"]["psnr_db"]["attacker"] == "linear" and set(top["0"]) == {"psnr_db"}
    assert top["12"]["reid"] == {"attacker": "match", "figure": "reid_match", "value": 0.6, "chance": 0.001}
    assert top["12"]["colour"]["chance"] == 0.2
    psnr = {"attacker": "mlp", "figure": "psnr_db", "value": 14.0, "floor": 12.5, "above_floor": 1.5}
    assert top["12"]["psnr_db"] == psnr


def test_the_sentences_name_attacker_floor_ceiling_and_chance():
    lines = describe(strongest(FOUND), {"12": {"psnr_db": 15.5, "reid": 1.0}})
    text = "\n".join(lines)
    assert (
        "12 dB in PSNR: mlp, 14.00 dB, a leak of 1.50 dB above the floor 12.50 dB (unprotected 3.00 dB: 50% of it)"
        in text
    )
    assert "re-identification: match, 60.0% by reid_match (chance 0.1%) (unprotected 100.0%)" in text
    assert "inference of label: label, 80.0% by infer_label (chance 10.0%)" in text
    assert "inference of colour" in text


def test_the_most_that_the_zoos_cards_tell_is_the_ceiling():
    card = read_header(WEIGHTS / "deepjscc-cifar10.safetensors")["card"]
    attacker = read_header(WEIGHTS / "inversion-deepjscc-cifar10.safetensors")["card"]["leaks"]["12"]
    top, setting = card["leaks"], GameConfig(**card["setting"])
    threat = ThreatModel(candidate_queries=True, unkeyed_encoder=True)
    found = unprotected(setting, threat, top)
    assert found["12"] == {leak: best["value"] for leak, best in top["12"].items()}
    # The strongest of all attackers that were tried, not the one that ships.
    assert found["12"]["psnr_db"] > attacker["psnr_db"] > 14.0 and found["12"]["reid"] > 0.99


def test_no_other_game_threat_model_or_number_of_candidates_has_that_ceiling():
    """Law: the floor is that of these images, and a share of what another attacker had over another link is none."""
    card = read_header(WEIGHTS / "deepjscc-cifar10.safetensors")["card"]
    top, setting = card["leaks"], GameConfig(**card["setting"])
    asking, silent = ThreatModel(candidate_queries=True), ThreatModel()
    moved = replace(setting, data_kwargs={"path": "/elsewhere"}, snr_db=3.0)
    assert unprotected(moved, asking, top) == unprotected(setting, asking, top) != {}
    for other in ({"channel": "rayleigh"}, {"num_symbols": 32}, {"data_kwargs": {"size": 16}}):
        assert unprotected(replace(setting, **other), asking, top) == {}
    for weaker in ({"queries": 500}, {"csi": False}, {"images": "other-data"}, {"labels": False}):
        assert unprotected(setting, replace(silent, **weaker), top) == {}
    assert "reid" not in unprotected(setting, silent, top)["12"]
    among = {"12": {**top["12"], "reid": {**top["12"]["reid"], "chance": 0.01}}}
    assert set(unprotected(setting, asking, among)["12"]) == {"label", "psnr_db"}


@pytest.mark.parametrize("names", [["broken", "linear", "mlp"], ["linear", "mlp", "broken"]])
def test_an_attacker_without_a_number_is_nobodys_best_wherever_it_stands(names):
    leaks = {**FOUND.leaks, "broken": {12.0: {"psnr_db": one(math.nan)}, 4.0: {"psnr_db": one(math.nan)}}}
    top = strongest(replace(FOUND, leaks={name: leaks[name] for name in names}))
    assert top["12"]["psnr_db"]["attacker"] == "mlp" and not top.get("4")


def test_where_the_unprotected_scheme_leaks_nothing_no_share_of_it_is_told():
    (line, *_) = describe({"12": strongest(FOUND)["12"]}, {"12": {"psnr_db": 12.5}})
    assert line.endswith("(unprotected 0.00 dB)")

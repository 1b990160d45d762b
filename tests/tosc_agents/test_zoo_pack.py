"""Packing measures what ships, keeps within the zoo's limits, and cards say where every figure comes from."""

from __future__ import annotations

import json

import pytest
import torch
from refusals import LISTED, refused
from tosc_agents.commands.common import parse_parts
from tosc_agents.leaks import leaks_of_attacks
from tosc_agents.learning.seeding import weights_from
from tosc_agents.training.evaluate import evaluate
from tosc_agents.zoo import pack
from tosc_agents.zoo.cards import render
from tosc_agents.zoo.pack import Pack

from tosc_env.attackers import make_eavesdropper
from tosc_env.data import data_set
from tosc_env.errors import DataError
from tosc_env.game import GameConfig
from tosc_env.identity import describe_module
from tosc_env.io.checkpoint_files import read_header, read_tensors, sha256
from tosc_env.io.checkpoints import load_checkpoint, save_checkpoint
from tosc_env.nodes import wiretap
from tosc_env.pipeline import make_scheme
from tosc_env.privacy.threat import ThreatModel
from tosc_env.types import SystemSpec

SPEC = SystemSpec((3, 32, 32), 10)
TINY = {
    "stem": 4,
    "widths": [4],
    "blocks": [1],
    "receiver_width": 64,
    "receiver_depth": 1,
    "told_snr_db": 12.0,
}
CALIBRATED = {"mode": "calibrated", "constant": 0.05, "epsilon": 0.05, "epsilon_range": [0.02, 2.0]}


def baseline():
    """The same weights each time."""
    with weights_from(0):
        return make_scheme("deepjscc", SPEC, **TINY)


WEIGHTS = describe_module(baseline())["weights"]
START = {"file": "base.safetensors", "scheme": "deepjscc", "fresh": [], "epochs": 7, "seed": 5}


def card(**more):
    training = {
        "loop": {"epochs": 7, "optimizer": "sgd", "batch_size": 8},
        "objectives": [{"name": "task"}],
        "seed": 5,
        "half": "system",
        "precision_used": "float32",
        "warm_start": None,
    }
    return {
        "data": {"name": "shapes", "provenance": "Shapes.", "images": 30},
        "setting": GameConfig("shapes", {"num_images": 60}).plain(),
        "labels": [str(i) for i in range(10)],
        "training": training | more.pop("training", {}),
        "complexity": {"parameters": 1000, "macs": 2000},
        "commit": "unknown",
        "torch": "2",
        **more,
    }


@pytest.fixture
def folder(tmp_path):
    """An empty zoo."""
    (tmp_path / "zoo").mkdir()
    return tmp_path / "zoo"


@pytest.fixture
def base(tmp_path):
    """A baseline as training leaves it."""
    path = tmp_path / "base.safetensors"
    save_checkpoint(path, baseline(), card())
    return path


@pytest.fixture
def noisy(tmp_path, base):
    """Calibrated noise that was trained from the baseline, as training leaves it."""
    path = tmp_path / "noisy.safetensors"
    torch.manual_seed(1)
    start = {**START, "sha256": sha256(base)}
    save_checkpoint(
        path, make_scheme("dp-laplace", SPEC, **TINY, **CALIBRATED), card(training={"warm_start": start})
    )
    return path


def attacker_of(scheme, path, colluding=False, **rules):
    """An attacker as 'tosc attack' leaves it."""
    policy = make_eavesdropper("inversion", SPEC, widths=[4, 4, 4, 4])
    training = {"threat_model": ThreatModel(colluding=colluding).plain(), "fit": {"epochs": 2}, "seed": 0}
    training["identity"] = {"scheme": {"weights": describe_module(scheme)["weights"]}}
    told = {"against": scheme.name, "composition": scheme.composition}
    if rules:
        told["setting"] = GameConfig("shapes", {"num_images": 60}, **rules).plain()
    save_checkpoint(path, policy, card(**told, training=training))
    return path


@pytest.fixture
def attacker(tmp_path, base):
    return attacker_of(load_checkpoint(base).policy, tmp_path / "attacker.safetensors")


def packed(path, name, folder, **options):
    return Pack(checkpoint=path, name=name, folder=folder, snr_db=(0.0, 12.0), **options).run()


# -- packing ----------------------------------------------------------------------------------------


def test_a_packed_scheme_is_float16_with_its_accuracy_range_and_terms(base, folder):
    path = packed(base, "deepjscc-shapes", folder)
    told = read_header(path)["card"]
    assert told["valid_snr_db"] == [0.0, 12.0] and told["test_accuracy"].keys() == {"0", "12"}
    assert told["test_images"] > 0 and told["terms"] == data_set("shapes").terms
    own, shipped = read_tensors(base), read_tensors(path)
    assert all(torch.equal(shipped[n], t.half()) for n, t in own.items() if t.is_floating_point())


def test_an_attacker_is_measured_as_it_was_trained_alone_or_together(base, folder, tmp_path):
    scheme = load_checkpoint(packed(base, "deepjscc-shapes", folder)).policy
    path, four = tmp_path / "attacker.safetensors", {"nodes": wiretap(4)}
    options = {"scheme": folder / "deepjscc-shapes.safetensors", "ssim": False, "seeds": 1}
    attacker_of(scheme, path, colluding=True, **four)
    told = read_header(packed(path, "together", folder, **options))["card"]
    game = GameConfig("shapes", {"num_images": 60}, **four, colluding=True).game(split="test")
    played = {"snr_db": [0.0, 12.0], "seeds": 1, "with_ssim": False}
    own = evaluate(game, scheme, {"a": load_checkpoint(folder / "together.safetensors").policy}, **played)
    for snr_db, row in own.leaks["a"].items():
        means = {column: figure.mean for column, figure in row.items()}
        assert told["leaks"][f"{snr_db:g}"] == pytest.approx(means, rel=1e-5)
    attacker_of(scheme, path, **four)
    with refused("apart.safetensors collude"):
        packed(path, "apart", folder, **options)
    assert not (folder / "apart.safetensors").exists()


def test_what_the_zoo_has_is_never_written_again(base, noisy, folder):
    packed(base, "it", folder)
    before = {each: each.read_bytes() for each in folder.iterdir()}
    for path in (base, noisy):
        with refused(f"{folder / 'it.safetensors'} "):
            packed(path, "it", folder)
    assert {each: each.read_bytes() for each in folder.iterdir()} == before


def test_added_stages_are_packed_and_measured_with_the_scheme(tmp_path, base, folder):
    path = tmp_path / "staged.safetensors"
    scheme = load_checkpoint(base, stages=["keyed", {"name": "laplace", "epsilon": 1}]).policy
    save_checkpoint(path, scheme, card())
    header = read_header(packed(path, "staged", folder))
    assert [stage["name"] for stage in header["stages"]] == ["keyed", "laplace"]
    assert header["card"]["guarantee"].startswith("each message is 1-DP")


def test_an_attacker_is_measured_against_its_scheme(attacker, base, folder):
    scheme = packed(base, "deepjscc-shapes", folder)
    path = packed(attacker, "inversion-deepjscc-shapes", folder, scheme=scheme, ssim=False)
    told = read_header(path)["card"]
    assert told["against"] == "deepjscc" and told["composition"] == load_checkpoint(scheme).policy.composition
    assert told["leaks"].keys() == {"0", "12"} and told["leaks"]["0"]["psnr_db"] > 0
    assert "mean-image" in told["floors"] and told["terms"] == data_set("shapes").terms


@pytest.mark.parametrize(
    ("play", "stages"), [("encryption", ("laplace:epsilon=1",)), (None, ("keyed:mode=shuffle",))]
)
def test_an_attacker_is_measured_against_no_other_composition(tmp_path, base, folder, play, stages):
    parts = parse_parts(stages)
    target = load_checkpoint(base, name=play, stages=parts).policy
    path = attacker_of(target, tmp_path / "it.safetensors")
    for wrong in ({}, {"play": "encryption", "stages": ("laplace:epsilon=2",)}, {"play": "label-only"}):
        with refused("--stages", longest=LISTED):
            packed(path, "it", folder, scheme=base, **wrong)
    assert not list(folder.iterdir())
    told = read_header(packed(path, "it", folder, scheme=base, play=play, stages=stages, ssim=False))["card"]
    assert told["composition"] == target.composition


def test_an_attacker_is_measured_against_the_weights_it_was_trained_against(tmp_path, base, attacker, folder):
    """Before or after they were rounded for the zoo, and no others of the same composition."""
    with weights_from(1):
        other = make_scheme("deepjscc", SPEC, **TINY)
    save_checkpoint(tmp_path / "other.safetensors", other, card())
    with refused("weights --scheme"):
        packed(attacker, "it", folder, scheme=tmp_path / "other.safetensors")
    with refused("weights"):
        packed(tmp_path / "other.safetensors", "it", folder, leaks=(attack(tmp_path / "r.json"),))
    shipped = packed(base, "deepjscc-shapes", folder)
    for number, scheme in enumerate((base, shipped)):
        assert packed(attacker, f"it{number}", folder, scheme=scheme, ssim=False).exists()


def test_an_attacker_of_a_fixed_key_is_not_packed(tmp_path, base, folder):
    target = load_checkpoint(base, stages=[{"name": "keyed", "lifetime": "fixed"}]).policy
    path = attacker_of(target, tmp_path / "it.safetensors")
    with refused("key alone"):
        packed(path, "it", folder, scheme=base, stages=("keyed:lifetime=fixed",))


def test_an_attacker_above_the_limit_is_refused_before_it_is_measured(attacker, folder, monkeypatch):
    count = sum(p.numel() for p in load_checkpoint(attacker).policy.parameters())
    monkeypatch.setattr(pack, "ATTACKER_LIMIT", count - 1)
    with refused(f"'inversion' {count:,} {count - 1:,}"):
        packed(attacker, "it", folder)
    assert not list(folder.iterdir())
    monkeypatch.setattr(pack, "ATTACKER_LIMIT", count)
    with refused("--scheme"):
        packed(attacker, "it", folder)


def test_a_file_that_the_zoo_has_no_room_for_is_refused(base, folder, monkeypatch):
    size = packed(base, "one", folder).stat().st_size
    monkeypatch.setattr(pack, "LIMIT", size - 1)
    with refused(f"{size:,} {size - 1:,}"):
        packed(base, "two", folder)
    monkeypatch.setattr(pack, "LIMIT", size)
    monkeypatch.setattr(pack, "ZOO_LIMIT", 2 * size - 1)
    with refused(f"two {size:,}"):
        packed(base, "two", folder)
    assert not list(folder.glob("two*"))
    monkeypatch.setattr(pack, "ZOO_LIMIT", 2 * size)
    packed(base, "two", folder)


# -- what a card is given ---------------------------------------------------------------------------


def best(attacker, figure, value, **told):
    above = {"above_floor": value - told["floor"]} if "floor" in told else {}
    return {"attacker": attacker, "figure": figure, "value": value, **told, **above}


def attack(path, **changes):
    """results.json of an attack on the tiny baseline, as far as a card is made of it."""
    record = {
        "system": {"scheme": "deepjscc", "options": {**TINY}, "stages": [], "card": {}},
        "attacked": {"system": {"weights": WEIGHTS}},
        "data": {"name": "shapes"},
        "threat_model": ThreatModel(queries=500).plain(),
        "strongest": {
            "12": {
                "psnr_db": best("linear", "psnr_db", 13.5, floor=12.5),
                "reid": best("nearest-symbols", "reid_query", 0.9, chance=1 / 60),
                "label": best("label", "infer_label", 0.8, chance=0.1),
                "colour": best("label", "infer_colour", 0.3),
            },
            "0": {"psnr_db": best("linear", "psnr_db", 13.0, floor=12.5)},
        },
    }
    path.write_text(json.dumps({**record, **changes}))
    return path


def test_an_attacks_results_give_the_strongest_attacker_of_each_leak(tmp_path, base):
    leaks = leaks_of_attacks([attack(tmp_path / "r.json")], read_header(base), WEIGHTS)
    assert leaks.keys() == {"0", "12"} and leaks["0"].keys() == {"psnr_db"}
    threat, at = ThreatModel(queries=500), leaks["12"]
    assert at["psnr_db"] == {
        **best("linear", "psnr_db", 13.5),
        "floor": 12.5,
        "above_floor": 1.0,
        "threat_model": str(threat),
    }
    assert (at["reid"]["attacker"], at["reid"]["chance"]) == ("nearest-symbols", 1 / 60)
    assert at["label"]["chance"] == 0.1 and at["colour"]["value"] == 0.3
    assert at["label"]["threat_model"] == str(threat)
    assert at["reid"]["threat_model"] == str(
        ThreatModel(queries=500, candidate_queries=True, candidates=1000)
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data": {"name": "cifar10"}}, "data set 'cifar10', not 'shapes'"),
        ({"system": {"scheme": "lbvq", "options": {}, "stages": []}}, "scheme 'lbvq', not 'deepjscc'"),
        ({"system": {"scheme": "deepjscc", "options": {"stem": 8}, "stages": []}}, "'stem' 8, not 4"),
        ({"system": {"scheme": "deepjscc", "options": {}, "stages": [{"name": "keyed"}]}}, "stages [{"),
    ],
)
def test_an_attack_on_something_else_is_refused(tmp_path, base, changes, told):
    with refused(told):
        leaks_of_attacks([attack(tmp_path / "r.json", **changes)], read_header(base), WEIGHTS)


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"system": 3}', "{"])
def test_a_file_of_another_kind_is_a_data_error(tmp_path, base, text):
    path = tmp_path / "r.json"
    if text is not None:
        path.write_text(text)
    with refused(f"{path} tosc attack", DataError):
        leaks_of_attacks([path], read_header(base), WEIGHTS)


@pytest.mark.parametrize(
    "told",
    [
        {"abc": {"psnr_db": best("a", "psnr_db", 13.0)}},
        {"nan": {"psnr_db": best("a", "psnr_db", 13.0)}},
        *({"12": {"psnr_db": best("a", "psnr_db", value)}} for value in ("x", None, float("nan"))),
        {"12": {"psnr_db": {"figure": "psnr_db"}}},
        {"12": None},
    ],
)
def test_figures_that_are_no_numbers_are_a_data_error(tmp_path, base, told):
    path = attack(tmp_path / "r.json", strongest=told)
    with refused(f"{path} tosc attack", DataError):
        leaks_of_attacks([attack(tmp_path / "good.json"), path], read_header(base), WEIGHTS)


def test_of_several_files_the_stronger_attacker_counts(tmp_path, base):
    weak = {snr: {"psnr_db": best("w", "psnr_db", 13.0)} for snr in ("12", "4")}
    strong = {"12": {"psnr_db": best("s", "psnr_db", 13.5)}}
    files = [attack(tmp_path / f"{i}.json", strongest=told) for i, told in enumerate((weak, strong))]
    for paths in (files, files[::-1]):
        both = leaks_of_attacks(paths, read_header(base), WEIGHTS)
        assert [(snr, by["psnr_db"]["attacker"]) for snr, by in both.items()] == [("4", "w"), ("12", "s")]


def test_a_card_is_given_the_leaks_of_a_scheme_and_of_no_attacker(tmp_path, noisy, attacker, folder):
    own = {"system": {"weights": describe_module(load_checkpoint(noisy).policy)["weights"]}}
    system = {"scheme": "dp-laplace", "options": {}, "stages": []}
    record = attack(tmp_path / "r.json", system=system, attacked=own)
    with refused("an attacker's are measured"):
        packed(attacker, "it", folder, leaks=(attack(tmp_path / "other.json"),))
    assert not list(folder.iterdir())
    told = read_header(packed(noisy, "part", folder, leaks=(record,)))["card"]
    assert told["leaks"]["12"]["psnr_db"]["value"] == 13.5
    assert told["training"] == read_header(noisy)["card"]["training"]


# -- the page ---------------------------------------------------------------------------------------


def test_the_page_says_everything_that_a_card_knows(tmp_path, base, noisy, attacker, folder):
    record = attack(tmp_path / "r.json")
    scheme = packed(base, "deepjscc-shapes", folder, leaks=(record,))
    packed(attacker, "inversion-deepjscc-shapes", folder, scheme=scheme, ssim=False)
    packed(noisy, "part", folder)
    page = render(folder)
    assert page.count("### ") == 3
    for told in (
        data_set("shapes").terms,
        "for `task`",
        "trained at 12 dB, offered for 0 to 12 dB",
        "from `deepjscc`'s weights (7 epochs, seed 5), then 7 epochs, seed 5",
        "13.50 dB (+1.00) by `linear` (a)",
        "90.0% (1.7%) by `nearest-symbols` (b)",
        f"Threat model (b): {ThreatModel(queries=500, candidate_queries=True, candidates=1000)}.",
        "commit `unknown`",
        "Leaks: not measured on these weights.",
        "`inversion` against `deepjscc`",
        "30 training images (system's half). Shapes.",
    ):
        assert told in page, told
    assert "| leak | 0 dB | 12 dB |" in page
    assert page.index("| PSNR") < page.index("| re-identification") < page.index("| inference of label")
    columns = {
        line.count("|") for line in page.splitlines() if line.startswith("| leak") or "re-ident" in line[:30]
    }
    assert len(columns) == 1

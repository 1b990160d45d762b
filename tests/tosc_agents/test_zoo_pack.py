"""Packing measures what ships, keeps within the zoo's limits, and cards say where every figure comes from."""

from __future__ import annotations

import json
import os

import pytest
import torch
from tosc_agents.commands.common import parse_parts
from tosc_agents.zoo import pack
from tosc_agents.zoo.amend import Amend
from tosc_agents.zoo.card_leaks import leaks_from_file, leaks_from_rows, merged
from tosc_agents.zoo.cards import Cards, render
from tosc_agents.zoo.pack import Pack

from tosc_env.attackers import make_eavesdropper
from tosc_env.data import register_source, sources, terms_of
from tosc_env.errors import CheckpointError, DataError, InputError
from tosc_env.game import GameConfig
from tosc_env.io.checkpoint_files import card_path, read_header, read_tensors
from tosc_env.io.checkpoints import load_checkpoint, save_checkpoint
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
START = {"file": "base.safetensors", "scheme": "deepjscc", "fresh": []}
FLOORS = {"mean-image": {"psnr_db": 12.5, "ssim": 0.1}}


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
    torch.manual_seed(0)
    save_checkpoint(path, make_scheme("deepjscc", SPEC, **TINY), card())
    return path


@pytest.fixture
def noisy(tmp_path):
    """Calibrated noise that was trained from the baseline, as training leaves it."""
    path = tmp_path / "noisy.safetensors"
    torch.manual_seed(1)
    save_checkpoint(
        path, make_scheme("dp-laplace", SPEC, **TINY, **CALIBRATED), card(training={"warm_start": START})
    )
    return path


def attacker_of(scheme, path):
    """An attacker as 'tosc attack' leaves it."""
    policy = make_eavesdropper("inversion", SPEC, widths=[4, 4, 4, 4])
    training = {"threat_model": ThreatModel().plain(), "fit": {"epochs": 2}, "seed": 0}
    told = {"against": scheme.name, "composition": scheme.composition}
    save_checkpoint(path, policy, card(**told, training=training))
    return path


@pytest.fixture
def attacker(tmp_path):
    return attacker_of(make_scheme("deepjscc", SPEC, **TINY), tmp_path / "attacker.safetensors")


def packed(path, name, folder, **options):
    return Pack(checkpoint=path, name=name, folder=folder, snr_db=(0.0, 12.0), **options).run()


def one_sentence(caught, *parts) -> bool:
    text = str(caught.value)
    return "\n" not in text and text.endswith(".") and all(str(part) in text for part in parts)


# -- packing ----------------------------------------------------------------------------------------


def test_a_packed_scheme_is_float16_with_its_accuracy_range_and_terms(base, folder):
    path = packed(base, "deepjscc-shapes", folder)
    told = read_header(path)["card"]
    assert told["valid_snr_db"] == [0.0, 12.0] and told["test_accuracy"].keys() == {"0", "12"}
    assert told["test_images"] > 0 and told["terms"] == terms_of("shapes")
    own, shipped = read_tensors(base), read_tensors(path)
    assert all(torch.equal(shipped[n], t.half()) for n, t in own.items() if t.is_floating_point())


def test_weights_that_are_there_are_kept_and_others_are_refused_unless_asked(tmp_path, base, noisy, folder):
    path = packed(base, "it", folder)
    os.utime(path, ns=(1, 1))
    Amend(names=("it",), folder=folder, commit="abc").run()
    told = read_header(path)["card"]
    packed(base, "it", folder)
    assert path.stat().st_mtime_ns == 1, "bit for bit the same: only the card is new"
    assert read_header(path)["card"] == {**told, "commit": "unknown"}
    before = {each: each.read_bytes() for each in folder.iterdir()}
    with pytest.raises(InputError) as caught:
        packed(noisy, "it", folder)
    assert one_sentence(caught, path, "holds other weights", "--overwrite")
    assert {each: each.read_bytes() for each in folder.iterdir()} == before
    packed(noisy, "it", folder, overwrite=True)
    assert read_header(path)["name"] == "dp-laplace"


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
    assert "mean-image" in told["floors"] and told["terms"] == terms_of("shapes")


@pytest.mark.parametrize(
    ("play", "stages"),
    [("encryption", ()), ("encryption", ("laplace:epsilon=1",)), (None, ("keyed:mode=shuffle",))],
)
def test_an_attacker_is_measured_against_no_other_composition(tmp_path, base, folder, play, stages):
    parts = parse_parts(stages)
    target = load_checkpoint(base, name=play, stages=parts).policy
    path = attacker_of(target, tmp_path / "it.safetensors")
    for wrong in ({}, {"play": "encryption", "stages": ("laplace:epsilon=2",)}, {"play": "label-only"}):
        with pytest.raises(InputError) as caught:
            packed(path, "it", folder, scheme=base, **wrong)
        assert one_sentence(caught, "is not measured against", "--stages")
    assert not list(folder.iterdir())
    told = read_header(packed(path, "it", folder, scheme=base, play=play, stages=stages, ssim=False))["card"]
    assert told["composition"] == target.composition


def test_an_attacker_of_a_fixed_key_is_not_packed(tmp_path, base, folder):
    target = load_checkpoint(base, stages=[{"name": "keyed", "lifetime": "fixed"}]).policy
    path = attacker_of(target, tmp_path / "it.safetensors")
    with pytest.raises(InputError, match="of use against that key alone"):
        packed(path, "it", folder, scheme=base, stages=("keyed:lifetime=fixed",))


def test_an_attacker_above_the_limit_is_refused_before_it_is_measured(attacker, folder, monkeypatch):
    count = sum(p.numel() for p in load_checkpoint(attacker).policy.parameters())
    monkeypatch.setattr(pack, "ATTACKER_LIMIT", count - 1)
    with pytest.raises(InputError) as caught:
        packed(attacker, "it", folder)
    assert one_sentence(caught, "'inversion'", f"{count:,} parameters", f"{count - 1:,}")
    assert not list(folder.iterdir())
    monkeypatch.setattr(pack, "ATTACKER_LIMIT", count)
    with pytest.raises(InputError, match="give --scheme"):
        packed(attacker, "it", folder)


def test_a_file_that_the_zoo_has_no_room_for_is_refused_and_the_old_one_stays(base, folder, monkeypatch):
    size = packed(base, "one", folder).stat().st_size
    before = (folder / "one.safetensors").read_bytes()
    monkeypatch.setattr(pack, "LIMIT", size - 1)
    with pytest.raises(InputError, match=f"one has .* bytes; a file of the zoo may have {size - 1:,}"):
        packed(base, "one", folder)
    assert (folder / "one.safetensors").read_bytes() == before
    monkeypatch.setattr(pack, "LIMIT", size)
    monkeypatch.setattr(pack, "ZOO_LIMIT", 2 * size - 1)
    with pytest.raises(InputError) as caught:
        packed(base, "two", folder)
    assert one_sentence(caught, f"two has {size:,} bytes", f"the other files of the zoo {size:,}")
    assert not list(folder.glob("two*"))
    packed(base, "one", folder)  # what it replaces does not count


# -- what a card is given ---------------------------------------------------------------------------


def attack(path, **changes):
    """results.json of an attack on the tiny baseline, as 'tosc attack' writes it."""

    def figures(**values):
        return {name: {"mean": value, "interval95": None} for name, value in values.items()}

    record = {
        "system": {"scheme": "deepjscc", "options": {**TINY}, "stages": [], "card": {}},
        "data": {"name": "shapes"},
        "threat_model": {**ThreatModel(queries=500).plain()},
        "results": {
            "leaks": {
                "mean-image": {"12": figures(psnr_db=12.5, reid_pixels=0.001)},
                "linear": {"12": figures(psnr_db=13.5, reid_pixels=0.004), "0": figures(psnr_db=13.0)},
                "label": {"12": figures(infer_label=0.8, infer_colour=0.3)},
                "nearest-symbols": {"12": figures(reid_query=0.9)},
            },
            "floors": FLOORS,
            "chance": {"label": 0.1, "colour": 0.2},
            "candidates": 60,
        },
    }
    path.write_text(json.dumps({**record, **changes}))
    return path


def test_an_attacks_results_give_the_strongest_attacker_of_each_leak(tmp_path, base):
    header = read_header(base)
    leaks = leaks_from_file(attack(tmp_path / "r.json"), header, arm="deepjscc")
    assert list(leaks) == ["0", "12"] and list(leaks["0"]) == ["psnr_db"]
    at = leaks["12"]
    assert (at["psnr_db"]["attacker"], at["psnr_db"]["above_floor"]) == ("linear", 1.0)
    assert (at["reid"]["attacker"], at["reid"]["figure"]) == ("nearest-symbols", "reid_query")
    assert at["reid"]["chance"] == 1 / 60 and at["label"]["chance"] == 0.1 and at["colour"]["value"] == 0.3
    assert at["label"]["threat_model"] == str(ThreatModel(queries=500))
    assert at["reid"]["threat_model"] == str(ThreatModel(queries=500, candidate_queries=True))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data": {"name": "cifar10"}}, "the data set 'cifar10', not 'shapes'"),
        (
            {"system": {"scheme": "lbvq", "options": {}, "stages": []}},
            "the scheme 'lbvq', not 'deepjscc'",
        ),
        (
            {"system": {"scheme": "deepjscc", "options": {"stem": 8}, "stages": []}},
            "the option 'stem' 8, not 4",
        ),
        (
            {"system": {"scheme": "deepjscc", "options": {}, "stages": [{"name": "keyed"}]}},
            "the list of stages [{'name': 'keyed'}], not []",
        ),
    ],
)
def test_an_attack_on_something_else_is_refused(tmp_path, base, changes, told):
    with pytest.raises(InputError) as caught:
        leaks_from_file(attack(tmp_path / "r.json", **changes), read_header(base), arm="deepjscc")
    assert one_sentence(caught, told)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"findings": [{}]}', '{"findings": 3}', "{"])
def test_a_file_of_another_kind_is_a_data_error(tmp_path, base, text):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        leaks_from_file(path, read_header(base), arm="deepjscc")
    assert one_sentence(caught, path, "tosc attack")
    with pytest.raises(DataError, match="none"):
        leaks_from_file(tmp_path / "none", read_header(base), arm="deepjscc")


def row(attacker, figure, mean, snr_db=12.0, arm="lbvq"):
    return {
        "experiment": "fig3",
        "arm": arm,
        "figure": figure,
        "mean": mean,
        "interval": None,
        "snr_db": snr_db,
        "attacker": attacker,
    }


ROWS = [
    row("a", "psnr_db", 13.0),
    row("b", "psnr_db", 13.5),
    row("a", "psnr_db", 14.0, arm="deepjscc"),
    row("b", "psnr_db", 12.75, snr_db=0.0),
    row("match", "reid_match", 0.25),
    row("query", "reid_query", 0.75),
    row("label", "infer_label", 0.5),
    row(None, "accuracy", 0.9),
    row(None, "parameters", 3e6, snr_db=None),
]


def test_rows_of_an_experiment_give_the_strongest_of_their_arm_alone():
    leaks = leaks_from_rows(ROWS, "lbvq", FLOORS, chance={"label": 0.1})
    assert {snr: list(by) for snr, by in leaks.items()} == {
        "0": ["psnr_db"],
        "12": ["psnr_db", "reid", "label"],
    }
    best = leaks["12"]["psnr_db"]
    assert (best["attacker"], best["value"], best["floor"], best["above_floor"]) == ("b", 13.5, 12.5, 1.0)
    assert leaks["12"]["reid"]["attacker"] == "query" and leaks["12"]["reid"]["chance"] == 0.001
    assert leaks["12"]["reid"]["threat_model"] == str(ThreatModel(candidate_queries=True))
    assert leaks["12"]["label"]["threat_model"] == str(ThreatModel())
    json.dumps(leaks, allow_nan=False)


def test_rows_without_that_arm_or_floor_are_refused():
    with pytest.raises(InputError, match="unknown arm with attackers 'ibal'; available: deepjscc, lbvq"):
        leaks_from_rows(ROWS, "ibal", FLOORS)
    with pytest.raises(InputError, match=r"above the mean image's, but the floors are \{\}"):
        leaks_from_rows(ROWS, "lbvq", {})


def test_a_reports_results_are_read_by_experiment_and_arm(tmp_path, base):
    path = tmp_path / "r.json"
    trained = {"lbvq, seed 0": {"card": card()}}
    threat = ThreatModel(queries=500)
    details = {
        "floors": FLOORS,
        "chance": {"label": 0.1},
        "trainings": trained,
        "threat_model": threat.plain(),
    }
    found = {"experiment": "fig3", "rows": ROWS, "details": details}
    path.write_text(json.dumps({"heading": {}, "findings": [found]}))
    header = read_header(base)
    told = leaks_from_rows(ROWS, "lbvq", FLOORS, chance={"label": 0.1}, threat=threat)
    assert leaks_from_file(path, header, arm="lbvq") == told
    with pytest.raises(InputError, match="no experiment 'fig4'; it has fig3"):
        leaks_from_file(path, header, arm="lbvq", experiment="fig4")
    trained["lbvq, seed 0"]["card"]["data"]["name"] = "cifar10"
    path.write_text(json.dumps({"findings": [found]}))
    with pytest.raises(InputError, match="fig3 was run on cifar10, the scheme's data set is shapes"):
        leaks_from_file(path, header, arm="lbvq")


def test_a_mean_over_trainings_is_told_as_such():
    mean = {**row("a", "psnr_db", 13.0), "over": "trainings", "samples": 3}
    told = leaks_from_rows(
        [mean, {**row("b", "infer_label", 0.5), "over": "channel noise", "samples": 3}], "lbvq", FLOORS
    )
    assert told["12"]["psnr_db"]["mean_of_trainings"] == 3 and "mean_of_trainings" not in told["12"]["label"]


def test_of_several_files_the_stronger_attacker_counts():
    weak = leaks_from_rows([row("w", "psnr_db", 13.0), row("w", "psnr_db", 13.0, 4.0)], "lbvq", FLOORS)
    strong = leaks_from_rows([row("s", "psnr_db", 13.5)], "lbvq", FLOORS)
    for both in (merged([weak, strong]), merged([strong, weak])):
        assert [both[snr]["psnr_db"]["attacker"] for snr in ("4", "12")] == ["w", "s"]
        assert list(both) == ["4", "12"]


def test_amending_writes_the_card_alone(tmp_path, base, noisy, folder):
    path = packed(noisy, "part", folder)
    header, weights = read_header(path), path.read_bytes()
    record = attack(tmp_path / "r.json", system={"scheme": "dp-laplace", "options": {}, "stages": []})
    assert Amend(names=("part",), folder=folder, leaks=(record,), start=base, commit="abc123").run() == [
        card_path(path)
    ]
    again = read_header(path)
    told = again.pop("card")
    before = header.pop("card")
    assert again == header and path.read_bytes() == weights
    start = {**START, "data": "shapes", "epochs": 7, "seed": 5, "warm_start": None}
    assert told["leaks"]["12"]["psnr_db"]["value"] == 13.5 and told["commit"] == "abc123"
    assert told["training"] == {**before["training"], "warm_start": start}
    changed = ("leaks", "commit", "training", "terms")
    assert {k: v for k, v in told.items() if k not in changed} == {
        k: v for k, v in before.items() if k not in changed
    }


def test_several_files_get_their_terms_at_once_or_none_does(tmp_path, base, attacker, folder):
    for name in ("one", "two"):
        save_checkpoint(folder / f"{name}.safetensors", load_checkpoint(base).policy, card())
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        Amend(names=("one", "three"), folder=folder).run()
    assert "terms" not in read_header(folder / "one.safetensors")["card"]
    Amend(names=("one", "two"), folder=folder).run()
    assert all(read_header(folder / f"{n}.safetensors")["card"]["terms"] for n in ("one", "two"))


def test_what_does_not_belong_to_a_card_is_refused(tmp_path, base, noisy, attacker, folder):
    packed(base, "deepjscc-shapes", folder)
    record = attack(tmp_path / "r.json")
    save_checkpoint(
        folder / "attacker.safetensors", load_checkpoint(attacker).policy, read_header(attacker)["card"]
    )
    save_checkpoint(folder / "known.safetensors", load_checkpoint(noisy).policy, card(commit="f00"))
    save_checkpoint(
        folder / "started.safetensors", load_checkpoint(base).policy, card(training={"warm_start": START})
    )
    wrong = [
        (Amend(names=(), folder=folder), "name at least one file"),
        (
            Amend(names=("deepjscc-shapes", "known"), leaks=(record,), folder=folder),
            "belong to one file, not to 2",
        ),
        (Amend(names=("attacker",), leaks=(record,), folder=folder), "an attacker's are measured"),
        (Amend(names=("deepjscc-shapes",), start=base, folder=folder), "started from nothing"),
        (Amend(names=("started",), start=noisy, folder=folder), "says its card, not from"),
        (Amend(names=("known",), commit="abc", folder=folder), "knows its commit, f00"),
    ]
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for amend, told in wrong:
        with pytest.raises(InputError) as caught:
            amend.run()
        assert one_sentence(caught, told)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_terms_are_said_in_the_data_layer_for_strangers_too(monkeypatch):
    assert "non-commercial research" in terms_of("celeba") and "cite" in terms_of("cifar10")

    def load(split="train"):
        raise AssertionError("terms are read without the data")

    monkeypatch.setattr(sources, "_table", dict(sources._table))
    register_source("stranger")(load)
    assert terms_of("stranger") == "stranger: its terms are not stated; ask whoever gave it."
    load.terms = "stranger: CC0."
    assert terms_of("stranger") == "stranger: CC0."
    with pytest.raises(InputError, match="unknown data set"):
        terms_of("nothing")


# -- the page ---------------------------------------------------------------------------------------


def test_the_page_says_everything_that_a_card_knows(tmp_path, base, noisy, attacker, folder):
    scheme = packed(base, "deepjscc-shapes", folder)
    packed(attacker, "inversion-deepjscc-shapes", folder, scheme=scheme, ssim=False)
    packed(noisy, "part", folder)
    Amend(names=("part",), folder=folder, start=base).run()
    Amend(names=("deepjscc-shapes",), folder=folder, leaks=(attack(tmp_path / "r.json"),), commit="abc").run()
    page = Cards(tmp_path / "zoo.md", folder).run().read_text()
    assert page == render(folder) and page.count("### ") == 3
    for told in (
        terms_of("shapes"),
        "for `task`",
        "trained at 12 dB, offered for 0 to 12 dB",
        "from `deepjscc`'s weights (7 epochs, seed 5), then 7 epochs, seed 5",
        "13.50 dB (+1.00) by `linear` (a)",
        "90.0% (1.7%) by `nearest-symbols` (b)",
        f"Threat model (b): {ThreatModel(queries=500, candidate_queries=True)}.",
        "commit `abc`",
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
    Amend(names=("deepjscc-shapes",), folder=folder, leaks=(attack(tmp_path / "r.json"),)).run()
    assert render(folder) == page

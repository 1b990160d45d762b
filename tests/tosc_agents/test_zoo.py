"""The weights that ship: small, float16, with a card that says everything, and good at what they are for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import gymnasium as gym
import pytest
import torch
from refusals import LISTED, refused
from tosc_agents import zoo as zoo_module
from tosc_agents.training.evaluate import evaluate
from tosc_agents.zoo import WEIGHTS, ZOO, Folder
from tosc_agents.zoo.cards import FILTERS, render
from tosc_agents.zoo.pack import ATTACKER_LIMIT, LIMIT, ZOO_LIMIT

from tosc_env import zoos
from tosc_env.attackers import eavesdroppers
from tosc_env.data import data_set
from tosc_env.errors import CheckpointError
from tosc_env.game import GameConfig
from tosc_env.io.checkpoint_files import card_path, read_header, read_tensors, sha256
from tosc_env.io.checkpoints import load_checkpoint, save_checkpoint
from tosc_env.schemes import defaults_of, schemes
from tosc_env.zoos import Wanted, installed_zoos, resolve_eavesdropper, resolve_scheme

FILES = sorted(WEIGHTS.glob("*.safetensors"))
SCHEME, ATTACKER = WEIGHTS / "deepjscc-shapes.safetensors", WEIGHTS / "inversion-deepjscc-shapes.safetensors"
SHAPES = "ToSC-Shapes-v0"


def test_the_page_of_model_cards_is_what_the_headers_say():
    page = Path(__file__).parents[2] / "docs" / "zoo.md"
    assert page.read_text(encoding="utf-8") == render(WEIGHTS), "run python -m tosc_agents.zoo.cards"


def test_a_card_tells_of_each_attribute_what_it_has_balanced_accuracy_first():
    before = {"infer_Smiling": 0.88, "plain_Smiling": 0.881}
    assert FILTERS["of_each"]({"0": {}, "20": before}) == "at 20 dB Smiling 88.0% (plain 88.1%)"
    told = FILTERS["of_each"]({"20": {**before, "auc_Smiling": 0.95}})
    assert told == "at 20 dB Smiling 88.0% (AUC 95.0%, plain 88.1%)"


def test_every_file_is_small_float16_finite_and_loads_and_its_card_says_how_it_was_made():
    """Within the limits of a file and of the zoo; an attacker within those of attackers."""
    assert sum(path.stat().st_size for path in FILES) <= ZOO_LIMIT == 80_000_000
    for path in FILES:
        assert path.stat().st_size <= LIMIT == 8_000_000, path
        stored = read_tensors(path).values()
        kinds = {tensor.dtype for tensor in stored}
        assert torch.float16 in kinds and kinds <= {torch.float16, torch.int64, torch.bool}, path
        assert all(bool(tensor.isfinite().all()) for tensor in stored), path
        policy = load_checkpoint(path).policy
        header, text = read_header(path), card_path(path).read_text(encoding="utf-8")
        card = header["card"]
        assert json.loads(text)["sha256"] == sha256(path) and text.endswith("}\n"), path
        assert text.count("\n") > 20, f"{path}: in lines, so that a change of it can be read"
        assert header["name"] in (schemes if header["kind"] == "scheme" else eavesdroppers), path
        assert card["data"]["name"] == card["setting"]["data"] and len(card["labels"]) >= 2, path
        assert card["data"]["provenance"].endswith(".") and card["data"]["images"] > 1, path
        low, high = card["valid_snr_db"]
        assert low <= high and isinstance(card["training"]["seed"], int), path
        assert GameConfig(**card["setting"]).num_symbols == header["spec"]["num_symbols"], path
        assert card["torch"] and card["commit"] and card["device"], path
        real = card["data"]["name"] != "shapes"
        assert not real or card["terms"] == data_set(card["data"]["name"]).terms, path
        if header["kind"] == "scheme":
            assert card["test_images"] > 0 and card["test_accuracy"] and "against" not in card, path
            assert all(0 < accuracy <= 1 for accuracy in card["test_accuracy"].values()), path
            leaks = card["leaks"].values() if real else ()
            assert not real or any({"psnr_db", "reid"} < by_leak.keys() for by_leak in leaks), path
            for leak, best in ((name, one) for by_leak in leaks for name, one in by_leak.items()):
                assert best["attacker"] and best["threat_model"].startswith("images: "), path
                assert ("above_floor" in best) == (leak == "psnr_db"), path
        else:
            assert sum(p.numel() for p in policy.parameters()) <= ATTACKER_LIMIT == 1_000_000, path
            weights = defaults_of(card["against"]).weights or card["against"]
            assert card["composition"]["weights"] == weights, path
            assert card["training"]["threat_model"]["images"] == "other-half", path
        json.dumps(header, allow_nan=False)


def test_the_zoo_is_found_through_its_entry_point_and_lists_a_line_per_file():
    assert any(zoo is ZOO for zoo in installed_zoos())
    lines = Folder(WEIGHTS).listing()
    assert len(lines) == len(FILES) and all("channel uses" in line and " dB" in line for line in lines)
    assert any("eavesdropper 'inversion' against 'deepjscc' for shapes 3x32x32" in line for line in lines)


# -- play -------------------------------------------------------------------------------------------


def means(role, keys=("accuracy", "mse"), episodes=5, **options):
    """Mean of info figures over a few episodes of 16 messages with default players and idle actions."""
    env = gym.make(SHAPES, role=role, split="test", **options)
    totals, count = dict.fromkeys(keys, 0.0), 0
    env.action_space.seed(0)
    for seed in range(episodes):
        env.reset(seed=seed)
        done = False
        while not done:
            _, _, done, _, info = env.step(env.action_space.sample())
            count += 1
            for key in keys:
                totals[key] += info[key]
    env.close()
    return {key: total / count for key, total in totals.items()}


def test_the_default_scheme_and_the_rival_that_sends_the_label_decide_clearly_better_than_chance():
    assert means("eavesdropper")["accuracy"] > 0.6
    assert means("eavesdropper", scheme="label-only")["accuracy"] > 0.6
    env = gym.make_vec(SHAPES, num_envs=64, role="eavesdropper", split="test")
    env.reset(seed=0)
    *_, info = env.step(torch.full((64, 3, 32, 32), 0.5))
    assert float(info["accuracy"].mean()) > 0.6
    env.close()


def test_the_default_attacker_sees_clearly_more_than_the_mean_image():
    # The same seeds draw the same images for both, so the comparison is paired.
    assert means("receiver")["mse"] < 0.97 * means("receiver", eavesdropper="mean-image")["mse"]


def test_the_default_receiver_hears_nothing_in_noise_symbols():
    """A transmitter that sends random symbols: chance for the receiver, so it has no other way to the label."""
    assert means("transmitter")["accuracy"] < 0.35


def test_weights_are_as_good_as_their_card_says():
    """The card's test accuracy is reached again, up to float16 and the noise of a part of the test images."""
    loaded = load_checkpoint(SCHEME)
    game = GameConfig(**loaded.card["setting"]).game(split="test")
    part = game.with_rules(source=game.source.subset(range(500)))
    level = max(map(float, loaded.card["test_accuracy"]))
    found = evaluate(part, loaded.policy, {}, snr_db=(level,), seeds=1)
    told = loaded.card["test_accuracy"][f"{level:g}"]
    assert found.accuracy[level].mean == pytest.approx(told, abs=0.06)


# -- what there are no weights for ------------------------------------------------------------------


def beyond(path):
    """An SNR above those a file is meant for."""
    return read_header(path)["card"]["valid_snr_db"][1] + 5.0


@pytest.mark.parametrize(
    "options",
    [
        {"num_symbols": 32},
        {"snr_db": beyond},
        {"snr_db": {"low": -90.0, "high": 12.0}},
        {"attributes": ["colour"]},
    ],
)
def test_a_game_without_weights_is_an_error_that_lists_what_there_is(options):
    options = {key: value(SCHEME) if callable(value) else value for key, value in options.items()}
    with refused("'deepjscc'", longest=LISTED) as caught:
        gym.make(SHAPES, role="eavesdropper", **options)
    told = str(caught.value)
    near = [line for line in ZOO.listing() if line.removeprefix("scheme ") in told]
    assert "\n" not in told and 0 < len(near) <= 2 and near[0].startswith("scheme")
    if "num_symbols" in options:
        assert "32 channel uses" in told


def test_an_attacker_is_asked_for_at_the_snr_of_its_own_link():
    with refused("eavesdropper 'inversion' 'deepjscc'", longest=LISTED):
        gym.make(SHAPES, role="receiver", eavesdropper_snr_db=beyond(ATTACKER), eavesdropper="inversion")


def test_over_another_channel_the_weights_play_with_a_warning():
    with pytest.warns(
        UserWarning, match="trained over 'awgn'; over this Rayleigh channel they play untrained"
    ):
        gym.make(SHAPES, role="eavesdropper", channel="rayleigh").close()


def test_a_folder_of_ones_own_is_a_zoo_too(tmp_path):
    for path in (SCHEME, card_path(SCHEME)):
        shutil.copy(path, tmp_path)
    mine = Folder(tmp_path)
    wanted = Wanted("shapes", GameConfig("shapes").game(split="test"))
    assert mine.find("scheme", "deepjscc", wanted) == tmp_path / SCHEME.name
    assert mine.find("scheme", "lbvq", wanted) is None
    assert mine.find("eavesdropper", "inversion", wanted, against=zoos.UNPROTECTED) is None
    assert len(mine.listing()) == 1 and Folder(tmp_path / "later").listing() == []


def test_a_damaged_file_or_a_card_of_other_weights_in_a_zoo_is_named(tmp_path):
    (tmp_path / "broken.safetensors").write_bytes(SCHEME.read_bytes()[:1000])
    with refused("broken.safetensors", CheckpointError):
        Folder(tmp_path).listing()
    shutil.copy(SCHEME, tmp_path / "broken.safetensors")
    shutil.copy(card_path(ATTACKER), tmp_path / "broken.json")
    with refused("broken.json", CheckpointError):
        Folder(tmp_path).listing()


@pytest.mark.parametrize(
    ("path", "needed"),
    [
        (SCHEME, ("data", "labels", "setting", "valid_snr_db")),
        (ATTACKER, ("valid_snr_db", "composition", "against")),
    ],
    ids=["scheme", "attacker"],
)
def test_a_card_in_a_zoo_that_does_not_say_what_it_is_for_is_one_sentence(tmp_path, path, needed):
    shutil.copy(path, tmp_path)
    card = json.loads(card_path(path).read_text(encoding="utf-8"))
    for name in needed:
        rest = {key: value for key, value in card.items() if key != name}
        for wrong in (rest, {**rest, name: 7}):
            card_path(tmp_path / path.name).write_text(json.dumps(wrong))
            with pytest.raises(CheckpointError) as caught:
                Folder(tmp_path).listing()
            told = str(caught.value)
            assert path.name in told and repr(name) in told and "\n" not in told and told.endswith(".")


def test_each_zoo_reads_its_files_once(tmp_path, monkeypatch):
    """However many there are: to read a card is to digest its weights."""
    for path in (SCHEME, card_path(SCHEME)):
        shutil.copy(path, tmp_path)
    first, second = Folder(tmp_path), Folder(tmp_path)
    assert first.listing() == second.listing()
    monkeypatch.setattr(zoo_module, "read_header", lambda path: pytest.fail("read again"))
    assert first.listing() == second.listing() and len(first.headers()) == 1


def test_a_file_with_added_stages_is_not_what_its_bare_name_stands_for(tmp_path):
    loaded = load_checkpoint(SCHEME, stages=["keyed"])
    save_checkpoint(tmp_path / "a.safetensors", loaded.policy, loaded.card)
    wanted = Wanted("shapes", GameConfig("shapes").game(split="test"))
    assert Folder(tmp_path).find("scheme", "deepjscc", wanted) is None
    save_checkpoint(tmp_path / "longer.safetensors", load_checkpoint(SCHEME).policy, loaded.card)
    assert Folder(tmp_path).find("scheme", "deepjscc", wanted) == tmp_path / "longer.safetensors"


# -- every name plays -------------------------------------------------------------------------------


def shapes(scheme=None):
    """A game of Shapes, with a scheme's constellation."""
    constellation = None if scheme is None else scheme.constellation
    return GameConfig("shapes", {"num_images": 60}, constellation=constellation).game(split="test")


def test_a_kind_of_a_scheme_is_chosen_by_its_options_and_has_attackers_of_its_own_alone():
    game = shapes()
    assert resolve_scheme("dp-laplace", None, game).options["mode"] == "laplace"
    calibrated = resolve_scheme("dp-laplace", {"mode": "calibrated", "epsilon": 0.1}, game)
    assert calibrated.options["mode"] == "calibrated" and calibrated.stages[0].epsilon == 0.1
    assert "no differential privacy is claimed" in calibrated.guarantee()
    with refused("'lbvq' codewords=64", longest=LISTED):
        resolve_scheme("lbvq", {"codewords": 64}, game)
    with refused("epsilon epsilon_range [1, 100] 500"):
        resolve_scheme("dp-laplace", {"epsilon": 500.0}, game)
    for name, options, stages in (
        ("dp-laplace", {"epsilon": 5.0}, ()),
        ("encryption", {"mode": "shuffle"}, ()),
        ("deepjscc", {}, ("keyed",)),
        ("encryption", {}, ("laplace",)),
    ):
        scheme = resolve_scheme(name, options, game, stages=stages)
        with refused("'inversion'", longest=LISTED):
            resolve_eavesdropper("inversion", None, game, scheme)


def test_the_attacker_of_a_scheme_is_that_of_the_same_system_under_another_name():
    game = shapes()
    by_name = resolve_eavesdropper(None, None, game, resolve_scheme("encryption", None, game)).state_dict()
    scheme = resolve_scheme("deepjscc", None, game, stages=[{"name": "keyed", "mode": "rotation"}])
    by_stages = resolve_eavesdropper(None, None, game, scheme).state_dict()
    assert all(torch.equal(tensor, by_stages[name]) for name, tensor in by_name.items())

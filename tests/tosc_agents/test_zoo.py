"""The weights that ship: small, float16, with a card that says everything, and good at what they are for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import gymnasium as gym
import pytest
import torch
from tosc_agents import zoo as zoo_module
from tosc_agents.training.evaluate import evaluate
from tosc_agents.zoo import WEIGHTS, ZOO, Folder
from tosc_agents.zoo.cards import render
from tosc_agents.zoo.pack import ATTACKER_LIMIT, LIMIT, ZOO_LIMIT

import tosc_env
from tosc_env import zoos
from tosc_env.attackers import eavesdroppers
from tosc_env.data import data_set
from tosc_env.data.base import Source
from tosc_env.errors import CheckpointError, InputError
from tosc_env.game import Game, GameConfig
from tosc_env.io.checkpoint_files import card_path, read_header, read_tensors, sha256
from tosc_env.io.checkpoints import load_checkpoint, save_checkpoint
from tosc_env.schemes import defaults_of, schemes
from tosc_env.types import Context
from tosc_env.zoos import Wanted, installed_zoos, resolve_eavesdropper, resolve_scheme

FILES = sorted(WEIGHTS.glob("*.safetensors"))
ATTACKERS = [path for path in FILES if read_header(path)["kind"] == "eavesdropper"]
REAL = [path for path in FILES if read_header(path)["card"]["data"]["name"] != "shapes"]
SCHEME, ATTACKER = WEIGHTS / "deepjscc-shapes.safetensors", WEIGHTS / "inversion-deepjscc-shapes.safetensors"
SHAPES = "ToSC-Shapes-v0"


def test_the_weights_are_small_float16_finite_and_load():
    """Within the limits of a file and of the zoo; an attacker within those of attackers."""
    for path in FILES:
        assert path.stat().st_size <= LIMIT == 8_000_000, path
        stored = read_tensors(path).values()
        kinds = {tensor.dtype for tensor in stored}
        assert torch.float16 in kinds and kinds <= {torch.float16, torch.int64, torch.bool}, path
        assert all(bool(tensor.isfinite().all()) for tensor in stored), path
        policy = load_checkpoint(path).policy
        if path in ATTACKERS:
            assert sum(p.numel() for p in policy.parameters()) <= ATTACKER_LIMIT == 1_000_000, path
    assert sum(path.stat().st_size for path in FILES) <= ZOO_LIMIT == 80_000_000


def test_a_scheme_trained_on_real_data_tells_terms_and_its_three_leaks():
    """Of the strongest attacker tried, with its threat model: PSNR, re-identification, label or attributes."""
    for path in REAL:
        card = read_header(path)["card"]
        assert card["terms"] == data_set(card["data"]["name"]).terms, path
        if path in ATTACKERS:
            continue
        assert any({"psnr_db", "reid"} < by_leak.keys() for by_leak in card["leaks"].values()), path
        for by_leak in card["leaks"].values():
            for leak, best in by_leak.items():
                assert best["attacker"] and best["threat_model"].startswith("images: "), path
                assert ("above_floor" in best) == (leak == "psnr_db"), path


def test_the_page_of_model_cards_is_what_the_headers_say():
    page = Path(__file__).parents[2] / "docs" / "zoo.md"
    assert page.read_text(encoding="utf-8") == render(WEIGHTS), "run python -m tosc_agents.zoo.cards"


def test_a_card_names_the_digest_of_its_weights_and_says_how_they_were_made():
    for path in FILES:
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
        if header["kind"] == "scheme":
            assert card["test_images"] > 0 and card["test_accuracy"] and "against" not in card, path
            assert all(0 < accuracy <= 1 for accuracy in card["test_accuracy"].values()), path
        else:
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


def test_the_default_scheme_decides_clearly_better_than_chance_against_an_outside_eavesdropper():
    assert means("eavesdropper")["accuracy"] > 0.6


def test_the_default_attacker_sees_clearly_more_than_the_mean_image():
    # The same seeds draw the same images for both, so the comparison is paired.
    assert means("receiver")["mse"] < 0.97 * means("receiver", eavesdropper="mean-image")["mse"]


def test_the_default_receiver_hears_nothing_in_noise_symbols():
    """A transmitter that sends random symbols: chance for the receiver, so it has no other way to the label."""
    assert means("transmitter")["accuracy"] < 0.35


def test_an_outside_transmitter_that_plays_the_trained_encoder_does_well():
    scheme = load_checkpoint(SCHEME).policy
    env = gym.make(SHAPES, role="transmitter", split="test")
    context = Context(torch.tensor([12.0]), torch.zeros(1, 5, dtype=torch.int64))
    right, count = 0.0, 0
    for seed in range(5):
        observation, _ = env.reset(seed=seed)
        done = False
        while not done:
            images = torch.from_numpy(observation["image"])[None]
            symbols = scheme.encode(images, context)[0]
            observation, _, done, _, info = env.step((symbols / symbols.abs().max()).numpy())
            right, count = right + info["accuracy"], count + 1
    env.close()
    assert right / count > 0.6


def test_a_vector_environment_and_a_full_game_play_with_the_same_defaults():
    env = gym.make_vec(SHAPES, num_envs=64, role="eavesdropper", split="test")
    env.reset(seed=0)
    *_, info = env.step(torch.full((64, 3, 32, 32), 0.5))
    assert float(info["accuracy"].mean()) > 0.6
    env.close()
    game = tosc_env.parallel_env(SHAPES)
    game.reset(seed=0)
    game.close()


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
    with pytest.raises(InputError, match="no trained weights of the scheme 'deepjscc'") as caught:
        gym.make(SHAPES, role="eavesdropper", **options)
    told = str(caught.value)
    near = [line for line in ZOO.listing() if line.removeprefix("scheme ") in told]
    assert "\n" not in told and 0 < len(near) <= zoos.NEAREST and near[0].startswith("scheme")
    if "num_symbols" in options:
        assert "32 channel uses" in told


def test_an_attacker_is_asked_for_at_the_snr_of_its_own_link():
    with pytest.raises(InputError, match="eavesdropper 'inversion' against 'deepjscc'"):
        gym.make(SHAPES, role="receiver", eavesdropper_snr_db=beyond(ATTACKER), eavesdropper="inversion")


def test_over_another_channel_the_weights_play_with_a_warning():
    with pytest.warns(
        UserWarning, match="trained over 'awgn'; over this Rayleigh channel they play untrained"
    ):
        gym.make(SHAPES, role="eavesdropper", channel="rayleigh").close()


def test_the_rival_that_sends_the_label_plays_with_the_weights_of_the_baseline():
    attacker = {"eavesdropper": "mean-image"}
    found = means("eavesdropper", scheme="label-only")
    assert found["accuracy"] > 0.6
    env = gym.make(SHAPES, role="receiver", scheme="label-only", **attacker)
    env.reset(seed=0)
    env.close()


def test_a_stand_in_plays_with_the_weights_of_the_stand_in():
    with pytest.warns(UserWarning, match="stand in"):
        env = gym.make("ToSC-CIFAR-v0", role="eavesdropper")
    _, info = env.reset(seed=0)
    assert info["stand_in"] == 1.0
    env.close()


def test_a_folder_of_ones_own_is_a_zoo_too(tmp_path):
    for path in (SCHEME, card_path(SCHEME)):
        shutil.copy(path, tmp_path)
    mine = Folder(tmp_path)
    wanted = Wanted("shapes", GameConfig("shapes").game(split="test"))
    assert mine.find("scheme", "deepjscc", wanted) == tmp_path / SCHEME.name
    assert mine.find("scheme", "lbvq", wanted) is None
    assert mine.find("eavesdropper", "inversion", wanted, against=zoos.UNPROTECTED) is None
    assert len(mine.listing()) == 1


def test_a_damaged_file_or_a_card_of_other_weights_in_a_zoo_is_named(tmp_path):
    (tmp_path / "broken.safetensors").write_bytes(SCHEME.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"broken\.safetensors"):
        Folder(tmp_path).listing()
    shutil.copy(SCHEME, tmp_path / "broken.safetensors")
    shutil.copy(card_path(ATTACKER), tmp_path / "broken.json")
    with pytest.raises(CheckpointError, match=r"broken\.json is the card of other weights") as caught:
        Folder(tmp_path).listing()
    assert "\n" not in str(caught.value)


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


def test_a_folder_that_is_not_there_yet_is_an_empty_zoo(tmp_path):
    assert Folder(tmp_path / "later").listing() == []


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

SCHEMES = [name for name in schemes if schemes.origin(name).startswith("tosc_agents.schemes:")]


def a_game_of(data):
    """A game whose source has a data set's name and classes, and noise for images: enough to be given weights."""
    card = next(h["card"] for p, h in ZOO.headers().items() if p.stem == f"deepjscc-{data}")
    images = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8)
    labels = torch.arange(20) % 10
    return Game(Source.from_arrays(images, labels, name=data, class_names=card["labels"]))


@pytest.mark.parametrize("data", ["shapes", "cifar10"])
def test_every_scheme_has_weights_and_an_attacker_of_its_own_for(data):
    for name in SCHEMES:
        game = a_game_of(data)
        scheme = resolve_scheme(name, None, game)
        assert scheme.name == name and not scheme.training
        game = game.with_rules(constellation=scheme.constellation)
        attacker = resolve_eavesdropper(None, None, game, scheme)
        round_ = game.draw(4, generator=torch.Generator().manual_seed(0))
        context = Context(round_.snr_db, round_.message, generator=torch.Generator().manual_seed(0))
        sent = game.transmit(round_, scheme.encode(round_.batch.images, context))
        assert scheme.decode(sent.receiver.received, sent.receiver.csi, context).shape == (4, 10)
        heard = sent.eavesdropper
        assert attacker.reconstruct(heard.received, heard.csi).shape == (4, 3, 32, 32)


@pytest.mark.parametrize("role", ["transmitter", "receiver", "eavesdropper"])
def test_every_scheme_plays_by_name_in_every_role(role):
    for name in SCHEMES:
        env = gym.make(SHAPES, role=role, scheme=name, split="test", data_kwargs={"num_images": 100})
        env.reset(seed=0)
        *_, info = env.step(env.action_space.sample())
        assert set(info) >= {"accuracy", "psnr_db"} and 0 <= info["accuracy"] <= 1, name
        env.close()


def test_a_kind_of_a_scheme_is_chosen_by_its_options():
    game = a_game_of("shapes")
    assert resolve_scheme("dp-laplace", None, game).options["mode"] == "laplace"
    calibrated = resolve_scheme("dp-laplace", {"mode": "calibrated", "epsilon": 0.1}, game)
    assert calibrated.options["mode"] == "calibrated" and calibrated.stages[0].epsilon == 0.1
    assert "no differential privacy is claimed" in calibrated.guarantee()
    with pytest.raises(InputError, match="no trained weights of the scheme 'lbvq' with codewords=64"):
        resolve_scheme("lbvq", {"codewords": 64}, game)
    with pytest.raises(InputError, match=r"epsilon must lie in epsilon_range \[1, 100\], not 500"):
        resolve_scheme("dp-laplace", {"epsilon": 500.0}, game)


def test_an_attacker_of_another_budget_or_cipher_is_none_against_this_one():
    game = a_game_of("shapes")
    for name, options, stages in (
        ("dp-laplace", {"epsilon": 5.0}, ()),
        ("encryption", {"mode": "shuffle"}, ()),
        ("deepjscc", {}, ("keyed",)),
        ("encryption", {}, ("laplace",)),
    ):
        scheme = resolve_scheme(name, options, game, stages=stages)
        with pytest.raises(InputError, match="no trained weights of the eavesdropper 'inversion' against"):
            resolve_eavesdropper("inversion", None, game, scheme)


def test_the_attacker_of_a_scheme_is_that_of_the_same_system_under_another_name():
    game = a_game_of("shapes")
    by_name = resolve_eavesdropper(None, None, game, resolve_scheme("encryption", None, game)).state_dict()
    scheme = resolve_scheme("deepjscc", None, game, stages=[{"name": "keyed", "mode": "rotation"}])
    by_stages = resolve_eavesdropper(None, None, game, scheme).state_dict()
    assert all(torch.equal(tensor, by_stages[name]) for name, tensor in by_name.items())

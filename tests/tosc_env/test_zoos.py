"""``scheme=`` and ``eavesdropper=`` take a name, a path or an object, and every slip gets one clear sentence."""

from __future__ import annotations

import warnings

import gymnasium as gym
import pytest
import torch
from fakes import FakeEavesdropper, FakeScheme
from refusals import LISTED, refused

from tosc_env import zoos
from tosc_env.attackers import eavesdroppers
from tosc_env.data import make_source
from tosc_env.errors import ToscError
from tosc_env.game import Game
from tosc_env.io.checkpoints import save_checkpoint
from tosc_env.pipeline import Pipeline, as_pipeline, make_scheme
from tosc_env.registration import register_env
from tosc_env.schemes import Defaults, defaults, schemes
from tosc_env.types import SystemSpec
from tosc_env.zoos import load_eavesdropper, load_scheme, resolve_eavesdropper, resolve_scheme

CARD = {"data": {"name": "shapes"}}
SPEC = SystemSpec((3, 16, 16), 10, 8)


class Trained(FakeScheme):
    name = "trained-test"


class Closed(FakeScheme):
    """Nothing to train: built on the spot."""

    name = "closed-test"

    def __init__(self, spec, *, seed=0):
        super().__init__(spec, seed=seed)
        for part in ("up", "down"):
            values = getattr(self, part).detach()
            delattr(self, part)
            self.register_buffer(part, values)


@defaults(weights="trained-test", open=("lifetime",))
def player(spec, *, backbone=None, lifetime="fixed", **options):
    """The trained scheme under a key."""
    backbone = backbone or Trained(spec, **options)
    stages = [{"name": "keyed", "lifetime": lifetime}]
    return Pipeline(backbone, stages, name="player-test", options={**backbone.options, "lifetime": lifetime})


class Attacker(FakeEavesdropper):
    name = "attacker-test"


class Instant(FakeEavesdropper):
    name = "instant-test"
    instant = True

    def fit(self, view, *, generator, progress=None):
        self.fitted = view.num_images
        return {}


class OneFile:
    """A zoo that remembers what it was asked for."""

    def __init__(self, path):
        self.path, self.asked = path, []

    def find(self, kind, name, wanted, *, options, against):
        self.asked.append((kind, name, against, wanted.any_labels))
        self.wanted, self.options = wanted, dict(options)
        return self.path

    def listing(self):
        return ["scheme 'trained-test' for shapes 3x16x16"]


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for cls in (Trained, Closed):
        monkeypatch.setitem(schemes._table, cls.name, cls)
    monkeypatch.setitem(schemes._table, "player-test", player)
    for cls in (Attacker, Instant):
        monkeypatch.setitem(eavesdroppers._table, cls.name, cls)


@pytest.fixture
def zoo(monkeypatch):
    found = OneFile(None)
    monkeypatch.setattr(zoos, "installed_zoos", lambda: [found])
    return found


@pytest.fixture(scope="module")
def game():
    return Game(make_source("shapes", num_images=40, size=16), num_symbols=8)


@pytest.fixture
def scheme_file(tmp_path):
    path = tmp_path / "scheme.safetensors"
    save_checkpoint(path, Trained(SPEC, seed=5), CARD)
    return path


# -- the three ways ---------------------------------------------------------------------------------


def test_an_object_plays_as_it_is(game):
    scheme, attacker = FakeScheme(SPEC), FakeEavesdropper(SPEC)
    found = resolve_scheme(scheme, None, game)
    assert found.backbone is scheme and resolve_scheme(found, None, game) is found
    assert resolve_eavesdropper(attacker, None, game, found) is attacker
    # It does not care how many answers the task has.
    other = FakeEavesdropper(SystemSpec((3, 16, 16), 4, 8))
    assert resolve_eavesdropper(other, None, game, None) is other


@pytest.mark.parametrize("given", ["object", "path", "name"])
def test_stages_go_between_any_scheme_and_the_channel(game, scheme_file, zoo, given):
    zoo.path = scheme_file
    scheme = {"object": Trained(SPEC), "path": scheme_file, "name": "trained-test"}[given]
    found = resolve_scheme(scheme, None, game, stages=["keyed", {"name": "laplace", "epsilon": 9}])
    assert [stage.name for stage in found.added] == ["keyed", "laplace"] and found.keyed
    assert found.added[1].options["epsilon"] == 9


@pytest.mark.parametrize("card", [{"data": "shapes"}, {"data": ["shapes"]}, {"data": None}, {}])
def test_a_path_is_loaded_whatever_its_card_says_of_data(game, tmp_path, card):
    path = tmp_path / "scheme.safetensors"
    save_checkpoint(path, Trained(SPEC, seed=5), card)
    assert resolve_scheme(path, None, game).options["seed"] == 5
    save_checkpoint(path, Attacker(SPEC, seed=2), card)
    assert resolve_eavesdropper(path, None, game, None).options["seed"] == 2


def test_a_name_with_nothing_to_train_is_built_on_the_spot_with_its_options(game, zoo):
    scheme = resolve_scheme("closed-test", {"seed": 9}, game)
    assert isinstance(scheme.backbone, Closed) and scheme.options["seed"] == 9 and scheme.spec == game.spec
    assert not scheme.training


def test_an_instant_attacker_is_fitted_to_the_games_images(game, zoo):
    attacker = resolve_eavesdropper("instant-test", {"seed": 3}, game, as_pipeline(FakeScheme(SPEC)))
    assert attacker.fitted == 40 and attacker.options["seed"] == 3 and zoo.asked == []


def test_a_trained_name_comes_from_the_zoo_of_the_game(game, zoo, scheme_file):
    zoo.path = scheme_file
    assert resolve_scheme("trained-test", None, game, stand_in=True).options["seed"] == 5
    assert zoo.asked == [("scheme", "trained-test", None, True)]
    assert zoo.wanted.game is game and zoo.wanted.data == "shapes"


def test_weights_of_another_scheme_are_asked_for_by_its_name_and_take_options(game, zoo, scheme_file):
    zoo.path = scheme_file
    scheme = resolve_scheme("player-test", {"lifetime": "per_message"}, game)
    assert (scheme.name, scheme.options["lifetime"], scheme.options["seed"]) == (
        "player-test",
        "per_message",
        5,
    )
    assert zoo.asked == [("scheme", "trained-test", None, False)] and zoo.options == {}


def test_an_attacker_is_asked_for_against_the_scheme_it_will_meet(game, zoo, tmp_path):
    """Whose weights, which backbone, which stages: an attacker of other symbols would be of no use."""
    zoo.path = tmp_path / "a.safetensors"
    save_checkpoint(zoo.path, Attacker(SPEC), CARD)
    bare = {"weights": "trained-test", "backbone": "trained-test", "stages": []}
    keyed = [{"name": "keyed", "mode": "shuffle", "lifetime": "fixed"}]
    for scheme in (
        make_scheme("trained-test", SPEC),
        make_scheme("player-test", SPEC),
        make_scheme("trained-test", SPEC, stages=keyed),
        None,
    ):
        resolve_eavesdropper("attacker-test", None, game, scheme)
    assert [asked[2] for asked in zoo.asked] == [
        bare,
        {**bare, "stages": keyed},
        {**bare, "stages": keyed},
        zoos.UNPROTECTED,
    ]
    assert make_scheme("deepjscc", SPEC).composition == zoos.UNPROTECTED


def test_the_defaults_are_the_baseline_and_the_articles_attacker(game, zoo):
    with refused("trained weights", longest=LISTED):
        resolve_scheme(None, None, game)
    with pytest.warns(UserWarning, match="no zoo has weights of the usual eavesdropper 'inversion'"):
        resolve_eavesdropper(None, None, game, None)
    assert [asked[:2] for asked in zoo.asked] == [("scheme", "deepjscc"), ("eavesdropper", "inversion")]


def test_where_the_usual_attacker_was_never_trained_a_closed_form_plays_and_a_named_one_is_missed(game, zoo):
    scheme = make_scheme("deepjscc", game.spec, stages=["keyed", {"name": "laplace", "epsilon": 20}])
    with pytest.warns(
        UserWarning, match=r"against 'deepjscc \+ keyed\(.*\) \+ laplace\(.*'linear', fitted"
    ) as told:
        attacker = resolve_eavesdropper(None, None, game, scheme)
    assert attacker.name == "linear" and not attacker.training and len(told) == 1
    assert float(attacker.weights.abs().max()) > 0  # it has been fitted
    with refused("'inversion'", longest=LISTED):
        resolve_eavesdropper("inversion", None, game, scheme)


# -- without an environment -------------------------------------------------------------------------


def test_trained_policies_are_found_for_an_id_whose_images_are_not_there(zoo, tmp_path):
    """Stand-in images have the same spaces, and no warning is due."""
    zoo.path = tmp_path / "s.safetensors"
    save_checkpoint(
        zoo.path, Trained(SystemSpec((3, 64, 64), 3, binary=True), seed=5), {"data": {"name": "celeba"}}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheme = load_scheme("trained-test", "ToSC-CelebA-v0", stages=["keyed"])
    assert scheme.keyed and scheme.options["seed"] == 5 and not scheme.training
    wanted = zoo.wanted
    assert (wanted.data, wanted.any_labels, wanted.game.spec) == ("celeba", True, scheme.spec)


def test_an_id_of_ones_own_is_asked_for_with_its_own_rules(zoo, game, scheme_file, monkeypatch):
    zoo.path = scheme_file
    options = {
        "data": "shapes",
        "data_kwargs": {"size": 16},
        "num_symbols": 8,
        "snr_db": 3.0,
        "max_cycles": 4,
    }
    register_env("ToSC-Mine-v0", "shapes", **options)
    monkeypatch.setitem(gym.registry, "ToSC-Mine-v0", gym.registry.pop("ToSC-Mine-v0"))  # gone after the test
    load_scheme("trained-test", "ToSC-Mine-v0")
    assert zoo.wanted.game.spec == game.spec and zoo.wanted.game.snr_db.constant == 3.0
    with refused("'ToSC-Mina-v0' 'ToSC-Mine-v0'"):
        load_scheme("trained-test", "ToSC-Mina-v0")


def test_an_attacker_is_loaded_against_a_name_or_an_object(zoo, game, tmp_path):
    zoo.path = tmp_path / "a.safetensors"
    save_checkpoint(zoo.path, Attacker(SPEC), CARD)
    target = make_scheme("trained-test", SPEC, stages=["keyed"])
    assert isinstance(load_eavesdropper("attacker-test", game, scheme=target), Attacker)
    assert zoo.asked[-1][2] == target.composition


# -- slips ------------------------------------------------------------------------------------------


def test_options_of_a_name_are_what_its_weights_must_agree_with(game, zoo, scheme_file):
    zoo.path = scheme_file
    assert resolve_scheme("trained-test", {"seed": 1}, game).options["seed"] == 1
    assert zoo.options == {"seed": 1}
    zoo.path = None
    with refused("'trained-test' seed=1", longest=LISTED):
        resolve_scheme("trained-test", {"seed": 1}, game)


def test_options_that_weights_leave_open_are_not_asked_of_them(game, zoo, scheme_file, monkeypatch):
    monkeypatch.setattr(Trained, "defaults", Defaults(open=("seed",)), raising=False)
    zoo.path = scheme_file
    scheme = resolve_scheme("trained-test", {"seed": 1, "stochastic": True}, game)
    assert zoo.options == {"stochastic": True} and scheme.options["seed"] == 1


def test_a_key_is_given_beside_weights_of_any_kind_and_asked_of_none(game, zoo, scheme_file, tmp_path):
    zoo.path = scheme_file
    named = resolve_scheme("trained-test", {"key": "11" * 32}, game, stages=["keyed"])
    assert zoo.options == {}
    filed = resolve_scheme(scheme_file, {"key": "11" * 32}, game, stages=["keyed"])
    played = resolve_scheme("player-test", {"key": "11" * 32}, game)
    assert named.key_fingerprint == filed.key_fingerprint == played.key_fingerprint


@pytest.mark.parametrize(
    ("scheme", "options", "words"),
    [
        ("depjscc", None, "'depjscc' 'deepjscc'"),
        (42, None, "scheme= 42"),
        (["deepjscc"], None, "scheme="),
        (FakeEavesdropper(SPEC), None, "scheme="),
        (FakeScheme(SPEC), {"seed": 1}, "scheme_kwargs ['seed']"),
        ("FILE", {"seed": 1}, "key 'seed'"),
        ("closed-test", {"sead": 1}, "'closed-test' 'sead'"),
        ("trained-test", 5, "scheme_kwargs"),
        ("FILE", {"stages": [1]}, "scheme_kwargs"),
        ("FILE", {"key": "11" * 32}, "key 'trained-test'"),
        (FakeScheme(SystemSpec((3, 32, 32), 10, 8)), None, "image_shape"),
        (FakeScheme(SystemSpec((3, 16, 16), 4, 8)), None, "num_outputs 4 10"),
        (FakeScheme(SystemSpec((3, 16, 16), 10, 4)), None, "num_symbols 4 8"),
        ("runs/none", None, "checkpoint runs/none"),
    ],
)
def test_what_is_no_scheme_of_this_game_is_refused(game, scheme_file, scheme, options, words):
    with refused(words, ToscError):
        resolve_scheme(scheme_file if scheme == "FILE" else scheme, options, game)


@pytest.mark.parametrize(
    ("attacker", "options", "words"),
    [
        ("inverson", None, "'inverson' 'inversion'"),
        (FakeEavesdropper, None, "eavesdropper="),
        ("FILE", None, "'trained-test' eavesdropper"),
        (FakeEavesdropper(SPEC), {"seed": 1}, "eavesdropper_kwargs"),
        ("some/a.safetensors", {"seed": 1}, "eavesdropper_kwargs"),
        ("attacker-test", {"seed": 1}, "eavesdropper_kwargs"),
        ("instant-test", {1: 2}, "eavesdropper_kwargs"),
        ("runs/none", None, "checkpoint runs/none"),
    ],
)
def test_what_is_no_attacker_of_this_game_is_refused(game, scheme_file, attacker, options, words):
    with refused(words, ToscError):
        resolve_eavesdropper(scheme_file if attacker == "FILE" else attacker, options, game, None)


def test_missing_weights_name_the_whole_system_and_list_what_exists(game, zoo):
    system = "'trained-test' shapes 3x16x16 8 channel uses 12 dB"
    with refused(f"{system} {zoo.listing()[0].removeprefix('scheme ')}", longest=LISTED):
        resolve_scheme("trained-test", None, game)


def test_without_any_zoo_the_sentence_says_so(game, monkeypatch):
    monkeypatch.setattr(zoos, "installed_zoos", list)
    with refused("none tosc_agents", longest=LISTED):
        resolve_eavesdropper("attacker-test", None, game, make_scheme("trained-test", SPEC))


def test_resolving_touches_no_global_random_stream(game, tmp_path):
    path = tmp_path / "net.safetensors"
    save_checkpoint(
        path, make_scheme("deepjscc", SPEC, stem=4, widths=(4,), blocks=(1,), receiver_width=4), CARD
    )
    before = torch.get_rng_state()
    resolve_scheme(path, None, game)
    resolve_scheme("closed-test", None, game)
    resolve_eavesdropper("instant-test", None, game, as_pipeline(FakeScheme(SPEC)))
    resolve_eavesdropper("mean-image", None, game, None)
    assert torch.equal(torch.get_rng_state(), before)

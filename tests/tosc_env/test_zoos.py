"""``scheme=`` and ``eavesdropper=`` take a name, a path or an object, and every slip gets one clear sentence."""

from __future__ import annotations

import warnings
from pathlib import Path

import gymnasium as gym
import pytest
import torch
from fakes import FakeEavesdropper, FakeScheme

from tosc_env import zoos
from tosc_env.attackers import eavesdroppers
from tosc_env.data import make_source
from tosc_env.errors import CheckpointError, InputError
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


@pytest.mark.parametrize("form", [str, Path])
def test_a_path_is_loaded(game, scheme_file, form):
    scheme = resolve_scheme(form(scheme_file), None, game)
    assert isinstance(scheme.backbone, Trained) and scheme.options["seed"] == 5 and not scheme.training


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


@pytest.mark.parametrize("options", [5, "key", {"stages": [1]}, {"spec": SPEC}, {1: 2}])
def test_what_is_no_option_is_one_sentence(game, scheme_file, zoo, options):
    zoo.path = scheme_file
    for call in (
        lambda: resolve_scheme("trained-test", options, game),
        lambda: resolve_scheme(scheme_file, options, game),
        lambda: resolve_eavesdropper("instant-test", options, game, None),
    ):
        with pytest.raises(InputError, match=r"^(scheme|eavesdropper)_kwargs ") as caught:
            call()
        assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_an_attackers_path_is_loaded(game, tmp_path):
    save_checkpoint(tmp_path / "a.safetensors", Attacker(SPEC, seed=2), CARD)
    attacker = resolve_eavesdropper(tmp_path / "a.safetensors", None, game, None)
    assert isinstance(attacker, Attacker) and attacker.options["seed"] == 2


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
    with pytest.raises(InputError, match="no trained weights"):
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
    with pytest.raises(
        InputError, match=r"no trained weights of the eavesdropper 'inversion' against .*keyed"
    ):
        resolve_eavesdropper("inversion", None, game, scheme)


# -- without an environment -------------------------------------------------------------------------


def test_trained_policies_are_found_for_an_id_whose_images_are_not_there(zoo, tmp_path):
    """Where images would stand in for others, the spaces are the same, and no warning is due."""
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
    with pytest.raises(InputError, match="unknown environment 'ToSC-Mina-v0', did you mean 'ToSC-Mine-v0'"):
        load_scheme("trained-test", "ToSC-Mina-v0")


def test_an_attacker_is_loaded_against_a_name_or_an_object(zoo, game, tmp_path):
    zoo.path = tmp_path / "a.safetensors"
    save_checkpoint(zoo.path, Attacker(SPEC), CARD)
    target = make_scheme("trained-test", SPEC, stages=["keyed"])
    assert isinstance(load_eavesdropper("attacker-test", game, scheme=target), Attacker)
    assert zoo.asked[-1][2] == target.composition


# -- slips ------------------------------------------------------------------------------------------


def test_unknown_names_get_the_closest(game):
    with pytest.raises(InputError, match="unknown scheme 'depjscc', did you mean 'deepjscc'"):
        resolve_scheme("depjscc", None, game)
    with pytest.raises(InputError, match="unknown eavesdropper 'inverson', did you mean 'inversion'"):
        resolve_eavesdropper("inverson", None, game, None)


@pytest.mark.parametrize("value", [42, ["deepjscc"], FakeEavesdropper])
def test_what_is_neither_name_path_nor_object_is_refused(game, value):
    with pytest.raises(InputError, match=r"scheme= takes a registered name, a checkpoint's path or a ready"):
        resolve_scheme(value, None, game)
    with pytest.raises(InputError, match="eavesdropper= takes"):
        resolve_eavesdropper(value, None, game, None)


def test_an_attacker_is_no_scheme_and_the_other_way_round(game, scheme_file):
    with pytest.raises(InputError, match="scheme= takes"):
        resolve_scheme(FakeEavesdropper(SPEC), None, game)
    with pytest.raises(CheckpointError, match="holds the scheme 'trained-test', not an eavesdropper"):
        resolve_eavesdropper(scheme_file, None, game, None)


def test_options_of_a_name_are_what_its_weights_must_agree_with(game, zoo, scheme_file):
    zoo.path = scheme_file
    assert resolve_scheme("trained-test", {"seed": 1}, game).options["seed"] == 1
    assert zoo.options == {"seed": 1}
    zoo.path = None
    with pytest.raises(InputError, match=r"no trained weights of the scheme 'trained-test' with seed=1 for"):
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
    with pytest.raises(InputError, match=r"a key was given, but the scheme 'trained-test' takes none"):
        resolve_scheme(scheme_file, {"key": "11" * 32}, game)


def test_options_beside_an_object_a_path_or_a_trained_attacker_are_refused(game, scheme_file, zoo):
    with pytest.raises(InputError, match=r"scheme_kwargs go with the name .* \['seed'\] were given"):
        resolve_scheme(FakeScheme(SPEC), {"seed": 1}, game)
    with pytest.raises(InputError, match=r"may set key, not 'seed': that was settled when they were trained"):
        resolve_scheme(scheme_file, {"seed": 1}, game)
    for given in (FakeEavesdropper(SPEC), "some/a.safetensors", "attacker-test"):
        with pytest.raises(InputError, match="eavesdropper_kwargs go with"):
            resolve_eavesdropper(given, {"seed": 1}, game, None)


def test_an_unknown_option_of_a_name_is_refused(game):
    with pytest.raises(InputError, match="'closed-test' has no option 'sead'"):
        resolve_scheme("closed-test", {"sead": 1}, game)


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        (SystemSpec((3, 32, 32), 10, 8), "image_shape"),
        (SystemSpec((3, 16, 16), 4, 8), "num_outputs"),
        (SystemSpec((3, 16, 16), 10, 4), "num_symbols"),
    ],
)
def test_an_object_of_other_shapes_is_refused_with_both_values(game, spec, what):
    with pytest.raises(InputError, match=f"was made for {what} .* but this game has"):
        resolve_scheme(FakeScheme(spec), None, game)


def test_an_attacker_does_not_care_how_many_answers_the_task_has(game):
    attacker = FakeEavesdropper(SystemSpec((3, 16, 16), 4, 8))
    assert resolve_eavesdropper(attacker, None, game, None) is attacker


@pytest.mark.parametrize(
    ("spec", "card", "part"),
    [
        (SystemSpec((3, 16, 16), 10, 4), CARD, "code length"),
        (SPEC, {"data": {"name": "cifar10"}}, "data set 'cifar10', but 'shapes'"),
    ],
)
def test_a_file_of_another_system_is_refused(game, tmp_path, spec, card, part):
    path = tmp_path / "other.safetensors"
    save_checkpoint(path, Trained(spec), card)
    with pytest.raises(CheckpointError, match=part):
        resolve_scheme(path, None, game)


def test_a_missing_file_is_a_checkpoint_error(game, tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        resolve_scheme(tmp_path / "none.safetensors", None, game)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        resolve_eavesdropper("runs/none", None, game, None)


def test_missing_weights_name_the_whole_system_and_list_what_exists(game, zoo):
    with pytest.raises(InputError) as caught:
        resolve_scheme("trained-test", None, game)
    told = str(caught.value)
    for part in (
        "'trained-test'",
        "shapes",
        "3x16x16",
        "10 outputs",
        "8 channel uses",
        "12 dB",
        zoo.listing()[0],
    ):
        assert part in told
    assert "\n" not in told


def test_without_any_zoo_the_sentence_says_so(game, monkeypatch):
    monkeypatch.setattr(zoos, "installed_zoos", list)
    with pytest.raises(InputError, match="none \\(is tosc_agents installed\\?\\)"):
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

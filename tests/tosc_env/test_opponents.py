"""``scheme=`` and ``eavesdropper=`` take a name, a path or an object, and every slip gets one clear sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fakes import FakeEavesdropper, FakeScheme

from tosc_env import opponents
from tosc_env.checkpoints import save_checkpoint
from tosc_env.data import make_source
from tosc_env.errors import CheckpointError, InputError
from tosc_env.game import Game
from tosc_env.opponents import resolve_eavesdropper, resolve_scheme
from tosc_env.policies import SystemSpec, eavesdroppers, make_scheme, schemes

CARD = {"data": {"name": "shapes"}}
SPEC = SystemSpec((3, 16, 16), 10, 8)


class Trained(FakeScheme):
    name = "trained-test"


class Closed(FakeScheme):
    """Nothing to train: built on the spot."""

    name = "closed-test"
    trainable = False


class Borrower(FakeScheme):
    name = "borrower-test"
    weights_of = "trained-test"


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

    def find(self, kind, name, game, *, scheme, stand_in, options):
        self.asked.append((kind, name, scheme, stand_in))
        self.options = dict(options)
        return self.path

    def listing(self):
        return ["scheme 'trained-test' for shapes 3x16x16"]


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for cls in (Trained, Closed, Borrower):
        monkeypatch.setitem(schemes._table, cls.name, cls)
    for cls in (Attacker, Instant):
        monkeypatch.setitem(eavesdroppers._table, cls.name, cls)


@pytest.fixture
def zoo(monkeypatch):
    found = OneFile(None)
    monkeypatch.setattr(opponents, "zoos", lambda: [found])
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
    assert resolve_scheme(scheme, None, game) is scheme
    assert resolve_eavesdropper(attacker, None, game, scheme) is attacker


@pytest.mark.parametrize("form", [str, Path])
def test_a_path_is_loaded(game, scheme_file, form):
    scheme = resolve_scheme(form(scheme_file), None, game)
    assert isinstance(scheme, Trained) and scheme.options["seed"] == 5 and not scheme.training


def test_an_attackers_path_is_loaded(game, tmp_path):
    save_checkpoint(tmp_path / "a.safetensors", Attacker(SPEC, seed=2), CARD)
    attacker = resolve_eavesdropper(tmp_path / "a.safetensors", None, game, None)
    assert isinstance(attacker, Attacker) and attacker.options["seed"] == 2


def test_a_name_with_nothing_to_train_is_built_on_the_spot_with_its_options(game, zoo):
    scheme = resolve_scheme("closed-test", {"seed": 9}, game)
    assert isinstance(scheme, Closed) and scheme.options["seed"] == 9 and scheme.spec == game.spec
    assert zoo.asked == []


def test_an_instant_attacker_is_fitted_to_the_games_images(game, zoo):
    attacker = resolve_eavesdropper("instant-test", {"seed": 3}, game, FakeScheme(SPEC))
    assert attacker.fitted == 40 and attacker.options["seed"] == 3 and zoo.asked == []


def test_a_trained_name_comes_from_the_zoo_of_the_game(game, zoo, scheme_file):
    zoo.path = scheme_file
    assert isinstance(resolve_scheme("trained-test", None, game, stand_in=True), Trained)
    assert zoo.asked == [("scheme", "trained-test", None, True)]


def test_borrowed_weights_are_asked_for_by_the_lenders_name_and_take_options(game, zoo, scheme_file):
    zoo.path = scheme_file
    scheme = resolve_scheme("borrower-test", {"stochastic": True}, game)
    assert isinstance(scheme, Borrower) and scheme.stochastic
    assert zoo.asked == [("scheme", "trained-test", None, False)]


def test_an_attacker_is_asked_for_against_the_scheme_it_will_meet(game, zoo, tmp_path):
    zoo.path = tmp_path / "a.safetensors"
    save_checkpoint(zoo.path, Attacker(SPEC), CARD)
    resolve_eavesdropper("attacker-test", None, game, Trained(SPEC))
    resolve_eavesdropper("attacker-test", None, game, None)
    assert [asked[2] for asked in zoo.asked] == ["trained-test", "deepjscc"]


def test_the_defaults_are_the_baseline_and_the_articles_attacker(game, zoo):
    for resolve in (
        lambda: resolve_scheme(None, None, game),
        lambda: resolve_eavesdropper(None, None, game, None),
    ):
        with pytest.raises(InputError, match="no trained weights"):
            resolve()
    assert [asked[:2] for asked in zoo.asked] == [("scheme", "deepjscc"), ("eavesdropper", "inversion")]


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


def test_free_options_are_not_asked_of_weights_but_of_attackers(
    game, zoo, scheme_file, monkeypatch, tmp_path
):
    monkeypatch.setattr(Trained, "free_options", ("seed",))
    zoo.path = scheme_file
    scheme = resolve_scheme("trained-test", {"seed": 1}, game)
    assert zoo.options == {} and scheme.options["seed"] == 1
    zoo.path = tmp_path / "a.safetensors"
    save_checkpoint(zoo.path, Attacker(SPEC), CARD)
    resolve_eavesdropper("attacker-test", None, game, scheme)
    assert zoo.options == {"seed": 1}


def test_options_beside_an_object_a_path_or_a_trained_attacker_are_refused(game, scheme_file, zoo):
    for given in (FakeScheme(SPEC), scheme_file):
        with pytest.raises(InputError, match=r"scheme_kwargs go with the name .* \['seed'\] were given"):
            resolve_scheme(given, {"seed": 1}, game)
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
        "(3, 16, 16)",
        "10 outputs",
        "8 channel uses",
        "12 dB",
        zoo.listing()[0],
    ):
        assert part in told
    assert "\n" not in told


def test_without_any_zoo_the_sentence_says_so(game, monkeypatch):
    monkeypatch.setattr(opponents, "zoos", list)
    with pytest.raises(InputError, match="none \\(is tosc_agents installed\\?\\)"):
        resolve_eavesdropper("attacker-test", None, game, Trained(SPEC))


def test_resolving_touches_no_global_random_stream(game, tmp_path):
    path = tmp_path / "net.safetensors"
    save_checkpoint(
        path, make_scheme("deepjscc", SPEC, stem=4, widths=(4,), blocks=(1,), receiver_width=4), CARD
    )
    before = torch.get_rng_state()
    resolve_scheme(path, None, game)
    resolve_scheme("closed-test", None, game)
    resolve_eavesdropper("instant-test", None, game, FakeScheme(SPEC))
    resolve_eavesdropper("mean-image", None, game, None)
    assert torch.equal(torch.get_rng_state(), before)

"""Both ids find the zoo's weights for every scheme and role, and a zoo of several kinds of one scheme the right one.

The real data are not here, so noise under their names, with their shapes and labels, stands where they would be.
"""

from __future__ import annotations

import warnings
from functools import partial

import gymnasium as gym
import pytest
import torch
from refusals import LISTED, refused
from tosc_agents.zoo import ZOO, Folder

from tosc_env import zoos
from tosc_env.attackers import make_eavesdropper
from tosc_env.data import data_set, make_source, sources
from tosc_env.data.base import Source
from tosc_env.game import Game
from tosc_env.io.checkpoints import save_checkpoint
from tosc_env.pipeline import make_scheme
from tosc_env.rewards import ROLES
from tosc_env.schemes import defaults_of, schemes
from tosc_env.types import SystemSpec

IDS = {"cifar10": "ToSC-CIFAR-v0", "celeba": "ToSC-CelebA-v0"}
REAL = {data: data_set(data) for data in IDS}
"""What is said of a data set besides its images is said of the noise as well: the usual task, size and stand-in."""
SCHEMES = [name for name in schemes if schemes.origin(name).startswith("tosc_agents.schemes:")]


def loader_of(data):
    """A registered data set of noise with a data set's name, shapes, classes and attributes."""

    def load(split="train", size=32, attributes=None, **options):
        generator = torch.Generator().manual_seed(len(split))
        images = torch.randint(0, 256, (40, 3, size, size), dtype=torch.uint8, generator=generator)
        told = {}
        if data == "cifar10":
            labels = next(iter(cards("scheme", "deepjscc", data)))["labels"]
            told = {"labels": torch.arange(40) % 10, "class_names": labels}
        else:
            told = {
                "attributes": torch.randint(0, 2, (40, len(attributes)), generator=generator),
                "attribute_names": attributes,
            }
        return Source.from_arrays(images, name=data, split=split, **told)

    for fact in ("usual_attributes", "usual_kwargs", "stand_in"):
        setattr(load, fact, getattr(REAL[data], fact))
    return load


@pytest.fixture(autouse=True)
def noise_for_data(monkeypatch):
    for data in IDS:
        monkeypatch.setitem(sources._table, data, loader_of(data))


def cards(kind, name, data, zoo=ZOO):
    return [
        h["card"]
        for h in zoo.headers().values()
        if (h["kind"], h["name"], h["card"]["data"]["name"]) == (kind, name, data)
    ]


def attacked(name, data):
    """Check that the zoo has an attacker against a scheme on a data set."""
    return any(card["against"] == name for card in cards("eavesdropper", "inversion", data))


def weights_of(name):
    return defaults_of(name).weights or name


def play(data, name, role, **options):
    """Two messages of an environment that is made by names alone: no stand-in, no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make(IDS[data], data=data, role=role, scheme=name, split="test", **options)
        env.reset(seed=0)
        for _ in range(2):
            _, _, _, _, info = env.step(env.action_space.sample())
    assert info["stand_in"] == 0.0 and 0.0 <= info["accuracy"] <= 1.0
    env.close()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("data", list(IDS))
def test_every_name_plays_every_role_or_the_error_says_what_there_is(data, role):
    for name in SCHEMES:
        if not cards("scheme", weights_of(name), data):
            with refused("trained weights", longest=LISTED) as caught:
                play(data, name, role)
            told = str(caught.value)
            assert "\n" not in told and name in told and "tosc list" in told and "; " in told
        elif role == "eavesdropper" or attacked(name, data):
            play(data, name, role)
        else:
            with pytest.raises(UserWarning, match="no zoo has weights of the usual eavesdropper 'inversion'"):
                play(data, name, role)


STAGES = ["keyed", {"name": "laplace", "epsilon": 20}]


@pytest.mark.parametrize(
    ("role", "make"), [("receiver", gym.make), ("eavesdropper", partial(gym.make_vec, num_envs=3))]
)
def test_stages_are_given_by_name_in_every_form_and_for_every_role(role, make):
    """No zoo has an attacker of these stages, so that a closed form plays where nobody says who does."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        env = make(IDS["cifar10"], data="cifar10", role=role, scheme="lbvq", stages=STAGES)
    assert [str(one.message)[:22] for one in told] == ["no zoo has weights of "] * (role != "eavesdropper")
    system = env.unwrapped.session.system
    assert system.scheme.title.startswith("lbvq + keyed(") and "laplace(epsilon=20," in system.scheme.title
    assert all(one.name == "linear" for one in system.eavesdroppers.values())


def test_every_scheme_faces_an_attacker_of_its_own_on_its_data():
    """On CIFAR-10 every name has both, on faces at least those with weights of their own."""
    for data, names in (("cifar10", SCHEMES), ("celeba", ["deepjscc", "ibal", "lbvq"])):
        assert all(cards("scheme", weights_of(name), data) and attacked(name, data) for name in names), data
    for path, header in ZOO.headers().items():
        if header["kind"] == "scheme":
            assert attacked(header["name"], header["card"]["data"]["name"]), path


@pytest.mark.parametrize("data", list(IDS))
def test_without_a_data_argument_the_data_that_are_there_are_played_and_else_the_stand_in(data, monkeypatch):
    for there in (True, False):
        loader = loader_of(data)
        loader.is_available = lambda there=there: there
        monkeypatch.setitem(sources._table, data, loader)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            env = gym.make(IDS[data], role="receiver", scheme="deepjscc")
        assert env.reset(seed=0)[1]["stand_in"] == (0.0 if there else 1.0)
        assert any("stand in" in str(warning.message) for warning in told) != there
        env.close()


# -- two kinds of one scheme, in a zoo of tiny weights ---------------------------------------------

SPEC = SystemSpec((3, 32, 32), 10)
TINY = {
    "stem": 4,
    "widths": [4],
    "blocks": [1],
    "receiver_width": 8,
    "receiver_depth": 1,
    "told_snr_db": 12.0,
}
KINDS = {
    "calibrated": {"mode": "calibrated", "constant": 0.05, "epsilon": 0.05, "epsilon_range": [0.02, 2.0]},
    "laplace": {"epsilon_range": [1.0, 100.0]},
}


def card_of(**more):
    (card, *_) = cards("scheme", "deepjscc", "cifar10")
    return {**card, **more}


@pytest.fixture
def tiny_zoo(tmp_path, monkeypatch):
    for mode, options in KINDS.items():
        scheme = make_scheme("dp-laplace", SPEC, **TINY, **options)
        save_checkpoint(tmp_path / f"dp-laplace-{mode}.safetensors", scheme, card_of(), half=True)
        attacker = make_eavesdropper("inversion", SPEC, widths=[4, 4, 4, 4])
        card = card_of(against="dp-laplace", composition=scheme.composition)
        save_checkpoint(tmp_path / f"inversion-{mode}.safetensors", attacker, card, half=True)
    zoo = Folder(tmp_path)
    monkeypatch.setattr(zoos, "installed_zoos", lambda: [zoo])
    return zoo


def test_the_kind_of_noise_decides_which_weights_play(tiny_zoo):
    game = Game(make_source("cifar10", split="test"))
    assert any(
        "scheme 'dp-laplace' {'mode': 'calibrated'} for cifar10" in line for line in tiny_zoo.listing()
    )
    calibrated = zoos.resolve_scheme("dp-laplace", {"mode": "calibrated", "epsilon": 0.1}, game)
    usual = zoos.resolve_scheme("dp-laplace", None, game)
    assert calibrated.options["constant"] == 0.05 and calibrated.stages[0].epsilon == 0.1
    assert usual.options["mode"] == "laplace" and usual.stages[0].epsilon == 20.0


def test_a_budget_without_an_attacker_is_told_what_there_is(tiny_zoo):
    options = {"scheme_kwargs": {"mode": "calibrated", "epsilon": 0.1}}
    with refused("'inversion' 'dp-laplace laplace(epsilon=0.1, cifar10 {'epsilon': 0.05", longest=LISTED):
        play("cifar10", "dp-laplace", "receiver", eavesdropper="inversion", **options)
    with pytest.raises(UserWarning, match=r"laplace\(epsilon=0\.1, .*'linear'"):
        play("cifar10", "dp-laplace", "receiver", **options)

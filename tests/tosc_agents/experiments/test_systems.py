"""Trained systems as cells: what is remembered of a transmitter is what it sends; what is given is checked."""

from dataclasses import replace

import pytest
import torch
from tosc_agents.experiments import systems
from tosc_agents.experiments.arms import ARMS, arm
from tosc_agents.experiments.cells import Store
from tosc_agents.experiments.systems import RememberedSender, Systems, remembered
from tosc_agents.experiments.trainings import KEY, SCHEME, Recipe, load_arm
from tosc_agents.setting import Setting

from tosc_env.checkpoints import load_checkpoint, save_checkpoint
from tosc_env.errors import CheckpointError
from tosc_env.policies import make_scheme, schemes
from tosc_env.senders import SchemeSender, numbered

SETTING = Setting("shapes", {"num_images": 60})
NETWORK = {"stem": 4, "widths": [4, 8, 8], "blocks": [0, 0, 0], "receiver_width": 16, "receiver_depth": 1}


def scheme_of(one):
    options = dict(NETWORK)
    if one.training == "dp":
        options |= {"epsilon": 0.1, "epsilon_range": [0.04, 1.0]}
    if one.training == "dp-calibrated":
        options |= {"mode": "article", "constant": 1.0, "epsilon": 0.1, "epsilon_range": [0.04, 1.0]}
    if one.scheme == "encryption":
        options |= {"key": KEY}
    torch.manual_seed(0)
    return make_scheme(one.scheme, SETTING.game(split="test").spec, **{**options, **one.options}).eval()


@pytest.mark.parametrize("one", ARMS, ids=lambda one: one.key)
def test_a_remembered_sender_sends_what_the_scheme_sends(one):
    scheme = scheme_of(one)
    game = SETTING.game(split="test", constellation=scheme.constellation)
    live, quick = SchemeSender(scheme), RememberedSender(scheme, remembered(scheme, game.source, 7))
    generator = torch.Generator().manual_seed(0)
    index = torch.arange(len(game.source)).flip(0)
    round_ = numbered(game.draw(len(index), generator=generator, index=index), live, generator)
    sent = [
        game.normalise(sender.emit(sender.prepare(round_.batch), round_, torch.Generator().manual_seed(1)))
        for sender in (live, quick)
    ]
    # Batches of another size may round differently in the last digit.
    assert torch.allclose(*sent, atol=1e-4)
    elsewhere = replace(round_, batch=replace(round_.batch, images=1 - round_.batch.images))
    asked = [sender(elsewhere, torch.Generator().manual_seed(2)) for sender in (live, quick)]
    assert torch.equal(*asked)


def test_a_random_scheme_without_features_is_asked_every_time():
    scheme = scheme_of(arm("deepjscc"))
    scheme.stochastic = True
    game = SETTING.game(split="test")
    memory = remembered(scheme, game.source)
    assert memory.shape == (len(game.source), 0)
    quick = RememberedSender(scheme, memory)
    round_ = game.draw(5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(quick.prepare(round_.batch), round_.batch.images)
    assert torch.equal(quick.emit(round_.batch.images, round_, None), SchemeSender(scheme)(round_, None))


def card(**changes):
    return {"setting": {**SETTING.plain(), **changes}, "labels": [], "data": {"name": "shapes"}}


@pytest.mark.parametrize(
    ("name", "options", "changes", "told"),
    [
        ("deepjscc", {}, {}, "holds 'deepjscc', where 'lbvq' is asked for"),
        (
            "lbvq",
            {"adversary_weight": 0.5, "adversary_width": 8},
            {},
            "has the options {'adversary_weight': 0.5}",
        ),
        (
            "lbvq",
            {"adversary_weight": 1.0, "adversary_width": 8},
            {"snr_db": 3.0},
            "was trained in the setting",
        ),
    ],
)
def test_a_given_checkpoint_of_something_else_is_refused(tmp_path, name, options, changes, told):
    path = tmp_path / "given.safetensors"
    save_checkpoint(path, make_scheme(name, SETTING.game().spec, **{**NETWORK, **options}), card(**changes))
    recipes = {"lbvq": Recipe("lbvq", {"adversary_weight": 1.0}, 1)}
    given = Systems(SETTING, NETWORK, recipes, {("lbvq", 0): path})
    with pytest.raises(CheckpointError, match=told):
        Store(tmp_path / "cells", quiet=True).run([given.training("lbvq")])


def test_a_given_checkpoint_is_taken_as_it_is(tmp_path):
    path, store = tmp_path / "given.safetensors", Store(tmp_path / "cells", quiet=True)
    save_checkpoint(path, make_scheme("deepjscc", SETTING.game().spec, **NETWORK), card())
    given = Systems(SETTING, NETWORK, {"baseline": Recipe("deepjscc")}, {("baseline", 0): path})
    cell = given.training("baseline")
    store.run([cell])
    assert (store.folder_of(cell) / SCHEME).read_bytes() == path.read_bytes()
    assert store.result(cell)["given"] == "given.safetensors"
    # Another file under the same name is another cell.
    save_checkpoint(path, make_scheme("deepjscc", SETTING.game().spec, **NETWORK), card())
    assert given.training("baseline").slug != cell.slug
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        Systems(SETTING, NETWORK, given.recipes, {("baseline", 0): tmp_path / "none"}).training("baseline")


def test_other_images_under_the_same_name_are_another_cell(monkeypatch):
    cells = [Systems(SETTING, NETWORK, {"baseline": Recipe("deepjscc")}).training("baseline").slug]
    monkeypatch.setattr(systems, "images_of", lambda setting: {"test": ["the official files", 10_000]})
    cells.append(Systems(SETTING, NETWORK, {"baseline": Recipe("deepjscc")}).training("baseline").slug)
    assert cells[0] != cells[1]


def test_trainings_start_from_their_own_seed_or_share_one_start():
    recipes = {"baseline": Recipe("deepjscc"), "lbvq": Recipe("lbvq", {}, 1, start="baseline")}
    own = Systems(SETTING, NETWORK, recipes)
    shared = replace(own, shared_start=True)
    assert own.training("lbvq", 2).needs[0].slug == own.training("baseline", 2).slug
    assert shared.training("lbvq", 2).needs[0].slug == own.training("baseline", 0).slug


def test_every_arm_plays_with_the_weights_of_its_training(tmp_path):
    for one in ARMS:
        trained = scheme_of(replace(one, scheme=schemes_of(one), options={}))
        path = tmp_path / f"{one.key}.safetensors"
        save_checkpoint(path, trained, card())
        played = load_arm(path, one)
        assert played.name == one.scheme
        assert {k: played.options[k] for k in one.options} == dict(one.options)
        assert load_checkpoint(path).policy.name == trained.name
        if "key_fingerprint" in dir(type(played)):
            assert played.key_fingerprint == KEY.fingerprint()


def schemes_of(one):
    """The scheme that an arm's training trains."""
    name = {"baseline": "deepjscc", "vq": "lbvq", "dp": "dp-laplace", "dp-calibrated": "dp-laplace"}.get(
        one.training, one.training
    )
    assert name in schemes
    return name

"""Trained systems as jobs: what is remembered of a method is what it sends; what is given is checked."""

from dataclasses import replace

import pytest
import torch
from tosc_agents.experiments import systems
from tosc_agents.experiments.jobs import RunCache
from tosc_agents.experiments.methods import METHODS, method
from tosc_agents.experiments.systems import KEY, SCHEME, Recipe, Systems, load_method, source_of

from tosc_env.errors import CheckpointError
from tosc_env.game import GameConfig
from tosc_env.io.checkpoint_files import read_card
from tosc_env.io.checkpoints import load_checkpoint, save_checkpoint
from tosc_env.pipeline import make_scheme
from tosc_env.schemes import schemes
from tosc_env.types import Context

SETTING = GameConfig("shapes", {"num_images": 60})
NETWORK = {"stem": 4, "widths": [4, 8, 8], "blocks": [0, 0, 0], "receiver_width": 16, "receiver_depth": 1}


def scheme_of(one):
    options = dict(NETWORK)
    if one.training == "dp":
        options |= {"epsilon": 0.1, "epsilon_range": [0.04, 1.0]}
    if one.training == "dp-calibrated":
        options |= {"mode": "calibrated", "constant": 1.0, "epsilon": 0.1, "epsilon_range": [0.04, 1.0]}
    if one.scheme == "encryption":
        options |= {"key": KEY}
    torch.manual_seed(0)
    return make_scheme(one.scheme, SETTING.game(split="test").spec, **{**options, **one.options}).eval()


@pytest.mark.parametrize("one", METHODS, ids=lambda one: one.key)
def test_what_a_method_sends_from_memory_is_what_it_sends(one):
    scheme = scheme_of(one)
    source = source_of(SETTING, "test", None)
    index = torch.arange(len(source)).flip(0)
    message = torch.randint(2**32, (len(index), 5), generator=torch.Generator().manual_seed(0))

    def context():
        return Context(torch.zeros(len(index)), message, generator=torch.Generator().manual_seed(1))

    sent = scheme.encode(source.gather(index).images, context())
    for _ in range(2):
        assert torch.equal(scheme.send(source, index, context()), sent)


def test_images_are_read_once_and_a_method_is_loaded_once(tmp_path):
    assert source_of(SETTING, "test", None) is source_of(replace(SETTING, snr_db=3.0), "test", None)
    path, one = tmp_path / "a.safetensors", method("dp-0.1")
    save_checkpoint(path, scheme_of(one), card())
    first = load_method(path, one)
    assert load_method(path, one) is first and load_method(path, method("dp-0.9")) is not first
    torch.manual_seed(1)
    other = make_scheme("dp-laplace", first.spec, **first.options)
    save_checkpoint(path, other, card())
    again = load_method(path, one)
    assert torch.equal(again.backbone.receiver[0].weight, other.backbone.receiver[0].weight), (
        "the file changed"
    )


def card(*objectives, **changes):
    told = {"setting": {**SETTING.plain(), **changes}, "training": {"objectives": objectives or ["task"]}}
    return {**told, "labels": [], "data": {"name": "shapes"}}


ADVERSARY = {"name": "adversary", "weight": 1.0, "width": 8}
VQ = ("task", "codebook", ADVERSARY)


@pytest.mark.parametrize(
    ("name", "options", "objectives", "changes", "told"),
    [
        ("deepjscc", {}, (), {}, "holds 'deepjscc', where 'lbvq' is asked for"),
        ("lbvq", {"stages": ["keyed"]}, VQ, {}, r"holds 'lbvq \+ keyed', where 'lbvq' is asked for"),
        ("lbvq", {"dimension": 1}, VQ, {}, "has the options {'dimension': 1}"),
        ("lbvq", {"stem": 3}, VQ, {}, "has the options {'stem': 3}, where {'stem': 4} are"),
        ("lbvq", {}, (*VQ[:2], {**ADVERSARY, "weight": 0.5}), {}, "was trained for .*'weight': 0.5"),
        ("lbvq", {}, VQ[:2], {}, "was trained for .*, where .*'adversary'"),
        ("lbvq", {}, VQ, {"snr_db": 3.0}, "was trained in the setting"),
    ],
)
def test_a_given_checkpoint_of_something_else_is_refused(tmp_path, name, options, objectives, changes, told):
    path = tmp_path / "given.safetensors"
    scheme = make_scheme(name, SETTING.game().spec, **{**NETWORK, **options})
    save_checkpoint(path, scheme, card(*objectives, **changes))
    recipes = {"lbvq": Recipe("lbvq", {"dimension": 2}, 1, objectives=VQ)}
    given = Systems(SETTING, NETWORK, recipes, {("lbvq", 0): path})
    with pytest.raises(CheckpointError, match=told):
        RunCache(tmp_path / "jobs", quiet=True).run([given.training("lbvq")])


def test_a_given_checkpoint_is_taken_as_it_is(tmp_path):
    path, cache = tmp_path / "given.safetensors", RunCache(tmp_path / "jobs", quiet=True)
    save_checkpoint(path, make_scheme("deepjscc", SETTING.game().spec, **NETWORK), card())
    given = Systems(SETTING, NETWORK, {"baseline": Recipe("deepjscc")}, {("baseline", 0): path})
    job = given.training("baseline")
    cache.run([job])
    taken = cache.folder_of(job) / SCHEME
    assert taken.read_bytes() == path.read_bytes() and read_card(taken) == read_card(path)
    assert cache.result(job)["given"] == "given.safetensors"
    # Another file under the same name is another job.
    save_checkpoint(path, make_scheme("deepjscc", SETTING.game().spec, **NETWORK), card())
    assert given.training("baseline").slug != job.slug
    with pytest.raises(CheckpointError, match=r"cannot read .*none: No such file"):
        Systems(SETTING, NETWORK, given.recipes, {("baseline", 0): tmp_path / "none"}).training("baseline")


def test_other_images_under_the_same_name_are_another_job(monkeypatch):
    jobs = [Systems(SETTING, NETWORK, {"baseline": Recipe("deepjscc")}).training("baseline").slug]
    monkeypatch.setattr(systems, "images_of", lambda setting: {"test": ["the official files", 10_000]})
    jobs.append(Systems(SETTING, NETWORK, {"baseline": Recipe("deepjscc")}).training("baseline").slug)
    assert jobs[0] != jobs[1]


def test_trainings_start_from_their_own_seed_or_share_one_start():
    recipes = {"baseline": Recipe("deepjscc"), "lbvq": Recipe("lbvq", {}, 1, start="baseline")}
    own = Systems(SETTING, NETWORK, recipes)
    shared = replace(own, shared_start=True)
    assert own.training("lbvq", 2).needs[0].slug == own.training("baseline", 2).slug
    assert shared.training("lbvq", 2).needs[0].slug == own.training("baseline", 0).slug


def test_every_method_plays_with_the_weights_of_its_training(tmp_path):
    for one in METHODS:
        trained = scheme_of(replace(one, scheme=schemes_of(one), options={}))
        path = tmp_path / f"{one.key}.safetensors"
        save_checkpoint(path, trained, card())
        played = load_method(path, one)
        assert played.name == one.scheme
        assert {k: played.options[k] for k in one.options} == dict(one.options)
        assert load_checkpoint(path).policy.name == trained.name
        if played.keyed:
            assert played.key_fingerprint == KEY.fingerprint()


def schemes_of(one):
    """The scheme that a method's training trains."""
    name = {"baseline": "deepjscc", "vq": "lbvq", "dp": "dp-laplace", "dp-calibrated": "dp-laplace"}.get(
        one.training, one.training
    )
    assert name in schemes
    return name

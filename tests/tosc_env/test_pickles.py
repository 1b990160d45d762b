"""Law: what is pickled or copied goes on as if nothing had happened; images that have a name stay at home."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from fakes import SMALL, FakeScheme, options_for
from gymnasium import spaces

import tosc_env
from tosc_env.attackers import eavesdroppers, make_eavesdropper
from tosc_env.channels import channels, make_channel
from tosc_env.data import data_set, make_source, register_source, sources
from tosc_env.errors import DataError, InputError
from tosc_env.nodes import wiretap
from tosc_env.pipeline import make_scheme
from tosc_env.rewards import make_reward, rewards
from tosc_env.schemes import make_objectives, make_stage, objectives, schemes, stages
from tosc_env.tasks import make_task, tasks
from tosc_env.types import Context, SystemSpec

SPEC = SystemSpec((3, 32, 32), 10)
KEY = "5a" * 32

WAYS = {"pickle": lambda value: pickle.loads(pickle.dumps(value)), "deepcopy": copy.deepcopy}


@pytest.fixture(params=WAYS)
def again(request):
    """The same once more: by a pickle, and by a copy."""
    return WAYS[request.param]


def g(seed=0):
    return torch.Generator().manual_seed(seed)


# -- whatever is registered -------------------------------------------------------------------------


def assert_same_tensors(one, other):
    mine, theirs = one.state_dict(), other.state_dict()
    assert list(mine) == list(theirs)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert all(mine[name].data_ptr() != theirs[name].data_ptr() for name in mine if mine[name].numel()), (
        "a copy is one"
    )


@pytest.mark.parametrize("name", list(schemes))
def test_every_scheme(name, again):
    scheme = make_scheme(name, SPEC).eval()
    if scheme.keyed and again is WAYS["pickle"]:
        with pytest.raises(
            InputError, match="a secret key is not written to files or sent to other processes"
        ):
            again(scheme)
        return
    other = again(scheme)
    assert_same_tensors(scheme, other)
    assert (other.composition, other.options, other.title) == (
        scheme.composition,
        scheme.options,
        scheme.title,
    )
    source = make_source("shapes", num_images=10)
    message = torch.arange(50).view(10, 5)
    index, snr_db = torch.arange(10), torch.full((10,), 12.0)
    one, two = (who.send(source, index, Context(snr_db, message, 5, g())) for who in (scheme, other))
    assert torch.equal(one, two)


@pytest.mark.parametrize("name", list(stages))
def test_every_stage(name, again):
    stage = make_stage(name, SPEC)
    if stage.keyed and again is WAYS["pickle"]:
        with pytest.raises(InputError, match="a secret key is not written"):
            again(stage)
        return
    other = again(stage)
    assert other.plain() == stage.plain()
    symbols, message = torch.randn(3, 128, generator=g()), torch.zeros(3, 5, dtype=torch.int64)
    one, two = (who.protect(symbols, Context(torch.zeros(3), message, 5, g())) for who in (stage, other))
    assert torch.equal(one, two)


@pytest.mark.parametrize("name", list(eavesdroppers))
def test_every_eavesdropper(name, again):
    attacker = make_eavesdropper(name, SPEC)
    other = again(attacker)
    assert type(other) is type(attacker)
    assert other.options == attacker.options
    assert_same_tensors(attacker, other)


@pytest.mark.parametrize("name", ["linear", "mean-image"])
def test_what_an_eavesdropper_has_learnt(name, again):
    view = tosc_env.View(
        tosc_env.Game(make_source("shapes", num_images=200)),
        make_scheme(FakeScheme()),
        tosc_env.ThreatModel(),
        g(),
    )
    attacker = make_eavesdropper(name, SPEC)
    attacker.fit(view, generator=g())
    received, csi = torch.randn(4, 128, generator=g()), torch.full((4, 1), 12.0)
    one, two = (who.reconstruct(received, csi) for who in (attacker, again(attacker)))
    assert torch.equal(one, two)


@pytest.mark.parametrize("name", list(channels))
def test_every_channel(name, again):
    channel = make_channel(name)
    snrs, drawn = [torch.zeros(3)] * 2, []
    for who in (channel, again(channel)):
        links = who.draw(snrs, 64, antennas=[1, 1], transmit_antennas=1, generator=g())
        drawn.append([*(link.noise for link in links), *(link.fades for link in links)])
    assert all(torch.equal(one, two) for one, two in zip(*drawn, strict=True))


@pytest.mark.parametrize("name", list(tasks))
def test_every_task(name, again):
    source = make_source("shapes", num_images=10)
    task = make_task(name, source, **({"names": ["colour"]} if name == "attributes" else {}))
    other, batch = again(task), source.gather(torch.arange(10))
    assert (other.space(), other.labels) == (task.space(), task.labels)
    assert torch.equal(other.targets(batch), task.targets(batch))


@pytest.mark.parametrize("name", list(rewards))
def test_every_reward(name, again):
    reward = make_reward(name)
    assert vars(again(reward)) == vars(reward)


@pytest.mark.parametrize("name", list(objectives))
def test_every_objective(name, again):
    objective = make_objectives(name, SPEC)[0]
    assert type(again(objective)) is type(objective)


# -- images -----------------------------------------------------------------------------------------


def assert_same_source(one, other):
    for name in ("images", "labels", "attributes"):
        assert torch.equal(getattr(one, name), getattr(other, name))
    for name in ("name", "split", "half", "class_names", "attribute_names", "attribute_values", "provenance"):
        assert getattr(one, name) == getattr(other, name)
    assert torch.equal(one.statistics.mean_image, other.statistics.mean_image)
    assert one.statistics.mean_image_mse == other.statistics.mean_image_mse


@pytest.mark.parametrize("name", [name for name in sources if data_set(name).is_available()])
@pytest.mark.parametrize("part", [{}, {"half": "attacker"}, {"split": "test"}])
def test_a_data_set_with_a_name_is_loaded_again(name, part, again):
    source = make_source(name, **part)
    assert len(pickle.dumps(source)) < 1000
    assert_same_source(source, again(source))
    assert_same_source(source, again(again(source.to("cpu"))))


def test_ones_own_images_are_held_and_no_others(again):
    images = torch.randint(256, (400, 3, 16, 16), dtype=torch.uint8, generator=g())
    whole = tosc_env.Source.from_arrays(images, torch.arange(400) % 4, name="mine")
    for source, size in (
        (whole, 400),
        (whole.take_half("system"), 200),
        (whole.subset([3, 1, 2]), 3),
        (make_source("shapes", num_images=40).subset([0, 5]), 2),
    ):
        assert_same_source(source, again(source))
        told = len(pickle.dumps(source.statistics))
        assert 0 < len(pickle.dumps(source)) - source.images[0].numel() * size - told < 10_000


def test_a_data_set_of_this_program_alone_is_held(again, monkeypatch):
    """Another program would not find it by its name."""
    monkeypatch.setattr(sources, "_table", dict(sources._table))

    @register_source("noise")
    def load(split="train"):
        images = np.random.default_rng(0).integers(0, 256, (10, 3, 16, 16), dtype=np.uint8)
        return tosc_env.Source.from_arrays(images, name="noise", split=split)

    source = make_source("noise", half="system")
    kept = pickle.dumps(source)
    del sources._table["noise"]
    assert_same_source(source, pickle.loads(kept))


def test_other_images_under_the_same_name_are_refused(monkeypatch):
    kept = pickle.dumps(make_source("shapes", num_images=20))
    other = make_source("shapes", num_images=20, seed=1)
    monkeypatch.setattr(type(data_set("shapes")), "load", lambda self, split, num_images: other)
    with pytest.raises(DataError, match="the data set 'shapes' found here is not the one of the pickle"):
        pickle.loads(kept)


# -- games and environments ----------------------------------------------------------------------------


@pytest.mark.parametrize("rules", [{}, {"constellation": "16qam"}, {"channel": "tdl", "nodes": wiretap(2)}])
def test_a_game(rules, again):
    game = tosc_env.Game(make_source("shapes", num_images=40), **rules)
    drawn = []
    for who in (game, again(game)):
        round_ = who.draw(4, generator=g())
        points = torch.ones(4, 64) if who.points is None else who.points[torch.arange(256).view(4, 64) % 16]
        symbols = torch.view_as_real(points.to(torch.complex64)).flatten(1)
        drawn.append(who.transmit(round_, symbols).receiver.received)
    assert torch.equal(*drawn)


RULES = {
    "plain": {},
    "fading": {"channel": "rician", "snr_db": {"low": 0, "high": 20}, "repeat": 2},
    "many": {"nodes": wiretap(2), "flatten": True, "eavesdropper_snr_db": 3.0},
}


def single(role, **rules):
    return gym.make("ToSC-Shapes-v0", max_cycles=4, **options_for(role, **rules))


def rows(role, **rules):
    return gym.make_vec("ToSC-Shapes-v0", 3, max_cycles=4, **options_for(role, **rules))


FORMS = {
    **{f"{role}, alone": partial(single, role) for role in ("transmitter", "receiver", "eavesdropper")},
    **{f"{role}, rows": partial(rows, role) for role in ("transmitter", "receiver", "eavesdropper")},
    "turns": partial(tosc_env.aec_env, "ToSC-Shapes-v0", max_cycles=4, data_kwargs=SMALL),
    "pipeline": partial(tosc_env.parallel_env, "ToSC-Shapes-v0", max_cycles=5, data_kwargs=SMALL),
}


def seeded(env):
    """The environment, whose samples of actions come from a seed."""
    agents = getattr(env, "possible_agents", None)
    for space in [env.action_space] if agents is None else map(env.action_space, agents):
        space.seed(0)
    return env


def play(env, steps):
    """Steps with sampled actions, and resets; all that is seen, as plain values."""
    seen = []
    for _ in range(steps):
        if isinstance(env, gym.Env):
            told = env.step(env.action_space.sample())
            seen.append(told)
            if told[2]:
                seen.append(env.reset())
        elif isinstance(env, gym.vector.VectorEnv):
            seen.append(env.step(env.action_space.sample()))
        elif hasattr(env, "agent_selection"):
            agent = env.agent_selection
            over = env.terminations[agent]
            env.step(None if over else env.action_space(agent).sample())
            if not env.agents:
                env.reset()
            seen.append((env.last(), env.state()))
        else:
            seen.append(env.step({agent: env.action_space(agent).sample() for agent in env.agents}))
            seen.append(env.state())
            if not env.agents:
                seen.append(env.reset())
    return plain(seen)


def plain(value):
    if isinstance(value, torch.Tensor | np.ndarray):
        return np.asarray(value).tolist()
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("before", [None, 6])
def test_an_environment_goes_on_bit_for_bit(form, rules, before, again):
    env = seeded(FORMS[form](**RULES[rules]))
    if before is not None:
        env.reset(seed=3)
        play(env, before)
    other = again(env)
    if before is None:
        env.reset(seed=3), other.reset(seed=3)
    # Neither moves the other: they share no stream.
    assert play(env, 11) == play(other, 11)


def test_rows_with_seeds_of_their_own_go_on(again):
    env = seeded(FORMS["eavesdropper, rows"]())
    env.reset(seed=[4, 5, 6])
    play(env, 2)
    assert play(again(env), 6) == play(env, 6)


@pytest.mark.parametrize("form", ["turns", "pipeline"])
@pytest.mark.filterwarnings("ignore:.*stand in.*")
def test_a_pickle_is_smaller_than_one_of_its_images_times_ten(form):
    """Whatever the data set: before an episode it is a few thousand bytes, in one the messages under way."""
    env = FORMS[form].func("ToSC-CIFAR-v0")
    assert len(pickle.dumps(env)) < 12_000
    env.reset(seed=0)
    play(env, 7)
    assert len(pickle.dumps(env)) < 200_000


def test_a_window_is_not_copied(again):
    env = gym.make_vec("ToSC-Shapes-v0", 2, render_mode="rgb_array", **options_for("receiver"))
    env.reset(seed=0)
    frame = env.render()[1]
    other = again(env)
    assert other._viewer is None
    assert np.array_equal(other.render()[1], frame)


def test_images_spaces_keep_their_stream(again):
    space = FORMS["eavesdropper, alone"]().action_space
    assert isinstance(space, spaces.Box)
    fresh = again(space)
    assert fresh == space
    space.seed(3)
    space.sample()
    other = again(space)
    assert np.array_equal(other.sample(), space.sample())
    assert len(pickle.dumps(space)) < 1000


def test_a_keyed_environment_is_copied_and_never_pickled():
    options = options_for("eavesdropper", stages=[{"name": "keyed", "key": KEY}])
    env = seeded(gym.make("ToSC-Shapes-v0", **options))
    env.reset(seed=0)
    assert play(copy.deepcopy(env), 3) == play(env, 3)
    with pytest.raises(InputError, match="a secret key is not written to files or sent to other processes"):
        pickle.dumps(env)


@pytest.mark.slow
def test_processes_that_are_spawned():
    """Gymnasium's AsyncVectorEnv in fresh interpreters equals the same environments in this one."""
    make = partial(gym.make, "tosc_env:ToSC-Shapes-v0", max_cycles=2, **options_for("receiver"))
    kept = pickle.dumps(make())
    apart = gym.vector.AsyncVectorEnv([make, partial(pickle.loads, kept)], context="spawn")
    together = gym.vector.SyncVectorEnv([make] * 2)
    try:
        together.action_space.seed(0)
        told = [(apart.reset(seed=1), together.reset(seed=1))]
        for _ in range(3):
            action = together.action_space.sample()
            told.append((apart.step(action), together.step(action)))
    finally:
        apart.close()
    for one, two in told:
        assert plain(one) == plain(two)

"""Under one key, different images never share a key stream, whatever is done; the same episode replays the same one.

Who knows one image of two under one stream knows the other: this is what per-message keys are for.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from fakes import SMALL
from tosc_agents.learning.loop import LoopConfig
from tosc_agents.stages.keyed import Keyed
from tosc_agents.training.evaluate import evaluate
from tosc_agents.training.fit_scheme import SchemeTraining, fit_scheme

import tosc_env
from tosc_env.channels.flat import AWGN, Rician
from tosc_env.data import make_source
from tosc_env.data.base import Source
from tosc_env.game import Game
from tosc_env.pipeline import Pipeline
from tosc_env.privacy.threat import ThreatModel
from tosc_env.privacy.view import View
from tosc_env.schemes import PrivacyScheme
from tosc_env.types import SystemSpec

HEX = bytes(range(100, 132)).hex()
SPEC = SystemSpec((3, 32, 32), 10)
ID = "ToSC-Shapes-v0"


class Plain(PrivacyScheme):
    """Some pixels as they are, whole numbers: which image is sent can be read, whatever the batch."""

    name = "plain"

    def encode(self, images, context):
        return (255 * images.flatten(1)[:, ::24]).round()

    def decode(self, received, csi, context):
        return received[:, :10]


class Trainable(Plain):
    """The same with something to train."""

    def __init__(self, spec):
        super().__init__(spec)
        self.scale = torch.nn.Parameter(torch.ones(()))

    def decode(self, received, csi, context):
        return self.scale * super().decode(received, csi, context)


class Watched(Keyed):
    """A stage that remembers for each key stream (by the order that it gives) what was sent under it."""

    def __init__(self, spec):
        super().__init__(spec, key=HEX)
        self.sent: dict[bytes, set[bytes]] = {}
        self.streams: list[bytes] = []

    def another(self):
        """One more of the same key, for another environment, that notes into the same book."""
        copy = Watched(self.spec)
        copy.sent = self.sent
        return copy

    def protect(self, symbols, context):
        places = torch.arange(symbols.shape[1], dtype=torch.float32).expand(len(symbols), -1)
        for order, content in zip(super().protect(places, context).numpy(), symbols.numpy(), strict=True):
            self.sent.setdefault(order.tobytes(), set()).add(content.tobytes())
            self.streams.append(order.tobytes())
        return super().protect(symbols, context)


class Unprintable(AWGN):
    """A channel with an attribute whose text is another in every process."""

    def __init__(self):
        super().__init__()
        self.thing = object()


@pytest.fixture
def watched():
    stage = Watched(SPEC)
    return stage, Pipeline(Plain(SPEC), [stage]).eval()


def kept(stage):
    """The law, of all that has been sent."""
    shared = [contents for contents in stage.sent.values() if len(contents) > 1]
    assert not shared, f"{len(shared)} of {len(stage.sent)} key streams served several images"
    return len(stage.sent)


def single(scheme, *, seed=7, stop_after=None, cycles=3, **options):
    """An episode, perhaps broken off, and one more without a seed."""
    env = gym.make(
        ID, role="eavesdropper", scheme=scheme, data_kwargs=SMALL, max_cycles=cycles, split="train", **options
    )
    env.reset(seed=seed)
    for _ in range(2):
        for step in range(cycles):
            env.step(env.action_space.sample())
            if step + 1 == stop_after:
                break
        env.reset()
    env.close()


def vector(scheme, *, seed=7, num_envs=3, mask=None, **options):
    env = gym.make_vec(
        ID, num_envs=num_envs, role="eavesdropper", scheme=scheme, data_kwargs=SMALL, max_cycles=2, **options
    )
    env.reset(seed=seed)
    answer = torch.full((num_envs, 3, 32, 32), 0.5)
    for step in range(5):
        env.step(answer)
        if mask is not None and step == 1:
            env.reset(options={"reset_mask": np.array(mask)})
    env.reset()
    env.close()


def sent(seen):
    """The message that an agent by the rules sends for the image that it sees."""
    return seen["image"].flatten()[::24]


def turns(stage):
    env = tosc_env.aec_env(ID, stages=[stage.another()], data_kwargs=SMALL, max_cycles=2)
    for seed in (7, None):
        env.reset(seed=seed)
        for agent in env.agent_iter():
            seen, _, over, _, _ = env.last()
            act = sent(seen) if agent == "transmitter_0" else env.action_space(agent).sample()
            env.step(None if over else act)
    env.close()


def at_once(stage):
    env = tosc_env.parallel_env(ID, stages=[stage.another()], data_kwargs=SMALL, max_cycles=2)
    for seed in (7, None):
        seen, _ = env.reset(seed=seed)
        while env.agents:
            actions = {agent: env.action_space(agent).sample() for agent in env.agents}
            seen, *_ = env.step({**actions, "transmitter_0": sent(seen["transmitter_0"])})
    env.close()


def test_an_early_reset_and_a_natural_end(watched):
    stage, scheme = watched
    for stop_after in (None, 1, 2):
        single(scheme, stop_after=stop_after)
    assert kept(stage) >= 8


def test_masks_rows_lengths_seeds_snrs_and_channels(watched):
    stage, scheme = watched
    for mask in (None, [True, False, False], [False, True, True], [True, True, True]):
        vector(scheme, mask=mask)
    for seed, rows in ((8, 3), (None, 3), (7, 1), (7, 4)):
        vector(scheme, seed=seed, num_envs=rows)
    for options in (
        {"snr_db": 3.0},
        {"split": "test"},
        {"channel": Unprintable()},
        {"channel": Rician(k_factor_db=3.0)},
    ):
        vector(scheme, **options)
    assert kept(stage) > 150


def test_single_vector_aec_and_parallel_forms_of_one_seed(watched):
    stage, scheme = watched
    single(scheme)
    vector(scheme, num_envs=1)
    turns(stage)
    at_once(stage)
    assert kept(stage) > 15


def test_a_transmitter_outside_behind_the_stage():
    stage = Watched(SPEC)
    for seed, stop_after in ((7, 4), (7, 2), (8, 4)):
        env = gym.make(
            ID,
            stages=[stage.another()],
            eavesdropper="mean-image",
            data_kwargs=SMALL,
            max_cycles=4,
        )
        seen, _ = env.reset(seed=seed)
        for _ in range(2):
            for _ in range(stop_after):
                seen, *_ = env.step(sent(seen))
            seen, _ = env.reset()
        env.close()
    assert kept(stage) > 10


def test_sources_that_share_an_image_and_their_length(watched):
    stage, scheme = watched
    first = make_source("shapes", **SMALL)
    images = first.images.clone()
    images[1:] = images[1:].flip(0)
    mine = Source.from_arrays(images, first.labels, name=first.name, class_names=first.class_names)
    array = first.images.numpy()
    written = Source.from_arrays(array, first.labels, name=first.name, class_names=first.class_names)
    for source in (first, mine, first.take_half("system"), first.take_half("attacker"), written):
        rounds(scheme, source)
    # Whoever writes, here or there, writes to no source; who makes another of what was written has another.
    array[:] = 255 - array
    written.images.numpy()[:] = 7
    rounds(scheme, written)
    again = Source.from_arrays(array, first.labels, name=first.name, class_names=first.class_names)
    rounds(scheme, again)
    assert kept(stage) > 50


def rounds(scheme, source):
    """Messages of rounds as they are drawn outside of environments, without fresh numbers."""
    game, stream = Game(source), torch.Generator().manual_seed(0)
    round_ = None
    for _ in range(3):
        round_ = game.draw(8, generator=stream, previous=round_)
        scheme.send(source, round_.batch.index, game.context(round_, stream))


def test_evaluations_and_attacks_whatever_split_and_data(watched):
    stage, scheme = watched
    everything = ThreatModel(candidate_queries=True, unkeyed_encoder=True)
    few = ThreatModel(queries=10)
    for source in (
        make_source("shapes", **SMALL),
        make_source("shapes", split="test", **SMALL),
        make_source("shapes", half="attacker", **SMALL),
    ):
        game = Game(source)
        for snr_db in ((12.0,), (3.0,)):
            evaluate(
                game, scheme, {}, snr_db=snr_db, seeds=2, candidates=16, with_ssim=False, with_floors=False
            )
        for threat in (everything, few):
            view = View(game, scheme, threat, torch.Generator().manual_seed(0))
            for _ in range(2):
                view.sample(torch.arange(10))
            if threat.candidate_queries:
                view.encode(source.gather(torch.arange(12)).images)
                view.encode(1.0 - source.gather(torch.arange(12)).images)
                view.unkeyed(torch.arange(10))
    assert kept(stage) > 300


@pytest.mark.parametrize("passes", [1, 2])
def test_trainings_of_one_seed_and_key_whatever_the_augmentation(passes):
    """Padding, mirroring, squares and colours of one image are different images."""
    stage = Watched(SPEC)
    game = Game(make_source("shapes", **SMALL))
    for options in (
        {"pad": 0, "flip": False, "cutout": 0},
        {"pad": 0, "flip": False, "cutout": 4},
        {"pad": 0, "flip": False, "cutout": 8},
        {"pad": 0, "flip": True, "cutout": 8},
        {"pad": 2},
        {"pad": 4},
        {"colour": 0.2},
        {"colour": 0.4},
    ):
        scheme = Pipeline(Trainable(SPEC), [stage.another()])
        loop = LoopConfig(epochs=passes, batch_size=20)
        fit_scheme(scheme, game, SchemeTraining(loop, **options), objectives="task", seed=3)
    assert kept(stage) > 8 * 20 * passes


def episode():
    """The streams of an episode, in hexadecimal digits."""
    stage = Watched(SPEC)
    vector(Pipeline(Plain(SPEC), [stage]).eval(), channel=Unprintable(), mask=[True, False, True])
    return [hashlib.sha256(stream).hexdigest()[:16] for stream in stage.streams]


def test_the_same_episode_replays_the_same_streams_in_another_process_too():
    here = episode()
    assert here == episode() and len(set(here)) > 5
    code = "import sys; sys.path[:0] = sys.argv[1:]; import test_keystream_law as law; print(law.episode())"
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "helpers")]
    run = subprocess.run([sys.executable, "-c", code, *folders], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(here)

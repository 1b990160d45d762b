"""A system is trained through all its stages, trainable ones with it, and its weights play with other stages."""

from __future__ import annotations

import pytest
import torch
from links import seeded as g
from pixels import Linear
from refusals import refused
from tosc_agents import LoopConfig, SchemeTraining, evaluate, fit_scheme
from tosc_agents.learning.seeding import weights_from
from tosc_agents.training.fit_scheme import Trainee, usual_objectives

from tosc_env.errors import CheckpointError
from tosc_env.game import Game, GameConfig
from tosc_env.io.checkpoints import load_checkpoint, read_header, save_checkpoint
from tosc_env.pipeline import make_scheme
from tosc_env.schemes import stages
from tosc_env.types import Context, SystemSpec

TINY = {"stem": 4, "widths": [4, 8, 8], "blocks": [0, 0, 0], "receiver_width": 16, "receiver_depth": 1}
LEARNS = {"stem": 8, "widths": [8, 16], "blocks": [0, 0], "receiver_width": 32, "receiver_depth": 1}
SPEC = SystemSpec((3, 16, 16), 10, 8)
KEY = "5a" * 32
SHUFFLE, ROTATION = "keyed", {"name": "keyed", "mode": "rotation"}
NOISE = {"name": "laplace", "mode": "calibrated", "constant": 0.1, "epsilon": 1.0}
# Eight colours: what a tiny network learns in a second.
COLOURS = GameConfig(
    "shapes",
    {"num_images": 1000, "size": 16},
    task="attributes",
    task_kwargs={"names": ["colour"]},
    num_symbols=16,
)


@pytest.fixture(autouse=True)
def _stranger(monkeypatch):
    monkeypatch.setitem(stages._table, Linear.name, Linear)


def make(name="deepjscc", more=(), key=None, spec=SPEC, network=TINY, **options):
    with weights_from(0):
        return make_scheme(name, spec, stages=more, key=key, **network, **options)


def context(batch_size):
    message = torch.zeros(batch_size, 5, dtype=torch.long)
    message[:, 0] = torch.arange(batch_size)
    return Context(torch.full((batch_size,), 12.0), message, 7, g())


def learn(name, more, epochs):
    """A system trained through its stages, and the game on the test images."""
    plain = COLOURS.game(half="system")
    scheme = make(name, more, KEY if "keyed" in str(more) else None, plain.spec, LEARNS)
    game = plain.with_rules(constellation=scheme.constellation)
    discrete = {"optimizer": "adamw", "learning_rate": 6e-3}
    usual = {"learning_rate": 0.1} if scheme.constellation is None else discrete
    loop = LoopConfig(epochs=epochs, batch_size=25, average=0.9, precision="float32", **usual)
    fit_scheme(scheme, game, SchemeTraining(loop, pad=0, flip=False, cutout=0))
    return scheme, COLOURS.game(split="test", constellation=scheme.constellation)


# -- training ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("lbvq", [SHUFFLE, {**NOISE, "constant": 0.05}]),
        pytest.param("deepjscc", [NOISE, ROTATION], marks=pytest.mark.slow),
        pytest.param("deepjscc", [SHUFFLE, ROTATION, Linear.name], marks=pytest.mark.slow),
    ],
)
def test_several_stages_are_trained_through_and_the_receiver_decides_far_better_than_by_chance(name, more):
    scheme, test = learn(name, more, epochs=9)
    found = evaluate(test, scheme, {}, seeds=1, with_ssim=False).accuracy[12.0].mean
    assert found > 0.35, "where chance is 1 in 8"
    if "keyed" in str(more):
        made = {"spec": scheme.spec, "network": LEARNS}
        stranger = make(name, more, "a5" * 32, **made).eval()
        stranger.load_state_dict(scheme.state_dict())
        images = test.source.gather(torch.arange(200))
        sent = scheme.encode(images.images, context(200))
        logits = stranger.decode(sent, torch.full((200, 1), 12.0), context(200))
        score = float(test.task.score(test.task.decide(logits), test.task.targets(images)).float().mean())
        assert score < 0.3, "with another key it is guessing"


def test_the_parameters_of_a_stage_are_trained_saved_and_loaded(tmp_path):
    scheme, _ = learn("deepjscc", [Linear.name, SHUFFLE], epochs=1)
    gain = scheme.stages[0]
    moved = [
        float((p - q).abs().max())
        for p, q in zip(gain.parameters(), Linear(scheme.spec).parameters(), strict=True)
    ]
    assert len(moved) == 2 and min(moved) > 0, "both ends"
    path = tmp_path / "gain.safetensors"
    save_checkpoint(path, scheme, {})
    assert [stage["name"] for stage in read_header(path)["stages"]] == [Linear.name, "keyed"]
    again = load_checkpoint(path, options={"key": KEY}).policy
    assert torch.equal(again.stages[0].there, gain.there) and torch.equal(again.stages[0].back, gain.back)
    images = torch.rand(4, 3, 16, 16, generator=g())
    assert torch.equal(again.encode(images, context(4)), scheme.encode(images, context(4)))


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("lbvq", [SHUFFLE]),
        ("ibal", [{"name": "laplace", "epsilon": 20.0}, SHUFFLE]),
        ("deepjscc", [Linear.name, NOISE, ROTATION]),
    ],
)
def test_every_usual_loss_reaches_transmitter_receiver_and_stages(name, more):
    scheme = make(name, more)
    source = COLOURS.source(half="system")
    game = Game(source, num_symbols=8, constellation=scheme.constellation)
    trainee = Trainee(scheme, usual_objectives(name, SPEC), game, SchemeTraining(), g()).train()
    loss, figures = trainee(torch.arange(16))
    loss.backward()
    assert torch.isfinite(loss) and "accuracy" in figures
    assert all(p.grad is not None for p in scheme.parameters())
    assert float(scheme.backbone.transmitter.head.weight.grad.abs().max()) > 0


# -- weights ----------------------------------------------------------------------------------------


def test_the_bare_schemes_weights_play_under_any_stages(tmp_path, mode="shuffle+signs"):
    bare = make("lbvq").eval()
    path = tmp_path / "lbvq.safetensors"
    save_checkpoint(path, bare, {})
    images, csi = torch.rand(4, 3, 16, 16, generator=g()), torch.full((4, 1), 12.0)
    wanted = bare.decode(bare.encode(images, context(4)), csi, context(4))
    cipher = {"name": "keyed", "mode": mode}
    for loaded in (
        load_checkpoint(path, name="layered", options={"mode": mode, "key": KEY}).policy,
        load_checkpoint(path, stages=[cipher], options={"key": KEY}).policy,
    ):
        assert loaded.backbone.options == bare.backbone.options
        sent = loaded.encode(images, context(4))
        assert not torch.equal(sent, bare.encode(images, context(4)))
        assert torch.equal(loaded.decode(sent, csi, context(4)), wanted)
    with refused("'lbvq' 'ibal'", CheckpointError):
        load_checkpoint(path, name="ibal")
    with refused("codewords=16 64"):
        load_checkpoint(path, name="layered", options={"codewords": 64})

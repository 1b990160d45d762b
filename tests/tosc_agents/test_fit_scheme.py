"""A scheme is trained through the very game that environments play, and an attacker through its view."""

from __future__ import annotations

import math
from contextlib import nullcontext

import pytest
import torch
from refusals import refused
from tosc_agents.backbones import vq
from tosc_agents.learning.loop import LoopConfig
from tosc_agents.learning.seeding import weights_from
from tosc_agents.training.evaluate import evaluate
from tosc_agents.training.fit_eavesdropper import fit_eavesdropper
from tosc_agents.training.fit_receiver import fit_receiver
from tosc_agents.training.fit_scheme import SchemeTraining, fit_scheme

from tosc_env.attackers import Eavesdropper
from tosc_env.data import Source, make_source
from tosc_env.errors import CheckpointError, DeniedError
from tosc_env.game import Game
from tosc_env.pipeline import make_scheme
from tosc_env.privacy.threat import ThreatModel
from tosc_env.schemes import PrivacyScheme, schemes

TINY = {"stem": 8, "widths": (8, 16), "blocks": (0, 0), "receiver_width": 32, "receiver_depth": 1}


def setting(split="train", half="system", num_images=1000, name="deepjscc", stages=(), **rules):
    source = make_source("shapes", split=split, half=half, num_images=num_images, size=16)
    game = Game(source, num_symbols=16, **rules)
    with weights_from(0):
        return game, make_scheme(name, game.spec, stages=stages, **TINY)


def quick(epochs=1, **options):
    loop = LoopConfig(epochs=epochs, batch_size=50, learning_rate=0.1, average=0.9, precision="float32")
    return SchemeTraining(loop, pad=1, flip=True, cutout=0, **options)


@pytest.mark.parametrize("name", ["deepjscc", "label-only"])
def test_a_tiny_system_learns_the_task_in_seconds(name):
    rules = {
        "task": "attributes",
        "task_kwargs": {"names": "colour"},
    }  # eight colours: what a tiny net can learn
    rules["constellation"] = "qpsk" if name == "label-only" else None
    game, scheme = setting(name=name, **rules)
    loop = LoopConfig(epochs=5, batch_size=25, learning_rate=0.1, average=0.9, precision="float32")
    trained = fit_scheme(scheme, game, SchemeTraining(loop, pad=0, flip=False, cutout=0))
    assert math.isfinite(trained["loss"]) and trained["accuracy"] > 0.3
    assert not scheme.training
    test, _ = setting("test", None, 300, **rules)
    accuracy = evaluate(test, scheme, {}, seeds=1).accuracy[12.0].mean
    assert accuracy > 0.4, "where chance is 1 in 8"


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 13), (1, 96, 64), (3, 8, 8)], ids=str)
@pytest.mark.parametrize("name", [name for name in schemes if schemes.origin(name).startswith("tosc_agents")])
def test_every_scheme_trains_on_images_of_any_size(name, shape):
    """Sides of any length from 8, one channel or three; augmentation, adversaries and pooling included."""
    images = torch.randint(
        0, 256, (20, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    game = Game(Source.from_arrays(images, torch.arange(20) % 4, name="noise"), num_symbols=8)
    with weights_from(0):
        scheme = make_scheme(name, game.spec, **TINY)
    record = fit_scheme(scheme, game, SchemeTraining(LoopConfig(epochs=1, batch_size=10)))
    assert math.isfinite(record["loss"])


def test_training_is_decided_by_its_seed_whatever_mode_it_is_called_in():
    states = []
    for seed, mode in ((0, nullcontext()), (0, torch.inference_mode()), (1, torch.no_grad())):
        with mode:
            game, scheme = setting(num_images=200)
            fit_scheme(scheme, game, quick(), seed=seed)
        states.append(scheme.state_dict())
        torch.rand(3)
    assert all(torch.equal(t, states[1][name]) for name, t in states[0].items())
    assert any(not torch.equal(t, states[2][name]) for name, t in states[0].items())


def test_the_channel_is_part_of_training():
    """The loss sends a gradient to the transmitter through a fading channel at a drawn SNR."""
    game, scheme = setting(num_images=200, channel="rayleigh", snr_db=[0.0, 12.0])
    before = {name: p.detach().clone() for name, p in scheme.backbone.transmitter.named_parameters()}
    fit_scheme(scheme, game, quick())
    assert all(not torch.equal(p, before[name]) for name, p in scheme.backbone.transmitter.named_parameters())


# -- the receiver alone -----------------------------------------------------------------------------


@pytest.mark.parametrize("more", [[], [{"name": "laplace", "epsilon": 50.0}]])
def test_a_receiver_learns_behind_a_transmitter_that_stays_as_it_is(more):
    game, scheme = setting(num_images=200, stages=more)
    before = {name: t.clone() for name, t in scheme.state_dict().items()}
    transmitter = scheme.backbone.transmitter
    trained = fit_receiver(scheme, game, quick(epochs=2), copies=2)
    assert scheme.backbone.transmitter is transmitter and not scheme.training
    moved = {name for name, t in scheme.state_dict().items() if not torch.equal(t, before[name])}
    assert moved == {name for name in before if name.startswith("backbone.receiver.")}
    assert math.isfinite(trained["loss"])


def test_another_run_does_not_go_on_with_a_runs_state(tmp_path):
    state = tmp_path / "a.run"
    game, scheme = setting(num_images=200)
    fit_scheme(scheme, game, quick(), state_path=state)
    for rules, seed, what in (
        ({"snr_db": 3.0}, 0, "snr_db"),
        ({"channel": "rayleigh"}, 0, "channel"),
        ({}, 1, "seed"),
    ):
        game, scheme = setting(num_images=200, **rules)
        with refused(what, CheckpointError):
            fit_scheme(scheme, game, quick(), state_path=state, seed=seed)


class Fixed(PrivacyScheme):
    """Nothing to train."""

    name = "fixed"

    def encode(self, images, context):
        return images.flatten(1)[:, :32]

    def decode(self, received, csi, context):
        return received[:, :10]


def test_what_cannot_be_trained_is_refused(monkeypatch):
    game, _ = setting(num_images=20)
    with refused("'fixed'"):
        fit_scheme(Fixed(game.spec), game, quick())
    modulate = vq.modulate
    monkeypatch.setattr(vq, "modulate", lambda index, points: 1.1 * modulate(index, points))
    game, scheme = setting(num_images=200, name="lbvq", constellation="16qam")
    with refused("'16qam'"):  # found at the host's next look
        fit_scheme(scheme, game, quick())
    for name, options, said in [
        ("ibal", {}, "'ibal'"),
        ("lbvq", {}, "'lbvq'"),
        ("encryption", {}, "'encryption'"),
        ("label-only", {}, "'label-only' 'transmitter'"),
        ("deepjscc", {"copies": 0}, "copies 1 0"),
    ]:
        game, scheme = setting(num_images=20, name=name)
        with refused(said):
            fit_receiver(scheme, game, quick(), **options)


# -- attackers --------------------------------------------------------------------------------------


def test_an_attackers_record_says_how_it_was_made():
    _, scheme = setting(num_images=200)
    game, _ = setting(half="attacker", num_images=200, eavesdropper_snr_db=5.0)
    options = {"width": 16, "components": 4, "steps": 4, "batch_size": 20}
    threat = ThreatModel(queries=60)
    attacker, record = fit_eavesdropper(
        "inversion-mlp", game, scheme.eval(), threat=threat, options=options, seed=4
    )
    assert not attacker.training and not any(p.requires_grad for p in attacker.parameters())
    assert record["name"] == "inversion-mlp" and record["queries"] == 60 and record["seed"] == 4
    assert record["threat_model"] == threat.plain() and record["snr_db"] == 5.0
    assert record["options"].items() >= options.items() and record["fit"]["images"] == 45


def test_an_attacker_that_asks_for_what_is_denied_gets_no_further():
    class Nosy(Eavesdropper):
        name = "nosy"

        def fit(self, view, *, generator, progress=None):
            return {"labels": view.labels(torch.arange(3)).tolist()}

        def infer(self, received, csi):
            return received[:, :1]

    game, scheme = setting(half="attacker", num_images=20)
    assert len(fit_eavesdropper(Nosy(game.spec), game, scheme.eval())[1]["fit"]["labels"]) == 3
    with refused("labels=False", DeniedError):
        fit_eavesdropper(Nosy(game.spec), game, scheme, threat=ThreatModel(labels=False))

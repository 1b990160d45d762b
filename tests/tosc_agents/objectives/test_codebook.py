"""Codewords go to the features that chose them, and those out of use come back beside the busiest."""

from __future__ import annotations

import pytest
import torch
from links import seeded as g
from refusals import refused
from tosc_agents.learning.seeding import weights_from
from tosc_agents.objectives.codebook import Codebook
from tosc_agents.training.fit_scheme import SYSTEM, SchemeTraining, Trainee

from tosc_env.data import make_source
from tosc_env.game import Game
from tosc_env.pipeline import as_pipeline, make_scheme
from tosc_env.schemes import make_objectives
from tosc_env.testing import check_objective
from tosc_env.types import SystemSpec

TINY = {"stem": 4, "widths": (4, 8, 8), "blocks": (0, 0, 0), "receiver_width": 16, "receiver_depth": 1}
SPEC = SystemSpec((3, 16, 16), 10, 8)


def trainee(*objectives, name="lbvq", stages=()):
    with weights_from(0):
        scheme = as_pipeline(make_scheme(name, SPEC, stages=stages, **TINY))
    source = make_source("shapes", num_images=64, size=16)
    game = Game(source, num_symbols=8, constellation=scheme.constellation)
    return Trainee(scheme, make_objectives(list(objectives), SPEC), game, SchemeTraining(), g(1)).train()


def test_it_keeps_the_laws_of_objectives():
    check_objective(Codebook(SPEC), make_scheme("lbvq", SPEC, **TINY))


def test_codewords_are_pulled_to_their_features_and_features_to_their_codewords():
    """|q - sg(z)|^2 moves q alone, and commitment * |sg(q) - z|^2 moves z alone, towards one another."""
    gradients = {}
    for commitment in (0.0, 0.25, 0.5):
        system = trainee({"name": "codebook", "commitment": commitment})
        loss, figures = system(torch.arange(32))
        loss.backward()
        backbone = system.scheme.backbone
        gradients[commitment] = backbone.codewords.grad, backbone.transmitter.head.weight.grad
        wanted = float(figures["distortion"]) * (1 + commitment)
        assert float(loss.detach()) == pytest.approx(wanted, rel=1e-5)
    assert float(gradients[0.0][0].abs().max()) > 0 and not gradients[0.0][1].any()
    assert torch.equal(gradients[0.0][0], gradients[0.5][0])
    assert torch.allclose(2 * gradients[0.25][1], gradients[0.5][1], atol=1e-7)
    before = float(figures["distortion"])
    with torch.no_grad():
        backbone.codewords -= 0.5 * backbone.codewords.grad
    again = trainee("codebook")
    again.scheme.load_state_dict(system.scheme.state_dict())
    assert float(again(torch.arange(32))[1]["distortion"]) < before


@pytest.mark.parametrize("stages", [[], ["keyed"]])
def test_unused_codewords_are_revived_before_an_epoch_but_the_first_and_the_last_tenth(stages):
    system = trainee("task", "codebook", stages=stages)
    backbone = system.scheme.backbone
    unused = torch.tensor([1.0] * 10 + [0.0] * 6) / 10
    revived = []
    for epoch in range(20):
        backbone.usage.copy_(unused)
        system.begin("adversary", epoch, 20)
        assert torch.equal(backbone.usage, unused), "in the system's own pass alone"
        system.begin(SYSTEM, epoch, 20)
        revived.append(not torch.equal(backbone.usage, unused))
    assert revived == [False] + [True] * 17 + [False] * 2


@pytest.mark.parametrize("name", ["deepjscc", "label-only"])
def test_it_is_for_a_scheme_with_a_codebook(name):
    system = trainee("task", "codebook", name=name)
    for doing in (lambda: system(torch.arange(8)), lambda: system.begin(SYSTEM, 1, 10)):
        with refused("'codebook'"):
            doing()

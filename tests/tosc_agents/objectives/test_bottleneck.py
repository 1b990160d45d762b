"""The information bottleneck's rate, its weight over the epochs, and whose rate it takes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from links import seeded as g
from refusals import refused
from tosc_agents.learning.seeding import weights_from
from tosc_agents.objectives.bottleneck import Bottleneck, _log_uniform_kl

from tosc_env.data import make_source
from tosc_env.game import Game
from tosc_env.pipeline import make_scheme
from tosc_env.testing import check_objective
from tosc_env.types import Context, SystemSpec

TINY = {"stem": 4, "widths": (4, 8, 8), "blocks": (0, 0, 0), "receiver_width": 16, "receiver_depth": 1}
SPEC = SystemSpec((3, 16, 16), 10, 8)


def test_the_divergence_is_that_of_variational_dropout_and_grows_with_the_signal():
    """At alpha = 1 Molchanov et al. approximate -KL + C by k1 s(k2) - 0.5 log 2 - k1; a stronger signal tells more."""
    z = torch.full((1, 4), math.sqrt(0.5 * (1 - 1e-4)))
    sigmoid = 1 / (1 + math.exp(-1.8732))
    expected = -4 * (0.63576 * sigmoid - 0.5 * math.log(2) - 0.63576)
    assert float(_log_uniform_kl(z, torch.zeros(1))) == pytest.approx(expected, rel=1e-4)
    by_size = [float(_log_uniform_kl(torch.full((1, 4), a), torch.zeros(1))) for a in (0.0, 0.1, 0.5, 2.0)]
    assert by_size == sorted(by_size)
    by_snr = [float(_log_uniform_kl(z, torch.tensor([snr]))) for snr in (0.0, 10.0, 20.0)]
    assert by_snr == sorted(by_snr)


def test_the_bottleneck_is_off_at_first_and_then_ramps_up():
    for start, ramp, shares in [
        (5, 10, [0.0] * 5 + [k / 10 for k in range(1, 11)] + [1.0] * 5),
        (0, 0, [1.0] * 20),
        (3, 0, [0.0] * 3 + [1.0] * 17),
    ]:
        objective = Bottleneck(SPEC, beta=0.5, start=start, ramp=ramp)
        trial, round_, task = seen("deepjscc")
        before, found = torch.tensor(2.0), []
        for epoch in range(20):
            objective.begin(None, "system", epoch, 20)
            loss, figures = objective.loss(before, trial, round_, task)
            found.append(float((loss - before).detach()) / float(figures["kl"]) / 0.5)
        assert found == pytest.approx(shares, abs=1e-6)


def seen(name):
    """The values that a step of a training has seen."""
    with weights_from(0):
        scheme = make_scheme(name, SPEC, **TINY).train()
    game = Game(
        make_source("shapes", num_images=64, size=16), num_symbols=8, constellation=scheme.constellation
    )
    round_ = game.draw(16, generator=g())
    context = Context(round_.snr_db, round_.message, generator=g())
    return scheme(round_.batch.images, context, lambda s: game.transmit(round_, s)), round_, game.task


def test_symbols_of_any_value_have_the_divergence_and_a_codebook_a_rate_of_its_own():
    objective = Bottleneck(SPEC, beta=1.0)
    for name in ("deepjscc", "lbvq"):
        trial, round_, task = seen(name)
        loss, figures = objective.loss(torch.tensor(0.0), trial, round_, task)
        kl = _log_uniform_kl(trial.transmission.sent, round_.snr_db).mean()
        wanted = kl if name == "deepjscc" else trial.rate()
        assert float(loss.detach()) == float(figures["kl"]) == float(wanted.detach())
        assert not figures["kl"].requires_grad and loss.requires_grad
    bare, _ = objective.loss(torch.tensor(0.0), replace(trial, rate=None), round_, task)
    assert float(bare.detach()) != float(wanted.detach())


def test_wrong_options_are_named():
    for options, said in [
        ({"beta": -1.0}, "beta 0 -1.0"),
        ({"start": 1.5}, "start 0 1.5"),
        ({"ramp": -1}, "ramp 0 -1"),
        ({"start": True}, "start 0 True"),
    ]:
        with refused(said):
            Bottleneck(SPEC, **options)


@pytest.mark.parametrize("name", ["deepjscc", "lbvq"])
def test_it_keeps_the_laws_of_objectives(name):
    check_objective(Bottleneck(SPEC, start=0, ramp=0), make_scheme(name, SPEC, **TINY))

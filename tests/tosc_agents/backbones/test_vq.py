"""Indices on QAM: nearest codewords, the theory's symbol errors, revival, straight-through training."""

from __future__ import annotations

import math

import pytest
import torch
from links import seeded as g
from physics import theoretical_ser
from refusals import refused
from tosc_agents.backbones.vq import VQ
from tosc_agents.learning.seeding import weights_from

from tosc_env.channels.flat import Rayleigh
from tosc_env.data import make_source
from tosc_env.game import Game
from tosc_env.modulation import hard_decision, modulate
from tosc_env.testing import check_scheme
from tosc_env.types import Context, SystemSpec

TINY = {"stem": 4, "widths": (4, 8, 8), "blocks": (0, 0, 0), "receiver_width": 16, "receiver_depth": 1}
SPEC = SystemSpec((3, 16, 16), 10, 8)
SNRS = (0.0, 8.0, 16.0)


def make(spec=SPEC, seed=0, **options):
    with weights_from(seed):
        return VQ(spec, **{**TINY, **options})


def context(batch_size, snr_db=12.0):
    return Context(torch.full((batch_size,), float(snr_db)), torch.zeros(batch_size, 5, dtype=torch.long))


@pytest.mark.parametrize("options", [{"codewords": 4, "dimension": 3}, {"codewords": 64, "dimension": 1}])
def test_every_codebook_keeps_the_laws_of_schemes(options):
    check_scheme(make(**options))


def test_every_index_is_the_nearest_codeword_and_its_own_point():
    scheme = make(dimension=3).eval()
    features = torch.randn(5, 24, generator=g())
    scaled = features / features.square().mean(1, keepdim=True).sqrt()
    exact = torch.cdist(scaled.view(-1, 3), scheme.codewords.detach()).argmin(1).view(5, 8)
    index = scheme.quantise(features)
    assert torch.equal(index, exact)
    symbols = modulate(index, scheme.points)
    assert torch.equal(hard_decision(symbols, scheme.points), index)
    assert float(symbols.square().sum(1).mean()) > 0


@pytest.mark.parametrize("codewords", [4, 64])
def test_its_symbol_error_rate_is_the_theorys_at_every_snr(codewords):
    """Uniformly used indices over the game's own channel, decided by the scheme's own receiver."""
    for snr_db in SNRS:
        spec = SystemSpec((3, 16, 16), 10, 64)
        scheme = make(spec, codewords=codewords).eval()
        source = make_source("shapes", num_images=8, size=16)
        game = Game(source, num_symbols=64, snr_db=snr_db, constellation=scheme.constellation)
        index = torch.randint(codewords, (1500, 64), generator=g())
        round_ = game.draw(1500, generator=g(1))
        heard = game.transmit(round_, modulate(index, scheme.points)).receiver
        wrong = float(
            (scheme._decide(heard.received, heard.csi, game.context(round_)) != index).float().mean()
        )
        theory = theoretical_ser(codewords, snr_db)
        assert wrong == pytest.approx(theory, abs=5 * math.sqrt(theory * (1 - theory) / index.numel()) + 1e-5)


@pytest.mark.parametrize("equaliser", ["mmse", "zf", None])
def test_over_a_fading_link_it_decides_as_if_the_fade_were_divided_out(equaliser):
    channel = Rayleigh(coherence=4, equaliser=equaliser)
    spec = SystemSpec((3, 16, 16), 10, 8, channel.num_csi(8))
    scheme = make(spec).eval()
    game = Game(
        make_source("shapes", num_images=8, size=16),
        channel=channel,
        num_symbols=8,
        constellation="16qam",
        snr_db=14.0,
    )
    round_ = game.draw(500, generator=g())
    index = torch.randint(16, (500, 8), generator=g(1))
    sent = modulate(index, scheme.points)
    heard = game.transmit(round_, sent).receiver
    link = round_.links["receiver"]
    gain = channel.gains(link, 8)[:, 0, 0]
    waves = torch.view_as_complex(sent.unflatten(1, (8, 2)))
    exact = waves + link.noise[:, 0] * 10 ** (-14 / 20) / gain
    expected = hard_decision(torch.view_as_real(exact).flatten(1), scheme.points)
    assert (
        float((scheme._decide(heard.received, heard.csi, game.context(round_)) == expected).float().mean())
        > 0.999
    )


def test_the_receiver_knows_nothing_but_the_decided_codewords():
    """Noise too small to change a decision changes nothing; another symbol does."""
    scheme = make().eval()
    index = torch.randint(16, (4, 8), generator=g())
    symbols = modulate(index, scheme.points)
    csi = torch.full((4, 1), 12.0)
    clean = scheme.decode(symbols, csi, context(4))
    assert torch.equal(scheme.decode(symbols + 0.1, csi, context(4)), clean)
    assert not torch.allclose(
        scheme.decode(modulate((index + 1) % 16, scheme.points), csi, context(4)), clean
    )


def trial(scheme, batch_size, snr_db=12.0):
    """One step of a training, and the game's task and round."""
    source = make_source("shapes", num_images=32, size=16)
    game = Game(source, num_symbols=8, constellation="16qam", snr_db=snr_db)
    round_ = game.draw(batch_size, generator=g())
    found = scheme(round_.batch.images, context(batch_size, snr_db), lambda s: game.transmit(round_, s))
    return found, game.task, round_


def test_gradients_pass_straight_through_quantiser_and_channel():
    """The gradient at the features is the receiver's at the codewords that it has decided on, errors and all."""
    scheme = make().train()
    found, task, round_ = trial(scheme, 16)
    assert 0 < float(found.figures["symbol_errors"]) < 0.5
    (gradient,) = torch.autograd.grad(task.loss(found.logits, round_.targets), found.features)
    heard = found.transmission.receiver
    decided = (
        scheme.codewords[scheme._decide(heard.received, heard.csi, context(16))]
        .flatten(1)
        .detach()
        .requires_grad_()
    )
    logits = scheme.logits(decided, heard.csi, context(16))
    (wanted,) = torch.autograd.grad(task.loss(logits, round_.targets), decided)
    assert torch.allclose(gradient.flatten(1), wanted, atol=1e-7) and float(wanted.abs().max()) > 0


@pytest.mark.parametrize("dimension", [1, 3])
def test_what_the_attacker_hears_passes_a_gradient_to_each_feature_at_its_own_symbol(dimension):
    scheme = make(dimension=dimension).train()
    found, _, _ = trial(scheme, 4)
    assert torch.equal(found.eavesdropped, found.transmission.eavesdropper.received)
    (gradient,) = torch.autograd.grad(found.eavesdropped[:, 6:8].sum(), found.features)
    assert float(gradient[:, 3].abs().min()) > 0
    assert not gradient[:, [i for i in range(8) if i != 3]].any()


def test_its_rate_is_none_where_all_codewords_are_as_near_and_log_m_where_one_is():
    """In nats per symbol: the divergence of the soft assignments from the uniform distribution."""
    scheme = make().train()
    with torch.no_grad():
        scheme.codewords.copy_(torch.zeros_like(scheme.codewords))
    assert float(trial(scheme, 4)[0].rate().detach()) == pytest.approx(0.0, abs=1e-6)
    sure = make().train()
    assert float(trial(sure, 4, snr_db=80.0)[0].rate().detach()) == pytest.approx(math.log(16), rel=1e-3)


@pytest.mark.parametrize("snr_db", [0.0, 100.0])
def test_index_errors_are_present_in_training(snr_db):
    found, _, _ = trial(make().train(), 512, snr_db)
    theory = theoretical_ser(16, snr_db)
    assert float(found.figures["symbol_errors"]) == pytest.approx(theory, abs=0.1 if theory > 1e-9 else 0.0)


def test_usage_is_counted_in_training_and_left_alone_in_evaluation():
    for training in (True, False):
        scheme = make().train(training)
        trial(scheme, 64)
        assert torch.equal(scheme.usage, torch.full((16,), 1 / 16)) != training
    assert make(SystemSpec((3, 16, 16), 10, 128)).bits == 512


@pytest.mark.parametrize("dead", [2, 13])
def test_dead_codewords_are_revived_beside_the_busiest(dead):
    scheme = make()
    living = 16 - dead
    with torch.no_grad():
        scheme.usage.copy_(torch.cat([torch.linspace(2.0, 1.0, living), torch.zeros(dead)]))
        scheme.usage /= scheme.usage.sum()
        scheme.codewords[living:] = 100.0
    kept = scheme.codewords[:living].detach().clone()
    assert scheme.revive() == dead
    assert torch.equal(scheme.codewords[:living], kept)
    nearest = torch.cdist(scheme.codewords[living:].detach(), kept).min(1).values
    assert float(nearest.min()) > 0 and float(nearest.max()) < 1.5
    assert float(scheme.usage.sum()) == pytest.approx(1.0) and float(scheme.usage.min()) > 0
    assert len(torch.unique(scheme.codewords.detach(), dim=0)) == 16
    assert scheme.revive() == 0


@pytest.mark.parametrize("living", [1, 2])
def test_few_survivors_are_revived_to_different_codewords(living):
    """A single one has no spread (a standard deviation of one number is none), and equal ones have one of 0."""
    scheme = make()
    with torch.no_grad():
        scheme.usage.zero_()[:living] = 1.0 / living
        scheme.codewords.fill_(0.7)
    assert scheme.revive() == 16 - living
    assert bool(scheme.codewords.isfinite().all()) and bool(scheme.usage.isfinite().all())
    assert len(torch.unique(scheme.codewords[living - 1 :].detach(), dim=0)) == 17 - living


def test_wrong_options_are_named():
    for options, told in [
        ({"codewords": 32}, "32 4 16 64 256"),
        ({"codewords": 0}, "0"),
        ({"dimension": 0}, "dimension 1 0"),
        ({"sharpness": 4.0}, "sharpness"),
        ({"told": {"epsilon": [1, 100]}}, "told"),
    ]:
        with refused(told):
            make(**options)

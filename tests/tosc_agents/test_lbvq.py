"""Indices on QAM: nearest codewords, the theory's symbol errors, revival, straight-through training."""

from __future__ import annotations

import math

import pytest
import torch
from tosc_agents import LoopConfig, SchemeTraining, Setting, evaluate, fit_scheme
from tosc_agents.complexity import complexity
from tosc_agents.learning.seeding import weights_from
from tosc_agents.records import describe_usage
from tosc_agents.schemes.lbvq import LBVQ

from tosc_env.channels.flat import Rayleigh
from tosc_env.data import make_source
from tosc_env.errors import InputError
from tosc_env.game import Game
from tosc_env.modulation import hard_decision, theoretical_ser
from tosc_env.policies import Context, SystemSpec
from tosc_env.senders import SchemeSender
from tosc_env.testing import check_scheme

TINY = {"stem": 4, "widths": (4, 8, 8), "blocks": (0, 0, 0), "receiver_width": 16, "receiver_depth": 1}
SPEC = SystemSpec((3, 16, 16), 10, 8)
SNRS = (0.0, 4.0, 8.0, 12.0, 16.0, 20.0)


def g(seed=0):
    return torch.Generator().manual_seed(seed)


def make(spec=SPEC, seed=0, **options):
    with weights_from(seed):
        return LBVQ(spec, **{**TINY, "adversary_width": 16, **options})


def context(batch_size, snr_db=12.0):
    return Context(torch.full((batch_size,), float(snr_db)), torch.zeros(batch_size, 3, dtype=torch.long))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"codewords": 4},
        {"codewords": 64},
        {"codewords": 64, "dimension": 1},
        {"dimension": 3},
        {"adversary_weight": 1.0, "beta": 0.1},
        {"dimension": 1, "adversary_weight": 1.0},
    ],
)
def test_every_codebook_keeps_the_laws_of_schemes(options):
    check_scheme(make(**options))


def test_every_index_is_the_nearest_codeword_and_its_own_point():
    scheme = make(dimension=3).eval()
    features = torch.randn(5, 24, generator=g())
    scaled = features / features.square().mean(1, keepdim=True).sqrt()
    exact = torch.cdist(scaled.view(-1, 3), scheme.codewords.detach()).argmin(1).view(5, 8)
    index = scheme.quantise(features)
    assert torch.equal(index, exact)
    symbols = scheme.emit(index, context(5))
    assert torch.equal(hard_decision(symbols, scheme.points), index)
    assert float(symbols.square().sum(1).mean()) > 0


@pytest.mark.parametrize("codewords", [4, 16, 64])
@pytest.mark.parametrize("snr_db", SNRS)
def test_its_symbol_error_rate_is_the_theorys_at_every_snr(codewords, snr_db):
    """Uniformly used indices over the game's own channel, decided by the scheme's own receiver."""
    spec = SystemSpec((3, 16, 16), 10, 64)
    scheme = make(spec, codewords=codewords).eval()
    source = make_source("shapes", num_images=8, size=16)
    game = Game(source, num_symbols=64, snr_db=snr_db, constellation=scheme.constellation)
    index = torch.randint(codewords, (1500, 64), generator=g())
    round_ = game.draw(1500, generator=g(1))
    heard = game.transmit(round_, scheme.emit(index, context(1500, snr_db))).receiver
    wrong = float((scheme._decide(heard.received, heard.csi) != index).float().mean())
    theory = theoretical_ser(codewords, snr_db)
    assert wrong == pytest.approx(theory, abs=5 * math.sqrt(theory * (1 - theory) / index.numel()) + 1e-5)


@pytest.mark.parametrize("equaliser", ["mmse", "zf", None])
def test_over_a_fading_link_it_decides_as_if_the_fade_were_divided_out(equaliser):
    channel = Rayleigh(coherence=4, equaliser=equaliser)
    spec = SystemSpec((3, 16, 16), 10, 8, channel.num_csi(8))
    scheme = make(spec, equaliser=equaliser).eval()
    game = Game(
        make_source("shapes", num_images=8, size=16),
        channel=channel,
        num_symbols=8,
        constellation="16qam",
        snr_db=14.0,
    )
    round_ = game.draw(500, generator=g())
    index = torch.randint(16, (500, 8), generator=g(1))
    sent = scheme.emit(index, context(500))
    heard = game.transmit(round_, sent).receiver
    link = round_.links.receiver
    gain = channel.gains(link.fades, 8)
    waves = torch.view_as_complex(sent.unflatten(1, (8, 2)))
    exact = waves + link.noise * 10 ** (-14 / 20) / gain
    expected = hard_decision(torch.view_as_real(exact).flatten(1), scheme.points)
    assert float((scheme._decide(heard.received, heard.csi) == expected).float().mean()) > 0.999


def test_the_receiver_knows_nothing_but_the_decided_codewords():
    """Noise too small to change a decision changes nothing; another symbol does."""
    scheme = make().eval()
    index = torch.randint(16, (4, 8), generator=g())
    symbols = scheme.emit(index, context(4))
    csi = torch.full((4, 1), 12.0)
    clean = scheme.decode(symbols, csi, context(4))
    assert torch.equal(scheme.decode(symbols + 0.1, csi, context(4)), clean)
    assert not torch.allclose(
        scheme.decode(scheme.emit((index + 1) % 16, context(4)), csi, context(4)), clean
    )


def test_gradients_pass_straight_through_quantiser_and_channel():
    """Beside the codebook's own terms, the gradient at the features is the receiver's at the decided codewords."""
    scheme = make().train()
    game = Game(make_source("shapes", num_images=32, size=16), num_symbols=8, constellation="16qam")
    round_ = game.draw(16, generator=g())
    loss, figures = scheme.loss(game, round_, context(16), game.task)
    loss.backward()
    assert float(scheme.transmitter.head.weight.grad.abs().max()) > 0
    assert float(scheme.codewords.grad.abs().min(dim=1).values.max()) > 0
    assert 0 < float(figures["symbol_errors"]) < 0.5


def test_index_errors_are_present_in_training():
    scheme = make().train()
    for snr_db in (0.0, 100.0):
        game = Game(
            make_source("shapes", num_images=32, size=16), num_symbols=8, constellation="16qam", snr_db=snr_db
        )
        round_ = game.draw(512, generator=g())
        _, figures = scheme.loss(game, round_, context(512, snr_db), game.task)
        theory = theoretical_ser(16, snr_db)
        assert float(figures["symbol_errors"]) == pytest.approx(theory, abs=0.1)
        if snr_db == 100.0:
            assert float(figures["symbol_errors"]) == 0.0


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


def test_training_uses_and_moves_every_codeword_and_learns_the_task():
    setting = Setting("shapes", {"num_images": 1500, "size": 16}, num_symbols=16)
    train = setting.game(half="system", constellation="16qam")
    scheme = make(train.spec, widths=(8, 16, 32), receiver_width=64)
    start = scheme.codewords.detach().clone()
    loop = LoopConfig(epochs=14, batch_size=50, learning_rate=4e-3, optimizer="adamw", average=0.98)
    trained = fit_scheme(scheme, train, SchemeTraining(loop, flip=False, cutout=0, pad=0))
    assert math.isfinite(trained.figures["loss"])
    moved = (scheme.codewords.detach() - start).norm(dim=1)
    assert float(moved.min()) > 1e-3, moved
    test = setting.game(split="test", constellation="16qam")
    found = evaluate(test, SchemeSender(scheme), {}, scheme=scheme, snr_db=(12.0,), seeds=1, with_ssim=False)
    assert found.accuracy[12.0].mean > 0.4
    assert found.usage is not None and sum(found.usage) == pytest.approx(1.0)
    assert sum(share > 0.01 / 16 for share in found.usage) >= 14, found.usage
    assert describe_usage(found.usage).startswith(("14 of 16", "15 of 16", "16 of 16"))


def test_128_channel_uses_are_an_option():
    spec = SystemSpec((3, 16, 16), 10, 128)
    scheme = make(spec, dimension=1).eval()
    assert scheme.encode(torch.rand(2, 3, 16, 16), context(2)).shape == (2, 256)
    assert scheme.bits() == 512 and complexity(scheme).bits == 512


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"codewords": 32}, "no square QAM of 32 points; choose 4, 16, 64 or 256"),
        ({"codewords": 0}, "no square QAM of 0 points"),
        ({"dimension": 0}, "dimension must be a whole number of at least 1, not 0"),
        ({"beta": -0.5}, "beta must be a number of at least 0, not -0.5"),
        ({"equaliser": "ml"}, "equaliser must be 'zf', 'mmse' or None, not 'ml'"),
    ],
)
def test_wrong_options_are_named(options, told):
    with pytest.raises(InputError, match=told):
        make(**options)


def test_parameters_of_the_adversary_count_for_training_only():
    plain, adversarial = complexity(make().eval()), complexity(make(adversary_weight=1.0).eval())
    assert plain.parameters == plain.training_parameters == adversarial.parameters
    assert adversarial.training_parameters > adversarial.parameters

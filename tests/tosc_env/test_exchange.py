"""Messages outside of environments: every image once, numbered, under the scheme's own rules."""

from __future__ import annotations

import pytest
import torch
from fakes import FakeScheme
from links import seeded as g
from refusals import refused

from tosc_env.data import make_source
from tosc_env.exchange import rollout, send, transmit, with_fresh_nonces
from tosc_env.game import Game
from tosc_env.nodes import wiretap
from tosc_env.pipeline import as_pipeline
from tosc_env.privacy.threat import ThreatModel

KEYED = [{"name": "keyed", "mode": "shuffle", "key": "11" * 32}]


@pytest.fixture(scope="module")
def source():
    return make_source("shapes", num_images=30)


class Points(FakeScheme):
    """A scheme that sends the corner of 16-QAM whatever it sees."""

    name = "points"
    constellation = "16qam"

    def encode(self, images, context):
        return torch.full((len(images), 128), 0.9**0.5)


def played(game, scheme, seed=0, **more):
    return list(rollout(game, as_pipeline(scheme), generator=g(seed), **more))


@pytest.mark.parametrize("batch_size", [1, 7, 30, 500])
def test_every_image_is_sent_once_in_order(source, batch_size):
    exchanges = played(Game(source), FakeScheme(), batch_size=batch_size)
    index = torch.cat([exchange.round.batch.index for exchange in exchanges])
    assert torch.equal(index, torch.arange(30))
    assert max(len(exchange.round.targets) for exchange in exchanges) <= batch_size
    some = played(Game(source), FakeScheme(), index=torch.tensor([5, 5, 2]), batch_size=2)
    assert [exchange.round.batch.index.tolist() for exchange in some] == [[5, 5], [2]]


def test_the_same_stream_gives_the_same_messages_whatever_the_global_one_does(source):
    game = Game(source, channel="rayleigh")
    state = torch.get_rng_state()
    first = played(game, FakeScheme(stochastic=True))
    assert torch.equal(torch.get_rng_state(), state)
    second, third = played(game, FakeScheme(stochastic=True)), played(game, FakeScheme(stochastic=True), 1)
    for one, other, another in zip(first, second, third, strict=True):
        a, b, c = (e.transmission.receiver.received for e in (one, other, another))
        assert torch.equal(a, b) and not torch.equal(a, c)


def test_a_keyed_scheme_never_sends_two_messages_under_one_number(source):
    scheme = as_pipeline(FakeScheme()).with_stages(KEYED)
    stream = g()
    game = Game(source)
    numbers = [
        tuple(row)
        for _ in range(3)
        for exchange in rollout(game, scheme, generator=stream, batch_size=4)
        for row in exchange.context.message.tolist()
    ]
    assert len(set(numbers)) == len(numbers) == 90


def test_knobs_hold_for_every_message(source):
    """A tiny budget drowns the symbols in noise, whatever the stage's usual one; the same stream otherwise."""
    scheme = as_pipeline(FakeScheme()).with_stages([{"name": "laplace", "epsilon": 100.0}])
    usual, same, tiny = (
        played(Game(source), scheme, batch_size=7, knobs=knobs)
        for knobs in (None, {"epsilon": 100.0}, {"epsilon": 1e-3})
    )
    for one, other, noisy in zip(usual, same, tiny, strict=True):
        assert torch.equal(one.transmission.sent, other.transmission.sent)
        assert not torch.equal(one.transmission.sent, noisy.transmission.sent)
        assert noisy.context.knobs["epsilon"].tolist() == pytest.approx([1e-3] * len(noisy.round.targets))


def test_a_scheme_without_a_key_keeps_its_numbers_and_the_streams_place(source):
    round_, stream = Game(source).draw(3, generator=g()), g(1)
    before = stream.get_state()
    assert with_fresh_nonces(round_, as_pipeline(FakeScheme()), stream) is round_
    assert torch.equal(stream.get_state(), before)


def test_a_scheme_brings_its_own_constraint_into_a_game_of_any(source):
    for game in (Game(source), Game(source, constellation="16qam")):
        free, points = (played(game, scheme)[0].transmission.sent for scheme in (FakeScheme(), Points()))
        assert torch.allclose(free.square().sum(1) / 64, torch.ones(len(free)), atol=1e-5)
        assert torch.equal(points, torch.full_like(points, 0.9**0.5))
    game = Game(source)
    round_ = game.draw(2, generator=g())
    with refused("'16qam'"):
        transmit(game, as_pipeline(Points()), round_, torch.zeros(2, 128), game.context(round_))


def test_what_the_receiver_decides_is_what_the_scheme_decodes(source):
    scheme = as_pipeline(FakeScheme()).train()
    game = Game(source, channel="rayleigh")
    (exchange,) = played(game, FakeScheme(seed=0))
    reception = exchange.transmission.receiver
    assert torch.equal(
        exchange.logits(), scheme.decode(reception.received, reception.csi, exchange.context).detach()
    )
    training = send(game, scheme, exchange.round, g())
    assert scheme.training  # and nothing that was observed has changed its mode
    assert torch.equal(training.logits(), training.logits())
    assert scheme.training and not training.logits().requires_grad


def test_an_eavesdropper_is_found_by_its_node_and_the_first_by_none(source):
    game = Game(source, nodes=wiretap(3), channel="rayleigh")
    (exchange,) = played(game, FakeScheme())
    threat = ThreatModel()
    for name in game.adversaries:
        known = exchange.observed(threat, name)
        assert torch.equal(known.received, exchange.transmission.receptions[name].received)
        assert torch.equal(known.csi, exchange.transmission.receptions[name].csi)
    assert torch.equal(exchange.observed(threat).received, exchange.transmission.eavesdropper.received)


def test_colluding_eavesdroppers_have_together_what_the_game_pools(source):
    game = Game(source, nodes=wiretap(3))
    (exchange,) = played(game, FakeScheme())
    together = exchange.observed(ThreatModel(colluding=True))
    pooled = game.pool(exchange.round, exchange.transmission)
    assert torch.equal(together.received, pooled.received)
    error = [
        float((one - exchange.transmission.sent).square().mean())
        for one in (together.received, exchange.transmission.eavesdropper.received)
    ]
    assert error[0] == pytest.approx(error[1] / 3, rel=0.1)


def test_the_threat_model_hides_csi_and_gives_keys(source):
    scheme = as_pipeline(FakeScheme()).with_stages(KEYED)
    (exchange,) = played(Game(source, snr_db=90.0), scheme)
    heard = exchange.transmission.eavesdropper
    hidden = exchange.observed(ThreatModel(csi=False))
    assert torch.equal(hidden.received, heard.received) and not hidden.csi.any()
    opened = exchange.observed(ThreatModel(keys="with-key"))
    bare = scheme.send(source, exchange.round.batch.index, exchange.context, keyed=False)
    bare = bare / bare.square().mean(1, keepdim=True).mul(2).sqrt()
    assert torch.allclose(opened.received, bare, atol=1e-3)
    assert not torch.allclose(heard.received, bare, atol=0.1)
    assert opened.raw is None  # what arrived at the antennas would tell what a denied CSI does

"""A batch of several schemes: each row is sent, constrained and decided as by its own scheme alone."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from refusals import refused
from tosc_agents import evaluate, fit_eavesdropper

from tosc_env.data import make_source
from tosc_env.envs.common import make_system
from tosc_env.envs.session import Session
from tosc_env.exchange import rollout, send
from tosc_env.game import Game
from tosc_env.mixture import Mixture
from tosc_env.modulation import check_points, constellation_points
from tosc_env.pipeline import make_scheme
from tosc_env.privacy.streams import secret_of, stream
from tosc_env.privacy.threat import ThreatModel
from tosc_env.privacy.view import View
from tosc_env.schemes import Stage
from tosc_env.types import SystemSpec, Waves

SPEC = SystemSpec((3, 32, 32), 10)
NETWORK = {"stem": 4, "widths": (4, 8), "blocks": (0, 0), "receiver_width": 16}
ROWS = 12
JSCC, CODEBOOK, ENCRYPTED = range(3)


def by_row(context):
    """Rows take turns: none, codebook, encrypted, none, ..."""
    return context.message[:, 0] % 3


@pytest.fixture(scope="module")
def source():
    return make_source("shapes", num_images=60)


@pytest.fixture(scope="module")
def schemes():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [
            make_scheme("deepjscc", SPEC, **NETWORK).eval(),
            make_scheme("lbvq", SPEC, **NETWORK).eval(),
            make_scheme("encryption", SPEC, mode="rotation", key="5a" * 32, **NETWORK).eval(),
        ]


def exchanged(game, scheme, rows=ROWS):
    """The same round, sent and decided by a scheme."""
    stream = torch.Generator().manual_seed(3)
    return send(game, scheme, game.draw(rows, generator=stream), stream)


@pytest.mark.parametrize("options", [{}, {"channel": "rayleigh", "channel_kwargs": {"coherence": 16}}])
def test_each_row_is_sent_received_and_decided_as_by_its_scheme_alone(source, schemes, options):
    game = Game(source, **options)
    mixed = exchanged(game, Mixture(schemes, by_row))
    logits = mixed.logits()
    for k, scheme in enumerate(schemes):
        alone, rows = exchanged(game, scheme), slice(k, None, 3)
        assert torch.equal(mixed.transmission.sent[rows], alone.transmission.sent[rows])
        for node in game.nodes:
            one, other = (e.transmission.receptions[node.name] for e in (mixed, alone))
            assert torch.equal(one.received[rows], other.received[rows])
        assert torch.equal(logits[rows], alone.logits()[rows])
    assert logits.argmax(1).unique().numel() > 1


def test_a_scheme_that_has_no_row_of_a_batch_minds_nobodys_symbols(source, schemes, absent=CODEBOOK):
    left = torch.tensor([k for k in range(3) if k != absent])
    mixture = Mixture(schemes, lambda context: left[context.message[:, 0] % 2])
    sent = exchanged(Game(source), mixture).transmission.sent
    for place, k in enumerate(left.tolist()):
        alone = exchanged(Game(source), schemes[k]).transmission.sent
        assert torch.equal(sent[place::2], alone[place::2])


def test_a_row_off_its_own_constellation_is_refused_and_anothers_is_not(source, schemes):
    game, mixture = Game(source), Mixture(schemes, by_row)
    exchange = exchanged(game, mixture)
    symbols = exchange.transmission.sent.clone()
    symbols[JSCC] *= 1.01
    mixture.constrain(symbols, exchange.context)
    symbols[CODEBOOK] *= 1.01
    with refused("message 1 '16qam'"):
        mixture.constrain(symbols, exchange.context)


def test_knowing_the_key_undoes_the_keyed_rows_alone(source, schemes):
    game, mixture = Game(source), Mixture(schemes, by_row)
    exchange = exchanged(game, mixture)
    sent, csi = exchange.transmission.sent, exchange.transmission.receiver.csi
    assert mixture.keyed and mixture.key_fingerprint == schemes[ENCRYPTED].key_fingerprint
    bare = mixture.recover(sent, csi, exchange.context, "keyed")[0]
    assert torch.equal(bare[JSCC::3], sent[JSCC::3]) and torch.equal(bare[CODEBOOK::3], sent[CODEBOOK::3])
    undone = schemes[ENCRYPTED].recover(sent, csi, exchange.context, "keyed")[0]
    assert torch.equal(bare[ENCRYPTED::3], undone[ENCRYPTED::3])
    assert not torch.allclose(bare[ENCRYPTED::3], sent[ENCRYPTED::3], atol=0.1)
    # And what is sent without the keys is what undoing them gives.
    keyless = mixture.constrain(
        mixture.send(source, exchange.round.batch.index, exchange.context, keyed=False), exchange.context
    )
    assert torch.allclose(keyless, bare, atol=1e-4)


def test_a_key_is_for_the_keyed_parts(schemes):
    twin = Mixture([copy.deepcopy(scheme) for scheme in schemes], by_row)
    open_parts = Mixture(schemes[:2], lambda context: context.message[:, 0] % 2)
    assert (
        not open_parts.keyed and open_parts.key_fingerprint is None and open_parts.use_key(None) is open_parts
    )
    with refused("none 'deepjscc | lbvq'"):
        open_parts.use_key("11" * 32)
    assert twin.use_key("11" * 32).key_fingerprint == twin.key_fingerprint


def test_stages_stand_behind_each_scheme(source, schemes):
    """A stage that leaves a constellation does so for its rows alone, and both ends agree."""
    game = Game(source)
    stages = [{"name": "keyed", "mode": "shuffle", "key": "22" * 32}]
    mixed = exchanged(game, Mixture(schemes, by_row).with_stages(stages))
    assert isinstance(mixed.scheme, Mixture) and len(mixed.scheme.added) == 3
    for k, scheme in enumerate(schemes):
        alone, rows = exchanged(game, scheme.with_stages(stages)), slice(k, None, 3)
        assert torch.equal(mixed.transmission.sent[rows], alone.transmission.sent[rows])
        assert torch.equal(mixed.logits()[rows], alone.logits()[rows])
    noisy = Mixture(schemes, by_row, stages=[{"name": "laplace", "epsilon": 50.0}])
    sent = exchanged(game, noisy).transmission.sent
    check_points(sent[CODEBOOK::3], constellation_points("16qam"), "16qam")
    energy = sent.square().sum(1) / SPEC.num_symbols
    assert torch.allclose(energy[JSCC::3], torch.ones(ROWS // 3), atol=1e-5)


class Turn(Stage):
    """A stage that radiates from the last antenna, at some angle."""

    def __init__(self, spec, constellation=None, *, angle=1.0):
        super().__init__(spec, constellation, angle=angle)

    def precode(self, waves, context):
        phase = torch.polar(torch.tensor(1.0), torch.tensor(self.options["angle"]))
        return Waves(waves.signal.flip(1) * phase, waves.weights.flip(1) * phase)


def test_each_row_is_precoded_by_its_own_scheme(source, schemes):
    game = Game(source, channel="rayleigh", transmit_antennas=2)
    turned = [
        schemes[0],
        schemes[1].with_stages([Turn(SPEC, "16qam")]),
        schemes[2].with_stages([Turn(SPEC, angle=2.0)]),
    ]
    mixed = exchanged(game, Mixture(turned, by_row)).transmission
    for k, scheme in enumerate(turned):
        alone, rows = exchanged(game, scheme).transmission, slice(k, None, 3)
        assert torch.allclose(mixed.weights[rows], alone.weights[rows], atol=1e-6)
        assert torch.allclose(mixed.receiver.received[rows], alone.receiver.received[rows], atol=1e-5)
    assert not torch.equal(mixed.weights[1], mixed.weights[0])


def test_it_is_evaluated_attacked_and_played_like_any_scheme(source, schemes):
    mixture = Mixture(schemes, by_row)
    game = Game(source, eavesdropper_snr_db=12.0)
    attacker, _ = fit_eavesdropper("linear", game, mixture)
    figures = evaluate(game, mixture, {"linear": attacker}, seeds=1, candidates=ROWS, with_ssim=False)
    secret = secret_of(mixture, 0)
    shown = torch.randperm(len(source), generator=stream(secret, "images", 0))
    sent = rollout(game, mixture, generator=stream(secret, "noise", 0), index=shown, batch_size=ROWS)
    right = torch.cat([game.task.score(e.logits().argmax(1), e.round.targets) for e in sent])
    assert figures.accuracy[12.0].mean == pytest.approx(float(right.mean()))
    assert figures.leaks["linear"][12.0]["psnr_db"].mean > 0
    view = View(game, mixture, ThreatModel(keys="with-key"), torch.Generator().manual_seed(0))
    assert view.keyed is False and view.deterministic is False
    assert view.sample(torch.arange(6))[0].received.shape == (6, 128)
    system = make_system("shapes", {"eavesdropper"}, {"source": source, "scheme": mixture}, ())
    session = Session(system, {"eavesdropper"}, num_envs=6, max_cycles=2)
    session.reset(seed=0)
    assert session.play({"eavesdropper": torch.rand(6, 3, 32, 32)}).accuracy.shape == (6,)


def test_training_goes_through_every_part(source, schemes):
    parts = [copy.deepcopy(scheme) for scheme in (schemes[JSCC], schemes[ENCRYPTED])]
    mixture = Mixture(parts, lambda context: context.message[:, 0] % 2).train()
    game = Game(source)
    round_ = game.draw(8, generator=torch.Generator().manual_seed(0))
    context = game.context(round_, torch.Generator().manual_seed(1))
    trial = mixture(
        round_.batch.images,
        context,
        lambda symbols: game.transmit(round_, symbols, constraint=lambda s: mixture.constrain(s, context)),
    )
    game.task.loss(trial.logits, round_.targets).backward()
    for part in parts:
        assert any(p.grad is not None and (p.grad != 0).any() for p in part.parameters())


def test_mistakes_are_one_sentence(schemes):
    other = make_scheme("label-only", replace(SPEC, num_symbols=32), **NETWORK)
    for parts, words in (
        ([], "scheme"),
        ([Mixture(schemes[:1], by_row)], "'deepjscc'"),
        ([schemes[0], other], "one system"),
    ):
        with refused(words):
            Mixture(parts, by_row)


def test_one_scheme_may_stand_at_several_places(source, schemes):
    """A discrete one too: none of its rows is taken for another's."""
    game = Game(source)
    twice = exchanged(game, Mixture([schemes[1], schemes[1]], lambda context: context.message[:, 0] % 2))
    assert torch.equal(twice.transmission.sent, exchanged(game, schemes[1]).transmission.sent)

"""What an attacker is handed, and what it may know beforehand, says nothing of fades, noise and candidates' order."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fakes import FakeEavesdropper, FakeScheme, spec_of
from tosc_agents.training.evaluate import evaluate
from tosc_agents.training.fit_eavesdropper import fit_eavesdropper

from tosc_env.attackers import Eavesdropper
from tosc_env.data import make_source
from tosc_env.game import Game
from tosc_env.pipeline import as_pipeline
from tosc_env.privacy.streams import secret_of, stream
from tosc_env.privacy.threat import ThreatModel

MESSAGES = 200
FADING = {"channel": "rayleigh", "snr_db": 12.0}


def likeness(one, other):
    """The absolute correlation of two tensors of numbers."""
    return abs(float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]))


@pytest.fixture(scope="module")
def game():
    return Game(make_source("shapes", half="attacker", num_images=2 * MESSAGES), **FADING)


class Replaying(Eavesdropper):
    """A malicious attacker: it draws anew, from all streams that it can think of, what the channel has drawn."""

    name = "replaying"

    def __init__(self, spec, game):
        super().__init__(spec)
        self.game = game

    def fit(self, view, *, generator, progress=None):
        index = torch.arange(MESSAGES)
        clone = torch.Generator()
        clone.set_state(generator.get_state())
        seeds = [generator.initial_seed(), *range(20), 1000, 1001]
        streams = [clone, *(torch.Generator().manual_seed(seed) for seed in seeds)]
        streams += [
            stream(secret, purpose, number)
            for secret in (*map(str, seeds), "", secret_of(FakeScheme(self.spec, seed=7)))
            for purpose in ("channel", "transmission")
            for number in (0, 1)
        ]
        self.guesses = [self.fades(one) for one in streams]
        self.csi = view.sample(index)[0].csi
        # And once more after it has heard what it has heard.
        clone.set_state(generator.get_state())
        self.guesses.append(self.fades(clone))
        return {}

    def fades(self, generator):
        links = self.game.draw(MESSAGES, generator=generator, index=torch.arange(MESSAGES)).links
        return torch.view_as_real(links["eavesdropper"].fades.flatten())


def test_the_attackers_generator_does_not_replay_the_fades(game):
    scheme = FakeScheme(game.spec)
    heard = {}
    for csi in (True, False):
        fitted, _ = fit_eavesdropper(
            Replaying(game.spec, game), game, scheme, threat=ThreatModel(csi=csi), seed=3
        )
        heard[csi] = fitted
    truth = heard[True].csi[:, 1:]
    assert not heard[False].csi.any()
    assert max(likeness(guess, truth) for guess in heard[False].guesses) < 0.25
    # The test would see it: the referee's own streams have these fades.
    referee = secret_of(as_pipeline(scheme), stream("3", "channel", 0).get_state())
    assert likeness(heard[False].fades(stream(referee, "transmission", 1)), truth) > 0.999


def test_what_is_received_hangs_on_the_seed_and_the_systems_weights(game):
    def csi(seed, weights):
        attacker, _ = fit_eavesdropper(
            Replaying(game.spec, game), game, FakeScheme(game.spec, seed=weights), seed=seed
        )
        return attacker.csi

    assert torch.equal(csi(3, 0), csi(3, 0))
    assert likeness(csi(3, 0)[:, 1:], csi(4, 0)[:, 1:]) < 0.25
    assert not torch.equal(csi(3, 0), csi(3, 1))


class Knowing(FakeEavesdropper):
    """An attacker written by somebody who has read the source: it guesses the noise and the candidates' order."""

    def __init__(self, game, scheme, seeds):
        super().__init__(spec_of({}))
        self.game, self.scheme, self.seeds = game, scheme, seeds
        self.heard = []

    def streams(self, purpose):
        yield from (torch.Generator().manual_seed(seed) for seed in (len(self.game.source), *self.seeds))
        yield from (stream(str(seed), purpose, 0) for seed in self.seeds)
        stranger = torch.nn.Linear(1, 1)
        yield from (stream(secret_of(stranger, seed), purpose, 0) for seed in self.seeds)

    def reconstruct(self, received, csi):
        self.heard.append(received.clone())
        return super().reconstruct(received, csi)

    def match(self, received, csi, candidates):
        count = len(candidates)
        scores = torch.zeros(len(received), count)
        order = torch.randperm(count, generator=next(self.streams("candidates")))
        return scores.scatter(1, order.argsort()[:, None], 1.0)


def test_who_knows_the_source_and_the_seed_predicts_neither_noise_nor_order():
    game = Game(make_source("shapes", split="test", num_images=2 * MESSAGES), snr_db=0.0)
    scheme = FakeScheme()
    knowing = Knowing(game, scheme, [0, 1, 2, *range(1000, 1003)])
    found = evaluate(
        game, scheme, {"knowing": knowing}, snr_db=(0.0,), seeds=1, with_floors=False, with_ssim=False
    )
    count, played = len(game.source), game.with_rules(snr_db=0.0, eavesdropper_snr_db=0.0)
    secret = secret_of(as_pipeline(scheme), 0)
    index = torch.randperm(count, generator=stream(secret, "images", 0))
    context = game.context(game.draw(count, index=index))
    sent = as_pipeline(scheme).constrain(as_pipeline(scheme).send(game.source, index, context), context)
    shown = torch.randperm(count, generator=stream(f"{secret} 0", "rows", 0))
    noise = knowing.heard[0][shown.argsort()] - sent

    def drawn(generator):
        link = played.draw(count, generator=generator, index=index).links["eavesdropper"]
        return torch.view_as_real(link.noise[:, 0]).flatten(1)

    assert max(likeness(drawn(one), noise) for one in knowing.streams("noise")) < 0.05
    assert found.leaks["knowing"][0.0]["reid_match"].mean < 0.05
    # The test would see it: the referee's own stream has this noise.
    assert likeness(drawn(stream(secret, "noise", 0)), noise) > 0.999


def test_an_evaluation_replays_from_the_seed_in_its_record():
    game = Game(make_source("shapes", split="test", num_images=100), snr_db=0.0)

    def measured(seed):
        attackers = {"fake": FakeEavesdropper()}
        return evaluate(game, FakeScheme(), attackers, snr_db=(0.0,), seeds=2, with_floors=False, seed=seed)

    assert measured(5) == measured(5)
    assert measured(5).leaks != measured(6).leaks
    one, two = measured(None), measured(None)
    assert one.seed != two.seed and one.leaks != two.leaks
    assert measured(one.seed) == replace(one) and one.plain()["seed"] == one.seed

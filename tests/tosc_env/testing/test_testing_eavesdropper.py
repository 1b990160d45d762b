"""check_eavesdropper passes lawful attackers and catches each broken law."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from pixels import Pixels
from torch import nn

from tosc_env.attackers import Eavesdropper
from tosc_env.channels.flat import AWGN
from tosc_env.data import make_source
from tosc_env.game import Game
from tosc_env.privacy.threat import ThreatModel
from tosc_env.privacy.view import View
from tosc_env.testing import check_eavesdropper
from tosc_env.types import SystemSpec

SPEC = SystemSpec((3, 8, 8), 4, num_symbols=16)


class Honest(Eavesdropper):
    """A small attacker with all three capabilities."""

    name = "honest"

    def __init__(self, spec, **options):
        super().__init__(spec, **options)
        self.image = nn.Linear(2 * spec.num_symbols + spec.num_csi, 192)
        self.label = nn.Linear(2 * spec.num_symbols, spec.num_outputs)
        self.fits = 0

    def fit(self, view, *, generator, progress=None):
        with torch.no_grad():
            self.image.weight += torch.randn(self.image.weight.shape, generator=generator)
        self.fits += 1
        if progress:
            progress(1, 2, {"loss": 0.5})
            progress(2, 2, {"loss": 0.1})
        return {"epochs": 2, "loss": [0.5, 0.1]}

    def reconstruct(self, received, csi):
        return self.image(torch.cat([received, csi], 1)).sigmoid().reshape(-1, 3, 8, 8)

    def match(self, received, csi, candidates):
        return self.reconstruct(received, csi).flatten(1) @ candidates.flatten(1).T

    def infer(self, received, csi):
        return self.label(received)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_honest_attackers_pass_and_are_left_as_they_were():
    attacker = Honest(SPEC, width=3)
    before = {k: v.clone() for k, v in attacker.state_dict().items()}
    state = torch.get_rng_state()
    check_eavesdropper(attacker)
    check_eavesdropper(attacker, view=object())
    assert attacker.fits == 0 and attacker.training
    assert all(torch.equal(v, before[k]) for k, v in attacker.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_fading_link_is_no_obstacle():
    check_eavesdropper(Honest(SystemSpec((3, 8, 8), 4, 16, num_csi=9)))


def test_an_attacker_that_learns_lazily_needs_a_view():
    class Lazy(Honest):
        def __init__(self, spec, **options):
            super().__init__(spec, **options)
            self.register_buffer("mean", torch.tensor(-1.0))

        def fit(self, view, *, generator, progress=None):
            self.mean.copy_(view.mean())
            return {}

        def reconstruct(self, received, csi):
            if self.mean < 0:
                raise RuntimeError("not fitted")
            return self.mean.expand(len(received), 3, 8, 8)

    with pytest.raises(AssertionError, match="give check_eavesdropper a view"):
        check_eavesdropper(Lazy(SPEC))
    check_eavesdropper(Lazy(SPEC), view=torch.rand(3, 8, 8))


def test_a_real_view_is_handed_to_fit():
    game = Game(make_source("shapes", size=16, num_images=20), channel=AWGN(), num_symbols=4)

    class Mean(Eavesdropper):
        def __init__(self, spec):
            super().__init__(spec)
            self.register_buffer("mean", torch.zeros(spec.image_shape))

        def fit(self, view, *, generator, progress=None):
            reception, images = view.sample(torch.arange(8))
            self.mean = images.mean(0)
            return {"messages": len(reception.received)}

        def reconstruct(self, received, csi):
            return self.mean.expand(len(received), -1, -1, -1)

    view = View(game, Pixels(game.spec), ThreatModel(), torch.Generator().manual_seed(0))
    check_eavesdropper(Mean(game.spec), view)


def learns(store):
    """An attacker that keeps the mean of its view by ``store(itself, mean)`` and answers with ``self.mean``."""

    class Learns(Honest):
        def __init__(self, spec, **options):
            super().__init__(spec, **options)
            self.mean = torch.zeros(())
            self.scale = 0.5

        def fit(self, view, *, generator, progress=None):
            store(self, view.mean())
            return {}

        def reconstruct(self, received, csi):
            return (self.mean * self.scale).expand(len(received), 3, 8, 8)

    return Learns


def plainly(self, mean):
    self.mean = mean


def in_a_number(self, mean):
    self.mean, self.scale = torch.ones(()), float(mean)


def late(self, mean):
    del self.mean
    self.register_buffer("mean", mean)


@pytest.mark.parametrize(("store", "lost"), [(plainly, "mean"), (in_a_number, "mean"), (late, "mean")])
def test_what_a_file_would_lose_is_named(store, lost):
    """An attacker must be the same once saved and loaded; what it learnt and no file keeps is told by name."""
    with pytest.raises(AssertionError, match=lost):
        check_eavesdropper(learns(store)(SPEC), view=torch.rand(3, 8, 8))


# -- broken ones ------------------------------------------------------------------------------------------------------


def but(base=Honest, **members):
    return type("Broken", (base,), members)


def draws(change):
    """An attacker whose reconstructions are ``change(an honest one, received)``."""
    return but(
        reconstruct=lambda self, received, csi: change(Honest.reconstruct(self, received, csi), received)
    )


def infers(change):
    """An attacker whose logits are ``change(honest ones)``."""
    return but(infer=lambda self, received, csi: change(Honest.infer(self, received, csi)))


def fits(record, *report):
    """An attacker that gives this record of its training, and this report of its progress."""

    def fit(self, view, *, generator, progress=None):
        if report:
            progress(*report)
        return record

    return but(fit=fit)


class Counter(Honest):
    calls = 0

    def infer(self, received, csi):
        self.calls += 1
        return super().infer(received, csi) + self.calls


class GlobalFit(Honest):
    def fit(self, view, *, generator, progress=None):
        self.image.reset_parameters()
        return {}


BROKEN = [
    ("at least one of reconstruct", but(Eavesdropper, fit=fits({}).fit)),
    ("plain values", lambda spec: Honest(spec, layer=nn.Linear(1, 1))),
    (r"must lie in \[0, 1\]", draws(lambda images, _: images * 3 - 1)),
    ("must have the shape", draws(lambda images, _: images[:, :1])),
    ("returns for 1 messages must have the shape", draws(lambda images, _: images.squeeze())),
    ("torch.float32", draws(lambda images, _: images.half())),
    ("not finite", draws(lambda images, got: images * (got.sum(1) / got.sum(1))[:, None, None, None])),
    ("global random generator of torch", draws(lambda images, _: torch.rand_like(images))),
    ("global random generator of NumPy", infers(lambda logits: logits + float(np.random.rand()))),  # noqa: NPY002
    ("global random generator of the module random", infers(lambda logits: logits + random.random())),
    ("two answers", Counter),
    ("rows must not depend", infers(lambda logits: logits - logits.mean(0))),
    (r"must be logits \[B, K\]", infers(lambda logits: logits.argmax(1))),
    ("match returns .* must have the shape", but(match=lambda *told: Honest.match(*told).T)),
    ("not finite", but(match=lambda *told: Honest.match(*told).log() - float("inf"))),
    ("writes into", but(infer=lambda self, received, csi: Honest.infer(self, received.mul_(0.5), csi))),
    ("must derive from", lambda spec: nn.Linear(1, 1)),
]


@pytest.mark.parametrize(("sentence", "kind"), BROKEN)
def test_broken_attackers_are_caught_with_the_right_sentence(sentence, kind):
    with pytest.raises(AssertionError, match=sentence):
        check_eavesdropper(kind(SPEC))


@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        ("fit draws from", GlobalFit),
        ("must return a dictionary", fits(None)),
        ("plain values", fits({"loss": torch.ones(1)})),
        ("must call progress", fits({}, 3, 2, {})),
    ],
)
def test_a_broken_fit_is_caught_when_a_view_is_given(sentence, kind):
    check_eavesdropper(kind(SPEC))
    with pytest.raises(AssertionError, match=sentence):
        check_eavesdropper(kind(SPEC), view=object())

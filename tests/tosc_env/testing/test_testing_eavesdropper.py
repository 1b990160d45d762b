"""check_eavesdropper passes honest attackers and catches each broken law."""

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
        mean = None

        def fit(self, view, *, generator, progress=None):
            self.mean = view.mean()
            return {}

        def reconstruct(self, received, csi):
            return self.mean.expand(len(received), 3, 8, 8)

    with pytest.raises(AssertionError, match="give check_eavesdropper a view"):
        check_eavesdropper(Lazy(SPEC))
    check_eavesdropper(Lazy(SPEC), view=torch.rand(3, 8, 8))


def test_a_real_view_is_handed_to_fit():
    game = Game(make_source("shapes", size=16, num_images=20), channel=AWGN(), num_symbols=4)

    class Mean(Eavesdropper):
        def fit(self, view, *, generator, progress=None):
            reception, images = view.sample(torch.arange(8))
            self.register_buffer("mean", images.mean(0))
            return {"messages": len(reception.received)}

        def reconstruct(self, received, csi):
            return self.mean.expand(len(received), -1, -1, -1)

    view = View(game, Pixels(game.spec), ThreatModel(), torch.Generator().manual_seed(0))
    check_eavesdropper(Mean(game.spec), view)


class NoCapability(Eavesdropper):
    """at least one of reconstruct"""

    def fit(self, view, *, generator, progress=None):
        return {}


class NotPlain(Honest):
    """plain values"""

    def __init__(self, spec):
        super().__init__(spec, layer=nn.Linear(1, 1))


class OutOfRange(Honest):
    r"""must lie in \[0, 1\]"""

    def reconstruct(self, received, csi):
        return super().reconstruct(received, csi) * 3 - 1


class WrongShape(Honest):
    """must have the shape"""

    def reconstruct(self, received, csi):
        return super().reconstruct(received, csi)[:, :1]


class SqueezesOne(Honest):
    """must have the shape"""

    def reconstruct(self, received, csi):
        return super().reconstruct(received, csi).squeeze()


class Half(Honest):
    """torch.float32"""

    def reconstruct(self, received, csi):
        return super().reconstruct(received, csi).half()


class DividesByPower(Honest):
    """not finite"""

    def reconstruct(self, received, csi):
        return (
            super().reconstruct(received, csi) * (received.sum(1) / received.sum(1))[:, None, None, None]
        ).clamp(0, 1)


class Sampler(Honest):
    """global random generator of torch"""

    def reconstruct(self, received, csi):
        return torch.rand(len(received), 3, 8, 8)


class NumpySampler(Honest):
    """global random generator of NumPy"""

    def infer(self, received, csi):
        return super().infer(received, csi) + float(np.random.rand())  # noqa: NPY002


class PythonSampler(Honest):
    """global random generator of the module random"""

    def infer(self, received, csi):
        return super().infer(received, csi) + random.random()


class Dropout(Honest):
    """two answers"""

    calls = 0

    def infer(self, received, csi):
        self.calls += 1
        return super().infer(received, csi) + self.calls


class BatchStatistics(Honest):
    """rows must not depend"""

    def infer(self, received, csi):
        return super().infer(received - received.mean(0), csi)


class MatchTransposed(Honest):
    """match returns .* must have the shape"""

    def match(self, received, csi, candidates):
        return super().match(received, csi, candidates).T


class InferLabels(Honest):
    r"""must be logits \[B, K\]"""

    def infer(self, received, csi):
        return super().infer(received, csi).argmax(1)


class InfiniteScores(Honest):
    """not finite"""

    def match(self, received, csi, candidates):
        return super().match(received, csi, candidates).log() - float("inf")


class WritesInPlace(Honest):
    """writes into"""

    def infer(self, received, csi):
        return super().infer(received.mul_(0.5), csi)


CASES = [
    NoCapability, NotPlain, OutOfRange, WrongShape, SqueezesOne, Half, DividesByPower, Sampler, NumpySampler,
    PythonSampler, Dropout, BatchStatistics, MatchTransposed, InferLabels, InfiniteScores, WritesInPlace,
]  # fmt: skip


@pytest.mark.parametrize("broken", CASES)
def test_broken_attackers_are_caught_with_the_right_sentence(broken):
    with pytest.raises(AssertionError, match=broken.__doc__):
        check_eavesdropper(broken(SPEC))


class GlobalFit(Honest):
    """fit draws from"""

    def fit(self, view, *, generator, progress=None):
        self.image.reset_parameters()
        return {}


class SilentFit(Honest):
    """must return a dictionary"""

    def fit(self, view, *, generator, progress=None):
        return None


class TensorRecord(Honest):
    """plain values"""

    def fit(self, view, *, generator, progress=None):
        return {"loss": torch.ones(1)}


class BadProgress(Honest):
    """must call progress"""

    def fit(self, view, *, generator, progress=None):
        progress(3, 2, {})
        return {}


@pytest.mark.parametrize("broken", [GlobalFit, SilentFit, TensorRecord, BadProgress])
def test_a_broken_fit_is_caught_when_a_view_is_given(broken):
    check_eavesdropper(broken(SPEC))
    with pytest.raises(AssertionError, match=broken.__doc__):
        check_eavesdropper(broken(SPEC), view=object())


def test_anything_else_than_an_eavesdropper_is_caught():
    with pytest.raises(AssertionError, match="must derive from"):
        check_eavesdropper(nn.Linear(1, 1))

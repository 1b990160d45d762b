"""check_objective passes honest objectives and catches each broken law."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tosc_env.pipeline import make_scheme
from tosc_env.registry import Registry
from tosc_env.schemes import Objective, make_objectives, objectives
from tosc_env.testing import check_objective
from tosc_env.types import SystemSpec

SPEC = SystemSpec((3, 8, 8), 4, num_symbols=8)
NETWORK = {"stem": 4, "widths": (4, 8), "blocks": (0, 0), "receiver_width": 16}


class Small(Objective):
    """The least that is an objective."""

    def loss(self, loss, trial, round_, task):
        size = trial.features.square().mean()
        return loss + 0.01 * size, {"size": size.detach()}


class Guess(Objective):
    """Has a network of its own, which learns in a pass of its own."""

    phases = ("guessing",)

    def __init__(self, spec, *, width=1):
        super().__init__(spec, width=width)
        self.guess = nn.Linear(2 * spec.num_symbols, width)

    def loss(self, loss, trial, round_, task):
        return loss + self.guess(trial.eavesdropped).mean().detach() * trial.logits.mean(), {}

    def phase_loss(self, phase, transmission, round_):
        error = (self.guess(transmission.eavesdropper.received).mean(1) - round_.targets).square().mean()
        return error, {"guess": error.detach()}


class Silent(Objective):
    """Adds nothing, and logs."""

    def loss(self, loss, trial, round_, task):
        return loss, {"energy": trial.transmission.energy.mean()}


@pytest.mark.parametrize("name", sorted(objectives))
def test_every_registered_objective_passes_on_a_scheme_that_it_trains(name):
    (objective,) = make_objectives(name, SPEC)
    check_objective(objective, make_scheme("lbvq", SPEC, **NETWORK))
    if name != "codebook":
        check_objective(objective, make_scheme("deepjscc", SPEC, **NETWORK, stages=["keyed", "laplace"]))
        check_objective(objective)


@pytest.mark.parametrize("kind", [Small, Guess, Silent])
@pytest.mark.parametrize("num_csi", [1, 3])
def test_honest_objectives_pass(kind, num_csi):
    check_objective(kind(SPEC.with_csi(num_csi)))


def test_checking_leaves_objective_scheme_and_global_stream_as_they_were():
    objective, scheme = Guess(SPEC), make_scheme("lbvq", SPEC, **NETWORK).eval()
    before = {k: v.clone() for k, v in scheme.state_dict().items()}
    state = torch.get_rng_state()
    check_objective(objective, scheme)
    assert not scheme.training and all(torch.equal(v, before[k]) for k, v in scheme.state_dict().items())
    assert all(p.grad is None for part in (objective, scheme) for p in part.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_registered_objective_is_rebuilt_by_its_name(monkeypatch):
    table = Registry("objective")
    for module in ("tosc_env.testing.objective", "tosc_env.schemes"):
        monkeypatch.setattr(f"{module}.objectives", table)

    @table.register("named")
    class Named(Small):
        name = "named"

    class Impostor(Named):
        pass

    check_objective(Named(SPEC))
    with pytest.raises(AssertionError, match="rebuilt by its name, is a Named"):
        check_objective(Impostor(SPEC))


def test_an_objective_that_cannot_train_the_scheme_says_why():
    with pytest.raises(AssertionError, match="trains a scheme with a codebook, such as lbvq"):
        check_objective(make_objectives("codebook", SPEC)[0])


# -- broken ones, with a pattern of the sentence ------------------------------------------------------


class NoLoss(Objective):
    """failed with NotImplementedError"""


class Attached(Objective):
    """figure 'loss' must be a detached scalar"""

    def loss(self, loss, trial, round_, task):
        return loss, {"loss": loss}


class WideFigure(Objective):
    """figure 'energy' must be a detached scalar"""

    def loss(self, loss, trial, round_, task):
        return loss, {"energy": trial.transmission.energy}


class NumberFigure(Small):
    """figure 'size' must be a detached scalar"""

    def loss(self, loss, trial, round_, task):
        return loss, {"size": 1.0}


class Vector(Objective):
    """one finite number"""

    def loss(self, loss, trial, round_, task):
        return loss.expand(2), {}


class NotFinite(Objective):
    """one finite number"""

    def loss(self, loss, trial, round_, task):
        return loss / 0.0, {}


class InfiniteGradient(Objective):
    """gradient that is not finite"""

    def loss(self, loss, trial, round_, task):
        return loss + (trial.features * 0.0).square().sum().sqrt(), {}


class Forgets(Objective):
    """forgets the loss of the objectives before it"""

    def loss(self, loss, trial, round_, task):
        return trial.features.square().mean(), {}


class Detaches(Objective):
    """the gradient of its loss failed"""

    def loss(self, loss, trial, round_, task):
        return loss.detach(), {}


class Lottery(Objective):
    """two losses to the same step"""

    calls = 0

    def loss(self, loss, trial, round_, task):
        self.calls += 1
        return loss * self.calls, {}


class NoPhase(Objective):
    """has no phase 'warm-up'"""

    phases = ("warm-up",)

    def loss(self, loss, trial, round_, task):
        return loss, {}


class IdlePhase(Guess):
    """the gradient of its loss failed"""

    def phase_loss(self, phase, transmission, round_):
        return transmission.energy.mean(), {}


class NeverLearns(Guess):
    """no pass sends a gradient to its parameter 'spare'"""

    def __init__(self, spec):
        super().__init__(spec)
        self.options = {}
        self.spare = nn.Parameter(torch.zeros(1))


class TwicePhase(Guess):
    """each once and none 'system'"""

    phases = ("guessing", "guessing")


class SystemPhase(Guess):
    """each once and none 'system'"""

    phases = ("system",)


class FailsLater(Small):
    """in the pass 'system' of epoch 1, begin failed with KeyError"""

    def begin(self, scheme, phase, epoch, epochs):
        {"system": {0: None}}[phase][epoch]


class NoPlainOption(Small):
    """plain values"""

    def __init__(self, spec, how=torch.neg):
        super().__init__(spec, how=how)


class ForgetsOptions(Guess):
    """rebuilding .* failed with TypeError|has others"""

    def __init__(self, spec, *, width=1):
        super().__init__(spec, width=width)
        self.options = {"width": width + 1}


class HiddenSize(Guess):
    """loading the state"""

    def __init__(self, spec, *, width=1):
        super().__init__(spec, width=width)
        self.options = {}


BROKEN = [
    NoLoss, Attached, WideFigure, NumberFigure, Vector, NotFinite, InfiniteGradient, Forgets, Detaches, Lottery,
    NoPhase, IdlePhase, NeverLearns, TwicePhase, SystemPhase, FailsLater, NoPlainOption, ForgetsOptions,
]  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_objectives_are_caught_with_the_right_sentence(broken):
    with pytest.raises(AssertionError, match=broken.__doc__) as caught:
        check_objective(broken(SPEC))
    assert "\n" not in str(caught.value)


def test_an_option_that_is_not_kept_is_caught():
    with pytest.raises(AssertionError, match=HiddenSize.__doc__):
        check_objective(HiddenSize(SPEC, width=2))


def test_anything_else_than_an_objective_is_caught():
    with pytest.raises(AssertionError, match=r"must derive from tosc_env\.Objective"):
        check_objective(nn.Linear(1, 1))

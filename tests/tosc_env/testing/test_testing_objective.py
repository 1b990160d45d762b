"""check_objective passes lawful objectives and catches each broken law."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from tosc_env.pipeline import make_scheme
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
    """An objective with a network of its own, which learns in a pass of its own."""

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
    """An objective that adds nothing, and logs."""

    def loss(self, loss, trial, round_, task):
        return loss, {"energy": trial.transmission.sent.detach().square().mean()}


@pytest.mark.parametrize("name", sorted(objectives))
def test_every_registered_objective_passes_on_a_scheme_that_it_trains(name):
    (objective,) = make_objectives(name, SPEC)
    check_objective(objective, make_scheme("lbvq", SPEC, **NETWORK))
    if name != "codebook":
        check_objective(objective, make_scheme("deepjscc", SPEC, **NETWORK, stages=["keyed", "laplace"]))
        check_objective(objective)


@pytest.mark.parametrize("kind", [Small, Guess, Silent])
def test_honest_objectives_pass(kind):
    check_objective(kind(replace(SPEC, num_csi=3)))


def test_checking_leaves_objective_scheme_and_global_stream_as_they_were():
    objective, scheme = Guess(SPEC), make_scheme("lbvq", SPEC, **NETWORK).eval()
    before = {k: v.clone() for k, v in scheme.state_dict().items()}
    state = torch.get_rng_state()
    check_objective(objective, scheme)
    assert not scheme.training and all(torch.equal(v, before[k]) for k, v in scheme.state_dict().items())
    assert all(p.grad is None for part in (objective, scheme) for p in part.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_an_objective_that_cannot_train_the_scheme_says_why():
    with pytest.raises(AssertionError, match="trains a scheme with a codebook, such as lbvq"):
        check_objective(make_objectives("codebook", SPEC)[0])


# -- broken ones ------------------------------------------------------------------------------------------------------


def gives(change):
    """An objective whose loss and figures are ``change(loss, trial)``."""
    return but(Objective, loss=lambda self, loss, trial, round_, task: change(loss, trial))


def but(base, **members):
    return type("Broken", (base,), members)


class Lottery(Objective):
    calls = 0

    def loss(self, loss, trial, round_, task):
        self.calls += 1
        return loss * self.calls, {}


class NeverLearns(Guess):
    def __init__(self, spec):
        super().__init__(spec)
        self.options = {}
        self.spare = nn.Parameter(torch.zeros(1))


class FailsLater(Small):
    def begin(self, scheme, phase, epoch, epochs):
        {"system": {0: None}}[phase][epoch]


class OtherOptions(Guess):
    def __init__(self, spec, *, width=1):
        super().__init__(spec, width=width)
        self.options = {"width": width + 1}


class HiddenSize(Guess):
    def __init__(self, spec, *, width=1):
        super().__init__(spec, width=width)
        self.options = {}


BROKEN = [
    ("failed with NotImplementedError", Objective),
    ("figure 'loss' must be a detached scalar", gives(lambda loss, trial: (loss, {"loss": loss}))),
    ("figure 'wide' must be a detached scalar", gives(lambda loss, trial: (loss, {"wide": torch.ones(16)}))),
    ("figure 'size' must be a detached scalar", gives(lambda loss, trial: (loss, {"size": 1.0}))),
    ("one finite number", gives(lambda loss, trial: (loss.expand(2), {}))),
    ("one finite number", gives(lambda loss, trial: (loss / 0.0, {}))),
    (
        "gradient that is not finite",
        gives(lambda loss, trial: (loss + (trial.features * 0.0).square().sum().sqrt(), {})),
    ),
    ("forgets the loss it is given", gives(lambda loss, trial: (trial.features.square().mean(), {}))),
    ("the gradient of its loss failed", gives(lambda loss, trial: (loss.detach(), {}))),
    ("two losses to the same step", Lottery),
    ("has no phase 'warm-up'", but(Small, phases=("warm-up",))),
    (
        "the gradient of its loss failed",
        but(Guess, phase_loss=lambda self, phase, transmission, round_: (torch.zeros(()), {})),
    ),
    ("no pass sends a gradient to its parameter 'spare'", NeverLearns),
    ("each once and none 'system'", but(Guess, phases=("guessing", "guessing"))),
    ("each once and none 'system'", but(Guess, phases=("system",))),
    ("in the pass 'system' of epoch 1, begin failed with KeyError", FailsLater),
    ("has others", OtherOptions),
    ("must be a SystemSpec; call super", lambda spec: Small(None)),
    (r"must derive from tosc_env\.Objective", lambda spec: nn.Linear(1, 1)),
]


@pytest.mark.parametrize(("sentence", "kind"), BROKEN)
def test_broken_objectives_are_caught_with_the_right_sentence(sentence, kind):
    with pytest.raises(AssertionError, match=sentence) as caught:
        check_objective(kind(SPEC))
    assert "\n" not in str(caught.value)


def test_an_option_that_is_not_kept_is_caught():
    with pytest.raises(AssertionError, match="loading the state"):
        check_objective(HiddenSize(SPEC, width=2))

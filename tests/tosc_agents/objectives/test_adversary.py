"""The simulated attacker: what it knows, how it is fought, and that nobody helps it."""

from __future__ import annotations

import math

import pytest
import torch
from links import seeded as g
from refusals import refused
from tosc_agents import LoopConfig, SchemeTraining, fit_scheme
from tosc_agents.learning.seeding import weights_from
from tosc_agents.objectives.adversary import Adversary, SimulatedAdversary, min_norm_weight
from tosc_agents.training.fit_scheme import SYSTEM, Trainee

from tosc_env.data import make_source
from tosc_env.game import Game
from tosc_env.pipeline import as_pipeline, make_scheme
from tosc_env.schemes import make_objectives
from tosc_env.testing import check_objective
from tosc_env.types import SystemSpec

TINY = {"stem": 4, "widths": (4, 8, 8), "blocks": (0, 0, 0), "receiver_width": 16, "receiver_depth": 1}
SPEC = SystemSpec((3, 16, 16), 10, 8)
both = pytest.mark.parametrize("weighting", ["fixed", "multiple-gradient"])


@pytest.fixture(scope="module")
def game():
    return Game(make_source("shapes", num_images=64, size=16), num_symbols=8)


def trainee(game, *objectives, name="deepjscc", stages=()):
    """A system in training for these, the same each time."""
    with weights_from(0):
        scheme = make_scheme(name, SPEC, stages=stages, **TINY)
        made = make_objectives(list(objectives), SPEC)
    rules = game.with_rules(constellation=scheme.constellation)
    return Trainee(as_pipeline(scheme), made, rules, SchemeTraining(), g(1)).train()


def told(**options):
    return {"name": "adversary", "width": 32, **options}


# -- the attacker -----------------------------------------------------------------------------------


def test_the_adversary_of_a_mean_image_leaks_nothing_and_a_perfect_one_everything():
    adversary = SimulatedAdversary(SPEC, width=8, side=4)
    images = torch.rand(64, 3, 16, 16, generator=g())
    adversary.prepare(images.mean(0))
    small = adversary.small(images)
    received, csi = torch.zeros(64, 16), torch.zeros(64, 1)
    with torch.no_grad():
        for p in adversary.parameters():
            p.zero_()
        adversary.network[-1].bias.copy_(torch.logit(small.mean(0)).flatten())
    assert float(adversary.leak(received, csi, images)) == pytest.approx(0.0, abs=1e-5)
    adversary.forward = lambda *_: small  # type: ignore[method-assign]
    assert float(adversary.leak(received, csi, images)) == 1.0


def test_a_leak_sends_its_gradient_to_the_reception_and_never_to_the_adversary():
    with weights_from(0):
        adversary = SimulatedAdversary(SPEC, width=8, side=4)
    received = torch.randn(16, 16, generator=g(), requires_grad=True)
    images = torch.rand(
        16, 3, 16, 16, generator=g(1)
    ).round()  # far from any guess: the leak could be cut off
    with torch.no_grad():
        adversary.network[-1].bias.copy_(
            torch.logit(adversary.small(images).mean(0).clamp(0.1, 0.9)).flatten()
        )
    adversary.prepare(torch.full((3, 16, 16), 0.5))
    target = adversary.small(images)
    rebuilt = adversary(received, torch.zeros(16, 1))
    leak = 1 - (rebuilt - target).square().mean() / (target - 0.5).square().mean()
    found = adversary.leak(received, torch.zeros(16, 1), images)
    assert float(found.detach()) == pytest.approx(max(0.0, float(leak.detach())), abs=1e-6)
    (found + 0.0 * received.sum()).backward()
    assert received.grad is not None and all(p.grad is None for p in adversary.parameters())
    # Worse than the mean image, it gives no slope to fool it by.
    with torch.no_grad():
        adversary.network[-1].bias.fill_(8.0)
    adversary.prepare(torch.full((3, 16, 16), 0.5))
    deaf = received.detach().requires_grad_()
    leak = adversary.leak(deaf, torch.zeros(16, 1), torch.rand(16, 3, 16, 16, generator=g()))
    leak.backward()
    assert float(leak.detach()) == 0.0 and float(deaf.grad.abs().max()) == 0.0


def test_the_common_step_is_the_shortest_convex_combination():
    for first, second, weight in [
        ([1.0, 0.0], [0.0, 1.0], 0.5),
        ([1.0, 0.0], [3.0, 0.0], 1.0),
        ([4.0, 0.0], [1.0, 0.0], 0.0),
    ]:
        assert float(min_norm_weight(torch.tensor(first), torch.tensor(second))) == pytest.approx(weight)


def test_the_common_step_descends_both_objectives():
    for seed in range(5):
        a, b = torch.randn(2, 30, generator=g(seed))
        w = min_norm_weight(a, b)
        common = w * a + (1 - w) * b
        assert float(common @ a) >= -1e-5 and float(common @ b) >= -1e-5


def test_an_objective_without_a_gradient_has_no_weight():
    """The shortest combination with nothing is nothing: that step would train neither."""
    some, nothing = torch.tensor([0.3, -2.0]), torch.zeros(2)
    for first, second, weight in [(some, nothing, 1.0), (nothing, some, 0.0), (nothing, nothing, 1.0)]:
        found = float(min_norm_weight(first, second))
        assert found == weight
        assert torch.equal(found * first + (1 - found) * second, first + second)


def test_a_leak_is_measured_by_the_data_sets_mean_image_whatever_else_is_in_the_batch():
    """Of one image, and of equal ones, too: their own mean would be the image itself, and 0 / 0 the leak."""
    with weights_from(0):
        adversary = SimulatedAdversary(SPEC, width=8, side=4)
    received, csi = torch.zeros(1, 16), torch.zeros(1, 1)
    with refused("prepare(game)"):
        adversary.leak(received, csi, torch.rand(1, 3, 16, 16))
    mean = torch.full((3, 16, 16), 0.5)
    adversary.prepare(mean)
    image = torch.rand(1, 3, 16, 16, generator=g()).round()
    adversary.forward = lambda received, csi: (adversary.small(image) * 0.5 + 0.25).expand(
        len(received), -1, -1, -1
    )  # type: ignore[method-assign]
    one = adversary.leak(received, csi, image)
    equal = adversary.leak(received.repeat(5, 1), csi.repeat(5, 1), image.repeat(5, 1, 1, 1))
    # Half way from the mean image to the right one: a quarter of the squared error is left.
    assert float(one) == pytest.approx(0.75) and float(equal) == pytest.approx(0.75)
    assert float(adversary.leak(received, csi, mean[None])) == 0.0, "nothing to hide in the mean image itself"


# -- the objective ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("weighting", "name"), [("fixed", "deepjscc"), ("multiple-gradient", "lbvq")])
def test_it_keeps_the_laws_of_objectives(weighting, name):
    check_objective(Adversary(SPEC, width=32, weighting=weighting), make_scheme(name, SPEC, **TINY))


@both
@pytest.mark.parametrize(
    ("name", "stages"), [("lbvq", []), ("deepjscc", ["laplace", {"name": "keyed", "key": "5a" * 32}])]
)
def test_the_systems_pass_trains_everything_but_the_system_never_helps_its_adversary(
    game, weighting, name, stages
):
    """The adversary's own gradient must be that of its error alone, whatever the weight of its leak."""
    gradients = []
    for weight in (0.0, 5.0):
        system = trainee(game, "task", told(weight=weight, weighting=weighting), name=name, stages=stages)
        system.begin(SYSTEM, 0, 2)
        loss, figures = system(torch.arange(32))
        loss.backward()
        assert torch.isfinite(loss) and set(figures) >= {"accuracy", "leak", "adversary"}
        assert all(p.grad is not None for p in system.parameters())
        gradients.append([p.grad.clone() for p in system.objectives.parameters()])
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(*gradients, strict=True))


def test_its_weight_weighs_the_leak_by_what_there_is_to_hide(game):
    """loss = task + weight * leak / (1 + sigma) + the adversary's own error."""
    losses = []
    for weight in (0.0, 1.0, 3.0):
        system = trainee(game, told(weight=weight))
        system.objectives[0].adversary.leak = lambda *_: torch.tensor(0.5)
        loss, figures = system(torch.arange(32))
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(float(figures["adversary"]))
    sigma = 10 ** (-12 / 20)
    assert losses[1] - losses[0] == pytest.approx(0.5 / (1 + sigma), rel=1e-5)
    assert losses[2] - losses[0] == pytest.approx(1.5 / (1 + sigma), rel=1e-5)


@pytest.mark.parametrize(("objectives", "name"), [([], "deepjscc"), (["task"], "label-only")])
def test_a_common_step_needs_two_objectives_that_reach_the_features(game, objectives, name):
    """Nothing stands before it, or the symbols that are heard pass no gradient."""
    system = trainee(game, *objectives, told(weighting="multiple-gradient"), name=name)
    with refused("leak objectives"):
        system(torch.arange(32))


@both
@pytest.mark.parametrize("images", ["one", "equal"])
@pytest.mark.parametrize("name", ["deepjscc", "ibal", "lbvq"])
def test_a_training_on_one_image_or_equal_ones_stays_finite(weighting, images, name):
    shown = make_source("shapes", num_images=4, size=16).subset([0] if images == "one" else [0, 0, 0, 0])
    system = trainee(Game(shown, num_symbols=8), "task", told(weighting=weighting), name=name)
    loop = LoopConfig(epochs=2, batch_size=4, precision="float32")
    found = fit_scheme(system.scheme, system._game, SchemeTraining(loop), objectives=list(system.objectives))
    assert all(math.isfinite(value) for value in found.values())
    assert all(bool(p.isfinite().all()) for p in system.parameters())


def test_a_common_step_trains_the_task_while_the_leak_is_cut_off(game):
    """While the adversary knows less than the mean image, its leak is 0 and its slope too: no reason to stand still."""
    system = trainee(game, "task", told(weighting="multiple-gradient"))
    with torch.no_grad():
        system.objectives[1].adversary.network[-1].bias.fill_(8.0)
    loss, figures = system(torch.arange(32))
    loss.backward()
    assert float(figures["leak"]) == 0.0
    alone = trainee(game, "task")
    alone(torch.arange(32))[0].backward()
    for one, other in zip(system.scheme.parameters(), alone.scheme.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-6)


def test_wrong_options_are_named():
    for options, said in [
        ({"weight": float("inf")}, "weight 0 inf"),
        ({"weight": -1.0}, "weight 0 -1.0"),
        ({"weighting": "mgda"}, "'mgda'"),
        ({"width": 0}, "1 0"),
    ]:
        with refused(said):
            Adversary(SPEC, **options)

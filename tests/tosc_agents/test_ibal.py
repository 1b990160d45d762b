"""The bottleneck's divergence, the simulated adversary, their passes, and what they do to a leak."""

from __future__ import annotations

import math

import pytest
import torch
from tosc_agents import LoopConfig, SchemeTraining, Setting, fit_scheme
from tosc_agents.learning.seeding import weights_from
from tosc_agents.schemes.adversary import SimulatedAdversary, min_norm_weight
from tosc_agents.schemes.ibal import IBAL, _log_uniform_kl

from tosc_env.checkpoints import load_checkpoint, save_checkpoint
from tosc_env.data import make_source
from tosc_env.errors import InputError
from tosc_env.game import Game
from tosc_env.policies import Context, SystemSpec
from tosc_env.testing import check_scheme

TINY = {"stem": 4, "widths": (4, 8, 8), "blocks": (0, 0, 0), "receiver_width": 16, "receiver_depth": 1}
SPEC = SystemSpec((3, 16, 16), 10, 8)


def g(seed=0):
    return torch.Generator().manual_seed(seed)


def make(spec=SPEC, seed=0, **options):
    with weights_from(seed):
        return IBAL(spec, **{**TINY, "adversary_width": 32, **options})


@pytest.fixture(scope="module")
def game():
    return Game(make_source("shapes", num_images=64, size=16), num_symbols=8)


def step(scheme, game, seed=0):
    round_ = game.draw(32, generator=g(seed))
    context = Context(round_.snr_db, round_.message, generator=g(seed))
    return scheme.loss(game, round_, context, game.task)


# -- adversary --------------------------------------------------------------------------------------


def test_the_adversary_of_a_mean_image_leaks_nothing_and_a_perfect_one_everything():
    adversary = SimulatedAdversary(SPEC, width=8, side=4)
    images = torch.rand(64, 3, 16, 16, generator=g())
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
    target = adversary.small(images)
    rebuilt = adversary(received, torch.zeros(16, 1))
    leak = 1 - (rebuilt - target).square().mean() / (target - target.mean(0)).square().mean()
    found = adversary.leak(received, torch.zeros(16, 1), images)
    assert float(found.detach()) == pytest.approx(max(0.0, float(leak.detach())), abs=1e-6)
    (found + 0.0 * received.sum()).backward()
    assert received.grad is not None and all(p.grad is None for p in adversary.parameters())


def test_an_adversary_that_is_worse_than_the_mean_image_gives_no_slope_to_fool_it_by():
    with weights_from(0):
        adversary = SimulatedAdversary(SPEC, width=8, side=4)
    with torch.no_grad():
        adversary.network[-1].bias.fill_(8.0)
    received = torch.randn(16, 16, generator=g(), requires_grad=True)
    leak = adversary.leak(received, torch.zeros(16, 1), torch.rand(16, 3, 16, 16, generator=g()))
    leak.backward()
    assert float(leak.detach()) == 0.0 and float(received.grad.abs().max()) == 0.0


@pytest.mark.parametrize(
    ("first", "second", "weight"),
    [([1.0, 0.0], [0.0, 1.0], 0.5), ([1.0, 0.0], [3.0, 0.0], 1.0), ([4.0, 0.0], [1.0, 0.0], 0.0)],
)
def test_the_common_step_is_the_shortest_convex_combination(first, second, weight):
    assert float(min_norm_weight(torch.tensor(first), torch.tensor(second))) == pytest.approx(weight)


def test_the_common_step_descends_both_objectives():
    for seed in range(20):
        a, b = torch.randn(2, 30, generator=g(seed))
        w = min_norm_weight(a, b)
        common = w * a + (1 - w) * b
        assert float(common @ a) >= -1e-5 and float(common @ b) >= -1e-5


# -- bottleneck -------------------------------------------------------------------------------------


def test_the_divergence_is_that_of_variational_dropout_and_grows_with_the_signal():
    """At alpha = 1 Molchanov et al. approximate -KL + C by k1 s(k2) - 0.5 log 2 - k1; a stronger signal tells more."""
    z = torch.full((1, 4), math.sqrt(0.5 * (1 - 1e-4)))
    sigmoid = 1 / (1 + math.exp(-1.8732))
    expected = -4 * (0.63576 * sigmoid - 0.5 * math.log(2) - 0.63576)
    assert float(_log_uniform_kl(z, torch.zeros(1))) == pytest.approx(expected, rel=1e-4)
    by_size = [float(_log_uniform_kl(torch.full((1, 4), a), torch.zeros(1))) for a in (0.0, 0.1, 0.5, 2.0)]
    assert by_size == sorted(by_size)
    by_snr = [float(_log_uniform_kl(z, torch.tensor([snr]))) for snr in (0.0, 10.0, 20.0)]
    assert by_snr == sorted(by_snr)


def test_the_bottleneck_is_off_at_first_and_then_ramps_up():
    scheme = make(kl_start=5, kl_ramp=10)
    told = []
    for epoch in range(20):
        scheme.begin_pass("system", epoch, 20)
        told.append(scheme._anneal)
    assert told[:5] == [0.0] * 5 and told[5] == pytest.approx(0.1) and told[14:] == [1.0] * 6


# -- passes -----------------------------------------------------------------------------------------


def test_the_adversarys_pass_trains_the_adversary_alone(game):
    scheme = make().train()
    scheme.begin_pass("adversary", 0, 2)
    loss, _ = step(scheme, game)
    loss.backward()
    for name, p in scheme.named_parameters():
        assert (p.grad is not None) == name.startswith("adversary."), name


@pytest.mark.parametrize("weighting", ["fixed", "multiple-gradient"])
def test_the_systems_pass_trains_everything_but_the_system_never_helps_its_adversary(game, weighting):
    """The adversary's own gradient must be that of its error alone, whatever the weight of its leak."""
    gradients = []
    for weight in (0.0, 5.0):
        scheme = make(adversary_weight=weight, weighting=weighting).train()
        scheme.begin_pass("system", 0, 2)
        loss, figures = step(scheme, game)
        loss.backward()
        assert torch.isfinite(loss) and set(figures) >= {"accuracy", "leak", "kl"}
        assert all(p.grad is not None for p in scheme.parameters())
        gradients.append([p.grad.clone() for p in scheme.adversary.parameters()])
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("weighting", ["fixed", "multiple-gradient"])
def test_it_keeps_the_laws_of_schemes(weighting):
    check_scheme(make(weighting=weighting))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"beta": -1.0}, "beta must be a number of at least 0, not -1.0"),
        ({"adversary_weight": float("inf")}, "adversary_weight must be a number of at least 0, not inf"),
        ({"kl_start": 1.5}, "kl_start must be a whole number of epochs of at least 0, not 1.5"),
        ({"weighting": "mgda"}, "weighting 'mgda'"),
        ({"adversary_width": 0}, "at least 1, not 0"),
    ],
)
def test_wrong_options_are_named(options, told):
    with pytest.raises(InputError, match=told):
        make(**options)


def test_weights_that_ship_leave_the_adversary_out(tmp_path):
    scheme = make().eval()
    save_checkpoint(tmp_path / "full.safetensors", scheme, {})
    save_checkpoint(tmp_path / "half.safetensors", scheme, {}, half=True)
    assert (tmp_path / "half.safetensors").stat().st_size < (tmp_path / "full.safetensors").stat().st_size / 3
    shipped = load_checkpoint(tmp_path / "half.safetensors").policy
    images = torch.rand(2, 3, 16, 16, generator=g())
    context = Context(torch.full((2,), 12.0), torch.zeros(2, 3, dtype=torch.long))
    assert torch.allclose(shipped.encode(images, context), scheme.encode(images, context), atol=2e-2)


def test_training_against_the_adversary_starves_it():
    """The same short training twice, with and without the adversary's weight: what a fresh linear attacker gets of
    the coarse image must fall clearly, and the task must stay far above chance."""
    setting = Setting("shapes", {"num_images": 1500, "size": 16}, num_symbols=16)
    leaks, accuracies = [], []
    for weight in (0.0, 5.0):
        train = setting.game(half="system")
        scheme = make(train.spec, adversary_weight=weight, kl_start=50, widths=(8, 16, 32), receiver_width=64)
        loop = LoopConfig(epochs=14, batch_size=50, learning_rate=4e-3, optimizer="adamw", average=0.98)
        trained = fit_scheme(scheme, train, SchemeTraining(loop, flip=False, cutout=0, pad=0))
        other = setting.game(half="attacker")
        index = torch.arange(len(other.source))
        round_ = other.draw(len(index), generator=g(), index=index)
        with torch.no_grad():
            sent = other.transmit(
                round_, scheme.encode(round_.batch.images, Context(round_.snr_db, round_.message))
            )
        symbols, pixels = sent.eavesdropper.received, scheme.adversary.small(round_.batch.images).flatten(1)
        fit, held = slice(0, 500), slice(500, None)
        ones = torch.ones(len(symbols), 1)
        inputs = torch.cat([symbols, ones], 1)
        ridge = inputs[fit].T @ inputs[fit] + torch.eye(inputs.shape[1])
        weights = torch.linalg.solve(ridge, inputs[fit].T @ pixels[fit])
        error = (inputs[held] @ weights - pixels[held]).square().mean()
        leaks.append(float(1 - error / (pixels[fit].mean(0) - pixels[held]).square().mean()))
        accuracies.append(trained.figures["accuracy"])
    assert leaks[1] < 0.75 * leaks[0], leaks
    assert min(accuracies) > 0.3, accuracies

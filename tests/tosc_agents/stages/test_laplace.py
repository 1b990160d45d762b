"""The Laplace mechanism is epsilon-DP, down to what the strongest attacker can do; calibrated noise claims nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from links import seeded as g
from refusals import refused
from scipy.stats import kstest
from tosc_agents.stages.laplace import Laplace

from tosc_env.data import make_source
from tosc_env.game import Game
from tosc_env.modulation import constellation_points, modulate
from tosc_env.types import Context, SystemSpec

CALIBRATED = {"mode": "calibrated", "constant": 0.01, "epsilon": 0.05}


def context(batch_size, seed=0, **knobs):
    message = torch.zeros(batch_size, 5, dtype=torch.long)
    return Context(torch.full((batch_size,), 12.0), message, generator=g(seed), knobs=knobs)


def make(n=16, constellation=None, **options):
    return Laplace(SystemSpec((3, 16, 16), 4, n), constellation, **options)


# -- the mechanism ----------------------------------------------------------------------------------


def test_the_noise_is_laplace_with_scale_2c_over_epsilon():
    for epsilon in [0.05, 1.0, 20.0]:
        for clip in [1.0, 3.0]:
            stage = make(64, epsilon=epsilon, clip=clip)
            symbols = torch.randn(200, 128, generator=g())
            noise = stage.protect(symbols, context(200, 1)).double() - stage.bounded(symbols)
            assert kstest(noise.flatten().numpy(), "laplace", args=(0, 2 * clip / epsilon)).pvalue > 1e-3
            # Independent of one another and of what it hides.
            correlation = torch.corrcoef(torch.stack([noise[:, :-1].flatten(), noise[:, 1:].flatten()]))[0, 1]
            assert abs(float(correlation)) < 5 / math.sqrt(noise.numel())


def test_calibrated_noise_has_scale_constant_over_epsilon_on_unit_energy():
    stage = make(64, epsilon=0.1, mode="calibrated", constant=0.03)
    symbols = 50 * torch.randn(200, 128, generator=g())
    clean = stage.bounded(symbols)
    noise = stage.protect(symbols, context(200, 1)).double() - clean
    assert kstest(noise.flatten().numpy(), "laplace", args=(0, 0.3)).pvalue > 1e-3
    assert torch.allclose(clean.square().sum(1) / 64, torch.ones(200, dtype=torch.float64))


def hard_vectors(count=100):
    """Vectors of all sizes and shapes, and those that lie furthest apart."""
    dense = torch.randn(count, 32, generator=g()) * torch.logspace(-6, 6, count)[:, None]
    corners = torch.cat([torch.eye(32), -torch.eye(32)]) * 1e5
    odd = torch.tensor([[math.inf] + 31 * [1.0], [-math.inf] * 32, [math.nan] * 32, [3e38] * 32, [0.0] * 32])
    return torch.cat([dense, corners, odd])


def test_no_two_messages_differ_by_more_than_2c_before_the_noise():
    for clip in [0.5, 1.0, 7.0]:
        stage = make(16, clip=clip)
        bounded = stage.bounded(hard_vectors())
        assert bool(torch.isfinite(bounded).all())
        assert float(bounded.abs().sum(1).max()) <= clip * (1 + 1e-12)
        apart = torch.cdist(bounded, bounded, p=1)
        assert float(apart.max()) <= 2 * clip * (1 + 1e-12)
        assert float(apart.max()) == pytest.approx(2 * clip), "some pair uses up the sensitivity"
        small = torch.full((1, 32), clip / 64)
        assert torch.equal(stage.bounded(small).float(), small), "what is within the norm stays as it is"


def test_no_output_tells_two_inputs_apart_by_more_than_epsilon():
    """The exact log-likelihood ratio of Laplace densities, at outputs that the mechanism made."""
    for epsilon in [0.1, 2.0, 20.0]:
        stage = make(16, epsilon=epsilon)
        vectors = hard_vectors()
        clean, scale = stage.bounded(vectors), 2 / epsilon
        outputs = stage.protect(vectors, context(len(vectors), 1)).double()
        log_density = -torch.cdist(outputs, clean, p=1) / scale
        ratio = (
            log_density[:, :, None] - log_density[:, None, -69:]
        )  # the corners, and those that are no numbers
        assert float(ratio.abs().max()) <= epsilon + 1e-9
        assert float(ratio.abs().max()) > 0.9 * epsilon, (
            "the bound is met, so the noise is not wastefully large"
        )


def test_noise_comes_from_the_contexts_generator_alone():
    stage, symbols = make(16), torch.randn(4, 32, generator=g())
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, two = (stage.protect(symbols, context(4, seed)) for seed in (1, 2))
    assert torch.equal(one, stage.protect(symbols, context(4, 1))) and not torch.equal(one, two)
    assert torch.equal(torch.get_rng_state(), before)
    free = replace(context(4), generator=None)
    assert not torch.equal(stage.protect(symbols, free), stage.protect(symbols, free))
    assert not torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("options", [{}, {"clip": 40.0}, CALIBRATED])
def test_a_discrete_message_snaps_to_points(options):
    for name in ["qpsk", "64qam"]:
        stage = make(16, name, **options)
        points = constellation_points(name)
        symbols = modulate(torch.randint(len(points), (50, 16), generator=g()), points)
        game = Game(make_source("shapes", num_images=8, size=16), num_symbols=16, constellation=name)
        sent = stage.protect(symbols, context(50))
        assert torch.equal(game.normalise(sent), sent) and sent.dtype == torch.float32
        assert len(sent.unique()) == len(points) ** 0.5, "all levels are used, not the innermost alone"
        loose = (
            {"mode": "calibrated", "constant": 1e-6}
            if options is CALIBRATED
            else {"clip": 40.0, "epsilon": 1e9}
        )
        energy = symbols.square().sum(1) / 16
        kept = make(16, name, **loose).protect(symbols, context(50))
        even = (energy - 1).abs() < (1e-4 if options is CALIBRATED else math.inf)
        assert torch.allclose(kept[even], symbols[even]), "with hardly any noise a message arrives as it was"


# -- what is said of it -----------------------------------------------------------------------------


def test_a_guarantee_names_budget_and_composition():
    stage = make(epsilon=20)
    assert repr(stage) == "Laplace(epsilon=20, clip=1)"
    assert stage.guarantee().startswith("each message is 20-DP for its image (pure;")
    assert "whoever knows the seed knows the noise" in stage.guarantee()
    assert stage.guarantee(16).endswith("16 transmissions of the same image: 320-DP by basic composition")
    many = make(epsilon=0.01).guarantee(100_000)
    assert many.endswith("100000 transmissions of the same image: (25.2, 1e-05)-DP by advanced composition")
    with refused("transmissions 1 0"):
        stage.guarantee(0)


def test_calibrated_noise_is_called_that_and_never_private():
    for transmissions in [1, 16]:
        stage = make(**CALIBRATED)
        for text in (stage.guarantee(transmissions), repr(stage)):
            assert "calibrated" in text and "0.2" in text
            assert "DP" not in text and "epsilon" not in text
            assert "privacy" not in text or "no differential privacy is claimed" in text


# -- the knob ---------------------------------------------------------------------------------------


def test_in_training_each_message_draws_its_budget_from_the_range():
    stage = make(epsilon=20.0, epsilon_range=[0.5, 200.0]).train()
    drawn = torch.cat([stage.draw_knobs(context(40, seed))["epsilon"] for seed in range(50)])
    share = (drawn.log() - math.log(0.5)) / math.log(400)
    assert kstest(share.double().numpy(), "uniform").pvalue > 1e-3
    assert torch.equal(
        stage.draw_knobs(context(40, 3))["epsilon"], stage.draw_knobs(context(40, 3))["epsilon"]
    )


def test_elsewhere_it_draws_nothing_and_the_knob_is_the_option():
    for stage in (make(epsilon=5.0, epsilon_range=[1, 100]).eval(), make(epsilon=5.0).train()):
        told = context(4)
        before = told.generator.get_state()
        assert stage.draw_knobs(told) == {} and stage.knobs == {"epsilon": 5.0}
        assert torch.equal(told.generator.get_state(), before)
    symbols = torch.randn(4, 32, generator=g())
    named = context(4, 1, epsilon=torch.full((4,), 5.0))
    assert torch.equal(make(epsilon=5.0).protect(symbols, context(4, 1)), make().protect(symbols, named))


# -- options ----------------------------------------------------------------------------------------


def test_a_wrong_option_is_one_sentence():
    for options, said in [
        *[({"epsilon": v}, f"epsilon 3.4e+38 {v!r}") for v in (0, math.inf, math.nan, "20")],
        *[({"clip": v}, f"clip 3.4e+38 {v!r}") for v in (0.0, math.nan, False)],
        ({"mode": "dishonest"}, "mode laplace calibrated 'dishonest'"),
        ({"mode": "calibrated"}, "mode 'calibrated' 0"),
        ({"mode": "calibrated", "constant": -1}, "constant 3.4e+38 -1"),
        ({"constant": 0.1}, "mode 'laplace' 0.1"),
        ({"epsilon_range": [1]}, "[low, high], [1]"),
        ({"epsilon_range": [100, 1]}, "[100, 1]"),
        ({"epsilon_range": [0, 100]}, "epsilon [0, 100]"),
        ({"epsilon": 5, "epsilon_range": [10, 100]}, "epsilon epsilon_range [10, 100] 5"),
    ]:
        with refused(said):
            make(**options)

"""The honest mechanism is epsilon-DP, down to what the strongest attacker can do; the article's claims nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import tosc_agents
from scipy.stats import kstest
from tosc_agents.accounting import accuracy_bound, reidentification_bound
from tosc_agents.learning.seeding import weights_from
from tosc_agents.schemes.differential_privacy import DPLaplace, LaplaceMechanism, sharpened

from tosc_env.checkpoints import load_checkpoint, save_checkpoint
from tosc_env.data import make_source
from tosc_env.errors import InputError
from tosc_env.game import Game
from tosc_env.modulation import constellation_points, modulate
from tosc_env.policies import Context, SystemSpec, make_scheme
from tosc_env.testing import check_scheme

TINY = {"stem": 4, "widths": (4, 8, 8), "blocks": (1, 0, 1), "receiver_width": 16, "receiver_depth": 1}
SPEC = SystemSpec((3, 16, 16), 4, num_symbols=16)
ARTICLE = {"mode": "article", "constant": 0.01, "epsilon": 0.05}
BUDGETS = (1.0, 5.0, 20.0, 100.0)


def g(seed=0):
    return torch.Generator().manual_seed(seed)


def context(batch_size, seed=0):
    message = torch.zeros(batch_size, 3, dtype=torch.long)
    return Context(torch.full((batch_size,), 12.0), message, generator=g(seed))


def make(spec=SPEC, **options):
    with weights_from(0):
        return make_scheme("dp-laplace", spec, **{**TINY, **options}).eval()


def binomial_slack(rate, count):
    """Five standard deviations of a rate measured ``count`` times."""
    return 5 * math.sqrt(rate * (1 - rate) / count)


# -- the mechanism ----------------------------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("clip", [1.0, 3.0])
def test_the_noise_is_laplace_with_scale_2c_over_epsilon(epsilon, clip):
    mechanism = LaplaceMechanism(64, epsilon=epsilon, clip=clip)
    symbols = torch.randn(200, 128, generator=g())
    noise = mechanism.protect(symbols, context(200, 1)).double() - mechanism.bounded(symbols)
    assert kstest(noise.flatten().numpy(), "laplace", args=(0, 2 * clip / epsilon)).pvalue > 1e-3
    # Independent of one another and of what it hides.
    correlation = torch.corrcoef(torch.stack([noise[:, :-1].flatten(), noise[:, 1:].flatten()]))[0, 1]
    assert abs(float(correlation)) < 5 / math.sqrt(noise.numel())


def test_the_articles_noise_has_scale_constant_over_epsilon_on_unit_energy():
    mechanism = LaplaceMechanism(64, epsilon=0.1, mode="article", constant=0.03)
    symbols = 50 * torch.randn(200, 128, generator=g())
    clean = mechanism.bounded(symbols)
    noise = mechanism.protect(symbols, context(200, 1)).double() - clean
    assert kstest(noise.flatten().numpy(), "laplace", args=(0, 0.3)).pvalue > 1e-3
    assert torch.allclose(clean.square().sum(1) / 64, torch.ones(200, dtype=torch.float64))


def test_every_message_may_have_a_budget_of_its_own():
    mechanism = LaplaceMechanism(64, epsilon=20.0)
    symbols, epsilon = torch.randn(400, 128, generator=g()), torch.logspace(-1, 2, 400)
    noise = mechanism.protect(symbols, context(400, 1), epsilon).double() - mechanism.bounded(symbols)
    standard = noise * epsilon[:, None] / 2
    for part in (standard[:100], standard[-100:]):
        # float32 symbols resolve the small scales well enough for this test.
        assert kstest(part.flatten().numpy(), "laplace").pvalue > 1e-3


def hard_vectors(count=100):
    """Vectors of all sizes and shapes, and those that lie furthest apart."""
    dense = torch.randn(count, 32, generator=g()) * torch.logspace(-6, 6, count)[:, None]
    corners = torch.cat([torch.eye(32), -torch.eye(32)]) * 1e5
    odd = torch.tensor([[math.inf] + 31 * [1.0], [-math.inf] * 32, [math.nan] * 32, [3e38] * 32, [0.0] * 32])
    return torch.cat([dense, corners, odd])


@pytest.mark.parametrize("clip", [0.5, 1.0, 7.0])
def test_no_two_messages_differ_by_more_than_2c_before_the_noise(clip):
    mechanism = LaplaceMechanism(16, clip=clip)
    bounded = mechanism.bounded(hard_vectors())
    assert bool(torch.isfinite(bounded).all())
    assert float(bounded.abs().sum(1).max()) <= clip * (1 + 1e-12)
    apart = torch.cdist(bounded, bounded, p=1)
    assert float(apart.max()) <= 2 * clip * (1 + 1e-12)
    assert float(apart.max()) == pytest.approx(2 * clip), "some pair uses up the sensitivity"
    small = torch.full((1, 32), clip / 64)
    assert torch.equal(mechanism.bounded(small).float(), small), "what is within the norm stays as it is"


@pytest.mark.parametrize("epsilon", [0.1, 2.0, 20.0])
def test_no_output_tells_two_inputs_apart_by_more_than_epsilon(epsilon):
    """The exact log-likelihood ratio of Laplace densities, at outputs that the mechanism made."""
    mechanism = LaplaceMechanism(16, epsilon=epsilon)
    vectors = hard_vectors()
    clean, scale = mechanism.bounded(vectors), 2 / epsilon
    outputs = mechanism.protect(vectors, context(len(vectors), 1)).double()
    log_density = -torch.cdist(outputs, clean, p=1) / scale
    ratio = log_density[:, :, None] - log_density[:, None, -69:]  # the corners, and those that are no numbers
    assert float(ratio.abs().max()) <= epsilon + 1e-9
    assert float(ratio.abs().max()) > 0.9 * epsilon, "the bound is met, so the noise is not wastefully large"


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 5.0])
@pytest.mark.parametrize("kind", ["random", "corners", "opposite"])
def test_who_knows_everything_but_the_noise_stays_under_the_bound(epsilon, kind):
    """The maximum-likelihood attacker: it has all candidates' features, and takes the nearest in L1 norm."""
    mechanism = LaplaceMechanism(16, epsilon=epsilon)
    candidates = {
        "random": torch.randn(20, 32, generator=g()),
        "corners": torch.cat([torch.eye(32), -torch.eye(32)])[:40],
        "opposite": torch.stack([torch.eye(32)[0], -torch.eye(32)[0]]),
    }[kind]
    trials = 40_000
    truth = torch.randint(len(candidates), (trials,), generator=g(2))
    messages = mechanism.protect(candidates[truth], context(trials, 1)).double()
    found = torch.cdist(messages, mechanism.bounded(candidates), p=1).argmin(1)
    rate = float((found == truth).double().mean())
    bound = reidentification_bound(epsilon, len(candidates))
    assert rate <= bound + binomial_slack(bound, trials)
    assert rate > 1 / len(candidates), "the attacker is no straw man"
    if kind == "opposite":
        # Two inputs at the full distance: right with probability 1 - e^(-eps/2) / 2, exactly.
        exact = 1 - math.exp(-epsilon / 2) / 2
        assert rate == pytest.approx(exact, abs=binomial_slack(exact, trials))


def test_noise_comes_from_the_contexts_generator_alone():
    mechanism, symbols = LaplaceMechanism(16), torch.randn(4, 32, generator=g())
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, two = (mechanism.protect(symbols, context(4, seed)) for seed in (1, 2))
    assert torch.equal(one, mechanism.protect(symbols, context(4, 1))) and not torch.equal(one, two)
    assert torch.equal(torch.get_rng_state(), before)
    free = replace(context(4), generator=None)
    assert not torch.equal(mechanism.protect(symbols, free), mechanism.protect(symbols, free))
    assert not torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("epsilon", [0.05, 20.0])
def test_every_message_has_unit_energy_after_the_noise(epsilon):
    game = Game(make_source("shapes", num_images=40, size=16), num_symbols=16)
    scheme = make(game.spec, epsilon=epsilon)
    round_ = game.draw(40, generator=g())
    sent = game.transmit(round_, scheme.encode(round_.batch.images, context(40)))
    assert torch.allclose(sent.energy, torch.ones(40), atol=1e-5)


@pytest.mark.parametrize("name", ["qpsk", "16qam", "64qam"])
@pytest.mark.parametrize("options", [{}, {"clip": 40.0}, ARTICLE])
def test_a_discrete_message_snaps_to_points(name, options):
    mechanism = DPLaplace.perturbation(16, name, **options)
    points = constellation_points(name)
    symbols = modulate(torch.randint(len(points), (50, 16), generator=g()), points)
    game = Game(make_source("shapes", num_images=8, size=16), num_symbols=16, constellation=name)
    sent = mechanism.protect(symbols, context(50))
    assert torch.equal(game.normalise(sent), sent) and sent.dtype == torch.float32
    assert len(sent.unique()) == len(points) ** 0.5, "all levels are used, not the innermost alone"
    loose = {"mode": "article", "constant": 1e-6} if options is ARTICLE else {"clip": 40.0, "epsilon": 1e9}
    energy = symbols.square().sum(1) / 16
    kept = LaplaceMechanism(16, name, **loose).protect(symbols, context(50))
    even = (energy - 1).abs() < (1e-4 if options is ARTICLE else math.inf)
    assert torch.allclose(kept[even], symbols[even]), "with hardly any noise a message arrives as it was"


# -- what is said of it -----------------------------------------------------------------------------


def test_an_honest_guarantee_names_budget_and_composition():
    scheme = make(epsilon=20)
    assert scheme.guarantee().startswith("each message is 20-DP for its image (pure;")
    assert scheme.guarantee(16).endswith("16 transmissions of the same image: 320-DP by basic composition")
    many = make(epsilon=0.01).guarantee(100_000)
    assert many.endswith("100000 transmissions of the same image: (25.2, 1e-05)-DP by advanced composition")
    with pytest.raises(InputError, match="transmissions must be a whole number of at least 1, not 0"):
        scheme.guarantee(0)


@pytest.mark.parametrize("transmissions", [1, 16])
def test_the_articles_noise_is_called_calibrated_and_never_private(transmissions):
    scheme = make(**ARTICLE)
    for text in (scheme.guarantee(transmissions), repr(scheme.mechanism)):
        assert "calibrated" in text and "0.2" in text
        assert "DP" not in text and "epsilon" not in text
        assert "privacy" not in text or "no differential privacy is claimed" in text


# -- the scheme -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"epsilon_range": [1, 100], "clip": 3}, ARTICLE, {**ARTICLE, "epsilon_range": [0.05, 0.9]}],
)
def test_both_modes_keep_the_laws_of_a_scheme(options):
    check_scheme(make(**options))


def test_an_image_enters_its_message_through_the_clipped_features_alone():
    """Under the same noise any two messages differ by 2C at most, whatever the weights and images are."""
    scheme = make()
    images = torch.cat([torch.rand(20, 3, 16, 16, generator=g()), torch.zeros(1, 3, 16, 16)])
    with torch.no_grad():
        for factor in (1.0, 1e8, 1e-8, math.nan):
            scheme.transmitter.head.weight.mul_(factor)
            whole = [scheme.encode(image.expand(7, -1, -1, -1), context(7)) for image in images]
            apart = max(float((a - whole[0]).abs().sum(1).max()) for a in whole)
            assert apart <= 2 + 1e-4
            features = scheme.features(images)
            assert torch.equal(scheme.emit(features, context(21)), scheme.encode(images, context(21)))


def test_sharpening_keeps_signs_and_norm_and_favours_the_largest():
    features = torch.randn(50, 32, generator=g()) * torch.logspace(-5, 5, 50)[:, None]
    for sharpness in (0.1, 4.0, 100.0):
        sharp = sharpened(features, sharpness)
        assert torch.allclose(sharp.abs().sum(1), torch.ones(50))
        assert bool((sharp * features >= 0).all())
        assert torch.equal(sharp.abs().argmax(1), features.abs().argmax(1))
    shares = [float(sharpened(features, s).abs().amax(1).mean()) for s in (0.1, 1.0, 4.0, 100.0)]
    assert shares == sorted(shares) and shares[-1] > 0.9
    assert torch.equal(sharpened(torch.zeros(1, 8), 4.0), torch.zeros(1, 8))


def test_each_message_draws_its_budget_in_training_and_the_receiver_is_told_that_one():
    game = Game(make_source("shapes", num_images=40, size=16), num_symbols=16)
    scheme = make(game.spec, epsilon_range=[0.5, 200.0]).train()
    added, told = [], []
    protect, decode = scheme.mechanism.protect, scheme._decode
    scheme.mechanism.protect = lambda s, c, epsilon=None: added.append(epsilon) or protect(s, c, epsilon)
    scheme._decode = lambda r, c, epsilon: told.append(epsilon) or decode(r, c, epsilon)
    for step in range(50):
        round_ = game.draw(40, generator=g(step))
        loss, figures = scheme.loss(game, round_, context(40, step), game.task)
    assert torch.isfinite(loss) and 1 / 32 <= float(figures["peak"]) <= 1
    assert all(torch.equal(a, b) for a, b in zip(added, told, strict=True))
    share = (torch.cat(added).log() - math.log(0.5)) / math.log(400)
    assert kstest(share.double().numpy(), "uniform").pvalue > 1e-3
    scheme.eval().loss(game, round_, context(40), game.task)
    assert torch.equal(told[-1], torch.full((40,), 20.0)), "outside of training it is the option"


def test_with_the_baselines_weights_the_receiver_starts_as_the_baselines():
    with weights_from(3):
        baseline = make_scheme("deepjscc", SPEC, **TINY).eval()
    scheme = make(epsilon_range=[1, 100])
    left = scheme.load_state_dict(baseline.state_dict(), strict=False)
    assert left.missing_keys == ["told.weight", "told.bias"] and not left.unexpected_keys
    received, csi = torch.randn(5, 32, generator=g()), torch.full((5, 1), 12.0)
    assert torch.equal(scheme.decode(received, csi, context(5)), baseline.decode(received, csi, context(5)))


def test_a_receiver_of_one_budget_is_not_told_another():
    received, csi = torch.randn(5, 32, generator=g()), torch.full((5, 1), 12.0)
    for options, same in (({}, True), ({"epsilon_range": [1, 100]}, False)):
        schemes = [make(epsilon=epsilon, **options) for epsilon in (5.0, 50.0)]
        for scheme in schemes:
            torch.nn.init.ones_(scheme.told.weight)
        one, two = (s.decode(received, csi, context(5)) for s in schemes)
        assert torch.equal(one, two) == same


def test_a_checkpoint_keeps_the_options_and_leaves_the_budget_open(tmp_path):
    path = tmp_path / "dp.safetensors"
    scheme = make(epsilon=20, clip=2, epsilon_range=(1, 100), sharpness=3)
    save_checkpoint(path, scheme, {})
    again = load_checkpoint(path).policy
    images = torch.rand(3, 3, 16, 16, generator=g())
    assert again.options == {**scheme.options, "widths": [4, 8, 8], "blocks": [1, 0, 1]}
    assert torch.equal(again.encode(images, context(3)), scheme.encode(images, context(3)))
    cheaper = load_checkpoint(path, options={"epsilon": 5.0}).policy
    assert cheaper.guarantee().startswith("each message is 5-DP") and cheaper.options["epsilon"] == 5.0
    assert torch.equal(cheaper.features(images), scheme.features(images))
    with pytest.raises(InputError, match=r"epsilon must lie in epsilon_range \[1, 100\], not 0\.5"):
        load_checkpoint(path, options={"epsilon": 0.5})


POSITIVE = "must be a finite number above 0, not"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        *[
            ({"epsilon": v}, f"epsilon {POSITIVE} {v!r}")
            for v in (0, -1.0, math.inf, math.nan, True, "20", None)
        ],
        *[({"clip": v}, f"clip {POSITIVE} {v!r}") for v in (0.0, -2, math.inf, math.nan, False, "1")],
        ({"sharpness": 0}, f"sharpness {POSITIVE} 0"),
        ({"mode": "dishonest"}, "mode must be one of honest, article, not 'dishonest'"),
        ({"mode": None}, "mode must be one of honest, article, not None"),
        ({"mode": "article"}, "mode 'article' needs its calibrated constant, a number above 0"),
        ({"mode": "article", "constant": -1}, f"constant {POSITIVE} -1"),
        ({"constant": 0.1}, r"mode 'honest' takes none, not 0\.1"),
        ({"epsilon_range": [1]}, r"None or two numbers \[low, high\], not \[1\]"),
        ({"epsilon_range": "12"}, r"None or two numbers \[low, high\], not '12'"),
        ({"epsilon_range": 5}, r"None or two numbers \[low, high\], not 5"),
        ({"epsilon_range": [100, 1]}, r"low < high, not \[100, 1\]"),
        ({"epsilon_range": [20, 20]}, r"low < high, not \[20, 20\]"),
        ({"epsilon_range": [0, 100]}, rf"each bound of epsilon_range \[0, 100\] {POSITIVE} 0"),
        ({"epsilon_range": ["1", 100]}, "each bound of epsilon_range"),
        ({"epsilon": 5, "epsilon_range": [10, 100]}, r"epsilon must lie in epsilon_range \[10, 100\], not 5"),
        ({"epsilonn": 5}, "'dp-laplace' has no option 'epsilonn'"),
    ],
)
def test_a_wrong_option_is_one_sentence(options, said):
    with pytest.raises(InputError, match=said):
        make(**options)


# -- what a trained system does ---------------------------------------------------------------------


class Pooled:
    """A game of Shapes whose images have already passed the zoo's frozen CNN, so that training takes seconds."""

    def __init__(self, transmitter, split, num_images):
        source = make_source("shapes", split=split, num_images=num_images)
        self.game = Game(source, snr_db=12.0)
        images = source.gather(torch.arange(num_images)).images
        with torch.no_grad():
            self.pooled = torch.cat(
                [transmitter.convolutions(p - 0.5).mean((2, 3)) for p in images.split(250)]
            )

    def draw(self, index, generator):
        round_ = self.game.draw(len(index), generator=generator, index=index)
        return replace(round_, batch=replace(round_.batch, images=self.pooled[index]))


@pytest.fixture(scope="module")
def trained():
    """Accuracy on 1,000 test images at a budget, of a head and a receiver trained once over all budgets."""
    weights = Path(tosc_agents.__file__).parent / "zoo/weights/deepjscc-shapes.safetensors"
    baseline = load_checkpoint(weights).policy
    options = {**baseline.options, "receiver_width": 96, "epsilon_range": [1, 100]}
    scheme = make(baseline.spec, **options)
    scheme.transmitter.load_state_dict(baseline.transmitter.state_dict())
    system = Pooled(scheme.transmitter, "train", 1500)
    test = Pooled(scheme.transmitter, "test", 1000)
    scheme.transmitter = scheme.transmitter.head.requires_grad_(True)
    scheme.train()
    generator = g(7)
    steps, peak = 400, 3e-3
    optimizer = torch.optim.AdamW(scheme.parameters(), lr=peak)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = peak * (1 - step / steps)
        round_ = system.draw(torch.randint(1500, (125,), generator=generator), generator)
        loss, _ = scheme.loss(
            system.game, round_, Context(round_.snr_db, round_.message, generator=generator), system.game.task
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scheme.eval()

    @torch.no_grad()
    def accuracy(epsilon):
        again = make(baseline.spec, **{**options, "epsilon": epsilon})
        again.transmitter = scheme.transmitter
        again.load_state_dict(scheme.state_dict())
        round_ = test.draw(torch.arange(1000), g(11))
        said = Context(round_.snr_db, round_.message, generator=g(12))
        sent = test.game.transmit(round_, again.encode(round_.batch.images, said)).receiver
        decided = test.game.task.decide(again.decode(sent.received, sent.csi, said))
        return float(test.game.task.score(decided, round_.targets).mean())

    return {epsilon: accuracy(epsilon) for epsilon in BUDGETS}


@pytest.mark.parametrize("epsilon", BUDGETS)
def test_no_trained_receiver_beats_the_bound(trained, epsilon):
    bound = accuracy_bound(epsilon, 10)
    assert trained[epsilon] <= bound + binomial_slack(bound, 1000)


def test_a_trained_receiver_is_of_use_and_more_so_with_more_budget(trained):
    values = [trained[epsilon] for epsilon in BUDGETS]
    assert values == sorted(values), "one model, told each budget"
    assert values[0] > 0.1 and values[1] > 0.3 and values[2] > 0.85 and values[3] > 0.95, values

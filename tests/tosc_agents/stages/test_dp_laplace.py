"""The scheme with Laplace noise: what an image's message can tell, what its receiver is told, and what it can reach."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import tosc_agents
from accuracy import accuracy_bound
from tosc_agents.learning.seeding import weights_from
from tosc_agents.stages.laplace import Laplace

from tosc_env.data import make_source
from tosc_env.errors import InputError
from tosc_env.game import Game
from tosc_env.io.checkpoints import load_checkpoint, save_checkpoint
from tosc_env.pipeline import make_scheme
from tosc_env.testing import check_scheme
from tosc_env.types import Context, SystemSpec

TINY = {"stem": 4, "widths": (4, 8, 8), "blocks": (1, 0, 1), "receiver_width": 16, "receiver_depth": 1}
SPEC = SystemSpec((3, 16, 16), 4, num_symbols=16)
CALIBRATED = {"mode": "calibrated", "constant": 0.01, "epsilon": 0.05}
BUDGETS = (1.0, 5.0, 20.0, 100.0)


def g(seed=0):
    return torch.Generator().manual_seed(seed)


def context(batch_size, seed=0, **knobs):
    message = torch.zeros(batch_size, 5, dtype=torch.long)
    return Context(torch.full((batch_size,), 12.0), message, generator=g(seed), knobs=knobs)


def make(spec=SPEC, **options):
    with weights_from(0):
        return make_scheme("dp-laplace", spec, **{**TINY, **options}).eval()


@pytest.mark.parametrize(
    "options",
    [{}, {"epsilon_range": [1, 100]}, CALIBRATED, {**CALIBRATED, "epsilon_range": [0.05, 0.9]}],
)
def test_both_modes_keep_the_laws_of_a_scheme(options):
    check_scheme(make(**options))


@pytest.mark.parametrize("epsilon", [0.05, 20.0])
def test_every_message_has_unit_energy_after_the_noise(epsilon):
    game = Game(make_source("shapes", num_images=40, size=16), num_symbols=16)
    scheme = make(game.spec, epsilon=epsilon)
    round_ = game.draw(40, generator=g())
    sent = game.transmit(round_, scheme.encode(round_.batch.images, context(40)))
    assert torch.allclose(sent.sent.square().sum(1) / 16, torch.ones(40), atol=1e-5)


def test_an_image_enters_its_message_through_the_clipped_features_alone():
    """Under the same noise any two messages differ by 2C at most, whatever the weights and images are."""
    scheme = make()
    images = torch.cat([torch.rand(20, 3, 16, 16, generator=g()), torch.zeros(1, 3, 16, 16)])
    with torch.no_grad():
        for factor in (1.0, 1e8, 1e-8, math.nan):
            scheme.backbone.transmitter.head.weight.mul_(factor)
            whole = [scheme.encode(image.expand(7, -1, -1, -1), context(7)) for image in images]
            apart = max(float((a - whole[0]).abs().sum(1).max()) for a in whole)
            assert apart <= 2 + 1e-4


@pytest.mark.parametrize(("options", "sharp"), [({}, True), (CALIBRATED, False)])
def test_the_honest_mode_alone_sharpens_what_it_sends(options, sharp):
    """Where nothing is clipped there is no norm to spare."""
    symbols = make(**options).backbone.encode(torch.rand(20, 3, 16, 16, generator=g()), context(20))
    assert torch.allclose(symbols.abs().sum(1), torch.ones(20)) == sharp


# -- the budget and its receiver ----------------------------------------------------------------------


class Watched(Laplace):
    """Remembers each message's budget."""

    def protect(self, symbols, context):
        self.spent = context.knobs.get("epsilon")
        return super().protect(symbols, context)


def watched(**options):
    """The scheme with its stage watched, and what its receiver was told."""
    scheme = make(epsilon_range=[0.5, 200.0], **options)
    scheme.stages[0].__class__ = Watched
    told, logits = [], scheme.backbone.logits
    scheme.backbone.logits = lambda v, csi, context: (
        told.append(context.knobs["epsilon"]) or logits(v, csi, context)
    )
    return scheme, told


def test_each_message_draws_its_budget_in_training_and_the_receiver_is_told_that_one():
    game = Game(make_source("shapes", num_images=40, size=16), num_symbols=16)
    scheme, told = watched(spec=game.spec)
    for training, known in ((True, {}), (False, {}), (True, {"epsilon": torch.full((40,), 3.0)})):
        scheme.train(training)
        round_ = game.draw(40, generator=g())
        scheme(round_.batch.images, context(40, **known), lambda s, r=round_: game.transmit(r, s))
        if training:
            assert torch.equal(scheme.stages[0].spent, told[-1])
    assert len(told[0].unique()) == 40 and float(told[0].min()) >= 0.5 and float(told[0].max()) <= 200.0
    assert torch.equal(told[1], torch.full((40,), 20.0)), "outside of training it is the option"
    assert torch.equal(told[2], torch.full((40,), 3.0)), "what the context says comes first"


def test_a_budget_of_the_contexts_is_spent_and_told_as_if_it_were_the_option():
    """One scheme, each message with a budget of its own, is as many schemes with one budget each."""
    scheme, images = make(epsilon_range=[1, 100]), torch.rand(3, 3, 16, 16, generator=g())
    torch.nn.init.ones_(scheme.backbone.told.weight)
    received, csi = torch.randn(3, 32, generator=g()), torch.full((3, 1), 12.0)
    knobs = {"epsilon": torch.tensor([2.0, 30.0, 90.0])}
    sent = scheme.encode(images, context(3, 4, **knobs))
    logits = scheme.decode(received, csi, context(3, **knobs))
    for row, epsilon in enumerate((2.0, 30.0, 90.0)):
        alone = make(epsilon=epsilon, epsilon_range=[1, 100])
        alone.load_state_dict(scheme.state_dict())
        assert torch.equal(sent[row], alone.encode(images, context(3, 4))[row])
        assert torch.equal(logits[row], alone.decode(received, csi, context(3))[row])


def test_a_checkpoint_keeps_the_options_and_leaves_the_budget_open(tmp_path):
    path = tmp_path / "dp.safetensors"
    scheme = make(epsilon=20, epsilon_range=(1, 100), sharpness=3)
    save_checkpoint(path, scheme, {})
    again = load_checkpoint(path).policy
    images = torch.rand(3, 3, 16, 16, generator=g())
    assert again.options == {**scheme.options, "widths": [4, 8, 8], "blocks": [1, 0, 1]}
    assert torch.equal(again.encode(images, context(3)), scheme.encode(images, context(3)))
    cheaper = load_checkpoint(path, options={"epsilon": 5.0}).policy
    assert cheaper.guarantee().startswith("each message is 5-DP") and cheaper.options["epsilon"] == 5.0
    bare = [one.backbone.encode(images, context(3)) for one in (cheaper, scheme)]
    assert torch.equal(*bare)
    with pytest.raises(InputError, match=r"epsilon must lie in epsilon_range \[1, 100\], not 0\.5"):
        load_checkpoint(path, options={"epsilon": 0.5})


def test_a_wrong_option_is_one_sentence():
    for options, said in [
        ({"sharpness": 0}, "sharpness must be a finite number above 0, not 0"),
        ({"epsilonn": 5}, "'dp-laplace' has no option 'epsilonn'"),
        ({"mode": "calibrated"}, "mode 'calibrated' needs its calibrated constant"),
        ({"epsilon_range": [5]}, "the range of epsilon must be None or two numbers"),
    ]:
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
            pooled = [transmitter.convolutions(p - 0.5).mean((2, 3)) for p in images.split(250)]
            self.pooled = torch.cat(pooled)

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
    backbone = scheme.backbone
    backbone.transmitter.load_state_dict(baseline.backbone.transmitter.state_dict())
    system = Pooled(backbone.transmitter, "train", 1500)
    test = Pooled(backbone.transmitter, "test", 1000)
    backbone.transmitter = backbone.transmitter.head.requires_grad_(True)
    scheme.train()
    generator = g(7)
    steps, peak = 400, 3e-3
    optimizer = torch.optim.AdamW(scheme.parameters(), lr=peak)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = peak * (1 - step / steps)
        round_ = system.draw(torch.randint(1500, (125,), generator=generator), generator)
        said = Context(round_.snr_db, round_.message, generator=generator)
        trial = scheme(round_.batch.images, said, lambda s, r=round_: system.game.transmit(r, s))
        optimizer.zero_grad()
        system.game.task.loss(trial.logits, round_.targets).backward()
        optimizer.step()
    scheme.eval()

    @torch.no_grad()
    def accuracy(epsilon):
        round_ = test.draw(torch.arange(1000), g(11))
        knobs = {"epsilon": torch.full_like(round_.snr_db, epsilon)}
        said = Context(round_.snr_db, round_.message, generator=g(12), knobs=knobs)
        sent = test.game.transmit(round_, scheme.encode(round_.batch.images, said)).receiver
        decided = test.game.task.decide(scheme.decode(sent.received, sent.csi, said))
        return float(test.game.task.score(decided, round_.targets).mean())

    return {epsilon: accuracy(epsilon) for epsilon in BUDGETS}


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", BUDGETS)
def test_no_trained_receiver_beats_the_bound(trained, epsilon):
    bound = accuracy_bound(epsilon, 10)
    assert trained[epsilon] <= bound + 5 * math.sqrt(bound * (1 - bound) / 1000)


def test_a_trained_receiver_is_of_use_and_more_so_with_more_budget(trained):
    values = [trained[epsilon] for epsilon in BUDGETS]
    assert values == sorted(values), "one model, told each budget"
    assert values[0] > 0.1 and values[1] > 0.3 and values[2] > 0.85 and values[3] > 0.95, values

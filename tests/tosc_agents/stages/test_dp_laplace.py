"""The scheme with Laplace noise: what an image's message can tell, what its receiver is told, and what it can reach."""

from __future__ import annotations

import math

import pytest
import torch
from links import seeded as g
from refusals import refused
from tosc_agents.learning.seeding import weights_from
from tosc_agents.stages.laplace import Laplace

from tosc_env.data import make_source
from tosc_env.game import Game
from tosc_env.io.checkpoints import load_checkpoint, save_checkpoint
from tosc_env.pipeline import make_scheme
from tosc_env.types import Context, SystemSpec

TINY = {"stem": 4, "widths": (4, 8, 8), "blocks": (1, 0, 1), "receiver_width": 16, "receiver_depth": 1}
SPEC = SystemSpec((3, 16, 16), 4, num_symbols=16)
CALIBRATED = {"mode": "calibrated", "constant": 0.01, "epsilon": 0.05}


def context(batch_size, seed=0, **knobs):
    message = torch.zeros(batch_size, 5, dtype=torch.long)
    return Context(torch.full((batch_size,), 12.0), message, generator=g(seed), knobs=knobs)


def make(spec=SPEC, **options):
    with weights_from(0):
        return make_scheme("dp-laplace", spec, **{**TINY, **options}).eval()


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
    """No norm is to spare without clipping."""
    symbols = make(**options).backbone.encode(torch.rand(20, 3, 16, 16, generator=g()), context(20))
    assert torch.allclose(symbols.abs().sum(1), torch.ones(20)) == sharp


# -- the budget and its receiver ----------------------------------------------------------------------


class Watched(Laplace):
    """A stage that remembers each message's budget."""

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
    with refused("epsilon epsilon_range [1, 100] 0.5"):
        load_checkpoint(path, options={"epsilon": 0.5})


# -- what a trained system does ---------------------------------------------------------------------

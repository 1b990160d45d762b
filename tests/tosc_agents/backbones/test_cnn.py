"""The baseline has the article's size, and its receiver knows what it is told and nothing else."""

from __future__ import annotations

import pytest
import torch
from links import seeded as g
from refusals import refused
from torch.utils.flop_counter import FlopCounterMode
from tosc_agents.backbones.cnn import CNN, sharpened
from tosc_agents.learning.seeding import weights_from

from tosc_env.pipeline import make_scheme
from tosc_env.testing import check_scheme
from tosc_env.types import Context, SystemSpec

TINY = {"stem": 4, "widths": (4, 8, 8), "blocks": (1, 0, 1), "receiver_width": 16, "receiver_depth": 1}
SPEC = SystemSpec((3, 16, 16), 4, num_symbols=16)


def make(**options):
    with weights_from(0):
        return CNN(SPEC, **{**TINY, **options}).eval()


def context(batch_size, **knobs):
    told = {name: torch.full((batch_size,), value) for name, value in knobs.items()}
    return Context(torch.full((batch_size,), 12.0), torch.zeros(batch_size, 5, dtype=torch.long), knobs=told)


def reception(batch_size, snr_db=12.0):
    return torch.randn(batch_size, 32, generator=g()), torch.full((batch_size, 1), snr_db)


def test_the_baseline_has_the_size_that_the_article_gives():
    """3.19 M parameters and 0.085 G multiply-accumulates for one 32x32 image, both ends together."""
    scheme = make_scheme("deepjscc").eval()
    parameters = sum(p.numel() for p in scheme.parameters())
    assert parameters == pytest.approx(3.19e6, rel=0.03)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        symbols = scheme.encode(torch.rand(1, 3, 32, 32, generator=g()), context(1))
        scheme.decode(symbols, torch.full((1, 1), 12.0), context(1))
    assert counter.get_total_flops() / 2 == pytest.approx(0.085e9, rel=0.03)


def test_a_receiver_told_a_constant_does_not_look_at_its_links_snr():
    fixed, aware = make(told_snr_db=12.0), make()
    quiet, middle, loud = (reception(3, snr_db) for snr_db in (20.0, 12.0, 0.0))
    assert torch.equal(fixed.decode(*loud, context(3)), fixed.decode(*quiet, context(3)))
    assert not torch.equal(aware.decode(*loud, context(3)), aware.decode(*quiet, context(3)))
    assert torch.equal(fixed.decode(*loud, context(3)), aware.decode(*middle, context(3)))


def test_an_option_that_makes_no_network_is_named():
    for option in [
        *({"stem": value} for value in (0, 2.5, "4", True)),
        *({"receiver_width": value} for value in (0, [16])),
        *({"receiver_depth": value} for value in (-1, None)),
        *({"widths": value} for value in (4, "444", (4, 0, 4))),
        *({"blocks": value} for value in (1, (1, -1, 1))),
        *({"told_snr_db": value} for value in ("abc", float("nan"), 1e300)),
        *({"told": value} for value in (5, ["epsilon"], {"epsilon": 5})),
    ]:
        (name,) = option
        with refused("epsilon" if option == {"told": {"epsilon": 5}} else name):
            make(**option)
    with refused("[4, 4] [1]"):
        make(widths=(4, 4), blocks=(1,))
    for bounds in ([1], [0, 1], [5, 5], "12"):
        with refused("range epsilon"):
            make(told={"epsilon": bounds})


# -- what the receiver is told ------------------------------------------------------------------------


def test_a_receiver_that_is_told_begins_as_one_that_is_not():
    """With the same weights, until it has learnt what the knob means."""
    told, bare = make(told={"epsilon": [1, 100]}), make()
    left = told.load_state_dict(bare.state_dict(), strict=False)
    assert left.missing_keys == ["told.weight", "told.bias"] and not left.unexpected_keys
    assert torch.equal(
        told.decode(*reception(5), context(5, epsilon=7.0)), bare.decode(*reception(5), context(5))
    )


def test_a_knob_counts_where_a_range_of_it_was_learnt_and_not_where_one_value_was():
    for bounds, same in [([1, 100], False), (None, True)]:
        scheme = make(told={"epsilon": bounds})
        torch.nn.init.ones_(scheme.told.weight)
        one, two = (scheme.decode(*reception(5), context(5, epsilon=value)) for value in (5.0, 50.0))
        assert torch.equal(one, two) == same


def test_a_receiver_that_is_told_of_a_knob_needs_a_stage_that_has_it():
    scheme = make(told={"epsilon": [1, 100]})
    with refused("'cnn' 'epsilon'"):
        scheme.decode(*reception(2), context(2))
    check_scheme(make_scheme(scheme, stages=[{"name": "laplace", "epsilon": 5.0}]))


# -- sharpened ----------------------------------------------------------------------------------------


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


def test_a_sharpened_backbone_sends_sharpened_features_of_the_same_networks():
    plain, sharp = make(), make(sharpness=3.0)
    images = torch.rand(4, 3, 16, 16, generator=g())
    assert torch.equal(sharp.encode(images, context(4)), sharpened(plain.encode(images, context(4)), 3.0))
    check_scheme(sharp)
    with refused("sharpness 0"):
        make(sharpness=0)

"""An SNR is a number, a list of choices or a range, drawn per row from the given stream only."""

from __future__ import annotations

import math

import pytest
import torch
from links import seeded as g
from refusals import refused

from tosc_env.snr import SNRRange


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (12, 12.0, 12.0, "12"),
        (-3.5, -3.5, -3.5, "-3.5"),
        ([0, 4, 12], 0.0, 12.0, "{0, 4, 12}"),
        ((7.0,), 7.0, 7.0, "7"),
        ({"low": 0, "high": 20}, 0.0, 20.0, "0..20"),
        ({"low": 5, "high": 5}, 5.0, 5.0, "5"),
        (torch.tensor(3.0), 3.0, 3.0, "3"),
    ],
)
def test_what_users_write_is_parsed_and_comes_back_as_plain_values(value, low, high, text):
    snr = SNRRange.parse(value)
    assert (snr.low, snr.high, str(snr)) == (low, high, text)
    assert SNRRange.parse(snr) is snr
    again = SNRRange.parse(snr.plain())
    assert (again.low, again.high, str(again)) == (low, high, text)
    assert snr.constant == (low if low == high else None)


def test_anything_else_is_refused_by_the_arguments_name():
    wrong = (None, "loud", math.nan, math.inf, [], True, [0, math.nan], [[1]], {"low": 1})
    for value in (*wrong, {"low": 1, "high": 2, "x": 3}, {"low": 0, "high": math.inf}):
        with refused("eavesdropper_snr_db"):
            SNRRange.parse(value, "eavesdropper_snr_db")
    for value in (400, [-1e30], {"low": -301, "high": 0}):  # its noise power leaves float32
        with refused("-300 300"):
            SNRRange.parse(value)
    with refused("snr_db 20 0"):
        SNRRange.parse({"low": 20, "high": 0})


def test_every_form_takes_the_same_amount_of_randomness_of_its_generator_alone():
    """So that changing one link's SNR moves nothing else in an episode."""
    world = torch.get_rng_state()
    for value in (12.0, [0, 12], {"low": 0, "high": 20}):
        stream, same = g(), g()
        drawn = SNRRange.parse(value).draw(5, stream)
        torch.rand(5, generator=same)
        assert drawn.shape == (5,) and drawn.dtype == torch.float32
        assert torch.equal(stream.get_state(), same.get_state())
    assert torch.equal(torch.get_rng_state(), world)


def test_choices_are_drawn_equally_often_and_ranges_uniformly():
    choices = SNRRange.parse([0, 4, 12]).draw(30_000, g(1))
    assert set(choices.tolist()) == {0.0, 4.0, 12.0}
    assert all(abs(float((choices == c).float().mean()) - 1 / 3) < 0.015 for c in (0.0, 4.0, 12.0))
    values = SNRRange.parse({"low": -5, "high": 15}).draw(30_000, g(2))
    assert values.min() >= -5 and values.max() <= 15
    assert abs(float(values.mean()) - 5.0) < 0.15 and abs(float(values.std()) - 20 / math.sqrt(12)) < 0.1

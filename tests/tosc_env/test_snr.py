"""An SNR is a number, a list of choices or a range, drawn per row from the given stream only."""

from __future__ import annotations

import math

import pytest
import torch

from tosc_env.errors import InputError
from tosc_env.snr import SNRRange


def g(seed=0):
    return torch.Generator().manual_seed(seed)


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


@pytest.mark.parametrize(
    "value",
    [
        None,
        "loud",
        math.nan,
        math.inf,
        [],
        True,
        [0, math.nan],
        [[1]],
        {"low": 1},
        {"low": 1, "high": 2, "x": 3},
        {"low": 0, "high": math.inf},
    ],
)
def test_anything_else_is_an_input_error_that_names_the_argument(value):
    with pytest.raises(InputError, match="eavesdropper_snr_db"):
        SNRRange.parse(value, "eavesdropper_snr_db")


@pytest.mark.parametrize("value", [400, [-1e30], {"low": -301, "high": 0}])
def test_an_snr_whose_noise_power_leaves_float32_is_refused(value):
    with pytest.raises(InputError, match="between -300 and 300 dB"):
        SNRRange.parse(value)


def test_a_reversed_range_says_so():
    with pytest.raises(InputError, match="snr_db has a reversed range: low 20 is above high 0"):
        SNRRange.parse({"low": 20, "high": 0})


@pytest.mark.parametrize("value", [12.0, [0, 12], {"low": 0, "high": 20}])
def test_every_form_takes_the_same_amount_of_randomness(value):
    """So that changing one link's SNR moves nothing else in an episode."""
    stream, same = g(), g()
    drawn = SNRRange.parse(value).draw(5, stream)
    torch.rand(5, generator=same)
    assert drawn.shape == (5,) and drawn.dtype == torch.float32
    assert torch.equal(stream.get_state(), same.get_state())


def test_choices_are_drawn_equally_often_and_ranges_uniformly():
    choices = SNRRange.parse([0, 4, 12]).draw(30_000, g(1))
    assert set(choices.tolist()) == {0.0, 4.0, 12.0}
    assert all(abs(float((choices == c).float().mean()) - 1 / 3) < 0.015 for c in (0.0, 4.0, 12.0))
    values = SNRRange.parse({"low": -5, "high": 15}).draw(30_000, g(2))
    assert values.min() >= -5 and values.max() <= 15
    assert abs(float(values.mean()) - 5.0) < 0.15 and abs(float(values.std()) - 20 / math.sqrt(12)) < 0.1


def test_a_draw_depends_on_its_generator_alone():
    snr = SNRRange.parse({"low": 0, "high": 20})
    state = torch.get_rng_state()
    assert torch.equal(snr.draw(4, g(3)), snr.draw(4, g(3)))
    assert torch.equal(torch.get_rng_state(), state)

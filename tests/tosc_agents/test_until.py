"""Training until a validation figure stops rising."""

from __future__ import annotations

import pytest
import torch
from links import seeded as g
from refusals import refused
from torch import nn
from tosc_agents.learning.state import Run
from tosc_agents.learning.until import LOOK, UntilConfig, train_until
from tosc_agents.records import rising

COUNT = 64


class Line(nn.Module):
    """A line through points, with dropout, so that the global stream matters."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))

    def forward(self, x):
        return nn.functional.dropout(x, 0.1, self.training) @ self.weight


def learn(figure=None, run=None, stop=None, **options):
    """A training on points of a line; the figure of each look, by default minus the validation error, is told."""
    data = torch.randn(COUNT, 3, generator=g(1))
    truth = data @ torch.tensor([1.0, -2.0, 0.5])
    module, looks = Line(), []

    def loss(index):
        if stop is not None and len(looks) >= stop:
            raise KeyboardInterrupt
        error = (module(data[index]) - truth[index]).square().mean()
        return error, {}

    def validate():
        assert not module.training
        error = -float((module(data) - truth).square().mean().detach())
        looks.append(error if figure is None else figure(len(looks)))
        return looks[-1]

    config = UntilConfig(
        **{"batch_size": 16, "learning_rate": 0.05, "optimizer": "adamw", "precision": "float32", **options}
    )
    record = train_until(
        module, loss, validate, images=torch.arange(COUNT), config=config, generator=g(), run=run
    )
    return module, looks, record


def test_it_stops_where_the_figure_stops_rising_and_keeps_the_best_look():
    """Rising for 4 looks, then level below: 5 looks of patience, then the rate falls for half as many steps."""
    module, looks, record = learn(lambda n: min(n, 3) - (n > 3), steps=100 * LOOK)
    assert record["stopped_by"] == "validation" and record["validation"] == 3
    assert record["best_step"] == 4 * LOOK
    assert len(looks) == 9 + 5 and record["steps"] == 9 * LOOK + 9 * LOOK // 2
    assert not module.training


def test_a_limit_is_told_with_the_rise_before_the_rate_fell():
    _, looks, record = learn(lambda n: 0.25 * n, steps=9 * LOOK)
    assert record["stopped_by"] == "limit" and record["rise_per_100_steps"] == pytest.approx(0.25)
    assert record["steps"] == 9 * LOOK == len(looks) * LOOK


def test_of_one_look_nobody_says_how_fast_it_rose():
    """It is no curve that had stopped rising."""
    record = learn(steps=LOOK // 2)[2]
    assert record["stopped_by"] == "limit" and record["rise_per_100_steps"] is None
    (told,) = rising({"a": {"fit": {**record, "held_out_x": 0.5}, "seconds": 1.0}})
    assert "too few to see" in told


@pytest.mark.parametrize("steps", [1, 37, 250])
def test_short_limits_are_kept_to_the_step(steps):
    assert learn(steps=steps)[2]["steps"] == steps


def test_it_learns_whatever_the_number_of_images():
    module, looks, _ = learn(steps=600)
    # Dropout shrinks a little.
    assert looks[-1] > -0.2 and float((module.weight - torch.tensor([1.0, -2.0, 0.5])).norm()) < 0.4


def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path):
    def run():
        return Run(tmp_path / "a.run", {})

    whole, looks, record = learn(steps=500)
    with pytest.raises(KeyboardInterrupt):
        learn(steps=500, run=run(), stop=2)
    again, rest, resumed = learn(steps=500, run=run())
    assert torch.equal(again.weight, whole.weight) and resumed == record and rest == looks[2:]


def test_of_equal_looks_the_first_is_kept():
    module, _, record = learn(lambda n: 1.0, steps=4 * LOOK)
    first, _, _ = learn(lambda n: -float(n), steps=4 * LOOK)
    assert record["best_step"] == LOOK and torch.equal(module.weight, first.weight)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch_size 1 0"),
        ({"learning_rate": float("nan")}, "learning_rate nan"),
        ({"optimizer": "foo"}, "optimizer 'sgd' 'adamw' 'foo'"),
        ({"average": 7}, "average 0 1 7"),
    ],
)
def test_options_of_the_base_are_checked_too(options, words):
    with refused(words):
        UntilConfig(**options)


def test_a_figure_that_is_no_number_is_refused():
    with refused("not a number nan"):
        learn(lambda n: float("nan"), steps=100)

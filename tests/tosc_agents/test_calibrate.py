"""Calibration finds the constant it is asked for, says what is out of reach, and sends as everybody sends."""

from __future__ import annotations

import math

import pytest
import torch
from tosc_agents.training.calibrate import accuracy_at_scale, nearest_constant

from tosc_env.data import make_source
from tosc_env.game import Game
from tosc_env.pipeline import make_scheme


def test_the_constant_of_a_known_curve_is_found():
    """Accuracy at scale s is 1/(1 + s); the target is its value at the wanted constant."""
    scales = []

    def curve(scale):
        scales.append(scale)
        return 1 / (1 + scale)

    for constant in (0.0021, 0.05, 0.97):
        scales.clear()
        found, reached = nearest_constant(curve, 1 / (1 + constant / 0.05), 1e-3, 1.0)
        assert reached and found == pytest.approx(constant, rel=0.01)
        assert len(scales) <= 2 + math.ceil(math.log2(math.log(1e3) / math.log(1.01)))


def test_out_of_reach_the_nearest_end_is_taken():
    for target, end in ((0.999, 1e-3), (0.001, 1.0)):
        assert nearest_constant(lambda scale: 1 / (1 + scale), target, 1e-3, 1.0) == (end, False)


def test_a_key_per_message_serves_no_two_messages(monkeypatch):
    """More images than are sent at once: each batch begins at row 0 again, and needs numbers of its own."""
    game = Game(make_source("shapes", num_images=600))
    options = {"mode": "calibrated", "constant": 0.01, "epsilon": 0.05, "epsilon_range": [0.01, 1.0]}
    scheme = make_scheme("dp-laplace", game.spec, **options, stem=4, widths=[4], blocks=[1], stages=["keyed"])
    numbers, knobs = [], set()

    def decode(received, csi, context):
        numbers.extend(map(tuple, context.message.tolist()))
        knobs.update(context.knobs["epsilon"].tolist())
        return torch.zeros(len(received), 10)

    monkeypatch.setattr(scheme.backbone, "decode", decode)
    accuracy_at_scale(scheme.eval(), game)(0.5)
    assert len(numbers) == len(set(numbers)) == len(game.source) > 500
    assert list(knobs) == [pytest.approx(0.01 / 0.5)]

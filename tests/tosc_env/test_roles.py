"""Spaces have the declared shapes, and only well-formed actions become tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes import SMALL
from gymnasium import spaces
from refusals import refused

from tosc_env.data import make_source
from tosc_env.game import Game
from tosc_env.roles import PointsBox, action_space, as_action, observation_space


@pytest.fixture(scope="module")
def source():
    return make_source("shapes", **SMALL)


def test_spaces_of_a_fading_channel(source):
    game = Game(source, channel="rayleigh", channel_kwargs={"coherence": 16}, num_symbols=32)
    image = spaces.Box(0, 1, (3, 32, 32), np.float32)
    assert observation_space(game, "transmitter")["image"] == image
    assert observation_space(game, "transmitter")["csi"].shape == (1,)
    for role in ("receiver", "eavesdropper"):
        assert observation_space(game, role)["received"].shape == (64,)
        assert observation_space(game, role)["csi"].shape == (1 + 2 * 2,)
    assert action_space(game, "transmitter") == spaces.Box(-1, 1, (64,), np.float32)
    assert action_space(game, "receiver") == spaces.Discrete(10)
    assert action_space(game, "eavesdropper") == image
    for role in ("transmitter", "eavesdropper"):
        assert action_space(game, role, 5).shape == (5, *action_space(game, role).shape)


def test_several_attributes_are_bits():
    source = make_source("shapes", **SMALL, binary_attributes=["a", "b", "c"])
    game = Game(source, task="attributes", task_kwargs={"names": ["a", "b", "c"]})
    assert action_space(game, "receiver") == spaces.MultiBinary(3)


def test_samples_of_a_discrete_game_are_points(source):
    game = Game(source, constellation="16qam")
    space = action_space(game, "transmitter")
    assert isinstance(space, PointsBox)
    space.seed(0)
    sample = space.sample()
    assert sample in space
    assert sample.dtype == np.float32
    game.normalise(torch.tensor(sample)[None])
    batched = action_space(game, "transmitter", 3).sample()
    assert batched.shape == (3, 128)
    game.normalise(torch.tensor(batched))
    peak = float(torch.view_as_real(game.points).abs().max())
    assert space.high.max() == pytest.approx(max(1.0, peak)), "as wide as the peak"
    with refused("'jammer' eavesdropper receiver transmitter"):
        observation_space(game, "jammer")


BOX = spaces.Box(-1, 1, (4,), np.float32)


CHOICE, BITS, OWN = spaces.Discrete(10), spaces.MultiBinary(3), spaces.MultiDiscrete([2, 3])


@pytest.mark.parametrize(
    ("space", "action", "words"),
    [
        (BOX, np.zeros(3, np.float32), "player_0 (3,) float32 (4,)"),
        (BOX, np.zeros((1, 4), np.float32), "(1, 4)"),
        (BOX, np.float32(0), "()"),
        (BOX, np.zeros(4, np.int64), "int64 float32"),
        (BOX, np.zeros(4, np.bool_), "bool"),
        (BOX, np.zeros(4, np.complex64), "complex64"),
        (BOX, np.array([0, np.nan, 0, 0], np.float32), "NaN"),
        (BOX, np.array([0, -np.inf, 0, 0], np.float32), "infinite"),
        (BOX, np.array([0, 1e300, 0, 0]), "infinite"),
        (BOX, "loud", "str"),
        (BOX, None, "NoneType"),
        (CHOICE, 10, "player_0 10 0 9"),
        (CHOICE, -1, "-1"),
        (CHOICE, 1.0, "float"),
        (CHOICE, True, "bool"),
        (CHOICE, [1], "(1,)"),
        (BITS, [0, 1, 2], "2 0 1"),
        (OWN, np.array([1, 3]), "player_0 belong"),
    ],
)
def test_a_wrong_action_is_refused(space, action, words):
    with refused(words):
        as_action("player_0", action, space)


def test_values_are_looked_at_only_when_validating_and_shapes_of_batches_always():
    tensor = as_action("player_0", torch.full((2, 4), torch.nan), BOX, batch=2, validate=False)
    assert (tensor == 0).all(), "what is no number counts as 0, so that no score is ever NaN"
    for shape in ((4,), (3, 4)):
        with refused(f"{shape} (2, 4)"):
            as_action("player_0", torch.zeros(shape), BOX, batch=2, validate=False)


def test_any_floating_precision_of_any_amplitude_becomes_float32_in_a_copy():
    for dtype in (np.float16, np.float32, np.float64):
        array = np.full(4, 7.0, dtype)
        tensor = as_action("transmitter_0", array, BOX)
        array[:] = 9
        assert tensor.dtype == torch.float32 and tensor.tolist() == [[7.0] * 4]


def test_any_integer_is_a_choice():
    for action in (3, np.int32(3), np.uint8(3), np.array(3), torch.tensor(3)):
        assert as_action("receiver_0", action, CHOICE).tolist() == [3]
    assert as_action("receiver_0", [1, 2], CHOICE, batch=2).tolist() == [1, 2]
    assert as_action("receiver_0", np.array([0, 1, 1], np.int8), BITS).tolist() == [[0, 1, 1]]
    assert as_action("receiver_0", np.array([1, 2]), OWN).tolist() == [[1, 2]]


def test_the_eavesdroppers_images_are_clipped_and_nobody_elses_action():
    image, symbols = spaces.Box(0.0, 1.0, (1, 2, 2), np.float32), spaces.Box(-1.0, 1.0, (4,), np.float32)
    wild = torch.tensor([-3.0, 0.25, 1.0, 9.0])
    for validate in (True, False):
        shown = as_action("eavesdropper_0", wild.view(1, 2, 2), image, validate=validate)
        assert shown.flatten().tolist() == [0.0, 0.25, 1.0, 1.0]
        assert torch.equal(as_action("transmitter_0", wild, symbols, validate=validate)[0], wild)

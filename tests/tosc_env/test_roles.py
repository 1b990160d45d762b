"""Spaces have the declared shapes, and only well-formed actions become tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes import SMALL
from gymnasium import spaces

from tosc_env.data import make_source
from tosc_env.errors import InputError
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


def test_an_unknown_role_lists_the_roles(source):
    with pytest.raises(InputError, match=r"unknown role 'jammer'.*eavesdropper, receiver, transmitter"):
        observation_space(Game(source), "jammer")


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


@pytest.mark.parametrize("name", ["qpsk", "16qam", "64qam"])
def test_the_box_is_as_wide_as_the_peak(source, name):
    game = Game(source, constellation=name)
    peak = float(torch.view_as_real(game.points).abs().max())
    assert action_space(game, "transmitter").high.max() == pytest.approx(max(1.0, peak))


BOX = spaces.Box(-1, 1, (4,), np.float32)


@pytest.mark.parametrize(
    ("action", "sentence"),
    [
        (np.zeros(3, np.float32), r"transmitter_0: action has shape \(3,\); expected float32 \(4,\)"),
        (np.zeros((1, 4), np.float32), r"has shape \(1, 4\)"),
        (np.float32(0), r"has shape \(\)"),
        (np.zeros(4, np.int64), "has dtype int64; expected float32"),
        (np.zeros(4, np.bool_), "has dtype bool"),
        (np.zeros(4, np.complex64), "has dtype complex64"),
        (np.array([0, np.nan, 0, 0], np.float32), "contains NaN"),
        (np.array([0, -np.inf, 0, 0], np.float32), "contains infinite"),
        (np.array([0, 1e300, 0, 0]), "contains infinite"),
        ("loud", "action is str"),
        (None, "action is NoneType"),
        ({"a": 1}, "action is dict"),
    ],
)
def test_a_wrong_box_action_is_refused(action, sentence):
    with pytest.raises(InputError, match=sentence):
        as_action("transmitter_0", action, BOX)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_any_floating_precision_of_any_amplitude_becomes_float32(dtype):
    tensor = as_action("transmitter_0", np.full(4, 7.0, dtype), BOX)
    assert tensor.dtype == torch.float32
    assert tensor.tolist() == [[7.0] * 4]


def test_an_array_is_copied():
    array = np.zeros(4, np.float32)
    tensor = as_action("transmitter_0", array, BOX)
    array[:] = 9
    assert tensor.abs().max() == 0


@pytest.mark.parametrize("action", [3, np.int32(3), np.uint8(3), np.array(3), torch.tensor(3)])
def test_any_integer_is_a_choice(action):
    assert as_action("receiver_0", action, spaces.Discrete(10)).tolist() == [3]


@pytest.mark.parametrize(
    ("action", "sentence"),
    [
        (10, "receiver_0: action 10 is out of range; expected 0 to 9"),
        (-1, "action -1 is out of range"),
        (1.0, "has dtype float"),
        (True, "has dtype bool"),
        ([1], r"has shape \(1,\)"),
    ],
)
def test_a_wrong_choice_is_refused(action, sentence):
    with pytest.raises(InputError, match=sentence):
        as_action("receiver_0", action, spaces.Discrete(10))


def test_bits():
    space = spaces.MultiBinary(3)
    assert as_action("receiver_0", np.array([0, 1, 1], np.int8), space).tolist() == [[0, 1, 1]]
    with pytest.raises(InputError, match="action 2 is out of range; expected 0 to 1"):
        as_action("receiver_0", [0, 1, 2], space)


def test_batches_name_the_batched_shape():
    assert as_action("receiver_0", [1, 2], spaces.Discrete(10), batch=2).tolist() == [1, 2]
    with pytest.raises(InputError, match=r"expected float32 \(2, 4\)"):
        as_action("transmitter_0", torch.zeros(3, 4), BOX, batch=2)


def test_values_are_looked_at_only_when_validating():
    """Without a look, what is no number counts as 0, so that no score is ever NaN."""
    tensor = as_action("transmitter_0", torch.full((2, 4), torch.nan), BOX, batch=2, validate=False)
    assert (tensor == 0).all()
    with pytest.raises(InputError, match="has shape"):
        as_action("transmitter_0", torch.zeros(4), BOX, batch=2, validate=False)


def test_a_space_of_a_tasks_own_judges_its_actions():
    space = spaces.MultiDiscrete([2, 3])
    assert as_action("receiver_0", np.array([1, 2]), space).tolist() == [[1, 2]]
    with pytest.raises(InputError, match=r"receiver_0: .*does not belong"):
        as_action("receiver_0", np.array([1, 3]), space)


def test_the_eavesdroppers_images_are_clipped_and_nobody_elses_action():
    image, symbols = spaces.Box(0.0, 1.0, (1, 2, 2), np.float32), spaces.Box(-1.0, 1.0, (4,), np.float32)
    wild = torch.tensor([-3.0, 0.25, 1.0, 9.0])
    for validate in (True, False):
        shown = as_action("eavesdropper_0", wild.view(1, 2, 2), image, validate=validate)
        assert shown.flatten().tolist() == [0.0, 0.25, 1.0, 1.0]
        assert torch.equal(as_action("transmitter_0", wild, symbols, validate=validate)[0], wild)

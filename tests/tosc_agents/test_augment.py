"""Augmentation changes what it says, as often as it says, and nothing else."""

from __future__ import annotations

import math

import pytest
import torch
from links import seeded as g
from tosc_agents.learning.augment import crop_flip_cutout

from tosc_env.errors import InputError


def images(count=200, side=12):
    """No pixel of value one half, which is the colour of a cutout."""
    values = torch.randint(1, 255, (count, 3, side, side), generator=g(9)).float() / 255
    return values + 1e-4


NONE = {"pad": 0, "flip": False, "cutout": 0}


def test_with_everything_off_images_stay_as_they_are():
    assert torch.equal(crop_flip_cutout(images(), g(), **NONE), images())


def test_images_smaller_than_a_shift_are_refused_in_one_sentence():
    for side in (3, 4):
        with pytest.raises(InputError, match=rf"{side}x{side} pixels cannot be shifted by 4.*pad=0\."):
            crop_flip_cutout(images(2, side), g())
    assert crop_flip_cutout(images(2, 5), g()).shape == (2, 3, 5, 5)


def test_a_flip_alone_mirrors_about_half_of_the_images_and_changes_no_other():
    given = images()
    found = crop_flip_cutout(given, g(), **{**NONE, "flip": True})
    same = (found == given).flatten(1).all(1)
    mirrored = (found == given.flip(3)).flatten(1).all(1)
    assert (same ^ mirrored).all() and 70 < int(mirrored.sum()) < 130
    assert torch.equal(found.flatten(1).sort(1).values, given.flatten(1).sort(1).values)


def test_a_shift_moves_by_at_most_pad_and_each_shift_is_as_frequent():
    pad, side = 2, 12
    given = images(1000, side)
    found = crop_flip_cutout(given, g(), **{**NONE, "pad": pad})
    padded = torch.nn.functional.pad(given, (pad,) * 4, mode="reflect")
    counts = []
    explained = torch.zeros(len(given), dtype=torch.int64)
    for dy in range(2 * pad + 1):
        for dx in range(2 * pad + 1):
            here = (found == padded[:, :, dy : dy + side, dx : dx + side]).flatten(1).all(1)
            explained += here
            counts.append(int(here.sum()))
    assert (explained == 1).all()
    assert min(counts) > 15 and max(counts) < 75  # 1000 / 25 = 40 each, five standard deviations


@pytest.mark.parametrize("side", [1, 5, 8])
def test_a_cutout_is_one_grey_square_of_the_side_asked_for_or_what_of_it_lies_inside(side):
    given = images(1000, 16)
    found = crop_flip_cutout(given, g(), **{**NONE, "cutout": side})
    hole = (found == 0.5).all(1)
    assert torch.equal(found * ~hole[:, None], given * ~hole[:, None])
    height, width = hole.any(2).sum(1), hole.any(1).sum(1)
    assert torch.equal(hole.flatten(1).sum(1), height * width), "a rectangle"
    assert int(height.max()) == int(width.max()) == side
    assert int(height.min()) >= math.ceil(side / 2) - (side % 2 == 0), "at least half of it"
    whole = (height == side) & (width == side)
    assert int(whole.sum()) > 200


def test_colours_change_but_stay_in_range_and_grey_stays_grey():
    given = images()
    found = crop_flip_cutout(given, g(), **NONE, colour=0.4)
    assert float(found.min()) >= 0 and float(found.max()) <= 1 and not torch.equal(found, given)
    grey = given.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    out = crop_flip_cutout(grey, g(), **NONE, colour=0.4)
    assert torch.allclose(out[:, 0], out[:, 1], atol=1e-6) and torch.allclose(out[:, 0], out[:, 2], atol=1e-6)


def test_augmentation_depends_on_its_generator_alone_and_leaves_its_input():
    given = images()
    before, state = given.clone(), torch.get_rng_state()
    first = crop_flip_cutout(given, g(3), colour=0.2)
    torch.rand(5)
    torch.set_rng_state(state)
    assert torch.equal(first, crop_flip_cutout(given, g(3), colour=0.2))
    assert not torch.equal(first, crop_flip_cutout(given, g(4), colour=0.2))
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(given, before)

"""Laws of Shapes: reproducible, balanced, and its private facts are visible in the pixels."""

from __future__ import annotations

import pytest
import torch
from refusals import refused

from tosc_env.data import make_source
from tosc_env.data.shapes import _generate
from tosc_env.data.shapes_render import CLASS_NAMES, COLOURS


def test_sizes_names_and_shapes_are_as_documented():
    train, test = make_source("shapes"), make_source("shapes", split="test")
    assert (len(train), len(test)) == (10_000, 2_000)
    assert train.image_shape == (3, 32, 32)
    assert train.class_names == CLASS_NAMES
    assert [len(values) for values in train.attribute_values] == [8, 4, 9, 3]
    assert make_source("shapes", size=64, num_images=4).image_shape == (3, 64, 64)
    assert make_source("shapes")._images.data_ptr() == train._images.data_ptr(), (
        "environments share the arrays"
    )
    assert test.statistics.mean_image_mse == train.statistics.mean_image_mse
    told = make_source("shapes", num_images=10, seed=3).provenance
    assert told == "Shapes (procedural, seed 3, 32x32, 10 train images)."


def test_an_image_depends_on_seed_split_and_size_only():
    few, many = make_source("shapes", num_images=30), make_source("shapes", num_images=700)
    assert torch.equal(few.images, many.images[:30])
    assert torch.equal(few.attributes, many.attributes[:30])
    torch.manual_seed(5)
    _generate.cache_clear()
    assert torch.equal(few.images, make_source("shapes", num_images=30).images)
    for other in ({"seed": 1}, {"split": "test"}):
        assert not torch.equal(few.images, make_source("shapes", num_images=30, **other).images)


def test_facts_do_not_depend_on_the_size():
    small, large = make_source("shapes", num_images=100), make_source("shapes", num_images=100, size=64)
    assert torch.equal(small.labels, large.labels)
    assert torch.equal(small.attributes, large.attributes)
    shrunk = torch.nn.functional.avg_pool2d(large.images.float(), 2)
    # Grey levels: the pixel noise alone makes 11 (standard deviations of 13 and of 13/2); two scenes differ by 60.
    assert (shrunk - small.images.float()).abs().mean() < 14


def test_classes_are_balanced_and_attributes_independent_of_them():
    source = make_source("shapes")
    assert torch.bincount(source.labels).tolist() == [1000] * 10
    for column, values in enumerate(source.attribute_values):
        table = torch.zeros(10, len(values))
        table.index_put_((source.labels, source.attributes[:, column]), torch.ones(1), accumulate=True)
        expected = 1000 / len(values)
        chi_square = ((table - expected) ** 2 / expected).sum()
        freedom = 10 * (len(values) - 1)
        assert chi_square < freedom + 5 * (2 * freedom) ** 0.5


def test_the_mean_image_floor_is_near_that_of_natural_images():
    stats = make_source("shapes", split="test").statistics
    assert 0.03 < stats.mean_image_mse < 0.08  # CIFAR-10: 0.061
    assert (stats.channel_std > 0.1).all()


def test_colour_is_read_off_the_centre_of_a_disc():
    source = make_source("shapes", split="test")
    discs = source.subset((source.labels == CLASS_NAMES.index("circle")).nonzero()[:, 0])
    row, column = discs.attributes[:, 2] // 3, discs.attributes[:, 2] % 3
    y, x = 16 + ((row - 1) * 5.44).round().long(), 16 + ((column - 1) * 5.44).round().long()
    seen = discs.images[torch.arange(len(discs)), :, y, x].float() / 255
    palette = torch.tensor(list(COLOURS.values()))
    guess = torch.nn.functional.normalize(seen) @ torch.nn.functional.normalize(palette).T
    assert (guess.argmax(1) == discs.attributes[:, 0]).float().mean() > 0.9


def test_classes_can_be_learned_from_the_pixels_but_not_by_a_linear_rule():
    source = make_source("shapes")
    pixels = torch.nn.functional.avg_pool2d(source.images[:4000].float(), 2).reshape(4000, -1)
    pixels = (pixels - pixels.mean(0)) / 64
    targets = torch.nn.functional.one_hot(source.labels[:4000], 10).float()
    fitted, held = slice(0, 3000), slice(3000, 4000)
    ridge = pixels[fitted].T @ pixels[fitted] + 300 * torch.eye(pixels.shape[1])
    weights = torch.linalg.solve(ridge, pixels[fitted].T @ (targets[fitted] - 0.1))
    linear = ((pixels[held] @ weights).argmax(1) == source.labels[held]).float().mean()
    assert 0.1 < linear < 0.5


def test_forty_binary_attributes_are_nearly_balanced_and_different():
    names = [f"attribute {i}" for i in range(40)]
    source = make_source("shapes", binary_attributes=names)
    assert source.attribute_names == tuple(names)
    assert set(source.attribute_values) == {("absent", "present")}
    rate = source.attributes.float().mean(0)
    assert rate.min() > 0.4
    assert rate.max() < 0.6
    signs = source.attributes.float() * 2 - 1
    overlap = (signs.T @ signs / len(source)).fill_diagonal_(0).abs().max()
    assert overlap < 0.5
    one = make_source("shapes", num_images=50, binary_attributes="Smiling")
    assert torch.equal(one.attributes[:, 0], source.attributes[:50, 0]), "dealt in order"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 30}, "multiple 8"),
        ({"size": 8}, "16 128"),
        ({"size": 32.0}, "whole"),
        ({"seed": -1}, "seed"),
        ({"num_images": 1}, "num_images"),
        ({"num_images": True}, "num_images"),
        ({"binary_attributes": [str(i) for i in range(60)]}, "1 59 60"),
        ({"binary_attributes": []}, "0"),
        ({"binary_attributes": ["a", "a"]}, "different"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with refused(words):
        make_source("shapes", **options)

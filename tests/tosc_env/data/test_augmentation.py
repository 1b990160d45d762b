"""Changed copies of images, and the source that has them."""

from __future__ import annotations

import pytest
import torch
from links import seeded as g
from refusals import refused

from tosc_env.data import make_source
from tosc_env.data.augmentation import WAYS, augment


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 9, 17), (3, 1, 1)])
def test_each_way_is_a_mirror_and_a_shift_that_reflects(shape):
    image = torch.rand(1, *shape, generator=g())
    height, width = shape[1:]
    by = max(1, min(height, width) // 16)
    for way in range(WAYS):
        down, right = [(0, 0), (by, -by), (-by, by), (by, by)][way // 2]
        wanted = torch.empty_like(image)
        for row in range(height):
            for column in range(width):
                y, x = abs(row - down), abs(column - right)
                y, x = (max(0, min(v, 2 * (n - 1) - v)) for v, n in ((y, height), (x, width)))
                wanted[..., row, column] = image[..., y, width - 1 - x if way % 2 else x]
        assert torch.equal(augment(image, torch.tensor([way])), wanted)


def test_an_augmented_source_has_each_image_in_all_ways_and_is_the_same_object_each_time():
    source = make_source("shapes", num_images=40)
    longer = source.augmented
    assert longer is source.augmented and len(longer) == WAYS * len(source)
    assert longer.number == source.number, "its first images are the source's"
    index = torch.tensor([0, 7, 39])
    plain = source.gather(index)
    for way in range(WAYS):
        batch = longer.gather(index + way * len(source))
        ways = torch.full((3,), way)
        assert torch.equal(batch.images, augment(plain.images, ways))
        assert torch.equal(batch.labels, plain.labels) and torch.equal(batch.attributes, plain.attributes)
        assert torch.equal(batch.index, index + way * len(source))
    for part in (lambda: longer.subset([0]), lambda: longer.take_half("system")):
        with refused("changed copies"):
            part()

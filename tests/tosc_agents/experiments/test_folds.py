"""Folds partition the images: each is tested once, and no system knows what it is tested on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tosc_agents.experiments.table2 import fold, rarest, whole

from tosc_env.data.base import Source
from tosc_env.data.statistics import compute_statistics
from tosc_env.game import GameConfig


def marked(count=103, rare=11):
    """Images that can be told apart by their first two pixels, a few with a moustache."""
    g = np.random.default_rng(0)
    images = g.integers(0, 256, (count, 3, 4, 4), dtype=np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(count) % 256, np.arange(count) // 256
    attributes = np.zeros((count, 2), np.int64)
    attributes[g.permutation(count)[:rare], 0] = 1
    attributes[:, 1] = g.integers(0, 2, count)
    return Source.from_arrays(
        images, name="marked", attributes=attributes, attribute_names=["Mustache", "Smiling"]
    )


def marks(source):
    first, second = source.images[:, 0, 0, 0].long(), source.images[:, 0, 0, 1].long()
    return (first + 256 * second).tolist()


@pytest.mark.parametrize("folds", [2, 5])
def test_test_parts_are_disjoint_and_exhaustive_and_training_is_the_rest(folds):
    source = marked()
    tested = []
    for k in range(folds):
        train, test = fold(source, k, folds, 0, "Mustache")
        assert sorted(marks(train) + marks(test)) == list(range(103))
        assert (train.split, test.split) == ("train", "test")
        tested += marks(test)
    assert sorted(tested) == list(range(103))


def test_every_fold_holds_its_share_of_each_value_and_of_all():
    source = marked()
    parts = [fold(source, k, 5, 0, "Mustache")[1] for k in range(5)]
    for sizes in (
        [len(part) for part in parts],
        [int(part.attributes[:, 0].sum()) for part in parts],
        [int((part.attributes[:, 0] == 0).sum()) for part in parts],
    ):
        assert max(sizes) - min(sizes) <= 1


def test_the_partition_is_decided_by_its_seed_alone():
    source = marked()
    torch.manual_seed(1)
    first = marks(fold(source, 1, 5, 3, "Smiling")[1])
    torch.manual_seed(2)
    assert marks(fold(source, 1, 5, 3, "Smiling")[1]) == first
    assert marks(fold(source, 1, 5, 4, "Smiling")[1]) != first


def test_what_is_known_on_average_is_known_of_the_training_part_alone():
    train, test = fold(marked(), 0, 5, 0, "Smiling")
    alone = compute_statistics(train.images, train.labels, 1)
    for part in (train, test):
        assert torch.equal(part.statistics.mean_image, alone.mean_image)
        assert part.statistics.mean_image_mse == alone.mean_image_mse
    assert "fold 1 of 5" in test.provenance and "test part" in test.provenance


def test_the_rarest_attribute_has_the_least_frequent_value_of_all():
    assert rarest(marked(), ["Smiling", "Mustache"]) == "Mustache"
    assert rarest(marked(rare=97), ["Smiling", "Mustache"]) == "Mustache"  # 6 without
    assert rarest(marked(rare=0), ["Mustache"]) == "Mustache"


def test_the_whole_is_all_splits_in_their_order():
    setting = GameConfig("shapes", {"num_images": 30, "size": 16})
    source = whole(setting)
    parts = [setting.source(split=split) for split in ("train", "test")]
    assert torch.equal(source.images, torch.cat([part.images for part in parts]))
    assert torch.equal(source.attributes, torch.cat([part.attributes for part in parts]))
    assert source.attribute_values == parts[0].attribute_values and "30 train, 30 test" in source.provenance

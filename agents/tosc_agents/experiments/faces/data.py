"""The images of the experiments on faces: what stands in for them, their attributes, and folds for cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tosc_agents.experiments.article import ATTRIBUTES
from tosc_env.data import data_set
from tosc_env.data.base import Source
from tosc_env.data.checks import Owned
from tosc_env.errors import InputError, unknown
from tosc_env.game import GameConfig

GENDER = "Male"
"""CelebA's name for the attribute that the article's figure 4 argues with."""

STAND_IN = (
    "Shapes stand in for the faces, as in ToSC-CelebA-v0 without its data: Mustache, Smiling, Wavy_Hair and Male are "
    "the names of nearly balanced facts about shapes (warm colour, patchy background, large, left), so the figures "
    "say that everything runs, and nothing about faces."
)


def face_setting(setting: GameConfig) -> tuple[GameConfig, str | None]:
    """The setting in which the experiments on faces are made, and what a reader must know of it.

    One on a data set with the article's attributes, such as CelebA, is handed back as it is, with None; one on Shapes
    comes with :data:`STAND_IN`: images of the size that ``ToSC-CelebA-v0`` has (unless it names a size), with binary
    facts that carry the names of the task's attributes, and one named :data:`GENDER`. Handing it in again changes
    nothing. Facts go by their place, so a setting with binary attributes keeps those it has.

    Example:
        >>> stand_in, note = face_setting(GameConfig("shapes", {"num_images": 100}))
        >>> stand_in.source(split="test").attribute_names
        ('Mustache', 'Smiling', 'Wavy_Hair', 'Male')
        >>> face_setting(stand_in) == (stand_in, note), face_setting(GameConfig("celeba"))[1]
        (True, None)
    """
    if setting.data != "shapes":
        return setting, None
    options = {"size": data_set("celeba").usual_kwargs["size"], **setting.data_kwargs}
    names = list(options.get("binary_attributes", ()))
    if not names:
        setting = replace(setting, task="attributes", task_kwargs={"names": list(ATTRIBUTES)})
        names = list(ATTRIBUTES)
    options["binary_attributes"] = names if GENDER in names else [*names, GENDER]
    return replace(setting, data_kwargs=options), STAND_IN


def values_of(source: Source, attribute: str) -> tuple[Tensor, int]:
    """The value of an attribute for each image, int64 [N], and how many values there may be.

    Raises:
        InputError: the source has no such attribute.
    """
    if attribute not in source.attribute_names:
        raise unknown(f"attribute of {source.name}", attribute, source.attribute_names)
    column = source.attribute_names.index(attribute)
    return source.attributes[:, column], len(source.attribute_values[column])


def rarest(source: Source, names: Sequence[str]) -> str:
    """The one of the named attributes whose rarest value is the rarest of all."""

    def count(name: str) -> int:
        values, number = values_of(source, name)
        return int(torch.bincount(values, minlength=number).min())

    return min(names, key=count)


def whole(setting: GameConfig, device: str | torch.device = "cpu") -> Source:
    """All splits of the setting's data set as one source: train, valid where there is one, test, each in its order.

    Example:
        >>> source = whole(GameConfig("shapes", {"num_images": 50, "size": 16}))
        >>> len(source), source.split
        (100, 'train')
    """
    splits = data_set(setting.data).splits
    parts = [setting.source(split=split) for split in splits]
    sizes = ", ".join(f"{len(part):,} {split}" for part, split in zip(parts, splits, strict=True))
    images, labels, attributes = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("images", "labels", "attributes")
    )
    told = f"All images at hand as one set ({sizes}): {parts[0].provenance}"
    return _source(parts[0], images, labels, attributes, told, device)


def fold(source: Source, k: int, folds: int, seed: int, stratify: str) -> tuple[Source, Source]:
    """The training and the test part of one fold: every image is tested once, by a system that has not seen it.

    The test parts of all folds are disjoint and hold every image once. They differ in size by one image at most, and
    so do their shares of every value of the attribute ``stratify``.

    Both are on the device of ``source``, each in its order; the statistics of both are those of the training part,
    the only images that whoever is tested may know. ``k`` counts from 0; ``seed`` is the partition's.

    Raises:
        InputError: a number out of its range, or an unknown attribute.

    Example:
        >>> everything = whole(GameConfig("shapes", {"num_images": 50, "size": 16}))
        >>> [len(part) for part in fold(everything, 0, 3, 0, "size")]
        [66, 34]
    """
    if not 2 <= folds <= len(source):
        raise InputError(f"folds must be from 2 to the number of images, {len(source)}, not {folds}.")
    if not 0 <= k < folds:
        raise InputError(f"of {folds} folds k must be from 0 to {folds - 1}, not {k}.")
    values = values_of(source, stratify)[0].cpu()
    # Images are dealt like cards, one value after the other and without starting again at the first fold.
    shuffled = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed))
    dealt = shuffled[values[shuffled].argsort(stable=True)]
    tested = torch.zeros(len(source), dtype=torch.bool)
    tested[dealt[k::folds]] = True
    tested = tested.to(source.device)
    made: list[Source] = []
    for name, mask in (("training", ~tested), ("test", tested)):
        part = source.subset(mask.nonzero()[:, 0])
        arrays = part.images, part.labels, part.attributes
        told = f"fold {k + 1} of {folds} (seed {seed}): {name} part of: {source.provenance}"
        made.append(_source(source, *arrays, told, source.device, made[0] if made else None))
    return made[0], made[1]


def _source(
    like: Source,
    images: Tensor,
    labels: Tensor,
    attributes: Tensor,
    told: str,
    device: str | torch.device,
    training: Source | None = None,
) -> Source:
    """Images with the names of another source, and statistics of their own unless ``training`` has them."""
    return Source.from_arrays(
        Owned(images),
        labels,
        name=like.name,
        split="train" if training is None else "test",
        class_names=like.class_names,
        attributes=attributes,
        attribute_names=like.attribute_names,
        attribute_values=like.attribute_values,
        training=training,
        provenance=told,
        halves=like.halves,
        device=device,
    )

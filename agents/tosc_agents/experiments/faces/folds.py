"""Cross-validation: every image at hand is tested once, by a system that has not seen it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tosc_env.data.base import Source
from tosc_env.errors import InputError, unknown
from tosc_env.game import GameConfig

SPLITS = {"celeba": ("train", "valid", "test")}
"""The splits of data sets that have more than ``train`` and ``test``."""


def whole(setting: GameConfig, device: str | torch.device = "cpu") -> Source:
    """All splits of the setting's data set as one source: train, valid where there is one, test, each in its order.

    Example:
        >>> source = whole(GameConfig("shapes", {"num_images": 50, "size": 16}))
        >>> len(source), source.split
        (100, 'train')
    """
    splits = SPLITS.get(setting.data, ("train", "test"))
    parts = [setting.source(split=split) for split in splits]
    sizes = ", ".join(f"{len(part):,} {split}" for part, split in zip(parts, splits, strict=True))
    return _source(
        parts[0],
        *(torch.cat([getattr(part, name) for part in parts]) for name in ("images", "labels", "attributes")),
        told=f"All images at hand as one set ({sizes}): {parts[0].provenance}",
        device=device,
    )


def rarest(source: Source, names: Sequence[str]) -> str:
    """That of the named attributes which has the least frequent value.

    Raises:
        InputError: no names, or an unknown one.
    """
    if not names:
        raise InputError("the rarest of no attributes is asked for; name at least one.")
    counts = {
        name: int(torch.bincount(_column(source, name), minlength=_values(source, name)).min())
        for name in names
    }
    return min(names, key=counts.__getitem__)


def fold(
    source: Source, k: int, folds: int = 5, seed: int = 0, *, stratify: str | None = None
) -> tuple[Source, Source]:
    """The training and the test part of one fold.

    The test parts of all folds are disjoint and hold every image once. They differ in size by one image at most, and
    so do their shares of every value of the attribute ``stratify``.

    Args:
        source: all images, such as :func:`whole` gives.
        k: which fold, from 0.
        folds: how many there are, from 2 to the number of images.
        seed: of the partition.
        stratify: an attribute whose values are shared out evenly; None: images are shared out regardless.

    Returns:
        Two sources on the device of ``source``, each in its order; the statistics of both are those of the training
        part, the only images that whoever is tested may know.

    Raises:
        InputError: a number out of its range, or an unknown attribute.

    Example:
        >>> everything = whole(GameConfig("shapes", {"num_images": 50, "size": 16}))
        >>> [len(part) for part in fold(everything, 0, folds=3)]
        [66, 34]
    """
    if not 2 <= folds <= len(source):
        raise InputError(f"folds must be from 2 to the number of images, {len(source)}, not {folds}.")
    if not 0 <= k < folds:
        raise InputError(f"of {folds} folds k must be from 0 to {folds - 1}, not {k}.")
    if stratify is None:
        values = torch.zeros(len(source), dtype=torch.int64)
    else:
        values = _column(source, stratify).cpu()
    generator = torch.Generator().manual_seed(seed)
    # Images are dealt like cards, one value after the other and without starting again at the first fold.
    shuffled = torch.randperm(len(source), generator=generator)
    dealt = shuffled[values[shuffled].argsort(stable=True)]
    tested = torch.zeros(len(source), dtype=torch.bool)
    tested[dealt[k::folds]] = True
    tested = tested.to(source.device)
    told = f"fold {k + 1} of {folds} (seed {seed}): {{}} part of: {source.provenance}"
    train = _part(source, ~tested, told.format("training"))
    return train, _part(source, tested, told.format("test"), train)


def _part(source: Source, mask: Tensor, told: str, training: Source | None = None) -> Source:
    arrays = (source.images[mask], source.labels[mask], source.attributes[mask])
    return _source(source, *arrays, told=told, training=training, device=source.device)


def _source(
    like: Source,
    images: Tensor,
    labels: Tensor,
    attributes: Tensor,
    *,
    told: str,
    device: str | torch.device,
    training: Source | None = None,
) -> Source:
    """Images with the names of another source, and statistics of their own unless ``training`` has them."""
    named = bool(like.attribute_names)
    return Source.from_arrays(
        images,
        labels,
        name=like.name,
        split="train" if training is None else "test",
        class_names=like.class_names,
        attributes=attributes if named else None,
        attribute_names=like.attribute_names if named else None,
        attribute_values=like.attribute_values if named else None,
        training=training,
        provenance=told,
        device=device,
    )


def _column(source: Source, name: str) -> Tensor:
    if name not in source.attribute_names:
        raise unknown(f"attribute of {source.name}", name, source.attribute_names)
    return source.attributes[:, source.attribute_names.index(name)]


def _values(source: Source, name: str) -> int:
    return len(source.attribute_values[source.attribute_names.index(name)])

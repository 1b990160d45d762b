"""A source of images: a whole split of a data set as tensors on one device."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Literal, get_args

import torch
from torch import Tensor

from tosc_env.data.checks import as_attributes, as_images, as_labels, check_half, check_split
from tosc_env.data.statistics import Statistics, compute_statistics
from tosc_env.devices import resolve_device
from tosc_env.errors import InputError
from tosc_env.types import Batch

Halves = Literal["shuffled", "in-order"]
"""How a training split is divided: half of every class, chosen by a fixed seed; or the first half and the second."""


def shuffled(labels: Tensor) -> Tensor:
    """An order of images with labels [N] whose first ``floor(N / 2)`` hold half of every class, and the rest the other.

    It is the same whenever it is asked for; a class with an odd number of images has its last one in either part.

    >>> labels = torch.arange(100) // 25
    >>> labels[shuffled(labels)[:50]].bincount(), labels[shuffled(labels)[50:]].bincount()
    (tensor([12, 13, 12, 13]), tensor([13, 12, 13, 12]))
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    by_class = order[labels.cpu()[order].argsort(stable=True)]
    # Every other image of a class goes to the first part; those keep the order of the permutation.
    first = torch.zeros(len(labels), dtype=torch.bool).index_fill_(0, by_class[1::2], True)[order]
    return torch.cat([order[first], order[~first]]).to(labels.device)


@dataclass(eq=False, repr=False)
class Source:
    """Images, labels and attributes of one split, held whole on one device.

    Build one from your own arrays with :meth:`from_arrays`, or a registered one with
    :func:`tosc_env.data.make_source`.

    Attributes:
        name: the data set (``"cifar10"``).
        split: ``"train"``, ``"test"`` or ``"valid"``.
        half: ``None``, or the disjoint half of the training split: ``"system"`` or ``"attacker"``.
        images: uint8 [N, C, H, W]; shared, not to be written to.
        labels: int64 [N] in [0, num_classes).
        attributes: int64 [N, A].
        class_names, attribute_names: what labels and attribute columns mean.
        attribute_values: for each attribute, the names of its values.
        halves: how the training split is divided (:meth:`take_half`).

    Example:
        >>> from tosc_env.data import make_source
        >>> source = make_source("shapes", split="test")
        >>> index = source.draw(4, torch.Generator().manual_seed(0))
        >>> source.gather(index).images.shape
        torch.Size([4, 3, 32, 32])
    """

    images: Tensor
    labels: Tensor
    attributes: Tensor
    name: str
    split: str
    class_names: tuple[str, ...]
    attribute_names: tuple[str, ...]
    attribute_values: tuple[tuple[str, ...], ...]
    _make_statistics: Callable[[], Statistics]
    _make_provenance: Callable[[], str]
    half: str | None = None
    halves: Halves = "shuffled"
    _number: tuple[int, int] | None = field(default=None, init=False)

    @classmethod
    def from_arrays(
        cls,
        images: object,
        labels: object = None,
        *,
        name: str,
        split: str = "train",
        class_names: Sequence[str] | None = None,
        attributes: object = None,
        attribute_names: Sequence[str] | None = None,
        attribute_values: Sequence[Sequence[str]] | None = None,
        training: Source | Callable[[], Statistics] | None = None,
        provenance: str | Callable[[], str] | None = None,
        halves: Halves = "shuffled",
        device: str | torch.device = "cpu",
    ) -> Source:
        """A source made of your own images, in one call.

        Args:
            images: uint8 [N, C, H, W], a tensor or NumPy array, C being 1 or 3. Not copied on the CPU; a
                ``np.memmap`` stays on the disk.
            labels: integers [N] from 0, or the names of classes; ``None`` for images without classes.
            name: what results call this data set.
            split: ``"train"``, ``"test"`` or ``"valid"``.
            class_names: by default "0", "1", ... up to the largest label, or the names that occur, sorted.
            attributes: integers [N, A] from 0, private facts about each image.
            attribute_names: by default "attribute_0", ...
            attribute_values: for each attribute the names of its values; by default "0", "1", ...
            training: the training split's source (or a function giving its statistics), which a test split
                is measured against; ``None``: these images are the training split.
            provenance: one sentence on how the images were obtained, quoted by every result.
            halves: ``"shuffled"``: images of every class in both halves, which copies them; ``"in-order"``: the first
                and the second half of images whose order is official, or shuffled already.
            device: where the tensors go.

        Raises:
            InputError: a shape, type or value does not fit; the sentence says which.

        Example:
            >>> import numpy as np
            >>> mine = Source.from_arrays(np.zeros((6, 3, 8, 8), np.uint8), [0, 1, 2, 0, 1, 2], name="mine")
            >>> len(mine), mine.num_classes, mine.image_shape
            (6, 3, (3, 8, 8))
        """
        target = resolve_device(device)
        pixels = as_images(images)
        tags, classes = as_labels(labels, len(pixels), class_names)
        columns, names, values = as_attributes(attributes, len(pixels), attribute_names, attribute_values)
        check_split(name, split, ("train", "valid", "test"))
        if halves not in get_args(Halves):
            raise InputError(f"halves must be 'shuffled' or 'in-order', not {halves!r}.")
        statistics: Callable[[], Statistics]
        if isinstance(training, Source):
            if training.image_shape != tuple(pixels.shape[1:]):
                raise InputError(
                    f"images of shape {tuple(pixels.shape[1:])} do not fit a training split "
                    f"of shape {training.image_shape}."
                )
            statistics = partial(getattr, training, "statistics")
        elif training is not None:
            statistics = training
        else:
            statistics = partial(compute_statistics, pixels, tags, len(classes))
        told = provenance if provenance is not None else f"{name} (images given by the user)."
        tell = told if callable(told) else lambda: told
        arrays = pixels.to(target), tags.to(target), columns.to(target)
        return cls(*arrays, name, split, classes, names, values, statistics, tell, halves=halves)

    def __len__(self) -> int:
        return self.images.shape[0]

    def __repr__(self) -> str:
        part = f", half={self.half!r}" if self.half else ""
        return (
            f"Source({self.name!r}, split={self.split!r}{part}, images={len(self)}, device='{self.device}')"
        )

    @property
    def device(self) -> torch.device:
        return self.images.device

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @cached_property
    def statistics(self) -> Statistics:
        """Statistics of the *whole training split* (also for a half or a test split), on this device."""
        return self._make_statistics().to(self.device)

    @cached_property
    def provenance(self) -> str:
        """One sentence: which images these are and how they were obtained."""
        return self._make_provenance()

    @property
    def number(self) -> int:
        """A number of 63 bits that follows from all of the images: what a place in the source means elsewhere too."""
        if self._number is None or self._number[0] != _version(self.images):
            self._number = _version(self.images), int(content_numbers(self.images[None])[0, 1])
        return self._number[1]

    def draw(self, batch_size: int, generator: torch.Generator | None) -> Tensor:
        """Positions of images drawn uniformly with replacement, int64 [batch_size], on this device.

        ``generator`` must live on the source's device.
        """
        return torch.randint(len(self), (batch_size,), generator=generator, device=self.device)

    def gather(self, index: Tensor) -> Batch:
        """The images at ``index`` (int64 [B], on this device) as a :class:`Batch` of fresh tensors."""
        return Batch(
            images=self.images.index_select(0, index).to(torch.float32).div_(255),
            labels=self.labels.index_select(0, index),
            attributes=self.attributes.index_select(0, index),
            index=index.clone(),
        )

    def subset(self, index: Tensor | Sequence[int]) -> Source:
        """The source made of the images at ``index``; statistics stay those of the whole training split."""
        where = torch.as_tensor(index, dtype=torch.int64, device=self.device)
        if where.ndim != 1 or where.numel() == 0:
            raise InputError(f"a subset needs a non-empty row of positions, not shape {tuple(where.shape)}.")
        if int(where.min()) < 0 or int(where.max()) >= len(self):
            raise InputError(f"a subset of {len(self)} images takes positions 0 to {len(self) - 1}.")
        return self._with(lambda values: values.index_select(0, where))

    def take_half(self, half: str | None) -> Source:
        """``floor(N / 2)`` of the training images (``"system"``) or the rest (``"attacker"``).

        The halves are disjoint.  By default each has half of every class, chosen once and for all, in no particular
        order.  Those of a data set with an official order are its first and its second half, and share its memory.
        A class that is missing from one of them is a warning.

        Raises:
            InputError: another name, a split other than the training split, or a source already halved.
        """
        check_half(half, self.split)
        if half is None:
            return self
        if self.half is not None:
            raise InputError(f"this source is already the {self.half} half; take halves of the whole split.")
        if len(self) < 2:
            raise InputError(f"a half needs at least 2 training images, and {self.name} has {len(self)}.")
        middle = len(self) // 2
        part = slice(0, middle) if half == "system" else slice(middle, None)
        order = None if self.halves == "in-order" else shuffled(self.labels)
        taken = self._with(lambda values: values[part] if order is None else values[order[part]], half)
        missing = sorted(set(self.labels.unique().tolist()) - set(taken.labels.unique().tolist()))
        if missing:
            told = ", ".join(repr(self.class_names[label]) for label in missing[:3])
            warnings.warn(
                f"the {half} half of {self.name} has no image of {len(missing)} of its classes ({told}"
                f"{', ...' if len(missing) > 3 else ''}), which the other half has.",
                stacklevel=2,
            )
        return taken

    def to(self, device: str | torch.device) -> Source:
        """The same source on ``device``; itself if it is there already."""
        target = resolve_device(device)
        if target == self.device:
            return self
        there = self._with(lambda values: values.to(target))
        there._number = _version(there.images), self.number
        return there

    def _with(self, change: Callable[[Tensor], Tensor], half: str | None = None) -> Source:
        return replace(
            self,
            images=change(self.images),
            labels=change(self.labels),
            attributes=change(self.attributes),
            half=half or self.half,
            _make_statistics=lambda: self.statistics,
            _make_provenance=lambda: self.provenance,
        )


def content_numbers(images: Tensor) -> Tensor:
    """Two numbers of 63 bits for each of the images [B, ...], int64 [B, 2]: a digest of type, size and values."""
    kind = f"{images.dtype} {tuple(images.shape[1:])}".encode()
    found = [
        hashlib.blake2b(image.numpy(), digest_size=16, key=kind[:64]).digest()
        for image in images.detach().cpu().contiguous()
    ]
    numbers = [[int.from_bytes(one[:8], "big") >> 1, int.from_bytes(one[8:], "big") >> 1] for one in found]
    return torch.tensor(numbers, dtype=torch.int64, device=images.device).reshape(-1, 2)


def _version(images: Tensor) -> int:
    """How often the images have been written to, as far as torch counts it."""
    return -1 if images.is_inference() else images._version

"""A source of images: a whole split of a data set as tensors on one device."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache, partial
from typing import Any, Literal, NoReturn, TypeVar, final

import torch
from torch import Tensor

from tosc_env.data.augmentation import WAYS, augment
from tosc_env.data.checks import (
    as_attributes,
    as_images,
    as_labels,
    as_positions,
    check_half,
    check_names,
)
from tosc_env.data.statistics import Statistics, compute_statistics
from tosc_env.devices import resolve_device
from tosc_env.errors import DataError, InputError, listing, shown, warn_user
from tosc_env.identity import digest, tensor_digest
from tosc_env.options import check_choice, checked
from tosc_env.types import Batch

T = TypeVar("T")
Halves = Literal["shuffled", "in-order"]
"""How a training split is divided: half of every class, chosen by a fixed seed; or the first half and the second."""


def shuffled(labels: Tensor) -> Tensor:
    """The one order of images with labels [N] whose first ``floor(N / 2)`` hold half of every class, up to one image.

    >>> labels = torch.arange(100) // 25
    >>> labels[shuffled(labels)[:50]].bincount(), labels[shuffled(labels)[50:]].bincount()
    (tensor([12, 13, 12, 13]), tensor([13, 12, 13, 12]))
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    by_class = order[labels.cpu()[order].argsort(stable=True)]
    # Every other image of a class goes to the first part; those keep the order of the permutation.
    first = torch.zeros(len(labels), dtype=torch.bool).index_fill_(0, by_class[1::2], True)[order]
    return torch.cat([order[first], order[~first]]).to(labels.device)


@final
@dataclass(frozen=True, eq=False, repr=False)
class Source:
    """Images, labels and attributes of one split, held whole on one device.

    Build one from your own arrays with :meth:`from_arrays`, or a registered one with
    :func:`tosc_env.data.make_source`.

    What it holds never changes: no attribute can be assigned, nobody else can write to its memory, and it is not
    subclassed. Remembered symbols, the numbers of messages under a key and the identity of a result rely on it.

    Attributes:
        name: the data set.
        split: ``"train"``, ``"test"`` or ``"valid"``.
        half: ``None``, or the disjoint half of the training split: ``"system"`` or ``"attacker"``.
        class_names, attribute_names: of the labels and of the attributes' columns.
        attribute_values: for each attribute, the names of its values.
        halves: how the training split is divided (:meth:`take_half`).

    Example:
        >>> from tosc_env.data import make_source
        >>> source = make_source("shapes", split="test")
        >>> index = source.draw(4, torch.Generator().manual_seed(0))
        >>> source.gather(index).images.shape
        torch.Size([4, 3, 32, 32])
    """

    _images: Tensor
    _labels: Tensor
    _attributes: Tensor
    name: str
    split: str
    class_names: tuple[str, ...]
    attribute_names: tuple[str, ...]
    attribute_values: tuple[tuple[str, ...], ...]
    _make_statistics: Callable[[], Statistics]
    _make_provenance: Callable[[], str]
    half: str | None = None
    halves: Halves = "shuffled"
    _ways: int = 1
    _again: Callable[[], Source] | None = None
    """Loads the same images on the CPU; None: they are the user's own."""

    def __init_subclass__(cls) -> NoReturn:
        raise InputError(
            f"a Source is not subclassed, and {cls.__name__} would be one: its images are the same whenever they are "
            "asked for; give changed images to Source.from_arrays, and augment them in training (SchemeTraining)."
        )

    @classmethod
    @checked
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
        """Make a source of your own images.

        Args:
            images: uint8 [N, C, H, W], a tensor or NumPy array, C being 1 or 3. Copied, unless nobody can write to
                them: a ``np.memmap`` of mode ``"r"`` stays on the disk.
            labels: integers [N] from 0, or the names of classes; ``None`` for images without classes.
            name: the data set's name in results.
            split: ``"train"``, ``"test"`` or ``"valid"``.
            class_names: by default those of ``training``, else the numbers up to the largest label, or the names that
                occur, sorted.
            attributes: integers [N, A] from 0, private facts about each image.
            attribute_names, attribute_values: of the columns, and of each one's values; by default their numbers.
            training: the training split's source (or a function giving its statistics), for a test split;
                ``None``: these images are the training split.
            provenance: one sentence on how the images were obtained, quoted by every result.
            halves: ``"shuffled"``: images of every class in both halves, which copies them; ``"in-order"``: the first
                and the second half of images whose order is official, or shuffled already.
            device: of the tensors.

        Raises:
            InputError: a shape, type or value does not fit.

        Example:
            >>> import numpy as np
            >>> mine = Source.from_arrays(np.zeros((6, 3, 8, 8), np.uint8), [0, 1, 2, 0, 1, 2], name="mine")
            >>> len(mine), mine.num_classes, mine.image_shape
            (6, 3, (3, 8, 8))
        """
        target = resolve_device(device)
        check_names("name", [name])
        pixels = as_images(images).to(target)
        if class_names is None and labels is not None and isinstance(training, Source):
            class_names = training.class_names
        tags, classes = as_labels(labels, len(pixels), class_names)
        gaps = (tags.bincount() == 0).nonzero().flatten().tolist()
        if gaps and class_names is None and split == "train":
            warn_user(
                f"no image of {name} has the label {listing(map(str, gaps))}, and each is a class all the same: number "
                "labels from 0 without gaps, or give class_names."
            )
        tags = tags.to(target)
        columns, names, values = as_attributes(attributes, len(pixels), attribute_names, attribute_values)
        check_choice(split, f"split of {name}", ("train", "valid", "test"))
        if isinstance(training, Source):
            shape = tuple(pixels.shape[1:])
            if training.image_shape != shape:
                raise InputError(f"images {shape} do not fit a training split of {training.image_shape}.")
            training = partial(getattr, training, "statistics")
        statistics = training or partial(compute_statistics, pixels, tags, len(classes))
        if not callable(provenance):
            provenance = partial(_constant, provenance or f"{name} (images given by the user).")
        arrays = pixels, tags, columns.to(target)
        return cls(*arrays, name, split, classes, names, values, statistics, provenance, halves=halves)

    def __len__(self) -> int:
        return self._images.shape[0] * self._ways

    def __repr__(self) -> str:
        part = f"split={self.split!r}" + (f", half={self.half!r}" if self.half else "")
        return f"Source({self.name!r}, {part}, images={len(self)}, device='{self.device}')"

    @property
    def images(self) -> Tensor:
        """A copy of all images, uint8 [N, C, H, W]; :meth:`gather` and :meth:`subset` give some of them."""
        return self._images.clone()

    @property
    def labels(self) -> Tensor:
        """A copy of all labels, int64 [N] in [0, num_classes)."""
        return self._labels.clone()

    @property
    def attributes(self) -> Tensor:
        """A copy of all attributes, int64 [N, A]."""
        return self._attributes.clone()

    @property
    def device(self) -> torch.device:
        return self._images.device

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self._images.shape[1:]
        return channels, height, width

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @cached_property
    def statistics(self) -> Statistics:
        """Statistics of the *whole training split* (also for a half or a test split), on this device."""
        with torch.inference_mode(False):  # whoever asks first; trainings use them later
            return self._make_statistics().to(self.device)

    @cached_property
    def provenance(self) -> str:
        """One sentence on the images and how they were obtained."""
        return self._make_provenance()

    @cached_property
    def sha256(self) -> str:
        """The digest of all images, labels and attributes, and of the names of these, whatever the source is called."""
        names = self.class_names, self.attribute_names, self.attribute_values
        return digest([self._digest, tensor_digest([self._labels, self._attributes]), names])

    def identity(self) -> dict[str, Any]:
        """Describe what determines a result that these images go into, wherever they were found."""
        named = {name: getattr(self, name) for name in ("name", "split", "half")}
        return {**named, "images": len(self), "sha256": self.sha256}

    @property
    def number(self) -> int:
        """A number of 63 bits that follows from all of the images."""
        return int.from_bytes(self._digest[8:], "big") >> 1

    @cached_property
    def _digest(self) -> bytes:
        """128 bits that follow from all of the images: the one time that they are read for it."""
        kind = f"{self._images.dtype} {tuple(self._images.shape)}".encode()
        pixels = self._images.cpu().contiguous().numpy()
        return hashlib.blake2b(pixels, digest_size=16, key=kind[:64]).digest()

    def draw(self, batch_size: int, generator: torch.Generator | None) -> Tensor:
        """Draw positions of images uniformly with replacement, int64 [batch_size], from a generator on this device."""
        return torch.randint(len(self), (batch_size,), generator=generator, device=self.device)

    def gather(self, index: Tensor) -> Batch:
        """The images at ``index`` (int64 [B], on this device) as a :class:`Batch` of fresh tensors."""
        place = index if self._ways == 1 else index % len(self._images)
        images = self._images.index_select(0, place)
        if self._ways > 1:
            images = augment(images, index // len(self._images))
        return Batch(
            images=images.to(torch.float32).div_(255),
            labels=self._labels.index_select(0, place),
            attributes=self._attributes.index_select(0, place),
            index=index.clone(),
        )

    @cached_property
    def augmented(self) -> Source:
        """These N images and their changed copies: the position p is the image p mod N, changed in the way p div N
        (:func:`~tosc_env.data.augmentation.augment`). It shares the memory, and has the same number."""
        longer = replace(self._with(lambda values: values), _ways=WAYS)
        vars(longer)["_digest"] = self._digest
        return longer

    def subset(self, index: Tensor | Sequence[int]) -> Source:
        """The source made of the images at ``index``; statistics stay those of the whole training split."""
        where = as_positions("index", index, self.device)
        if where.ndim != 1 or where.numel() == 0:
            raise InputError(f"a subset needs a non-empty row of positions, not shape {tuple(where.shape)}.")
        if int(where.min()) < 0 or int(where.max()) >= len(self):
            raise InputError(f"a subset of {len(self)} images takes positions 0 to {len(self) - 1}.")
        return self._with(lambda values: values.index_select(0, where))

    def take_half(self, half: str | None) -> Source:
        """``floor(N / 2)`` of the training images (``"system"``) or the rest (``"attacker"``), divided as
        :attr:`halves` says; in order, they share this source's memory. A class that is missing from one is a warning.

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
        order = None if self.halves == "in-order" else shuffled(self._labels)
        taken = self._with(lambda values: values[part] if order is None else values[order[part]], half)
        missing = sorted(set(self._labels.unique().tolist()) - set(taken._labels.unique().tolist()))
        if missing:
            told = listing(repr(self.class_names[label]) for label in missing)
            warn_user(
                f"the {half} half of {self.name} has no image of {len(missing)} of its classes ({told}), which the "
                "other half has."
            )
        return taken

    def to(self, device: str | torch.device) -> Source:
        """The same source on ``device``; itself if it is there already."""
        target = resolve_device(device)
        if target == self.device:
            return self
        there = replace(self._with(lambda values: values.to(target)), _again=self._again)
        vars(there)["_digest"] = self._digest
        return there

    def __deepcopy__(self, memo: dict[int, Any]) -> Source:
        return self  # It never changes, so that games that are copied may share it.

    def __reduce__(self) -> Any:
        """A pickle holds the user's own images; of a data set, how to load it again and how to know that it is it."""
        if self._again is not None:
            return _loaded_again, (self._again, str(self.device), self.number)
        # Copies, as of a half the whole would be written.
        held = {name: getattr(self, name).clone() for name in ("_images", "_labels", "_attributes")}
        told = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in held and f.init}
        told["_make_statistics"] = partial(_constant, self.statistics)
        told["_make_provenance"] = partial(_constant, self.provenance)
        return partial(Source, **held, **told), ()

    def _with(self, change: Callable[[Tensor], Tensor], half: str | None = None) -> Source:
        if self._ways > 1:
            raise InputError("parts are taken of images, and not of images with their changed copies.")
        return replace(
            self,
            _images=change(self._images),
            _labels=change(self._labels),
            _attributes=change(self._attributes),
            half=half or self.half,
            _make_statistics=lambda: self.statistics,
            _make_provenance=lambda: self.provenance,
            _again=None,
        )


def check_source(given: object, name: str) -> Source:
    """Return what was given if it is a source; InputError otherwise."""
    if not isinstance(given, Source):
        told = "tosc_env.as_source makes one of arrays, a folder or a data set"
        raise InputError(f"{name} must be a Source, not {shown(given)}; {told}.")
    return given


def _constant(value: T) -> T:
    return value


def _loaded_again(again: Callable[[], Source], device: str, number: int) -> Source:
    """The source that was pickled, loaded by its name."""
    source = again()
    if source.number != number:
        raise DataError(
            f"the data set {source.name!r} found here is not the one of the pickle, which has no images."
        )
    return source.to(device)


def content_numbers(images: Tensor) -> Tensor:
    """Two numbers of 63 bits for each of the images [B, C, H, W]: a multilinear hash of their bits in float32, int64
    [B, 2]. Who knows the hash can make images that collide; message numbers drawn at random stand beside it."""
    words = images.detach().float().contiguous().view(torch.int32).flatten(1).long()
    factors = _factors(words.shape[1], str(images.device))
    return torch.stack([(words * row).sum(1) + row[0] for row in factors], dim=1).bitwise_right_shift(1).abs()


@lru_cache(maxsize=8)
def _factors(length: int, device: str) -> Tensor:
    with torch.inference_mode(False):
        stream = torch.Generator().manual_seed(0xC0)
        return torch.randint(-(2**63), 2**63 - 1, (2, length), generator=stream).to(device)

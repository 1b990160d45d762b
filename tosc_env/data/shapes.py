"""Shapes: a procedural data set that is always there, with private facts known by construction.

Ten classes (the task), each image with a colour, a background texture, a position and a size (private attributes,
independent of the class), and nuisances, among them a background colour that is correlated with the class.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from tosc_env.data.base import Source
from tosc_env.data.checks import Owned
from tosc_env.data.dataset import DataSet
from tosc_env.data.shapes_render import ATTRIBUTES, CLASS_NAMES, Scene, render
from tosc_env.data.statistics import Statistics, compute_statistics
from tosc_env.errors import InputError
from tosc_env.options import Within, check_count, checked

DEFAULT_COUNT = {"train": 10_000, "test": 2_000}
_BLOCK = 500  # images generated together; image i of a split depends on its block's seed only


class Shapes(DataSet):
    """Procedural images in ten classes, made in memory."""

    name = "shapes"
    terms = "Shapes: drawn by this package itself; MIT, like the package."
    how = "always there"

    @checked
    def load(
        self,
        split: str = "train",
        size: int = 32,
        seed: Annotated[int, Within(0, 2**62)] = 0,
        num_images: Annotated[int, Within(2, 1_000_000)] | None = None,
        binary_attributes: str | Sequence[str] | None = None,
    ) -> Source:
        """Images uint8 [N, 3, size, size].

        Image i of a split depends on ``seed``, ``split`` and ``size`` alone, its label and attributes not on ``size``.

        Args:
            split: ``"train"`` or ``"test"``.
            size: height and width in pixels, a multiple of 8 from 16 to 128.
            seed: 0 or more; another seed is another data set of the same kind.
            num_images: N; by default 10,000 to train and 2,000 to test. Any number from 2 to 1,000,000.
            binary_attributes: names of binary attributes instead of colour, texture, position and size, for the first
                of 59 nearly balanced facts about an image; so Shapes stands in for a set of face attributes.

        Raises:
            InputError: an option out of its range, or more names than there are facts.

        Example:
            >>> source = Shapes().load("test", num_images=10)
            >>> source.class_names[:3], source.attribute_names
            (('circle', 'square', 'triangle'), ('colour', 'texture', 'position', 'size'))
            >>> Shapes().load("test", num_images=10, binary_attributes=["Smiling"]).attribute_values
            (('absent', 'present'),)
        """
        size = check_count(size, "size of shapes", 16, 128, multiple=8)
        count = DEFAULT_COUNT[split] if num_images is None else num_images
        training_count = count if split == "train" else DEFAULT_COUNT["train"]
        images, labels, facts = _generate(seed, split, size, count)
        if binary_attributes is None:
            names, values, columns = tuple(ATTRIBUTES), tuple(ATTRIBUTES.values()), facts
        else:
            names = (binary_attributes,) if isinstance(binary_attributes, str) else tuple(binary_attributes)
            values = (("absent", "present"),) * len(names)
            columns = binary_columns(labels, facts, len(names))
        return Source.from_arrays(
            Owned(images),
            labels,
            name=self.name,
            split=split,
            class_names=CLASS_NAMES,
            attributes=columns,
            attribute_names=names,
            attribute_values=values,
            training=lambda: _statistics(seed, size, training_count),
            provenance=f"Shapes (procedural, seed {seed}, {size}x{size}, {count:,} {split} images).",
            halves="in-order",
        )

    def status(self, root: Path) -> dict[str, object]:
        return {"where": "made in memory", "images": sum(DEFAULT_COUNT.values()), "official": "yes"}


@lru_cache(maxsize=8)
def _generate(seed: int, split: str, size: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images uint8 [N, 3, size, size], labels int64 [N] and facts int64 [N, 4]; shared, made once."""
    blocks = range(-(-count // _BLOCK))
    scenes = [draw_scene(_generator(seed, split, block, 0), _BLOCK) for block in blocks]
    images = [render(scenes[block], size, _generator(seed, split, block, 1)) for block in blocks]
    labels, facts = (torch.cat([getattr(scene, name) for scene in scenes]) for name in ("labels", "facts"))
    return torch.cat(images)[:count].clone(), labels[:count], facts[:count]


@lru_cache(maxsize=8)
def _statistics(seed: int, size: int, count: int) -> Statistics:
    images, labels, _ = _generate(seed, "train", size, count)
    return compute_statistics(images, labels, len(CLASS_NAMES))


def _generator(seed: int, split: str, block: int, purpose: int) -> torch.Generator:
    """A CPU generator for one block; scenes and pixel noise have their own, so labels ignore the size."""
    words = np.random.SeedSequence([seed, sorted(DEFAULT_COUNT).index(split), block, purpose])
    return torch.Generator().manual_seed(int(words.generate_state(1, np.uint64)[0] >> 1))


def draw_scene(generator: torch.Generator, count: int) -> Scene:
    """Draw the content of ``count`` images: balanced classes, attributes independent of them, nuisances."""
    labels = torch.randperm(count, generator=generator) % len(CLASS_NAMES)
    facts = [torch.randint(len(values), (count,), generator=generator) for values in ATTRIBUTES.values()]
    return Scene(labels, torch.stack(facts, dim=1), torch.rand(count, 15, generator=generator))


def binary_columns(labels: Tensor, facts: Tensor, count: int) -> Tensor:
    """The first ``count`` binary facts, int64 [N, count], of labels [N] and facts [N, 4] (:data:`ATTRIBUTES`).

    First come eleven plain facts, each true for 4/9 to 1/2 of all images, then the exclusive-or of every two of them
    that have no common cause.
    """
    colour, texture, position, size = facts.unbind(1)
    row, column = position // 3, position % 3
    # A third of the images is large, left or in the top row; adding some of the middle ones, chosen by an
    # independent fact, brings that to 4 in 9.
    plain = [
        colour < 4,  # warm
        texture >= 2,  # a background with small patches
        size * 3 + column >= 5,  # large
        column * 3 + row < 4,  # left
        row * 3 + 2 - column < 4,  # top
        colour % 2 == 1,
        texture % 2 == 1,
        labels % 2 == 1,
        colour % 4 >= 2,
        position % 2 == 1,  # the four edges of the grid against corners and centre
        labels >= 5,
    ]
    causes = ({2, 3, 4, 9}, {7, 10})  # where it is, and what it is
    pairs = [(a, b) for a, b in combinations(range(len(plain)), 2) if not any({a, b} <= c for c in causes)]
    bits = plain + [plain[a] ^ plain[b] for a, b in pairs]
    if not 1 <= count <= len(bits):
        raise InputError(f"binary_attributes of shapes takes 1 to {len(bits)} names, not {count}.")
    return torch.stack(bits[:count], dim=1).to(torch.int64)

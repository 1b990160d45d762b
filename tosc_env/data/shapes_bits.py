"""Binary facts about a Shapes image, nearly balanced, for data sets of binary attributes to be stood in."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from tosc_env.errors import InputError


def binary_columns(labels: Tensor, facts: Tensor, count: int) -> Tensor:
    """The first ``count`` binary facts, int64 [N, count], of labels [N] and facts [N, 4].

    ``facts`` holds colour (8 values), texture (4), position (9) and size (3).  First come eleven plain
    facts, each true for 4/9 to 1/2 of all images (warm colour, textured background, large, ...), then
    the exclusive-or of every two of them.

    Raises:
        InputError: more facts than there are.
    """
    plain = _plain(labels, *facts.unbind(1))
    pairs = [plain[a] ^ plain[b] for a, b in combinations(range(len(plain)), 2) if _independent(a, b)]
    bits = plain + pairs
    if not 1 <= count <= len(bits):
        raise InputError(f"binary_attributes of shapes takes 1 to {len(bits)} names, not {count}.")
    return torch.stack(bits[:count], dim=1).to(torch.int64)


def _plain(labels: Tensor, colour: Tensor, texture: Tensor, position: Tensor, size: Tensor) -> list[Tensor]:
    row, column = position // 3, position % 3
    # A third of the images is large, left or in the top row; adding some of the middle ones, chosen by an
    # independent fact, brings that to 4 in 9.
    return [
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


def _independent(a: int, b: int) -> bool:
    where, what = {2, 3, 4, 9}, {7, 10}  # positions in the list of plain facts, by common cause
    return not any({a, b} <= cause for cause in (where, what))

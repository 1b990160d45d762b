"""Rows of tensors, dictionaries and dataclasses."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from tosc_env.rows import select, take
from tosc_env.types import Link

MASK = torch.tensor([True, False, True])


@dataclass(frozen=True)
class Remembering(Link):
    """A link with a field more."""

    state: Tensor


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((3,), torch.float32), ((3, 2), torch.int64), ((3, 1, 4, 2), torch.complex64), ((3, 0), torch.bool)],
)
def test_rows_of_a_tensor_are_the_one_or_the_other(shape, dtype):
    new, old = torch.ones(shape).to(dtype), torch.zeros(shape).to(dtype)
    chosen = select(MASK, new, old)
    assert chosen.dtype == dtype
    for row, picked in enumerate(MASK):
        assert torch.equal(chosen[row], (new if picked else old)[row])
        assert torch.equal(take(slice(row, row + 1), chosen), chosen[row : row + 1])


def test_all_fields_of_a_dataclass_are_chosen_and_its_type_stays():
    def link(value):
        fades, noise = torch.full((3, 2, 1, 4), value + 0j), torch.full((3, 2, 8), value + 0j)
        level = torch.full((3,), value)
        return Remembering(fades, noise, level, level.long(), torch.full((3, 5), value))

    chosen = select(MASK, {"eve": link(1.0)}, {"eve": link(2.0)})["eve"]
    assert type(chosen) is Remembering
    for field in ("fades", "noise", "snr_db", "age", "state"):
        values = getattr(chosen, field)
        assert (values[MASK] == 1).all() and (values[~MASK] == 2).all()
    assert take(torch.tensor([1]), chosen).state.tolist() == [[2.0] * 5]


def test_what_has_no_rows_is_the_new():
    assert select(MASK, "new", "old") == "new"
    assert select(MASK, torch.tensor(1.0), torch.tensor(2.0)) == 1.0
    assert take(slice(0, 1), "same") == "same" and take(slice(0, 1), torch.tensor(1.0)) == 1.0

"""Rows of tensors, dictionaries and dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from tosc_env.data import make_source
from tosc_env.envs.session import InFlight
from tosc_env.game import Game
from tosc_env.nodes import wiretap
from tosc_env.rows import select, take
from tosc_env.types import Link

MASK = torch.tensor([True, False, True])


@dataclass(frozen=True)
class Remembering(Link):
    """A link with a field more."""

    state: Tensor


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 1, 4, 2), (3, 0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool, torch.complex64])
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


def test_rows_of_a_whole_message_are_chosen_down_to_every_nodes_link():
    game = Game(make_source("shapes", num_images=30), channel="rayleigh", nodes=wiretap(2), snr_db=[0.0, 9.0])

    def message(seed):
        stream = torch.Generator().manual_seed(seed)
        round_ = game.draw(3, generator=stream)
        return InFlight(round_, game.transmit(round_, torch.randn(3, 128, generator=stream)))

    one, other = message(1), message(2)
    mixed = select(MASK, one, other)
    for rows, whole in ((MASK, one), (~MASK, other)):
        for name, link in mixed.round.links.items():
            theirs = whole.round.links[name]
            assert torch.equal(link.fades[rows], theirs.fades[rows])
            assert torch.equal(link.snr_db[rows], theirs.snr_db[rows])
            got = (m.transmission.receptions[name].raw for m in (mixed, whole))
            assert torch.equal(*(raw[rows] for raw in got))
        assert torch.equal(mixed.round.batch.images[rows], whole.round.batch.images[rows])
        assert torch.equal(mixed.transmission.sent[rows], whole.transmission.sent[rows])
    assert mixed.transmission.weights is None


def test_a_message_that_is_not_on_the_air_yet_stays_so():
    game = Game(make_source("shapes", num_images=30))
    message = InFlight(game.draw(3, generator=torch.Generator().manual_seed(0)), None)
    chosen = select(MASK, message, replace(message))
    assert chosen.transmission is None

"""Rows with a seed of their own each: as many sessions of one row, with the interface of a session of many."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from torch import Tensor

from tosc_env.envs.session import InFlight, Session, as_seed
from tosc_env.envs.system import System
from tosc_env.errors import InputError
from tosc_env.rows import join, take
from tosc_env.types import Scores


class SeededRows(Session):
    """B rows of one game, row i drawn by a session of its own that is given the i-th seed.

    Row i is the single environment with that seed, bit for bit, whatever the other rows do. A step takes as long as
    those of B single environments.
    """

    def __init__(
        self, system: System, outside: Collection[str], *, num_envs: int = 1, max_cycles: int = 16
    ) -> None:
        super().__init__(system, outside, num_envs=num_envs, max_cycles=max_cycles)
        self.rows = [Session(system, outside, max_cycles=max_cycles) for _ in range(num_envs)]

    def reset(  # type: ignore[override]
        self, seed: Sequence[int | None] | None = None, mask: np.ndarray | Tensor | None = None
    ) -> None:
        """Begin new episodes in all rows or those of ``mask``; a row whose seed is None goes on with its stream."""
        seeds = [None] * self.num_envs if seed is None else [as_seed(one) for one in seed]
        if len(seeds) != self.num_envs:
            raise InputError(f"seeds must be one for each of {self.num_envs} environments, not {len(seeds)}.")
        chosen = np.ones(self.num_envs, dtype=bool) if mask is None else self._mask(mask)
        if self.present is None and not chosen.all():
            raise InputError("the first reset with a list of seeds is of all rows, and takes no reset_mask.")
        for i in np.flatnonzero(chosen):
            self.rows[i].reset(seeds[i])
        if chosen.all():
            self.last = None
        self._gather()

    def restart(self, rows: np.ndarray) -> None:
        for i in np.flatnonzero(rows):
            self.rows[i].reset()
        self._gather()

    def play(self, actions: Mapping[str, Tensor]) -> Scores:
        played = [row.play(take(slice(i, i + 1), dict(actions))) for i, row in enumerate(self.rows)]
        self.last = join([row.last for row in self.rows])
        self._gather()
        return join(played)

    def advance(self, restart: np.ndarray | None = None) -> None:
        for i, row in enumerate(self.rows):
            row.advance(None if restart is None else restart[i : i + 1])
        self._gather()

    def observe(self, player: str, message: InFlight | None = None) -> dict[str, Tensor]:
        if message is not None:
            raise InputError("rows with seeds of their own show their present message alone.")
        return join([row.observe(player) for row in self.rows])

    def _gather(self) -> None:
        messages = [row._present for row in self.rows]
        if any(message.transmission is None for message in messages):
            # A transmitter outside sends them all again, those of rows that wait for their reset too.
            messages = [InFlight(message.round, None) for message in messages]
        self.present = join(messages)
        self.cycles = np.concatenate([row.cycles for row in self.rows])

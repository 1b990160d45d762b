"""The laws that a scheme (encode and decode) and a stage (protect and recover) have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from tosc_env.rows import take
from tosc_env.testing import laws
from tosc_env.types import Context


class Ends(ABC):
    """The two ends of a link in eval mode, under check.

    Args:
        module: the scheme or stage.
        device: where it is.
        seed: of what it is given.
        who: what sentences call it.

    Attributes:
        methods: the names of the transmitter's method and of the receiver's.
        draws: whether the transmitter has been seen to draw from its context's generator.
    """

    methods: ClassVar[tuple[str, str]]

    def __init__(self, module: Any, device: torch.device, seed: int, who: str) -> None:
        self.module, self.spec, self.device, self.seed, self.who = module, module.spec, device, seed, who
        self.draws = False

    @abstractmethod
    def given(self, count: int) -> Tensor:
        """What the transmitter is given, a row per message."""

    @abstractmethod
    def context(self, count: int, later: int = 0) -> Context:
        """What it is told, from another generator ``later``."""

    @abstractmethod
    def air(self, sent: Tensor) -> tuple[Tensor, Tensor]:
        """What arrives [B, 2n], with CSI [B, c], of what was sent [B, 2n]."""

    @abstractmethod
    def width(self) -> int:
        """How many numbers the receiver makes of a message."""

    def agree(self, one: Tensor, other: Tensor, tolerance: float) -> bool:
        """Whether two batches of sent symbols are the same up to rounding."""
        return laws.same(one, other, tolerance)

    def send(self, given: Tensor, context: Context) -> Tensor:
        """What the transmitter makes of ``given``, checked."""
        name, stream = self.methods[0], context.generator
        assert stream is not None
        before = stream.get_state()
        sent = laws.undisturbed(f"{self.who}: {name}", getattr(self.module, name), given, context)
        self.draws = self.draws or not torch.equal(before, stream.get_state())
        what = f"{self.who}: what {name} returns for {len(given)} messages"
        return laws.require_tensor(sent, (len(given), 2 * self.spec.num_symbols), what)

    def receive(self, received: Tensor, csi: Tensor, context: Context, at: str = "") -> Tensor:
        """What the receiver makes of a reception, checked; ``at`` says which, if it is a strange one."""
        name, who = self.methods[1], f"{self.who} {at}".rstrip()
        answer = laws.undisturbed(f"{who}: {name}", getattr(self.module, name), received, csi, context)
        return laws.require_tensor(
            answer, (len(received), self.width()), f"{who}: what {name} returns for {len(received)} messages"
        )

    def check_messages(self) -> None:
        """Both ends depend on nothing but their arguments, and on them row by row, in batches of any size."""
        for count in laws.BATCH_SIZES:
            self._check_batch(count)

    def _check_batch(self, count: int) -> None:
        sends, receives = (f"{self.who}: {name}" for name in self.methods)
        given = self.given(count)
        sent = self.send(given, self.context(count))
        with laws.step(f"{self.who}: sending its symbols"):
            received, csi = self.air(sent)
        answer = self.receive(received, csi, self.context(count))
        laws.require(
            sent.device == answer.device == self.device, f"{self.who}: outputs must be on {self.device}."
        )
        laws.require(
            laws.same(self.send(given, self.context(count)), sent),
            f"{sends} gives other symbols for the same input, context and generator state.",
        )
        # Something else is sent last: a module that remembers it would answer by memory, not by reception.
        self.send(given.flip(-1), self.context(count))
        laws.require(
            laws.same(self.receive(received, csi, self.context(count)), answer),
            f"{receives} depends on something else than reception, CSI and context.",
        )

        def told(part: slice) -> Context:
            return replace(take(part, self.context(count)), generator=laws.generator(self.seed, self.device))

        if not self.draws:
            laws.require_rows(sends, sent, lambda part: self.send(given[part], told(part)), self.agree)
        laws.require_rows(receives, answer, lambda part: self.receive(received[part], csi[part], told(part)))

    def check_any_reception(self) -> None:
        """The receiver gives finite numbers whatever arrives."""
        _, csi = self.air(self.send(self.given(3), self.context(3)))
        for what, received, told in laws.receptions(csi, self.spec.num_symbols, self.seed):
            self.receive(received, told, replace(self.context(3), snr_db=told[:, 0]), what)

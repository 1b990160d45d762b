"""Checks of values that lie on a device, put off until somebody waits for the device anyway.

To look at a tensor's value is to wait for everything that was handed to the device before it.  Outside of a training
every check is made at once; a training loop gathers them and looks every so many steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

from tosc_env.errors import InputError


class DeferredChecks:
    """What was found wrong on the device, and not looked at yet.

    Example:
        >>> import torch
        >>> from tosc_env.modulation import check_points, constellation_points
        >>> checks = DeferredChecks()
        >>> with checks.gather():
        ...     check_points(torch.zeros(1, 4), constellation_points("qpsk"), "qpsk")
        >>> checks.look()
        Traceback (most recent call last):
        ...
        tosc_env.errors.InputError: a symbol was no point of 'qpsk'.
    """

    def __init__(self) -> None:
        self._wrong: dict[str, Tensor] = {}

    @contextmanager
    def gather(self) -> Iterator[None]:
        """Within, checks that know of this are noted here, and nothing is raised."""
        token = _gathering.set(self)
        try:
            yield
        finally:
            _gathering.reset(token)

    def note(self, wrong: Tensor, complaint: str) -> None:
        """Note a check: a bool tensor of one element, true where something is wrong, and the sentence to say then."""
        known = self._wrong.get(complaint)
        self._wrong[complaint] = wrong if known is None else known | wrong

    def look(self) -> None:
        """Wait for the device.

        Raises:
            InputError: something noted since the last look was wrong.
        """
        noted, self._wrong = self._wrong, {}
        for complaint, wrong in noted.items():
            if wrong:
                raise InputError(complaint)


_gathering: ContextVar[DeferredChecks | None] = ContextVar("gathering", default=None)


def gathering() -> DeferredChecks | None:
    """Where to note a check now; None: make it at once."""
    return _gathering.get()

"""Checks of values on a device that do not synchronise the host with it.

Reading a tensor's value waits for all work queued on its device.  By default a check reads the value and raises at
once; within :meth:`AsyncChecks.collect` its result stays on the device until :meth:`AsyncChecks.synchronize`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

from tosc_env.errors import InputError, ToscError


class AsyncChecks:
    """Results of checks, kept on the device until :meth:`synchronize`."""

    def __init__(self) -> None:
        self._failed: dict[str, tuple[Tensor, type[ToscError]]] = {}

    @contextmanager
    def collect(self) -> Iterator[None]:
        """A context in which checks add their results here and raise nothing."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def add(self, failed: Tensor, message: str, error: type[ToscError] = InputError) -> None:
        """Add a check's result, bool [] on any device; its message is the same for all results of one check."""
        if message in self._failed:
            failed = self._failed[message][0] | failed
        self._failed[message] = failed, error

    def synchronize(self) -> None:
        """Read all results since the last call, which waits for the device, and raise the error of one that failed."""
        results, self._failed = self._failed, {}
        for message, (failed, error) in results.items():
            if failed:
                raise error(message)


_current: ContextVar[AsyncChecks | None] = ContextVar("async_checks", default=None)


def current_checks() -> AsyncChecks | None:
    """The object that collects results now; None: checks are synchronous."""
    return _current.get()


def check(failed: Tensor, message: str, error: type[ToscError] = InputError) -> None:
    """Raise ``error`` if ``failed`` (bool []) holds, or add that result where results are collected."""
    checks = current_checks()
    if checks is not None:
        checks.add(failed, message, error)
    elif failed:
        raise error(message)

"""The errors a user can cause, each a single sentence that names the value and what is allowed.

All derive from :class:`ToscError`, and each also from the built-in error people expect (``ValueError`` for a bad
argument, ``OSError`` for a file).  The command line prints the sentence and exits with 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ToscError(Exception):
    """Base of every error that tosc-env raises on purpose."""


class InputError(ToscError, ValueError):
    """An argument has a value, shape or type that is not allowed."""


class DataError(ToscError, OSError):
    """A data file is missing, truncated, corrupt or not what it claims to be."""


class CheckpointError(ToscError, OSError):
    """A checkpoint is missing, corrupt, or belongs to another data set or code length."""


class DeniedError(ToscError, PermissionError):
    """An attacker asked for something that its threat model denies."""


class TrainingError(ToscError, RuntimeError):
    """Training cannot go on, for instance because the loss is no longer a number."""


def unknown(kind: str, name: object, allowed: Iterable[str]) -> InputError:
    """The error for a name that is not registered, with the closest match and everything allowed.

    >>> str(unknown("channel", "awng", ["awgn", "rayleigh"]))
    "unknown channel 'awng', did you mean 'awgn'? Available: awgn, rayleigh."
    """
    names = sorted(allowed)
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f", did you mean {close[0]!r}? Available" if close else "; available"
    return InputError(f"unknown {kind} {name!r}{hint}: {', '.join(names) or 'none'}.")

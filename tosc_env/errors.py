"""The errors a user can cause, each a single sentence that names the value and what is allowed.

All derive from :class:`ToscError`, and each also from the built-in error people expect (``ValueError`` for a bad
argument, ``OSError`` for a file).  The command line prints the sentence and exits with 2.
"""

from __future__ import annotations

import difflib
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate, islice, takewhile

LONGEST, LONGEST_VALUE, MOST_NAMES = 299, 80, 120
"""Characters of a sentence, of a value in it, and of the names that it lists."""
_MOST_PARTS, _DEEPEST = LONGEST_VALUE // 3, 3
"""How much of a container is written: what holds itself twice would take for ever."""


class ToscError(Exception):
    """Base of every error that tosc-env raises on purpose: one line, shortened in its middle to :data:`LONGEST`."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(one_line(arg, LONGEST) if isinstance(arg, str) else arg for arg in args))


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


@contextmanager
def told_as(kind: type[ToscError], doing: str) -> Iterator[None]:
    """Raise what the operating system refuses while ``doing`` something as an error of ours."""
    try:
        yield
    except ToscError:
        raise
    except OSError as error:
        raise kind(f"{doing}: {error.strerror or error}.") from error


_LIBRARIES = [
    "tosc_env",
    "tosc_agents",
    "gymnasium",
    "pettingzoo",
    "torch",
    "functools",
    "contextlib",
    "importlib",
]
"""Packages between a user's line and what warns of it."""


def warn_user(message: str) -> None:
    """Warn (``UserWarning``) of the user's line that led here, however many of ours lie between."""
    frame = sys._getframe(1)
    while frame.f_globals.get("__name__", "").partition(".")[0] in _LIBRARIES and frame.f_back is not None:
        frame = frame.f_back
    known, line = frame.f_globals, (frame.f_code.co_filename, frame.f_lineno)
    registry = known.setdefault("__warningregistry__", {})
    warnings.warn_explicit(message, UserWarning, *line, module=known.get("__name__"), registry=registry)


CODES = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What is no text: codes that a terminal obeys, those that turn the direction of writing, and half characters."""


def printable(text: str) -> str:
    """A text without codes, for a terminal or a picture."""
    return CODES.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str, longest: int) -> str:
    """A text as one line without codes, shortened in its middle: the end of a sentence often says what is allowed."""
    lines = text.splitlines()
    text = printable(text if lines == [text] else " ".join(line.strip() for line in lines))
    if len(text) <= longest:
        return text
    kept = longest - 5
    return f"{text[: kept - kept // 2]} ... {text[-(kept // 2) :]}"


def without_keys(text: str) -> str:
    """A text without anything that is called a key or looks like one.

    >>> without_keys("keyed:key:" + "5a" * 32)
    'keyed:key...'
    """
    return re.sub(r"(?<=\bkey)[=:]\S+|[0-9a-f]{32,}", "...", text, flags=re.IGNORECASE)


def shown(value: object, levels: int = _DEEPEST) -> str:
    """Return a value as a message may show it: one short line for anything, without keys.

    >>> shown([{"name": "keyed", "key": "abc"}, "keyed:key:" + "5a" * 32])
    "[{'name': 'keyed'}, 'keyed:key...']"
    """
    try:
        text = _written(value, levels)
    except Exception:  # whatever a stranger's repr raises
        text = f"<an object of the class {type(value).__name__}>"
    return one_line(text, LONGEST_VALUE)


def _written(value: object, levels: int) -> str:
    if isinstance(value, Mapping | list | tuple | set | frozenset) and not levels:
        return "..."
    if isinstance(value, Mapping):
        pairs = islice(((k, v) for k, v in value.items() if k != "key"), _MOST_PARTS)
        return "{" + ", ".join(f"{shown(k, levels - 1)}: {shown(v, levels - 1)}" for k, v in pairs) + "}"
    if isinstance(value, list | tuple | set | frozenset):
        return "[" + ", ".join(shown(part, levels - 1) for part in islice(value, _MOST_PARTS)) + "]"
    if isinstance(value, bytes | bytearray):
        return "bytes"  # perhaps a key
    shape = getattr(value, "shape", ())
    if not isinstance(value, type) and isinstance(shape, tuple) and len(shape):
        return f"{type(value).__name__} of {getattr(value, 'dtype', '?')} {list(shape)}"
    if isinstance(value, int | float):
        return repr(value)
    return repr(without_keys(value)) if isinstance(value, str) else without_keys(repr(value))


def unknown(kind: str, name: object, allowed: Iterable[str]) -> InputError:
    """The error for a name that is not registered, with the closest match and what is allowed.

    >>> str(unknown("channel", "awng", ["awgn", "rayleigh"]))
    "unknown channel 'awng', did you mean 'awgn'? Available: awgn, rayleigh."
    """
    names = sorted(allowed)
    written = name[:LONGEST] if isinstance(name, str) else ""
    close = difflib.get_close_matches(written, names, n=1)
    hint = f", did you mean {close[0]!r}? Available" if close else "; available"
    return InputError(f"unknown {kind} {shown(name)}{hint}: {listing(names, written)}.")


def listing(names: Iterable[str], like: str = "") -> str:
    """Names in a row, or the nearest to one that somebody wrote where they are too many.

    >>> listing(["awgn", "rayleigh"]), listing(map(str, range(200)), "99")[-12:]
    ('awgn, rayleigh', 'and 172 more')
    """
    every = list(names)
    kept = difflib.get_close_matches(like, every, n=len(every), cutoff=0.0) if like and every else every
    lengths = accumulate(len(name) + len(", ") for name in kept)
    kept = kept[: sum(1 for _ in takewhile(lambda length: length <= MOST_NAMES + len(", "), lengths))]
    near = set(kept)
    told = ", ".join(name for name in every if name in near) or "none"
    return told if len(kept) == len(every) else f"{told} and {len(every) - len(kept)} more"

"""Building registered objects from names and plain options, with one-sentence errors."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, TypeVar

from tosc_env.errors import InputError, ToscError
from tosc_env.registry import Registry

T = TypeVar("T")

SMALLEST, LARGEST = 2.0**-126, (2.0 - 2.0**-23) * 2.0**127
"""The least positive normal number and the greatest that float32 holds."""


def check_options(factory: Callable[..., Any], name: str, options: Mapping[str, Any], given: int = 0) -> None:
    """Raise InputError when ``factory`` takes no option of a given name, or lacks one that it needs.

    Args:
        factory: the class or function to be called.
        name: its registered name.
        options: the keyword arguments for it.
        given: the number of positional arguments that it gets besides; they are no options.

    >>> check_options(lambda *, size=32: None, "shapes", {"sise": 64})
    Traceback (most recent call last):
    ...
    tosc_env.errors.InputError: 'shapes' has no option 'sise'; its options are: size.
    """
    known = [p for p in inspect.signature(factory).parameters.values() if p.kind is not p.VAR_POSITIONAL]
    named = [p for p in known[given:] if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    listing = ", ".join(p.name for p in named) or "none"
    if not any(p.kind is p.VAR_KEYWORD for p in known):
        for option in options:
            if option not in {p.name for p in named}:
                raise InputError(f"{name!r} has no option {shown(option)!r}; its options are: {listing}.")
    for p in named:
        if p.default is p.empty and p.name not in options:
            raise InputError(f"{name!r} needs the option {p.name!r}; its options are: {listing}.")


def named_options(
    what: str,
    given: object,
    beside: Collection[str] = ("spec", "scheme", "eavesdropper", "stages"),
) -> dict[str, Any]:
    """Return options as a new dictionary; None stands for none.

    Args:
        what: the argument that they were given as.
        given: its value.
        beside: names that are no options because they have arguments of their own.

    Raises:
        InputError: no dictionary of names and values, or one that sets something of ``beside``.

    >>> named_options("scheme_kwargs", {"stages": [1]})
    Traceback (most recent call last):
    ...
    tosc_env.errors.InputError: scheme_kwargs sets 'stages', which is no option: it has an argument of its own.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise InputError(f"{what} takes a dictionary of names and values, not {shown(given)!r}.")
    for name in given:
        if name in beside:
            raise InputError(f"{what} sets {name!r}, which is no option: it has an argument of its own.")
    return dict(given)


def build(registry: Registry[T], base: type, value: object, options: Mapping[str, Any], *args: Any) -> T:
    """Return ``value`` itself when it is a ``base``, else the registered class of that name, built with ``options``.

    Raises:
        InputError: the name or an option is unknown, the value is neither, an object came with options, or nothing
            could be made of these.
    """
    if isinstance(value, base):
        if options:
            raise InputError(
                f"a ready {registry.kind} takes no further options, but {sorted(options)} were given."
            )
        return value  # type: ignore[return-value]
    if not isinstance(value, str):
        raise InputError(f"a {registry.kind} is given as a name or a {base.__name__}, not {shown(value)!r}.")
    head = value.partition(":")[0]
    if head != value and head in registry and value not in registry:
        raise InputError(
            f"a {registry.kind} with options is written {{'name': {head!r}, option: value}}, not {shown(value)!r}."
        )
    factory = registry[shown(value)]  # an unknown name is shown
    check_options(factory, value, options, given=len(args))
    try:
        return factory(*args, **options)
    except ToscError as error:
        text = shown(str(error))
        if text == str(error):
            raise
        raise type(error)(text) from None  # a key was given as something else
    except Exception as error:  # whatever a factory makes of an option that it did not expect
        listing = ", ".join(f"{k}={shown(v)!r}" for k, v in options.items() if k != "key") or "no options"
        why = shown(" ".join(str(error).split()).rstrip(".")) or type(error).__name__
        raise InputError(f"the {registry.kind} {value!r} cannot be made with {listing}: {why}.") from error


_KEY = re.compile(r"(?<=\bkey)[=:]\S+|[0-9a-f]{32,}", re.IGNORECASE)


def shown(value: Any) -> Any:
    """Return an option as a message may show it: without anything that is called a key or looks like one.

    >>> shown([{"name": "keyed", "key": "abc"}, "keyed:key:" + "5a" * 32])
    [{'name': 'keyed'}, 'keyed:key...']
    """
    if isinstance(value, Mapping):
        return {shown(k): shown(v) for k, v in value.items() if k != "key"}
    if isinstance(value, list | tuple | set | frozenset):
        return list(map(shown, value))
    if isinstance(value, bytes | bytearray):
        return "..."
    return _KEY.sub("...", value) if isinstance(value, str) else value


def check_positive(value: object, name: str) -> float:
    """Return ``value`` as a float if it is a finite number above 0 that float32 holds.

    >>> check_positive(-1, "epsilon")
    Traceback (most recent call last):
    ...
    tosc_env.errors.InputError: epsilon must be a finite number above 0, not -1.
    """
    number = _real(value)
    if not 0 < number < math.inf:
        raise InputError(f"{name} must be a finite number above 0, not {shown(value)!r}.")
    if not SMALLEST <= number <= LARGEST:
        raise InputError(
            f"{name} must be a number from {SMALLEST:.3g} to {LARGEST:.3g}, which float32 holds, not {value!r}."
        )
    return number


def check_weight(value: object, name: str) -> float:
    """Return ``value`` as a float if it is a finite number of at least 0; InputError otherwise."""
    if not 0 <= _real(value) < math.inf:
        raise InputError(f"{name} must be a number of at least 0, not {shown(value)!r}.")
    return check_number(value, name, low=0.0)


def check_number(value: object, name: str, *, low: float = -LARGEST) -> float:
    """Return ``value`` as a float if it is a number of at least ``low`` that float32 holds; InputError otherwise."""
    number = _real(value)
    if not low <= number <= LARGEST:
        raise InputError(f"{name} must be a number from {low:.3g} to {LARGEST:.3g}, not {shown(value)!r}.")
    return number


def _real(value: object) -> float:
    """``value`` as a float; NaN for what is no real number."""
    try:
        return float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:  # a whole number of more than 308 digits
        return math.inf


def check_count(value: object, name: str, low: int = 1, high: int | None = None, multiple: int = 1) -> int:
    """Return ``value`` if it is a whole number of at least ``low``, at most ``high``, and a multiple of ``multiple``.

    >>> check_count(20, "size", 16, 128, multiple=8)
    Traceback (most recent call last):
    ...
    tosc_env.errors.InputError: size must be a whole number from 16 to 128, a multiple of 8, not 20.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high) or value % multiple:  # type: ignore[operator]
        bounds = f"of at least {low}" if high is None else f"from {low} to {high}"
        step = f", a multiple of {multiple}" if multiple > 1 else ""
        raise InputError(f"{name} must be a whole number {bounds}{step}, not {shown(value)!r}.")
    return int(value)  # type: ignore[call-overload]


def check_range(name: str, given: Sequence[float] | None) -> list[float] | None:
    """Return a range of positive numbers as two floats, None as it is; InputError for anything else.

    >>> check_range("epsilon", (1, 100))
    [1.0, 100.0]
    """
    if given is None:
        return None
    if isinstance(given, str) or not isinstance(given, Sequence) or len(given) != 2:
        raise InputError(f"the range of {name} must be None or two numbers [low, high], not {given!r}.")
    low, high = (
        check_positive(bound, f"each bound of the range of {name}, {list(given)!r},") for bound in given
    )
    if not low < high:
        raise InputError(f"the range of {name} must have low < high, not {list(given)!r}.")
    return [low, high]

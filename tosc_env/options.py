"""Building registered objects from names and plain options, with one-sentence errors."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, TypeVar

from tosc_env.errors import InputError, ToscError
from tosc_env.registry import Registry

T = TypeVar("T")


def check_options(factory: Callable[..., Any], name: str, options: Mapping[str, Any], given: int = 0) -> None:
    """Raise InputError when ``factory`` takes no option of a given name, or lacks one that it needs.

    Args:
        factory: the class or function to be called.
        name: what it is registered under.
        options: keyword arguments it is to be called with.
        given: how many positional arguments it gets besides; they are no options.

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
                raise InputError(f"{name!r} has no option {option!r}; its options are: {listing}.")
    for p in named:
        if p.default is p.empty and p.name not in options:
            raise InputError(f"{name!r} needs the option {p.name!r}; its options are: {listing}.")


def build(registry: Registry[T], base: type, value: object, options: Mapping[str, Any], *args: Any) -> T:
    """``value`` itself when it is a ``base``, else the registered class of that name, built with ``options``.

    Raises:
        InputError: the name or an option is unknown, the value is neither, or an object came with options.
    """
    if isinstance(value, base):
        if options:
            raise InputError(
                f"a ready {registry.kind} takes no further options, but {sorted(options)} were given."
            )
        return value  # type: ignore[return-value]
    if not isinstance(value, str):
        raise InputError(f"a {registry.kind} is given as a name or a {base.__name__}, not {value!r}.")
    factory = registry[value]
    check_options(factory, value, options, given=len(args))
    try:
        return factory(*args, **options)
    except (TypeError, ValueError) as error:
        if isinstance(error, ToscError):
            raise
        told = ", ".join(f"{k}={shown(v)!r}" for k, v in options.items() if k != "key") or "no options"
        raise InputError(f"the {registry.kind} {value!r} cannot be made with {told}: {error}.") from error


def shown(value: Any) -> Any:
    """An option as a message may show it: a key never is, however deep it lies."""
    if isinstance(value, Mapping):
        return {k: shown(v) for k, v in value.items() if k != "key"}
    return value


def check_positive(value: object, name: str) -> float:
    """``value`` as a float if it is a finite number above 0.

    >>> check_positive(-1, "epsilon")
    Traceback (most recent call last):
    ...
    tosc_env.errors.InputError: epsilon must be a finite number above 0, not -1.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < math.inf:
        raise InputError(f"{name} must be a finite number above 0, not {value!r}.")
    return float(value)


def check_weight(value: object, name: str) -> float:
    """``value`` as a float if it is a finite number of at least 0; InputError otherwise."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < math.inf:
        raise InputError(f"{name} must be a number of at least 0, not {value!r}.")
    return float(value)


def check_count(value: object, name: str, low: int = 1) -> int:
    """``value`` if it is a whole number of at least ``low``; InputError otherwise."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < low:
        raise InputError(f"{name} must be a whole number of at least {low}, not {value!r}.")
    return int(value)


def check_range(name: str, given: Sequence[float] | None) -> list[float] | None:
    """A range of positive numbers as two floats, None as it is; InputError for anything else.

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

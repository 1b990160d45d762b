"""Reading options: what a function's annotations allow, and building registered objects from names and options.

An option's type hint is its rule: :func:`check_annotated` reads it, :func:`checked` puts it before a function, and
:func:`check_fields` before a dataclass.  ``Annotated[int, Within(1, 8)]`` has bounds besides.  NumPy's numbers and
strings are taken for Python's, and become them.
"""

from __future__ import annotations

import collections.abc as abc
import functools
import inspect
import math
import sys
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import fields as fields_of
from numbers import Integral, Real
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

import numpy as np
import torch
from torch import Tensor

from tosc_env.errors import InputError, ToscError, listing, one_line, shown, without_keys
from tosc_env.registry import Registry
from tosc_env.types import SystemSpec, Within

T = TypeVar("T")
P = ParamSpec("P")

SMALLEST, LARGEST = 2.0**-126, (2.0 - 2.0**-23) * 2.0**127
"""The least positive normal number and the greatest that float32 holds."""

MOST_MESSAGES = 2**20
"""Messages in a batch."""


# -- what a type hint allows ------------------------------------------------------------------------------


Size = Annotated[int, Within(1, 2**14)]
"""A width, depth or number of channels: a layer of the largest has a gigabyte of weights."""
Count = Annotated[int, Within(1, 2**31)]
"""How often something is done."""
Seed = Annotated[int, Within(0, 2**63 - 1)]
Positive = Annotated[float, Within(SMALLEST, LARGEST)]
Weight = Annotated[float, Within(0.0, LARGEST)]
Share = Annotated[float, Within(0.0, 1.0)]


class _Misfit(Exception):
    """A value that is not what a type hint allows."""


def check_annotated(factory: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments as the type hints of a function or class have them; without one, numpy's scalars are Python's.

    >>> def train(epochs: Annotated[int, Within(1, 100)] = 5): ...
    >>> check_annotated(train, {"epochs": "many"})
    Traceback (most recent call last):
    ...
    tosc_env.errors.InputError: epochs must be a whole number from 1 to 100, not 'many'.
    """
    hints = _hints(getattr(factory, "__func__", factory))
    return {
        name: check_hint(value, hints[name], name) if name in hints else _python(value)
        for name, value in given.items()
    }


def _python(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def check_hint(value: Any, hint: Any, name: str) -> Any:
    """Return ``value`` as a type hint has it; InputError otherwise."""
    try:
        return _fitted(value, hint)
    except _Misfit:
        told = "what was given" if name == "key" else shown(value)
        listed = list_hint(value) if " list of " in f" {described(hint)}" else ""
        raise InputError(f"{name} must be {described(hint)}, not {told}{listed}.") from None


def list_hint(value: object) -> str:
    """How a list is written, for who wrote its parts with commas alone on a command line."""
    return f"; a list is written [{one_line(value, 40)}]" if isinstance(value, str) and "," in value else ""


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """A decorator that has the arguments of a function checked by their type hints (:func:`check_annotated`)."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        bound = signature.bind(*args, **kwargs)
        bound.arguments.update(check_annotated(function, bound.arguments))
        return function(*bound.args, **bound.kwargs)

    return call


def check_fields(record: Any, but: Collection[str] = ()) -> None:
    """Bring the fields of a dataclass to what their type hints have, but for some that have checks of their own."""
    given = {f.name: getattr(record, f.name) for f in fields_of(record) if f.name not in but}
    for name, value in check_annotated(type(record), given).items():
        if value is not given[name]:
            object.__setattr__(record, name, value)


@functools.lru_cache(maxsize=512)
def _hints(factory: Any) -> dict[str, Any]:
    """The type hints of the parameters of a function or class that mean something where it is defined."""
    function: Any = factory.__init__ if isinstance(factory, type) else factory  # type: ignore[misc]
    function = inspect.unwrap(function)
    own = getattr(function, "__globals__", {}) or vars(sys.modules.get(factory.__module__, math))
    # A field of a dataclass means what it meant where it was written, which may be a base in another module.
    scopes = {
        name: vars(sys.modules[base.__module__])
        for base in reversed(getattr(factory, "__mro__", ()))
        for name in vars(base).get("__dataclass_fields__", {})
        if name in vars(base).get("__annotations__", {})
    }
    found = {}
    for p in inspect.signature(factory).parameters.values():
        hint = p.annotation
        if hint is p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            continue
        try:
            hint = eval(hint, scopes.get(p.name, own)) if isinstance(hint, str) else hint
            found[p.name] = Union[hint, None] if p.default is None else hint  # noqa: UP007 (any hint can be in it)
        except Exception:  # a name for type checkers alone, or no type
            continue
    return found


def _fitted(value: Any, hint: Any) -> Any:
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _bounded(_fitted(value, parts[0]), [part for part in parts[1:] if isinstance(part, Within)])
    if origin in (Union, types.UnionType):
        for part in parts:
            try:
                return _fitted(value, part)
            except _Misfit:
                pass
        raise _Misfit
    if hint is bool:
        return bool(_instance(value, bool | np.bool_))
    if hint is int:
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise _Misfit
        return _bounded(int(value), [Within(-(2**63), 2**63 - 1)])
    if hint is float:
        number = _bounded(_real(value), [Within(-sys.float_info.max, sys.float_info.max)])
        return int(value) if isinstance(value, Integral) else number
    if hint is str:
        return str(_instance(value, str))
    if origin is Literal:
        if not isinstance(value, str | int) or value not in parts:
            raise _Misfit
        return parts[parts.index(value)]
    if origin is tuple and parts and parts[-1] is not Ellipsis:
        if not isinstance(value, list | tuple) or len(value) != len(parts):
            raise _Misfit
        return _same(tuple(value), [_fitted(one, part) for one, part in zip(value, parts, strict=True)])
    if origin is abc.Collection and isinstance(value, Set):
        return {_fitted(one, parts[0]) for one in value}
    if origin in (tuple, list, abc.Sequence, abc.Collection):
        if isinstance(value, str | bytes | bytearray) or not isinstance(value, Sequence):
            raise _Misfit
        return _same(value, [_fitted(one, parts[0]) for one in value])
    if origin in (dict, abc.Mapping):
        _instance(value, Mapping)
        return _same(value, {_fitted(k, parts[0]): _fitted(v, parts[1]) for k, v in value.items()})
    if origin is abc.Callable:
        return _instance(value, abc.Callable)
    kind = type(None) if hint is None else origin or hint
    return _instance(value, kind) if isinstance(kind, type) and kind is not object else value


def _instance(value: Any, kind: Any) -> Any:
    try:
        fits = isinstance(value, kind)
    except TypeError:  # a protocol, of which only that can be asked
        fits = "__call__" not in vars(kind) or callable(value)
    if not fits:
        raise _Misfit
    return value


def _bounded(value: Any, bounds: Sequence[Within]) -> Any:
    for within in bounds:
        if not within.low <= value <= within.high:
            raise _Misfit
    return value


def _same(given: Any, fitted: Any) -> Any:
    """The container that was given where nothing in it has changed, else one of the same kind."""
    if isinstance(given, Mapping):
        return given if all(k in given and fitted[k] is given[k] for k in fitted) else fitted
    if all(new is old for new, old in zip(fitted, given, strict=True)):
        return given
    return tuple(fitted) if isinstance(given, tuple) else fitted


def described(hint: Any) -> str:
    """What a type hint allows, in words."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return described(parts[0]) + _bounds(hint)
    if origin in (Union, types.UnionType):
        return _either(map(described, parts))
    if origin is Literal:
        return _either(map(repr, parts))
    if origin is tuple and parts and parts[-1] is not Ellipsis:
        return f"a list of {len(parts)} {_plural(parts[0])}"
    if origin in (tuple, list, abc.Sequence, abc.Collection):
        return f"a list of {_plural(parts[0])}"
    if hint in _WORDS:
        return _WORDS[hint]
    if origin is abc.Callable:
        return "a function"
    if origin in (dict, abc.Mapping):
        each = f", each {described(parts[1])}" if parts and isinstance(parts[1], type) else ""
        return f"a dictionary of names and values{each}" if parts and parts[0] is str else "a dictionary"
    return _a(getattr(origin or hint, "__name__", str(hint)))


_WORDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a finite number",
    str: "a string",
    type(None): "None",
    None: "None",
}
_PLURALS = {int: "whole numbers", float: "finite numbers", str: "strings"}


def _plural(hint: Any) -> str:
    word = _PLURALS.get(get_args(hint)[0] if get_origin(hint) is Annotated else hint)
    return described(hint) if word is None else word + _bounds(hint)


def _bounds(hint: Any) -> str:
    bounds = [part for part in get_args(hint)[1:] if isinstance(part, Within)]
    return "".join(f" from {_number(part.low)} to {_number(part.high)}" for part in bounds)


def _either(words: Iterable[str]) -> str:
    """Different words with "or" before the last, which is None if that is one of them."""
    *first, last = sorted(dict.fromkeys(words), key=lambda word: word == "None")
    return f"{', '.join(first)} or {last}" if first else last


def _number(value: float) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _a(name: str) -> str:
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"


# -- one value --------------------------------------------------------------------------------------------


def check_is(value: object, kind: type[T], name: str) -> T:
    """Return ``value`` if it is of a class; InputError otherwise."""
    if not isinstance(value, kind):
        raise InputError(f"{name} must be {_a(kind.__name__)}, not {shown(value)}.")
    return value


def check_dense(value: T, name: str, *, real: bool = False) -> T:
    """Return ``value`` unless it is a tensor or array whose numbers do not all lie in memory; InputError otherwise.

    Everything that a stranger's code or data hands over goes through this before anything else is asked of it: of
    sparse, quantized, nested and meta tensors not even the shape can be compared, and of masked arrays NumPy takes the
    masked values.  With ``real`` complex numbers are refused too, whose imaginary part a conversion would drop.  What
    is no tensor or array is returned as it is.
    """
    if isinstance(value, Tensor):
        dense = value.layout is torch.strided
        meta = value.device.type == "meta"
        if dense and not (value.is_nested or value.is_quantized or meta):
            if real and value.is_complex():
                raise InputError(f"{name} must be real numbers, not {shown(value)}.")
            return value
        # A nested tensor may be strided too.
        told = {"nested": value.is_nested, "quantized": value.is_quantized, "meta": meta}
        kind = next((word for word, holds in told.items() if holds), str(value.layout).rpartition(".")[2])
        raise InputError(f"{name} must be a dense tensor, all in memory, not a {kind.strip('_')} one.")
    if isinstance(value, np.ma.MaskedArray):
        raise InputError(f"{name} must not be a masked array: fill the masked values, or leave them out.")
    return value


def check_tensor(value: object, name: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return ``value`` if it is a tensor of a shape and type; InputError otherwise. Its values are not looked at."""
    check_dense(value, name)
    if not isinstance(value, Tensor) or list(value.shape) != list(shape) or value.dtype != dtype:
        kind = str(dtype).removeprefix("torch.")
        raise InputError(f"{name} must be a tensor {kind} {list(shape)}, not {shown(value)}.")
    return value


def check_reals(value: object, name: str, shape: Sequence[int]) -> Tensor:
    """Return ``value`` if it is a floating-point tensor of a shape; InputError otherwise."""
    check_dense(value, name)
    if not isinstance(value, Tensor) or value.shape != torch.Size(shape) or not value.is_floating_point():
        raise InputError(f"{name} must be a tensor of real numbers {list(shape)}, not {shown(value)}.")
    return value


def check_choice(value: object, name: str, allowed: Sequence[str | None]) -> Any:
    """Return ``value`` if it is one of a few names; InputError otherwise."""
    if not isinstance(value, str | None) or value not in allowed:
        raise InputError(f"{name} must be {_either(map(repr, allowed))}, not {shown(value)}.")
    return value


def check_spec(spec: object) -> SystemSpec:
    """Return a system's shapes if they are such; InputError otherwise."""
    check_fields(check_is(spec, SystemSpec, "spec"))
    return spec  # type: ignore[return-value]


def check_positive(value: object, name: str) -> float:
    """Return ``value`` as a float if it is a number above 0 that float32 holds; InputError otherwise."""
    return float(check_hint(value, Positive, name))


def check_weight(value: object, name: str) -> float:
    """Return ``value`` as a float if it is a number of at least 0 that float32 holds; InputError otherwise."""
    return float(check_hint(value, Weight, name))


def check_number(value: object, name: str) -> float:
    """Return ``value`` as a float if it is a number that float32 holds; InputError otherwise."""
    return float(check_hint(value, Annotated[float, Within(-LARGEST, LARGEST)], name))


def _real(value: object) -> float:
    """``value`` as a float; NaN for what is no real number."""
    try:
        return float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:  # a whole number of more than 308 digits
        return math.inf


def check_count(value: object, name: str, low: int = 1, high: int | None = None, multiple: int = 1) -> int:
    """Return ``value`` if it is a whole number from ``low`` to ``high`` and a multiple of ``multiple``."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high) or value % multiple:  # type: ignore[operator]
        bounds = f"of at least {low}" if high is None else f"from {low} to {high}"
        step = f", a multiple of {multiple}" if multiple > 1 else ""
        raise InputError(f"{name} must be a whole number {bounds}{step}, not {shown(value)}.")
    return int(value)  # type: ignore[call-overload]


def check_range(name: str, given: Sequence[float] | None) -> list[float] | None:
    """Return a range of positive numbers as two floats, None as it is; InputError for anything else."""
    if given is None:
        return None
    low, high = check_hint(given, tuple[Positive, Positive], f"the range of {name}, [low, high],")
    if not low < high:
        raise InputError(f"the range of {name} must have low < high, not {shown(given)}.")
    return [float(low), float(high)]


# -- building from names and options ----------------------------------------------------------------------


def check_options(factory: Callable[..., Any], name: str, options: Mapping[str, Any], given: int = 0) -> None:
    """Raise InputError when ``factory``, registered as ``name``, takes no such option or lacks one that it needs.

    Besides the options it gets ``given`` positional arguments.
    """
    known = [p for p in inspect.signature(factory).parameters.values() if p.kind is not p.VAR_POSITIONAL]
    named = [p for p in known[given:] if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names = [p.name for p in named]
    if not any(p.kind is p.VAR_KEYWORD for p in known):
        for option in options:
            if option not in names:
                told = listing(names, str(option))
                raise InputError(f"{name!r} has no option {shown(option)}; its options are: {told}.")
    for p in named:
        if p.default is p.empty and p.name not in options:
            raise InputError(f"{name!r} needs the option {p.name!r}; its options are: {listing(names)}.")


def named_options(
    what: str, given: object, beside: Collection[str] = ("spec", "scheme", "eavesdropper", "stages")
) -> dict[str, Any]:
    """Return the options that were given as the argument ``what`` as a new dictionary; None stands for none.

    Raises:
        InputError: no dictionary of names and values, or one that sets something of ``beside``.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise InputError(f"{what} takes a dictionary of names and values, not {shown(given)}.")
    for name in given:
        if name in beside:
            raise InputError(f"{what} sets {name!r}, which is no option: it has an argument of its own.")
    return dict(given)


def build(registry: Registry[T], base: type, value: object, options: Mapping[str, Any], *args: Any) -> T:
    """Return ``value`` itself when it is a ``base``, else the registered class of that name, built with ``options``.

    InputError where the name or an option is unknown, an object came with options, or nothing can be made of these.
    """
    if isinstance(value, base):
        if options:
            raise InputError(f"a ready {registry.kind} takes no options; {shown(list(options))} were given.")
        return value  # type: ignore[return-value]
    if not isinstance(value, str):
        raise InputError(f"a {registry.kind} is given as a name or a {base.__name__}, not {shown(value)}.")
    factory = registry[value]
    check_options(factory, value, options, given=len(args))
    given = inspect.signature(factory).bind_partial(*args).arguments
    if "spec" in given:
        check_spec(given["spec"])
    options = check_annotated(factory, options)
    try:
        with torch.inference_mode(False):  # what is made may be trained, and used by whoever comes later
            made: Any = factory(*args, **options)
        if isinstance(made, torch.nn.Module):
            # Its own, as a module's identity is what it holds itself.
            made.name = made.name or value  # type: ignore[assignment]
        return made
    except ToscError as error:
        text = without_keys(str(error))
        if text == str(error):
            raise
        raise type(error)(text) from None  # a key was given as something else
    except Exception as error:  # whatever a factory makes of an option that it did not expect
        told = ", ".join(f"{k}={shown(v)}" for k, v in options.items() if k != "key") or "no options"
        why = without_keys(" ".join(str(error).split()).rstrip(".")) or type(error).__name__
        raise InputError(f"the {registry.kind} {value!r} cannot be made with {told}: {why}.") from error

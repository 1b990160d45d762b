"""Pickles read as descriptions of data: their opcodes move plain values on a stack, and nothing that they name is
imported, called or built; a call that one asks for stays a :class:`Call`, of which the reader takes what it expects.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from itertools import islice
from typing import Any

_LONGEST_KEY = 256
_MARK = object()
"""Stands on the stack where a group of values begins."""


@dataclass(eq=False)
class Call:
    """A call that a pickle asks for and does not get: of what, with what (None: it is named only), and what it would
    give to the result afterwards."""

    name: str
    arguments: Any = None
    state: Any = None


def read_pickle(raw: bytes, names: frozenset[str], opcodes: int) -> Any:
    """Read the description in a pickle of protocol 1 to 5: dictionaries, lists, tuples, numbers, strings and calls.

    ``names`` are all that it may name, ``opcodes`` the most that are followed, which bounds time and memory. Strings of
    Python 2 come as bytes. ValueError, with a phrase to stand behind the file's name, where it is damaged or longer, or
    asks for something else.

    Example:
        >>> import pickle
        >>> read_pickle(pickle.dumps({"a": [1, (2, None)]}), frozenset(), 100)
        {'a': [1, (2, None)]}
        >>> read_pickle(pickle.dumps(print), frozenset(), 100)
        Traceback (most recent call last):
        ...
        ValueError: it asks for builtins.print
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for opcode, argument, _ in islice(pickletools.genops(raw), opcodes):
            if opcode.name == "STOP":
                return stack.pop()
            _follow(opcode.name, argument, stack, memo, names)
    except (LookupError, TypeError) as error:  # an empty stack, an unknown memo, a value of another type
        raise ValueError(f"it is no whole pickle ({type(error).__name__})") from error
    except ValueError as error:  # ours, or pickletools', which quotes what it cannot read at any length
        raise ValueError(str(error)[:200]) from None
    raise ValueError(f"it has more than {opcodes:,} opcodes")


def as_bytes(value: Any) -> Any:
    """The bytes that a pickle of protocol 1 or 2 writes as a call, of Latin-1 text; another value as it is.

    Example:
        >>> as_bytes(Call("_codecs.encode", ("a", "latin1"))), as_bytes(7)
        (b'a', 7)
    """
    match value:
        case Call("_codecs.encode", (str() as text, "latin1"), None):
            try:
                return text.encode("latin-1")
            except UnicodeEncodeError:  # no pickle of bytes
                return value
    return value


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "MARK": _MARK, "EMPTY_TUPLE": ()}
_PLAIN = frozenset(
    {"BININT", "BININT1", "BININT2", "INT"}  # the last: False and True of protocol 1
    | {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
    | {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
)
"""Opcodes whose argument is a value."""


def _follow(
    opcode: str, argument: Any, stack: list[Any], memo: dict[int, Any], names: frozenset[str]
) -> None:
    """Do to stack and memo what one opcode says."""
    match opcode:
        case "PROTO" | "FRAME":
            pass
        case "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
            memo[len(memo) if opcode == "MEMOIZE" else argument] = stack[-1]
        case "BINGET" | "LONG_BINGET":
            stack.append(memo[argument])
        case _ if opcode in _CONSTANTS:
            stack.append(_CONSTANTS[opcode])
        case _ if opcode in _PLAIN:
            stack.append(argument)
        case "BINSTRING" | "SHORT_BINSTRING":
            stack.append(argument.encode("latin-1"))
        case "TUPLE1" | "TUPLE2" | "TUPLE3":
            stack.append(tuple(reversed([stack.pop() for _ in range(int(opcode[-1]))])))
        case "TUPLE":
            stack.append(tuple(_group(stack)))
        case "EMPTY_LIST" | "EMPTY_DICT":
            stack.append([] if opcode == "EMPTY_LIST" else {})
        case "APPEND" | "APPENDS":
            values = [stack.pop()] if opcode == "APPEND" else _group(stack)
            _top(stack, list).extend(values)
        case "SETITEM" | "SETITEMS":
            values = [stack.pop(), stack.pop()][::-1] if opcode == "SETITEM" else _group(stack)
            pairs = zip(values[::2], values[1::2], strict=True)
            _top(stack, dict).update((_text(key), value) for key, value in pairs)
        case "GLOBAL" | "STACK_GLOBAL":
            words = argument.split(" ") if opcode == "GLOBAL" else [stack.pop(), stack.pop()][::-1]
            name = ".".join(words)
            if name not in names:
                raise ValueError(f"it asks for {name[:80]}")
            stack.append(Call(name))
        case "REDUCE":
            arguments = stack.pop()
            stack.append(Call(_top([stack.pop()], Call).name, arguments))
        case "BUILD":
            state = stack.pop()
            _top(stack, Call).state = state
        case _:
            raise ValueError(f"it has the opcode {opcode}, which no plain data needs")


def _group(stack: list[Any]) -> list[Any]:
    """The values above the last mark, taken off the stack with it."""
    values: list[Any] = []
    while (value := stack.pop()) is not _MARK:
        values.append(value)
    return values[::-1]


def _top(stack: list[Any], kind: type) -> Any:
    """The uppermost value, which must be of a kind."""
    if type(stack[-1]) is not kind:
        raise TypeError(f"a {kind.__name__} is expected")
    return stack[-1]


def _text(key: Any) -> str:
    """A key of a dictionary, which is a short string in Python 2 or 3."""
    word = key.arguments[0] if type(key) is Call else key
    if len(word) > _LONGEST_KEY:
        raise ValueError(f"it has a key of more than {_LONGEST_KEY} characters")
    plain = as_bytes(key)
    return plain.decode("utf-8") if type(plain) is bytes else str.__str__(plain)

"""Name -> class tables that a stranger's package can join without a change here.

A :class:`Registry` is a dictionary filled by a decorator, and, when a name is not in it yet, by the
entry points of its group.  The built-in schemes, attackers and channels are declared as entry points in
this project's own ``pyproject.toml``: there is one door, and we use it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from tosc_env.errors import InputError, unknown

T = TypeVar("T")


class Registry(Generic[T]):
    """A table of named classes or factories.

    Args:
        kind: what an entry is, in the words of an error message (``"channel"``).
        group: the entry-point group that other packages fill, or ``None`` for decorators only.

    Example:
        >>> colours = Registry("colour")
        >>> @colours.register("red")
        ... def red():
        ...     return "#f00"
        >>> colours["red"]()
        '#f00'
        >>> list(colours)
        ['red']
    """

    def __init__(self, kind: str, group: str | None = None) -> None:
        self.kind = kind
        self.group = group
        self._table: dict[str, Callable[..., T]] = {}

    def register(self, name: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """A decorator that enters a class or factory under ``name``.

        A class whose kind has names, and which has none of its own, is called by it from then on. Registering the same
        object twice is harmless (modules get reloaded); another one under a taken name is an error.
        """
        if not isinstance(name, str) or not name:
            raise InputError(f"a {self.kind} is registered under a non-empty string, not {name!r}.")

        def enter(factory: Callable[..., T]) -> Callable[..., T]:
            known = self._table.get(name)
            if known is not None and _identity(known) != _identity(factory):
                raise InputError(f"the {self.kind} {name!r} is already registered by {_identity(known)}.")
            self._table[name] = factory
            _call(factory, name)
            return factory

        return enter

    def __getitem__(self, name: str) -> Callable[..., T]:
        if name not in self._table:
            self._load(name)
        if name not in self._table:
            raise unknown(self.kind, name, self)
        return self._table[name]

    def __contains__(self, name: object) -> bool:
        return name in set(self)

    def __iter__(self) -> Iterator[str]:
        """Every name, loaded or only declared, in alphabetical order; loads nothing."""
        declared = {entry.name for entry in self._entries()}
        return iter(sorted(declared | set(self._table)))

    def declares(self, name: str) -> bool:
        """Whether an installed package declares ``name``, so that any program finds the same under it."""
        return name in {entry.name for entry in self._entries() if entry.value == self.origin(name)}

    def origin(self, name: str) -> str:
        """Where ``name`` comes from, as ``module:object``, without importing it."""
        if name in self._table:
            return _identity(self._table[name])
        for entry in self._entries():
            if entry.name == name:
                return entry.value
        raise unknown(self.kind, name, self)

    def _entries(self):
        return entry_points(group=self.group) if self.group else ()

    def _load(self, name: str) -> None:
        for entry in self._entries():
            if entry.name == name:
                try:
                    factory = entry.load()
                except Exception as error:  # whatever a stranger's module does when it is imported
                    raise InputError(
                        f"the {self.kind} {name!r} is declared as {entry.value}, which cannot be loaded: {error}."
                    ) from error
                self._table.setdefault(name, factory)
                _call(factory, name)
                return


def _call(factory: object, name: str) -> None:
    """Give a class its registered name where it has none of its own: files know it by that."""
    if (
        isinstance(factory, type)
        and isinstance(getattr(factory, "name", None), str)
        and "name" not in vars(factory)
    ):
        factory.name = name  # type: ignore[attr-defined]


def _identity(factory: object) -> str:
    return f"{getattr(factory, '__module__', '?')}:{getattr(factory, '__qualname__', factory)}"

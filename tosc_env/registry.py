"""Tables of named classes, filled by a decorator and by the entry points of installed packages, this one's included."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from tosc_env.errors import InputError, shown, unknown

T = TypeVar("T")


class Registry(Generic[T]):
    """A table of named classes or factories, of a kind (``"channel"``) and an entry-point group, if any.

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
        """A decorator that enters a class or factory under ``name``, which becomes the ``name`` of a class without one.

        The same object may be registered twice, as modules get reloaded; InputError for another one.
        """
        if not isinstance(name, str) or not name:
            raise InputError(f"a {self.kind} is registered under a non-empty string, not {shown(name)}.")

        def enter(factory: Callable[..., T]) -> Callable[..., T]:
            known = self._table.get(name)
            if known is not None and _identity(known) != _identity(factory):
                raise InputError(f"the {self.kind} {name!r} is already registered by {_identity(known)}.")
            self._enter(name, factory)
            return factory

        return enter

    def __getitem__(self, name: str) -> Callable[..., T]:
        if isinstance(name, str) and name in self._table:
            return self._table[name]
        if isinstance(name, str) and name.endswith(".safetensors"):
            raise InputError(f"{shown(name)} is a file; load_checkpoint(...).policy is its {self.kind}.")
        entry = self._declared(name)
        try:
            factory = entry.load()
        except Exception as error:  # whatever another package's module raises when it is imported
            raise InputError(
                f"the {self.kind} {name!r} is declared as {entry.value}, which cannot be loaded: {error}."
            ) from error
        self._enter(name, factory)
        return factory

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in set(self)

    def __iter__(self) -> Iterator[str]:
        """The names, loaded or only declared, in alphabetical order; loads nothing."""
        return iter(sorted({*self._table, *(entry.name for entry in self._entries())}))

    def declares(self, name: str) -> bool:
        """Check that an installed package declares ``name``, so that any program finds the same under it."""
        return name in {entry.name for entry in self._entries() if entry.value == self.origin(name)}

    def origin(self, name: str) -> str:
        """The place of an entry as ``module:object``, without importing it."""
        return _identity(self._table[name]) if name in self._table else self._declared(name).value

    def _entries(self) -> Iterable[EntryPoint]:
        return entry_points(group=self.group) if self.group else ()

    def _declared(self, name: object) -> EntryPoint:
        for entry in self._entries() if isinstance(name, str) else ():
            if entry.name == name:
                return entry
        raise unknown(self.kind, name, self)

    def _enter(self, name: str, factory: Callable[..., T]) -> None:
        self._table[name] = factory
        named = isinstance(factory, type) and isinstance(getattr(factory, "name", None), str)
        if named and "name" not in vars(factory):
            factory.name = name  # type: ignore[attr-defined]


def _identity(factory: object) -> str:
    return f"{getattr(factory, '__module__', '?')}:{getattr(factory, '__qualname__', factory)}"

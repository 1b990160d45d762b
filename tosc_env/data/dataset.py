"""What a data set says of itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tosc_env.data.base import Source
from tosc_env.errors import InputError


class DataSet:
    """One data set: its images, and all that anybody else asks about it.

    Subclass it and write :meth:`load`; the rest is optional. A plain function ``load(split="train", **options)``, with
    those of the rest that it has as attributes, will do too. Either is named in ``pyproject.toml`` under
    ``tosc_env.sources``, and once more under ``tosc_env.environments`` to have an environment id of its own.

    Attributes:
        name: what it is registered under; set by :func:`tosc_env.data.data_set`.
        terms: on what terms the images may be used, in a sentence; the cards of weights trained on them quote it.
        splits: ``"train"`` first.
        usual_attributes: the attributes that people decide on these images; none: the class.
        usual_kwargs: the options of :meth:`load` in an environment that is told no others.
        stand_in: the embedded data set that ``data="auto"`` plays where this one is missing, and the options that it
            takes over: theirs by ours. None: that it is missing is an error.
        how: how to get it, in a few words, for ``tosc data list``.

    Example:
        >>> class Grey(DataSet):
        ...     usual_kwargs = {"level": 7}
        ...     def load(self, split="train", level=128):
        ...         return Source.from_arrays(np.full((8, 1, 9, 9), level, np.uint8), name="grey", split=split)
        >>> import numpy as np
        >>> Grey().options(), Grey().load(split="test")
        (['level'], Source('grey', split='test', images=8, device='cpu'))
    """

    name = ""
    terms = ""
    splits: tuple[str, ...] = ("train", "test")
    usual_attributes: tuple[str, ...] = ()
    usual_kwargs: Mapping[str, Any] = MappingProxyType({})
    stand_in: tuple[str, Mapping[str, str]] | None = None
    how = "see its package"

    load: Callable[..., Source]
    """``load(split="train", **options)`` gives a *whole* split on the CPU; halves and devices are seen to by
    :func:`tosc_env.data.make_source`.  One that takes ``attributes`` is told those that the task is about.  Raises
    DataError where files are missing or damaged."""

    def is_available(self) -> bool:
        """Whether the files are found under the data root; says nothing of their content."""
        return True

    def get(self, root: Path, url: str | None, progress: bool) -> Path:
        """Download it to ``root``, checked, or verify what is there; returns where it lies.

        Args:
            root: the data root.
            url: a mirror of the same file; None: the official home.
            progress: show a bar on stderr.

        Raises:
            InputError: there is nothing to download.
            DataError: the download failed or its content is wrong; one that is got by hand says how.
        """
        raise InputError(f"there is nothing to download for {self.name}: {self.how}.")

    def status(self, root: Path) -> dict[str, object]:
        """What lies under ``root``: a row of :func:`tosc_env.data.download.status`, or those parts that are known."""
        return {}

    def options(self) -> list[str]:
        """The options of :meth:`load`."""
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        parameters = inspect.signature(self.load).parameters.values()
        return [p.name for p in parameters if p.kind in named and p.name != "split"]

    def check_options(self, options: Iterable[str]) -> None:
        """Raise InputError for an option that :meth:`load` does not take."""
        if any(p.kind is p.VAR_KEYWORD for p in inspect.signature(self.load).parameters.values()):
            return
        allowed = self.options()
        for option in options:
            if option not in allowed:
                listing = ", ".join(allowed) or "none"
                raise InputError(f"data set {self.name!r} has no option {option!r}; its options: {listing}.")

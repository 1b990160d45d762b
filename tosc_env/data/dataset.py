"""The base class of data sets."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tosc_env.data.base import Source
from tosc_env.errors import InputError


class DataSet:
    """One data set: its images, terms of use, usual task and download.

    A subclass writes :meth:`load`; the rest is optional. It is named in ``pyproject.toml`` under ``tosc_env.sources``,
    and once more under ``tosc_env.environments`` to have an environment id of its own.

    Attributes:
        name: its registered name; set by :func:`tosc_env.data.data_set`.
        terms: the terms of use of the images, in a sentence; the cards of weights trained on them quote it.
        splits: ``"train"`` first.
        usual_attributes: the attributes of the usual task on these images; none: the class.
        usual_kwargs: the default options of :meth:`load` in an environment.
        stand_in: the embedded data set that ``data="auto"`` plays where this one is missing, and its options by the
            options of this one that they take over. None: a missing data set is an error.
        how: the way to get it, in a few words, for ``tosc data list``.
        paths: the options of :meth:`load` that are paths; a card holds them absolute.

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
    paths: tuple[str, ...] = ()

    load: Callable[..., Source]
    """``load(split="train", **options)`` gives a *whole* split on the CPU, of which :func:`tosc_env.data.make_source`
    takes halves.  An option ``attributes`` gets those of the task.  DataError where files are missing or damaged."""

    def is_available(self) -> bool:
        """True if the files are found under the data root; their content is not checked."""
        return True

    def get(self, root: Path, url: str | None, progress: bool) -> Path:
        """Download to ``root``, or verify what is there, as :func:`tosc_env.data.download.fetch` says."""
        raise InputError(f"there is nothing to download for {self.name}: {self.how}.")

    def status(self, root: Path) -> dict[str, object]:
        """The known fields of this data set's row in :func:`tosc_env.data.download.status`."""
        return {}

    def options(self) -> list[str]:
        """The options of :meth:`load`."""
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        parameters = inspect.signature(self.load).parameters.values()
        return [p.name for p in parameters if p.kind in named and p.name != "split"]

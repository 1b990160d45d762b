"""Data sets, a file each, by name; importing this package loads no data and no library that reads data."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from tosc_env.data.base import Source
from tosc_env.data.checks import check_half
from tosc_env.data.dataset import DataSet
from tosc_env.data.files import data_root
from tosc_env.data.statistics import Statistics, compute_statistics
from tosc_env.devices import resolve_device
from tosc_env.errors import InputError, shown
from tosc_env.options import check_annotated, check_choice, check_options
from tosc_env.registry import Registry

__all__ = [
    "DataSet",
    "Source",
    "Statistics",
    "compute_statistics",
    "data_root",
    "data_set",
    "make_source",
    "register_source",
    "sources",
    "usual_attributes",
]

sources: Registry[Any] = Registry("data set", "tosc_env.sources")


def register_source(name: str) -> Callable:
    """Register a :class:`DataSet`, or a function ``load(split="train", **options) -> Source`` in its place.

    The function gives the *whole* split on the CPU, and may have attributes of the names that a :class:`DataSet` has.

    Example:
        >>> @register_source("grey")
        ... def load_grey(split="train", level=128):
        ...     return Source.from_arrays(torch.full((8, 1, 9, 9), level, dtype=torch.uint8), name="grey")
        >>> load_grey.terms = "Grey: nobody's."
        >>> len(make_source("grey", half="system", level=7)), data_set("grey").terms
        (4, "Grey: nobody's.")
    """
    return sources.register(name)


def data_set(name: str) -> DataSet:
    """The data set of that name, whose images are not read; InputError where there is none.

    >>> data_set("celeba").usual_kwargs["size"], data_set("shapes").is_available()
    (64, True)
    """
    if isinstance(name, str) and name not in sources and os.path.isdir(name):
        told = f"give the data set 'folder' with path={shown(name)} (--data folder --data-kwargs path={shown(name)})"
        raise InputError(f"{shown(name)} is a folder, not the name of a data set: {told}.")
    found = sources[name]
    if isinstance(found, type) and issubclass(found, DataSet):
        made = found()
    else:
        made = DataSet()
        hooks = [hook for hook in vars(DataSet) if hook[0] != "_" and hasattr(found, hook)]
        vars(made).update({hook: getattr(found, hook) for hook in hooks}, load=found)
    made.name = name
    made.terms = made.terms or f"{name}: its terms are not stated; ask its owner."
    return made


def make_source(
    name: str,
    *,
    split: str = "train",
    half: str | None = None,
    device: str | torch.device = "cpu",
    **options: object,
) -> Source:
    """Load the images of one split of a registered data set.

    Args:
        name: a registered data set.
        split: ``"train"`` or ``"test"`` (``"valid"`` where the data set has one).
        half: ``"system"`` or ``"attacker"`` for the disjoint halves of the training split, ``None`` for all.
        device: of the tensors.
        options: the data set's own, such as ``size=64``.

    Raises:
        InputError: an unknown name, option, split, half or device.
        DataError: the files are missing (with the way to get them) or damaged.

    Example:
        >>> make_source("shapes", half="attacker", num_images=1000)
        Source('shapes', split='train', half='attacker', images=500, device='cpu')
    """
    target = resolve_device(device)
    data = data_set(name)
    check_choice(split, f"split of {name}", data.splits)
    check_half(half, split)
    if not callable(getattr(data, "load", None)):
        raise InputError(f"the data set {name!r} has no load(split), which gives its images.")
    check_options(data.load, name, options, given=1)
    options = absolute_paths(name, check_annotated(data.load, options))
    try:
        source = data.load(split=split, **options)
    except TypeError as error:
        raise InputError(f"the data set {name!r} cannot be loaded: {error}.") from error
    if not isinstance(source, Source):
        raise InputError(f"the data set {name!r} must give a Source, not {type(source).__name__}.")
    taken = source.take_half(half)
    if sources.declares(name):  # whoever unpickles it finds it by its name
        again = partial(make_source, name, split=split, half=half, **options)  # type: ignore[arg-type]
        taken = replace(taken, _again=again)
    return taken.to(target)


def absolute_paths(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a data set, its paths absolute: in another working directory they are the same images.

    >>> os.path.isabs(absolute_paths("folder", {"path": "pictures"})["path"])
    True
    """
    paths = data_set(name).paths if options and name in sources else ()
    given = {option: value for option, value in options.items() if isinstance(value, str | os.PathLike)}
    absolute = {
        option: os.path.abspath(os.path.expanduser(given[option])) for option in paths if option in given
    }
    return {**options, **absolute}


def usual_attributes(name: str) -> tuple[str, ...]:
    """The attributes of the usual task on a data set; none where it is the class, or the data set is unknown.

    >>> usual_attributes("shapes"), usual_attributes("celeba")
    ((), ('Mustache', 'Smiling', 'Wavy_Hair'))
    """
    return tuple(data_set(name).usual_attributes) if name in sources else ()

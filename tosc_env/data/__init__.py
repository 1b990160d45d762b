"""Data sets: where the images of a game come from.

``make_source("cifar10")`` gives a :class:`Source`, the images of one split with labels and attributes as
tensors on one device.  Three data sets are built in and a stranger's joins them through
:func:`register_source` or the entry-point group ``tosc_env.sources``.  Importing this package loads no data
and no library that reads data.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence

import torch

from tosc_env.data.base import Source
from tosc_env.data.checks import check_half, check_split
from tosc_env.data.root import data_root
from tosc_env.data.statistics import Statistics, compute_statistics
from tosc_env.devices import resolve_device
from tosc_env.errors import InputError
from tosc_env.registry import Registry
from tosc_env.types import Batch

__all__ = [
    "Batch",
    "Source",
    "Statistics",
    "compute_statistics",
    "data_root",
    "is_available",
    "make_source",
    "register_source",
    "sources",
    "terms_of",
    "usual_attributes",
    "usual_kwargs",
]

sources: Registry[Source] = Registry("data set", "tosc_env.sources")


def register_source(name: str) -> Callable:
    """Enter a data set under ``name``.

    What is registered is a function ``load(split="train", **options) -> Source`` that gives the *whole*
    split on the CPU; halves and devices are taken care of by :func:`make_source`. If the function has an
    attribute ``is_available`` (a function without arguments), ``data="auto"`` asks it first; if it has an attribute
    ``terms`` (a sentence), the cards of weights that were trained on the data quote it. ``usual_attributes`` are the
    attributes that people decide on these images (without them, the class), ``usual_kwargs`` those of an environment.

    Example:
        >>> @register_source("grey")
        ... def load_grey(split="train", level=128):
        ...     return Source.from_arrays(torch.full((8, 1, 4, 4), level, dtype=torch.uint8), name="grey")
        >>> len(make_source("grey", half="system", level=7))
        4
    """
    return sources.register(name)


def make_source(
    name: str,
    *,
    split: str = "train",
    half: str | None = None,
    device: str | torch.device = "cpu",
    **options: object,
) -> Source:
    """The images of one split of a registered data set.

    Args:
        name: a registered data set: ``"shapes"``, ``"cifar10"``, ``"celeba"`` or a stranger's.
        split: ``"train"`` or ``"test"`` (``"valid"`` where the data set has one).
        half: ``"system"`` or ``"attacker"`` for the disjoint halves of the training split, ``None`` for all.
        device: where the tensors live.
        options: the data set's own, such as ``size=64``.

    Raises:
        InputError: an unknown name, option, split, half or device; the sentence says what is allowed.
        DataError: the files are missing or damaged; the sentence says how to get them.

    Example:
        >>> make_source("shapes", half="attacker", num_images=1000)
        Source('shapes', split='train', half='attacker', images=500, device='cpu')
    """
    target = resolve_device(device)
    factory = sources[name]
    check_split(name, split, ("train", "valid", "test"))
    check_half(half, split)
    _check_options(name, factory, options)
    source = factory(split=split, **options)
    if not isinstance(source, Source):
        raise InputError(f"the data set {name!r} must give a Source, not {type(source).__name__}.")
    return source.take_half(half).to(target)


def is_available(name: str) -> bool:
    """Whether the files of the data set ``name`` are found under the data root.

    Says nothing of their content: damaged files are available, and raise when they are read.

    Example:
        >>> is_available("shapes")
        True
    """
    probe = getattr(sources[name], "is_available", None)
    return True if probe is None else bool(probe())


def terms_of(name: str) -> str:
    """On what terms the images of a data set may be used, in a sentence; weights trained on them follow.

    Raises:
        InputError: no data set of that name.

    Example:
        >>> terms_of("shapes")
        'Shapes: drawn by this package itself; MIT, like the package.'
    """
    return getattr(sources[name], "terms", None) or f"{name}: its terms are not stated; ask whoever gave it."


def usual_attributes(name: str) -> tuple[str, ...]:
    """The attributes that are the usual task on a data set; none where it is the class, or the set is unknown.

    >>> usual_attributes("shapes"), usual_attributes("celeba")
    ((), ('Mustache', 'Smiling', 'Wavy_Hair'))
    """
    return tuple(getattr(sources[name], "usual_attributes", ())) if name in sources else ()


def usual_kwargs(name: str) -> dict[str, object]:
    """The options that an environment gives a data set unless it is told others.

    >>> usual_kwargs("celeba")
    {'size': 64}
    """
    return dict(getattr(sources[name], "usual_kwargs", {}))


def _check_options(name: str, factory: Callable, options: dict[str, object]) -> None:
    parameters = inspect.signature(factory).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    allowed = [p.name for p in parameters if p.kind is not p.POSITIONAL_ONLY and p.name != "split"]
    for option in options:
        if option not in allowed:
            listing = ", ".join(allowed) or "none"
            raise InputError(f"data set {name!r} has no option {option!r}; its options: {listing}.")


@register_source("shapes")
def _shapes(
    split: str = "train",
    size: int = 32,
    seed: int = 0,
    num_images: int | None = None,
    binary_attributes: Sequence[str] | None = None,
) -> Source:
    from tosc_env.data.shapes import load_shapes

    return load_shapes(split, size, seed, num_images, binary_attributes)


@register_source("cifar10")
def _cifar10(split: str = "train", root: str | os.PathLike[str] | None = None) -> Source:
    from tosc_env.data.cifar10 import load_cifar10

    return load_cifar10(split, root)


@register_source("celeba")
def _celeba(
    split: str = "train",
    size: int = 64,
    crop: float = 0.8,
    attributes: str | Sequence[str] | None = None,
    balance: str | None = None,
    root: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> Source:
    from tosc_env.data.celeba import load_celeba

    return load_celeba(split, size, crop, attributes, balance, root, cache)


def _cifar10_available() -> bool:
    from tosc_env.data.cifar10 import find_layout

    return find_layout(data_root()) is not None


def _celeba_available() -> bool:
    from tosc_env.data.celeba import missing_part

    return missing_part(data_root()) is None


_cifar10.is_available = _cifar10_available
_celeba.is_available = _celeba_available
_celeba.usual_attributes = ("Mustache", "Smiling", "Wavy_Hair")
_celeba.usual_kwargs = {"size": 64}

# What weights may be used for hangs on these: said here once, quoted by every card of the zoo.
_shapes.terms = "Shapes: drawn by this package itself; MIT, like the package."
_cifar10.terms = (
    "CIFAR-10: made freely available for research by its authors, who ask to cite Krizhevsky, 'Learning multiple "
    "layers of features from tiny images' (2009)."
)
_celeba.terms = (
    "CelebA: for non-commercial research only, and so are weights trained on it; cite Liu, Luo, Wang and Tang, 'Deep "
    "learning face attributes in the wild' (ICCV 2015)."
)

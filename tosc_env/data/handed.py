"""Sources made of images that people have: arrays, a folder, or a data set of torch or Hugging Face."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Subset

from tosc_env.data.base import Source
from tosc_env.data.checks import Owned
from tosc_env.data.folder import Folder
from tosc_env.data.pictures import Channels, Size, decode, read_table, sides
from tosc_env.errors import InputError, listing, shown
from tosc_env.options import check_dense, checked

_IMAGE_KEYS, _LABEL_KEYS = ("image", "img"), ("label", "labels", "fine_label")


@checked
def as_source(
    given: Any,
    labels: Any = None,
    *,
    name: str | None = None,
    split: str = "train",
    size: Size = None,
    channels: Channels = None,
    skip_broken: bool = False,
    **facts: Any,
) -> Source:
    """A source of what people have.

    ======================  ======================================================================================
    given                   how it is read
    ======================  ======================================================================================
    a source                as it is
    an array or tensor      :meth:`Source.from_arrays`, uint8 [N, C, H, W]; one mapped read-only stays on the disk
    (images, labels)        the same, as a tuple of two
    a path                  the data set ``"folder"``: a folder of images for each class
    a data set of torch     ``len(given)`` items (image, label), or images alone
    one of Hugging Face     the columns ``image`` or ``img``, and ``label``
    ======================  ======================================================================================

    An image of a data set is a picture of Pillow, uint8 [H, W], [H, W, 3], [1, H, W] or [3, H, W], or the same as
    floats in [0, 1], not normalised.

    Args:
        given: the images.
        labels: of an array: integers or names of classes.
        name: what results and checkpoints call it; by default "folder" for a path, as ``--data folder`` does, else
            "mine".
        split: ``"train"``, ``"test"`` or ``"valid"``.
        size, channels: of a folder or data set: what all images are brought to (:data:`.pictures.Size`, 1 or 3 for grey
            or colour); None: as they are, if all are alike.
        skip_broken: of a folder or data set: leave out images that cannot be read, with a warning.
        facts: more of :meth:`Source.from_arrays`.

    Raises:
        InputError: something else, or images or labels that do not fit.
        DataError: images that cannot be read.

    Example:
        >>> items = [(np.full((8, 9), 7 * i, np.uint8), "ab"[i % 2]) for i in range(6)]
        >>> source = as_source(items)
        >>> source, source.image_shape, source.class_names
        (Source('mine', split='train', images=6, device='cpu'), (1, 8, 9), ('a', 'b'))
    """
    reading: dict[str, Any] = {"size": size, "channels": channels, "skip_broken": skip_broken}
    if isinstance(given, tuple) and len(given) == 2 and labels is None and _is_array(given[0]):
        given, labels = given
    is_path = isinstance(given, str | os.PathLike)
    name = name or (Folder.name if is_path else "mine")
    if _is_array(given):
        _refuse("an array", reading)
        return Source.from_arrays(given, labels, name=name, split=split, **facts)
    if labels is not None:
        raise InputError("labels go with an array of images; anything else brings its own.")
    if isinstance(given, Source):
        _refuse("a source", {**reading, **facts})
        return given
    if is_path:
        _refuse("a folder", facts)
        return replace(Folder().load(split, given, **reading), name=name)
    if isinstance(given, Mapping):
        raise InputError(f"a source is one split of what was given: give one of {listing(map(repr, given))}.")
    if not (hasattr(given, "__len__") and hasattr(given, "__getitem__")):
        told = f"a folder's path, or a data set with a length and items, not {type(given).__name__}"
        raise InputError(f"images are given as an array, {told}.")
    return _of_items(given, name, split, sides(size), channels, skip_broken, facts)


def _is_array(given: Any) -> bool:
    return isinstance(given, np.ndarray | Tensor)


def _refuse(what: str, options: Mapping[str, Any]) -> None:
    """Raise InputError for an option that means nothing to what was given."""
    for option, value in options.items():
        if value not in (None, False):
            known = "labels, name, split, size, channels and skip_broken, those that fit what is given"
            raise InputError(
                f"{what} takes no {option}, and {shown(value)} was given; as_source reads {known}."
            )


def _of_items(
    items: Any,
    name: str,
    split: str,
    size: tuple[int, int] | None,
    channels: int | None,
    skip_broken: bool,
    facts: dict[str, Any],
) -> Source:
    """The source of a data set that gives one image at a time."""
    whole = items  # a part of a data set has no names of its own
    while isinstance(whole, Subset):
        whole = whole.dataset
    columns = getattr(whole, "features", None)
    tags: dict[int, Any] = {}

    def read(i: int) -> np.ndarray:
        try:
            item = items[i]
        except Exception as error:  # whatever a stranger's data set makes of a broken file
            raise ValueError(f"{type(error).__name__}: {error}") from error
        if isinstance(item, Mapping):
            image_key, label_key = _keys(item if columns is None else columns)
            image, label = item[image_key], item.get(label_key)
        else:
            image, label = item if isinstance(item, tuple | list) and len(item) == 2 else (item, None)
        check_dense(label, "labels")
        tags[i] = label.item() if isinstance(label, Tensor | np.generic | np.ndarray) else label
        return decode(_picture(image), channels, size)

    images, kept = read_table(len(items), read, lambda i: f"item {i}", skip_broken=skip_broken)
    labels = None if all(tags[i] is None for i in kept) else [tags[i] for i in kept]
    names = getattr(whole, "classes", None)
    if columns is not None:
        names = getattr(columns.get(_keys(columns)[1]), "names", None)
    if names is not None and labels is not None and not isinstance(labels[0], str):
        facts = {"class_names": list(names), **facts}
    return Source.from_arrays(Owned(images), labels, name=name, split=split, **facts)


def _keys(columns: Mapping[str, Any]) -> tuple[str, str]:
    """The names of the images' and the labels' columns; the latter perhaps by a name that none has."""
    image_key = next((key for key in _IMAGE_KEYS if key in columns), None)
    if image_key is None:
        told = f"{' or '.join(map(repr, _IMAGE_KEYS))}, and this one has {listing(map(repr, columns))}: rename one"
        raise InputError(f"a data set's column of images is called {told}.")
    return image_key, next((key for key in _LABEL_KEYS if key in columns), _LABEL_KEYS[0])


def _picture(image: Any) -> Any:
    """An image of a data set as a picture of Pillow."""
    from PIL import Image

    if isinstance(image, Image.Image):
        return image
    check_dense(image, "images")
    if not _is_array(image):
        raise InputError(
            f"an image is a picture of Pillow, an array or a tensor, not {type(image).__name__}."
        )
    pixels = image.detach().cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
    if pixels.dtype.kind == "f":
        if not (pixels.size and pixels.min() >= 0 and pixels.max() <= 1):
            raise InputError("images of floats lie in [0, 1], not normalised: leave out the normalisation.")
        pixels = np.rint(pixels * 255).astype(np.uint8)
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3) and pixels.shape[2] not in (1, 3):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        found = f"{pixels.dtype} {list(pixels.shape)}"
        raise InputError(f"an image is uint8 [H, W], [H, W, 3] or [3, H, W], not {found}.")
    return Image.fromarray(np.ascontiguousarray(pixels))

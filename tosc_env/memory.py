"""A backbone's symbols of each image, computed once: without a context, so they cannot depend on one."""

from __future__ import annotations

import pickle
import random
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tosc_env.data.base import Source
from tosc_env.errors import InputError
from tosc_env.options import check_dense
from tosc_env.schemes import PrivacyScheme
from tosc_env.types import Context

MEMORY_LIMIT = 2**30
"""Bytes of symbols that are remembered of one source at most; a larger source is encoded afresh each time."""

CHUNK = 500
"""Images encoded at once where a whole source is encoded."""

NEARLY_ALL = 0.9
"""Share of a source's images after which the rest is encoded at once: one by one, the last ones take long."""

SMALL_BATCH = 8
"""Networks add up in another order for batches smaller than this, so that the last bit of a symbol may differ."""


@contextmanager
def evaluating(policy: nn.Module) -> Iterator[None]:
    """Put a policy in evaluation mode, and each part back in the end: it may belong to a training loop."""
    training = [part for part in _parts(policy) if part.training]
    if not training:
        yield
        return
    policy.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


class ContextRead(BaseException):
    """A backbone has read its context; no ``except Exception`` of its own may hide that."""


class _Unreadable(Context):
    """A context that raises when it is read."""

    def __getattribute__(self, name: str) -> Any:
        if name in _FIELDS:
            raise ContextRead(name)
        return super().__getattribute__(name)


_FIELDS = frozenset(field.name for field in fields(Context))
_NOTHING: Context = object.__new__(_Unreadable)


class Memory:
    """The symbols of a backbone, by source and image, each computed once."""

    def __init__(self, backbone: PrivacyScheme) -> None:
        self._backbone = backbone
        self._kept: list[Any] = []
        self._stamps: list[int] = []
        self._attributes: list[Any] = []
        self._allowed: bool | None = None
        self._known: weakref.WeakKeyDictionary[Source, dict[int, _Known]] = weakref.WeakKeyDictionary()

    def __reduce__(self) -> Any:
        # A copy or a pickle begins with an empty memory.
        return Memory, (self._backbone,)

    def allowed(self) -> bool:
        """True if the backbone's symbols depend on the image alone; tried by encoding twice after every change."""
        parts = _parts(self._backbone)
        tensors = _tensors(parts)
        stamps = [*map(id, parts), *_stamps(tensors)]
        if self._allowed is None or stamps != self._stamps or _attributes(parts) != self._attributes:
            self._known.clear()
            # Inference tensors do not count writes.
            self._allowed = not any(t.is_inference() for t in tensors) and self._deterministic()
            # All are kept, so that nothing new can have the identity of what is gone.
            self._kept, self._stamps = [*parts, *tensors], stamps
        return self._allowed

    @torch.no_grad()
    def of_source(self, source: Source, index: Tensor, ahead: bool = False) -> Tensor | None:
        """The symbols of a source's images at ``index``; None where they exceed :data:`MEMORY_LIMIT`, or where the
        backbone reads its context, if only for some images."""
        batch, width = min(len(index), SMALL_BATCH), 2 * self._backbone.spec.num_symbols
        if not self.allowed():
            return None
        if len({*self._known.get(source, ()), batch}) * 4 * width * len(source) > MEMORY_LIMIT:
            return None
        known = self._known.setdefault(source, {})
        if batch not in known:
            known[batch] = _Known(len(source), width, source.device)
        try:
            return known[batch](index, lambda rows: self._encode(source.gather(rows).images), batch, ahead)
        except ContextRead:
            self._known.clear()
            self._allowed = False  # until a weight changes
            return None

    def _encode(self, images: Tensor) -> Tensor:
        # Never in the reduced precision of a training around it: that is not what is sent.
        with torch.autocast(images.device.type, enabled=False):
            encoded = self._backbone.encode(images, _NOTHING)
            symbols = check_dense(encoded, f"what {self._backbone.name!r} encodes", real=True).float()
        # What the backbone itself changes in encoding, such as a count of its calls, is not a change of what it does.
        self._attributes = _attributes(_parts(self._backbone))
        wanted = [len(images), 2 * self._backbone.spec.num_symbols]
        if list(symbols.shape) != wanted:
            name, found = self._backbone.name, list(symbols.shape)
            raise InputError(f"the scheme {name!r} must encode images as symbols {wanted}, not {found}.")
        return symbols

    @torch.no_grad()
    def _deterministic(self) -> bool:
        device = next((t.device for t in (*self._backbone.parameters(), *self._backbone.buffers())), None)
        stream = torch.Generator().manual_seed(0)
        probe = torch.rand(2, *self._backbone.spec.image_shape, generator=stream).to(device)
        with evaluating(self._backbone), _streams_kept() as drawn:
            try:
                return torch.equal(self._encode(probe), self._encode(probe)) and not drawn()
            except ContextRead:
                return False


@contextmanager
def _streams_kept() -> Iterator[Callable[[], bool]]:
    """Restore the global streams of torch, NumPy and Python in the end; yields a function that is true if one moved."""

    def states() -> bytes:
        return pickle.dumps((torch.get_rng_state().numpy(), np.random.get_state(), random.getstate()))  # noqa: NPY002

    before = states()
    numpy, python = np.random.get_state(), random.getstate()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        try:
            yield lambda: states() != before
        finally:
            np.random.set_state(numpy)  # noqa: NPY002
            random.setstate(python)


class _Known:
    """The symbols [N, 2n] of a source's images, as far as they are computed."""

    def __init__(self, length: int, width: int, device: torch.device) -> None:
        self._lock = threading.Lock()
        with torch.inference_mode(False):  # whoever asks first; others write to it later
            self._symbols = torch.zeros(length, width, device=device)
            self._there = torch.zeros(length, dtype=torch.bool, device=device)
        self._known, self._complete = 0, False

    def __call__(self, index: Tensor, encode: Any, batch: int, ahead: bool) -> Tensor:
        if not self._complete:
            with self._lock:
                self._learn(index, encode, batch, ahead)
        return self._symbols[index]

    def _learn(self, index: Tensor, encode: Any, batch: int, ahead: bool) -> None:
        count = len(self._there)
        missing = torch.arange(count, device=index.device)
        # On an accelerator, to ask which images are missing would be to wait for it.
        if index.device.type == "cpu":
            missing = index[~self._there[index]].unique()
            if len(missing) == 0:
                return
            if batch == SMALL_BATCH and (ahead or self._known > NEARLY_ALL * count):
                missing = (~self._there).nonzero().flatten()
        # No fewer at once than ``batch``: the last bit of a symbol must not depend on who is missing. The places are
        # filled with images that will be sent later.
        rows = missing
        if len(missing) < batch:
            later = ~self._there
            later[missing] = False
            rows = torch.cat([missing, later.nonzero().flatten(), index])[:batch]
        start = 0
        while start < len(rows):
            # What would be left over for a small batch belongs to this one, for the same reason.
            end = start + CHUNK if len(rows) - start - CHUNK >= SMALL_BATCH else len(rows)
            self._symbols[rows[start:end]] = encode(rows[start:end])
            start = end
        self._there[rows] = True
        self._known = count if len(rows) == count else int(self._there.sum())
        self._complete = self._known == count


def _parts(module: nn.Module) -> list[nn.Module]:
    """A module and all within it; several times faster than ``modules()``, which builds their names."""
    parts = [module]
    for part in parts:
        parts.extend(child for child in part._modules.values() if child is not None)
    return parts


def _tensors(parts: list[nn.Module]) -> list[Tensor]:
    found: list[Tensor | None] = []
    for part in parts:
        found += part._parameters.values()
        found += part._buffers.values()
    return [tensor for tensor in found if tensor is not None]


def _stamps(tensors: list[Tensor]) -> list[int]:
    """Numbers that change when a tensor is another one, lies in other memory, or has been written to."""
    stamps: list[int] = []
    for tensor in tensors:
        version = 0 if tensor.is_inference() else tensor._version
        stamps += (id(tensor), tensor.untyped_storage()._cdata, version)
    return stamps


def _attributes(parts: list[nn.Module]) -> list[Any]:
    """The plain attributes of the modules that are not PyTorch's own."""
    return [
        (name, value)
        for part in parts
        if not type(part).__module__.startswith("torch.")
        for name, value in part.__dict__.items()
        if type(value) in _PLAIN and name != "training"
    ]


_PLAIN = frozenset((bool, int, float, str))

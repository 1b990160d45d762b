"""A GPU to test on, also where there is none.

Two faults show on a GPU alone: one operation on tensors of two devices, and a host that waits for the device.  Where
torch finds a GPU, :func:`gpu` hands that over.  Elsewhere tensors on ``"cuda:0"`` have a shape, a type and a device,
and no values (torch's ``FakeTensorMode``), so that whatever reads a value fails; tensors on the CPU are as ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from weakref import WeakValueDictionary

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from tosc_env import options

CUDA = torch.device("cuda", 0)
META = torch.device("meta")


class HostWait(AssertionError):
    """The host copies between CPU and GPU, and waits for the device."""


class GPU:
    """A GPU, or what stands in for one."""

    device = CUDA

    def __init__(self, fake: _FakeCUDA | None) -> None:
        self._fake = fake

    @contextmanager
    def no_waits(self) -> Iterator[None]:
        """Within, whatever has the host wait for the device fails; before, the host may prepare what it keeps."""
        if self._fake is None:
            torch.cuda.set_sync_debug_mode("error")
            try:
                yield
            finally:
                torch.cuda.set_sync_debug_mode("default")
            return
        self._fake.strict = True
        try:
            with _Numbers():
                yield
        finally:
            self._fake.strict = False


@contextmanager
def gpu() -> Iterator[GPU]:
    """The machine's first GPU, or "cuda" tensors without values."""
    if torch.cuda.is_available():
        yield GPU(None)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "Generator", _Generator)
        patch.setattr(nn.Module, "_apply", _apply)
        patch.setattr("tosc_env.data.base.resolve_device", torch.device)
        try:
            with _FAKE:
                yield GPU(_FAKE)
        finally:
            options._hints.cache_clear()  # type hints that were read meanwhile mean this Generator


class _FakeCUDA(FakeTensorMode):
    """Operations on the CPU alone are done; of those on the GPU, the result's shape, type and device is found."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.strict = False

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        # A build of torch for the CPU has nothing that switches between GPUs and no backward pass there. So where it
        # asks for a tensor's device in C++, it is told of one that needs neither; Python is told the truth.
        if function is torch.ops.prim.device.default and args[0].fake_device == CUDA:
            return META
        if kwargs.get("device") == META:
            kwargs["device"] = CUDA
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if kwargs.get("device") != CUDA and not any(isinstance(tensor, FakeTensor) for tensor in tensors):
            return function(*args, **kwargs)
        if kwargs.get("generator") is not None:
            if kwargs["generator"]._cdata not in _Generator.on_gpu:
                raise RuntimeError(f"{function} draws on the GPU from a generator of the CPU.")
            kwargs["generator"] = None  # which numbers it draws does not matter
        name = function.overloadpacket._qualified_op_name.removeprefix("aten::")
        if self.strict:
            _check_copies(name, args, kwargs)
        elif name in _ANSWERS:
            return _ANSWERS[name](args[0])
        elif name == "_to_copy" and getattr(kwargs.get("device"), "type", None) == "cpu":
            # Torch would hand over memory as it was found, with which a test may fail or not.
            return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        return super().__torch_dispatch__(function, types, args, kwargs)


_ANSWERS: dict[str, Any] = {
    "equal": lambda tensor: True,
    "_local_scalar_dense": lambda tensor: torch.zeros((), dtype=tensor.dtype).item(),
}
"""What the host reads where it may wait."""

_FAKE = _FakeCUDA()
"""One for the whole process: constants that the library keeps for each device belong to it."""


def _check_copies(name: str, args: Any, kwargs: Any) -> None:
    if name == "_to_copy" and kwargs.get("device") is not None:
        copies = [(args[0].device.type, kwargs["device"].type)]
        waits = not kwargs.get("non_blocking")
    elif name == "copy_":
        copies = [(args[1].device.type, args[0].device.type)]
        waits = not (args[2] if len(args) > 2 else kwargs.get("non_blocking"))
    elif name.lstrip("_").startswith("index") and isinstance(args[1], list | tuple):
        copies = [(index.device.type, args[0].device.type) for index in args[1] if index is not None]
        waits = True
    else:
        return
    if ("cuda", "cpu") in copies or (waits and ("cpu", "cuda") in copies):
        raise HostWait(f"{name} copies between CPU and GPU.")


class _Numbers(TorchFunctionMode):
    """Notices Python's numbers that become a tensor on the device of another, which no operation shows."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(function, "__name__", "")
        copies = name == "new_tensor" or (name in ("__getitem__", "__setitem__") and _has_list(args[1]))
        if copies and isinstance(args[0], FakeTensor):
            raise HostWait(f"{name} copies numbers to the GPU.")
        return function(*args, **(kwargs or {}))


def _has_list(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, list | np.ndarray) for part in parts)


class _Generator(torch.Generator):
    """A generator that may say that it is on the GPU."""

    on_gpu: ClassVar[WeakValueDictionary[int, _Generator]] = WeakValueDictionary()

    def __new__(cls, device: Any = "cpu") -> _Generator:
        made = super().__new__(cls)
        if torch.device(device).type == "cuda":
            cls.on_gpu[made._cdata] = made
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA if self._cdata in self.on_gpu else torch.device("cpu")


def _apply(self: nn.Module, function: Any, recurse: bool = True) -> nn.Module:
    """``nn.Module._apply``; torch's own cannot move a parameter without values to another memory format."""
    for part in self.children() if recurse else ():
        part._apply(function)
    for name, parameter in self._parameters.items():
        if parameter is not None:
            with torch.no_grad():
                self._parameters[name] = nn.Parameter(function(parameter), parameter.requires_grad)
    for name, buffer in self._buffers.items():
        if buffer is not None:
            self._buffers[name] = function(buffer)
    return self

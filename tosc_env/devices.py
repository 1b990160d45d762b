"""Names of torch devices, checked, and copies from the host to a device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tosc_env.errors import InputError, shown


def resolve_device(device: str | torch.device) -> torch.device:
    """The torch device of a name, with its index: ``"cuda"`` becomes ``"cuda:0"``, so that equal devices compare equal.

    InputError where the name means no device, or none that this machine has.

    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if not isinstance(device, (str, torch.device)):
        raise InputError(f"device must be a name such as 'cpu' or 'cuda:0', not {shown(device)}.")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device {device!r} is none of torch; use 'cpu', 'cuda' or 'cuda:0'.") from error
    if found.type == "cpu":
        return torch.device("cpu")
    if found.type != "cuda":
        raise InputError(f"device {str(device)!r} is not supported; use 'cpu', 'cuda' or 'cuda:0'.")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = found.index or 0
    if index >= count:
        raise InputError(
            f"device {str(device)!r} is not available: torch finds {count} CUDA devices; use device='cpu'."
        )
    return torch.device("cuda", index)


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """A copy of a NumPy array on a device; the host does not wait for it.

    >>> to_device(np.array([True, False]), torch.device("cpu"))
    tensor([ True, False])
    """
    # The copy on the host may go at once: CUDA has staged it when the call returns.
    return torch.tensor(array).to(device, non_blocking=True)

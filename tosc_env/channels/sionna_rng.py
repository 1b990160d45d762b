"""Sionna without side effects: a lazy import, and an environment's own random stream inside Sionna's blocks.

Importing ``sionna.phy`` 2.2 reseeds torch's global generators at random, and all its blocks draw from one global
generator per device, which would break reproducibility.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch

from tosc_env.devices import resolve_device
from tosc_env.errors import InputError

# Sionna's generator is shared by the whole process: two threads must not lend to it at the same time.
_lock = threading.RLock()


def import_sionna(module: str = "sionna.phy") -> ModuleType:
    """Import ``sionna.phy`` or a module below it (2 to 4 seconds) and leave torch's global random states as they were.

    InputError where Sionna is not installed.
    """
    if module in sys.modules:
        return importlib.import_module(module)
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    # inference_mode(False): constants that Sionna makes at import must stay usable in training.
    with _lock, torch.random.fork_rng(devices), torch.inference_mode(False):
        try:
            importlib.import_module("sionna.phy")
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "sionna":
                raise
            raise InputError("Sionna is not installed; run: pip install 'sionna-no-rt>=2.2,<2.3'.") from error
        return importlib.import_module(module)


def sionna_device(device: torch.device | str) -> str:
    """The device's name as Sionna wants it, ``"cpu"`` or ``"cuda:0"``."""
    return str(resolve_device(device))


@contextmanager
def lend_generator(generator: torch.Generator | None, device: torch.device | str) -> Iterator[None]:
    """A context in which Sionna's blocks on ``device`` draw from ``generator`` on it (None: torch's global one)."""
    name = sionna_device(device)
    # Before the states are read: the first import saves and restores torch's global ones.
    shared = import_sionna().config.torch_rng(name)
    if generator is None:
        on_cpu = name == "cpu"
        generator = torch.default_generator if on_cpu else torch.cuda.default_generators[int(name[5:])]
    elif sionna_device(generator.device) != name:
        raise InputError(f"the generator lives on {generator.device}, but the channel runs on {name}.")
    with _lock:
        before = shared.get_state()
        shared.set_state(generator.get_state())
        try:
            yield
        finally:
            generator.set_state(shared.get_state())
            shared.set_state(before)

"""What the checkers have in common: one sentence per broken law, and watching the random streams."""

from __future__ import annotations

import copy
import json
import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

BATCH_SIZES = (1, 2, 7)
T = TypeVar("T")


def require(holds: object, sentence: str) -> None:
    """Raise AssertionError with ``sentence`` unless ``holds``; also under ``python -O``."""
    if not holds:
        raise AssertionError(sentence)


@contextmanager
def step(doing: str) -> Iterator[None]:
    """Turn whatever a stranger's code raises while ``doing`` something into an AssertionError."""
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:  # any error of the object under test is a finding, whatever its type
        raise AssertionError(f"{doing} failed with {type(error).__name__}: {error}") from error


@contextmanager
def global_streams_untouched(who: str) -> Iterator[None]:
    """Require that the block draws nothing from the global generators of torch, NumPy and ``random``.

    Whoever draws from these is moved by everything else in the program, so that the same seed no longer
    gives the same episode.
    """
    before = _streams()
    yield
    after = _streams()
    for name, state in before.items():
        require(
            state == after[name],
            f"{who} draws from (or seeds) the global random generator of {name}; "
            "draw from the generator that is given instead.",
        )


def _streams() -> dict[str, Any]:
    states = {
        "torch (CPU)": torch.get_rng_state().numpy().tobytes(),
        "NumPy": pickle.dumps(np.random.get_state(legacy=False)),  # noqa: NPY002 (the stream to be watched)
        "the module random": random.getstate(),
    }
    if torch.cuda.is_available():
        for i, state in enumerate(torch.cuda.get_rng_state_all()):
            states[f"torch (CUDA {i})"] = state.numpy().tobytes()
    return states


def generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A seeded generator on ``device``."""
    return torch.Generator(device=device).manual_seed(seed)


def duplicate(obj: T, who: str) -> T:
    """A deep copy, so that checking an object leaves it as it was."""
    with step(f"copy.deepcopy of {who}"):
        return copy.deepcopy(obj)


def require_tensor(
    value: object, shape: tuple[int, ...], who: str, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Require a finite tensor of this shape and type, and return it."""
    if not isinstance(value, Tensor):
        raise AssertionError(f"{who} must be a tensor, not {type(value).__name__}.")
    require(
        tuple(value.shape) == shape, f"{who} must have the shape {list(shape)}, but has {list(value.shape)}."
    )
    require(value.dtype == dtype, f"{who} must be {dtype}, but is {value.dtype}.")
    require(
        torch.isfinite(torch.view_as_real(value) if value.is_complex() else value).all(),
        f"{who} is not finite.",
    )
    return value


def same(a: Tensor, b: Tensor, tolerance: float = 0.0) -> bool:
    """Whether two tensors agree up to ``tolerance`` of the larger one's largest value."""
    if a.shape != b.shape:
        return False
    scale = 1.0 + float(torch.maximum(a.abs().max(), b.abs().max())) if a.numel() else 1.0
    return bool(((a - b).abs() <= tolerance * scale).all())


def require_plain(options: Any, who: str) -> dict[str, Any]:
    """Require options that a checkpoint can keep (plain values, JSON), and return them as read back."""
    with step(f"writing the options of {who} as plain values (numbers, strings, lists, dictionaries)"):
        return json.loads(json.dumps(options, allow_nan=False))

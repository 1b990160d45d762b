"""The state of a run that can be stopped at any moment: tensors and plain values in one safetensors file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tosc_env.errors import CheckpointError
from tosc_env.io.files import replacing

_KEY = "tosc_run"


def flatten_state(tree: Any, prefix: str = "") -> tuple[dict[str, Tensor], Any]:
    """Split nested dicts and lists into named tensors and the plain rest, where a tensor leaves its name.

    >>> flatten_state({"a": torch.zeros(1), "b": 2})
    ({'a': tensor([0.])}, {'a': {'tensor': 'a'}, 'b': 2})
    """
    if isinstance(tree, Tensor):
        return {prefix: tree.detach()}, {"tensor": prefix}
    if not isinstance(tree, dict | list | tuple):
        return {}, tree
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        found, plain[str(key)] = flatten_state(value, f"{prefix}/{key}" if prefix else str(key))
        tensors |= found
    return tensors, plain if isinstance(tree, dict) else list(plain.values())


def restore_state(plain: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of :func:`flatten_state`; keys that are digits become integers, as optimizers number parameters."""
    if isinstance(plain, dict):
        if plain.keys() == {"tensor"}:
            return tensors[plain["tensor"]]
        return {int(k) if k.isdigit() else k: restore_state(v, tensors) for k, v in plain.items()}
    if isinstance(plain, list):
        return [restore_state(value, tensors) for value in plain]
    return plain


def save_state(path: str | os.PathLike[str], tree: dict[str, Any]) -> None:
    """Write a nested state whole or not at all (raises WriteError and keeps the older file)."""
    from safetensors.torch import save

    tensors, plain = flatten_state(tree)
    unique = {name: t.to("cpu", copy=True).contiguous() for name, t in tensors.items()}
    with replacing(path) as part:
        part.write_bytes(save(unique, metadata={_KEY: json.dumps(plain)}))  # see save_checkpoint


def check_identity(path: Path, state: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Raise CheckpointError when the state found at a path was kept by a run of another ``identity``."""
    theirs, ours = state["identity"], json.loads(json.dumps(identity))
    where = sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))
    if where:
        raise CheckpointError(
            f"{path} belongs to a run with another {', '.join(where)}; continue that one with the same "
            "arguments, choose another output, or delete the file."
        )


def load_state(path: str | os.PathLike[str], device: torch.device) -> dict[str, Any]:
    """The state of an interrupted run.

    Raises:
        CheckpointError: the file is truncated, corrupt, or something else.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(Path(path), framework="pt") as file:
            plain = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name).to(device) for name in file.keys()}  # noqa: SIM118
        return restore_state(plain, tensors)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is not the state of a run ({error}); delete it to start anew."
        ) from None

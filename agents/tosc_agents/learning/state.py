"""The state of a run that can be stopped at any moment: tensors and plain values in one safetensors file."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tosc_env.errors import CheckpointError
from tosc_env.identity import check_identity
from tosc_env.io.files import replacing

_KEY = "tosc_run"


@dataclass(frozen=True)
class Run:
    """A training that can be stopped at any moment: where its state is kept, and what its result depends on.

    Attributes:
        path: of the state, written after each epoch.
        parts: the objects and plain values that the loop cannot see and that determine the result, by name: data,
            channel, augmentation, what is attacked (:func:`tosc_env.identity.identity`).
        asked: the options of the command with a digest of each one's value, by which a refusal names what was changed.
        carried: what else moves as the training goes on, such as a count of queries: it has ``state_dict()`` and
            ``load_state_dict()``.
    """

    path: Path
    parts: Mapping[str, Any]
    asked: Mapping[str, str] = field(default_factory=dict)
    carried: Any = None

    def beside(self, name: str, **parts: Any) -> Run:
        """The run of a part of the same work, in a file of its own beside this one's."""
        path = self.path.with_name(f"{self.path.stem}.{name}{self.path.suffix}")
        return replace(self, path=path, parts={**self.parts, **parts})

    def load(self, identity: Mapping[str, Any], device: torch.device) -> dict[str, Any] | None:
        """The state that was kept of a run of this identity; None where there is none yet.

        Raises:
            CheckpointError: it is damaged, or of a run of another identity.
        """
        if not self.path.exists():
            return None
        state = load_state(self.path, device)
        theirs, then = state.get("identity"), state.get("asked")
        check_identity(self.path, theirs, identity, asked_then=then, asked_now=self.asked)
        if self.carried is not None:
            self.carried.load_state_dict(state["carried"])
        return state

    def save(self, identity: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Keep a state, whole or not at all (raises WriteError and keeps the older one)."""
        carried = {} if self.carried is None else {"carried": self.carried.state_dict()}
        save_state(self.path, {**state, **carried, "identity": dict(identity), "asked": dict(self.asked)})

    def forget(self) -> None:
        """Remove the state, and those beside it: the result is where it belongs."""
        for path in (self.path, *self.path.parent.glob(f"{glob.escape(self.path.stem)}.*{self.path.suffix}")):
            path.unlink(missing_ok=True)


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


def kept_identity(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The identity of the run whose state lies there (raises CheckpointError like :func:`load_state`)."""
    return load_state(path, torch.device("cpu")).get("identity", {})

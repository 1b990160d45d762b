"""The state of a run that can be stopped at any moment: tensors and plain values in one safetensors file."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tosc_env.errors import CheckpointError, InputError, shown
from tosc_env.identity import check_identity, digest, tensor_digest
from tosc_env.io.files import replacing
from tosc_env.options import check_is, check_tensor

_KEY, _DIGEST = "tosc_run", "sha256"


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
        """The state kept of a run of this identity (CheckpointError for another's); None where there is none."""
        if not self.path.exists():
            return None
        state = load_state(self.path, device)
        theirs, then = state.get("identity"), state.get("asked")
        check_identity(self.path, theirs, identity, asked_then=then, asked_now=self.asked)
        if self.carried is not None:
            with fitting(self.path):
                self.carried.load_state_dict(check_is(state.get("carried"), dict, "carried"))
        return state

    def save(self, identity: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Keep a state, whole or not at all (raises WriteError and keeps the older one)."""
        carried = {} if self.carried is None else {"carried": self.carried.state_dict()}
        save_state(self.path, {**state, **carried, "identity": dict(identity), "asked": dict(self.asked)})

    def forget(self) -> None:
        """Remove the state, and those beside it: the result is where it belongs."""
        for path in (self.path, *self.path.parent.glob(f"{glob.escape(self.path.stem)}.*{self.path.suffix}")):
            path.unlink(missing_ok=True)


@contextmanager
def fitting(path: str | os.PathLike[str]) -> Iterator[None]:
    """A context in which what is found in a state is checked and taken; what does not fit is a CheckpointError."""
    try:
        yield
    except CheckpointError:
        raise
    except (SafetensorError, OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        why = str(error).rstrip(".") or type(error).__name__
        raise CheckpointError(
            f"{path} is not the state of this run ({why}); delete it to start anew."
        ) from None


def check_form(value: Any, like: Any, name: str) -> Any:
    """Return a part of a state if it has the form of another: the same names, and tensors of the same shapes and types;
    InputError otherwise."""
    if isinstance(like, Tensor):
        return check_tensor(value, name, like.shape, like.dtype)
    named = {str(key): one for key, one in check_is(value, dict, name).items()}
    for key in [*like, *named]:
        if key not in named or key not in like:
            raise InputError(f"{name} {'lacks' if key in like else 'has the unexpected'} {shown(key)}")
    return {key: check_form(named[key], one, f"{name}.{key}") for key, one in like.items()}


def _flattened(tree: Any, prefix: str = "") -> tuple[dict[str, Tensor], Any]:
    """Nested dicts and lists as named tensors and the plain rest, where a tensor leaves its name."""
    if isinstance(tree, Tensor):
        return {prefix: tree.detach()}, {"tensor": prefix}
    if not isinstance(tree, dict | list | tuple):
        return {}, tree
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        found, plain[str(key)] = _flattened(value, f"{prefix}/{key}" if prefix else str(key))
        tensors |= found
    return tensors, plain if isinstance(tree, dict) else list(plain.values())


def _restored(plain: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of :func:`_flattened`; keys that are digits become integers, as optimizers number parameters."""
    if isinstance(plain, dict):
        if plain.keys() == {"tensor"}:
            return tensors[plain["tensor"]]
        return {int(k) if k.isdigit() else k: _restored(v, tensors) for k, v in plain.items()}
    if isinstance(plain, list):
        return [_restored(value, tensors) for value in plain]
    return plain


def save_state(path: str | os.PathLike[str], tree: dict[str, Any]) -> None:
    """Write a nested state whole or not at all (raises WriteError and keeps the older file)."""
    tensors, plain = _flattened(tree)
    unique = {name: t.to("cpu", copy=True).contiguous() for name, t in tensors.items()}
    text = json.dumps(plain)
    with replacing(path) as part:
        # See save_checkpoint.
        part.write_bytes(save(unique, metadata={_KEY: text, _DIGEST: _digest(text, unique)}))


def load_state(path: str | os.PathLike[str], device: torch.device) -> dict[str, Any]:
    """The state of an interrupted run; CheckpointError for a file that is truncated, corrupt, or something else."""
    with fitting(path):
        with safe_open(Path(path), framework="pt") as file:
            told = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if told[_DIGEST] != _digest(told[_KEY], tensors):
            raise ValueError("it is not what was written")
        tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
        return check_is(_restored(json.loads(told[_KEY]), tensors), dict, "a state")


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    names = sorted(tensors)
    return digest([text, names, tensor_digest(tensors[name] for name in names)])


def kept_identity(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The identity of the run whose state lies there (raises CheckpointError like :func:`load_state`)."""
    with fitting(path):
        return check_is(load_state(path, torch.device("cpu")).get("identity"), dict, "identity")

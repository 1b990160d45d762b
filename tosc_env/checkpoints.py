"""Trained policies as files: safetensors with their configuration inside; loading one runs no code.

A checkpoint holds the registered *name* of a scheme or eavesdropper, its options and shapes as plain
values, a *card* that says how it was trained, and the tensors.  It never holds an import path, so a file
from a stranger can only ever build something that is installed here.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from tosc_env.devices import resolve_device
from tosc_env.errors import CheckpointError, InputError
from tosc_env.files import replacing
from tosc_env.policies import (
    Eavesdropper,
    PrivacyScheme,
    SystemSpec,
    make_eavesdropper,
    make_scheme,
    schemes,
)

FORMAT = "tosc-env/1"
_KEY = "tosc_env"
Kind = Literal["scheme", "eavesdropper"]


@dataclass(frozen=True)
class Checkpoint:
    """A loaded policy, in evaluation mode, and its card.

    Attributes:
        policy: the scheme or eavesdropper with its weights.
        kind: which of the two.
        card: plain values: data and where it came from, SNR, epochs, seed, figures, commit.
        path: the file.
    """

    policy: PrivacyScheme | Eavesdropper
    kind: Kind
    card: dict[str, Any]
    path: Path


def save_checkpoint(
    path: str | os.PathLike[str],
    policy: PrivacyScheme | Eavesdropper,
    card: dict[str, Any],
    *,
    half: bool = False,
    state: dict[str, Tensor] | None = None,
) -> None:
    """Write a policy whole or not at all.

    Args:
        path: the file, ``.safetensors`` by custom.
        policy: a scheme or eavesdropper of a registered name.
        card: plain values (JSON) about how the weights were made.
        half: store floating-point weights as float16 and leave out what only training needs
            (``training_only``), as the zoo does.
        state: other tensors than the policy's present ones (an average over training steps).

    Raises:
        InputError: the card or the options hold something that is not a plain value.
        WriteError: the disk is full or the folder cannot be written; an older file stays as it was.
    """
    from safetensors.torch import save

    kind: Kind = "scheme" if isinstance(policy, PrivacyScheme) else "eavesdropper"
    header = {
        "format": FORMAT,
        "kind": kind,
        "name": policy.name,
        "options": policy.options,
        "spec": policy.spec.plain(),
        "card": card,
    }
    try:
        text = json.dumps(header, sort_keys=True)
    except TypeError as error:
        raise InputError(f"a checkpoint holds plain values only: {error}.") from None
    tensors = {}
    for name, tensor in (state or policy.state_dict()).items():
        if half and _for_training(policy, name):
            continue
        value = tensor.detach().to("cpu", copy=True).contiguous()
        tensors[name] = value.half() if half and value.is_floating_point() else value
    with replacing(path) as part:
        # Python writes the bytes: safetensors' own writer reports a full disk as an error that is no OSError.
        part.write_bytes(save(tensors, metadata={_KEY: text}))


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Everything a checkpoint says about itself (format, kind, name, options, spec, card), without its tensors.

    Raises:
        CheckpointError: missing, truncated, corrupt, or not written by tosc-env.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}.")
    metadata = _open(path, lambda file: file.metadata()) or {}
    try:
        header = json.loads(metadata[_KEY])
    except (KeyError, json.JSONDecodeError):
        raise CheckpointError(f"{path} is a safetensors file, but not a checkpoint of tosc-env.") from None
    if not isinstance(header, dict):
        raise CheckpointError(f"{path} is a safetensors file, but not a checkpoint of tosc-env.")
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has the format {header.get('format')!r}; this version reads {FORMAT!r}."
        )
    _check_header(header, path)
    return header


def read_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, as stored; raises CheckpointError like :func:`read_header`."""
    return _open(Path(path), lambda file: {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118


def load_checkpoint(
    path: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    kind: Kind | None = None,
    name: str | None = None,
    options: dict[str, Any] | None = None,
) -> Checkpoint:
    """A policy from its file, in evaluation mode on ``device``.

    Args:
        path: a file from :func:`save_checkpoint`.
        device: where the weights go.
        kind: refuse a file of the other kind.
        name: build this scheme from the weights instead of the one they were saved as; it must say that it
            takes them (:meth:`~tosc_env.PrivacyScheme.borrow`).
        options: further options of the policy, over those in the file.

    Raises:
        CheckpointError: missing, truncated, corrupt, of the other kind, or with tensors that do not fit the
            class it names.
        InputError: a name that is not registered here, or a device that does not exist.
    """
    path = Path(path)
    header = read_header(path)
    if kind is not None and header["kind"] != kind:
        article = "an" if kind == "eavesdropper" else "a"
        raise CheckpointError(f"{path} holds the {header['kind']} {header['name']!r}, not {article} {kind}.")
    spec = SystemSpec.from_plain(header["spec"])
    make = make_scheme if header["kind"] == "scheme" else make_eavesdropper
    merged = {**header["options"], **(options or {})}
    borrows = name not in (None, header["name"])
    if borrows:
        lent = schemes[name].borrow(header["name"], header["options"], options or {})  # type: ignore[index, attr-defined]
        if lent is None:
            raise CheckpointError(f"{path} holds {header['name']!r}, whose weights {name!r} does not take.")
        merged = lent
    with torch.random.fork_rng(devices=[]):  # initial weights are replaced; the global stream stays as it was
        policy = make(name or header["name"], spec, **merged)
    stored = read_tensors(path)
    if borrows and isinstance(policy, PrivacyScheme):
        stored = policy.adopt(stored)
    own = policy.state_dict()
    for name in sorted(own.keys() ^ stored.keys()):
        if name in own and _for_training(policy, name):
            stored[name] = own[name]
            continue
        where = "lacks" if name in own else "has the unexpected"
        raise CheckpointError(
            f"{path} {where} tensor {name!r} of {header['name']!r}; it fits another version."
        )
    for name, tensor in own.items():
        if tensor.shape != stored[name].shape:
            raise CheckpointError(
                f"{path}: tensor {name!r} has the shape {list(stored[name].shape)}, but "
                f"{header['name']!r} needs {list(tensor.shape)}."
            )
    policy.load_state_dict({name: stored[name].to(own[name].dtype) for name in own})
    policy.to(resolve_device(device)).eval().requires_grad_(False)
    return Checkpoint(policy, header["kind"], header["card"], path)


def _for_training(policy: PrivacyScheme | Eavesdropper, name: str) -> bool:
    parts = getattr(policy, "training_only", ())
    return any(f".{part}." in f".{name}" for part in parts)


def check_fits(header: dict[str, Any], path: Path, spec: SystemSpec, data: str | None = None) -> None:
    """Raise CheckpointError when a checkpoint was made for other shapes, code length or data.

    Args:
        header: from :func:`read_header`.
        path: its file, for the message.
        spec: the system it is wanted for.
        data: the name of the data set it is wanted for; None accepts any of the same shapes.
    """
    stored = SystemSpec.from_plain(header["spec"])
    wanted = (
        ("image shape", stored.image_shape, spec.image_shape),
        ("number of outputs", stored.num_outputs, spec.num_outputs),
        ("code length in channel uses", stored.num_symbols, spec.num_symbols),
        ("data set", header["card"].get("data", {}).get("name"), data) if data else ("", None, None),
    )
    for what, has, needs in wanted:
        if has != needs:
            raise CheckpointError(f"{path} was trained for the {what} {has!r}, but {needs!r} is asked for.")


def _check_header(header: dict[str, Any], path: Path) -> None:
    """Raise CheckpointError unless everything that is read from a header is there and of its type."""
    kinds = {"kind": str, "name": str, "options": dict, "spec": dict, "card": dict}
    wrong = [key for key, kind in kinds.items() if not isinstance(header.get(key), kind)]
    if not wrong and header["kind"] not in get_args(Kind):
        wrong = ["kind"]
    try:
        if not wrong:
            SystemSpec.from_plain(header["spec"])
    except (KeyError, TypeError, ValueError):
        wrong = ["spec"]
    if wrong:
        raise CheckpointError(f"{path} has a damaged header: its {wrong[0]!r} is {header.get(wrong[0])!r}.")


def _open(path: Path, read: Any) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return read(file)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a readable checkpoint (truncated or corrupt): {error}."
        ) from None

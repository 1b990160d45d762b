"""Trained policies as files: safetensors with their configuration inside; loading one runs no code.

A checkpoint holds the registered *name* of a scheme or eavesdropper, its options and shapes as plain
values, a *card* that says how it was trained, and the tensors.  It never holds an import path, so a file
from a stranger can only ever build something that is installed here.  Some of the tensors may lie in another
checkpoint of the same folder (:mod:`tosc_env.lending`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tosc_env.checkpoint_files import (
    FORMAT,
    Kind,
    read_header,
    read_tensors,
    stored_tensors,
    write_file,
)
from tosc_env.devices import resolve_device
from tosc_env.errors import CheckpointError, InputError
from tosc_env.lending import Loan, lend
from tosc_env.policies import (
    Eavesdropper,
    PrivacyScheme,
    SystemSpec,
    make_eavesdropper,
    make_scheme,
    schemes,
)


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
    without: Sequence[str] = (),
    lender: str | os.PathLike[str] | None = None,
) -> None:
    """Write a policy whole or not at all.

    Args:
        path: the file, ``.safetensors`` by custom.
        policy: a scheme or eavesdropper of a registered name.
        card: plain values (JSON) about how the weights were made.
        half: store floating-point weights as float16 and leave out what only training needs
            (``training_only``), as the zoo does.
        state: other tensors than the policy's present ones (an average over training steps).
        without: parts to leave out, such as ``("transmitter",)`` for receivers only; they must be the lender's up
            to rounding, and loading borrows them from there.
        lender: the checkpoint of a scheme in the same folder that has those parts.

    Raises:
        InputError: the card or the options hold something that is not a plain value; a lender that has not those
            parts or does not lie beside the file.
        CheckpointError: the lender is missing or damaged.
        WriteError: the disk is full or the folder cannot be written; an older file stays as it was.
    """
    kind: Kind = "scheme" if isinstance(policy, PrivacyScheme) else "eavesdropper"
    header = {
        "format": FORMAT,
        "kind": kind,
        "name": policy.name,
        "options": policy.options,
        "spec": policy.spec.plain(),
        "card": card,
    }
    whole = state or policy.state_dict()
    loan = _loan(Path(path), whole, without, lender)
    if loan is not None:
        header["borrowed"] = loan.plain()
    tensors = {}
    for name, tensor in whole.items():
        if (half and _for_training(policy, name)) or (loan is not None and loan.covers(name)):
            continue
        value = tensor.detach().to("cpu", copy=True).contiguous()
        tensors[name] = value.half() if half and value.is_floating_point() else value
    write_file(path, header, tensors)


def amend_card(path: str | os.PathLike[str], card: dict[str, Any]) -> None:
    """Give a checkpoint another card; whatever else its header says stays, and its tensors bit for bit.

    Raises:
        CheckpointError: missing, truncated or corrupt.
        InputError: the card holds something that is not a plain value.
        WriteError: the file cannot be written; the older one stays as it was.
    """
    write_file(path, {**read_header(path), "card": card}, stored_tensors(Path(path)))


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


def _loan(
    path: Path, tensors: Mapping[str, Tensor], without: Sequence[str], lender: str | os.PathLike[str] | None
) -> Loan | None:
    if not without and lender is None:
        return None
    if not without or lender is None:
        raise InputError(
            "parts are left out of a checkpoint together with the lender that has them: give both."
        )
    beside = Path(lender)
    if beside.parent.resolve() != path.parent.resolve() or beside.name == path.name:
        raise InputError(f"a lender is another file in the folder of its borrower {path}, not {beside}.")
    return lend(tensors, without, beside, read_header(beside), stored_tensors(beside))

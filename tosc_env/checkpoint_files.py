"""What a checkpoint is on the disk: a safetensors file whose header says, in plain values, what it holds."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor

from tosc_env.errors import CheckpointError, InputError
from tosc_env.files import replacing
from tosc_env.lending import Loan
from tosc_env.policies import SystemSpec

FORMAT = "tosc-env/1"
_KEY = "tosc_env"
Kind = Literal["scheme", "eavesdropper"]


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
    """The tensors of a checkpoint by name, as stored, those that it borrows included.

    Raises:
        CheckpointError: like :func:`read_header`, also of the file that it borrows from; or that one lends other
            tensors now.
    """
    path = Path(path)
    header, stored = read_header(path), stored_tensors(path)
    if "borrowed" not in header:
        return stored
    loan = Loan.from_plain(header["borrowed"])
    lender = loan.lender(path)
    if not lender.is_file():
        raise CheckpointError(
            f"{path} borrows {', '.join(loan.parts)} of {loan.name!r} from {lender.name}, which is not beside it."
        )
    # Only what the lender stores itself is lent: no chains, and no file that borrows from itself.
    return {**loan.tensors(path, read_header(lender), stored_tensors(lender)), **stored}


def write_file(path: str | os.PathLike[str], header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write header and tensors, whole or not at all; raises InputError for a header of other than plain values."""
    from safetensors.torch import save

    try:
        text = json.dumps(header, sort_keys=True)
    except TypeError as error:
        raise InputError(f"a checkpoint holds plain values only: {error}.") from None
    with replacing(path) as part:
        # Python writes the bytes: safetensors' own writer reports a full disk as an error that is no OSError.
        part.write_bytes(save(tensors, metadata={_KEY: text}))


def stored_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors that the file itself holds."""
    return _open(path, lambda file: {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118


def _check_header(header: dict[str, Any], path: Path) -> None:
    """Raise CheckpointError unless everything that is read from a header is there and of its type."""
    kinds = {"kind": str, "name": str, "options": dict, "spec": dict, "card": dict}
    wrong = [key for key, kind in kinds.items() if not isinstance(header.get(key), kind)]
    if not wrong and header["kind"] not in get_args(Kind):
        wrong = ["kind"]
    readers = {"spec": SystemSpec.from_plain, "borrowed": Loan.from_plain}
    for key, read in readers.items():
        try:
            if not wrong and key in header:
                read(header[key])
        except (AttributeError, KeyError, TypeError, ValueError):
            wrong = [key]
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

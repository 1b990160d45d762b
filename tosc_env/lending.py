"""Checkpoints that hold only part of their tensors and borrow the rest from another file beside them.

A receiver that was trained behind another scheme's transmitter ships without it.  Its file's header names the lender
and the digest of what it lends, so that a lender that was trained again is noticed instead of played with.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tosc_env.errors import CheckpointError, InputError, unknown

_STEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Loan:
    """What a checkpoint leaves to a file of the same folder.

    Attributes:
        name: the scheme whose weights the lender holds.
        stem: the lender's file name without its ending: letters, digits, ``.``, ``_`` and ``-``, and no folder.
        parts: the submodules or tensors that are borrowed, such as ``("transmitter",)``.
        sha256: :func:`digest` of the tensors as the lender stores them.
    """

    name: str
    stem: str
    parts: tuple[str, ...]
    sha256: str

    @classmethod
    def from_plain(cls, plain: Any) -> Loan:
        """From :meth:`plain`; raises ValueError, TypeError or KeyError where a header is damaged or lies.

        >>> Loan.from_plain({"name": "a", "stem": "../a", "parts": ["b"], "sha256": "0" * 64})
        Traceback (most recent call last):
            ...
        ValueError: stem
        """
        loan = cls(plain["name"], plain["stem"], tuple(plain["parts"]), plain["sha256"])
        for field in ("name", "stem", "sha256"):
            if not isinstance(getattr(loan, field), str):
                raise ValueError(field)
        if not loan.parts or not all(isinstance(part, str) for part in loan.parts):
            raise ValueError("parts")
        if not _STEM.fullmatch(loan.stem):
            raise ValueError("stem")
        return loan

    def plain(self) -> dict[str, Any]:
        """As plain values, for a header."""
        return {**asdict(self), "parts": list(self.parts)}

    def lender(self, path: Path) -> Path:
        """The lender's file, beside the checkpoint at ``path``."""
        return path.parent / f"{self.stem}.safetensors"

    def covers(self, tensor: str) -> bool:
        """Whether a tensor of this name is borrowed."""
        return _within(tensor, self.parts)

    def tensors(
        self, path: Path, header: Mapping[str, Any], stored: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """What the lender lends to the checkpoint at ``path``, after checking that it is what was borrowed.

        Args:
            path: the borrower.
            header, stored: of the lender.

        Raises:
            CheckpointError: the lender holds another scheme, or other tensors than those that were borrowed.
        """
        lent = {name: tensor for name, tensor in stored.items() if self.covers(name)}
        has = f"the {header['kind']} {header['name']!r}"
        told = f"{path} borrows {', '.join(self.parts)} of {self.name!r} from {self.lender(path).name}"
        if (header["kind"], header["name"]) != ("scheme", self.name):
            raise CheckpointError(f"{told}, which holds {has}.")
        if digest(lent) != self.sha256:
            raise CheckpointError(
                f"{told}, which now lends other tensors than those it was trained with; take both files of the same "
                "version, or train and pack it again."
            )
        return lent


def lend(
    tensors: Mapping[str, Tensor],
    parts: Iterable[str],
    lender: Path,
    header: Mapping[str, Any],
    stored: Mapping[str, Tensor],
) -> Loan:
    """The loan by which a policy leaves ``parts`` of its tensors to a lender.

    Args:
        tensors: all of the policy.
        parts: what it does not keep.
        lender, header, stored: the lender's file and what it holds.

    Raises:
        InputError: no such part, a lender whose tensors are not the policy's own up to the rounding to what the
            lender stores, or a file name that no header may hold.
    """
    parts = tuple(parts)
    for part in parts:
        if not any(_within(name, (part,)) for name in tensors):
            raise unknown("part", part, {name.split(".")[0] for name in tensors})
    if not _STEM.fullmatch(lender.stem) or lender.suffix != ".safetensors":
        raise InputError(
            f"a lender is a .safetensors file named by letters, digits, '.', '_' and '-', not {lender.name!r}."
        )
    if header["kind"] != "scheme":
        raise InputError(f"a scheme lends weights, but {lender} holds an eavesdropper.")
    lent = {name: tensor for name, tensor in stored.items() if _within(name, parts)}
    for name in sorted(lent.keys() | {name for name in tensors if _within(name, parts)}):
        if name not in lent or name not in tensors or not _same(tensors[name], lent[name]):
            raise InputError(
                f"{lender} cannot lend {', '.join(parts)}: its tensor {name!r} is not the policy's own, rounded."
            )
    return Loan(header["name"], lender.stem, parts, digest(lent))


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values, in 64 hexadecimal digits; independent of the order.

    >>> a, b = torch.zeros(2), torch.ones(3)
    >>> digest({"a": a, "b": b}) == digest({"b": b, "a": a}), digest({"a": a}) == digest({"a": a.half()})
    (True, False)
    """
    found = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def _within(tensor: str, parts: Iterable[str]) -> bool:
    return any(tensor == part or tensor.startswith(f"{part}.") for part in parts)


def _same(own: Tensor, lent: Tensor) -> bool:
    return own.shape == lent.shape and torch.equal(own.detach().cpu().to(lent.dtype), lent)

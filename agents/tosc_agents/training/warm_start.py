"""Starting a training from the weights of another: a new SNR, channel, task, data set or scheme."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tosc_env.checkpoints import read_header, read_tensors
from tosc_env.errors import CheckpointError, InputError, unknown
from tosc_env.policies import PrivacyScheme, schemes


class WarmStart:
    """The weights in a checkpoint, for any scheme that has some of the same parts.

    Args:
        path: a scheme's checkpoint.

    Raises:
        CheckpointError: missing, damaged, or not of a scheme.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header = read_header(path)
        if self.header["kind"] != "scheme":
            raise CheckpointError(f"{path} holds an eavesdropper; a training starts from a scheme.")
        self.taken: list[str] = []
        self.fresh: list[str] = []

    def options_for(self, name: str) -> dict[str, Any]:
        """Those of the checkpoint's options that the scheme ``name`` takes too, so that networks fit."""
        own, theirs = schemes[name], schemes[self.header["name"]]
        known = known_options(own)
        if own is not theirs:
            # Of another scheme only the networks are taken over, not what that scheme makes of them.
            from tosc_agents.schemes.deepjscc import DeepJSCC

            known &= known_options(DeepJSCC)
        return {k: v for k, v in self.header["options"].items() if k in known and k != "told_snr_db"}

    def load(self, scheme: PrivacyScheme) -> str:
        """Copy every tensor that fits by name and shape into ``scheme``; returns what was done, in a sentence.

        Raises:
            InputError: nothing fits.
        """
        stored = read_tensors(self.path)
        if scheme.name != self.header["name"] and scheme.lender(scheme.options) == self.header["name"]:
            stored = scheme.adopt(stored)
        own = scheme.state_dict()
        self.taken = [n for n, t in own.items() if n in stored and stored[n].shape == t.shape]
        self.fresh = [n for n in own if n not in self.taken]
        # A norm's counter of batches is a single number everywhere: that it fits says nothing.
        if all(name.endswith("num_batches_tracked") for name in self.taken):
            raise InputError(
                f"nothing in {self.path} ({self.header['name']!r}) fits the scheme {scheme.name!r}: give it the same "
                "networks (--scheme-options), or train from the start."
            )
        with torch.no_grad():
            for name in self.taken:
                own[name].copy_(stored[name])
        told = (
            f"; starts afresh: {', '.join(sorted({n.split('.')[0] for n in self.fresh}))}"
            if self.fresh
            else ""
        )
        return (
            f"took {len(self.taken)} of {len(own)} tensors from {self.path} ({self.header['name']!r}){told}"
        )

    def plain(self) -> dict[str, Any]:
        """As plain values, for a card."""
        return {"file": self.path.name, "scheme": self.header["name"], "fresh": self.fresh}


def freeze(scheme: PrivacyScheme, parts: Sequence[str]) -> list[str]:
    """Keep the named submodules or parameters as they are; returns the names.

    Raises:
        InputError: a scheme has no such part.
    """
    names = [name for name, _ in scheme.named_parameters()]
    for part in parts:
        if not any(name == part or name.startswith(f"{part}.") for name in names):
            raise unknown(f"part of {scheme.name!r}", part, sorted({name.split(".")[0] for name in names}))
    for name, parameter in scheme.named_parameters():
        if any(name == part or name.startswith(f"{part}.") for part in parts):
            parameter.requires_grad_(False)
    return list(parts)


def known_options(factory: Any) -> set[str]:
    """Option names of a scheme's class, its bases' included where it passes keywords on."""
    known: set[str] = set()
    for cls in inspect.getmro(factory) if inspect.isclass(factory) else (factory,):
        if cls is PrivacyScheme:
            break
        if "__init__" not in vars(cls) and inspect.isclass(cls):
            continue
        parameters = inspect.signature(cls).parameters.values()
        known |= {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return known

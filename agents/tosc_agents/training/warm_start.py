"""Starting a training from the weights of another: a new SNR, channel, task, data set or scheme."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tosc_agents.backbones.cnn import NETWORK
from tosc_env.errors import CheckpointError, InputError, unknown
from tosc_env.io.checkpoint_files import data_of, read_header, read_tensors, sha256
from tosc_env.pipeline import Pipeline


class WarmStart:
    """The weights in a scheme's checkpoint, for any scheme that has some of the same parts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header, self.sha256 = read_header(path), sha256(path)
        if self.header["kind"] != "scheme":
            raise CheckpointError(f"{path} holds an eavesdropper; a training starts from a scheme.")
        self.taken: list[str] = []
        self.fresh: list[str] = []

    @property
    def network(self) -> dict[str, Any]:
        """The sizes of the checkpoint's networks, as far as it has such options, so that others fit."""
        return {k: v for k, v in self.header["options"].items() if k in NETWORK}

    @property
    def nodes(self) -> dict[str, Any]:
        """The nodes and antennas in the checkpoint's card, as fields of :class:`~tosc_env.GameConfig`."""
        return self._setting("nodes", "transmit_antennas", "transmitter_csi")

    @property
    def images(self) -> dict[str, Any]:
        """The data set and task in the checkpoint's card, as fields of :class:`~tosc_env.GameConfig`."""
        return self._setting("data", "data_kwargs", "task", "task_kwargs")

    def _setting(self, *wanted: str) -> dict[str, Any]:
        setting = self.header["card"].get("setting", {})
        return {k: setting[k] for k in wanted if setting.get(k) is not None}

    def load(self, scheme: Pipeline) -> str:
        """Copy every tensor that fits by name and shape into ``scheme``; returns what was done, in a sentence."""
        stored, own = read_tensors(self.path), scheme.state_dict()
        self.taken = [n for n, t in own.items() if n in stored and stored[n].shape == t.shape]
        self.fresh = [n for n in own if n not in self.taken]
        # A norm's counter of batches fits everywhere.
        if all(name.endswith("num_batches_tracked") for name in self.taken):
            raise InputError(
                f"nothing in {self.path} ({self.header['name']!r}) fits the scheme {scheme.name!r}: give it the same "
                "networks (--scheme-kwargs), or train from the start."
            )
        with torch.no_grad():
            for name in self.taken:
                own[name].copy_(stored[name])
        parts = sorted({name.removeprefix("backbone.").split(".")[0] for name in self.fresh})
        fresh = f"; starts afresh: {', '.join(parts)}" if parts else ""
        return (
            f"took {len(self.taken)} of {len(own)} tensors from {self.path} ({self.header['name']!r}){fresh}"
        )

    def plain(self) -> dict[str, Any]:
        """Plain values for a card: the checkpoint, and its own training as far as its card tells."""
        card = self.header["card"]
        training = card.get("training", {})
        known = {
            "data": data_of(card),
            "images": card.get("data", {}).get("sha256") if data_of(card) else None,
            "epochs": training.get("loop", {}).get("epochs"),
            "seed": training.get("seed"),
            "warm_start": training.get("warm_start"),
        }
        start = {"file": self.path.name, "sha256": self.sha256, "scheme": self.header["name"]}
        known = {name: value for name, value in known.items() if value is not None}
        return {**start, "fresh": self.fresh, **known}


def freeze(scheme: Pipeline, parts: Sequence[str]) -> list[str]:
    """Keep the named submodules or parameters of the backbone as they are; returns the names."""
    parameters = dict(scheme.backbone.named_parameters())
    for part in parts:
        within = [p for name, p in parameters.items() if f"{name}.".startswith(f"{part}.")]
        if not within:
            raise unknown(f"part of {scheme.name!r}", part, sorted({n.split(".")[0] for n in parameters}))
        for parameter in within:
            parameter.requires_grad_(False)
    return list(parts)

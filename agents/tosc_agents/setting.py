"""The setting of an experiment as plain values: everything needed to build its game again."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from tosc_env.channels import make_channel
from tosc_env.data import make_source
from tosc_env.data.base import Source
from tosc_env.game import Game
from tosc_env.snr import SNR
from tosc_env.system import DATA_SETS


@dataclass(frozen=True)
class Setting:
    """Data, task, channel and code length of an experiment; a checkpoint's card holds one.

    Attributes:
        data, data_options: a registered data set.
        task, task_options: a registered task; by default the one people expect on the data.
        channel, channel_options: a registered channel.
        num_symbols: complex channel uses per message.
        snr_db: Es/N0 of the legitimate link, in training.

    Example:
        >>> Setting("shapes").game(split="test").num_symbols
        64
    """

    data: str
    data_options: dict[str, Any] = field(default_factory=dict)
    task: str = ""
    task_options: dict[str, Any] = field(default_factory=dict)
    channel: str = "awgn"
    channel_options: dict[str, Any] = field(default_factory=dict)
    num_symbols: int = 64
    snr_db: Any = 12.0

    def __post_init__(self) -> None:
        if not self.task:
            usual = DATA_SETS[self.data].attributes if self.data in DATA_SETS else None
            task, options = ("attributes", {"names": list(usual)}) if usual else ("classification", {})
            object.__setattr__(self, "task", task)
            object.__setattr__(self, "task_options", options)

    def source(self, *, split: str, half: str | None, device: str | torch.device = "cpu") -> Source:
        """The images of a split, or of one half of the training split."""
        return make_source(self.data, split=split, half=half, device=device, **self.data_options)

    def game(
        self,
        *,
        split: str = "train",
        half: str | None = None,
        snr_db: SNR | None = None,
        eavesdropper_snr_db: SNR | None = None,
        constellation: str | None = None,
        device: str | torch.device = "cpu",
    ) -> Game:
        """The game of this setting on the images of a split."""
        return self.game_on(
            self.source(split=split, half=half, device=device),
            snr_db=snr_db,
            eavesdropper_snr_db=eavesdropper_snr_db,
            constellation=constellation,
        )

    def game_on(
        self,
        source: Source,
        *,
        snr_db: SNR | None = None,
        eavesdropper_snr_db: SNR | None = None,
        constellation: str | None = None,
    ) -> Game:
        """The game of this setting on other images than those of its own splits, such as a fold."""
        return Game(
            source,
            task=self.task,
            task_kwargs=dict(self.task_options),
            channel=make_channel(self.channel, **self.channel_options),
            num_symbols=self.num_symbols,
            snr_db=self.snr_db if snr_db is None else snr_db,
            eavesdropper_snr_db=eavesdropper_snr_db,
            constellation=constellation,
        )

    def plain(self) -> dict[str, Any]:
        """As plain values, for a card."""
        return asdict(self)

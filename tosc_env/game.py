"""The game: draw -> transmit -> score, batched and differentiable, on one device.

::

    source --image--> [transmitter] --symbols--> power --+--> h_B s + n_B --> [receiver] ------> decision ----+
                                                         |                                                    +--> score
                                                         +--> h_E s + n_E --> [eavesdropper] --> reconstruction +

The game owns the images, the channel and the rules, and knows no particular policy.  Environments are
adapters over it; training a scheme runs the very same code.  It has no state of its own: a :class:`Round`
holds everything about one message per row, and the next round is drawn from the last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from tosc_env import metrics
from tosc_env.channels import Channel, make_channel
from tosc_env.data import make_source, usual_attributes
from tosc_env.data.base import Source
from tosc_env.errors import InputError, unknown
from tosc_env.rewards import Outcome, Reward, make_reward
from tosc_env.snr import SNR, SNRRange
from tosc_env.tasks import Task, make_task
from tosc_env.types import Link, Reception, Round, Scores, SystemSpec, Transmission

ENERGY_EPSILON = 1e-12
"""Added to a message's energy before it is normalised, so that the zero action is sent as silence, not as NaN."""

MIN_PEAK = 1e-6
"""Messages whose largest number is below this are sent with less than unit energy, down to silence at zero."""

EXTRA_METRICS: dict[str, Callable[[Outcome], Tensor]] = {
    "ssim": lambda outcome: metrics.ssim(outcome.reconstruction, outcome.images),
}
"""Costly figures computed on request only (``metrics=("ssim",)``)."""


@dataclass(frozen=True)
class GameConfig:
    """Data, task, channel and rules of a game, by name or as objects; a checkpoint's card holds one as plain values.

    Args:
        data, data_kwargs: a registered data set and its options.
        task, task_kwargs: a task, or a registered name; by default the one people expect on the data.
        channel, channel_kwargs: a channel, or a registered name.
        num_symbols: n, complex channel uses per message, at least 1.
        snr_db: Es/N0 per complex symbol of the legitimate link: a number, a list of choices, or a range
            ``{"low": 0, "high": 20}``, drawn per episode.
        eavesdropper_snr_db: the same for the eavesdropper's link; None makes it equal.
        reward_fn, reward_kwargs: a callable from :class:`~tosc_env.rewards.Outcome` to each role's reward, or a
            registered name.
        privacy_weight: of the default reward, short for its option of that name.
        constellation: None: symbols are continuous, and their mean energy is made 1. Else a name
            (``"16qam"``): every symbol must be one of its points, and is sent as it is.
        repeat: each image is sent this many times in a row.
        metrics: costly figures wanted in every score, of ``ssim``.

    Example:
        >>> config = GameConfig("shapes", snr_db=6.0)
        >>> config.task, config.game(split="test").num_symbols
        ('classification', 64)
    """

    data: str = "shapes"
    data_kwargs: Mapping[str, Any] = field(default_factory=dict)
    task: Task | str | None = None
    task_kwargs: Mapping[str, Any] | None = None
    channel: Channel | str = "awgn"
    channel_kwargs: Mapping[str, Any] | None = None
    num_symbols: int = 64
    snr_db: SNR | SNRRange = 12.0
    eavesdropper_snr_db: SNR | SNRRange | None = None
    reward_fn: Reward | str | None = None
    reward_kwargs: Mapping[str, Any] | None = None
    privacy_weight: float | None = None
    constellation: str | None = None
    repeat: int = 1
    metrics: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.task is None:
            names = usual_attributes(self.data)
            object.__setattr__(self, "task", "attributes" if names else "classification")
            if names and self.task_kwargs is None:
                object.__setattr__(self, "task_kwargs", {"names": list(names)})
        if self.privacy_weight is not None and self.reward_fn is not None:
            raise InputError(
                "privacy_weight belongs to the default reward; a reward_fn of your own sets its own."
            )
        # A card holds these however they were given, so that equal settings are equal.
        for name in ("data_kwargs", "task_kwargs", "channel_kwargs"):
            object.__setattr__(self, name, dict(getattr(self, name) or {}))

    def source(self, *, split: str = "train", half: str | None = None, device: Any = "cpu") -> Source:
        """The images of a split, or of one half of the training split."""
        return make_source(self.data, split=split, half=half, device=device, **self.data_kwargs)

    def game(
        self, *, split: str = "train", half: str | None = None, device: Any = "cpu", **changes: Any
    ) -> Game:
        """The game on the images of a split, or of one half of the training split, with ``changes`` of the rules."""
        return Game(self.source(split=split, half=half, device=device), self, **changes)

    def plain(self) -> dict[str, Any]:
        """As plain values, for a card: what decides the data and the link, and whatever else is not the default.

        Raises:
            InputError: something was given as an object, which no card can hold.
        """
        always = ("data", "data_kwargs", "task", "task_kwargs", "channel", "channel_kwargs")
        values = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name in (*always, "num_symbols", "snr_db") or getattr(self, f.name) != f.default
        }
        for name, value in values.items():
            if isinstance(value, SNRRange):
                values[name] = value.plain()
            elif not isinstance(value, str | int | float | list | tuple | Mapping | None):
                raise InputError(f"a card holds plain values; {name} was given as the object {value!r}.")
        return values


class Game:
    """The rules of one game on one source of images.

    Args:
        source: where images come from; its device is the game's.
        config: the rules; what it says of data is not looked at.
        changes: fields of :class:`GameConfig` that differ from ``config``, such as ``snr_db=0.0``.

    Attributes:
        config: the rules, with task, channel and reward as the objects they have become.

    Raises:
        InputError: any of the rules out of its range.

    Example:
        >>> import torch
        >>> from tosc_env.data import make_source
        >>> game = Game(make_source("shapes"), snr_db=12.0)
        >>> round_ = game.draw(4, generator=torch.Generator().manual_seed(0))
        >>> sent = game.transmit(round_, torch.randn(4, 128))
        >>> sent.receiver.received.shape, sent.receiver.csi.shape
        (torch.Size([4, 128]), torch.Size([4, 1]))
        >>> scores = game.score(round_, round_.targets, torch.rand(4, 3, 32, 32))
        >>> scores.accuracy
        tensor([1., 1., 1., 1.])
    """

    def __init__(self, source: Source, config: GameConfig | None = None, **changes: Any) -> None:
        if not isinstance(source, Source):
            raise InputError(
                f"a game is played on a Source, not on {type(source).__name__}; GameConfig(...).game() makes both."
            )
        rules = config or GameConfig()
        for name in changes:
            if name not in _RULES:
                raise unknown("rule of a game", name, _RULES)
        for name in ("task", "channel"):
            if name in changes and f"{name}_kwargs" not in changes:
                changes[f"{name}_kwargs"] = None
        if {"privacy_weight", "reward_kwargs"} & changes.keys():
            changes.setdefault("reward_fn", None if callable(rules.reward_fn) else rules.reward_fn)
        rules = replace(rules, **changes)
        self.num_symbols = _count(rules.num_symbols, "num_symbols")
        self.repeat = _count(rules.repeat, "repeat")
        self.source = source
        self.task = make_task(rules.task or "classification", source, **(rules.task_kwargs or {}))
        self.channel = make_channel(rules.channel, **(rules.channel_kwargs or {}))
        self.channel.check(self.num_symbols)
        self.snr_db = SNRRange.parse(rules.snr_db)
        self.eavesdropper_snr_db = (
            None
            if rules.eavesdropper_snr_db is None
            else SNRRange.parse(rules.eavesdropper_snr_db, "eavesdropper_snr_db")
        )
        self.reward = _make_reward(rules)
        if isinstance(rules.metrics, str):
            raise InputError(f"metrics takes a list of names, not {rules.metrics!r}.")
        for name in rules.metrics:
            if name not in EXTRA_METRICS:
                raise unknown("metric", name, EXTRA_METRICS)
        self.metrics = tuple(rules.metrics)
        self.floor = source.statistics.mean_image_mse
        self.constellation = rules.constellation
        self._points: Tensor | None = None
        if self.constellation is not None:
            from tosc_env.modulation import constellation_points

            self._points = constellation_points(self.constellation, device=self.device)
        self.config = replace(
            rules,
            task=self.task,
            task_kwargs=None,
            channel=self.channel,
            channel_kwargs=None,
            reward_fn=self.reward,
            reward_kwargs=None,
            privacy_weight=None,
        )

    def with_rules(self, **changes: Any) -> Game:
        """A game with other rules (``snr_db=0.0``, say), or another ``source=``, that is the same in all else."""
        return Game(changes.pop("source", self.source), self.config, **changes)

    @property
    def device(self) -> torch.device:
        """The device of the source, on which everything happens."""
        return self.source.device

    @property
    def points(self) -> Tensor | None:
        """The constellation's complex64 points [M] of a discrete game, else None."""
        return self._points

    @property
    def spec(self) -> SystemSpec:
        """The shapes a policy needs to know."""
        return SystemSpec(
            self.source.image_shape,
            self.task.num_outputs,
            self.num_symbols,
            self.channel.num_csi(self.num_symbols),
            self.task.binary,
        )

    # -- draw ---------------------------------------------------------------------------------------

    def draw(
        self,
        batch_size: int,
        *,
        generator: torch.Generator | None = None,
        previous: Round | None = None,
        restart: Tensor | None = None,
        index: Tensor | None = None,
    ) -> Round:
        """The next message of every row: image, SNR, fades and noise.

        Args:
            batch_size: B.
            generator: the only source of randomness, on the game's device.
            previous: the last round, whose episode goes on (same SNR, fades within their coherence, the
                image again if ``repeat`` says so).
            restart: bool [B], rows that begin a new episode instead; by default all when there is no
                ``previous`` and none otherwise.
            index: int64 [B], these images of the source instead of random ones.

        How many numbers are taken from the stream depends on B alone, never on ``restart``.
        """
        device = self.device
        drawn = self.source.draw(batch_size, generator)
        snr_b = self.snr_db.draw(batch_size, generator, device)
        snr_e = snr_b
        if self.eavesdropper_snr_db is not None:
            snr_e = self.eavesdropper_snr_db.draw(batch_size, generator, device)
        links = self.channel.draw(
            batch_size,
            self.num_symbols,
            generator=generator,
            device=device,
            previous=None if previous is None else previous.links,
            restart=restart,
        )
        shown = torch.ones(batch_size, dtype=torch.int64, device=device)
        message = torch.zeros(batch_size, 3, dtype=torch.int64, device=device)
        message[:, 0] = torch.arange(batch_size, device=device)
        if previous is not None:
            goes_on = torch.ones_like(shown, dtype=torch.bool) if restart is None else ~restart
            snr_b = torch.where(goes_on, previous.snr_db, snr_b)
            snr_e = torch.where(goes_on, previous.eavesdropper_snr_db, snr_e)
            again = goes_on & (previous.shown < self.repeat)
            drawn = torch.where(again, previous.batch.index, drawn)
            shown = torch.where(again, previous.shown + 1, shown)
            message[:, 1] = previous.message[:, 1] + (~goes_on)
            message[:, 2] = torch.where(goes_on, previous.message[:, 2] + 1, 0)
        batch = self.source.gather(drawn if index is None else index)
        return Round(batch, self.task.targets(batch), snr_b, snr_e, links, message, shown)

    # -- transmit -----------------------------------------------------------------------------------

    def normalise(self, symbols: Tensor) -> Tensor:
        """Symbols [B, 2n] as they may be sent: unit mean energy, or checked points of the constellation.

        Raises:
            InputError: the wrong shape, or a symbol of a discrete game that is none of the points.
        """
        symbols = self.checked(symbols)
        if self._points is None:
            # Scaled first, so that neither huge nor tiny symbols leave float32 when squared; y does not depend
            # on the scale, so no gradient is lost by detaching it.
            symbols = symbols / symbols.detach().abs().amax(1, keepdim=True).clamp_min(MIN_PEAK)
            energy = symbols.square().sum(1, keepdim=True) / self.num_symbols
            return symbols * torch.rsqrt(energy + ENERGY_EPSILON)
        from tosc_env.modulation import check_points

        check_points(symbols.detach(), self._points, self.constellation or "")
        return symbols

    def checked(self, symbols: Tensor) -> Tensor:
        """Symbols as float32; InputError unless their shape is [B, 2n]."""
        if symbols.dim() != 2 or symbols.shape[1] != 2 * self.num_symbols:
            raise InputError(
                f"symbols must have the shape [B, {2 * self.num_symbols}] (I and Q of {self.num_symbols} channel "
                f"uses, interleaved), not {list(symbols.shape)}."
            )
        return symbols.float()

    def transmit(self, round_: Round, symbols: Tensor) -> Transmission:
        """Send one message per row over both links.

        Args:
            round_: from :meth:`draw`.
            symbols: float [B, 2n], I and Q interleaved. Gradients flow to it from both receptions.
        """
        sent = self.normalise(symbols)
        waves = torch.view_as_complex(sent.unflatten(1, (self.num_symbols, 2)))
        links = round_.links
        return Transmission(
            self._receive(waves, links.receiver, round_.snr_db),
            self._receive(waves, links.eavesdropper, round_.eavesdropper_snr_db),
            sent,
            sent.detach().square().sum(1) / self.num_symbols,
        )

    def _receive(self, waves: Tensor, link: Link, snr_db: Tensor) -> Reception:
        received = self.channel.apply(waves, link, snr_db)
        return Reception(torch.view_as_real(received).flatten(1), self.channel.csi(link, snr_db))

    # -- score --------------------------------------------------------------------------------------

    def score(self, round_: Round, decision: Tensor, reconstruction: Tensor) -> Scores:
        """Rewards and figures of a round.

        Args:
            round_: from :meth:`draw`.
            decision: the receiver's hard decisions, in the form of ``round_.targets``.
            reconstruction: the eavesdropper's images [B, C, H, W].

        Raises:
            InputError: another shape; it would be broadcast to a wrong score.
        """
        images = round_.batch.images
        for what, given, wanted in (
            ("decision", decision, round_.targets),
            ("reconstruction", reconstruction, images),
        ):
            if given.shape != wanted.shape:
                raise InputError(f"{what} must have the shape {list(wanted.shape)}, not {list(given.shape)}.")
        error = metrics.mse(reconstruction, images)
        outcome = Outcome(
            self.task.score(decision, round_.targets),
            error,
            metrics.psnr_from_mse(error),
            images,
            reconstruction,
            self.floor,
        )
        extra = {name: EXTRA_METRICS[name](outcome) for name in self.metrics}
        return Scores(self.reward(outcome), outcome.score, error, outcome.psnr_db, extra)


_RULES = tuple(f.name for f in fields(GameConfig))


def _make_reward(rules: GameConfig) -> Reward:
    kwargs = dict(rules.reward_kwargs or {})
    if rules.privacy_weight is not None:
        kwargs["privacy_weight"] = rules.privacy_weight
    return make_reward(rules.reward_fn or "privacy-utility", **kwargs)


def _count(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name} must be a whole number of at least 1, not {value!r}.")
    return value

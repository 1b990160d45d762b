"""The game: draw -> transmit -> score, batched and differentiable, on one device.

::

    source --image--> [transmitter] --symbols--> constraint, precoder --waves x--+
                                                                                 |
           +--> score <--------- decision <-- [receiver] <--- H_B x + n_B <-----+
           +--> score <-- reconstruction <-- [eavesdropper k] <-- H_k x + n_k <--+

The game owns the images, the channel and the rules, and knows no particular policy.  It has no state: a
:class:`Round` holds everything about one message per row, and the next round is drawn from the last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from numbers import Real
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from tosc_env import metrics
from tosc_env.channels import Channel, make_channel
from tosc_env.constraints import ENERGY_EPSILON, Constraint, constraint_of
from tosc_env.data import absolute_paths, make_source, usual_attributes
from tosc_env.data.base import Source, check_source
from tosc_env.errors import InputError, shown, unknown
from tosc_env.identity import digest
from tosc_env.modulation import constellation_points
from tosc_env.nodes import MOST_ANTENNAS, WIRETAP, Node, as_nodes
from tosc_env.options import (
    MOST_MESSAGES,
    Count,
    Weight,
    Within,
    check_count,
    check_dense,
    check_fields,
    check_is,
    check_reals,
    check_tensor,
    named_options,
)
from tosc_env.rewards import Outcome, PrivacyUtility, Reward, checked_rewards, make_reward
from tosc_env.snr import SNR, SNRRange
from tosc_env.tasks import Task, make_task
from tosc_env.types import (
    MOST_SYMBOLS,
    Context,
    Leak,
    Reception,
    Round,
    Scores,
    SystemSpec,
    Transmission,
    Waves,
)

EXTRA_METRICS: dict[str, Callable[[Outcome], Tensor]] = {
    "ssim": lambda outcome: metrics.ssim(outcome.reconstruction, outcome.images),
}
"""Costly figures computed on request only (``metrics=("ssim",)``), float [B]; a larger one is a worse leak."""

_KWARGS = {
    "data_kwargs": ("name", "split", "half", "device"),
    "task_kwargs": ("task", "source"),
    "channel_kwargs": ("channel",),
    "reward_kwargs": ("reward",),
}
"""Fields that hold options, and what is none of them."""


@dataclass(frozen=True)
class GameConfig:
    """Data, task, channel and rules of a game, by name or as objects; a checkpoint's card holds one as plain values.

    Args:
        data, data_kwargs: a registered data set and its options.
        task, task_kwargs: a task, or a registered name; by default the one people expect on the data.
        channel, channel_kwargs: a channel, or a registered name.
        num_symbols: n, complex channel uses per message.
        snr_db: Es/N0 per complex symbol of the legitimate link: a number, a list of choices, or a range
            ``{"low": 0, "high": 20}``, drawn per episode.
        eavesdropper_snr_db: the same for every eavesdropper's link, drawn for each; None makes them equal to the
            receiver's.
        nodes: the receiver and then the eavesdroppers (:class:`~tosc_env.Node`, or dictionaries of its fields); a
            node's own SNR goes before the two above.
        transmit_antennas: T, at least 1. Without a stage that precodes, the first of them radiates alone.
        transmitter_csi: nodes whose channel gains the transmitter knows (``Context.gains``).
        colluding: whether the eavesdroppers of an environment pool what their antennas receive.
        reward_fn, reward_kwargs: a callable from :class:`~tosc_env.rewards.Outcome` to each role's reward, or a
            registered name.
        privacy_weight: of the default reward, short for its option of that name.
        constellation: of symbols that come without a constraint of their own, such as a transmitter's outside. None:
            their mean energy is made 1. Else a name (``"16qam"``): every symbol must be one of its points, and is sent
            as it is.
        repeat: each image is sent this many times in a row.
        metrics: costly figures wanted in every score, of ``ssim``.

    Example:
        >>> config = GameConfig("shapes", snr_db=6.0)
        >>> config.task, config.game(split="test").num_symbols
        ('classification', 64)
    """

    data: str
    data_kwargs: Mapping[str, Any] = field(default_factory=dict)
    task: Task | str | None = None
    task_kwargs: Mapping[str, Any] | None = None
    channel: Channel | str = "awgn"
    channel_kwargs: Mapping[str, Any] | None = None
    num_symbols: Annotated[int, Within(1, MOST_SYMBOLS)] = 64
    snr_db: SNR | SNRRange = 12.0
    eavesdropper_snr_db: SNR | SNRRange | None = None
    nodes: Sequence[Node | Mapping[str, Any]] = WIRETAP
    transmit_antennas: Annotated[int, Within(1, MOST_ANTENNAS)] = 1
    transmitter_csi: Sequence[str] = ()
    colluding: bool = False
    reward_fn: Reward | str | None = None
    reward_kwargs: Mapping[str, Any] | None = None
    privacy_weight: Weight | None = None
    constellation: str | None = None
    repeat: Count = 1
    metrics: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.data, str):
            raise InputError(
                f"data is a data set's name, not {shown(self.data)}; tosc_env.as_source takes images of yours."
            )
        check_fields(self, but=("nodes", "snr_db", "eavesdropper_snr_db", *_KWARGS))
        for name, beside in _KWARGS.items():
            named_options(name, getattr(self, name), beside)
        if self.task is None:
            names = usual_attributes(self.data)
            object.__setattr__(self, "task", "attributes" if names else "classification")
            if names and self.task_kwargs is None:
                object.__setattr__(self, "task_kwargs", {"names": list(names)})
        if self.privacy_weight is not None and self.reward_fn is not None:
            raise InputError("privacy_weight is of the default reward; a reward_fn of yours has its own.")
        # A card holds these however they were given, so that equal settings are equal.
        for name in ("data_kwargs", "task_kwargs", "channel_kwargs"):
            object.__setattr__(self, name, dict(getattr(self, name) or {}))
        object.__setattr__(self, "data_kwargs", absolute_paths(self.data, self.data_kwargs))

    def source(self, *, split: str = "train", half: str | None = None, device: Any = "cpu") -> Source:
        """Load the images of a split, or of one half of the training split."""
        return make_source(self.data, split=split, half=half, device=device, **self.data_kwargs)

    def game(
        self, *, split: str = "train", half: str | None = None, device: Any = "cpu", **changes: Any
    ) -> Game:
        """Make the game on :meth:`source`, with ``changes`` of the rules."""
        return Game(self.source(split=split, half=half, device=device), self, **changes)

    def plain(self) -> dict[str, Any]:
        """Return plain values for a card: the fields that decide data and link, and others that are not the default.

        InputError where something was given as an object, which no card can hold.
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
            elif name == "nodes":
                values[name] = [node.plain() for node in as_nodes(value)]
            elif not isinstance(value, str | Real | list | tuple | Mapping | None):
                raise InputError(f"a card holds plain values; {name} was given as the object {value!r}.")
        return values


class Game:
    """The rules of one game on one source of images.

    Args:
        source: the images; its device is the game's.
        config: the rules; its ``data`` fields are not used.
        changes: fields of :class:`GameConfig` that differ from ``config``, such as ``snr_db=0.0``.

    Attributes:
        config: the rules, with task, channel and reward as the objects they have become.

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
        check_source(source, "source")
        if torch.get_default_dtype() is not torch.float32:
            raise InputError(
                f"games are played in float32, not {torch.get_default_dtype()}: set torch.set_default_dtype back."
            )
        if config is None:
            config = GameConfig(source.name, task="classification")
        rules = check_is(config, GameConfig, "config")
        for name in changes:
            if name not in _RULES:
                raise unknown("rule of a game", name, _RULES)
        for name in ("task", "channel"):
            if name in changes and f"{name}_kwargs" not in changes:
                changes[f"{name}_kwargs"] = None
        if {"privacy_weight", "reward_kwargs"} & changes.keys():
            changes.setdefault("reward_fn", None if callable(rules.reward_fn) else rules.reward_fn)
        rules = replace(rules, **changes)
        self.num_symbols, self.repeat = rules.num_symbols, rules.repeat
        self.nodes, self.transmit_antennas = as_nodes(rules.nodes), rules.transmit_antennas
        names = [node.name for node in self.nodes]
        for kind, given, known in (
            ("node", rules.transmitter_csi, names),
            ("metric", rules.metrics, list(EXTRA_METRICS)),
        ):
            for name in given:
                if name not in known:
                    raise unknown(kind, name, known)
        self.source = source
        self.task = make_task(rules.task or "classification", source, **(rules.task_kwargs or {}))
        self.channel = make_channel(rules.channel, **(rules.channel_kwargs or {}))
        self.channel.check(self.num_symbols)
        self.snr_db = SNRRange.parse(rules.snr_db if self.nodes[0].snr_db is None else self.nodes[0].snr_db)
        self._snrs: dict[str, SNRRange | None] = {}
        for node in self.nodes[1:]:
            own = rules.eavesdropper_snr_db if node.snr_db is None else node.snr_db
            self._snrs[node.name] = None if own is None else SNRRange.parse(own, "eavesdropper_snr_db")
        weight = {} if rules.privacy_weight is None else {"privacy_weight": rules.privacy_weight}
        reward = "privacy-utility" if rules.reward_fn is None else rules.reward_fn
        self.reward = make_reward(reward, **{**(rules.reward_kwargs or {}), **weight})
        self.metrics = tuple(rules.metrics)
        self.floor = source.statistics.mean_image_mse
        self.constellation = rules.constellation
        self._constraint = constraint_of(self.constellation)
        settled: dict[str, Any] = dict.fromkeys(
            ("task_kwargs", "channel_kwargs", "reward_kwargs", "privacy_weight")
        )
        self.config = replace(rules, task=self.task, channel=self.channel, reward_fn=self.reward, **settled)

    def with_rules(self, **changes: Any) -> Game:
        """A copy of the game with other rules (``snr_db=0.0``, say) or another ``source=``."""
        return Game(changes.pop("source", self.source), self.config, **changes)

    def identity(self) -> dict[str, Any]:
        """Describe what determines a result of this game: its images, what is known of their data set, every rule."""
        others = (*_KWARGS, "privacy_weight")  # of which objects were made
        rules = {name: getattr(self.config, name) for name in _RULES if name not in others}
        others = rules["eavesdropper_snr_db"]
        rules |= {
            "snr_db": self.snr_db.plain(),
            "eavesdropper_snr_db": None if others is None else SNRRange.parse(others).plain(),
            "nodes": [node.plain() for node in self.nodes],
        }
        return {"data": self.source, **rules, "statistics": {"sha256": digest(self.source.statistics)}}

    @property
    def device(self) -> torch.device:
        """The source's device."""
        return self.source.device

    @property
    def adversaries(self) -> tuple[str, ...]:
        """The eavesdroppers' names."""
        return tuple(node.name for node in self.nodes[1:])

    def snr_of(self, node: str) -> SNRRange:
        """The SNRs of a node's link, per antenna."""
        return self._snrs.get(node) or self.snr_db

    def with_only(self, node: str) -> Game:
        """A copy of the game with this eavesdropper alone."""
        if not isinstance(node, str) or node not in self.adversaries:
            raise unknown("eavesdropper", node, self.adversaries)
        kept = [one for one in self.nodes if one.name == node or not one.adversary]
        known = [one.name for one in kept if one.name in self.config.transmitter_csi]
        return self.with_rules(nodes=kept, transmitter_csi=known)

    @property
    def points(self) -> Tensor | None:
        """The constellation's complex64 points [M] where symbols must be points, else None."""
        name = self.constellation
        return None if name is None else constellation_points(name, device=self.device)

    @property
    def spec(self) -> SystemSpec:
        """The shapes a policy needs to know."""
        uses, task = self.num_symbols, self.task
        num_csi, layout = self.channel.num_csi(uses), self.channel.layout(uses)
        return SystemSpec(self.source.image_shape, task.num_outputs, uses, num_csi, task.binary, layout)

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
        """Draw the next message of every row: image, SNR, fades and noise.

        Args:
            batch_size: B.
            generator: the only source of randomness, on the game's device.
            previous: the last round, whose episode goes on (same SNR, fades within their coherence, the
                image again under ``repeat``).
            restart: bool [B], rows that begin a new episode instead; None: all without a ``previous``, else none.
            index: int64 [B], these images of the source instead of random ones.

        How many numbers are taken from the stream depends on B alone, never on ``restart``.
        """
        device = self.device
        batch_size = check_count(batch_size, "batch_size", 0, MOST_MESSAGES)
        _check_drawing(batch_size, generator, previous, restart, index, self.source)
        drawn = self.source.draw(batch_size, generator)
        snrs = [self.snr_db.draw(batch_size, generator, device)]
        for own in self._snrs.values():
            snrs.append(snrs[0] if own is None else own.draw(batch_size, generator, device))
        if previous is not None:
            goes_on = torch.ones(batch_size, dtype=torch.bool, device=device) if restart is None else ~restart
            snrs = [
                torch.where(goes_on, link.snr_db, snr)
                for link, snr in zip(previous.links.values(), snrs, strict=True)
            ]
        links = self.channel.draw(
            snrs,
            self.num_symbols,
            antennas=[node.antennas for node in self.nodes],
            transmit_antennas=self.transmit_antennas,
            generator=generator,
            previous=None if previous is None else list(previous.links.values()),
            restart=restart,
        )
        shown = torch.ones(batch_size, dtype=torch.int64, device=device)
        message = torch.zeros(batch_size, 5, dtype=torch.int64, device=device)
        message[:, 0] = torch.arange(batch_size, device=device)
        if previous is not None:
            again = goes_on & (previous.shown < self.repeat)
            drawn = torch.where(again, previous.batch.index, drawn)
            shown = torch.where(again, previous.shown + 1, shown)
            message[:, 1] = previous.message[:, 1] + (~goes_on)
            message[:, 2] = torch.where(goes_on, previous.message[:, 2] + 1, 0)
        batch = self.source.gather(drawn if index is None else index)
        message[:, 3] = batch.index
        message[:, 4].fill_(self.source.number)  # an assignment would wait for a GPU
        named = {node.name: link for node, link in zip(self.nodes, links, strict=True)}
        return Round(batch, self.task.targets(batch), named, message, shown)

    def context(
        self, round_: Round, generator: torch.Generator | None = None, environment: int = 0
    ) -> Context:
        """The context of a round; outside of any environment ``environment`` is 0."""
        gains = _Gains()
        for name in self.config.transmitter_csi:
            known = self.channel.gains(round_.links[name], self.num_symbols)
            gains[name] = check_dense(known, f"the gains of {name}")
        layout = self.channel.layout(self.num_symbols)
        return Context(round_.snr_db, round_.message, environment, generator, gains=gains, layout=layout)

    # -- transmit -----------------------------------------------------------------------------------

    def checked(self, symbols: Tensor) -> Tensor:
        """Return symbols as float32; InputError unless their shape is [B, 2n]."""
        check_dense(symbols, "symbols")
        width = 2 * self.num_symbols
        real = isinstance(symbols, Tensor) and not symbols.is_complex()
        if not real or symbols.dim() != 2 or symbols.shape[1] != width:
            raise InputError(f"symbols must be real numbers [B, {width}], I and Q, not {shown(symbols)}.")
        return symbols.float()

    def normalise(self, symbols: Tensor) -> Tensor:
        """Apply the game's own constraint to symbols [B, 2n]; raises InputError as :meth:`transmit` does."""
        return self._constraint(self.checked(symbols))

    def transmit(
        self,
        round_: Round,
        symbols: Tensor,
        *,
        constraint: Constraint | None = None,
        precode: Callable[[Waves], Waves] | None = None,
    ) -> Transmission:
        """Send one message per row to every node.

        Args:
            round_: from :meth:`draw`.
            symbols: float [B, 2n], I and Q interleaved. Gradients flow to it from all receptions.
            constraint: of :mod:`tosc_env.constraints`; by default that of the game's ``constellation``.
            precode: from the symbols on the first antenna to the waves of all antennas, which are then scaled to the
                energy of the symbols.
        """
        check_is(round_, Round, "round_")
        for name, function in (("constraint", constraint), ("precode", precode)):
            if function is not None and not callable(function):
                raise InputError(f"{name} must be a function or None, not {shown(function)}.")
        symbols = self.checked(symbols)
        if len(symbols) != len(round_.message):
            raise InputError(f"symbols must be of the {len(round_.message)} messages, not of {len(symbols)}.")
        sent = (self._constraint if constraint is None else constraint)(symbols)
        check_reals(sent, "what constraint returns", symbols.shape)
        signal = torch.view_as_complex(sent.unflatten(1, (self.num_symbols, 2)))[:, None]
        weights = None
        if precode is not None or self.transmit_antennas > 1:
            waves = _on_first(signal, self.transmit_antennas)
            if precode is not None:
                waves = _with_energy(_checked(precode(waves), waves), sent.detach().square().sum(1))
            signal, weights = waves.signal, waves.weights
        receptions = {
            name: self.channel.observe(self.channel.apply(signal, link), link, weights)
            for name, link in round_.links.items()
        }
        num_csi = self.channel.num_csi(self.num_symbols)
        for name, reception in receptions.items():
            check_reals(reception.received, f"received of {name}", sent.shape)
            check_reals(reception.csi, f"csi of {name}", (len(sent), num_csi))
        return Transmission(receptions, sent, weights)

    def pool(self, round_: Round, transmission: Transmission) -> Reception:
        """The reception of one eavesdropper with the antennas of all."""
        links = [round_.links[name] for name in self.adversaries]
        raws = [transmission.receptions[name].raw for name in self.adversaries]
        return self.channel.pool([one for one in raws if one is not None], links, transmission.weights)

    # -- score --------------------------------------------------------------------------------------

    def score(
        self, round_: Round, decision: Tensor, reconstructions: Tensor | Mapping[str, Tensor]
    ) -> Scores:
        """Rewards and figures of a round, from the receiver's hard decisions, in the form of ``round_.targets``, and
        each eavesdropper's images [B, C, H, W] by its node (an only one's need no name).

        Each eavesdropper is paid for its own reconstruction; transmitter and receiver get, row by row, the least of
        their rewards against each eavesdropper.
        """
        check_is(round_, Round, "round_")
        if isinstance(reconstructions, Tensor):
            reconstructions = {self.adversaries[0]: reconstructions}
        elif not isinstance(reconstructions, Mapping):
            raise InputError(f"reconstructions must be tensors by node, not {shown(reconstructions)}.")
        images = round_.batch.images
        _check_shape("decision", decision, round_.targets)
        for name in self.adversaries:
            if name not in reconstructions:
                raise InputError(f"the reconstruction of {name} is missing.")
            _check_shape(f"the reconstruction of {name}", reconstructions[name], images)
        accuracy = self.task.score(decision, round_.targets)
        leaks, system, rewards = {}, [], {}
        for name in self.adversaries:
            rebuilt = reconstructions[name]
            error = metrics.mse(rebuilt, images)
            outcome = Outcome(accuracy, error, metrics.psnr_from_mse(error), images, rebuilt, self.floor)
            extra = {figure: EXTRA_METRICS[figure](outcome) for figure in self.metrics}
            leaks[name] = Leak(error, outcome.psnr_db, extra)
            ours = type(self.reward) is PrivacyUtility  # which needs no looking at
            paid = self.reward(outcome) if ours else checked_rewards(self.reward, outcome)
            rewards[name] = paid["eavesdropper"]
            system.append((paid["transmitter"], paid["receiver"]))
        least = [one[0] if len(one) == 1 else torch.stack(one).amin(0) for one in zip(*system, strict=True)]
        return Scores({"transmitter": least[0], "receiver": least[1], **rewards}, accuracy, leaks)


def _check_drawing(
    batch_size: int, generator: Any, previous: Any, restart: Any, index: Any, source: Source
) -> None:
    """Raise InputError for arguments of :meth:`Game.draw` that do not fit; waits for no device."""
    device = source.device
    if generator is not None and check_is(generator, torch.Generator, "generator").device.type != device.type:
        raise InputError(f"generator must be on the game's device, {device}, not on {generator.device}.")
    if previous is not None and len(check_is(previous, Round, "previous").message) != batch_size:
        raise InputError(f"previous must be a round of {batch_size} messages, not {len(previous.message)}.")
    if restart is not None:
        check_tensor(restart, "restart", [batch_size], torch.bool)
    if index is not None:
        check_tensor(index, "index", [batch_size], torch.int64)
        if device.type == "cpu" and batch_size:
            low, high, last = int(index.min()), int(index.max()), len(source) - 1
            if low < 0 or high > last:
                raise InputError(f"index must hold positions from 0 to {last}, not from {low} to {high}.")


def _check_shape(what: str, given: Tensor, like: Tensor) -> None:
    check_dense(given, what)
    # It would be broadcast to a wrong score.
    if not isinstance(given, Tensor) or given.shape != like.shape:
        raise InputError(f"{what} must have the shape {list(like.shape)}, not {shown(given)}.")


def _on_first(signal: Tensor, antennas: int) -> Waves:
    """Symbols [B, 1, n] on the first of T antennas."""
    silent = (0, 0, 0, antennas - 1)
    return Waves(pad(signal, silent), pad(torch.ones_like(signal), silent))


def _checked(waves: Waves, given: Waves) -> Waves:
    """Return a precoder's waves, if they have the shape of those it was given."""
    if not isinstance(waves, Waves):
        raise InputError(f"precode must return Waves, not {type(waves).__name__}.")
    wanted = given.signal.shape
    for name in ("signal", "weights"):
        tensor = check_dense(getattr(waves, name), f"the {name} of precode's waves")
        if not isinstance(tensor, Tensor) or not tensor.is_complex() or tensor.shape != wanted:
            raise InputError(f"precode must return a complex {name} {list(wanted)}, not {shown(tensor)}.")
    return waves


def _with_energy(waves: Waves, energy: Tensor) -> Waves:
    """Waves scaled to an energy [B] per message, over all antennas and uses."""
    # Scaled first, so that neither huge nor tiny waves leave float32 when squared.
    peak = waves.signal.detach().abs().amax((1, 2), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    has = (waves.signal.detach() / peak).abs().square().sum((1, 2)).clamp_min(ENERGY_EPSILON)
    scale = (energy / has).sqrt()[:, None, None] / peak
    return Waves(waves.signal * scale, waves.weights * scale)


class _Gains(dict[str, Tensor]):
    """The gains that the transmitter knows, by node."""

    def __missing__(self, node: str) -> Tensor:
        raise InputError(
            f"the transmitter does not know the gains of {node!r}; transmitter_csi=[{node!r}] does it."
        )


_RULES = tuple(f.name for f in fields(GameConfig) if f.name not in ("data", "data_kwargs"))

"""The parts of a signal chain that a plug-in subclasses: a scheme, a stage after it, an objective to train it for.

::

    image --> scheme.encode --> stage.protect --> ... --> power, channel --> a node
    logits <-- scheme.decode <-- stage.recover <-- ... <---------------------+

:class:`~tosc_env.pipeline.Pipeline` composes them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor, nn

from tosc_env.errors import InputError, shown, unknown
from tosc_env.game import Game
from tosc_env.modulation import CONSTELLATIONS
from tosc_env.options import build, check_spec
from tosc_env.registry import Registry
from tosc_env.tasks import Task
from tosc_env.types import Context, Round, SystemSpec, Transmission, Waves

schemes: Registry[PrivacyScheme] = Registry("scheme", group="tosc_env.schemes")
stages: Registry[Stage] = Registry("stage", group="tosc_env.stages")
objectives: Registry[Objective] = Registry("objective", group="tosc_env.objectives")
register_scheme = schemes.register
register_stage = stages.register
register_objective = objectives.register

Transmit = Callable[[Tensor], Transmission]
"""From symbols [B, 2n] to the receptions: the game's power constraint and channel."""


@dataclass(frozen=True)
class Trial:
    """The tensors of one training step, from which objectives make a loss.

    Attributes:
        logits: of the receiver, [B, K].
        features: the representation that every gradient passes on its way to the encoder.
        transmission: symbols and receptions; gradients reach ``features`` from both receptions.
        eavesdropped: the eavesdropper's received symbols [B, 2n], with the gradient for an adversary's loss.
        rate: the information about the image in the symbols, in nats, where the scheme measures it; computed when
        called.
        quantised: features [B, n, d] and the codewords chosen for them, of a scheme with a codebook.
        figures: detached scalars to log.
    """

    logits: Tensor
    features: Tensor
    transmission: Transmission
    eavesdropped: Tensor
    rate: Callable[[], Tensor] | None = None
    quantised: tuple[Tensor, Tensor] | None = None
    figures: Mapping[str, Tensor] = field(default_factory=dict)


class PrivacyScheme(nn.Module, ABC):
    """A transmitter and its receiver: two policies that share weights; an author writes :meth:`encode`, :meth:`decode`.

    ``spec`` are the system's shapes; options follow as keywords of plain values, which a checkpoint keeps.

    Attributes:
        name: its registered name.
        constellation: None for a continuous scheme, whose power the game normalises; for a discrete one
            the name of its constellation (``"16qam"``), whose points it emits and the game sends unscaled.
        codebook: a discrete scheme's codewords [M, d], in the order of its constellation's points, where the
            points stand for vectors.
    """

    name: str = ""
    constellation: str | None = None
    codebook: Tensor | None = None

    def __init__(self, spec: SystemSpec, **options: Any) -> None:
        super().__init__()
        self.spec = check_spec(spec)
        self.options = options

    @abstractmethod
    def encode(self, images: Tensor, context: Context) -> Tensor:
        """Symbols float32 [B, 2n], I and Q interleaved, for images [B, C, H, W]. The game enforces power.

        Of a ``context`` that is not read the symbols depend on the image alone, which is then encoded once. Randomness
        comes from ``context.generator``.
        """

    @abstractmethod
    def decode(self, received: Tensor, csi: Tensor, context: Context) -> Tensor:
        """Task logits [B, K] from received symbols [B, 2n] and the receiver's CSI [B, num_csi]."""

    def forward(self, images: Tensor, context: Context, transmit: Transmit) -> Trial:
        """Run one training step; a scheme that no gradient passes by itself (a quantiser) overrides this."""
        symbols = self.encode(images, context)
        transmission = transmit(symbols)
        reception = transmission.receiver
        logits = self.decode(reception.received, reception.csi, context)
        return Trial(logits, symbols, transmission, transmission.eavesdropper.received)

    @property
    def bits(self) -> float | None:
        """Bits per message: n log2 M of a discrete scheme, None for full-resolution symbols."""
        if self.constellation is None:
            return None
        if self.constellation not in CONSTELLATIONS:
            raise unknown("constellation", self.constellation, CONSTELLATIONS)
        return self.spec.num_symbols * math.log2(CONSTELLATIONS[self.constellation])

    def guarantee(self, transmissions: int = 1) -> str | None:
        """The proven privacy of an image sent this many times, in one sentence; None: nothing is proven."""
        return None


class Stage(nn.Module):
    """A transformation of symbols between a scheme and the channel, undone at the receiver.

    ::

        symbols [B, 2n] --protect--> [B, 2n] --power, precode--> waves [B, T, n] --channel-->
        received [B, 2n] --recover--> [B, 2n] for the scheme

    An author writes :meth:`protect`, and :meth:`recover` where there is something to undo; a stage for several
    antennas has :meth:`precode`.  A stage knows nothing of images or tasks, so that it goes with any scheme.  Its
    ``options`` are plain values that make it again, defaults included and a key excepted.

    Attributes:
        name: its registered name.
        keyed: whether both ends need a secret key.
        stochastic: True if the same symbols may be sent differently each time, by :meth:`protect` or :meth:`precode`.
        mixes: True if :meth:`recover` multiplies by an orthogonal matrix that spreads each value over others, so that
            the amplitudes of :meth:`recover_gains` are not all there is to know of its noise.
        incoming: the constellation of the symbols that come in; None: any reals.
        constellation: of the symbols that go out, by default the same.
        knobs: names and usual values of settings that may differ from message to message; ``context.knobs`` may
            hold other values, and has those in force when the scheme decodes.
    """

    name: str = ""
    keyed: bool = False
    stochastic: bool = False
    mixes: bool = False
    knobs: Mapping[str, float] = {}

    def __init__(self, spec: SystemSpec, constellation: str | None = None, **options: Any) -> None:
        super().__init__()
        self.spec, self.constellation, self.options = spec, constellation, options
        self.incoming = constellation

    def protect(self, symbols: Tensor, context: Context) -> Tensor:
        """Protected symbols [B, 2n], differentiable unless they are a constellation's points; by default the same."""
        return symbols

    def recover(self, received: Tensor, csi: Tensor, context: Context) -> Tensor:
        """Received symbols [B, 2n] for the scheme's ``decode``; by default the reception as it is."""
        return received

    def recover_gains(self, gains: Tensor, csi: Tensor, context: Context) -> Tensor:
        """The amplitudes [B, 2n] that the *recovered* real numbers have met over a fading link; by default ``gains``,
        those of the received ones.

        A stage whose :meth:`recover` moves or mixes values overrides this. Its ``recover`` then gets receptions that
        are :func:`~tosc_env.channels.base.aligned`, and what decodes behind it the amplitudes in the new order.
        """
        return gains

    def precode(self, waves: Waves, context: Context) -> Waves:
        """Waves for the transmitter's antennas; by default the same. The first stage gets the symbols on the first
        antenna.

        ``context.gains`` has the gains of known links. The game scales the result to the energy of the symbols.
        """
        return waves

    def guarantee(self, transmissions: int = 1) -> str | None:
        """The proven privacy of an image sent this many times, in one sentence; None: nothing is proven."""
        return None

    def use_key(self, key: Any, place: int) -> None:
        """Take this key, unless the stage was made with one (None: keep its own), and the place among keyed stages."""
        if key is not None:
            raise InputError(f"the stage {self.name!r} takes no key.")

    def draw_knobs(self, context: Context) -> Mapping[str, Tensor]:
        """This training step's knobs float32 [B] by name, of a stage whose receiver shall learn several values."""
        return {}

    def plain(self) -> dict[str, Any]:
        """Name and options as one dictionary, from which :func:`make_stage` makes it again (with another key)."""
        return {"name": self.name, **self.options}


class Objective(nn.Module):
    """A term of a training's loss, and the passes over images that it needs for itself; an author writes :meth:`loss`.

    Attributes:
        name: its registered name.
        options: plain values that make the objective again.
        phases: passes over the training images that each epoch begins with, in which the system stays as it is
            and only :meth:`phase_loss` trains.
    """

    name: str = ""
    phases: tuple[str, ...] = ()

    def __init__(self, spec: SystemSpec, **options: Any) -> None:
        super().__init__()
        self.spec, self.options = spec, options

    def loss(
        self, loss: Tensor, trial: Trial, round_: Round, task: Task
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss (a scalar, of the objectives before) with this term added, and detached figures to log."""
        raise NotImplementedError(f"the objective {self.name!r} has no loss.")

    def phase_loss(
        self, phase: str, transmission: Transmission, round_: Round
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of one of :attr:`phases`, from a transmission of the system as it is."""
        raise NotImplementedError(f"the objective {self.name!r} has no phase {phase!r}.")

    def prepare(self, game: Game) -> None:
        """Called once, before a training, with the game that the scheme is trained on, on its device."""

    def begin(self, scheme: PrivacyScheme, phase: str, epoch: int, epochs: int) -> None:
        """Called before each pass over the images: a name of :attr:`phases` or ``"system"``, epochs from 0."""

    def plain(self) -> dict[str, Any]:
        """Name and options as one dictionary, from which :func:`make_objectives` makes it again."""
        return {"name": self.name, **self.options}


@dataclass(frozen=True)
class Defaults:
    """The defaults of a registered scheme, an attribute of its factory.

    Attributes:
        weights: the scheme whose trained weights it plays with; None: its own.
        open: its options that trained weights leave open, such as a budget that the receiver knows.
        objectives: the objectives of ``tosc train``.
        training: the optimizer, learning rate and the like of ``tosc train``.
    """

    weights: str | None = None
    open: tuple[str, ...] = ()
    objectives: tuple[Any, ...] = ("task",)
    training: Mapping[str, Any] = field(default_factory=dict)


F = TypeVar("F", bound=Callable[..., PrivacyScheme])


def defaults(**fields: Any) -> Callable[[F], F]:
    """A decorator that gives a scheme's class or factory its :class:`Defaults`."""

    def attach(factory: F) -> F:
        factory.defaults = Defaults(**fields)  # type: ignore[attr-defined]
        return factory

    return attach


def defaults_of(name: str) -> Defaults:
    """The :class:`Defaults` of a registered scheme."""
    return getattr(schemes[name], "defaults", Defaults())


def make_stage(stage: Any, spec: SystemSpec, constellation: str | None = None) -> Stage:
    """Make a stage for symbols of a constellation from its name, or a dictionary of ``name`` and options; a
    :class:`Stage` is handed back as it is.
    """
    name, options = named("stage", stage)
    made = build(stages, Stage, name, options, spec, constellation)
    if made is not stage:
        made.incoming = constellation
    made.name = made.name or type(made).__name__
    return made


def make_objectives(given: Any, spec: SystemSpec) -> list[Objective]:
    """Make objectives from names, dictionaries of ``name`` and options, or objects, in the given order.

    >>> make_objectives("task", SystemSpec((3, 32, 32), 10))[0].plain()
    {'name': 'task'}
    """
    made = []
    for one in listed("objectives", given):
        name, options = named("objective", one)
        objective = build(objectives, Objective, name, options, spec)
        objective.name = objective.name or type(objective).__name__
        made.append(objective)
    return made


def named(kind: str, given: Any) -> tuple[Any, dict[str, Any]]:
    """Split a name, a dictionary of ``name`` and options, or an object into (name or object, options)."""
    if isinstance(given, Mapping):
        options = dict(given)
        name = options.pop("name", None)
        if not isinstance(name, str) or not all(isinstance(key, str) for key in options):
            raise InputError(f"a {kind} with options is {{'name': ..., option: value}}, not {shown(given)}.")
        return name, options
    return given, {}


def listed(what: str, given: Any) -> list[Any]:
    """Return a list of parts; one part alone need not be in a list."""
    if given is None:
        return []
    if isinstance(given, str | Mapping | nn.Module):
        return [given]
    if not isinstance(given, list | tuple | nn.ModuleList):
        raise InputError(f"{what} takes a list of names, dictionaries or objects, not {shown(given)}.")
    return list(given)

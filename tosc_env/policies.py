"""What a plug-in subclasses: :class:`PrivacyScheme` and :class:`Eavesdropper`, and their registries.

A scheme is a pair of policies that share weights, keys or a codebook: ``encode`` at the transmitter,
``decode`` at the receiver.  An eavesdropper learns from a *view* of what its threat model allows and then
rebuilds images, ranks candidates, or infers labels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from tosc_env.errors import InputError
from tosc_env.options import build
from tosc_env.registry import Registry

if TYPE_CHECKING:
    from tosc_env.game import Game, Round
    from tosc_env.tasks import Task
    from tosc_env.view import View

schemes: Registry[PrivacyScheme] = Registry("scheme", group="tosc_env.schemes")
eavesdroppers: Registry[Eavesdropper] = Registry("eavesdropper", group="tosc_env.eavesdroppers")
register_scheme = schemes.register
register_eavesdropper = eavesdroppers.register


@dataclass(frozen=True)
class SystemSpec:
    """The shapes that both ends of a link agree on before any weights exist.

    Attributes:
        image_shape: (C, H, W).
        num_outputs: K, the length of the task's logits.
        num_symbols: n, complex channel uses per message.
        num_csi: real numbers in a link's channel state information; the first is the SNR in dB.
        binary: whether the K outputs are K yes-or-no answers, and not one choice out of K.
    """

    image_shape: tuple[int, int, int]
    num_outputs: int
    num_symbols: int = 64
    num_csi: int = 1
    binary: bool = False

    def plain(self) -> dict[str, Any]:
        """As plain values, for a checkpoint."""
        return {**asdict(self), "image_shape": list(self.image_shape)}

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> SystemSpec:
        """The inverse of :meth:`plain`."""
        return cls(**{**values, "image_shape": tuple(values["image_shape"])})

    def with_csi(self, num_csi: int) -> SystemSpec:
        """The same system over a channel with another amount of state information."""
        return replace(self, num_csi=num_csi)


@dataclass(frozen=True)
class Context:
    """What transmitter and receiver share about a message besides their weights; the eavesdropper has none of it.

    Attributes:
        snr_db: the legitimate link's SNR, float32 [B].
        message: int64 [B, 3], (row, episode, message number): never the same twice within an environment.
        environment: a number that tells this environment's messages from every other's.
        generator: the stream for a stochastic encoder; None draws from torch's global one.
    """

    snr_db: Tensor
    message: Tensor
    environment: int = 0
    generator: torch.Generator | None = None


class PrivacyScheme(nn.Module, ABC):
    """A transmitter and its receiver.

    ::

        image [B, C, H, W] --encode--> symbols [B, 2n] --game: power, channel-->
        received [B, 2n] --decode--> logits [B, K]

    Args:
        spec: the system's shapes. Options of the scheme follow as keywords of plain values, which
            :attr:`options` keeps for checkpoints.

    Attributes:
        constellation: None for a continuous scheme, whose power the game normalises; for a discrete one
            the name of its constellation (``"16qam"``), whose points it emits and the game sends unscaled.
        stochastic: whether the same image may be sent as different symbols, so that cached symbols lie.
        keyed: whether both ends share a secret key besides their weights. The key is an argument of the
            constructor, and never among :attr:`options`.
        trainable: whether there is anything to train.
        weights_of: another scheme's name whose trained weights this one plays with as they are, or None.
        free_options: options that trained weights leave open: a key's lifetime, a privacy budget.
        training_only: submodules that training alone needs; weights that ship leave them out.
        passes: what one epoch of training goes through, a pass over the images each; :meth:`begin_pass` is told.
        training_defaults: what ``tosc train`` takes where its caller names no ``optimizer``, ``learning_rate``
            and the like.
    """

    name: ClassVar[str] = ""
    weights_of: ClassVar[str | None] = None
    free_options: ClassVar[tuple[str, ...]] = ()
    training_only: ClassVar[tuple[str, ...]] = ()
    passes: tuple[str, ...] = ("system",)
    training_defaults: ClassVar[Mapping[str, Any]] = {}
    constellation: str | None = None
    stochastic: bool = False
    keyed: bool = False
    trainable: bool = True

    def __init__(self, spec: SystemSpec, **options: Any) -> None:
        super().__init__()
        if spec.num_symbols < 1:
            raise InputError(f"num_symbols must be at least 1, not {spec.num_symbols}.")
        self.spec = spec
        self.options = options

    @abstractmethod
    def encode(self, images: Tensor, context: Context) -> Tensor:
        """Symbols float32 [B, 2n], I and Q interleaved, for images [B, C, H, W]. The game enforces power."""

    @abstractmethod
    def decode(self, received: Tensor, csi: Tensor, context: Context) -> Tensor:
        """Task logits [B, K] from received symbols [B, 2n] and the receiver's CSI [B, num_csi]."""

    def loss(
        self, game: Game, round_: Round, context: Context, task: Task
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The training loss through the game's channel, and detached figures to log (``accuracy`` at least)."""
        reception = game.transmit(round_, self.encode(round_.batch.images, context)).receiver
        logits = self.decode(reception.received, reception.csi, context)
        score = task.score(task.decide(logits.detach()), round_.targets).mean()
        return task.loss(logits, round_.targets), {"accuracy": score}

    def bits(self) -> float | None:
        """Bits per message of a discrete scheme, None for full-resolution symbols."""
        return None

    # -- what only some schemes have --------------------------------------------------------------------

    def features(self, images: Tensor) -> Tensor:
        """The part of :meth:`encode` that is the same whenever an image is sent, [B, ...].

        A scheme that randomises or encrypts its symbols overrides this and :meth:`emit`, with ``encode(images,
        context) == emit(features(images), context)``, so that whoever sends an image many times runs the
        network once.
        """
        return images

    def emit(self, features: Tensor, context: Context) -> Tensor:
        """Symbols [B, 2n] from what :meth:`features` gave, with fresh noise or this message's key."""
        return self.encode(features, context)

    def unkeyed(self, images: Tensor, context: Context) -> Tensor:
        """The symbols [B, 2n] that a keyed scheme would send if it used no key."""
        return self.encode(images, context)

    def remove_key(self, received: Tensor, csi: Tensor, context: Context) -> Tensor:
        """A reception [B, 2n] with the key's work undone, as whoever knows the key sees it."""
        return received

    def codebook(self) -> Tensor | None:
        """A discrete scheme's codewords [M, d], in the order of its constellation's points; None without one."""
        return None

    def guarantee(self, transmissions: int = 1) -> str | None:
        """What is proven of the privacy of an image sent this many times, in one sentence; None: nothing is."""
        return None

    def begin_pass(self, name: str, epoch: int, epochs: int) -> None:
        """Called before each pass of the training over the images: ``name`` of :attr:`passes`, ``epoch`` from 0."""

    @classmethod
    def lender(cls, options: Mapping[str, Any]) -> str | None:
        """The scheme whose weights this one plays with under these options; by default :attr:`weights_of`."""
        return cls.weights_of

    @classmethod
    def fixed_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the options that trained weights settle, so that only weights that agree will do."""
        return {k: v for k, v in options.items() if k != "key" and k not in cls.free_options}

    @classmethod
    def borrow(
        cls, name: str, options: Mapping[str, Any], wanted: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """The options under which this scheme plays with the weights of another.

        Args:
            name, options: the scheme that the weights were saved as, and its options.
            wanted: this scheme's own options.

        Returns:
            Options of this scheme, or None when it cannot play with those weights.
        """
        return {**options, **wanted} if name == cls.weights_of else None

    def adopt(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a scheme whose weights it borrows, under this scheme's own names."""
        return tensors


class Eavesdropper(nn.Module, ABC):
    """An attacker on its own link.

    It learns in :meth:`fit` and has one or more of the capabilities ``reconstruct``, ``match`` and
    ``infer``: a subclass overrides those it has, and :attr:`capabilities` lists them.

    Args:
        spec: the system's shapes, with ``num_csi`` of the eavesdropper's own link.

    Attributes:
        instant: whether fitting takes no time and no queries, so that an environment does it on the spot.
        needs: what its threat model must grant it, as fields of :class:`~tosc_env.threat.ThreatModel` and the
            values that will do; ``tosc attack --all`` leaves out attackers that are denied theirs.
        inferred: what :meth:`infer` gives logits of: names (``label``, or a private attribute's) and the
            number of values of each, in the order of the logits' columns.
        match_figure: the name under which its :meth:`match` is reported.
        repeated: whether it takes ``received`` [B, R, 2n] and ``csi`` [B, R, c] of R transmissions of the same
            image (``ThreatModel.receptions``).
    """

    name: ClassVar[str] = ""
    instant: ClassVar[bool] = False
    needs: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    inferred: Sequence[tuple[str, int]] = ()
    match_figure: ClassVar[str] = "reid_match"
    repeated: ClassVar[bool] = False

    def __init__(self, spec: SystemSpec, **options: Any) -> None:
        super().__init__()
        self.spec = spec
        self.options = options

    @classmethod
    def nothing_to_attack(cls, view: View) -> str | None:
        """Why this attack has no object here (no codebook, no key, no private attributes), or None when it has."""
        return None

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Which of ``reconstruct``, ``match``, ``infer`` this attacker has."""
        return tuple(
            c
            for c in ("reconstruct", "match", "infer")
            if getattr(type(self), c) is not getattr(Eavesdropper, c)
        )

    @abstractmethod
    def fit(self, view: View, *, generator: torch.Generator, progress: Any = None) -> dict[str, Any]:
        """Learn from what the view allows; return plain values for the record (epochs, losses).

        Args:
            view: images, queries, CSI as the threat model allows; raises DeniedError on the rest.
            generator: the only source of randomness.
            progress: called with ``(done, total, {name: value})``, or None.
        """

    def reconstruct(self, received: Tensor, csi: Tensor) -> Tensor:
        """Images [B, C, H, W] in [0, 1] from received symbols [B, 2n] and the eavesdropper's own CSI."""
        raise self._lacks("reconstruct")

    def match(self, received: Tensor, csi: Tensor, candidates: Tensor) -> Tensor:
        """Scores [B, N] of N candidate images [N, C, H, W] for each received message; higher is likelier."""
        raise self._lacks("match")

    def infer(self, received: Tensor, csi: Tensor) -> Tensor:
        """Logits [B, K] of what the attacker infers: those of each name of :attr:`inferred`, side by side."""
        raise self._lacks("infer")

    def _lacks(self, capability: str) -> InputError:
        has: Iterable[str] = self.capabilities or ("nothing",)
        return InputError(f"the eavesdropper {self.name!r} cannot {capability}; it can {', '.join(has)}.")


def make_scheme(scheme: str | PrivacyScheme, spec: SystemSpec | None = None, **options: Any) -> PrivacyScheme:
    """A fresh, untrained scheme from its registered name; an object is handed back as it is.

    Args:
        scheme: a registered name (``tosc list`` shows them) or a ready object.
        spec: the system's shapes; by default a 10-class task on 32x32 colour images over 64 channel uses.
        options: the scheme's own options.

    Raises:
        InputError: an unknown name or option.
    """
    return build(schemes, PrivacyScheme, scheme, options, spec or SystemSpec((3, 32, 32), 10))


def make_eavesdropper(
    eavesdropper: str | Eavesdropper, spec: SystemSpec | None = None, **options: Any
) -> Eavesdropper:
    """A fresh, untrained eavesdropper from its registered name; an object is handed back as it is."""
    return build(eavesdroppers, Eavesdropper, eavesdropper, options, spec or SystemSpec((3, 32, 32), 10))

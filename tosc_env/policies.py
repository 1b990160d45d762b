"""What a plug-in subclasses: :class:`PrivacyScheme` and :class:`Eavesdropper`, and their registries.

A scheme is a pair of policies that share weights, keys or a codebook: ``encode`` at the transmitter,
``decode`` at the receiver.  An eavesdropper learns from a *view* of what its threat model allows and then
rebuilds images, ranks candidates, or infers labels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
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
    from tosc_env.threat import View

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
        trainable: whether there is anything to train.
        weights_of: another scheme's name whose trained weights this one plays with as they are, or None.
    """

    name: ClassVar[str] = ""
    weights_of: ClassVar[str | None] = None
    constellation: str | None = None
    stochastic: bool = False
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


class Eavesdropper(nn.Module, ABC):
    """An attacker on its own link.

    It learns in :meth:`fit` and has one or more of the capabilities ``reconstruct``, ``match`` and
    ``infer``: a subclass overrides those it has, and :attr:`capabilities` lists them.

    Args:
        spec: the system's shapes, with ``num_csi`` of the eavesdropper's own link.

    Attributes:
        instant: whether fitting takes no time and no queries, so that an environment does it on the spot.
    """

    name: ClassVar[str] = ""
    instant: ClassVar[bool] = False

    def __init__(self, spec: SystemSpec, **options: Any) -> None:
        super().__init__()
        self.spec = spec
        self.options = options

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
        """Logits [B, K] of what the attacker infers (the label or an attribute)."""
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

"""Two protections, one over the other: an intrinsic scheme, and a perturbation of its symbols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from tosc_agents.schemes.perturbation import Perturbation
from tosc_env.errors import InputError
from tosc_env.game import Game, Reception, Round, Transmission
from tosc_env.policies import Context, PrivacyScheme, SystemSpec, make_scheme, schemes
from tosc_env.tasks import Task


class Layered(PrivacyScheme):
    """Any intrinsic scheme, followed by any perturbation: LBVQ and a per-message shuffle, IBAL and noise.

    ::

        image -> inner.encode -> symbols -> perturbation.protect -> channel
        received -> perturbation.recover -> inner.decode -> logits [B, K]

    It plays with the weights of the inner scheme. Training it trains the inner scheme by its own loss, with
    the perturbation between it and the channel.

    Args:
        spec: the system's shapes.
        inner, inner_options: a registered scheme that is not layered itself.
        perturbation, perturbation_options: a registered scheme that offers one (``encryption``, ``dp-laplace``).
        key: of a keyed perturbation; None: a fresh one. Never among the options.

    Raises:
        InputError: an unknown name or option, or a scheme that offers no perturbation.

    Example:
        >>> import torch
        >>> from tosc_env.policies import Context
        >>> scheme = Layered(SystemSpec((3, 32, 32), 10), inner="lbvq", perturbation="encryption").eval()
        >>> scheme.constellation, scheme.keyed, scheme.bits()
        ('16qam', True, 256.0)
    """

    name = "layered"
    free_options: ClassVar[tuple[str, ...]] = ("inner", "perturbation", "perturbation_options")

    def __init__(
        self,
        spec: SystemSpec,
        *,
        inner: str = "lbvq",
        inner_options: Mapping[str, Any] | None = None,
        perturbation: str = "encryption",
        perturbation_options: Mapping[str, Any] | None = None,
        key: Any = None,
    ) -> None:
        given = dict(perturbation_options or {})
        key = given.pop("key", key)
        base = make_scheme(inner, spec, **dict(inner_options or {}))
        if isinstance(base, Layered):
            raise InputError("inner='layered' is layered already; name the intrinsic scheme itself.")
        super().__init__(
            spec,
            inner=inner,
            inner_options=base.options,
            perturbation=perturbation,
            perturbation_options=given,
        )
        offers = getattr(schemes[perturbation], "perturbation", None)
        if offers is None:
            others = [n for n in schemes if hasattr(schemes[n], "perturbation")]
            raise InputError(
                f"the scheme {perturbation!r} offers no perturbation; those that do: {', '.join(others)}."
            )
        if key is not None:
            given["key"] = key
        self.inner = base
        self.perturbation: Perturbation = offers(spec.num_symbols, base.constellation, **given)
        self.options["perturbation_options"] = dict(self.perturbation.options)
        self.constellation = base.constellation
        self.stochastic = base.stochastic or self.perturbation.stochastic
        self.keyed = self.perturbation.keyed
        self.trainable = base.trainable
        self.passes = base.passes

    @property
    def training_only(self) -> tuple[str, ...]:  # type: ignore[override]
        """The inner scheme's."""
        return tuple(f"inner.{part}" for part in self.inner.training_only)

    @property
    def training_defaults(self) -> Mapping[str, Any]:  # type: ignore[override]
        """The inner scheme's."""
        return self.inner.training_defaults

    # -- both ends --------------------------------------------------------------------------------------

    def features(self, images: Tensor) -> Tensor:
        return self.inner.features(images)

    def emit(self, features: Tensor, context: Context) -> Tensor:
        return self.perturbation.protect(self.inner.emit(features, context), context)

    def encode(self, images: Tensor, context: Context) -> Tensor:
        return self.perturbation.protect(self.inner.encode(images, context), context)

    def decode(self, received: Tensor, csi: Tensor, context: Context) -> Tensor:
        return self.inner.decode(self.perturbation.recover(received, context), csi, context)

    def unkeyed(self, images: Tensor, context: Context) -> Tensor:
        return self.inner.encode(images, context) if self.keyed else self.encode(images, context)

    def remove_key(self, received: Tensor, csi: Tensor, context: Context) -> Tensor:
        return self.perturbation.recover(received, context) if self.keyed else received

    def codebook(self) -> Tensor | None:
        return self.inner.codebook()

    def bits(self) -> float | None:
        return self.inner.bits()

    def guarantee(self, transmissions: int = 1) -> str | None:
        return self.perturbation.guarantee(transmissions) or self.inner.guarantee(transmissions)

    # -- training ---------------------------------------------------------------------------------------

    def begin_pass(self, name: str, epoch: int, epochs: int) -> None:
        self.inner.begin_pass(name, epoch, epochs)

    def loss(
        self, game: Game, round_: Round, context: Context, task: Task
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return self.inner.loss(_Through(game, self.perturbation, context), round_, context, task)

    # -- weights ----------------------------------------------------------------------------------------

    @classmethod
    def lender(cls, options: Mapping[str, Any]) -> str | None:
        return options.get("inner", "lbvq")

    @classmethod
    def fixed_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        return dict(options.get("inner_options") or {})

    @classmethod
    def borrow(
        cls, name: str, options: Mapping[str, Any], wanted: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        if cls.lender(wanted) != name:
            return None
        merged = {**options, **dict(wanted.get("inner_options") or {})}
        return {**wanted, "inner": name, "inner_options": merged}

    def adopt(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {f"inner.{name}": tensor for name, tensor in tensors.items()}


class _Through(Game):
    """A game whose air has the perturbation at both ends; the eavesdropper hears it as it is."""

    def __init__(self, game: Game, perturbation: Perturbation, context: Context) -> None:
        self.__dict__.update(vars(game))
        self._perturbation, self._context = perturbation, context

    def transmit(self, round_: Round, symbols: Tensor) -> Transmission:
        protected = self._perturbation.protect(symbols, self._context)
        sent = super().transmit(round_, protected)
        received = self._perturbation.recover(sent.receiver.received, self._context)
        receiver = Reception(received, sent.receiver.csi)
        return Transmission(receiver, sent.eavesdropper, sent.sent, sent.energy)

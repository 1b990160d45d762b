"""What an attacker subclasses: :class:`Eavesdropper`, and its registry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tosc_env.errors import InputError
from tosc_env.options import build
from tosc_env.privacy.view import View
from tosc_env.registry import Registry
from tosc_env.types import SystemSpec

eavesdroppers: Registry[Eavesdropper] = Registry("eavesdropper", group="tosc_env.eavesdroppers")
register_eavesdropper = eavesdroppers.register


class Eavesdropper(nn.Module, ABC):
    """An attacker on its own link.

    It learns in :meth:`fit` and has one or more of the capabilities ``reconstruct``, ``match`` and
    ``infer``: a subclass overrides those it has, and :attr:`capabilities` lists them.

    Args:
        spec: the system's shapes, with ``num_csi`` of the eavesdropper's own link.

    Attributes:
        instant: whether fitting takes no time and no queries, so that an environment does it on the spot.
        needs: what its threat model must grant it, as fields of :class:`~tosc_env.privacy.threat.ThreatModel` and the
            values that will do; ``tosc attack --all`` leaves out attackers that are denied theirs.
        inferred: what :meth:`infer` gives logits of: names (``label``, or a private attribute's) and the
            number of values of each, in the order of the logits' columns.
        match_figure: the name under which its :meth:`match` is reported.
        repeated: whether it takes ``received`` [B, R, 2n] and ``csi`` [B, R, c] of R transmissions of the same
            image (``ThreatModel.receptions``).
    """

    name: str = ""
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


def make_eavesdropper(
    eavesdropper: str | Eavesdropper, spec: SystemSpec | None = None, **options: Any
) -> Eavesdropper:
    """A fresh, untrained eavesdropper from its registered name; an object is handed back as it is."""
    made = build(eavesdroppers, Eavesdropper, eavesdropper, options, spec or SystemSpec((3, 32, 32), 10))
    if isinstance(eavesdropper, str):
        made.name = made.name or eavesdropper
    return made

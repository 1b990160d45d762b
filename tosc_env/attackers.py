"""The base class of attackers, :class:`Eavesdropper`, and its registry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tosc_env.errors import InputError
from tosc_env.options import build, check_reals, check_spec
from tosc_env.privacy.threat import ThreatModel
from tosc_env.privacy.view import View
from tosc_env.registry import Registry
from tosc_env.types import USUAL_SPEC, SystemSpec

eavesdroppers: Registry[Eavesdropper] = Registry("eavesdropper", group="tosc_env.eavesdroppers")
register_eavesdropper = eavesdroppers.register


class Eavesdropper(nn.Module, ABC):
    """An attacker on its own link, of a system with the shapes ``spec``.

    A subclass learns in :meth:`fit` and overrides one or more of ``reconstruct``, ``match`` and ``infer``.

    Attributes:
        instant: whether fitting takes no time and no queries, so that an environment does it on the spot.
        needs: fields of :class:`~tosc_env.privacy.threat.ThreatModel` and the values of which it needs one. Candidate
            queries are granted to those alone that name them here, so that records say truly who made them.
        inferred: name and number of values of each quantity that :meth:`infer` gives logits of (``label``, or a
            private attribute), in the order of the logits' columns.
        match_figure: the name under which its :meth:`match` is reported.
        fitted_under: the threat model under which it was fitted; None: nobody said.
        fitted_against: the :meth:`Pipeline.fingerprint <tosc_env.Pipeline.fingerprint>` of the system that it was
            fitted against; None: nobody said.
        repeated: whether it takes ``received`` [B, R, 2n] and ``csi`` [B, R, c] of R transmissions of the same
            image (``ThreatModel.receptions``) too. Others have one, and so their records say.
        whole_csi: whether, with the key of a stage that mixes values, it takes the CSI of a link that fades with the
            matrix of :meth:`Pipeline.recover <tosc_env.Pipeline.recover>` at its end, as of
            :meth:`View.sample_whole <tosc_env.View.sample_whole>`. Others have amplitudes alone.
    """

    name: str = ""
    instant: ClassVar[bool] = False
    needs: Mapping[str, tuple[Any, ...]] = {}
    inferred: Sequence[tuple[str, int]] = ()
    match_figure: ClassVar[str] = "reid_match"
    fitted_under: ThreatModel | None = None
    fitted_against: Mapping[str, Any] | None = None
    repeated: ClassVar[bool] = False
    whole_csi: ClassVar[bool] = False

    def __init__(self, spec: SystemSpec, **options: Any) -> None:
        super().__init__()
        self.spec = check_spec(spec)
        self.options = options

    @classmethod
    def nothing_to_attack(cls, view: View) -> str | None:
        """The reason why there is nothing to attack here, such as no codebook; else None."""
        return None

    def from_pairs(self, view: View) -> bool:
        """Whether it would learn from images and what a keyed scheme sends for them, which may be denied."""
        return not self.instant

    def refusal(self, view: View) -> str | None:
        """The reason why it cannot learn from a view, be it denied or nothing to attack; None where it can."""
        denied = view.threat.grants(type(self).needs)
        if denied is not None:
            return f"the threat model says {denied}"
        if view.keyed and view.threat.keys == "without-pairs" and self.from_pairs(view):
            return "the threat model denies pairs of images and symbols (keys='without-pairs')"
        return self.nothing_to_attack(view)

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Those of ``reconstruct``, ``match``, ``infer`` that this attacker has."""
        names = ("reconstruct", "match", "infer")
        return tuple(name for name in names if getattr(type(self), name) is not getattr(Eavesdropper, name))

    def granted(self, threat: ThreatModel) -> ThreatModel:
        """What it has under a threat model: no candidate queries, unless it :attr:`needs` them, and one reception of
        each image, unless it is :attr:`repeated`."""
        if "candidate_queries" not in self.needs:
            threat = replace(threat, candidate_queries=False, candidates=None)
        return threat if self.repeated else replace(threat, receptions=1)

    @abstractmethod
    def fit(self, view: View, *, generator: torch.Generator, progress: Any = None) -> dict[str, Any]:
        """Learn from the view; return plain values for the record (epochs, losses).

        ``generator`` is the only source of randomness; ``progress`` is called with ``(done, total, {name: value})``.
        """

    def reconstruct(self, received: Tensor, csi: Tensor) -> Tensor:
        """Images [B, C, H, W] in [0, 1] from received symbols [B, 2n] and the eavesdropper's own CSI."""
        raise self._lacks("reconstruct")

    def match(self, received: Tensor, csi: Tensor, candidates: Tensor) -> Tensor:
        """Scores [B, N] of N candidate images [N, C, H, W] for each received message; higher is likelier."""
        raise self._lacks("match")

    def infer(self, received: Tensor, csi: Tensor) -> Tensor:
        """Logits [B, K] of each name of :attr:`inferred`, side by side."""
        raise self._lacks("infer")

    def _lacks(self, capability: str) -> InputError:
        has: Iterable[str] = self.capabilities or ("nothing",)
        return InputError(f"the eavesdropper {self.name!r} cannot {capability}; it can {', '.join(has)}.")


def answered(attacker: Eavesdropper, capability: str, shape: Sequence[int], *seen: Tensor) -> Tensor:
    """What one of an attacker's capabilities makes of what it has seen; InputError unless its shape is right."""
    what = f"{capability} of the eavesdropper {attacker.name!r}"
    return check_reals(getattr(attacker, capability)(*seen), what, shape)


def make_eavesdropper(
    eavesdropper: str | Eavesdropper, spec: SystemSpec = USUAL_SPEC, **options: Any
) -> Eavesdropper:
    """Make a fresh, untrained eavesdropper from its registered name; an object is handed back as it is."""
    return build(eavesdroppers, Eavesdropper, eavesdropper, options, spec)

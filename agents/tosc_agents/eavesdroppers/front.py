"""A front: whatever is done to a reception before ordinary attackers learn from it."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tosc_agents.eavesdroppers.base import NeuralEavesdropper
from tosc_agents.learning.seeding import weights_from
from tosc_env.attackers import Eavesdropper, eavesdroppers, make_eavesdropper
from tosc_env.errors import DeniedError, InputError
from tosc_env.privacy.view import View
from tosc_env.types import Reception, SystemSpec

BASES = ("inversion-mlp", "label", "match")
"""The attackers behind a front unless its caller names others: one for each kind of leak."""

CLEAN_DB = 100.0
"""What attackers are told about symbols that have not been on the air."""

_STEPS = 1000


class Front(Eavesdropper):
    """Transforms what was heard, and lets ordinary attackers, its *bases*, learn from the result.

    ::

        received [B, 2n], csi [B, c] --transform--> [B, 2m], [B, c] --> base 1: images
                                                                    --> base 2: logits
                                                                    --> base 3: scores of candidates

    A subclass writes :meth:`transform`, and :meth:`learn` if there is something to find out first. Images and
    scores come from the first base that gives them, logits from all that do, side by side.

    An interrupted run goes on where it stopped: the front's own part and closed forms are worked out again with
    the same numbers, and each neural base has a state file of its own beside the front's, kept until all are done.

    Args:
        spec: the system's shapes.
        width: how many reals :meth:`transform` gives; an odd number is filled up with a zero column.
        bases: registered names of the attackers behind the front, each once.
        base_kwargs: options for every base that has them, such as ``{"epochs": 10}``.
        options: the subclass's own options, plain values.

    Attributes:
        bases: the attackers by name.
        run: as in :class:`~tosc_agents.eavesdroppers.base.NeuralEavesdropper`.

    Raises:
        InputError: no base or an unknown one, one that is itself a front or wants repeated receptions, or an
            option that no base has.
    """

    run: tuple[Path, dict[str, Any]] | None = None

    def __init__(
        self,
        spec: SystemSpec,
        width: int,
        bases: Sequence[str],
        base_kwargs: Mapping[str, Any] | None,
        **options: Any,
    ) -> None:
        if isinstance(bases, str) or not bases or len(set(bases)) < len(bases):
            raise InputError(f"bases must be a list of different attackers' names, not {bases!r}.")
        super().__init__(spec, bases=list(bases), base_kwargs=dict(base_kwargs or {}), **options)
        self.build(width)

    # -- what a subclass provides ----------------------------------------------------------------------

    @abstractmethod
    def transform(self, received: Tensor, csi: Tensor) -> tuple[Tensor, Tensor]:
        """What the bases are shown, [B, width], and the CSI that goes with it, SNR in dB first.

        Args:
            received: float32 [B, 2n].
            csi: float32 [B, c]; all zeros where the threat model denies it.
        """

    def learn(self, view: View, generator: torch.Generator) -> dict[str, Any]:
        """Find out what :meth:`transform` needs to know; plain values for the record."""
        return {}

    def hear(self, view: View, index: Tensor) -> tuple[Reception, Tensor]:
        """Transformed receptions of the attacker's images for its bases to learn from, and the images."""
        reception, images = view.sample(index)
        return self.through(reception.received, reception.csi), images

    # -- for subclasses --------------------------------------------------------------------------------

    def build(self, width: int, generator: torch.Generator | None = None) -> None:
        """Fresh bases for ``width`` reals; with a generator their weights follow from its seed."""
        if generator is not None:
            with weights_from(generator.initial_seed()):
                self.build(width)
            return
        spec = replace(self.spec, num_symbols=(width + 1) // 2)
        options: dict[str, Any] = self.options["base_kwargs"]
        used: set[str] = set()
        bases: dict[str, Eavesdropper] = {}
        for name in self.options["bases"]:
            known = _options_of(eavesdroppers[name], options)
            bases[name] = make_eavesdropper(name, spec, **known)
            used |= known.keys()
            if bases[name].repeated or isinstance(bases[name], Front):
                raise InputError(f"a base is an ordinary attacker, which {name!r} is not.")
        for option in options:
            if option not in used:
                raise InputError(f"none of the bases {', '.join(bases)} has the option {option!r}.")
        self.bases = nn.ModuleDict(bases)

    def through(self, received: Tensor, csi: Tensor) -> Reception:
        """A reception as the bases see it, [B, 2m]; in float32 even where bases learn in bf16."""
        with torch.autocast(received.device.type, enabled=False):
            changed, known = self.transform(received.float(), csi)
        return Reception(F.pad(changed, (0, changed.shape[1] % 2)), known)

    # -- an attacker like any other --------------------------------------------------------------------

    @property
    def attackers(self) -> dict[str, Eavesdropper]:
        """The bases by name."""
        return cast(dict[str, Eavesdropper], dict(self.bases.items()))

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What the bases can do together."""
        has = {capability for base in self.attackers.values() for capability in base.capabilities}
        return tuple(c for c in ("reconstruct", "match", "infer") if c in has)

    @property
    def inferred(self) -> Sequence[tuple[str, int]]:  # type: ignore[override]
        """What the bases infer, one after the other."""
        return tuple(part for base in self._able("infer") for part in base.inferred)

    @property
    def match_figure(self) -> str:  # type: ignore[override]
        """The name of the figure of the base that matches."""
        return next((base.match_figure for base in self._able("match")), Eavesdropper.match_figure)

    def fit(self, view: View, *, generator: torch.Generator, progress: Any = None) -> dict[str, Any]:
        for name, base in self.attackers.items():
            denied = view.threat.grants(base.needs)
            if denied is not None:
                raise DeniedError(f"{name!r}, a base of {self.name!r}, is denied what it needs ({denied}).")
        self.to(view.device)
        record = self.learn(view, generator)
        self.to(view.device)
        inner = cast(View, TransformedView(view, self))
        files: list[Path] = []
        for number, (name, base) in enumerate(self.attackers.items()):
            if self.run is not None and isinstance(base, NeuralEavesdropper):
                path, identity = self.run
                files.append(path.with_name(f"{path.stem}.{name}{path.suffix}"))
                base.run = (files[-1], {**identity, "base": name})
            told = None if progress is None else _share(progress, number, len(self.bases))
            before = dict(base.options)
            record[name] = base.fit(inner, generator=generator, progress=told)
            # What a base has learnt about its own shape is needed to build it again from a checkpoint.
            learnt = {key: value for key, value in base.options.items() if before.get(key) != value}
            self.options = {**self.options, "base_kwargs": {**self.options["base_kwargs"], **learnt}}
        for file in files:
            file.unlink(missing_ok=True)
        return record

    def reconstruct(self, received: Tensor, csi: Tensor) -> Tensor:
        able, shown = self._shown("reconstruct", received, csi)
        return able[0].reconstruct(shown.received, shown.csi)

    def match(self, received: Tensor, csi: Tensor, candidates: Tensor) -> Tensor:
        able, shown = self._shown("match", received, csi)
        return able[0].match(shown.received, shown.csi, candidates)

    def infer(self, received: Tensor, csi: Tensor) -> Tensor:
        able, shown = self._shown("infer", received, csi)
        return torch.cat([base.infer(shown.received, shown.csi) for base in able], dim=1)

    def _able(self, capability: str) -> list[Eavesdropper]:
        return [base for base in self.attackers.values() if capability in base.capabilities]

    def _shown(self, capability: str, received: Tensor, csi: Tensor) -> tuple[list[Eavesdropper], Reception]:
        able = self._able(capability)
        if not able:
            raise self._lacks(capability)
        return able, self.through(received, csi)


class TransformedView:
    """A view whose receptions have been through a front; all else, and all that is denied, is the view's own.

    Args:
        view: what the attacker really has.
        front: whose :meth:`Front.hear` gives the receptions.

    Attributes:
        spec: shapes of what the front gives.
        deterministic: False: a transformed reception is not symbols and noise of known power, so closed forms
            must listen.
    """

    deterministic = False

    def __init__(self, view: View, front: Front) -> None:
        self.spec = next(iter(front.attackers.values())).spec
        self._view, self._front = view, front

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._view, name)

    def symbols(self, index: Tensor) -> Tensor:
        """Transformed symbols [B, 2m] as if of a link of hardly any noise."""
        return self._clean(self._view.symbols(index))

    def sample(self, index: Tensor) -> tuple[Reception, Tensor]:
        """Transformed receptions, and the images."""
        return self._front.hear(self._view, index)

    def sample_repeated(self, index: Tensor) -> tuple[Reception, Tensor]:
        """InputError: only the front hears an image repeatedly."""
        raise InputError(f"the bases of {self._front.name!r} hear one transformed reception of an image.")

    def unkeyed(self, index: Tensor) -> tuple[Tensor, Reception, Tensor]:
        """Transformed symbols of the encoder without its key, receptions of them, and the images."""
        symbols, reception, images = self._view.unkeyed(index)
        return self._clean(symbols), self._front.through(reception.received, reception.csi), images

    def encode(self, images: Tensor) -> Tensor:
        """Transformed symbols of any images."""
        return self._clean(self._view.encode(images))

    def _clean(self, symbols: Tensor) -> Tensor:
        """Symbols that have not been on the air, transformed as if over a link of hardly any noise and no fade."""
        csi = symbols.new_zeros(len(symbols), self._view.spec.num_csi)
        csi[:, 0], csi[:, 1::2] = CLEAN_DB, 1.0
        return self._front.through(symbols, csi).received


def fade_powers(csi: Tensor, num_symbols: int) -> Tensor | None:
    """|h|^2 of each channel use, [..., n], from CSI [..., 1 + 2F]; None over a link that does not fade.

    The F fades are taken to follow one another in blocks of ``ceil(n / F)`` channel uses, as those of
    :class:`~tosc_env.channels.Rayleigh` do when their coherence divides the message; CSI does not say more.

    >>> fade_powers(torch.tensor([[12.0, 3.0, 4.0, 0.0, 1.0]]), 4)
    tensor([[25., 25.,  1.,  1.]])
    """
    if csi.shape[-1] == 1:
        return None
    powers = csi[..., 1:].unflatten(-1, (-1, 2)).square().sum(-1)
    return powers.repeat_interleave(-(-num_symbols // powers.shape[-1]), dim=-1)[..., :num_symbols]


def _options_of(factory: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that an attacker has: ``epochs`` means nothing to a closed form."""
    known = inspect.signature(factory).parameters
    if any(p.kind is p.VAR_KEYWORD for p in known.values()):
        return dict(options)
    return {key: value for key, value in options.items() if key in known}


def _share(progress: Any, number: int, count: int) -> Any:
    """Progress of one base out of ``count``, told as a part of the whole."""
    return lambda done, total, figures: progress(
        round(_STEPS * (number + done / total)), _STEPS * count, figures
    )

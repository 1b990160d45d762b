"""Transformed attacks: something is done to a reception before ordinary attackers learn from it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tosc_agents.eavesdroppers.base import NeuralEavesdropper, part_of
from tosc_agents.learning.seeding import weights_from
from tosc_agents.learning.state import Run
from tosc_env.attackers import Eavesdropper, make_eavesdropper
from tosc_env.errors import DeniedError, InputError, shown
from tosc_env.privacy.view import View
from tosc_env.types import CSILayout, Reception, SystemSpec

BASE_ATTACKS = ("inversion-mlp", "label", "match")
"""The base attacks of a transformed attack unless its caller names others: one for each kind of leak.

Of these, whoever is denied what it needs is left out; of others, the attack is refused."""

CLEAN_DB = 100.0
"""The SNR in the CSI of symbols that have not been transmitted."""


class TransformedAttack(Eavesdropper):
    """A transformation of what was received, and ordinary attackers, its *base attacks*, that learn from the result.

    ::

        received [B, 2n], csi [B, c] --transform--> [B, 2m], [B, c] --> base attack 1: images
                                                                    --> base attack 2: logits
                                                                    --> base attack 3: scores of candidates

    A subclass writes :meth:`transform`, and :meth:`learn` if there is something to find out first. Images and
    scores come from the first base attack that gives them, logits from all that do, side by side.

    When an interrupted run goes on, the transformation's own part and closed forms are worked out again with the same
    numbers; each neural base attack has a state file beside this one's.

    Args:
        width: how many reals :meth:`transform` gives; an odd number is filled up with a zero column.
        base_attacks: registered names of ordinary attackers, each once.
        base_attack_kwargs: options of each by its name, such as ``{"label": {"epochs": 10}}``.
        options: the subclass's own options, plain values.

    Attributes:
        base_attacks: the attackers by name.
        run: as in :class:`~tosc_agents.eavesdroppers.base.NeuralEavesdropper`.

    Raises:
        InputError: no base attack or an unknown one, one that is itself a transformed attack, or options of
            another attacker.
    """

    run: Run | None = None
    additive: ClassVar[bool] = False
    """Whether what the base attacks are shown is :meth:`symbols` through gains plus white noise, as its CSI tells both,
    where a reception is."""

    def __init__(
        self,
        spec: SystemSpec,
        width: int,
        base_attacks: Sequence[str],
        base_attack_kwargs: Mapping[str, Mapping[str, Any]] | None,
        **options: Any,
    ) -> None:
        names, kwargs = base_attacks, base_attack_kwargs or {}
        if isinstance(names, str) or not names or len(set(names)) < len(names):
            raise InputError(
                f"base_attacks must be a list of different attackers' names, not {shown(names)}."
            )
        for name in kwargs:
            if name not in names:
                raise InputError(
                    f"base_attack_kwargs are options of the base attacks {', '.join(names)} by name, not of {name!r}."
                )
        super().__init__(spec, base_attacks=list(names), base_attack_kwargs=dict(kwargs), **options)
        self._usual = base_attacks is BASE_ATTACKS
        self.build(width)

    # -- what a subclass provides ----------------------------------------------------------------------

    @abstractmethod
    def transform(self, received: Tensor, csi: Tensor) -> tuple[Tensor, Tensor]:
        """The input of the base attacks, [B, width], and the CSI that goes with it, SNR in dB first.

        Args:
            received: float32 [B, 2n].
            csi: float32 [B, c]; all zeros where the threat model denies it.
        """

    def learn(self, view: View, generator: torch.Generator) -> dict[str, Any]:
        """Find out what :meth:`transform` needs to know; plain values for the record."""
        return {}

    def observe(self, view: View, index: Tensor) -> tuple[Reception, Tensor]:
        """Transformed receptions of the attacker's images for its base attacks to learn from, and the images."""
        reception, images = view.sample(index)
        return self.through(reception), images

    def symbols(self, view: View, index: Tensor) -> Tensor:
        """What :meth:`observe` shows of the attacker's images but for the channel's gains and noise."""
        return self.clean(view.symbols(index))

    # -- for subclasses --------------------------------------------------------------------------------

    def shows_uses(self, width: int) -> bool:
        """True if the base attacks are shown channel uses, with the CSI of each, and not something else, with the SNR
        alone."""
        return width == 2 * self.spec.num_symbols

    def layout(self) -> CSILayout:
        """The layout of the CSI of the channel uses that the base attacks are shown."""
        return self.spec.layout

    def build(self, width: int) -> None:
        """Make fresh base attacks for ``width`` reals."""
        layout = self.layout()
        spec = replace(self.spec, num_symbols=(width + 1) // 2, layout=layout)
        if layout.aligned:
            spec = replace(spec, num_csi=1 + width)
        if not self.shows_uses(width):
            spec = replace(spec, num_csi=1, layout=CSILayout())
        made = {
            name: make_eavesdropper(name, spec, **self.options["base_attack_kwargs"].get(name, {}))
            for name in self.options["base_attacks"]
        }
        for name, base in made.items():
            if isinstance(base, TransformedAttack):
                raise InputError(f"a base attack is an ordinary attacker, which {name!r} is not.")
        self._take(made)

    def _take(self, attackers: Mapping[str, Eavesdropper]) -> None:
        self.base_attacks = nn.ModuleDict(attackers)
        needs = [*(base.needs for base in attackers.values()), type(self).needs]
        self.needs = {name: values for one in needs for name, values in one.items()}

    def rebuild(self, width: int, generator: torch.Generator, **options: Any) -> None:
        """Take other options of its own, and make base attacks whose weights follow from the generator's seed."""
        self.options = {**self.options, **options}
        with weights_from(generator.initial_seed()):
            self.build(width)

    def through(self, reception: Reception) -> Reception:
        """A reception as the base attacks see it, [B, 2m]; in float32 even where they learn in bf16."""
        with torch.autocast(reception.received.device.type, enabled=False):
            changed, known = self.transform(reception.received.float(), reception.csi)
        if not self.shows_uses(changed.shape[1]):
            known = known[:, :1]
        return Reception(F.pad(changed, (0, changed.shape[1] % 2)), known)

    def clean(self, symbols: Tensor) -> Tensor:
        """Symbols that have not been transmitted, transformed as if over a link of hardly any noise and no fade."""
        csi = symbols.new_zeros(len(symbols), self.spec.num_csi)
        csi[:, 1 :: 1 if self.spec.layout.aligned else 2] = 1.0
        csi[:, 0] = CLEAN_DB
        return self.through(Reception(symbols, csi)).received

    # -- an attacker like any other --------------------------------------------------------------------

    @property
    def attackers(self) -> dict[str, Eavesdropper]:
        """The base attacks by name."""
        return cast(dict[str, Eavesdropper], dict(self.base_attacks.items()))

    @property
    def capabilities(self) -> tuple[str, ...]:
        """The capabilities of all base attacks."""
        has = {capability for base in self.attackers.values() for capability in base.capabilities}
        return tuple(c for c in ("reconstruct", "match", "infer") if c in has)

    @property
    def inferred(self) -> Sequence[tuple[str, int]]:  # type: ignore[override]
        """The answers of all base attacks that infer, one after the other."""
        return tuple(part for base in self._able("infer") for part in base.inferred)

    @property
    def match_figure(self) -> str:  # type: ignore[override]
        """The name of the figure of the base attack that matches."""
        return next((base.match_figure for base in self._able("match")), Eavesdropper.match_figure)

    def fit(self, view: View, *, generator: torch.Generator, progress: Any = None) -> dict[str, Any]:
        left_out = self._left_out(view)
        if left_out:
            self._take({name: base for name, base in self.attackers.items() if name not in left_out})
            kwargs = {k: v for k, v in self.options["base_attack_kwargs"].items() if k not in left_out}
            kept: dict[str, Any] = {"base_attacks": list(self.base_attacks), "base_attack_kwargs": kwargs}
            self.options = {**self.options, **kept}
        self.to(view.device)
        record = {**({"left_out": left_out} if left_out else {}), **self.learn(view, generator)}
        self.to(view.device)
        inner = cast(View, TransformedView(view, self))
        for name, base in self.attackers.items():
            if self.run is not None and isinstance(base, NeuralEavesdropper):
                base.run = self.run.beside(name, base=name)
            before = dict(base.options)
            told = part_of(progress, base_attack=name)
            record[name] = base.fit(inner, generator=generator, progress=told)
            # What a base attack has learnt of its own shape is needed to build it again from a checkpoint.
            learnt = {key: value for key, value in base.options.items() if before.get(key) != value}
            kwargs = self.options["base_attack_kwargs"]
            kwargs = {**kwargs, name: {**kwargs.get(name, {}), **learnt}}
            self.options = {**self.options, "base_attack_kwargs": kwargs}
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

    def refusal(self, view: View) -> str | None:
        own = super().refusal(view)
        if own is not None:
            return own
        try:
            self._left_out(view)
        except (DeniedError, InputError) as error:
            return str(error).rstrip(".")
        return None

    def _left_out(self, view: View) -> dict[str, str]:
        """The usual base attacks that cannot learn from a view, and why; raises what one that was asked for, or the
        first where none is left, would raise later, when queries have been spent."""
        found: dict[str, DeniedError | InputError] = {}
        for name, base in self.attackers.items():
            told = f"{name!r}, a base attack of {self.name!r},"
            denied = view.threat.grants(base.needs)
            if denied is not None:
                found[name] = DeniedError(f"{told} is denied what it needs ({denied}).")
                continue
            nothing = base.nothing_to_attack(view)
            if nothing is not None:
                found[name] = InputError(f"{told} has nothing to attack: {nothing}.")
        if found and (not self._usual or len(found) == len(self.base_attacks)):
            raise next(iter(found.values()))
        return {name: str(error) for name, error in found.items()}

    def _able(self, capability: str) -> list[Eavesdropper]:
        return [base for base in self.attackers.values() if capability in base.capabilities]

    def _shown(self, capability: str, received: Tensor, csi: Tensor) -> tuple[list[Eavesdropper], Reception]:
        able = self._able(capability)
        if not able:
            raise self._lacks(capability)
        return able, self.through(Reception(received, csi))


class TransformedView:
    """A view whose receptions are transformed, by :meth:`TransformedAttack.observe`; what it denies stays denied."""

    def __init__(self, view: View, attack: TransformedAttack) -> None:
        self.spec = next(iter(attack.attackers.values())).spec
        self._uses = attack.shows_uses(2 * self.spec.num_symbols)
        self.fading = view.fading and self._uses
        # Otherwise what is shown is not symbols and noise of known power: closed forms must learn from receptions.
        self.additive = view.additive and attack.additive
        self.deterministic = view.deterministic and attack.additive
        self._view, self._attack = view, attack

    @property
    def constellation(self) -> Tensor | None:
        """The points that a channel use may have; None where what is shown are no channel uses."""
        known = self._view.constellation  # denied, perhaps, whatever is shown
        return known if self._uses else None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._view, name)

    def symbols(self, index: Tensor) -> Tensor:
        """Transformed symbols [B, 2m]."""
        return self._attack.symbols(self._view, index)

    def sample(self, index: Tensor) -> tuple[Reception, Tensor]:
        """Transformed receptions, and the images."""
        return self._attack.observe(self._view, index)

    def sample_repeated(self, index: Tensor) -> tuple[Reception, Tensor]:
        """One transformed reception of each image, [B, 1, 2m], and the images."""
        reception, images = self.sample(index)
        return Reception(reception.received[:, None], reception.csi[:, None]), images

    sample_whole = sample_repeated

    def unkeyed(self, index: Tensor) -> tuple[Tensor, Reception, Tensor]:
        """Transformed symbols of the encoder without its key, receptions of them, and the images."""
        symbols, reception, images = self._view.unkeyed(index)
        return self._attack.clean(symbols), self._attack.through(reception), images

    def encode(self, images: Tensor) -> Tensor:
        """Transformed symbols of any images."""
        return self._attack.clean(self._view.encode(images))

    def encode_unkeyed(self, images: Tensor) -> Tensor:
        """Transformed symbols of any images, without the key."""
        return self._attack.clean(self._view.encode_unkeyed(images))

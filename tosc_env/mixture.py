"""Several schemes in one batch, each row with its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tosc_env.channels.base import aligned
from tosc_env.data.base import Source
from tosc_env.errors import InputError
from tosc_env.memory import evaluating
from tosc_env.modulation import constellation_points
from tosc_env.options import checked
from tosc_env.pipeline import Pipeline, as_pipeline
from tosc_env.schemes import PrivacyScheme, Stage, listed
from tosc_env.types import Context, CSILayout, Waves


class Mixture(Pipeline):
    """Schemes of one system, of which each message has one; both ends know which.

    Every scheme runs on all rows: on an accelerator that is cheaper than to sort them.

    Args:
        schemes: no mixtures, with equal image shape, outputs and channel uses; InputError for others.
        choose: from a message's context to the number of its scheme, int64 [B].
        stages: after each of them.

    Example:
        >>> import tosc_env
        >>> schemes = [tosc_env.make_scheme(name) for name in ("deepjscc", "lbvq")]
        >>> Mixture(schemes, lambda context: context.message[:, 0] % 2).title
        'deepjscc | lbvq'
    """

    @checked
    def __init__(
        self, schemes: Sequence[PrivacyScheme], choose: Callable[[Context], Tensor], stages: Any = ()
    ) -> None:
        backbones = _Backbones([as_pipeline(scheme).with_stages(stages) for scheme in schemes], choose)
        super().__init__(backbones)
        self.parts, self._rows, self._choose = backbones.parts, backbones.rows, choose

    def encode(self, images: Tensor, context: Context) -> Tensor:
        return self._rows(context, lambda part: part.encode(images, context))

    def decode(self, received: Tensor, csi: Tensor, context: Context) -> Tensor:
        return self._rows(context, lambda part: part.decode(received, csi, context))

    def protect(
        self, symbols: Tensor, context: Context, *, keyed: bool = True, added_only: bool = False
    ) -> Tensor:
        options = {"keyed": keyed, "added_only": added_only}
        return self._rows(context, lambda part: part.protect(symbols, context, **options))

    def recover(
        self, received: Tensor, csi: Tensor, context: Context, part: str = "all", *, whole: bool = False
    ) -> tuple[Tensor, Tensor, Context]:
        layout = self.layout_behind(context.layout, part)
        # Some rows' values are moved, and all rows have one layout.
        if layout != context.layout and csi.shape[1] > 1:
            received, csi = aligned(received, csi, context.layout)
            context = replace(context, layout=layout)
        each = {one: one.recover(received, csi, context, part, whole=whole) for one in self.parts}
        received = self._rows(context, lambda one: each[one][0])
        return received, self._rows(context, lambda one: each[one][1]), context

    def layout_behind(self, layout: CSILayout, part: str = "all") -> CSILayout:
        moved = [one.layout_behind(layout, part) for one in self.parts]
        return next((behind for behind in moved if behind != layout), layout)

    def precode(self, waves: Waves, context: Context, *, added_only: bool = False) -> Waves:
        each = {part: part.precode(waves, context, added_only=added_only) for part in self.parts}
        return Waves(
            self._rows(context, lambda part: each[part].signal),
            self._rows(context, lambda part: each[part].weights),
        )

    def constrain(self, symbols: Tensor, context: Context) -> Tensor:
        which = self._choose(context)

        def one(part: Pipeline) -> Tensor:
            given = symbols
            if part.constellation is not None:
                # Rows of other schemes must not fail its check: they hold its own first point instead.
                point = constellation_points(part.constellation, device=symbols.device)[:1]
                filler = torch.view_as_real(point).flatten().repeat(symbols.shape[1] // 2)
                places = [place for place, other in enumerate(self.parts) if other is part]
                mine = torch.stack([which == place for place in places]).any(0)
                given = torch.where(mine[:, None], symbols.float(), filler)
            return part.constrain(given, context)

        return self._rows(context, one)

    @torch.no_grad()
    def send(
        self, source: Source, index: Tensor, context: Context, *, keyed: bool = True, ahead: bool = False
    ) -> Tensor:
        with evaluating(self):
            return self._rows(
                context, lambda part: part.send(source, index, context, keyed=keyed, ahead=ahead)
            )

    @property
    def keyed(self) -> bool:
        return any(part.keyed for part in self.parts)

    @property
    def mixes(self) -> bool:
        return any(part.mixes for part in self.parts)

    @property
    def precodes(self) -> bool:
        return any(part.precodes for part in self.parts)

    @property
    def key_fingerprint(self) -> str | None:
        return "+".join(part.key_fingerprint for part in self.parts if part.key_fingerprint) or None

    @property
    def stochastic(self) -> bool:
        return True  # as the choice of scheme is not known in advance

    @property
    def added(self) -> list[Stage]:
        return [stage for part in self.parts for stage in part.added]

    def guarantee(self, transmissions: int = 1) -> str | None:
        return None

    @property
    def title(self) -> str:
        return self.name

    def with_stages(self, stages: Any) -> Mixture:
        return Mixture(self.parts, self._choose, stages) if listed("stages", stages) else self

    def use_key(self, key: Any) -> Mixture:
        if key is not None and not self.keyed:
            raise InputError(f"a key was given, but none of the schemes {self.title!r} takes one.")
        for part in self.parts:
            part.use_key(key if part.keyed else None)
        return self


class _Backbones(PrivacyScheme):
    """The backbones of a mixture as one."""

    def __init__(self, parts: list[Pipeline], choose: Callable[[Context], Tensor]) -> None:
        if not parts:
            raise InputError("a mixture needs at least one scheme.")
        for part in parts:
            if isinstance(part, Mixture):
                raise InputError(f"a mixture's schemes are no mixtures, and {part.title!r} is one.")
        shapes = {(part.spec.image_shape, part.spec.num_outputs, part.spec.num_symbols) for part in parts}
        if len(shapes) > 1:
            raise InputError(f"the schemes of a mixture belong to one system, not to {sorted(shapes)}.")
        super().__init__(parts[0].spec)
        self.name = " | ".join(part.title for part in parts)
        self.parts = parts
        self.schemes = nn.ModuleList(parts)
        self._choose = choose

    def encode(self, images: Tensor, context: Context) -> Tensor:
        return self.rows(context, lambda part: part.backbone.encode(images, context))

    def decode(self, received: Tensor, csi: Tensor, context: Context) -> Tensor:
        return self.rows(
            context, lambda part: part.backbone.decode(received, csi, part._with_usual_knobs(context))
        )

    def rows(self, context: Context, each: Callable[[Pipeline], Tensor]) -> Tensor:
        """Rows [B, ...], each of the tensor that ``each`` makes with the message's own scheme."""
        which = self._choose(context)
        made = [each(part) for part in self.parts]
        if made[0].is_floating_point():
            made = [one.float() for one in made]  # not all of them need come in reduced precision
        return torch.stack(made)[which, torch.arange(len(which), device=which.device)]

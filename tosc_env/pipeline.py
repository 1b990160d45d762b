"""A scheme as a composition: a backbone and stages, from which everything else follows."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tosc_env.channels.base import aligned
from tosc_env.constraints import constraint_of
from tosc_env.data.base import Source
from tosc_env.errors import InputError, shown
from tosc_env.identity import describe_module, plain
from tosc_env.memory import Memory, evaluating
from tosc_env.options import build, check_dense, check_reals, checked
from tosc_env.schemes import PrivacyScheme, Stage, Transmit, Trial, defaults_of, listed, make_stage, schemes
from tosc_env.types import USUAL_SPEC, Context, CSILayout, SystemSpec, Transmission, Waves


class Pipeline(PrivacyScheme):
    """A backbone and the stages between it and the channel.

    ::

        image --backbone.encode--> symbols --stages[0].protect--> ... --stages[-1].protect--> channel
        logits <--backbone.decode-- <--stages[0].recover-- ... <--stages[-1].recover-- received

    **The backbone runs once per image** of a :class:`~tosc_env.data.base.Source` (:meth:`send`): its symbols are kept
    for as long as the source lives, 8n bytes per image.  Nothing is kept of a backbone that reads its context or is
    random, and all is dropped when a weight, a submodule, a number or a string among the backbone's attributes changes.
    Not noticed is a tensor written through ``Tensor.data`` or a NumPy view, a hook, an option of PyTorch's own modules,
    and the content of a list, dictionary or array.  Stages run every time.

    Args:
        backbone: any scheme.
        stages: names, dictionaries of ``name`` and options, or objects, from the backbone to the channel; InputError
            where one is unknown or their order makes no sense. A keyed object of another pipeline is copied: key and
            place are each pipeline's own.
        name, options: of a factory that makes this pipeline: its registered name, and the plain values that make
            it again. By default those of the backbone, and all stages count as added to it.

    Attributes:
        receives: whether it can decode, as all but recorded symbols can.

    Example:
        >>> import tosc_env
        >>> scheme = tosc_env.make_scheme("lbvq", stages=["keyed", {"name": "laplace", "epsilon": 20}])
        >>> scheme.constellation, scheme.keyed, scheme.stochastic, scheme.bits
        ('16qam', True, True, 256.0)
        >>> print(scheme.title)
        lbvq + keyed(mode=shuffle, lifetime=per_message) + laplace(epsilon=20, clip=1, mode=laplace)
    """

    receives: bool = True

    @checked
    def __init__(
        self,
        backbone: PrivacyScheme,
        stages: Any = (),
        *,
        name: str | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        if isinstance(backbone, Pipeline):
            raise InputError("a pipeline's backbone has no stages; with_stages() adds some to a pipeline.")
        super().__init__(backbone.spec, **(backbone.options if options is None else options))
        self.name = name or backbone.name
        self.backbone: PrivacyScheme = backbone
        parts = listed("stages", stages)
        objects = [id(part) for part in parts if isinstance(part, Stage)]
        if len(set(objects)) < len(objects):
            raise InputError("a stage stands once in a pipeline; make another object for another place.")
        made: list[Stage] = []
        for part in parts:
            stage = make_stage(part, backbone.spec, _outgoing(backbone, made))
            _check_place(stage, backbone, made)
            if stage.keyed:
                stage = copy.deepcopy(stage) if "_taken" in stage.__dict__ else stage
                stage.__dict__["_taken"] = True
            made.append(stage)
        self.stages = nn.ModuleList(made)
        self._knobs = _knobs(made)
        for place, stage in enumerate(stage for stage in made if stage.keyed):
            stage.use_key(None, place)
        self._made = 0 if name is None else len(made)
        self._weights: str | None = None
        self._rounded: tuple[str, str] | None = None
        # The backbone's own, so that every pipeline and every view of it shares what is remembered.
        self._memory: Memory = backbone.__dict__.setdefault("_memory", Memory(backbone))
        # The backbone's parts stay in the mode that each is in: it may belong to a training loop.
        self.training = backbone.training
        self.stages.train(backbone.training)

    # -- both ends --------------------------------------------------------------------------------------

    def encode(self, images: Tensor, context: Context) -> Tensor:
        return self.protect(self.backbone.encode(images, context), context)

    def decode(self, received: Tensor, csi: Tensor, context: Context) -> Tensor:
        received, csi, context = self.recover(received, csi, context)
        logits = self.backbone.decode(received, csi, self._with_usual_knobs(context))
        return check_dense(logits, f"what {self.backbone.name!r} decodes", real=True)

    def forward(self, images: Tensor, context: Context, transmit: Transmit) -> Trial:
        drawn = {
            names[own]: value
            for stage, names in self._with_knobs()
            for own, value in stage.draw_knobs(_scoped(context, names)).items()
        }
        context = replace(context, knobs={**drawn, **context.knobs})

        def through(symbols: Tensor) -> Transmission:
            sent = transmit(self.protect(symbols, context))
            name, reception = next(iter(sent.receptions.items()))
            received, csi, _ = self.recover(reception.received, reception.csi, context)
            recovered = replace(reception, received=received, csi=csi)
            return replace(sent, receptions={**sent.receptions, name: recovered})

        known = self._with_usual_knobs(context)
        return self.backbone(images, replace(known, layout=self.layout_behind(context.layout)), through)

    def protect(
        self, symbols: Tensor, context: Context, *, keyed: bool = True, added_only: bool = False
    ) -> Tensor:
        """Symbols [B, 2n] of the backbone behind all stages; or behind those without key, or the added ones."""
        check_dense(symbols, f"what {self.backbone.name!r} encodes", real=True)
        for stage, names in self._with_knobs()[self._made if added_only else 0 :]:
            if keyed or not stage.keyed:
                protected = stage.protect(symbols, _scoped(context, names))
                symbols = check_reals(protected, f"what the stage {stage.name!r} protects", symbols.shape)
        return symbols

    def constrain(self, symbols: Tensor, context: Context) -> Tensor:
        """Apply the constraint of this scheme's symbols [B, 2n]: points, or unit mean energy."""
        try:
            return constraint_of(self.constellation)(symbols)
        except InputError as error:
            if not self._stages():
                raise
            told = str(error).rstrip(".")
            raise InputError(f"{told}; a stage that sends others sets its constellation, or None.") from None

    @property
    def precodes(self) -> bool:
        """True if a stage acts on waves."""
        return any(type(stage).precode is not Stage.precode for stage in self._stages())

    def precode(self, waves: Waves, context: Context, *, added_only: bool = False) -> Waves:
        """Waves for the transmitter's antennas, by all stages or the added ones."""
        for stage, names in self._with_knobs()[self._made if added_only else 0 :]:
            waves = stage.precode(waves, _scoped(context, names))
        return waves

    def recover(
        self, received: Tensor, csi: Tensor, context: Context, part: str = "all", *, whole: bool = False
    ) -> tuple[Tensor, Tensor, Context]:
        """Received symbols [B, 2n] with stages undone, and the CSI and context that go with them.

        ``part`` is ``"all"`` stages, the ``"added"`` ones, or the ``"keyed"`` ones and all after the first. Over a
        fading link a stage that moves values moves the amplitudes that they have met too: the CSI is then
        :func:`~tosc_env.channels.base.aligned`, as the context's layout says.

        With ``whole``, for a link that fades and a part that moves values, the CSI ends with what the amplitudes leave
        out where a stage mixes: ``A = R diag(g^2) R^T`` [B, 4n^2], R being the matrix by which values are recovered.
        """
        powers: Tensor | None = None
        for stage, names in reversed(self._with_knobs()[self._first(part) :]):
            moves = _moves(stage) and csi.shape[1] > 1
            if moves and not context.layout.aligned:
                received, csi = aligned(received, csi, context.layout)
                context = replace(context, layout=CSILayout(aligned=True))
            scoped, before = _scoped(context, names), csi
            recovered = stage.recover(received, before, scoped)
            received = check_reals(recovered, f"what the stage {stage.name!r} recovers", received.shape)
            if moves:
                gains = stage.recover_gains(csi[:, 1:], before, scoped)
                check_reals(gains, f"the gains that the stage {stage.name!r} recovers", csi[:, 1:].shape)
                if whole:
                    met = torch.diag_embed(csi[:, 1:].square()) if powers is None else powers
                    powers = _on_both_sides(stage, met, before, scoped)
                csi = torch.cat([csi[:, :1], gains], dim=1)
        if whole:
            met = torch.diag_embed(csi[:, 1:].square()) if powers is None else powers
            csi = torch.cat([csi, met.flatten(1)], dim=1)
        return received, csi, context

    def layout_behind(self, layout: CSILayout, part: str = "all") -> CSILayout:
        """The layout of a fading link's CSI behind :meth:`recover`."""
        moves = any(_moves(stage) for stage in self._stages()[self._first(part) :])
        return CSILayout(aligned=True) if moves else layout

    def spec_behind(self, spec: SystemSpec, part: str = "all") -> SystemSpec:
        """The shapes of what :meth:`recover` gives, from those of what the game's nodes receive."""
        layout = self.layout_behind(spec.layout, part)
        if spec.num_csi == 1 or layout == spec.layout:
            return spec
        return replace(spec, layout=layout, num_csi=1 + 2 * spec.num_symbols)

    def _first(self, part: str) -> int:
        """The place of the first stage of a part (:meth:`recover`)."""
        stages = self._stages()
        first_keyed = next((i for i, stage in enumerate(stages) if stage.keyed), len(stages))
        return {"all": 0, "added": self._made, "keyed": first_keyed}[part]

    @torch.no_grad()
    def send(
        self, source: Source, index: Tensor, context: Context, *, keyed: bool = True, ahead: bool = False
    ) -> Tensor:
        """Symbols float32 [B, 2n] of the source's images at ``index``, int64 [B], in evaluation mode.

        Equals ``encode(source.gather(index).images, context)``, but the backbone runs once per image; with ``ahead`` of
        all images now, as all will soon be sent. Without ``keyed`` the stages that need a key take no part.
        """
        # Never in the reduced precision of a training around it: that is not what is sent.
        with evaluating(self), torch.autocast(source.device.type, enabled=False):
            symbols = self._backbone_symbols(source, index, context, ahead)
            return self.protect(symbols, context, keyed=keyed).float()

    # -- what follows -----------------------------------------------------------------------------------

    @property
    def constellation(self) -> str | None:  # type: ignore[override]
        """The constellation of the symbols that are sent."""
        return _outgoing(self.backbone, self._stages())

    @property
    def codebook(self) -> Tensor | None:  # type: ignore[override]
        """The backbone's codewords [M, d], detached."""
        codewords = self.backbone.codebook
        return None if codewords is None else codewords.detach()

    @property
    def keyed(self) -> bool:
        """True if both ends need a secret key."""
        return any(stage.keyed for stage in self._stages())

    @property
    def mixes(self) -> bool:
        """True if a key, or a stage after it, mixes values."""
        return any(stage.mixes and _moves(stage) for stage in self._stages()[self._first("keyed") :])

    @property
    def key_fingerprint(self) -> str | None:
        """A fingerprint of the keys; None without a keyed stage."""
        prints = [getattr(stage, "key_fingerprint", "unknown") for stage in self._stages() if stage.keyed]
        return "+".join(prints) or None

    @property
    def stochastic(self) -> bool:
        """True if the same image may be sent as different symbols."""
        return any(stage.stochastic for stage in self._stages()) or not self._memory.allowed()

    @property
    def composition(self) -> dict[str, Any]:
        """The system as plain values: the scheme of its weights, its backbone, its stages."""
        usual = defaults_of(self.name).weights if self.name in schemes else None
        weights = self._weights or usual or self.name
        stages = [stage.plain() for stage in self._stages()]
        return {"weights": weights, "backbone": self.backbone.name, "stages": stages}

    def identity(self) -> dict[str, Any]:
        """Describe what determines a result of this scheme: its options, its weights, and which keys it has."""
        return {"name": self.name, **describe_module(self), "key": self.key_fingerprint}

    def fingerprint(self) -> dict[str, Any]:
        """What an attacker tells of the system that it is fitted against: its composition, and the digests by which its
        weights are known; none of recorded symbols, which are others in every split."""
        weights = [describe_module(self)["weights"]] if self.receives else []
        if self._rounded is not None and self._rounded[0] in weights:
            weights.append(self._rounded[1])
        return {"composition": plain(self.composition), "weights": weights}

    def rounded_from(self, weights: str) -> Pipeline:
        """Know the digest of the weights that these were rounded from, while they stay as they are. Returns itself."""
        self._rounded = describe_module(self)["weights"], weights
        return self

    @property
    def trainable(self) -> bool:
        """True if there is anything to train."""
        return any(True for _ in self.parameters())

    @property
    def bits(self) -> float | None:
        return self.backbone.bits if self.constellation == self.backbone.constellation else super().bits

    def guarantee(self, transmissions: int = 1) -> str | None:
        """The guarantees of all stages and the backbone; later stages cannot weaken them."""
        proven = [stage.guarantee(transmissions) for stage in self._stages()]
        return "; and ".join(one for one in (*proven, self.backbone.guarantee(transmissions)) if one) or None

    @property
    def title(self) -> str:
        """The name and the added stages with their options."""
        return " + ".join([self.name, *(in_words(stage.plain()) for stage in self.added)])

    # -- composition --------------------------------------------------------------------------------------

    @property
    def added(self) -> list[Stage]:
        """The stages that ``name`` and ``options`` do not make."""
        return self._stages()[self._made :]

    def with_stages(self, stages: Any) -> Pipeline:
        """Return this pipeline, weights and all, with more stages between it and the channel."""
        more = listed("stages", stages)
        if not more:
            return self
        stages = [*self._stages(), *more]
        longer = Pipeline(self.backbone, stages, name=self.name, options=self.options)
        longer._made, longer._weights, longer._rounded = self._made, self._weights, self._rounded
        return longer

    def with_weights_of(self, trained: Pipeline) -> Pipeline:
        """Name the weights in :attr:`composition` after the pipeline whose backbone was taken. Returns itself."""
        self._weights, self._rounded = trained.composition["weights"], trained._rounded
        return self

    def use_key(self, key: Any) -> Pipeline:
        """Give a key to all keyed stages that were made without one; None leaves them their own. Returns itself."""
        if key is None:
            return self
        locked = [stage for stage in self._stages() if stage.keyed]
        if not locked:
            raise InputError(f"a key was given, but the scheme {self.title!r} takes none.")
        for place, stage in enumerate(locked):
            stage.use_key(key, place)
        return self

    def _stages(self) -> list[Stage]:
        return list(self.stages)  # type: ignore[arg-type]

    def _with_knobs(self) -> list[tuple[Stage, dict[str, str]]]:
        return list(zip(self._stages(), self._knobs, strict=True))

    def _with_usual_knobs(self, context: Context) -> Context:
        """The context with the values of all stages' knobs, for the backbone's decode."""
        usual = {names[own]: v for stage, names in self._with_knobs() for own, v in stage.knobs.items()}
        tensors = {name: torch.full_like(context.snr_db, value) for name, value in usual.items()}
        return replace(context, knobs={**tensors, **context.knobs}) if usual else context

    @torch.no_grad()
    def send_images(self, images: Tensor, context: Context, *, keyed: bool = True) -> Tensor:
        """Symbols float32 [B, 2n] of images [B, C, H, W] from no source, in evaluation mode; nothing is remembered."""
        with evaluating(self), torch.autocast(images.device.type, enabled=False):
            if keyed or not self.keyed:
                return self.encode(images, context).float()
            return self.protect(self.backbone.encode(images, context), context, keyed=False).float()

    def _backbone_symbols(self, source: Source, index: Tensor, context: Context, ahead: bool) -> Tensor:
        symbols = self._memory.of_source(source, index, ahead)
        return self.backbone.encode(source.gather(index).images, context) if symbols is None else symbols


def make_scheme(
    scheme: str | PrivacyScheme,
    spec: SystemSpec = USUAL_SPEC,
    *,
    stages: Any = (),
    key: Any = None,
    **options: Any,
) -> Pipeline:
    """Make a fresh, untrained scheme from its registered name and options, or the pipeline of a ready object.

    More ``stages`` go between it and the channel; ``key`` is that of its keyed stages, None: fresh ones.

    Example:
        >>> make_scheme("deepjscc", stages=["keyed"]).keyed
        True
    """
    made = build(schemes, PrivacyScheme, scheme, options, spec)
    return as_pipeline(made).with_stages(stages).use_key(key)


def as_pipeline(scheme: PrivacyScheme) -> Pipeline:
    """Return the scheme itself where it is a pipeline, else one without stages; InputError for no scheme."""
    if not isinstance(scheme, PrivacyScheme):
        raise InputError(f"a ready scheme is needed, as of make_scheme or load_scheme, not {shown(scheme)}.")
    return scheme if isinstance(scheme, Pipeline) else Pipeline(scheme)


def _moves(stage: Stage) -> bool:
    return type(stage).recover_gains is not Stage.recover_gains


def _on_both_sides(stage: Stage, matrices: Tensor, csi: Tensor, context: Context) -> Tensor:
    """``R A R^T`` of symmetric matrices A [B, 2n, 2n], R being the matrix by which a stage recovers values."""
    for _ in range(2):  # each column in turn, and then each row
        columns = [stage.recover(column, csi, context) for column in matrices.unbind(2)]
        matrices = torch.stack(columns, dim=1)
    return matrices


def _outgoing(backbone: PrivacyScheme, stages: Sequence[Stage]) -> str | None:
    return stages[-1].constellation if stages else backbone.constellation


def _check_place(stage: Stage, backbone: PrivacyScheme, before: list[Stage]) -> None:
    """Raise InputError for a stage that was made for other symbols, or behind which a key could not be undone."""
    incoming = _outgoing(backbone, before)
    for what, has, needs in (
        ("channel uses", stage.spec.num_symbols, backbone.spec.num_symbols),
        ("the constellation", stage.incoming, incoming or stage.incoming),
    ):
        if has != needs:
            raise InputError(
                f"the stage {stage.name!r} was made for {what} {has!r}, and gets {needs!r} here; give it by name."
            )
    keyed = next((one for one in reversed(before) if one.keyed), None)
    if keyed is not None and stage.constellation not in (None, incoming):
        raise InputError(
            f"the stage {keyed.name!r} comes before {stage.name!r}, which rounds to points of "
            f"{stage.constellation!r}: no key undoes that, so put {keyed.name!r} after it."
        )


def _knobs(stages: Iterable[Stage]) -> list[dict[str, str]]:
    """The names of each stage's knobs in the pipeline: ``epsilon``, and ``epsilon-2`` of the second that has one."""
    counts: Counter[str] = Counter()
    called = []
    for stage in stages:
        counts.update(stage.knobs.keys())
        called.append({name: name if counts[name] == 1 else f"{name}-{counts[name]}" for name in stage.knobs})
    return called


def _scoped(context: Context, names: Mapping[str, str]) -> Context:
    """The context with a stage's own knobs alone, under the stage's names."""
    if not context.knobs:
        return context
    own = {own: context.knobs[name] for own, name in names.items() if name in context.knobs}
    return replace(context, knobs=own)


def in_words(stage: Mapping[str, Any]) -> str:
    """Format a stage's name and options (:meth:`Stage.plain <tosc_env.Stage.plain>`) for a reader."""
    told = [(k, v) for k, v in stage.items() if k != "name" and v is not None]
    options = ", ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in told)
    return f"{stage['name']}({options})" if options else stage["name"]

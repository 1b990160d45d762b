"""A scheme as a composition: a backbone and stages, from which everything else follows."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tosc_env.constraints import constraint_of
from tosc_env.data.base import Source
from tosc_env.errors import InputError
from tosc_env.identity import describe_module
from tosc_env.memory import ContextRead, Memory, evaluating
from tosc_env.options import build, shown
from tosc_env.schemes import Air, PrivacyScheme, Stage, Trial, defaults_of, listed, make_stage, schemes
from tosc_env.types import Context, SystemSpec, Transmission, Waves


class Pipeline(PrivacyScheme):
    """A backbone and the stages between it and the channel.

    ::

        image --backbone.encode--> symbols --stages[0].protect--> ... --stages[-1].protect--> channel
        logits <--backbone.decode-- <--stages[0].recover-- ... <--stages[-1].recover-- received

    **The backbone runs once per image.**  :meth:`send` takes images by their place in a
    :class:`~tosc_env.data.base.Source` and remembers the backbone's symbols of each, whatever the SNRs, seeds,
    attackers and steps: 8n bytes per image, at most :data:`~tosc_env.memory.MEMORY_LIMIT` bytes per source, for as
    long as the source lives.  Nothing is remembered of a backbone that reads its context or gives two answers to one
    question; and whatever was remembered is forgotten when a weight, a submodule, a number or a word among the
    attributes of the backbone changes, so also between the steps of a training.  Not seen is what is written into a
    tensor behind PyTorch's back (in place through ``Tensor.data`` or a NumPy view), a hook, an option of one of
    PyTorch's own modules, and what lies inside a list, dictionary or array.  Stages run every time.

    Args:
        backbone: any scheme.
        stages: names, dictionaries of ``name`` and options, or objects, from the backbone to the channel. A keyed
            object that stands in another pipeline is copied: key and place are each pipeline's own.
        name, options: of a factory that makes this pipeline: its registered name, and the plain values that make
            it again. By default those of the backbone, and all stages count as added to it.

    Attributes:
        added: the stages that ``name`` and ``options`` do not make.
        receives: whether it can decode, as all but recorded symbols can.

    Raises:
        InputError: an unknown stage, or an order of stages that makes no sense.

    Example:
        >>> import tosc_env
        >>> scheme = tosc_env.make_scheme("lbvq", stages=["keyed", {"name": "laplace", "epsilon": 20}])
        >>> scheme.constellation, scheme.keyed, scheme.stochastic, scheme.bits
        ('16qam', True, True, 256.0)
        >>> print(scheme.title)
        lbvq + keyed(mode=shuffle, lifetime=per_message) + laplace(epsilon=20, clip=1, mode=laplace)
    """

    receives: bool = True

    def __init__(
        self,
        backbone: PrivacyScheme,
        stages: Any = (),
        *,
        name: str | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        if isinstance(backbone, Pipeline):
            raise InputError(
                "a pipeline's backbone is a scheme without stages; use with_stages() to add some."
            )
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
            _check_fits(stage, backbone, _outgoing(backbone, made))
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
        _check_order(backbone, made)
        # The backbone's own, so that every pipeline and every view of it shares what is remembered.
        self._memory: Memory = backbone.__dict__.setdefault("_memory", Memory(backbone))
        # The backbone's parts stay in the mode that each is in: it may belong to a training loop.
        self.training = backbone.training
        self.stages.train(backbone.training)

    # -- both ends --------------------------------------------------------------------------------------

    def encode(self, images: Tensor, context: Context) -> Tensor:
        return self.protect(self.backbone.encode(images, context), context)

    def decode(self, received: Tensor, csi: Tensor, context: Context) -> Tensor:
        recovered = self.recover(received, csi, context)
        return self.backbone.decode(recovered, csi, self._told(context))

    def forward(self, images: Tensor, context: Context, air: Air) -> Trial:
        drawn = {
            names[own]: value
            for stage, names in self._with_knobs()
            for own, value in stage.draw_knobs(_scoped(context, names)).items()
        }
        told = replace(context, knobs={**drawn, **context.knobs})

        def through(symbols: Tensor) -> Transmission:
            sent = air(self.protect(symbols, told))
            name, here = next(iter(sent.receptions.items()))
            bare = replace(here, received=self.recover(here.received, here.csi, told))
            return replace(sent, receptions={**sent.receptions, name: bare})

        return self.backbone(images, self._told(told), through)

    def protect(
        self, symbols: Tensor, context: Context, *, keyed: bool = True, added_only: bool = False
    ) -> Tensor:
        """Symbols [B, 2n] of the backbone behind all stages; or those that need no key; or the added ones."""
        for stage, names in self._with_knobs()[self._made if added_only else 0 :]:
            if keyed or not stage.keyed:
                symbols = stage.protect(symbols, _scoped(context, names))
        return symbols

    def constrain(self, symbols: Tensor, context: Context) -> Tensor:
        """Symbols [B, 2n] as they may be sent: points of the constellation, or of unit mean energy."""
        return constraint_of(self.constellation)(symbols)

    @property
    def precodes(self) -> bool:
        """Whether a stage acts on waves."""
        return any(type(stage).precode is not Stage.precode for stage in self._stages())

    def precode(self, waves: Waves, context: Context, *, added_only: bool = False) -> Waves:
        """What the transmitter's antennas radiate in place of waves, by all stages or the added ones."""
        for stage, names in self._with_knobs()[self._made if added_only else 0 :]:
            waves = stage.precode(waves, _scoped(context, names))
        return waves

    def recover(self, received: Tensor, csi: Tensor, context: Context, *, added_only: bool = False) -> Tensor:
        """A reception [B, 2n] as the backbone is given it, or with the added stages alone undone."""
        for stage, names in reversed(self._with_knobs()[self._made if added_only else 0 :]):
            received = stage.recover(received, csi, _scoped(context, names))
        return received

    def without_key(self, received: Tensor, csi: Tensor, context: Context) -> Tensor:
        """A reception [B, 2n] with all undone down to the innermost key, as whoever knows the keys sees it."""
        stages = self._with_knobs()
        while any(stage.keyed for stage, _ in stages):
            stage, names = stages.pop()
            received = stage.recover(received, csi, _scoped(context, names))
        return received

    @torch.no_grad()
    def send(
        self, source: Source, index: Tensor, context: Context, *, keyed: bool = True, ahead: bool = False
    ) -> Tensor:
        """Symbols float32 [B, 2n] of the source's images at ``index``, int64 [B], in evaluation mode.

        Like ``encode(source.gather(index).images, context)``, but the backbone runs for images alone that it has not
        met before.

        Args:
            source: whose images are sent.
            index: which.
            context: for the stages.
            keyed: whether the stages that need a key take part.
            ahead: whether all of the source will soon be asked for, so that the backbone may as well meet it now.
        """
        # Never in the reduced precision of a training around it: that is not what is sent.
        with evaluating(self), torch.autocast(source.device.type, enabled=False):
            return self.protect(self._bare(source, index, context, ahead), context, keyed=keyed).float()

    # -- what follows -----------------------------------------------------------------------------------

    @property
    def constellation(self) -> str | None:  # type: ignore[override]
        """Of the symbols that are sent."""
        return _outgoing(self.backbone, self._stages())

    @property
    def codebook(self) -> Tensor | None:  # type: ignore[override]
        """The backbone's codewords [M, d], detached."""
        codewords = self.backbone.codebook
        return None if codewords is None else codewords.detach()

    @property
    def keyed(self) -> bool:
        """Whether both ends need a secret key."""
        return any(stage.keyed for stage in self._stages())

    @property
    def key_fingerprint(self) -> str | None:
        """Which keys these are, without showing them; None without a keyed stage."""
        prints = [getattr(stage, "key_fingerprint", "unknown") for stage in self._stages() if stage.keyed]
        return "+".join(prints) or None

    @property
    def stochastic(self) -> bool:
        """Whether the same image may be sent as different symbols."""
        return any(stage.stochastic for stage in self._stages()) or not self._memory.allowed()

    @property
    def composition(self) -> dict[str, Any]:
        """Which system this is, as plain values: whose weights, which backbone, which stages."""
        usual = defaults_of(self.name).weights if self.name in schemes else None
        weights = self._weights or usual or self.name
        stages = [stage.plain() for stage in self._stages()]
        return {"weights": weights, "backbone": self.backbone.name, "stages": stages}

    def identity(self) -> dict[str, Any]:
        """What determines a result of this scheme (:mod:`tosc_env.identity`): all that it was told, its weights, and
        which keys it has."""
        return {"name": self.name, **describe_module(self), "key": self.key_fingerprint}

    @property
    def trainable(self) -> bool:
        """Whether there is anything to train."""
        return any(True for _ in self.parameters())

    @property
    def bits(self) -> float | None:
        if self.constellation != self.backbone.constellation:
            return super().bits
        return self.backbone.bits

    def guarantee(self, transmissions: int = 1) -> str | None:
        """What is proven, stage by stage. All of it holds: what comes after a stage cannot weaken it."""
        told = [stage.guarantee(transmissions) for stage in self._stages()]
        return "; and ".join(one for one in (*told, self.backbone.guarantee(transmissions)) if one) or None

    @property
    def title(self) -> str:
        """The name and the added stages with their options."""
        return " + ".join([self.name, *(in_words(stage.plain()) for stage in self.added)])

    # -- composition --------------------------------------------------------------------------------------

    @property
    def added(self) -> list[Stage]:
        """The stages beyond those that the name stands for."""
        return self._stages()[self._made :]

    def with_stages(self, stages: Any) -> Pipeline:
        """This pipeline, weights and all, with more stages between it and the channel."""
        more = listed("stages", stages)
        if not more:
            return self
        stages = [*self._stages(), *more]
        longer = Pipeline(self.backbone, stages, name=self.name, options=self.options)
        longer._made, longer._weights = self._made, self._weights
        return longer

    def with_weights_of(self, trained: Pipeline) -> Pipeline:
        """This pipeline, which was built around another's backbone, as it shall call itself: after whose weights those
        are. Returns itself."""
        self._weights = trained.composition["weights"]
        return self

    def use_key(self, key: Any) -> Pipeline:
        """Give this key to all keyed stages that were made without one; None leaves them their own. Returns itself.

        Raises:
            InputError: a key, and no stage that is keyed.
        """
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
        """Each stage, and what each of its knobs is called in the pipeline."""
        return list(zip(self._stages(), self._knobs, strict=True))

    def _told(self, context: Context) -> Context:
        """The context with what every stage's knobs are, for the backbone's decode."""
        usual = {
            names[own]: torch.full_like(context.snr_db, value)
            for stage, names in self._with_knobs()
            for own, value in stage.knobs.items()
            if names[own] not in context.knobs
        }
        return replace(context, knobs={**usual, **context.knobs}) if usual else context

    @torch.no_grad()
    def send_images(self, images: Tensor, context: Context) -> Tensor:
        """Symbols float32 [B, 2n] of images [B, C, H, W] from no source, in evaluation mode.

        The same batch handed over again, such as the candidates of a re-identification, meets the backbone once.
        """
        with evaluating(self), torch.autocast(images.device.type, enabled=False):
            if not self._memory.allowed():
                return self.encode(images, context).float()
            try:
                bare = self._memory.of_images(images)
            except ContextRead:
                self._memory.give_up()
                bare = self.backbone.encode(images, context)
            return self.protect(bare, context).float()

    def _bare(self, source: Source, index: Tensor, context: Context, ahead: bool) -> Tensor:
        if self._memory.allowed() and self._memory.has_room(source, len(index)):
            try:
                return self._memory(source, index, ahead)
            except ContextRead:  # of some images only, it seems
                self._memory.give_up()
        return self.backbone.encode(source.gather(index).images, context)


def make_scheme(
    scheme: str | PrivacyScheme,
    spec: SystemSpec | None = None,
    *,
    stages: Any = (),
    key: Any = None,
    **options: Any,
) -> Pipeline:
    """A fresh, untrained scheme from its registered name, or the pipeline of a ready object.

    Args:
        scheme: a registered name (``tosc list`` shows them) or a ready object.
        spec: the system's shapes; by default a 10-class task on 32x32 colour images over 64 channel uses.
        stages: more stages between it and the channel (:func:`~tosc_env.schemes.make_stage`).
        key: of the scheme's keyed stages; None: fresh ones.
        options: the scheme's own options.

    Raises:
        InputError: an unknown name or option.

    Example:
        >>> make_scheme("deepjscc", stages=["keyed"]).keyed
        True
    """
    made = build(schemes, PrivacyScheme, scheme, options, spec or SystemSpec((3, 32, 32), 10))
    if isinstance(scheme, str):
        made.name = made.name or scheme
    return as_pipeline(made).with_stages(stages).use_key(key)


def as_pipeline(scheme: PrivacyScheme) -> Pipeline:
    """The scheme itself where it is a pipeline, else one of it alone.

    Raises:
        InputError: no scheme.
    """
    if not isinstance(scheme, PrivacyScheme):
        raise InputError(
            f"a ready scheme is needed here, such as make_scheme or load_scheme give, not {shown(scheme)!r}."
        )
    return scheme if isinstance(scheme, Pipeline) else Pipeline(scheme)


def _outgoing(backbone: PrivacyScheme, stages: Iterable[Stage]) -> str | None:
    constellation = backbone.constellation
    for stage in stages:
        constellation = stage.constellation
    return constellation


def _check_fits(stage: Stage, backbone: PrivacyScheme, incoming: str | None) -> None:
    """Raise InputError for a stage, given as an object, that was made for other symbols than it would get."""
    for what, has, needs in (
        ("channel uses", stage.spec.num_symbols, backbone.spec.num_symbols),
        ("the constellation", stage.incoming, incoming or stage.incoming),
    ):
        if has != needs:
            raise InputError(
                f"the stage {stage.name!r} was made for {what} {has!r}, and gets {needs!r} here; give it by name, or "
                "make it with the scheme's spec and constellation."
            )


def _check_order(backbone: PrivacyScheme, stages: list[Stage]) -> None:
    """Raise InputError where the order of stages makes no sense."""
    keyed: Stage | None = None
    incoming = backbone.constellation
    for stage in stages:
        if keyed is not None and stage.constellation not in (None, incoming):
            raise InputError(
                f"the stage {keyed.name!r} comes before {stage.name!r}, which rounds to points of "
                f"{stage.constellation!r}: no key undoes that, so put {keyed.name!r} after it."
            )
        keyed = stage if stage.keyed else keyed
        incoming = stage.constellation


def _knobs(stages: Iterable[Stage]) -> list[dict[str, str]]:
    """What each stage's knobs are called in the pipeline: ``epsilon``, and ``epsilon-2`` of the second that has one."""
    met: Counter[str] = Counter()
    called = []
    for stage in stages:
        met.update(stage.knobs.keys())
        called.append({name: name if met[name] == 1 else f"{name}-{met[name]}" for name in stage.knobs})
    return called


def _scoped(context: Context, names: Mapping[str, str]) -> Context:
    """The context with a stage's own knobs alone, under the names that the stage gives them."""
    if not context.knobs:
        return context
    own = {own: context.knobs[name] for own, name in names.items() if name in context.knobs}
    return replace(context, knobs=own)


def in_words(stage: Mapping[str, Any]) -> str:
    """A stage's name and options (:meth:`Stage.plain <tosc_env.Stage.plain>`) as a reader wants them."""
    options = ", ".join(
        f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}"
        for k, v in stage.items()
        if k != "name" and v is not None
    )
    return f"{stage['name']}({options})" if options else stage["name"]

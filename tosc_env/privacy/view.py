"""The view that an attacker has of a system while it learns: as much as its threat model grants."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from tosc_env.async_checks import current_checks
from tosc_env.channels.base import aligned
from tosc_env.data.augmentation import WAYS
from tosc_env.data.base import Statistics
from tosc_env.errors import DeniedError, InputError
from tosc_env.exchange import Exchange, as_known, known_spec, numbered_by_content, transmit, with_fresh_nonces
from tosc_env.game import Game
from tosc_env.modulation import constellation_points
from tosc_env.options import check_count, check_dense, check_tensor, checked
from tosc_env.pipeline import as_pipeline
from tosc_env.privacy.streams import secret_of, stream
from tosc_env.privacy.threat import ThreatModel
from tosc_env.schemes import PrivacyScheme
from tosc_env.snr import SNRRange
from tosc_env.types import Batch, Context, Reception, Round, SystemSpec


def _told(grant: str, doc: str) -> Any:
    """A property of a view that asks for a grant."""
    return property(lambda view: view._ask(grant), doc=doc)


class View:
    """The view that an attacker has of a system while it learns.

    Everything is asked of a referee that the attacker does not hold: no name on a view, public or not, leads to the
    system, the key, the channel's randomness or another's images, nothing on it can be assigned, and what it hands over
    are copies.  Python has no walls: hostile code in the same process reaches the system's weights all the same, by the
    interpreter's frames and closures, torch's dispatch modes or its global hooks of modules.  A view protects against
    the mistakes of honest plug-ins, and keeps what records claim of them true.

    An ``index`` is int64 [B], positions from 0 below ``num_images``; ``index + way * num_images`` with a way below
    ``augmentations`` means changed copies of these images, each a query of its own. Where only some may be sent,
    the images are numbered at random, the same each time: the first are then as mixed as all of them.

    Args:
        game: on the attacker's own images, with its link's SNR. Of several eavesdroppers the attacker is the first
            (:meth:`Game.with_only <tosc_env.Game.with_only>` names another), or all where they collude.
        scheme: the system under attack.
        threat: what is allowed; a view raises DeniedError on the rest.
        generator: its state and the system's weights decide the channel's randomness (:mod:`.streams`); nothing is
            drawn from it.

    Example:
        >>> import torch, tosc_env
        >>> from tosc_env.data import make_source
        >>> scheme = tosc_env.make_scheme("label-only")
        >>> game = Game(make_source("shapes", half="attacker"))
        >>> view = View(game, scheme, ThreatModel(queries=100), torch.Generator().manual_seed(0))
        >>> reception, images = view.sample(torch.arange(8))
        >>> reception.received.shape, images.shape, view.num_images
        (torch.Size([8, 128]), torch.Size([8, 3, 32, 32]), 100)
    """

    __slots__ = ("_ask",)
    _ask: Callable[..., Any]

    batch_size = 500

    @checked
    def __init__(
        self, game: Game, scheme: PrivacyScheme, threat: ThreatModel, generator: torch.Generator
    ) -> None:
        object.__setattr__(self, "_ask", _query_function(_Referee(game, scheme, threat, generator)))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name!r} of an attacker's view cannot be set: the threat model decides it.")

    def __delattr__(self, name: str) -> None:
        self.__setattr__(name, None)

    def __copy__(self) -> View:
        return self  # a copy has the same budget, not one more

    def __deepcopy__(self, memo: dict[int, Any]) -> View:
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise InputError("an attacker's view holds the system under attack and is not pickled; make another.")

    spec: SystemSpec = _told("spec", "Shapes, with the eavesdropper's own CSI.")
    threat: ThreatModel = _told("threat", "The threat model of the attacker.")
    queries: int = _told("queries", "Images sent so far; of a stochastic scheme each message counts.")
    candidates: int = _told("candidates", "Other images encoded so far, the same one again too.")
    device: torch.device = _told("device", "The device of all tensors.")
    num_images: int = _told("num_images", "Images of its own that may be sent within the query budget.")
    augmentations: int = _told(
        "augmentations",
        "V, ways in which each image may be changed (:mod:`tosc_env.data.augmentation`) and sent, the first as it is; "
        "1 where queries are limited, and of symbols recorded elsewhere.",
    )
    statistics: Statistics = _told("statistics", "Of the data set; no class means where labels are denied.")
    snr_db: SNRRange = _told("snr_db", "The range of the eavesdropper's own SNR.")
    fading: bool = _told("fading", "True if the link fades; otherwise it adds noise of known power alone.")
    additive: bool = _told(
        "additive", "True if a reception is symbols through gains plus white noise, as the CSI tells both."
    )
    deterministic: bool = _told("deterministic", "True if an image is always sent as the same symbols.")
    keyed: bool = _told("keyed", "True if the scheme uses a key that the attacker does not have.")
    codebook: Tensor | None = _told("codebook", "A discrete scheme's codewords [M, d].")
    constellation: Tensor | None = _told("constellation", "A discrete scheme's points, complex64 [M].")
    outputs: tuple[str, ...] = _told("outputs", "The names of the task's outputs.")
    attribute_values: dict[str, int] = _told(
        "attribute_values", "The private attributes of the attacker's images, and how many values each has."
    )

    def images(self, index: Tensor) -> Tensor:
        """The attacker's own images, float32 [B, C, H, W]."""
        return self._ask("images", index)

    def labels(self, index: Tensor) -> Tensor:
        """Their task targets."""
        return self._ask("labels", index)

    def attributes(self, index: Tensor) -> Tensor:
        """Their private attributes, int64 [B, A]."""
        return self._ask("attributes", index)

    def symbols(self, index: Tensor) -> Tensor:
        """Noiseless symbols [B, 2n] that the encoder sends for the attacker's images; with the key, decrypted.

        A deterministic scheme is asked once per image and remembered, so repeated use costs one query; so is
        a stochastic one where the queries are limited. With unlimited queries it is asked afresh each time.
        """
        return self._ask("symbols", index)

    def sample(self, index: Tensor) -> tuple[Reception, Tensor]:
        """Fresh receptions of the attacker's images over its own link, and the images [B, C, H, W].

        The CSI is all zeros where it is denied; with the key the receptions are decrypted.
        """
        return self._ask("sample", index)

    def sample_repeated(self, index: Tensor) -> tuple[Reception, Tensor]:
        """R = ``threat.receptions`` samples of each image, received [B, R, 2n] and csi [B, R, c], and the images.

        Each transmission has fresh noise of channel and scheme, and a message number of its own.
        """
        return self._ask("sample_repeated", index)

    def sample_whole(self, index: Tensor) -> tuple[Reception, Tensor]:
        """As :meth:`sample_repeated`, with all that a key tells of a link that fades (``Eavesdropper.whole_csi``)."""
        return self._ask("sample_whole", index)

    def unkeyed(self, index: Tensor) -> tuple[Tensor, Reception, Tensor]:
        """Symbols [B, 2n] without the key, receptions of them, and the images; needs ``unkeyed_encoder``."""
        return self._ask("unkeyed", index)

    def encode(self, images: Tensor) -> Tensor:
        """Noiseless symbols [N, 2n] of any images [N, C, H, W], such as the candidates of a re-identification.

        A keyed scheme sends them under keys of their own; with the key they are undone.
        """
        return self._ask("encode", images)

    def encode_unkeyed(self, images: Tensor) -> Tensor:
        """The symbols [N, 2n] that any images would have without the key; needs ``unkeyed_encoder``."""
        return self._ask("encode_unkeyed", images)


def _query_function(referee: _Referee) -> Callable[..., Any]:
    """The one way to the referee: a grant by its name, one at a time, of tensors that are nothing but tensors."""
    lock = threading.RLock()

    def ask(grant: str, *arguments: Any) -> Any:
        # Exactly a string: of a subclass the name may be another each time that it is asked for.
        if type(grant) is not str or grant not in GRANTS:
            raise DeniedError(f"an attacker's view has no {grant!r}; it grants {', '.join(sorted(GRANTS))}.")
        # Neither a subclass of Tensor nor a mode sees what is computed for it, or changes what is counted; no graph
        # leads from what is handed over to the weights of the system; and a training may go on with it.
        with lock, torch._C.DisableTorchFunction(), torch.inference_mode(False), torch.no_grad():
            return getattr(referee, grant)(*(_plain_tensor(grant, argument) for argument in arguments))

    return ask


def _plain_tensor(grant: str, given: Any) -> Tensor:
    wanted = "images float32 [N, C, H, W]" if grant.startswith("encode") else "an index int64 [B]"
    if not issubclass(type(given), Tensor):  # which no object can pretend, as it can to isinstance
        raise InputError(f"{grant} takes {wanted}, not {type(given).__name__}.")
    check_dense(given, f"what {grant} takes")
    if type(given) not in (Tensor, FakeTensor):
        given = Tensor.as_subclass(given, Tensor)  # never a method of its own
    fits = (torch.float32, 4) if grant.startswith("encode") else (torch.int64, 1)
    if (given.dtype, given.dim()) != fits:
        kind = str(given.dtype).removeprefix("torch.")
        raise InputError(f"{grant} takes {wanted}, not {kind} {list(given.shape)}.")
    return given.detach().clone()


class _Referee:
    """The side of a view that the attacker has no name for: what is true, and what has been asked."""

    def __init__(
        self, game: Game, scheme: PrivacyScheme, threat: ThreatModel, generator: torch.Generator
    ) -> None:
        # Who plays a game in which all pool what they receive does so whatever else is granted.
        held = threat.on(game.source.half)
        self._threat = replace(held, colluding=threat.colluding or game.config.colluding)
        self._scheme = as_pipeline(scheme)
        self._images = len(game.source)
        # Of recorded symbols there are no others.
        self._ways = WAYS if threat.queries is None and self._scheme.receives else 1
        self._game = game if self._ways == 1 else game.with_rules(source=game.source.augmented)
        self._secret = secret_of(self._scheme, generator.get_state())
        self._places: Tensor | None = None
        with torch.inference_mode(False):
            if self.num_images() < self._images:
                # Of a source that is sorted the first are not like the rest.
                mixed = torch.randperm(self._images, generator=torch.Generator().manual_seed(0))
                self._places = mixed.to(game.device)
            self._asked = torch.zeros(len(self._game.source), dtype=torch.bool, device=game.device)
        # Every transmission has a stream of its own by its number, so that a run that is resumed goes on with that
        # number; and candidates have others, so that asking for them moves nothing that is received.
        self._repeated, self._encoded, self._transmissions = 0, 0, 0
        self._sent: tuple[Tensor, Tensor] | None = None
        self._bare: tuple[Tensor, Tensor] | None = None

    def spec(self) -> SystemSpec:
        known = known_spec(self._game.spec, self._scheme, self._threat)
        return replace(known, layout=replace(known.layout))  # a copy, as of the threat model

    def threat(self) -> ThreatModel:
        # A copy: even a frozen dataclass can be written to by those who mean to.
        return replace(self._threat)

    def queries(self) -> int:
        return int(self._asked.sum()) + self._repeated

    def candidates(self) -> int:
        return self._encoded

    def device(self) -> torch.device:
        return self._game.device

    def num_images(self) -> int:
        return self._images if self._threat.queries is None else min(self._images, self._threat.queries)

    def augmentations(self) -> int:
        return self._ways

    def statistics(self) -> Statistics:
        known = self._game.source.statistics
        if not self._threat.labels:
            known = replace(known, class_mean_images=known.mean_image[None])
        tensors = {f.name: getattr(known, f.name) for f in fields(known) if f.name != "mean_image_mse"}
        # Copies: the reward and every figure are measured against the originals.
        return replace(known, **{name: tensor.clone() for name, tensor in tensors.items()})

    def snr_db(self) -> SNRRange:
        return replace(self._game.snr_of(self._game.adversaries[0]))  # a copy, as of the threat model

    def fading(self) -> bool:
        return self._game.channel.fading

    def additive(self) -> bool:
        return self._threat.csi

    def deterministic(self) -> bool:
        return not self._scheme.stochastic

    def keyed(self) -> bool:
        return self._scheme.keyed and self._threat.keys != "with-key"

    def codebook(self) -> Tensor | None:
        codewords = self._scheme.codebook
        if codewords is None:
            return None
        self._need("codebook", "the codebook and constellation")
        return codewords.clone()

    def constellation(self) -> Tensor | None:
        name = self._scheme.constellation
        if name is None:
            return None
        self._need("codebook", "the codebook and constellation")
        return constellation_points(name, device=self.device()).clone()

    def outputs(self) -> tuple[str, ...]:
        return self._game.task.labels

    def attribute_values(self) -> dict[str, int]:
        source = self._game.source
        return {n: len(v) for n, v in zip(source.attribute_names, source.attribute_values, strict=True)}

    def images(self, index: Tensor) -> Tensor:
        return self._gather(index).images

    def labels(self, index: Tensor) -> Tensor:
        self._need("labels", "the labels of the attacker's images")
        return self._game.task.targets(self._gather(index))

    def attributes(self, index: Tensor) -> Tensor:
        self._need("labels", "the attributes of the attacker's images")
        return self._gather(index).attributes

    def symbols(self, index: Tensor) -> Tensor:
        symbols, round_ = self._send(index, self._stream())
        return self._as_known(symbols, round_, self._game.context(round_))

    def sample(self, index: Tensor) -> tuple[Reception, Tensor]:
        return self._sample(index)

    def sample_repeated(self, index: Tensor) -> tuple[Reception, Tensor]:
        return self._repeat(index)

    def sample_whole(self, index: Tensor) -> tuple[Reception, Tensor]:
        return self._repeat(index, whole=True)

    def unkeyed(self, index: Tensor) -> tuple[Tensor, Reception, Tensor]:
        self._need("unkeyed_encoder", "the encoder without its key")
        index = self._within_budget(index)
        generator, place = self._stream(), self._place(index)
        round_ = self._game.draw(len(index), generator=generator, index=place)
        if self._scheme.stochastic and self._threat.queries is not None:
            self._bare = self._bare or self._send_once(keyed=False)
            symbols = self._bare[0][index]
        else:
            if self._scheme.stochastic:
                self._repeated += len(index)
            else:
                self._asked[index] = True
            symbols = self._symbols(place, round_, generator, keyed=False)
        keyless = replace(self._threat, keys="with-pairs")
        reception = self._observed(symbols, round_, self._game.context(round_, generator), keyless)
        if self.spec().layout.aligned:  # as all that is received with the key
            received, csi = aligned(reception.received, reception.csi, self._game.spec.layout)
            reception = Reception(received, csi)
        return symbols, reception, round_.batch.images

    def encode(self, images: Tensor) -> Tensor:
        self._check_candidates(images)
        self._deny_pairs()
        return self._encode(images)

    def encode_unkeyed(self, images: Tensor) -> Tensor:
        self._need("unkeyed_encoder", "the encoder without its key")
        self._check_candidates(images)
        return self._encode(images, keyed=False)

    # -- inside ---------------------------------------------------------------------------------------

    def _need(self, field: str, what: str) -> None:
        """DeniedError where a field of the threat model is False."""
        if not getattr(self._threat, field):
            raise DeniedError(f"the threat model denies {what} ({field}=False).")

    def _check_candidates(self, images: Tensor) -> None:
        asks = "having candidate images encoded, or the attacker's needs do not name it"
        self._need("candidate_queries", asks)
        shape = self._game.source.image_shape
        if tuple(images.shape[1:]) != shape:
            raise InputError(f"encode takes images of the shape {list(shape)}, not {list(images.shape[1:])}.")
        if self._threat.candidates is not None and self._encoded + len(images) > self._threat.candidates:
            raise DeniedError(
                f"the threat model lets the attacker have {self._threat.candidates} candidates encoded; "
                f"{self._encoded} have been, and {len(images)} more are asked for."
            )

    def _sample(self, index: Tensor, *, whole: bool = False) -> tuple[Reception, Tensor]:
        generator = self._stream()
        sent, round_ = self._send(index, generator)
        # Sent again as they were: symbols that have met their constraint meet it still.
        reception = self._observed(sent, round_, self._game.context(round_, generator), whole=whole)
        return reception, round_.batch.images

    def _repeat(self, index: Tensor, *, whole: bool = False) -> tuple[Reception, Tensor]:
        samples = [self._sample(index, whole=whole) for _ in range(self._threat.receptions)]
        received = torch.stack([reception.received for reception, _ in samples], dim=1)
        csi = torch.stack([reception.csi for reception, _ in samples], dim=1)
        return Reception(received, csi), samples[0][1]

    def _encode(self, images: Tensor, *, keyed: bool = True) -> Tensor:
        generator = stream(self._secret, "candidates", self._encoded, self.device())
        self._encoded += len(images)
        index = torch.zeros(len(images), dtype=torch.int64, device=self.device())
        round_ = self._game.draw(len(images), generator=generator, index=index)
        round_ = with_fresh_nonces(round_, self._scheme, generator)
        round_ = numbered_by_content(round_, images, self._scheme)
        context = self._game.context(round_, generator)
        with torch.no_grad(), torch.autocast(self.device().type, enabled=False):
            symbols = self._scheme.constrain(self._scheme.send_images(images, context, keyed=keyed), context)
        return self._as_known(symbols, round_, context) if keyed else symbols

    def _stream(self) -> torch.Generator:
        """The stream of the next transmission."""
        self._transmissions += 1
        return stream(self._secret, "transmission", self._transmissions, self.device())

    def _send(self, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Round]:
        """Normalised symbols, and the round in which they are sent."""
        self._deny_pairs()
        index = self._within_budget(index)
        place = self._place(index)
        round_ = self._game.draw(len(index), generator=generator, index=place)
        if not self._scheme.stochastic:
            self._asked[index] = True
            return self._symbols(place, round_, generator), round_
        if self._threat.queries is not None:
            self._sent = self._sent or self._send_once()
            symbols, messages = self._sent
            return symbols[index], replace(round_, message=messages[index])
        self._repeated += len(index)
        round_ = with_fresh_nonces(round_, self._scheme, generator)
        return self._symbols(place, round_, generator), round_

    def _deny_pairs(self) -> None:
        if self._scheme.keyed and self._threat.keys == "without-pairs":
            raise DeniedError("the threat model denies pairs of images and symbols (keys='without-pairs').")

    def _as_known(self, symbols: Tensor, round_: Round, context: Context) -> Tensor:
        """Noiseless symbols as known to an attacker that may have the key."""
        reception = Reception(symbols, round_.snr_db[:, None])
        return as_known(reception, context, self._scheme, self._threat).received

    def _symbols(
        self, place: Tensor, round_: Round, generator: torch.Generator, *, keyed: bool = True
    ) -> Tensor:
        context = self._game.context(round_, generator)
        sent = self._scheme.send(self._game.source, place, context, keyed=keyed)
        return self._scheme.constrain(sent, context)

    def _observed(
        self,
        symbols: Tensor,
        round_: Round,
        context: Context,
        threat: ThreatModel | None = None,
        *,
        whole: bool = False,
    ) -> Reception:
        """The attacker's reception of symbols [B, 2n] that are sent in a round."""
        air = transmit(self._game, self._scheme, round_, symbols, context)
        exchange = Exchange(self._game, self._scheme, round_, context, air)
        return exchange.observed(threat or self._threat, whole=whole)

    def _send_once(self, *, keyed: bool = True) -> tuple[Tensor, Tensor]:
        """Symbols and message numbers of all images within the budget: a random scheme must not be asked twice.

        With and without the key from one stream, so that noise under a key is the same noise.
        """
        whole = torch.arange(self.num_images(), device=self.device())
        # A stream of its own: whether the images are sent now or later must not move what the attacker hears.
        aside = stream(self._secret, "once", 0, self.device())
        symbols, messages = [], []
        for part in self._place(whole).split(View.batch_size):
            drawn = self._game.draw(len(part), generator=aside, index=part)
            round_ = with_fresh_nonces(drawn, self._scheme, aside)
            symbols.append(self._symbols(part, round_, aside, keyed=keyed))
            messages.append(round_.message)
        self._asked[whole] = True
        return torch.cat(symbols), torch.cat(messages)

    def _gather(self, index: Tensor) -> Batch:
        self._check_range(index)
        return self._game.source.gather(self._place(index))

    def _place(self, index: Tensor) -> Tensor:
        """Where the images lie in their source."""
        return index if self._places is None else self._places[index]

    def _check_range(self, index: Tensor) -> None:
        """InputError where there is no such image; a GPU says so by itself."""
        total = len(self._game.source)
        if index.device.type != "cpu" or not len(index):
            return
        low, high = int(index.min()), int(index.max())
        if low < 0 or high >= total:
            copies = f", and changed copies of them to {total - 1}" if self._ways > 1 else ""
            raise InputError(
                f"the attacker has the images 0 to {self._images - 1}{copies}; {low} to {high} are asked for."
            )

    def _within_budget(self, index: Tensor) -> Tensor:
        """The index of images that may be sent; DeniedError, perhaps later, where there are others.

        Where the check is only noted, the others become images that may be sent: nobody learns by never looking at it.
        """
        if self._threat.queries is None or not len(index):
            self._check_range(index)
            return index
        last = self.num_images() - 1
        allowed = f"the threat model lets the attacker have its first {last + 1} images sent"
        denied = ((index < 0) | (index > last)).any()
        checks = current_checks()
        if checks is not None:
            checks.add(denied, f"{allowed}; another was asked for.", DeniedError)
        elif denied:
            raise DeniedError(f"{allowed}; image {int(index.max())} is asked for.")
        return index.clamp(0, last)


GRANTS = frozenset(name for name in vars(_Referee) if not name.startswith("_"))
"""What an attacker may ask for; whatever else the referee knows has no name on its side."""


class QueryCount:
    """How often a view's encoder was asked and has transmitted, as a state that a resumed training goes on with.

    It leads to nothing but the count, and can only raise it: an attacker holds it with its run.
    """

    __slots__ = ("_raise", "_told")

    def __init__(
        self, told: Callable[[], dict[str, Any]], raise_to: Callable[[dict[str, Any]], None]
    ) -> None:
        self._told, self._raise = told, raise_to

    @property
    def queries(self) -> int:
        """The count as :attr:`View.queries` has it."""
        told = self._told()
        return int(told["asked"].sum()) + told["repeated"]

    def state_dict(self) -> dict[str, Any]:
        """The count as it is."""
        return self._told()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the count that was kept."""
        self._raise(state)


def counted_view(
    game: Game, scheme: PrivacyScheme, threat: ThreatModel, generator: torch.Generator
) -> tuple[View, QueryCount]:
    """A :class:`View`, and its count for whoever keeps a run that is resumed."""
    referee = _Referee(game, scheme, threat, generator)
    view = object.__new__(View)
    object.__setattr__(view, "_ask", _query_function(referee))

    counts = ("repeated", "encoded", "transmissions")

    def told() -> dict[str, Any]:
        return {"asked": referee._asked.clone(), **{name: getattr(referee, f"_{name}") for name in counts}}

    def raise_to(state: dict[str, Any]) -> None:
        asked = check_tensor(state.get("asked"), "asked", referee._asked.shape, torch.bool)
        if type(asked) not in (Tensor, FakeTensor):  # a subclass would see the count itself
            raise InputError(f"asked must be a plain tensor, not {type(asked).__name__}.")
        numbers = {name: check_count(state.get(name), name, 0, 2**62) for name in counts}
        referee._asked |= asked.to(referee._asked.device)
        for name, number in numbers.items():
            setattr(referee, f"_{name}", max(getattr(referee, f"_{name}"), number))

    return view, QueryCount(told, raise_to)

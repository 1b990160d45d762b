"""The laws of a stage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from tosc_env.devices import resolve_device
from tosc_env.errors import InputError
from tosc_env.modulation import CONSTELLATIONS, TOLERANCE, constellation_points
from tosc_env.schemes import Stage, make_stage, stages
from tosc_env.testing.laws import (
    BATCH_SIZES,
    duplicate,
    generator,
    global_streams_untouched,
    require,
    require_plain,
    require_tensor,
    same,
    step,
)
from tosc_env.types import Context, SystemSpec

_SPEC = SystemSpec((3, 32, 32), 10, num_symbols=16)
_KEY, _OTHER_KEY = "5a" * 32, "c3" * 32
_ROUNDING = 1e-3
"""Relative difference allowed where sums may be taken in another order."""


def check_stage(obj: Stage | str, *, device: torch.device | str = "cpu", seed: int = 0) -> None:
    """Check a :class:`~tosc_env.Stage`: shapes, randomness, flags, what it sends and undoes, keys, options.

    It is rebuilt from its options for symbols of any value and for the points of each constellation; those that it does
    not refuse with :class:`~tosc_env.InputError` are checked. The laws, in eval mode: ``protect`` and ``recover`` give
    finite float32 [B, 2n] for any finite input, depend on nothing but their arguments, row by row, on no global random
    stream, and change nothing. Where :attr:`~tosc_env.Stage.constellation` names one, its points go out; where it is
    None, gradients pass both ways and reach every parameter that requires one. A stage that is not ``stochastic``
    sends the same for any message and generator, and one that says so does not always. Knobs have usual values, which
    change nothing when they are named. A ``keyed`` stage takes keys of 64 hexadecimal digits, does the same under the
    same key, something else under another one or in another place, and undoes it behind the power constraint unless
    there is noise on it; its key is in neither options nor state. Options are plain values that rebuild it, by its name
    if it is registered.

    Args:
        obj: the stage, which is copied and left as it is, or a registered name.
        device: where to run it.
        seed: of the random symbols and receptions.

    Raises:
        AssertionError: a law is broken; the sentence says which.

    Example:
        >>> class Negate(Stage):
        ...     def protect(self, symbols, context):
        ...         return -symbols
        ...     def recover(self, received, csi, context):
        ...         return -received
        >>> check_stage(Negate(SystemSpec((3, 8, 8), 4, num_symbols=16)))
    """
    if isinstance(obj, str):
        with step(f"making the stage {obj!r} without options"):
            obj = make_stage(obj, _SPEC)
    require(
        isinstance(obj, Stage), f"a stage must derive from tosc_env.Stage, and {type(obj).__name__} does not."
    )
    who = f"the stage {obj.name or type(obj).__name__}"
    require(
        isinstance(obj.spec, SystemSpec),
        f"the spec of {who} must be a SystemSpec; call super().__init__(spec, constellation).",
    )
    where = resolve_device(device)
    given = duplicate(obj, who).to(where).eval()
    _check_facts(given, who)
    alike, refused = [], ""
    for constellation in (None, *CONSTELLATIONS):
        try:
            made = _rebuilt(given, constellation, who).to(where).eval()
        except InputError as error:
            refused = str(error)
            continue
        if made.constellation == given.constellation:
            alike.append(_as_given(given, made, constellation, where, seed, who))
        kind = "symbols of any value" if constellation is None else f"points of {constellation!r}"
        _Check(made, constellation, where, seed, f"{who} on {kind}").all_laws()
    require(alike or not refused, f"{who} cannot be rebuilt from its options: {refused}")
    if given.keyed:
        require(
            not all(alike),
            f"{who}, rebuilt from its options and state dictionary, has the same key; a key belongs in neither, "
            "nor in the code.",
        )
    else:
        require(
            any(alike),
            f"{who}, rebuilt from its options and state dictionary, does something else: what matters is in neither "
            "(register it as a buffer).",
        )


def _check_facts(stage: Stage, who: str) -> None:
    for flag in ("keyed", "stochastic"):
        require(isinstance(getattr(stage, flag), bool), f"{who}: {flag} must be True or False.")
    with step(f"{who}: its knobs"):
        knobs = stage.knobs
        require(isinstance(knobs, Mapping), f"{who}: knobs must be a mapping of names and usual values.")
        for name, value in knobs.items():
            require(
                isinstance(name, str) and isinstance(value, int | float),
                f"{who}: the knob {name!r} must have a number as its usual value, not {value!r}.",
            )
    for transmissions in (1, 3):
        with step(f"{who}: guarantee({transmissions})"):
            told = stage.guarantee(transmissions)
        require(
            told is None or (isinstance(told, str) and told and "\n" not in told),
            f"{who}: guarantee must say nothing (None) or one sentence, not {told!r}.",
        )


def _rebuilt(stage: Stage, constellation: str | None, who: str) -> Stage:
    """The stage as its options and state make it again; InputError where it refuses what comes in."""
    options = require_plain(stage.options, who)
    with torch.random.fork_rng():
        try:
            if stage.name in stages:
                made = make_stage({**options, "name": stage.name}, stage.spec, constellation)
            else:
                made = type(stage)(stage.spec, constellation, **options)
        except InputError:
            raise
        except Exception as error:  # whatever a stranger's code raises is a finding
            raise AssertionError(
                f"rebuilding {who} from its options {options} failed with {type(error).__name__}: {error}"
            ) from error
    require(type(made) is type(stage), f"{who}, rebuilt by its name, is a {type(made).__name__}.")
    require(
        require_plain(made.options, who) == options,
        f"{who}, rebuilt from its options {options}, has others: {made.options}.",
    )
    if made.constellation == stage.constellation:
        with step(f"loading the state of {who} into one rebuilt from its options"):
            made.load_state_dict(stage.state_dict())
    return made


def _as_given(
    given: Stage, made: Stage, constellation: str | None, device: torch.device, seed: int, who: str
) -> bool:
    """Whether the rebuilt stage does what the given one does."""
    symbols = _symbols(made.spec, constellation, 4, seed).to(device)
    with torch.no_grad(), torch.random.fork_rng(), step(f"{who}, protect and recover,"):
        pair = [one.protect(symbols, _context(4, seed, device)) for one in (given, made)]
        back = [
            one.recover(pair[0], _csi(one.spec, 4, device), _context(4, seed, device))
            for one in (given, made)
        ]
    return same(pair[0], pair[1], 1e-5) and same(back[0], back[1], 1e-5)


class _Check:
    """The laws of one stage on one kind of incoming symbols."""

    def __init__(
        self, stage: Stage, constellation: str | None, device: torch.device, seed: int, who: str
    ) -> None:
        self.stage, self.incoming, self.device, self.seed, self.who = stage, constellation, device, seed, who
        self.draws = False
        if stage.keyed:
            with step(f"{who}: use_key with 64 hexadecimal digits"):
                stage.use_key(_KEY, 0)
        else:
            self._takes_no_key()

    def all_laws(self) -> None:
        before = {k: v.clone() for k, v in self.stage.state_dict().items() if isinstance(v, Tensor)}
        for batch_size in BATCH_SIZES:
            self._messages(batch_size)
        self._any_input()
        self._rows()
        self._flags()
        self._knobs()
        if self.stage.keyed:
            self._key()
        after = self.stage.state_dict()
        require(
            all(torch.equal(value, after[key]) for key, value in before.items()),
            f"{self.who} changes its state in eval mode; what one message does must not move the next.",
        )
        if self.incoming is None and self.stage.constellation is None:
            self._gradients()

    # -- what goes out and comes back -------------------------------------------------------------------

    def protect(self, symbols: Tensor, context: Context) -> Tensor:
        given, who = symbols.clone(), self.who
        stream = context.generator or generator(self.seed)
        moved = stream.get_state()
        with torch.no_grad(), global_streams_untouched(f"{who}, protect,"), step(f"{who}, protect,"):
            sent = self.stage.protect(symbols, context)
        require(torch.equal(symbols, given), f"{who}: protect writes into the symbols it is given.")
        self.draws = self.draws or not torch.equal(moved, stream.get_state())
        what = f"{who}: what protect returns for {len(symbols)} messages"
        return require_tensor(sent, tuple(symbols.shape), what)

    def recover(self, received: Tensor, csi: Tensor, context: Context) -> Tensor:
        given, who = (received.clone(), csi.clone()), self.who
        with torch.no_grad(), global_streams_untouched(f"{who}, recover,"), step(f"{who}, recover,"):
            back = self.stage.recover(received, csi, context)
        require(
            torch.equal(received, given[0]) and torch.equal(csi, given[1]),
            f"{who}: recover writes into the tensors it is given.",
        )
        what = f"{who}: what recover returns for {len(received)} messages"
        return require_tensor(back, tuple(received.shape), what)

    def symbols(self, count: int) -> Tensor:
        return _symbols(self.stage.spec, self.incoming, count, self.seed).to(self.device)

    def context(self, count: int, seed: int = 0, message: int = 0) -> Context:
        return _context(count, self.seed + seed, self.device, message)

    def _messages(self, count: int) -> None:
        symbols, csi = self.symbols(count), _csi(self.stage.spec, count, self.device)
        sent = self.protect(symbols, self.context(count))
        self._are_points(sent)
        require(
            same(sent, self.protect(symbols, self.context(count))),
            f"{self.who}: protect gives other symbols for the same symbols, context and generator state.",
        )
        back = self.recover(sent, csi, self.context(count))
        # Other symbols were protected last: a stage that remembers them would recover by memory.
        self.protect(symbols.flip(1), self.context(count))
        require(
            same(back, self.recover(sent, csi, self.context(count))),
            f"{self.who}: recover depends on something else than reception, CSI and context.",
        )

    def _are_points(self, sent: Tensor) -> None:
        if self.stage.constellation is None:
            return
        with step(f"{self.who}: looking up its constellation {self.stage.constellation!r}"):
            points = torch.view_as_real(constellation_points(self.stage.constellation, device=self.device))
        distance = (sent.reshape(-1, 1, 2) - points).abs().amax(-1).amin(1)
        require(
            bool((distance <= TOLERANCE).all()),
            f"{self.who}: protect sends symbols that are no points of {self.stage.constellation!r}.",
        )

    def _any_input(self) -> None:
        if self.incoming is None:
            for scale in (0.0, 1e-6, 1e4):
                self._are_points(self.protect(scale * self.symbols(3), self.context(3)))
        noise = torch.randn(3, 2 * self.stage.spec.num_symbols, generator=generator(self.seed)).to(
            self.device
        )
        for level, scale in ((-30.0, 30.0), (12.0, 0.0), (100.0, 1.0), (12.0, 1e4)):
            csi = _csi(self.stage.spec, 3, self.device, level)
            self.recover(scale * noise, csi, replace(self.context(3), snr_db=csi[:, 0]))

    def _rows(self) -> None:
        symbols, csi, whole = self.symbols(7), _csi(self.stage.spec, 7, self.device), self.context(7)
        sent = self.protect(symbols, whole)
        back = self.recover(sent, csi, self.context(7))
        for row in range(7):
            part = slice(row, row + 1)
            alone = replace(self.context(1), snr_db=whole.snr_db[part], message=whole.message[part])
            require(
                self.draws or same(self.protect(symbols[part], alone), sent[part], _ROUNDING),
                f"{self.who}: protect gives a message alone other symbols than in a batch; rows must not depend on "
                "one another.",
            )
            require(
                same(self.recover(sent[part], csi[part], alone), back[part], _ROUNDING),
                f"{self.who}: recover gives a message alone something else than in a batch; rows must not depend on "
                "one another.",
            )

    # -- what it says of itself -------------------------------------------------------------------------

    def _flags(self) -> None:
        symbols = self.symbols(7)
        sent = self.protect(symbols, self.context(7))
        others = [self.protect(symbols, self.context(7, seed=k, message=k)) for k in (1, 2, 3)]
        if not self.stage.stochastic:
            require(
                not self.draws and all(same(sent, other) for other in others),
                f"{self.who}: protect depends on generator or message, but the stage says stochastic = False; set it "
                "to True.",
            )
        elif self.stage.constellation is None:  # noise that is rounded away is noise all the same
            require(
                not all(same(sent, other) for other in others),
                f"{self.who} says stochastic = True, but sends the same whatever generator and message; leave it "
                "False, so that its symbols are asked for once.",
            )

    def _knobs(self) -> None:
        symbols, usual = self.symbols(3), self.context(3)
        named = {k: torch.full_like(usual.snr_db, float(v)) for k, v in self.stage.knobs.items()}
        sent = self.protect(symbols, usual)
        require(
            same(sent, self.protect(symbols, replace(self.context(3), knobs=named)), 1e-5),
            f"{self.who}: the usual values of its knobs {sorted(named)}, named in the context, change what is sent.",
        )
        self.stage.train()
        with global_streams_untouched(f"{self.who}, draw_knobs,"), step(f"{self.who}, draw_knobs,"):
            drawn = self.stage.draw_knobs(self.context(3))
        self.stage.eval()
        for name, value in drawn.items():
            require(name in named, f"{self.who}: draw_knobs draws {name!r}, which is not among its knobs.")
            require_tensor(value, (3,), f"{self.who}: what draw_knobs draws for {name!r}")

    # -- keys -------------------------------------------------------------------------------------------

    def _takes_no_key(self) -> None:
        try:
            duplicate(self.stage, self.who).use_key(_KEY, 0)
        except InputError:
            return
        except Exception as error:  # whatever a stranger's code raises is a finding
            raise AssertionError(
                f"{self.who}: use_key failed with {type(error).__name__}: {error}"
            ) from error
        raise AssertionError(f"{self.who} takes a key, but says keyed = False; set it to True.")

    def _key(self) -> None:
        who, symbols = self.who, self.symbols(7)
        told = f"{json.dumps(self.stage.options)} {self.stage!r}".lower()
        require(_KEY not in told, f"{who} shows its key in its options or its representation.")
        sent = self.protect(symbols, self.context(7))

        def under(key: str, place: int) -> Tensor:
            other = _rebuilt(self.stage, self.incoming, who).to(self.device).eval()
            with step(f"{who}: use_key"):
                other.use_key(key, place)
            with torch.no_grad(), step(f"{who}, protect,"):
                return other.protect(symbols, self.context(7))

        require(
            same(sent, under(_KEY, 0)), f"{who} does something else under the same key in the same place."
        )
        require(not same(sent, under(_OTHER_KEY, 0)), f"{who} does the same under another key.")
        require(
            not same(sent, under(_KEY, 1)),
            f"{who} does the same in another place of a pipeline; stages that share a key must draw from it for their "
            "own place.",
        )
        if not self.draws:
            known, csi = self._powered(symbols), _csi(self.stage.spec, 7, self.device)
            back = self.recover(self._powered(sent), csi, self.context(7))
            require(
                same(back, known, _ROUNDING),
                f"{who}: recover, behind the power constraint, does not undo what protect did under the key.",
            )

    def _powered(self, symbols: Tensor) -> Tensor:
        """As the game sends them: points as they are, anything else with unit energy."""
        if self.stage.constellation is not None:
            return symbols
        return symbols * (self.stage.spec.num_symbols / symbols.square().sum(1, keepdim=True)).sqrt()

    # -- training ---------------------------------------------------------------------------------------

    def _gradients(self) -> None:
        stage, who = duplicate(self.stage, self.who).train(), self.who
        symbols = self.symbols(7).requires_grad_()
        csi = _csi(stage.spec, 7, self.device)
        weights = torch.randn(symbols.shape, generator=generator(self.seed + 1)).to(self.device)
        with (
            torch.enable_grad(),
            torch.random.fork_rng(),
            step(f"{who}: the gradient of protect and recover"),
        ):
            back = stage.recover(stage.protect(symbols, self.context(7)), csi, self.context(7))
            (back * weights).sum().backward()
        for what, gradient in (
            ("the symbols", symbols.grad),
            *((f"the parameter {n!r}", p.grad) for n, p in stage.named_parameters() if p.requires_grad),
        ):
            require(
                gradient is not None,
                f"{who}: protect and recover pass no gradient to {what}; something detaches it, or it is not used.",
            )
            require(
                bool(torch.isfinite(gradient).all()),  # type: ignore[arg-type]
                f"{who}: the gradient that protect and recover pass to {what} is not finite.",
            )
        require(
            bool((symbols.grad != 0).any()),  # type: ignore[union-attr]
            f"{who}: the gradient that protect and recover pass to the symbols is zero everywhere.",
        )


def _symbols(spec: SystemSpec, constellation: str | None, count: int, seed: int) -> Tensor:
    stream = generator(seed)
    if constellation is None:
        return torch.randn(count, 2 * spec.num_symbols, generator=stream)
    points = constellation_points(constellation)
    chosen = torch.randint(len(points), (count, spec.num_symbols), generator=stream)
    return torch.view_as_real(points[chosen]).flatten(1)


def _context(count: int, seed: int, device: torch.device, message: int = 0) -> Context:
    numbers = torch.zeros(count, 3, dtype=torch.int64, device=device)
    numbers[:, 0], numbers[:, 2] = torch.arange(count, device=device), message
    return Context(torch.full((count,), 12.0, device=device), numbers, 0, generator(seed, device))


def _csi(spec: SystemSpec, count: int, device: torch.device, level: float = 12.0) -> Tensor:
    """CSI [B, c] of a link that does not fade, at ``level`` dB."""
    columns = [level, *(float(i % 2 == 0) for i in range(spec.num_csi - 1))]
    return torch.tensor([columns] * count, device=device)

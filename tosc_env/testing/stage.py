"""The laws of a stage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from tosc_env.channels import noise_power
from tosc_env.devices import resolve_device
from tosc_env.errors import InputError
from tosc_env.modulation import CONSTELLATIONS, TOLERANCE, constellation_points
from tosc_env.schemes import Stage, make_stage, stages
from tosc_env.testing import laws
from tosc_env.testing.ends import Ends
from tosc_env.testing.games import unit_csi
from tosc_env.testing.laws import fail
from tosc_env.types import Context, CSILayout, SystemSpec, Waves

_SPEC = SystemSpec((3, 32, 32), 10, num_symbols=16)
_KEY, _OTHER_KEY = "5a" * 32, "c3" * 32


def check_stage(obj: Stage | str, *, device: torch.device | str = "cpu", seed: int = 0) -> None:
    """Check a :class:`~tosc_env.Stage`: shapes, randomness, flags, keys, options.

    It is rebuilt from its options for symbols of any value and for the points of each constellation; those that it does
    not refuse with :class:`~tosc_env.InputError` are checked. The laws, in eval mode: ``protect`` and ``recover`` give
    finite float32 [B, 2n] for any finite input, depend on their arguments alone, row by row, on no global random
    stream, and change nothing. Where :attr:`~tosc_env.Stage.constellation` is set, its points go out; where it is
    None, gradients pass both ways and reach every parameter that requires one. A stage that is not ``stochastic``
    sends the same for any message and generator, and a stochastic one does not always. The usual values of knobs
    change nothing when they are named. A ``keyed`` stage takes keys of 64 hexadecimal digits, does the same under the
    same key, something else under another one or in another place, and undoes it behind the power constraint unless
    it adds noise; its key is in neither options nor state. A ``recover`` that moves values has a ``recover_gains`` that
    moves amplitudes likewise. Options are plain values that rebuild it, by its name if it is registered.

    Args:
        obj: the stage, which is copied, or a registered name.

    Example:
        >>> class Negate(Stage):
        ...     def protect(self, symbols, context):
        ...         return -symbols
        ...     def recover(self, received, csi, context):
        ...         return -received
        >>> check_stage(Negate(SystemSpec((3, 8, 8), 4, num_symbols=16)))
    """
    if isinstance(obj, str):
        with laws.step(f"making the stage {obj!r} without options"):
            obj = make_stage(obj, _SPEC)
    who = laws.subject(obj, Stage, "stage")
    where = resolve_device(device)
    given = laws.duplicate(obj, who).to(where).eval()
    _check_facts(given, who)
    alike, refused = [], ""
    for constellation in (None, *CONSTELLATIONS):
        try:
            made = _rebuilt(given, constellation, who).to(where).eval()
        except InputError as error:
            refused = str(error)
            continue
        kind = "symbols of any value" if constellation is None else f"points of {constellation!r}"
        check = _Check(made, constellation, where, seed, f"{who} on {kind}")
        if made.constellation == given.constellation:
            alike.append(check.does_the_same(given))
        check.all_laws()
    laws.require(alike or not refused, f"{who} cannot be rebuilt from its options: {refused}")
    if given.keyed:
        if all(alike):
            fail(
                f"{who}, rebuilt from its options and state dictionary, has the same key; a key belongs in neither, "
                "nor in the code."
            )
    else:
        if not any(alike):
            fail(
                f"{who}, rebuilt from its options and state dictionary, does something else: what matters is in "
                "neither (register it as a buffer)."
            )


def _check_facts(stage: Stage, who: str) -> None:
    for flag in ("keyed", "stochastic"):
        laws.require(isinstance(getattr(stage, flag), bool), f"{who}: {flag} must be True or False.")
    with laws.step(f"{who}: its knobs"):
        knobs = stage.knobs
        laws.require(isinstance(knobs, Mapping), f"{who}: knobs must be a mapping of names and usual values.")
        for name, value in knobs.items():
            if not (isinstance(name, str) and isinstance(value, int | float)):
                fail(f"{who}: the knob {name!r} must have a number as its usual value, not {value!r}.")
    for transmissions in (1, 3):
        with laws.step(f"{who}: guarantee({transmissions})"):
            proven = stage.guarantee(transmissions)
        if not (proven is None or (isinstance(proven, str) and proven and "\n" not in proven)):
            fail(f"{who}: guarantee must say nothing (None) or one sentence, not {proven!r}.")


def _rebuilt(stage: Stage, constellation: str | None, who: str) -> Stage:
    """Rebuild a stage from options and state for incoming symbols; InputError where it refuses them."""

    def make(options: dict) -> Stage:
        if stage.name in stages:
            return make_stage({**options, "name": stage.name}, stage.spec, constellation)
        return type(stage)(stage.spec, constellation, **options)

    made = laws.rebuilt(stage, who, make, passing=InputError)
    if made.constellation == stage.constellation:
        laws.load_state(stage, made, who)
    return made


class _Check(Ends):
    """The laws of one stage on one kind of incoming symbols."""

    methods = ("protect", "recover")

    def __init__(
        self, stage: Stage, constellation: str | None, device: torch.device, seed: int, who: str
    ) -> None:
        super().__init__(stage, device, seed, who)
        self.stage, self.incoming = stage, constellation

    def given(self, count: int) -> Tensor:
        n, stream = self.spec.num_symbols, laws.generator(self.seed)
        if self.incoming is None:
            return torch.randn(count, 2 * n, generator=stream).to(self.device)
        points = constellation_points(self.incoming)
        chosen = torch.randint(len(points), (count, n), generator=stream)
        return torch.view_as_real(points[chosen]).flatten(1).to(self.device)

    def context(self, count: int, later: int = 0) -> Context:
        numbers = torch.zeros(count, 5, dtype=torch.int64, device=self.device)
        numbers[:, 0], numbers[:, 2] = torch.arange(count, device=self.device), later
        snr_db = torch.full((count,), 12.0, device=self.device)
        return Context(snr_db, numbers, 0, laws.generator(self.seed + later, self.device))

    def transmit(self, sent: Tensor) -> tuple[Tensor, Tensor]:
        """Return what was sent, and require that it keeps to the constellation."""
        if self.stage.constellation is not None:
            name = self.stage.constellation
            with laws.step(f"{self.who}: looking up its constellation {name!r}"):
                points = torch.view_as_real(constellation_points(name, device=self.device))
            distance = (sent.reshape(-1, 1, 2) - points).abs().amax(-1).amin(1)
            if not (distance <= TOLERANCE).all():
                fail(
                    f"{self.who}: protect sends symbols that are no points of {name!r}, its constellation; one that "
                    "sends any symbols sets self.constellation = None when it is made."
                )
        return sent, unit_csi(torch.full((len(sent),), 12.0, device=self.device), self.spec.num_csi)

    def width(self) -> int:
        return 2 * self.spec.num_symbols

    def does_the_same(self, other: Stage) -> bool:
        """True if another stage protects and recovers as this one does."""
        symbols, csi = self.given(4), unit_csi(self.context(4).snr_db, self.spec.num_csi)
        answers = []
        with torch.no_grad(), torch.random.fork_rng(), laws.step(f"{self.who}, protect and recover,"):
            for stage in (other, self.stage):
                sent = stage.protect(symbols, self.context(4))
                answers.append(torch.cat([sent, stage.recover(symbols, csi, self.context(4))], dim=1))
        return laws.same(answers[0], answers[1], 1e-5)

    def all_laws(self) -> None:
        self._takes_a_key()
        with laws.state_unchanged(self.stage, self.who):
            self.check_messages()
            if self.incoming is None:
                for scale in (0.0, 1e-6, 1e4):
                    self.transmit(self.send(scale * self.given(3), self.context(3)))
            self.check_any_reception()
            self._gains()
            self._precode()
            self._flags()
            self._knobs()
            if self.stage.keyed:
                self._key()
        if self.incoming is None and self.stage.constellation is None:
            self._gradients()

    def _takes_a_key(self) -> None:
        if self.stage.keyed:
            with laws.step(f"{self.who}: use_key with 64 hexadecimal digits"):
                self.stage.use_key(_KEY, 0)
            return
        with suppress(InputError), laws.step(f"{self.who}: use_key", passing=InputError):
            laws.duplicate(self.stage, self.who).use_key(_KEY, 0)
            raise AssertionError(f"{self.who} takes a key, but says keyed = False; set it to True.")

    def _flags(self) -> None:
        symbols = self.given(7)
        sent = self.send(symbols, self.context(7))
        alike = [laws.same(sent, self.send(symbols, self.context(7, later))) for later in (1, 2, 3)]
        if type(self.stage).precode is not Stage.precode:
            waves = self._waves().signal
            alike += [torch.equal(waves, self._waves(later).signal) for later in (1, 2, 3)]
        if not self.stage.stochastic:
            if self.draws or not all(alike):
                fail(
                    f"{self.who}: what is sent depends on generator or message, but the stage says "
                    "stochastic = False; set it to True."
                )
        elif self.stage.constellation is None and all(alike):  # noise may be rounded away to points
            fail(
                f"{self.who} says stochastic = True, but sends the same whatever generator and message; leave it "
                "False, so that its symbols are computed once."
            )

    def _gains(self) -> None:
        """Over a link that carries every second channel use alone: recover_gains says what each value is made of."""
        if type(self.stage).recover is Stage.recover:
            return
        count, moves = 300, type(self.stage).recover_gains is not Stage.recover_gains
        symbols, context = self.given(count), replace(self.context(count), layout=CSILayout(aligned=True))
        with laws.step(f"{self.who}: sending its symbols"):
            sent, csi = self.transmit(self._powered(self.send(symbols, self.context(count))))
        shares, told, noise = [], torch.ones_like(symbols), noise_power(csi[:, :1])
        for gains in (torch.ones_like(symbols), self._every_second_use(count)):
            known = torch.cat([csi[:, :1], gains], dim=1)
            # As behind an MMSE equaliser.
            received = sent * gains.square() / (gains.square() + noise)
            shares.append((self.receive(received, known, context) * symbols).mean(0))
            if moves:
                name, arguments = f"{self.who}: recover_gains", (gains, known, context)
                told = laws.undisturbed(name, self.stage.recover_gains, *arguments)
                laws.require_tensor(told, tuple(symbols.shape), f"what {name} returns")
            else:
                told = gains
        whole, energy = 1.0 / (1.0 + noise[:1]), symbols.square()
        if not (shares[0] > 0.5 * whole * energy.mean(0)).all():
            return  # recover is no inverse of protect
        bias = told.square() / (told.square() + noise)
        expected = (bias / whole * energy).mean(0) / energy.mean(0)
        # Of a shuffle for each message that recover_gains does not tell of, the mean square is 1/4.
        if float((shares[1] / shares[0] - expected).square().mean()) > 0.12:
            fail(
                f"{self.who}: recover moves values, over a fading link away from the amplitudes that they have met; "
                "override recover_gains, which moves those."
            )

    def _every_second_use(self, count: int) -> Tensor:
        uses = torch.arange(2 * self.spec.num_symbols, device=self.device) // 2
        return ((uses + 1) % 2).float().expand(count, -1)

    def _knobs(self) -> None:
        symbols, usual = self.given(3), self.context(3)
        named = {k: torch.full_like(usual.snr_db, float(v)) for k, v in self.stage.knobs.items()}
        sent = self.send(symbols, usual)
        if not laws.same(sent, self.send(symbols, replace(self.context(3), knobs=named)), 1e-5):
            fail(
                f"{self.who}: the usual values of its knobs {sorted(named)}, named in the context, change what is sent."
            )
        self.stage.train()
        drawn = laws.undisturbed(f"{self.who}: draw_knobs", self.stage.draw_knobs, self.context(3))
        self.stage.eval()
        for name, value in drawn.items():
            laws.require(name in named, f"{self.who}: draw_knobs draws {name!r}, which is none of its knobs.")
            laws.require_tensor(value, (3,), f"{self.who}: what draw_knobs draws for {name!r}")

    def _precode(self) -> None:
        """Waves of two antennas, for a stage that acts on them."""
        if type(self.stage).precode is Stage.precode:
            return
        shape = (7, 2, self.spec.num_symbols)
        made = self._waves()
        if not isinstance(made, Waves):
            fail(f"{self.who}: precode returns {type(made).__name__}, not Waves.")
        for name in ("signal", "weights"):
            laws.require_tensor(
                getattr(made, name), shape, f"{self.who}: the {name} that precode returns", torch.complex64
            )
        if not torch.equal(made.signal, self._waves().signal):
            fail(
                f"{self.who}: precode gives two answers to the same generator; its randomness is context.generator's."
            )

    def _waves(self, later: int = 0) -> Waves:
        """The waves that precode makes of messages on the first of two antennas."""
        shape, stream = (7, 2, self.spec.num_symbols), laws.generator(self.seed + 2)
        gains = torch.randn(7, 1, *shape[1:], dtype=torch.complex64, generator=stream).to(self.device)
        signal = torch.zeros(shape, dtype=torch.complex64, device=self.device)
        signal[:, 0] = torch.randn(7, shape[2], dtype=torch.complex64, generator=stream).to(self.device)
        first = torch.zeros_like(signal)
        first[:, 0] = 1.0
        context = replace(self.context(7, later), gains={"receiver": gains})
        return laws.undisturbed(f"{self.who}: precode", self.stage.precode, Waves(signal, first), context)

    def _key(self) -> None:
        who, symbols = self.who, self.given(7)
        written = f"{json.dumps(self.stage.options)} {self.stage!r}".lower()
        laws.require(_KEY not in written, f"{who} shows its key in its options or its representation.")
        sent = self.send(symbols, self.context(7))

        def under(key: str, place: int) -> bool:
            """True if a rebuilt stage, under that key in that place, sends the same."""
            other = _rebuilt(self.stage, self.incoming, who).to(self.device).eval()
            with torch.no_grad(), laws.step(f"{who}: use_key and protect"):
                other.use_key(key, place)
                return laws.same(sent, other.protect(symbols, self.context(7)))

        laws.require(under(_KEY, 0), f"{who} does something else under the same key in the same place.")
        laws.require(not under(_OTHER_KEY, 0), f"{who} does the same under another key.")
        if under(_KEY, 1):
            fail(
                f"{who} does the same in another place of a pipeline; stages that share a key must draw from it for "
                "their own place."
            )
        if not self.draws:
            received, csi = self.transmit(self._powered(sent))
            back = self.receive(received, csi, self.context(7))
            if not laws.same(back, self._powered(symbols), laws.ROUNDING):
                fail(
                    f"{who}: recover, behind the power constraint, does not undo what protect did under the key."
                )

    def _powered(self, symbols: Tensor) -> Tensor:
        """Scale symbols as the game does: points stay as they are, anything else gets unit energy."""
        if self.stage.constellation is not None:
            return symbols
        return symbols * (self.spec.num_symbols / symbols.square().sum(1, keepdim=True)).sqrt()

    def _gradients(self) -> None:
        stage = laws.duplicate(self.stage, self.who).train()
        symbols = self.given(7).requires_grad_()
        weights = torch.randn(symbols.shape, generator=laws.generator(self.seed + 1)).to(self.device)
        what = f"{self.who}: the gradient of protect and recover"
        with torch.enable_grad(), torch.random.fork_rng(), laws.step(what):
            received, csi = self.transmit(stage.protect(symbols, self.context(7)))
            (stage.recover(received, csi, self.context(7)) * weights).sum().backward()
        learning = {f"the parameter {n!r}": p for n, p in stage.named_parameters() if p.requires_grad}
        laws.require_gradients(f"{self.who}: protect and recover pass", {"the symbols": symbols, **learning})
        laws.require(bool((symbols.grad != 0).any()), f"{what} is zero everywhere.")  # type: ignore[union-attr]

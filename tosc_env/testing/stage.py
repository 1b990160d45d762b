"""The laws of a stage."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from tosc_env.channels import noise_power
from tosc_env.errors import InputError
from tosc_env.modulation import CONSTELLATIONS, TOLERANCE, constellation_points
from tosc_env.schemes import Stage, make_stage, stages
from tosc_env.testing import laws
from tosc_env.testing.ends import Ends, unit_csi
from tosc_env.testing.laws import Subject
from tosc_env.types import Context, CSILayout, SystemSpec, Waves

_SPEC = SystemSpec((3, 32, 32), 10, num_symbols=16)
_KEY, _OTHER_KEY = "5a" * 32, "c3" * 32


def check_stage(obj: Stage | str, *, device: torch.device | str = "cpu", seed: int = 0) -> None:
    """Check a :class:`~tosc_env.Stage`, or one of a registered name: shapes, randomness, flags, keys, options.

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
    given = Subject(obj, laws.subject(obj, Stage, "stage"), device, seed)
    _check_facts(given)
    alike, refused = [], ""
    for constellation in (None, *CONSTELLATIONS):
        kind = "symbols of any value" if constellation is None else f"points of {constellation!r}"
        try:
            check = _Check(given, constellation, f"{given.who} on {kind}")
        except InputError as error:
            refused = str(error)
            continue
        if check.obj.constellation == given.obj.constellation:
            alike.append(check.does_the_same(given.obj))
        check.all_laws()
    given.require(alike or not refused, f"it cannot be rebuilt from its options: {refused}")
    if given.obj.keyed:
        told = "has the same key; a key belongs in neither options nor state, nor in the code."
        given.require(not all(alike), f"rebuilt, it {told}")
    else:
        told = "does something else: what matters is in neither options nor state (register it as a buffer)."
        given.require(any(alike), f"rebuilt, it {told}")


def _check_facts(given: Subject) -> None:
    stage = given.obj
    for flag in ("keyed", "stochastic"):
        given.require(isinstance(getattr(stage, flag), bool), f"{flag} must be True or False.")
    with given.step("its knobs"):
        knobs = stage.knobs
        given.require(isinstance(knobs, Mapping), "knobs must be a mapping of names and usual values.")
        for name, value in knobs.items():
            lawful = isinstance(name, str) and isinstance(value, int | float)
            given.require(lawful, f"the knob {name!r} must have a number as its usual value, not {value!r}.")
    for transmissions in (1, 3):
        with given.step(f"guarantee({transmissions})"):
            proven = stage.guarantee(transmissions)
        one = proven is None or (isinstance(proven, str) and len(proven.splitlines()) == 1)
        given.require(one, f"guarantee must say nothing (None) or one sentence, not {proven!r}.")


def _rebuilt(given: Subject, constellation: str | None) -> Stage:
    """Rebuild a stage from options and state for incoming symbols; InputError where it refuses them."""
    stage = given.obj

    def make(options: dict) -> Stage:
        if stage.name in stages:
            return make_stage({**options, "name": stage.name}, stage.spec, constellation)
        return type(stage)(stage.spec, constellation, **options)

    made = given.rebuilt(make, passing=InputError)
    if made.constellation == stage.constellation:
        given.load_into(made)
    return made.to(given.device).eval()


class _Check(Ends):
    """The laws of one stage, rebuilt for one kind of incoming symbols."""

    methods = ("protect", "recover")

    def __init__(self, given: Subject, constellation: str | None, who: str) -> None:
        super().__init__(_rebuilt(given, constellation), who, given.device, given.seed)
        self.stage, self.spec, self.incoming = self.obj, self.obj.spec, constellation
        self.width = 2 * self.spec.num_symbols
        kind = type(self.obj)
        self.recovers = kind.recover is not Stage.recover
        self.moves = kind.recover_gains is not Stage.recover_gains
        self.precodes = kind.precode is not Stage.precode

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
        name = self.stage.constellation
        if name is not None:
            with self.step(f"looking up its constellation {name!r}"):
                points = torch.view_as_real(constellation_points(name, device=self.device))
            distance = (sent.reshape(-1, 1, 2) - points).abs().amax(-1).amin(1)
            told = "its constellation; one that sends any symbols sets self.constellation = None when it is made."
            self.require((distance <= TOLERANCE).all(), f"protect sends no points of {name!r}, {told}")
        return sent, unit_csi(torch.full((len(sent),), 12.0, device=self.device), self.spec.num_csi)

    def does_the_same(self, other: Stage) -> bool:
        """True if another stage protects and recovers as this one does."""
        symbols, csi = self.given(4), unit_csi(self.context(4).snr_db, self.spec.num_csi)
        answers = []
        with torch.no_grad(), torch.random.fork_rng(), self.step("protect and recover"):
            for stage in (other, self.stage):
                sent = stage.protect(symbols, self.context(4))
                answers.append(torch.cat([sent, stage.recover(symbols, csi, self.context(4))], dim=1))
        return laws.same(answers[0], answers[1], 1e-5)

    def all_laws(self) -> None:
        self.takes_a_key()
        with self.state_unchanged():
            self.check_messages()
            if self.incoming is None:
                for scale in (0.0, 1e-6, 1e4):
                    self.transmit(self.send(scale * self.given(3), self.context(3)))
            self.check_any_reception()
            if self.recovers:
                self.gains()
            self.mixing()
            if self.precodes:
                self.precode()
            self.flags()
            self.knobs()
            if self.stage.keyed:
                self.key()
        if self.incoming is None and self.stage.constellation is None:
            self.gradient()

    def takes_a_key(self) -> None:
        if self.stage.keyed:
            with self.step("use_key with 64 hexadecimal digits"):
                self.stage.use_key(_KEY, 0)
            return
        with suppress(InputError), self.step("use_key", passing=InputError):
            copy.deepcopy(self.stage).use_key(_KEY, 0)
            self.require(False, "takes a key, but says keyed = False; set it to True.")

    def flags(self) -> None:
        symbols = self.given(7)
        sent = self.send(symbols, self.context(7))
        alike = [laws.same(sent, self.send(symbols, self.context(7, later))) for later in (1, 2, 3)]
        if self.precodes:
            waves = self.waves().signal
            alike += [torch.equal(waves, self.waves(later).signal) for later in (1, 2, 3)]
        if not self.stage.stochastic:
            told = "what is sent depends on generator or message, but stochastic = False; set it to True."
            self.require(all(alike) and not self.draws, told)
        elif self.stage.constellation is None:  # noise may be rounded away to points
            self.require(not all(alike), "says stochastic = True, but sends the same whatever the generator.")

    def gains(self) -> None:
        """Over a link that carries every second channel use alone: recover_gains says what each value is made of."""
        count = 300
        symbols, context = self.given(count), replace(self.context(count), layout=CSILayout(aligned=True))
        with self.step("sending its symbols"):
            sent, csi = self.transmit(self.powered(self.send(symbols, self.context(count))))
        uses = torch.arange(symbols.shape[1], device=self.device) // 2
        every_second = ((uses + 1) % 2).float().expand(count, -1)
        shares, told, noise = [], torch.ones_like(symbols), noise_power(csi[:, :1])
        for gains in (torch.ones_like(symbols), every_second):
            known = torch.cat([csi[:, :1], gains], dim=1)
            # As behind an MMSE equaliser.
            received = sent * gains.square() / (gains.square() + noise)
            shares.append((self.receive(received, known, context) * symbols).mean(0))
            told = self.run("recover_gains", gains, known, context) if self.moves else gains
            self.tensor(told, tuple(symbols.shape), "what recover_gains returns")
        whole, energy = 1.0 / (1.0 + noise[:1]), symbols.square()
        if not (shares[0] > 0.5 * whole * energy.mean(0)).all():
            return  # recover is no inverse of protect
        bias = told.square() / (told.square() + noise)
        expected = (bias / whole * energy).mean(0) / energy.mean(0)
        # Of a shuffle for each message that recover_gains does not tell of, the mean square is 1/4.
        lawful = float((shares[1] / shares[0] - expected).square().mean()) <= 0.12
        hint = "away from the amplitudes that they have met; override recover_gains, which moves those."
        self.require(lawful, f"recover moves values, over a fading link {hint}")

    def mixing(self) -> None:
        """What is said to mix is an orthogonal matrix: sums stay sums, and energies what they were."""
        if not self.stage.mixes:
            return
        self.require(self.moves, "says mixes = True, but does not override recover_gains.")
        context = replace(self.context(9), layout=CSILayout(aligned=True))
        one = torch.randn(9, 2 * self.spec.num_symbols, generator=laws.generator(self.seed)).to(self.device)
        csi = torch.cat([torch.full_like(one[:, :1], 12.0), torch.ones_like(one)], dim=1)
        other = one.roll(1, 0)
        parts = [self.receive(each, csi, context) for each in (one, other, one + other)]
        linear = torch.allclose(parts[0] + parts[1], parts[2], atol=1e-4)
        kept = torch.allclose(parts[0].norm(dim=1), one.norm(dim=1), rtol=1e-4)
        self.require(linear and kept, "says mixes = True, but recover multiplies by no orthogonal matrix.")

    def knobs(self) -> None:
        symbols, usual = self.given(3), self.context(3)
        named = {k: torch.full_like(usual.snr_db, float(v)) for k, v in self.stage.knobs.items()}
        sent = self.send(symbols, usual)
        alike = laws.same(sent, self.send(symbols, replace(self.context(3), knobs=named)), 1e-5)
        self.require(alike, f"its usual knobs {sorted(named)}, named in the context, change what is sent.")
        self.stage.train()
        drawn = self.run("draw_knobs", self.context(3))
        self.stage.eval()
        for name, value in drawn.items():
            self.require(name in named, f"draw_knobs draws {name!r}, which is none of its knobs.")
            self.tensor(value, (3,), f"what draw_knobs draws for {name!r}")

    def precode(self) -> None:
        made = self.waves()
        self.require(isinstance(made, Waves), f"precode returns {type(made).__name__}, not Waves.")
        for name in ("signal", "weights"):
            what, shape = f"the {name} that precode returns", (7, 2, self.spec.num_symbols)
            self.tensor(getattr(made, name), shape, what, torch.complex64)
        alike = torch.equal(made.signal, self.waves().signal)
        self.require(alike, "precode gives two answers to the same generator state.")

    def waves(self, later: int = 0) -> Waves:
        """The waves that precode makes of messages on the first of two antennas."""
        shape, stream = (7, 2, self.spec.num_symbols), laws.generator(self.seed + 2)
        gains, signal = (torch.randn(shape, dtype=torch.complex64, generator=stream) for _ in range(2))
        first = torch.tensor([1.0, 0.0], dtype=torch.complex64)[:, None].expand(shape).contiguous()
        context = replace(self.context(7, later), gains={"receiver": gains[:, None].to(self.device)})
        return self.run("precode", Waves((signal * first).to(self.device), first.to(self.device)), context)

    def key(self) -> None:
        symbols = self.given(7)
        written = f"{json.dumps(self.stage.options)} {self.stage!r}".lower()
        self.require(_KEY not in written, "shows its key in its options or its representation.")
        sent = self.send(symbols, self.context(7))

        def under(key: str, place: int) -> bool:
            """True if a rebuilt stage, under that key in that place, sends the same."""
            other = _rebuilt(self, self.incoming)
            with torch.no_grad(), self.step("use_key and protect"):
                other.use_key(key, place)
                return laws.same(sent, other.protect(symbols, self.context(7)))

        self.require(under(_KEY, 0), "does something else under the same key in the same place.")
        self.require(not under(_OTHER_KEY, 0), "does the same under another key.")
        self.require(not under(_KEY, 1), "does the same in another place of a pipeline under the same key.")
        if not self.draws:
            received, csi = self.transmit(self.powered(sent))
            back = self.receive(received, csi, self.context(7))
            undone = laws.same(back, self.powered(symbols), laws.ROUNDING)
            self.require(undone, "recover, behind the power constraint, does not undo protect under the key.")

    def powered(self, symbols: Tensor) -> Tensor:
        """Scale symbols as the game does: points stay as they are, anything else gets unit energy."""
        if self.stage.constellation is not None:
            return symbols
        return symbols * (self.spec.num_symbols / symbols.square().sum(1, keepdim=True)).sqrt()

    def gradient(self) -> None:
        stage = copy.deepcopy(self.stage).train()
        symbols = self.given(7).requires_grad_()
        weights = torch.randn(symbols.shape, generator=laws.generator(self.seed + 1)).to(self.device)
        what = "the gradient of protect and recover"
        with torch.enable_grad(), torch.random.fork_rng(), self.step(what):
            received, csi = self.transmit(stage.protect(symbols, self.context(7)))
            (stage.recover(received, csi, self.context(7)) * weights).sum().backward()
        learning = {f"the parameter {n!r}": p for n, p in stage.named_parameters() if p.requires_grad}
        self.gradients("protect and recover pass", {"the symbols": symbols, **learning})
        self.require((symbols.grad != 0).any(), f"{what} is zero everywhere.")  # type: ignore[union-attr]

"""The laws of a privacy scheme."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tosc_env.game import Game
from tosc_env.modulation import constellation_points
from tosc_env.pipeline import Pipeline, as_pipeline, make_scheme
from tosc_env.schemes import PrivacyScheme, Trial, defaults_of, make_objectives, schemes
from tosc_env.testing import laws
from tosc_env.testing.ends import Ends, channels_for, context_of, noise_game
from tosc_env.testing.laws import Subject
from tosc_env.types import Context, Round, SystemSpec, Transmission


def check_scheme(
    obj: PrivacyScheme,
    *,
    objectives: Any = None,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> None:
    """Check a :class:`~tosc_env.PrivacyScheme`: shapes, randomness, power, training, checkpoints.

    The laws, in eval mode: ``encode`` gives finite float32 symbols [B, 2n] that the game accepts (of a discrete
    scheme, points of its constellation) and ``decode`` finite logits [B, K] for any SNR and reception; both depend
    on their arguments alone, row by row, on no global random stream, and change nothing. An ``encode`` that does not
    read its context gives the same each time, as a :class:`~tosc_env.Pipeline` computes it once. ``bits`` is true. In
    training, ``forward`` sends once and its :class:`~tosc_env.Trial` is complete; the loss sends a gradient through
    the game's channel to every parameter that requires one. Options are plain values that rebuild the scheme, by its
    name if it is registered, and with its added stages the same composition; its state dictionary then gives the
    same answers. A scheme with keyed stages is rebuilt with a key of its own, as the key is in none of these.

    A copy is checked over AWGN and, where ``spec.num_csi`` is that of block fading, Rayleigh; it is trained for
    ``objectives`` (:func:`~tosc_env.make_objectives`), by default those of its registered name, or else the task alone.

    Example:
        >>> from torch import nn
        >>> class Tiny(PrivacyScheme):
        ...     def __init__(self, spec):
        ...         super().__init__(spec)
        ...         self.encoder = nn.Linear(math.prod(spec.image_shape), 2 * spec.num_symbols)
        ...         self.decoder = nn.Linear(2 * spec.num_symbols, spec.num_outputs)
        ...     def encode(self, images, context):
        ...         return self.encoder(images.flatten(1))
        ...     def decode(self, received, csi, context):
        ...         return self.decoder(received)
        >>> check_scheme(Tiny(SystemSpec((3, 8, 8), 4, num_symbols=16)))
    """
    given = Subject(obj, laws.subject(obj, PrivacyScheme, "scheme"), device, seed)
    with given.step("making a pipeline of it"):
        scheme = as_pipeline(given.obj)
    _check_bits(given, scheme)
    for name, channel in channels_for(scheme.spec).items():
        with given.step("making a game for it"):
            game = noise_game(scheme, channel, device)
        check = _Check(scheme, game, seed, f"{given.who} over {name}")
        with check.state_unchanged():
            check.check_messages()
            check.check_memory()
            check.check_any_reception()
        check.check_training(objectives)
    _Check(scheme, game, seed, given.who).check_checkpoint()


class _Check(Ends):
    """The laws of one scheme in one game."""

    methods = ("encode", "decode")

    def __init__(self, scheme: Pipeline, game: Game, seed: int, who: str) -> None:
        super().__init__(scheme, who, game.device, seed)
        self.game, self.width = game, scheme.spec.num_outputs

    def round(self, count: int) -> Round:
        """The same for the same count."""
        return self.game.draw(count, generator=laws.generator(self.seed, self.device))

    def given(self, count: int) -> Tensor:
        return self.round(count).batch.images

    def context(self, count: int, later: int = 0) -> Context:
        return context_of(self.game, self.round(count), self.seed + later)

    def transmit(self, sent: Tensor) -> tuple[Tensor, Tensor]:
        reception = self.game.transmit(self.round(len(sent)), sent).receiver
        return reception.received, reception.csi

    def agree(self, one: Tensor, other: Tensor, tolerance: float) -> bool:
        """Agreement up to rounding; of a discrete scheme, a symbol on a decision boundary may tip over."""
        if self.obj.constellation is None:
            return laws.same(one, other, tolerance)
        return float(((one - other).abs() > tolerance).float().mean()) <= 0.02

    def check_memory(self) -> None:
        """Require that the symbols a pipeline remembers are those that the scheme would give again."""
        round_, context = self.round(7), self.context(7)
        symbols = self.send(round_.batch.images, context)
        if not self.obj.stochastic:
            other = self.context(7, later=1)
            other = replace(other, snr_db=other.snr_db - 5.0, message=other.message + 1, environment=7)
            alike = laws.same(self.send(round_.batch.images, other), symbols)
            self.require(alike, "encode reads nothing of its context, it seemed, and yet differs in another.")
        for _ in range(2):
            with self.step("sending images of a source"):
                sent = self.obj.send(self.game.source, round_.batch.index, self.context(7))
            alike = self.agree(sent, symbols, laws.ROUNDING)
            self.require(alike, "encode, given the same images and nothing else, gives other symbols.")

    def check_training(self, objectives: Any) -> None:
        """Require that the loss of its training reaches every parameter."""
        game, round_ = self.game, self.round(16)
        trained = Subject(self.obj, self.who, self.device).obj.train()
        learning = {n.removeprefix("backbone."): p for n, p in trained.named_parameters() if p.requires_grad}
        if not learning:
            return
        sent: list[Transmission] = []

        def transmit(symbols: Tensor) -> Transmission:
            sent.append(game.transmit(round_, symbols))
            return sent[-1]

        with torch.enable_grad(), torch.random.fork_rng():
            with self.step("forward"):
                trial = trained(round_.batch.images, self.context(16), transmit)
            self.require(len(sent) == 1, f"forward must send its symbols once, not {len(sent)} times.")
            self.check_trial(trial)
            usual = defaults_of(trained.name).objectives if trained.name in schemes else ("task",)
            loss = torch.zeros((), device=game.device)
            with self.step("the loss of its training"):
                for objective in make_objectives(usual if objectives is None else objectives, trained.spec):
                    objective.to(game.device).prepare(game)
                    objective.begin(trained, "system", 0, 1)
                    loss, _ = objective.loss(loss, trial, round_, game.task)
                loss.backward()
        self.loss(loss)
        self.gradients("the loss sends", {f"the parameter {name!r}": p for name, p in learning.items()})
        moved = any(bool((p.grad != 0).any()) for p in learning.values())  # type: ignore[union-attr]
        self.require(moved, "the gradient of the loss is zero everywhere.")

    def check_trial(self, trial: object) -> None:
        """Check what ``forward`` returns for 16 images."""
        if not isinstance(trial, Trial):
            kind = type(trial).__name__
            raise AssertionError(f"{self.who}: forward must return a tosc_env.Trial, not a {kind}.")
        spec, what = self.obj.spec, "what forward returns for 16 images"
        self.tensor(trial.logits, (16, spec.num_outputs), f"{what}, logits,")
        self.tensor(trial.eavesdropped, (16, 2 * spec.num_symbols), f"{what}, eavesdropped,")
        sent = isinstance(trial.transmission, Transmission)
        self.require(sent, f"{what}: transmission must be what ``transmit`` returned.")
        rows = isinstance(trial.features, Tensor) and len(trial.features) == 16
        self.require(rows, f"{what}: features must be a tensor with a row per image.")
        if trial.rate is not None:
            with self.step(f"{what}, rate,"):
                self.tensor(trial.rate(), (), f"{what}, rate,")
        if trial.quantised is not None:
            features, chosen = trial.quantised
            self.tensor(chosen, tuple(features.shape), f"{what}, the chosen codewords,")
        self.figures(trial.figures, f"{what}: ")

    def check_checkpoint(self) -> None:
        """Require that options, stages and state dictionary make the same scheme again, but for its key."""
        scheme, registered = self.obj, self.obj.name in schemes
        added = self.plain([stage.plain() for stage in scheme.added])
        spec = SystemSpec.from_plain(scheme.spec.plain())

        def make(options: dict[str, Any]) -> Pipeline:
            if registered:
                return make_scheme(scheme.name, spec, stages=added, **options)
            return as_pipeline(type(scheme.backbone)(spec, **options)).with_stages(added)

        made = self.rebuilt(make)
        kind, found = type(scheme.backbone), type(made.backbone)
        self.require(found is kind, f"{scheme.name!r} builds a {found.__name__}, not a {kind.__name__}.")
        if registered:
            has, wanted = (self.plain(one.composition) for one in (made, scheme))
            self.require(has == wanted, f"rebuilt from its options, it is {has} and not {wanted}.")
        for name, value in scheme.state_dict().items():
            self.require(isinstance(value, Tensor), f"{name!r} in the state dictionary must be a tensor.")
        self.load_into(made)
        other = _Check(made, self.game, self.seed, self.who)
        first, second = (one.send(one.given(2), one.context(2)) for one in (self, other))
        if scheme.keyed:
            other_key = not laws.same(first, second, 1e-5)
            self.require(other_key, "its key is in its options, its state dictionary or the code.")
            (sent, answer), (sent_too, answer_too) = self.without_key(first), other.without_key(second)
            alike = laws.same(sent, sent_too, 1e-5)
            # Noise that is added under a key is another noise after another key is undone.
            if not any(stage.stochastic and not stage.keyed for stage in scheme.stages):
                alike = alike and laws.same(answer, answer_too, laws.ROUNDING)
        else:
            received, csi = self.transmit(first)
            answer, answer_too = (one.receive(received, csi, one.context(2)) for one in (self, other))
            alike = laws.same(first, second, 1e-5) and laws.same(answer, answer_too, 1e-5)
        told = "something that matters is neither an option nor in the state dictionary (register it as a buffer)."
        self.require(alike, f"rebuilt, it answers differently: {told}")

    def without_key(self, symbols: Tensor) -> tuple[Tensor, Tensor]:
        """What is sent without the key, and the answer to what was sent with it."""
        context = self.context(2)
        with torch.no_grad(), self.step("sending without its key"):
            encoded = self.obj.backbone.encode(self.given(2), context)
            unkeyed = self.obj.protect(encoded, context, keyed=False)
        # Without noise, which another key would turn into other noise.
        clear, csi = self.game.normalise(symbols), self.transmit(symbols)[1]
        return unkeyed, self.receive(clear, csi, self.context(2))


def _check_bits(given: Subject, scheme: Pipeline) -> None:
    constellation = scheme.constellation
    with given.step("bits"):
        bits = scheme.bits
    if bits is None:
        given.require(constellation is None, f"it is discrete ({constellation}), so bits must be a number.")
        return
    positive = isinstance(bits, (int, float)) and math.isfinite(bits) and bits > 0
    given.require(positive, f"bits must be None or a positive number, not {bits!r}.")
    if constellation is not None:
        with given.step(f"looking up the constellation {constellation!r}"):
            most = scheme.spec.num_symbols * math.log2(len(constellation_points(constellation)))
        given.require(bits <= most + 1e-6, f"bits is {bits:g}, but its symbols can carry {most:g} at most.")

"""The laws of a privacy scheme."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tosc_env.devices import resolve_device
from tosc_env.game import Game
from tosc_env.modulation import constellation_points
from tosc_env.pipeline import Pipeline, as_pipeline, make_scheme
from tosc_env.schemes import PrivacyScheme, Trial, defaults_of, make_objectives, schemes
from tosc_env.testing import laws
from tosc_env.testing.ends import Ends
from tosc_env.testing.games import channels_for, context_of, noise_game
from tosc_env.testing.laws import fail
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

    Checked over AWGN and, where ``spec.num_csi`` is that of block fading, Rayleigh.

    Args:
        obj: the scheme (or a pipeline), trained or not; it is copied.
        objectives: of its training (:func:`~tosc_env.make_objectives`); by default those of its registered name, or
            else the task alone.

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
    who = laws.subject(obj, PrivacyScheme, "scheme")
    with laws.step(f"making a pipeline of {who}"):
        scheme = as_pipeline(laws.duplicate(obj, who)).to(resolve_device(device)).eval()
    _check_bits(scheme, who)
    for name, channel in channels_for(scheme.spec).items():
        with laws.step(f"making a game for {who}"):
            game = noise_game(scheme, channel, device)
        check = _Check(scheme, game, seed, f"{who} over {name}")
        with laws.state_unchanged(scheme, check.who):
            check.check_messages()
            check.check_memory()
            check.check_any_reception()
        check.check_training(objectives)
    _check_checkpoint(scheme, game, seed, who)


class _Check(Ends):
    """The laws of one scheme in one game."""

    methods = ("encode", "decode")

    def __init__(self, scheme: Pipeline, game: Game, seed: int, who: str) -> None:
        super().__init__(scheme, game.device, seed, who)
        self.scheme, self.game = scheme, game

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

    def width(self) -> int:
        return self.spec.num_outputs

    def agree(self, one: Tensor, other: Tensor, tolerance: float) -> bool:
        """Agreement up to rounding; of a discrete scheme, a symbol on a decision boundary may tip over."""
        if self.scheme.constellation is None:
            return laws.same(one, other, tolerance)
        return float(((one - other).abs() > tolerance).float().mean()) <= 0.02

    def check_memory(self) -> None:
        """Require that the symbols a pipeline remembers are those that the scheme would give again."""
        round_, context = self.round(7), self.context(7)
        symbols = self.send(round_.batch.images, context)
        if not self.scheme.stochastic:
            other = self.context(7, later=1)
            other = replace(other, snr_db=other.snr_db - 5.0, message=other.message + 1, environment=7)
            if not laws.same(self.send(round_.batch.images, other), symbols):
                fail(
                    f"{self.who}: encode reads nothing of its context, it seemed, and yet differs in another one."
                )
        for _ in range(2):
            with laws.step(f"{self.who}: sending images of a source"):
                sent = self.scheme.send(self.game.source, round_.batch.index, self.context(7))
            if not self.agree(sent, symbols, laws.ROUNDING):
                fail(
                    f"{self.who}: encode, given the same images and nothing else, gives other symbols than before."
                )

    def check_training(self, objectives: Any) -> None:
        """Require that the loss of its training reaches every parameter."""
        who, game = self.who, self.game
        trained = laws.duplicate(self.scheme, who).train()
        learning = {n.removeprefix("backbone."): p for n, p in trained.named_parameters() if p.requires_grad}
        if not learning:
            return
        round_ = self.round(16)
        sent: list[Transmission] = []

        def transmit(symbols: Tensor) -> Transmission:
            sent.append(game.transmit(round_, symbols))
            return sent[-1]

        with torch.enable_grad(), torch.random.fork_rng():
            with laws.step(f"{who}: forward"):
                trial = trained(round_.batch.images, self.context(16), transmit)
            laws.require(len(sent) == 1, f"{who}: forward must send its symbols once, not {len(sent)} times.")
            _check_trial(trial, trained.spec, who)
            usual = defaults_of(trained.name).objectives if trained.name in schemes else ("task",)
            loss = torch.zeros((), device=game.device)
            with laws.step(f"{who}: the loss of its training"):
                for objective in make_objectives(usual if objectives is None else objectives, trained.spec):
                    objective.to(game.device).prepare(game)
                    objective.begin(trained, "system", 0, 1)
                    loss, _ = objective.loss(loss, trial, round_, game.task)
                loss.backward()
        laws.require_loss(loss, who)
        laws.require_gradients(
            f"{who}: the loss (set requires_grad = False where it is not meant to train) sends",
            {f"the parameter {name!r}": parameter for name, parameter in learning.items()},
        )
        if not any(bool((p.grad != 0).any()) for p in learning.values()):  # type: ignore[union-attr]
            fail(f"{who}: the gradient of the loss is zero everywhere.")


def _check_trial(trial: object, spec: SystemSpec, who: str) -> None:
    """Check the return value of ``forward``."""
    if not isinstance(trial, Trial):
        raise AssertionError(f"{who}: forward must return a tosc_env.Trial, not a {type(trial).__name__}.")
    what = f"{who}: what forward returns for 16 images"
    laws.require_tensor(trial.logits, (16, spec.num_outputs), f"{what}, logits,")
    laws.require_tensor(trial.eavesdropped, (16, 2 * spec.num_symbols), f"{what}, eavesdropped,")
    if not isinstance(trial.transmission, Transmission):
        fail(f"{what}: transmission must be what ``transmit`` returned.")
    if not (isinstance(trial.features, Tensor) and len(trial.features) == 16):
        fail(f"{what}: features must be a tensor with a row per image.")
    if trial.rate is not None:
        with laws.step(f"{what}, rate,"):
            laws.require_tensor(trial.rate(), (), f"{what}, rate,")
    if trial.quantised is not None:
        features, chosen = trial.quantised
        laws.require_tensor(chosen, tuple(features.shape), f"{what}, the chosen codewords,")
    laws.require_figures(trial.figures, what)


def _check_bits(scheme: Pipeline, who: str) -> None:
    with laws.step(f"{who}: bits"):
        bits = scheme.bits
    if bits is None:
        if scheme.constellation is not None:
            fail(f"{who} is discrete ({scheme.constellation}), so bits must be a number.")
        return
    if not (isinstance(bits, (int, float)) and math.isfinite(bits) and bits > 0):
        fail(f"{who}: bits must be None or a positive number, not {bits!r}.")
    if scheme.constellation is not None:
        with laws.step(f"looking up the constellation {scheme.constellation!r} of {who}"):
            most = scheme.spec.num_symbols * math.log2(len(constellation_points(scheme.constellation)))
        if bits > most + 1e-6:
            fail(f"{who}: bits is {bits:g}, but its symbols can carry {most:g} at most.")


def _check_checkpoint(scheme: Pipeline, game: Game, seed: int, who: str) -> None:
    added = laws.require_plain([stage.plain() for stage in scheme.added], who)
    spec = SystemSpec.from_plain(scheme.spec.plain())

    def make(options: dict[str, Any]) -> Pipeline:
        if scheme.name in schemes:
            return make_scheme(scheme.name, spec, stages=added, **options)
        return as_pipeline(type(scheme.backbone)(spec, **options)).with_stages(added)

    made = laws.rebuilt(scheme, who, make)
    if type(made.backbone) is not type(scheme.backbone):
        fail(
            f"the registered scheme {scheme.name!r} builds a {type(made.backbone).__name__}, "
            f"not a {type(scheme.backbone).__name__}."
        )
    if scheme.name in schemes:
        has, wanted = (laws.require_plain(one.composition, who) for one in (made, scheme))
        laws.require(has == wanted, f"{who}, rebuilt from its options, is {has} and not {wanted}.")
    for name, value in scheme.state_dict().items():
        laws.require(isinstance(value, Tensor), f"{who}: {name!r} in the state dictionary must be a tensor.")
    laws.load_state(scheme, made, who)
    both = [_Check(one, game, seed, who) for one in (scheme, made.to(game.device).eval())]
    images = both[0].given(2)
    first, second = (check.send(images, check.context(2)) for check in both)
    if scheme.keyed:
        if laws.same(first, second, 1e-5):
            fail(
                f"{who}, rebuilt from its options and state dictionary, encrypts with the same key; a key belongs in "
                "neither, nor in the code."
            )
        _check_fresh_key(both, [first, second])
        return
    received, csi = both[0].transmit(first)
    answer, again = (check.receive(received, csi, check.context(2)) for check in both)
    laws.require(laws.same(first, second, 1e-5) and laws.same(answer, again, 1e-5), _differs(who))


def _check_fresh_key(both: list[_Check], sent: list[Tensor]) -> None:
    """Require that a scheme rebuilt without its key has another one, and is the same but for that."""
    plain, answers = [], []
    for check, symbols in zip(both, sent, strict=True):
        context = check.context(2)
        with torch.no_grad(), laws.step(f"{check.who}, without its key,"):
            encoded = check.scheme.backbone.encode(check.given(2), context)
            plain.append(check.scheme.protect(encoded, context, keyed=False))
        # Without noise, which another key would turn into other noise.
        clear, csi = check.game.normalise(symbols), check.transmit(symbols)[1]
        answers.append(check.receive(clear, csi, check.context(2)))
    laws.require(laws.same(plain[0], plain[1], 1e-5), _differs(both[0].who))
    # Noise that is added under a key is another noise after another key is undone.
    if not any(stage.stochastic and not stage.keyed for stage in both[0].scheme.stages):
        laws.require(laws.same(answers[0], answers[1], laws.ROUNDING), _differs(both[0].who))


def _differs(who: str) -> str:
    return (
        f"{who}, rebuilt from its options and state dictionary, answers differently: something that "
        "matters is neither an option nor in the state dictionary (register it as a buffer)."
    )

"""The laws of a privacy scheme."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tosc_env.devices import resolve_device
from tosc_env.game import Game
from tosc_env.pipeline import Pipeline, as_pipeline, make_scheme
from tosc_env.schemes import PrivacyScheme, Trial, defaults_of, make_objectives, schemes
from tosc_env.testing.games import channels_for, noise_source
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
from tosc_env.types import Context, Round, SystemSpec, Transmission

_TOLERANCE = 1e-3
"""Relative difference allowed between a row alone and in a batch: other batch sizes sum in another order."""


def check_scheme(
    obj: PrivacyScheme,
    *,
    objectives: Any = None,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> None:
    """Check a :class:`~tosc_env.PrivacyScheme`: shapes, randomness, power, training, checkpoints.

    The laws, for a scheme in eval mode: ``encode`` gives finite float32 symbols [B, 2n] that the game accepts
    (of a discrete scheme, points of its constellation) and ``decode`` finite logits [B, K] for any SNR and
    reception; both depend on nothing but their arguments, row by row, on no global random stream, and
    change nothing. What ``encode`` gives without reading its context is the same each time, so that what a
    :class:`~tosc_env.Pipeline` remembers of it is what it would give again. ``bits`` is true. In training,
    ``forward`` sends once, and its :class:`~tosc_env.Trial` is whole; what it is trained for sends a gradient
    through the game's channel to every parameter that requires one. Options are plain values that rebuild the
    scheme, by its name if it is registered, and with the plain values of its added stages the same composition;
    its state dictionary then gives the same answers. A scheme with keyed stages is rebuilt with a key of its
    own, as the key is in none of these, and agrees in what it does besides.

    Checked over AWGN and, where the CSI of ``spec.num_csi`` numbers is that of block fading, Rayleigh.

    Args:
        obj: the scheme (or a pipeline), trained or not; it is copied and left as it is.
        objectives: what it is trained for (:func:`~tosc_env.make_objectives`); by default what its registered
            name stands for, or else the task alone.
        device: where to run it.
        seed: of the random images, channels and receptions.

    Raises:
        AssertionError: a law is broken; the sentence says which.

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
    require(
        isinstance(obj, PrivacyScheme),
        f"a scheme must derive from tosc_env.PrivacyScheme, and {type(obj).__name__} does not.",
    )
    who = f"the scheme {obj.name or type(obj).__name__}"
    require(
        isinstance(obj.spec, SystemSpec),
        f"the spec of {who} must be a SystemSpec; call super().__init__(spec).",
    )
    with step(f"making a pipeline of {who}"):
        scheme = as_pipeline(duplicate(obj, who)).to(resolve_device(device)).eval()
    _check_bits(scheme, who)
    for name, channel in channels_for(scheme.spec).items():
        with step(f"making a game for {who}"):
            game = Game(
                noise_source(scheme.spec, device),
                channel=channel,
                num_symbols=scheme.spec.num_symbols,
                constellation=scheme.constellation,
            )
        where = f"{who} over {name}"
        before = {
            key: value.clone() for key, value in scheme.state_dict().items() if isinstance(value, Tensor)
        }
        for batch_size in BATCH_SIZES:
            _check_messages(scheme, game, batch_size, seed, where)
        _check_rows(scheme, game, seed, where)
        _check_memory(scheme, game, seed, where)
        _check_any_reception(scheme, game, seed, where)
        after = scheme.state_dict()
        require(
            all(torch.equal(value, after[key]) for key, value in before.items()),
            f"{where} changes its state in eval mode; what one message does must not move the next.",
        )
        _check_training(scheme, game, objectives, seed, where)
    _check_checkpoint(scheme, game, seed, who)


def _context(game: Game, round_: Round, seed: int) -> Context:
    return Context(round_.snr_db, round_.message, 0, generator(seed, game.device))


def _part(context: Context, rows: slice, seed: int) -> Context:
    stream = generator(seed, context.snr_db.device)
    return replace(context, snr_db=context.snr_db[rows], message=context.message[rows], generator=stream)


def _encode(scheme: Pipeline, images: Tensor, context: Context, who: str) -> Tensor:
    given = images.clone()
    with torch.no_grad(), global_streams_untouched(f"{who}, encode in eval mode,"), step(f"{who}, encode,"):
        symbols = scheme.encode(images, context)
    require(torch.equal(images, given), f"{who}: encode writes into the images it is given.")
    return require_tensor(
        symbols,
        (len(images), 2 * scheme.spec.num_symbols),
        f"{who}: what encode returns for {len(images)} images",
    )


def _decode(scheme: Pipeline, received: Tensor, csi: Tensor, context: Context, who: str) -> Tensor:
    given = received.clone(), csi.clone()
    with torch.no_grad(), global_streams_untouched(f"{who}, decode in eval mode,"), step(f"{who}, decode,"):
        logits = scheme.decode(received, csi, context)
    require(
        torch.equal(received, given[0]) and torch.equal(csi, given[1]),
        f"{who}: decode writes into the tensors it is given.",
    )
    return require_tensor(
        logits,
        (len(received), scheme.spec.num_outputs),
        f"{who}: what decode returns for {len(received)} messages",
    )


def _check_messages(scheme: Pipeline, game: Game, batch_size: int, seed: int, who: str) -> None:
    round_ = game.draw(batch_size, generator=generator(seed, game.device))
    symbols = _encode(scheme, round_.batch.images, _context(game, round_, seed), who)
    with step(f"{who}: sending the encoded symbols"):
        sent = game.transmit(round_, symbols)
    reception = sent.receiver
    logits = _decode(scheme, reception.received, reception.csi, _context(game, round_, seed), who)
    require(logits.device == symbols.device == game.device, f"{who}: outputs must be on {game.device}.")
    again = _encode(scheme, round_.batch.images, _context(game, round_, seed), who)
    require(
        same(again, symbols),
        f"{who}: encode gives other symbols for the same images, context and generator state.",
    )
    # Other images were encoded last: a scheme that remembers them would decode by memory, not by reception.
    _encode(scheme, round_.batch.images.flip(3), _context(game, round_, seed), who)
    later = _decode(scheme, reception.received, reception.csi, _context(game, round_, seed), who)
    require(same(later, logits), f"{who}: decode depends on something else than reception, CSI and context.")


def _check_rows(scheme: Pipeline, game: Game, seed: int, who: str) -> None:
    round_ = game.draw(7, generator=generator(seed, game.device))
    context = _context(game, round_, seed)
    symbols = _encode(scheme, round_.batch.images, context, who)
    reception = game.transmit(round_, symbols).receiver
    logits = _decode(scheme, reception.received, reception.csi, context, who)
    drawn = not torch.equal(context.generator.get_state(), generator(seed, game.device).get_state())  # type: ignore[union-attr]
    for row in range(7):
        part = slice(row, row + 1)
        if not drawn:
            alone = _encode(scheme, round_.batch.images[part], _part(context, part, seed), who)
            require(
                _nearly(alone, symbols[part], scheme.constellation is not None),
                f"{who}: encode gives an image alone other symbols than in a batch; rows must not depend on "
                "one another (batch statistics in eval mode, for instance).",
            )
        alone = _decode(
            scheme, reception.received[part], reception.csi[part], _part(context, part, seed), who
        )
        require(
            same(alone, logits[part], _TOLERANCE),
            f"{who}: decode gives a message alone other logits than in a batch; rows must not depend on "
            "one another.",
        )


def _check_memory(scheme: Pipeline, game: Game, seed: int, who: str) -> None:
    """What a pipeline remembers of the scheme is what it would give again."""
    round_ = game.draw(7, generator=generator(seed, game.device))
    symbols = _encode(scheme, round_.batch.images, _context(game, round_, seed), who)
    if not scheme.stochastic:
        told = _context(game, round_, seed + 1)
        told = replace(told, snr_db=told.snr_db - 5.0, message=told.message + 1, environment=7)
        require(
            same(_encode(scheme, round_.batch.images, told, who), symbols),
            f"{who}: encode reads nothing of its context, it seemed, and yet gives other symbols in another one.",
        )
    with step(f"{who}: sending images of a source"):
        remembered = [
            scheme.send(game.source, round_.batch.index, _context(game, round_, seed)) for _ in range(2)
        ]
    require(
        all(_nearly(sent, symbols, scheme.constellation is not None) for sent in remembered),
        f"{who}: encode, asked for the same images and nothing else, does not give the same symbols again.",
    )


def _nearly(a: Tensor, b: Tensor, discrete: bool) -> bool:
    """Agreement up to rounding; of a discrete scheme, a symbol on a decision boundary may tip over."""
    if not discrete:
        return same(a, b, _TOLERANCE)
    return float(((a - b).abs() > _TOLERANCE).float().mean()) <= 0.02


def _check_any_reception(scheme: Pipeline, game: Game, seed: int, who: str) -> None:
    round_ = game.draw(3, generator=generator(seed, game.device))
    context = _context(game, round_, seed)
    noise = torch.randn(3, 2 * game.num_symbols, generator=generator(seed)).to(game.device)
    csi = game.channel.csi(round_.links.receiver, round_.snr_db)
    for level, scale in ((-30.0, 30.0), (0.0, 1.0), (12.0, 0.0), (100.0, 1.0), (12.0, 1e4)):
        csi = torch.cat([torch.full_like(csi[:, :1], level), csi[:, 1:]], dim=1)
        told = replace(context, snr_db=csi[:, 0])
        _decode(scheme, scale * noise, csi, told, f"{who} (received times {scale:g}, SNR {level:g} dB)")


def _check_training(scheme: Pipeline, game: Game, objectives: Any, seed: int, who: str) -> None:
    trained = duplicate(scheme, who).train()
    parameters = {n.removeprefix("backbone."): p for n, p in trained.named_parameters() if p.requires_grad}
    if not parameters:
        return
    round_ = game.draw(16, generator=generator(seed, game.device))
    sent: list[Transmission] = []

    def air(symbols: Tensor) -> Transmission:
        sent.append(game.transmit(round_, symbols))
        return sent[-1]

    with torch.enable_grad(), torch.random.fork_rng():
        with step(f"{who}: forward"):
            trial = trained(round_.batch.images, _context(game, round_, seed), air)
        require(len(sent) == 1, f"{who}: forward must send its symbols once, not {len(sent)} times.")
        _check_trial(trial, trained.spec, who)
        usual = defaults_of(scheme.name).objectives if scheme.name in schemes else ("task",)
        loss = torch.zeros((), device=game.device)
        with step(f"{who}: the loss of its training"):
            for objective in make_objectives(usual if objectives is None else objectives, scheme.spec):
                objective.to(game.device).begin(trained, "system", 0, 1)
                loss, _ = objective.loss(loss, trial, round_, game.task)
            loss.backward()
    require(
        loss.dim() == 0 and bool(torch.isfinite(loss)),
        f"{who}: the loss must be one finite number, not {loss}.",
    )
    for name, parameter in parameters.items():
        if parameter.requires_grad:
            require(
                parameter.grad is not None,
                f"{who}: the loss sends no gradient to the parameter {name!r}; something detaches it, or it "
                "is not used (set requires_grad = False if the loss is not meant to train it).",
            )
            require(
                parameter.grad is not None and bool(torch.isfinite(parameter.grad).all()),
                f"{who}: the gradient of the parameter {name!r} is not finite.",
            )
    require(
        any(p.grad is not None and bool((p.grad != 0).any()) for p in parameters.values()),
        f"{who}: the gradient of the loss is zero everywhere.",
    )


def _check_trial(trial: object, spec: SystemSpec, who: str) -> None:
    """What ``forward`` returns, for objectives to judge."""
    if not isinstance(trial, Trial):
        raise AssertionError(f"{who}: forward must return a tosc_env.Trial, not a {type(trial).__name__}.")
    what = f"{who}: what forward returns for 16 images"
    require_tensor(trial.logits, (16, spec.num_outputs), f"{what}, logits,")
    require_tensor(trial.eavesdropped, (16, 2 * spec.num_symbols), f"{what}, eavesdropped,")
    require(
        isinstance(trial.transmission, Transmission), f"{what}: transmission must be what ``air`` returned."
    )
    require(
        isinstance(trial.features, Tensor) and len(trial.features) == 16,
        f"{what}: features must be a tensor with a row per image.",
    )
    if trial.rate is not None:
        with step(f"{what}, rate,"):
            require_tensor(trial.rate(), (), f"{what}, rate,")
    if trial.quantised is not None:
        features, chosen = trial.quantised
        require_tensor(chosen, tuple(features.shape), f"{what}, the chosen codewords,")
    for name, value in trial.figures.items():
        require(
            isinstance(value, Tensor) and not value.requires_grad and value.dim() == 0,
            f"{what}: the figure {name!r} must be a detached scalar tensor.",
        )


def _check_bits(scheme: Pipeline, who: str) -> None:
    with step(f"{who}: bits"):
        bits = scheme.bits
    if bits is None:
        require(
            scheme.constellation is None,
            f"{who} is discrete ({scheme.constellation}), so bits must be a number.",
        )
        return
    require(
        isinstance(bits, (int, float)) and math.isfinite(bits) and bits > 0,
        f"{who}: bits must be None or a positive number, not {bits!r}.",
    )
    if scheme.constellation is not None:
        from tosc_env.modulation import constellation_points

        with step(f"looking up the constellation {scheme.constellation!r} of {who}"):
            most = scheme.spec.num_symbols * math.log2(len(constellation_points(scheme.constellation)))
        require(bits <= most + 1e-6, f"{who}: bits is {bits:g}, but its symbols can carry {most:g} at most.")


def _check_checkpoint(scheme: Pipeline, game: Game, seed: int, who: str) -> None:
    options = require_plain(scheme.options, who)
    added = require_plain([stage.plain() for stage in scheme.added], who)
    spec = SystemSpec.from_plain(scheme.spec.plain())
    with step(f"rebuilding {who} from its spec and its options {options}"), torch.random.fork_rng():
        if scheme.name in schemes:
            rebuilt = make_scheme(scheme.name, spec, stages=added, **options)
        else:
            rebuilt = as_pipeline(type(scheme.backbone)(spec, **options)).with_stages(added)
    require(
        type(rebuilt.backbone) is type(scheme.backbone),
        f"the registered scheme {scheme.name!r} builds a {type(rebuilt.backbone).__name__}, "
        f"not a {type(scheme.backbone).__name__}.",
    )
    if scheme.name in schemes:
        has, wanted = (require_plain(one.composition, who) for one in (rebuilt, scheme))
        require(has == wanted, f"{who}, rebuilt from its options {options}, is {has} and not {wanted}.")
    state = scheme.state_dict()
    for name, value in state.items():
        require(isinstance(value, Tensor), f"{who}: {name!r} in the state dictionary must be a tensor.")
    with step(f"loading the state of {who} into one rebuilt from its options"):
        rebuilt.load_state_dict(state)
    rebuilt = rebuilt.to(game.device).eval()
    round_ = game.draw(2, generator=generator(seed, game.device))
    pair = [_encode(s, round_.batch.images, _context(game, round_, seed), who) for s in (scheme, rebuilt)]
    if scheme.keyed:
        _check_fresh_key(scheme, rebuilt, pair, game, seed, who)
        return
    reception = game.transmit(round_, pair[0]).receiver
    answers = [
        _decode(s, reception.received, reception.csi, _context(game, round_, seed), who)
        for s in (scheme, rebuilt)
    ]
    require(same(pair[0], pair[1], 1e-5) and same(answers[0], answers[1], 1e-5), _differs(who))


def _check_fresh_key(
    scheme: Pipeline, rebuilt: Pipeline, sent: list[Tensor], game: Game, seed: int, who: str
) -> None:
    """A scheme that is rebuilt without its key has another one, and is the same but for that."""
    require(
        not same(sent[0], sent[1], 1e-5),
        f"{who}, rebuilt from its options and state dictionary, encrypts with the same key; a key belongs in "
        "neither, nor in the code.",
    )
    round_ = game.draw(2, generator=generator(seed, game.device))
    csi = game.channel.csi(round_.links.receiver, round_.snr_db)
    plain, answers = [], []
    for one, symbols in zip((scheme, rebuilt), sent, strict=True):
        with torch.no_grad(), step(f"{who}, without its key,"):
            context = _context(game, round_, seed)
            bare = one.backbone.encode(round_.batch.images, context)
            plain.append(one.protect(bare, context, keyed=False))
        # Without noise, which another key would turn into other noise.
        clear = game.normalise(symbols)
        answers.append(_decode(one, clear, csi, _context(game, round_, seed), who))
    require(same(plain[0], plain[1], 1e-5), _differs(who))
    # Noise that is added under a key is another noise to whoever undoes another key.
    if not any(stage.stochastic and not stage.keyed for stage in scheme.stages):
        require(same(answers[0], answers[1], _TOLERANCE), _differs(who))


def _differs(who: str) -> str:
    return (
        f"{who}, rebuilt from its options and state dictionary, answers differently: something that "
        "matters is neither an option nor in the state dictionary (register it as a buffer)."
    )

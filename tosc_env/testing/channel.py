"""The laws of a wiretap channel."""

from __future__ import annotations

import math
from dataclasses import fields
from itertools import pairwise

import torch
from torch import Tensor

from tosc_env.channels import Channel
from tosc_env.testing.laws import (
    BATCH_SIZES,
    duplicate,
    generator,
    global_streams_untouched,
    require,
    require_tensor,
    same,
    step,
)
from tosc_env.types import Link, Links

_ROWS = 2048
_SIDES = ("receiver", "eavesdropper")


def check_channel(obj: Channel, num_symbols: int = 64) -> None:
    """Check a :class:`~tosc_env.Channel`: randomness, shapes, gradients, and its physics.

    The laws: all randomness comes from the generator given to ``draw``, and how much of it does not depend
    on ``restart`` or ``previous``; rows do not touch one another; symbols get a gradient; noise has the
    power N0 and the gain E|h|^2 = 1 (measured with the equaliser off, within five standard errors);
    receiver and eavesdropper have noise of their own; a lower SNR is worse; CSI begins with the SNR.

    Args:
        obj: the channel; it is copied and left as it is.
        num_symbols: n, the channel uses of the messages to check with.

    Raises:
        AssertionError: a law is broken; the sentence says which.

    Example:
        >>> from tosc_env.channels.flat import Rayleigh
        >>> check_channel(Rayleigh(coherence=16), num_symbols=32)
    """
    require(
        isinstance(obj, Channel),
        f"a channel must derive from tosc_env.Channel, and {type(obj).__name__} does not.",
    )
    who = f"the channel {type(obj).__name__}"
    channel = duplicate(obj, who)
    with step(f"{who}.check({num_symbols})"):
        channel.check(num_symbols)
    _check_draw(channel, num_symbols, who)
    _check_restart(channel, num_symbols, who)
    for batch_size in BATCH_SIZES:
        _check_shapes(channel, num_symbols, batch_size, who)
    _check_rows(channel, num_symbols, who)
    _check_gradient(channel, num_symbols, who)
    _check_physics(channel, num_symbols, who)


def _draw(channel: Channel, batch_size: int, n: int, stream: torch.Generator, who: str, **more) -> Links:
    with step(f"{who}.draw"):
        links = channel.draw(batch_size, n, generator=stream, **more)
    require(isinstance(links, Links), f"{who}.draw must return Links, not {type(links).__name__}.")
    return links


def _symbols(batch_size: int, n: int, seed: int = 0) -> Tensor:
    """QPSK: every symbol has exactly unit energy."""
    bits = torch.randint(0, 2, (batch_size, n, 2), generator=generator(seed)).float() * 2 - 1
    return torch.view_as_complex(bits / math.sqrt(2))


def _tensors(links: Links) -> dict[str, Tensor]:
    found = {
        f"{side} {f.name}": getattr(getattr(links, side), f.name) for side in _SIDES for f in fields(Link)
    }
    return {**found, "age": links.age}


def _equal(a: Links, b: Links, rows: Tensor | slice = slice(None)) -> bool:
    ours, theirs = _tensors(a), _tensors(b)
    return all(torch.equal(ours[name][rows], theirs[name][rows]) for name in ours)


def _check_draw(channel: Channel, n: int, who: str) -> None:
    with global_streams_untouched(f"{who}.draw"):
        first = _draw(channel, 7, n, generator(1), who)
    require(
        _equal(first, _draw(channel, 7, n, generator(1), who)),
        f"{who} draws other links from the same generator state; it must depend on nothing else.",
    )
    require(
        not torch.equal(first.receiver.noise, _draw(channel, 7, n, generator(2), who).receiver.noise),
        f"{who} draws the same noise from another seed.",
    )
    copied = duplicate(channel, who)
    require(
        _equal(first, _draw(copied, 7, n, generator(1), who)),
        f"a copy of {who} draws other links from the same generator state.",
    )


def _check_restart(channel: Channel, n: int, who: str) -> None:
    previous = _draw(channel, 6, n, generator(3), who)
    mixed = torch.tensor([True, False, True, False, False, True])
    restarts = {
        "none": None,
        "no row": torch.zeros(6, dtype=torch.bool),
        "some rows": mixed,
        "all rows": mixed | True,
    }
    drawn, states = {}, {}
    for name, restart in restarts.items():
        stream = generator(4)
        drawn[name] = _draw(channel, 6, n, stream, who, previous=previous, restart=restart)
        states[name] = stream.get_state()
    stream = generator(4)
    _draw(channel, 6, n, stream, who)
    states["no previous message"] = stream.get_state()
    for name, state in states.items():
        require(
            torch.equal(state, states["none"]),
            f"{who}.draw takes another amount of random numbers when restarting ({name}); one row's reset "
            "would then move every other row's stream.",
        )
    require(
        _equal(drawn["some rows"], drawn["all rows"], mixed)
        and _equal(drawn["some rows"], drawn["no row"], ~mixed),
        f"{who}.draw gives a row other links when other rows restart.",
    )


def _check_shapes(channel: Channel, n: int, batch_size: int, who: str) -> None:
    links = _draw(channel, batch_size, n, generator(batch_size), who)
    snr_db = torch.linspace(-20.0, 60.0, batch_size)
    for side in _SIDES:
        link = getattr(links, side)
        for symbols in (_symbols(batch_size, n), torch.zeros(batch_size, n, dtype=torch.complex64)):
            before = symbols.clone()
            with global_streams_untouched(f"{who}.apply"), step(f"{who}.apply"):
                received = channel.apply(symbols, link, snr_db)
                again = channel.apply(symbols, link, snr_db)
            require_tensor(received, (batch_size, n), f"what {who}.apply returns", torch.complex64)
            require(torch.equal(symbols, before), f"{who}.apply writes into the symbols it is given.")
            require(
                torch.equal(received, again),
                f"{who}.apply gives two answers to the same link; all randomness belongs into draw.",
            )
        with step(f"{who}.csi"):
            csi, length = channel.csi(link, snr_db), channel.num_csi(n)
        require_tensor(csi, (batch_size, length), f"what {who}.csi returns (num_csi says {length})")
        require(torch.equal(csi[:, 0], snr_db), f"the first number of {who}.csi must be the SNR in dB.")


def _check_rows(channel: Channel, n: int, who: str) -> None:
    links = _draw(channel, 5, n, generator(5), who)
    symbols, snr_db = _symbols(5, n), torch.tensor([0.0, 5.0, 10.0, 15.0, 20.0])
    for side in _SIDES:
        link = getattr(links, side)
        received = channel.apply(symbols, link, snr_db)
        changed = symbols.clone()
        changed[0] = -changed[0]
        others = channel.apply(changed, link, snr_db)[1:]
        require(
            same(others, received[1:], 1e-5),
            f"{who}.apply mixes rows: one message changes what another row receives.",
        )
        for row in range(5):
            part = slice(row, row + 1)
            with step(f"{who}.apply on one row"):
                alone = channel.apply(symbols[part], Link(link.fades[part], link.noise[part]), snr_db[part])
            require(
                same(alone, received[part], 1e-4),
                f"{who}.apply gives a row alone another answer than in a batch.",
            )


def _check_gradient(channel: Channel, n: int, who: str) -> None:
    links = _draw(channel, 4, n, generator(6), who)
    for side in _SIDES:
        symbols = _symbols(4, n).requires_grad_()
        with step(f"the gradient of {who}.apply in the symbols"):
            channel.apply(
                symbols, getattr(links, side), torch.full((4,), 10.0)
            ).abs().square().sum().backward()
        grad = symbols.grad
        require(
            grad is not None
            and bool(torch.isfinite(torch.view_as_real(grad)).all())
            and bool((grad != 0).all()),
            f"{who} gives some symbols of the {side}'s link no finite, non-zero gradient, so no scheme "
            "can be trained through it.",
        )


def _check_physics(channel: Channel, n: int, who: str) -> None:
    links = _draw(channel, _ROWS, n, generator(7), who)
    symbols = _symbols(_ROWS, n)
    bare = duplicate(channel, who)
    bare.equaliser = None  # with it on, h and N0 cannot be seen apart
    for side in _SIDES:
        link = getattr(links, side)
        for level in (0.0, 10.0):
            noise = bare.apply(torch.zeros_like(symbols), link, torch.full((_ROWS,), level))
            noise_power = 10.0 ** (-level / 10.0)
            for part, name in ((noise.real, "real"), (noise.imag, "imaginary")):
                _require_mean(
                    part.square() / (0.5 * noise_power),
                    f"{who} adds noise to the {side}'s link whose {name} part has {{:.3f}} times "
                    f"the power N0/2 at {level:g} dB",
                )
        clear = bare.apply(symbols, link, torch.full((_ROWS,), 80.0))
        _require_mean(
            clear.abs().square(), f"{who} passes {{:.3f}} times the energy to the {side}: E|h|^2 must be 1"
        )
        errors = [
            float((channel.apply(symbols, link, torch.full((_ROWS,), level)) - symbols).abs().square().mean())
            for level in (-5.0, 5.0, 15.0, 25.0)
        ]
        require(
            all(low > high for low, high in pairwise(errors)),
            f"{who} is not worse at a lower SNR: mean square errors {errors} at -5, 5, 15 and 25 dB.",
        )
    silence, at_0_db = torch.zeros_like(symbols), torch.zeros(_ROWS)
    ours, theirs = (bare.apply(silence, getattr(links, side), at_0_db) for side in _SIDES)
    _require_uncorrelated(
        ours, theirs, f"{who} gives receiver and eavesdropper correlated noise; each has its own"
    )
    _require_uncorrelated(ours[1:], ours[:-1], f"{who} gives different rows correlated noise")
    _require_uncorrelated(
        ours, ours.conj(), f"{who} has noise that is not circular: real and imaginary part depend"
    )


def _require_uncorrelated(a: Tensor, b: Tensor, sentence: str) -> None:
    """Require that the complex correlation of two noises is zero, within five standard errors."""
    correlation = float(
        (a.conj() * b).mean().abs() / (a.abs().square().mean() * b.abs().square().mean()).sqrt()
    )
    require(correlation < 5.0 * math.sqrt(2.0 / a.numel()), f"{sentence} (correlation {correlation:.3f}).")


def _require_mean(values: Tensor, sentence: str) -> None:
    """Require that [B, n] values with independent rows have the mean 1, within five standard errors."""
    rows = values.mean(1).double()
    mean, error = float(rows.mean()), float(rows.std() / math.sqrt(len(rows)))
    require(abs(mean - 1.0) < 5.0 * error + 1e-3, f"{sentence.format(mean)} (standard error {error:.4f}).")

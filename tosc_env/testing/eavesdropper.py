"""The laws of an eavesdropper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tosc_env.attackers import Eavesdropper
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
from tosc_env.types import SystemSpec

if TYPE_CHECKING:
    from tosc_env.privacy.view import View


def check_eavesdropper(
    obj: Eavesdropper, view: View | None = None, *, device: torch.device | str = "cpu", seed: int = 0
) -> None:
    """Check an :class:`~tosc_env.Eavesdropper`: what it can do, what it returns, its randomness.

    The laws: it has at least one capability and plain options; ``fit`` draws from the generator it is given
    only and returns plain values; ``reconstruct`` gives images in [0, 1], ``match`` a finite score per
    candidate, ``infer`` finite logits, for any batch size, SNR and finite reception; the same reception gives
    the same answer, whatever else is in its batch; and no global random stream is touched.

    Args:
        obj: the eavesdropper, trained or not; it is copied and left as it is.
        view: what it may learn from. When given, the copy is fitted first.
        device: where to run it.
        seed: of the random receptions and of ``fit``.

    Raises:
        AssertionError: a law is broken; the sentence says which.

    Example:
        >>> from tosc_env import Eavesdropper, SystemSpec
        >>> class Grey(Eavesdropper):
        ...     def fit(self, view, *, generator, progress=None):
        ...         return {}
        ...     def reconstruct(self, received, csi):
        ...         return torch.full((len(received), *self.spec.image_shape), 0.5, device=received.device)
        >>> check_eavesdropper(Grey(SystemSpec((3, 32, 32), 10)))
    """
    require(
        isinstance(obj, Eavesdropper),
        f"an eavesdropper must derive from tosc_env.Eavesdropper, and {type(obj).__name__} does not.",
    )
    who = f"the eavesdropper {obj.name or type(obj).__name__}"
    require(
        isinstance(obj.spec, SystemSpec),
        f"the spec of {who} must be a SystemSpec; call super().__init__(spec).",
    )
    require(obj.capabilities, f"{who} must override at least one of reconstruct, match and infer.")
    require_plain(obj.options, who)
    attacker = duplicate(obj, who).to(device)
    if view is not None:
        _fit(attacker, view, seed, who)
    attacker.eval()
    for batch_size in BATCH_SIZES:
        for level, scale in ((12.0, 1.0), (-30.0, 30.0), (100.0, 0.0), (0.0, 1e4)):
            received, csi = _reception(attacker.spec, batch_size, seed, level, scale, device)
            for capability in attacker.capabilities:
                _check_outputs(attacker, capability, received, csi, who)
    received, csi = _reception(attacker.spec, 5, seed, 12.0, 1.0, device)
    for capability in attacker.capabilities:
        _check_rows(attacker, capability, received, csi, who)


def _fit(attacker: Eavesdropper, view: View, seed: int, who: str) -> None:
    device = next((p.device for p in attacker.parameters()), torch.device("cpu"))
    reports: list[tuple] = []
    with global_streams_untouched(f"{who}.fit"), step(f"{who}.fit"):
        record = attacker.fit(
            view, generator=generator(seed, device), progress=lambda *now: reports.append(now)
        )
    require(isinstance(record, dict), f"{who}.fit must return a dictionary, not {type(record).__name__}.")
    require_plain(record, f"{who}.fit's record")
    for now in reports:
        require(
            len(now) == 3 and isinstance(now[2], dict) and 0 <= now[0] <= now[1],
            f"{who}.fit must call progress(done, total, {{name: value}}) with done at most total, "
            f"not {now!r}.",
        )


def _reception(
    spec: SystemSpec, batch_size: int, seed: int, level: float, scale: float, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    stream = generator(seed)
    received = scale * torch.randn(batch_size, 2 * spec.num_symbols, generator=stream)
    csi = torch.randn(batch_size, spec.num_csi, generator=stream) * 0.7
    csi[:, 0] = level
    return received.to(device), csi.to(device)


def _candidates(spec: SystemSpec, count: int, device: torch.device | str) -> Tensor:
    return torch.rand(count, *spec.image_shape, generator=generator(count)).to(device)


def _call(
    attacker: Eavesdropper, capability: str, received: Tensor, csi: Tensor, who: str, count: int = 4
) -> Tensor:
    arguments = [received, csi]
    if capability == "match":
        arguments.append(_candidates(attacker.spec, count, received.device))
    given = [a.clone() for a in arguments]
    hint = " (if it has to learn first, fit it or give check_eavesdropper a view)"
    with torch.no_grad(), global_streams_untouched(f"{who}.{capability}"), step(f"{who}.{capability}{hint}"):
        value = getattr(attacker, capability)(*arguments)
    require(
        all(torch.equal(a, b) for a, b in zip(arguments, given, strict=True)),
        f"{who}.{capability} writes into the tensors it is given.",
    )
    return value


def _check_outputs(attacker: Eavesdropper, capability: str, received: Tensor, csi: Tensor, who: str) -> None:
    value = _call(attacker, capability, received, csi, who)
    what = f"what {who}.{capability} returns for {len(received)} messages"
    if capability == "reconstruct":
        require_tensor(value, (len(received), *attacker.spec.image_shape), what)
        require(
            bool((value >= 0).all() and (value <= 1).all()),
            f"{what} must lie in [0, 1], but reaches from {float(value.min()):.3g} "
            f"to {float(value.max()):.3g}.",
        )
    elif capability == "match":
        require_tensor(value, (len(received), 4), what)
        single = _call(attacker, capability, received, csi, who, count=1)
        require_tensor(single, (len(received), 1), f"{what} and 1 candidate")
    else:
        require(isinstance(value, Tensor) and value.dim() == 2, f"{what} must be logits [B, K].")
        require_tensor(value, (len(received), value.shape[1]), what)
        require(value.shape[1] >= 1, f"{what} must have at least one column.")
    require(
        value.device == received.device,
        f"{what} is on {value.device}, but the reception on {received.device}.",
    )


def _check_rows(attacker: Eavesdropper, capability: str, received: Tensor, csi: Tensor, who: str) -> None:
    whole = _call(attacker, capability, received, csi, who)
    require(
        same(whole, _call(attacker, capability, received, csi, who)),
        f"{who}.{capability} gives two answers to the same reception.",
    )
    for row in range(len(received)):
        part = slice(row, row + 1)
        alone = _call(attacker, capability, received[part], csi[part], who)
        require(
            same(alone, whole[part], 1e-3),
            f"{who}.{capability} gives a message alone another answer than in a batch; rows must "
            "not depend on one another (batch statistics in eval mode, for instance).",
        )

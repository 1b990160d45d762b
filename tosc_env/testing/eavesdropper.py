"""The laws of an eavesdropper."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tosc_env.attackers import Eavesdropper, eavesdroppers, make_eavesdropper
from tosc_env.identity import plain
from tosc_env.testing import laws
from tosc_env.testing.laws import fail

if TYPE_CHECKING:
    from tosc_env.privacy.view import View


def check_eavesdropper(
    obj: Eavesdropper, view: View | None = None, *, device: torch.device | str = "cpu", seed: int = 0
) -> None:
    """Check an :class:`~tosc_env.Eavesdropper`: its capabilities, answers and randomness.

    The laws: it has at least one capability and plain options, from which with its parameters and buffers, as a file
    has them, another is made that answers alike; ``fit`` draws from the generator it is given
    only and returns plain values; ``reconstruct`` gives images in [0, 1], ``match`` a finite score per
    candidate, ``infer`` finite logits, for any batch size, SNR and finite reception; the same reception gives
    the same answer, whatever else is in its batch; and no global random stream is touched.

    Args:
        obj: the eavesdropper, trained or not; it is copied.
        view: the attacker's knowledge; if given, the copy is fitted first.

    Example:
        >>> from tosc_env import Eavesdropper, SystemSpec
        >>> class Grey(Eavesdropper):
        ...     def fit(self, view, *, generator, progress=None):
        ...         return {}
        ...     def reconstruct(self, received, csi):
        ...         return torch.full((len(received), *self.spec.image_shape), 0.5, device=received.device)
        >>> check_eavesdropper(Grey(SystemSpec((3, 32, 32), 10)))
    """
    who = laws.subject(obj, Eavesdropper, "eavesdropper")
    laws.require(obj.capabilities, f"{who} must override at least one of reconstruct, match and infer.")
    laws.require_plain(obj.options, who)
    attacker = laws.duplicate(obj, who).to(device)
    if view is not None:
        _fit(attacker, view, seed, who)
    attacker.eval()
    for count in laws.BATCH_SIZES:
        received, csi = _reception(attacker, count, seed, device)
        for capability in attacker.capabilities:
            answer = partial(_answer, attacker, capability, who)
            _check_answers(answer, f"{who}.{capability}", received, csi, seed)
    if "candidate_queries" not in attacker.needs:  # one that asks the encoder while it attacks is in no file
        _check_file(attacker, who, *_reception(attacker, laws.BATCH_SIZES[-1], seed, device))


def _reception(
    attacker: Eavesdropper, count: int, seed: int, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    stream = laws.generator(seed)
    received = torch.randn(count, 2 * attacker.spec.num_symbols, generator=stream).to(device)
    csi = (0.7 * torch.randn(count, attacker.spec.num_csi, generator=stream)).to(device)
    csi[:, 0] = 12.0
    return received, csi


def _check_file(attacker: Eavesdropper, who: str, received: Tensor, csi: Tensor) -> None:
    """Require the same answers of what a file gives back: one made of its options, with its parameters and buffers."""
    if attacker.name in eavesdroppers:
        make = partial(make_eavesdropper, attacker.name, attacker.spec)
    else:
        make = partial(type(attacker), attacker.spec)
    again = laws.rebuilt(attacker, who, lambda options: make(**options))
    for name in sorted(attacker.state_dict().keys() ^ again.state_dict().keys()):
        has = "has, once fitted," if name in attacker.state_dict() else "lacks, once fitted,"
        fail(
            f"{who} {has} the tensor {name!r}, unlike one made of its options; it is to be registered in __init__."
        )
    laws.load_state(attacker, again, who)
    again.to(received.device).eval()
    for capability in attacker.capabilities:
        answer = _answer(attacker, capability, who, received, csi)
        try:
            alike = laws.same(answer, _answer(again, capability, who, received, csi), laws.ROUNDING)
        except AssertionError:
            alike = False
        if not alike:
            fail(
                f"{who}.{capability} answers otherwise once saved and loaded, as a file keeps options, parameters and "
                f"buffers alone; what it lost: {', '.join(_lost(attacker, again)) or 'unknown'} (register_buffer)."
            )


def _lost(attacker: Eavesdropper, again: Eavesdropper) -> list[str]:
    """The attributes, of the attacker and its parts, that another with the same state has not; tensors if any."""
    lost: dict[str, Any] = {}
    parts = dict(again.named_modules())
    for path, part in attacker.named_modules():
        theirs = vars(parts[path]) if path in parts else {}
        for name, value in vars(part).items():
            own = name[0] != "_" or isinstance(value, Tensor)
            if own and (name not in theirs or plain(value) != plain(theirs[name])):
                lost[f"{path}.{name}" if path else name] = value
    return [name for name, value in lost.items() if isinstance(value, Tensor)] or list(lost)


def _fit(attacker: Eavesdropper, view: View, seed: int, who: str) -> None:
    device = next((p.device for p in attacker.parameters()), torch.device("cpu"))
    reports: list[tuple] = []
    with laws.global_streams_untouched(f"{who}.fit"), laws.step(f"{who}.fit"):
        stream = laws.generator(seed, device)
        record = attacker.fit(view, generator=stream, progress=lambda *now: reports.append(now))
    laws.require(isinstance(record, dict), f"{who}.fit must return a dictionary, not {type(record)}.")
    laws.require_plain(record, f"{who}.fit's record")
    for now in reports:
        if not (len(now) == 3 and isinstance(now[2], dict) and 0 <= now[0] <= now[1]):
            fail(
                f"{who}.fit must call progress(done, total, {{name: value}}) with done at most total, not {now!r}."
            )


def _check_answers(
    answer: Callable[..., Tensor], name: str, received: Tensor, csi: Tensor, seed: int
) -> None:
    whole = answer(received, csi)
    laws.require(laws.same(whole, answer(received, csi)), f"{name} gives two answers to the same reception.")
    laws.require_rows(name, whole, lambda row: answer(received[row], csi[row]))
    for _, *reception in laws.receptions(csi, received.shape[1] // 2, seed):
        answer(*reception)


def _answer(attacker: Eavesdropper, capability: str, who: str, received: Tensor, csi: Tensor) -> Tensor:
    """Run one capability of the attacker on a reception, and check the result."""
    spec, count = attacker.spec, len(received)
    hint = " (if it has to learn first, fit it or give check_eavesdropper a view)"

    def call(*more: Tensor) -> Tensor:
        method = getattr(attacker, capability)
        return laws.undisturbed(f"{who}.{capability}", method, received, csi, *more, hint=hint)

    what = f"what {who}.{capability} returns for {count} messages"
    if capability == "reconstruct":
        value = laws.require_tensor(call(), (count, *spec.image_shape), what)
        low, high = float(value.min()), float(value.max())
        if not (low >= 0 and high <= 1):
            fail(f"{what} must lie in [0, 1], but reaches from {low:.3g} to {high:.3g}.")
    elif capability == "match":
        candidates = torch.rand(4, *spec.image_shape, generator=laws.generator(4)).to(received.device)
        laws.require_tensor(call(candidates[:1]), (count, 1), f"{what} and 1 candidate")
        value = laws.require_tensor(call(candidates), (count, 4), what)
    else:
        value = call()
        laws.require(isinstance(value, Tensor) and value.dim() == 2, f"{what} must be logits [B, K].")
        laws.require_tensor(value, (count, max(1, value.shape[1])), what)
    at = received.device
    laws.require(value.device == at, f"{what} is on {value.device}, but the reception on {at}.")
    return value

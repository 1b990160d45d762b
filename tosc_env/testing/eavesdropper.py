"""The laws of an eavesdropper."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tosc_env.attackers import Eavesdropper, eavesdroppers, make_eavesdropper
from tosc_env.identity import plain
from tosc_env.testing import laws
from tosc_env.testing.laws import Subject

if TYPE_CHECKING:
    from tosc_env.privacy.view import View


def check_eavesdropper(
    obj: Eavesdropper, view: View | None = None, *, device: torch.device | str = "cpu", seed: int = 0
) -> None:
    """Check a copy of an :class:`~tosc_env.Eavesdropper`, fitted first if a view is given: its answers and randomness.

    The laws: it has at least one capability and plain options, from which with its parameters and buffers, as a file
    has them, another is made that answers alike; ``fit`` draws from the generator it is given only and returns plain
    values; ``reconstruct`` gives images in [0, 1], ``match`` a finite score per candidate, ``infer`` finite logits, for
    any batch size, SNR and finite reception; the same reception gives the same answer, whatever else is in its batch;
    and no global random stream is touched.

    Example:
        >>> from tosc_env import Eavesdropper, SystemSpec
        >>> class Grey(Eavesdropper):
        ...     def fit(self, view, *, generator, progress=None):
        ...         return {}
        ...     def reconstruct(self, received, csi):
        ...         return torch.full((len(received), *self.spec.image_shape), 0.5, device=received.device)
        >>> check_eavesdropper(Grey(SystemSpec((3, 32, 32), 10)))
    """
    check = _Check(obj, laws.subject(obj, Eavesdropper, "eavesdropper"), device, seed)
    attacker = check.obj
    check.require(attacker.capabilities, "it must override at least one of reconstruct, match and infer.")
    check.plain(attacker.options)
    if view is not None:
        check.fit(view)
    for count in laws.BATCH_SIZES:
        for capability in attacker.capabilities:
            check.answers(capability, *check.reception(count))
    if "candidate_queries" not in attacker.needs:  # one that asks the encoder while it attacks is in no file
        check.file(*check.reception(laws.BATCH_SIZES[-1]))


class _Check(Subject):
    """An attacker, and receptions of noise."""

    def reception(self, count: int) -> tuple[Tensor, Tensor]:
        spec, stream = self.obj.spec, laws.generator(self.seed)
        received = torch.randn(count, 2 * spec.num_symbols, generator=stream)
        csi = 0.7 * torch.randn(count, spec.num_csi, generator=stream)
        csi[:, 0] = 12.0
        return received.to(self.device), csi.to(self.device)

    def fit(self, view: View) -> None:
        device = next((p.device for p in self.obj.parameters()), torch.device("cpu"))
        reports: list[tuple] = []
        with laws.global_streams_untouched(f"{self.who}: fit"), self.step("fit"):
            stream = laws.generator(self.seed, device)
            record = self.obj.train().fit(view, generator=stream, progress=lambda *now: reports.append(now))
        self.obj.eval()
        self.require(isinstance(record, dict), f"fit must return a dictionary, not {type(record)}.")
        self.plain(record, "fit's record")
        for now in reports:
            lawful = len(now) == 3 and isinstance(now[2], dict) and 0 <= now[0] <= now[1]
            self.require(lawful, f"fit must call progress(done, total, {{name: value}}), not with {now!r}.")

    def answers(self, capability: str, received: Tensor, csi: Tensor) -> None:
        """Require lawful answers, row by row, to this reception and to unusual ones."""
        whole = self.answer(capability, received, csi)
        again = self.answer(capability, received, csi)
        self.require(laws.same(whole, again), f"{capability} gives two answers to the same reception.")
        self.rows(capability, whole, lambda row: self.answer(capability, received[row], csi[row]))
        for _, *reception in laws.receptions(csi, received.shape[1] // 2, self.seed):
            self.answer(capability, *reception)

    def answer(self, capability: str, received: Tensor, csi: Tensor) -> Tensor:
        """Run one capability on a reception, and check the result."""
        spec, count = self.obj.spec, len(received)
        hint = " (if it has to learn first, fit it or give check_eavesdropper a view)"
        run = partial(self.run, capability, received, csi, hint=hint)
        what = f"what {capability} returns for {count} messages"
        if capability == "reconstruct":
            value = self.tensor(run(), (count, *spec.image_shape), what)
            low, high = float(value.min()), float(value.max())
            inside = low >= 0 and high <= 1
            self.require(inside, f"{what} must lie in [0, 1], but reaches from {low:.3g} to {high:.3g}.")
        elif capability == "match":
            candidates = torch.rand(4, *spec.image_shape, generator=laws.generator(4)).to(self.device)
            self.tensor(run(candidates[:1]), (count, 1), f"{what} and 1 candidate")
            value = self.tensor(run(candidates), (count, 4), what)
        else:
            value = run()
            logits = isinstance(value, Tensor) and value.dim() == 2
            self.require(logits, f"{what} must be logits [B, K].")
            self.tensor(value, (count, max(1, value.shape[1])), what)
        at = received.device
        self.require(value.device == at, f"{what} is on {value.device}, but the reception on {at}.")
        return value

    def file(self, *reception: Tensor) -> None:
        """Require the same answers of what a file gives back: one made of options, with parameters and buffers."""
        attacker = self.obj
        known = attacker.name in eavesdroppers
        make = partial(make_eavesdropper, attacker.name) if known else type(attacker)
        again = _Check(
            self.rebuilt(lambda options: make(attacker.spec, **options)), self.who, self.device, self.seed
        )
        for name in sorted(attacker.state_dict().keys() ^ again.obj.state_dict().keys()):
            self.require(False, f"fit adds or removes the tensor {name!r}; register it in __init__.")
        self.load_into(again.obj)
        for capability in attacker.capabilities:
            answer = self.answer(capability, *reception)
            try:
                alike = laws.same(answer, again.answer(capability, *reception), laws.ROUNDING)
            except AssertionError:
                alike = False
            lost = "" if alike else ", ".join(_lost(attacker, again.obj)) or "unknown"
            told = f"once saved and loaded, as it lost: {lost} (register_buffer)."
            self.require(alike, f"{capability} answers otherwise {told}")


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

"""What the checkers share: one sentence per broken law, and an object under test with seeded inputs."""

from __future__ import annotations

import copy
import json
import pickle
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tosc_env.devices import resolve_device
from tosc_env.types import SystemSpec

BATCH_SIZES = (1, 2, 7)
ROUNDING = 1e-3
"""Relative difference allowed between a row alone and in a batch: other batch sizes sum in another order."""


def require(holds: object, sentence: str) -> None:
    """Raise AssertionError with ``sentence`` unless ``holds``, also under ``python -O``."""
    if not holds:
        raise AssertionError(sentence)


@contextmanager
def step(doing: str, passing: type[Exception] = AssertionError) -> Iterator[None]:
    """Turn any exception while ``doing`` something, but for ``passing``, into an AssertionError."""
    try:
        yield
    except (AssertionError, passing):
        raise
    except Exception as error:  # any error of the object under test is a finding, whatever its type
        raise AssertionError(f"{doing} failed with {type(error).__name__}: {error}") from error


@contextmanager
def global_streams_untouched(who: str) -> Iterator[None]:
    """Require that the block draws nothing from the global generators of torch, NumPy and ``random``."""
    before = _streams()
    yield
    for name, state in _streams().items():
        same_state = before.get(name, state) == state
        require(same_state, f"{who} draws from (or seeds) the global random generator of {name}.")


def _streams() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "torch (CPU)": torch.get_rng_state().numpy().tobytes(),
        "NumPy": pickle.dumps(np.random.get_state(legacy=False)),  # noqa: NPY002 (the stream to be watched)
        "the module random": random.getstate(),
        **{f"torch (CUDA {i})": state.numpy().tobytes() for i, state in enumerate(cuda)},
    }


def generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A seeded generator on ``device``."""
    return torch.Generator(device=device).manual_seed(seed)


def same(a: Tensor, b: Tensor, tolerance: float = 0.0) -> bool:
    """Compare two tensors up to ``tolerance`` times the larger one's largest value."""
    if a.shape != b.shape:
        return False
    scale = 1.0 + float(torch.maximum(a.abs().max(), b.abs().max())) if a.numel() else 1.0
    return bool(((a - b).abs() <= tolerance * scale).all())


def subject(obj: Any, kind: type[Any], noun: str) -> str:
    """Require an object of a kind, with a :class:`SystemSpec` where the kind has one; returns its name in sentences."""
    made, name = type(obj).__name__, getattr(obj, "name", "")
    require(isinstance(obj, kind), f"the {noun} {made} must derive from tosc_env.{kind.__name__}.")
    who = f"the {noun} {name or made}"
    spec = getattr(obj, "spec", None)
    lawful = isinstance(spec, SystemSpec) or noun == "channel"
    require(lawful, f"{who}: its spec must be a SystemSpec; call super().__init__(spec).")
    return who


class Subject:
    """A copy of the object under test, called ``who`` in sentences, on a device; ``seed`` is that of random inputs."""

    def __init__(self, obj: Any, who: str, device: torch.device | str = "cpu", seed: int = 0) -> None:
        self.who, self.device, self.seed = who, resolve_device(device), seed
        with self.step("copy.deepcopy"):
            self.obj = copy.deepcopy(obj)
        if isinstance(self.obj, nn.Module):
            self.obj.to(self.device).eval()

    def require(self, holds: object, sentence: str) -> None:
        """Fail with a sentence about the object unless ``holds``."""
        require(holds, f"{self.who}: {sentence}")

    def step(
        self, doing: str, passing: type[Exception] = AssertionError
    ) -> AbstractContextManager[None, bool | None]:
        """The block in which the object is ``doing`` something (:func:`step`)."""
        return step(f"{self.who}: {doing}", passing)

    def run(self, method: str, *given: Any, hint: str = "") -> Any:
        """Run a method, and require that it draws from no global stream and leaves its tensors as they are."""
        before = [value.clone() for value in given if isinstance(value, Tensor)]
        streams = global_streams_untouched(f"{self.who}: {method}")
        with torch.no_grad(), streams, self.step(method + hint):
            answer = getattr(self.obj, method)(*given)
        after = [value for value in given if isinstance(value, Tensor)]
        self.require(all(map(torch.equal, before, after)), f"{method} writes into the tensors it is given.")
        return answer

    def tensor(
        self, value: object, shape: tuple[int, ...], what: str, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Require a finite tensor of this shape and type, and return it."""
        what = f"{self.who}: {what}"
        if not isinstance(value, Tensor):
            raise AssertionError(f"{what} must be a tensor, not {type(value).__name__}.")
        require(
            value.shape == shape, f"{what} must have the shape {list(shape)}, but has {list(value.shape)}."
        )
        require(value.dtype == dtype, f"{what} must be {dtype}, but is {value.dtype}.")
        finite = torch.view_as_real(value) if value.is_complex() else value
        require(torch.isfinite(finite).all(), f"{what} is not finite.")
        return value

    def rows(
        self,
        method: str,
        whole: Tensor,
        alone: Callable[[slice], Tensor],
        agree: Callable[..., bool] = same,
    ) -> None:
        """Require that every row of ``whole`` equals ``alone(row)``, up to rounding."""
        for row in range(len(whole)):
            part = slice(row, row + 1)
            alike = agree(alone(part), whole[part], ROUNDING)
            told = "rows must not depend on one another (batch statistics in eval mode, for instance)."
            self.require(alike, f"{method} gives a row alone another answer than in a batch; {told}")

    @contextmanager
    def state_unchanged(self) -> Iterator[None]:
        """Require that the block leaves the object's state as it was."""
        before = {k: v.clone() for k, v in self.obj.state_dict().items() if isinstance(v, Tensor)}
        yield
        after = self.obj.state_dict()
        unchanged = all(torch.equal(value, after[name]) for name, value in before.items())
        self.require(unchanged, "changes its state in eval mode; one message must not change the next.")

    def gradients(self, what: str, tensors: Mapping[str, Tensor]) -> None:
        """Require that a backward pass has given each of the named tensors a finite gradient."""
        for name, tensor in tensors.items():
            if tensor.grad is None:
                raise AssertionError(f"{self.who}: {what} no gradient to {name}; it is detached or not used.")
            finite = torch.isfinite(tensor.grad).all()
            self.require(finite, f"{what} a gradient that is not finite to {name}.")

    def loss(self, loss: object, when: str = "") -> None:
        """Require one finite number."""
        number = isinstance(loss, Tensor) and not loss.dim() and bool(loss.isfinite())
        self.require(number, f"{when}its loss must be one finite number, not {loss!r}.")

    def figures(self, figures: Mapping[str, Any], when: str = "") -> None:
        """Require detached scalars, which is what a training logs."""
        for name, value in figures.items():
            scalar = isinstance(value, Tensor) and not value.requires_grad and value.dim() == 0
            self.require(scalar, f"{when}the figure {name!r} must be a detached scalar tensor.")

    def plain(self, options: Any, what: str = "its options") -> Any:
        """Require what a checkpoint can keep (plain values, JSON), and return it as read back."""
        with self.step(f"writing {what} as plain values (numbers, strings, lists, dictionaries)"):
            return json.loads(json.dumps(options, allow_nan=False))

    def rebuilt(
        self, make: Callable[[dict[str, Any]], Any], passing: type[Exception] = AssertionError
    ) -> Any:
        """Rebuild the object from its options by ``make``, and require the same kind and options."""
        options = self.plain(self.obj.options)
        with (
            self.step(f"rebuilding it from its spec and its options {options}", passing),
            torch.random.fork_rng(),
        ):
            made = make(options)
        self.require(type(made) is type(self.obj), f"rebuilt by its name, it is a {type(made).__name__}.")
        has = made.options
        self.require(self.plain(has) == options, f"rebuilt from its options {options}, it has others: {has}.")
        return made

    def load_into(self, made: nn.Module) -> None:
        """Require that one that was rebuilt takes the object's state."""
        with self.step("loading the state into one rebuilt from its options"):
            made.load_state_dict(self.obj.state_dict())


def receptions(csi: Tensor, num_symbols: int, seed: int) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Unusual receptions: (description, received [B, 2n], CSI [B, c]), large and zero, at low and high SNRs."""
    noise = torch.randn(len(csi), 2 * num_symbols, generator=generator(seed)).to(csi.device)
    for level, scale in ((-30.0, 30.0), (0.0, 1.0), (12.0, 0.0), (100.0, 1.0), (12.0, 1e4)):
        changed = torch.cat([torch.full_like(csi[:, :1], level), csi[:, 1:]], dim=1)
        yield f"(received times {scale:g}, SNR {level:g} dB)", scale * noise, changed

"""The common parts of the checkers: one sentence per broken law, and watching the random streams."""

from __future__ import annotations

import copy
import json
import pickle
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from tosc_env.types import SystemSpec

BATCH_SIZES = (1, 2, 7)
ROUNDING = 1e-3
"""Relative difference allowed between a row alone and in a batch: other batch sizes sum in another order."""

T = TypeVar("T")


def fail(sentence: str) -> NoReturn:
    """Raise AssertionError, also under ``python -O``."""
    raise AssertionError(sentence)


def require(holds: object, sentence: str) -> None:
    """Fail with ``sentence`` unless ``holds``."""
    if not holds:
        fail(sentence)


def subject(obj: Any, kind: type[Any], noun: str) -> str:
    """Require an object of a kind that has a :class:`SystemSpec`, and return its name in sentences."""
    article = "an" if noun[0] in "aeiou" else "a"
    if not isinstance(obj, kind):
        fail(
            f"{article} {noun} must derive from tosc_env.{kind.__name__}, and {type(obj).__name__} does not."
        )
    who = f"the {noun} {obj.name or type(obj).__name__}"
    if not isinstance(obj.spec, SystemSpec):
        fail(f"the spec of {who} must be a SystemSpec; call super().__init__(spec).")
    return who


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
    after = _streams()
    for name, state in before.items():
        if state != after[name]:
            fail(
                f"{who} draws from (or seeds) the global random generator of {name}; "
                "draw from the generator that is given instead."
            )


def _streams() -> dict[str, Any]:
    states = {
        "torch (CPU)": torch.get_rng_state().numpy().tobytes(),
        "NumPy": pickle.dumps(np.random.get_state(legacy=False)),  # noqa: NPY002 (the stream to be watched)
        "the module random": random.getstate(),
    }
    if torch.cuda.is_available():
        for i, state in enumerate(torch.cuda.get_rng_state_all()):
            states[f"torch (CUDA {i})"] = state.numpy().tobytes()
    return states


def generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A seeded generator on ``device``."""
    return torch.Generator(device=device).manual_seed(seed)


def duplicate(obj: T, who: str) -> T:
    """Copy an object, so that checking leaves it as it was."""
    with step(f"copy.deepcopy of {who}"):
        return copy.deepcopy(obj)


def require_tensor(
    value: object, shape: tuple[int, ...], who: str, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Require a finite tensor of this shape and type, and return it."""
    if not isinstance(value, Tensor):
        raise AssertionError(f"{who} must be a tensor, not {type(value).__name__}.")
    if tuple(value.shape) != shape:
        fail(f"{who} must have the shape {list(shape)}, but has {list(value.shape)}.")
    require(value.dtype == dtype, f"{who} must be {dtype}, but is {value.dtype}.")
    if not torch.isfinite(torch.view_as_real(value) if value.is_complex() else value).all():
        fail(f"{who} is not finite.")
    return value


def same(a: Tensor, b: Tensor, tolerance: float = 0.0) -> bool:
    """Compare two tensors up to ``tolerance`` times the larger one's largest value."""
    if a.shape != b.shape:
        return False
    scale = 1.0 + float(torch.maximum(a.abs().max(), b.abs().max())) if a.numel() else 1.0
    return bool(((a - b).abs() <= tolerance * scale).all())


def undisturbed(who: str, call: Callable[..., Any], *given: Any, hint: str = "") -> Any:
    """Return ``call(*given)``, and require that it draws from no global stream and leaves its tensors as they are."""
    before = [value.clone() for value in given if isinstance(value, Tensor)]
    with torch.no_grad(), global_streams_untouched(who), step(who + hint):
        answer = call(*given)
    after = [value for value in given if isinstance(value, Tensor)]
    require(all(map(torch.equal, before, after)), f"{who} writes into the tensors it is given.")
    return answer


@contextmanager
def state_unchanged(module: nn.Module, who: str) -> Iterator[None]:
    """Require that the block leaves a module's state as it was."""
    before = {name: value.clone() for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    yield
    after = module.state_dict()
    if not all(torch.equal(value, after[name]) for name, value in before.items()):
        fail(f"{who} changes its state in eval mode; one message must not change the next.")


def require_rows(
    who: str, whole: Tensor, alone: Callable[[slice], Tensor], agree: Callable[..., bool] = same
) -> None:
    """Require that every row of ``whole`` equals ``alone(row)``, up to rounding."""
    for row in range(len(whole)):
        part = slice(row, row + 1)
        if not agree(alone(part), whole[part], ROUNDING):
            fail(
                f"{who} gives a row alone another answer than in a batch; rows must not depend on one another "
                "(batch statistics in eval mode, for instance)."
            )


def receptions(csi: Tensor, num_symbols: int, seed: int) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Unusual receptions: (description, received [B, 2n], CSI [B, c]), large and zero, at low and high SNRs."""
    noise = torch.randn(len(csi), 2 * num_symbols, generator=generator(seed)).to(csi.device)
    for level, scale in ((-30.0, 30.0), (0.0, 1.0), (12.0, 0.0), (100.0, 1.0), (12.0, 1e4)):
        changed = torch.cat([torch.full_like(csi[:, :1], level), csi[:, 1:]], dim=1)
        yield f"(received times {scale:g}, SNR {level:g} dB)", scale * noise, changed


def require_gradients(who: str, tensors: Mapping[str, Tensor]) -> None:
    """Require that a backward pass has given each of the named tensors a finite gradient."""
    for name, tensor in tensors.items():
        if tensor.grad is None:
            raise AssertionError(f"{who} no gradient to {name}; something detaches it, or it is not used.")
        require(torch.isfinite(tensor.grad).all(), f"{who} a gradient that is not finite to {name}.")


def require_loss(loss: object, who: str) -> None:
    """Require one finite number."""
    if not isinstance(loss, Tensor) or loss.dim() or not loss.isfinite():
        raise AssertionError(f"{who}: its loss must be one finite number, not {loss!r}.")


def require_figures(figures: Mapping[str, Any], who: str) -> None:
    """Require detached scalars, which is what a training logs."""
    for name, value in figures.items():
        if not (isinstance(value, Tensor) and not value.requires_grad and value.dim() == 0):
            fail(f"{who}: the figure {name!r} must be a detached scalar tensor.")


def require_plain(options: Any, who: str) -> dict[str, Any]:
    """Require options that a checkpoint can keep (plain values, JSON), and return them as read back."""
    with step(f"writing the options of {who} as plain values (numbers, strings, lists, dictionaries)"):
        return json.loads(json.dumps(options, allow_nan=False))


def rebuilt(
    obj: T, who: str, make: Callable[[dict[str, Any]], T], passing: type[Exception] = AssertionError
) -> T:
    """Rebuild ``obj`` from its options by ``make``, and require the same kind and options."""
    options = require_plain(obj.options, who)  # type: ignore[attr-defined]
    with step(f"rebuilding {who} from its spec and its options {options}", passing), torch.random.fork_rng():
        made = make(options)
    require(type(made) is type(obj), f"{who}, rebuilt by its name, is a {type(made).__name__}.")
    has = made.options  # type: ignore[attr-defined]
    if require_plain(has, who) != options:
        fail(f"{who}, rebuilt from its options {options}, has others: {has}.")
    return made


def load_state(source: nn.Module, target: nn.Module, who: str) -> None:
    """Require that the rebuilt ``target`` takes the state of its ``source``."""
    with step(f"loading the state of {who} into one rebuilt from its options"):
        target.load_state_dict(source.state_dict())

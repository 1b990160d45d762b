"""Trained policies as files: registered names, options and shapes as plain values, tensors; loading runs no code."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from tosc_env.attackers import Eavesdropper, eavesdroppers, make_eavesdropper
from tosc_env.devices import resolve_device
from tosc_env.errors import CheckpointError, InputError
from tosc_env.identity import system_in
from tosc_env.io.checkpoint_files import (
    FORMAT,
    Kind,
    data_of,
    read_header,
    read_shapes,
    read_tensors,
    write_checkpoint,
)
from tosc_env.options import build, checked, named_options
from tosc_env.pipeline import Pipeline, as_pipeline, make_scheme
from tosc_env.privacy.threat import ThreatModel
from tosc_env.registry import Registry
from tosc_env.schemes import PrivacyScheme, defaults_of, schemes
from tosc_env.schemes import stages as registered_stages
from tosc_env.types import SystemSpec


@dataclass(frozen=True)
class Checkpoint:
    """A loaded policy (a :class:`~tosc_env.Pipeline` or eavesdropper) in evaluation mode, and its card, empty without
    one: data and its provenance, SNR, epochs, seed, figures, commit."""

    policy: Any
    kind: Kind
    card: dict[str, Any]
    path: Path


@checked
def save_checkpoint(
    path: str | os.PathLike[str],
    policy: PrivacyScheme | Eavesdropper,
    card: Mapping[str, Any] | None = None,
    *,
    half: bool = False,
) -> None:
    """Write a policy's weights and its card, whole or not at all.

    Args:
        path: the file, ``.safetensors`` by custom; the card beside it ends in ``.json``.
        policy: a scheme or eavesdropper of a registered name, as are the stages added to it.
        card: plain values (JSON) about the training of the weights.
        half: store floating-point weights as float16, as the zoo does.

    Raises:
        InputError: the card or the options hold something that is not a plain value; a policy of another kind or of
            a name that is not registered; weights beyond the range of float16.
        WriteError: the disk is full or the folder cannot be written; an older file stays as it was.
    """
    if not isinstance(policy, PrivacyScheme | Eavesdropper):
        found = "None" if policy is None else f"an object of the class {type(policy).__name__!r}"
        raise InputError(f"a checkpoint holds a scheme or an eavesdropper, not {found}.")
    policy = as_pipeline(policy) if isinstance(policy, PrivacyScheme) else policy
    check_registered(policy)
    header = {
        "format": FORMAT,
        "kind": "scheme" if isinstance(policy, Pipeline) else "eavesdropper",
        "name": policy.name,
        "options": policy.options,
        "stages": [stage.plain() for stage in policy.added] if isinstance(policy, Pipeline) else [],
        "spec": policy.spec.plain(),
    }
    state = policy.state_dict().items()
    tensors = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in state}
    for name, value in tensors.items() if half else ():
        if not value.is_floating_point():
            continue
        tensors[name] = value.half()
        if not torch.equal(tensors[name].isfinite(), value.isfinite()):
            told = f"and float16 none above {torch.finfo(torch.float16).max:g}: save it without half"
            largest = float(value.nan_to_num().abs().max())
            raise InputError(f"the tensor {name!r} holds numbers up to {largest:.3g}, {told}.")
    write_checkpoint(path, header, tensors, dict(card or {}))


@checked
def load_checkpoint(
    path: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    kind: Kind | None = None,
    name: str | None = None,
    options: dict[str, Any] | None = None,
    stages: Any = (),
) -> Checkpoint:
    """Load a policy from its file, in evaluation mode on ``device``.

    Args:
        path: a file from :func:`save_checkpoint`.
        device: of the weights.
        kind: refuse a file of the other kind.
        name: build this scheme around the file's backbone instead of the scheme it was saved as. Stages that were
            added to the file's scheme stay.
        options: further options of the policy, over those in the file; a ``key`` is given to the keyed stages.
        stages: more stages between the scheme and the channel, after those of the file.

    Raises:
        CheckpointError: missing, truncated, corrupt, of the other kind, or with tensors that do not fit the
            class it names; a scheme that does not play with other weights than its own.
        InputError: a name that is not registered here, or a device that does not exist.
    """
    path, given = Path(path), named_options("options", options)
    header = read_header(path)
    where = resolve_device(device)
    if kind not in (None, header["kind"]):
        raise CheckpointError(f"{path} holds the {header['kind']} {header['name']!r}, and no {kind}.")
    spec = SystemSpec.from_plain(header["spec"])
    policy: Any
    # Initial weights are replaced; the global stream stays as it was.
    with torch.random.fork_rng(devices=[]), _no_larger_than(path):
        if header["kind"] == "eavesdropper":
            policy = make_eavesdropper(header["name"], spec, **{**header["options"], **given})
            _load_tensors(policy, path, header["name"])
            told = header["card"].get("training", {}).get("threat_model")
            policy.fitted_against = system_in(header["card"])
            try:
                policy.fitted_under = None if told is None else policy.granted(ThreatModel(**told))
            except (TypeError, InputError) as error:
                raise CheckpointError(f"{path} has a card with no threat model: {error}") from None
        else:
            key = given.pop("key", None)
            own = name is None or name == header["name"]
            merged = {**header["options"], **(given if own else {})}
            policy = make_scheme(header["name"], spec, stages=header["stages"], **merged)
            _load_tensors(policy, path, header["name"])
            if "unrounded" in header["card"]:
                policy.rounded_from(str(header["card"]["unrounded"]))
            if not own:
                policy = _around(policy, str(name), given, path)
            policy = policy.with_stages(stages).use_key(key)
    policy.to(where).eval().requires_grad_(False)
    return Checkpoint(policy, header["kind"], header["card"], path)


def check_registered(policy: Pipeline | Eavesdropper) -> None:
    """Raise InputError unless everything that a file names can be found by that name when it is loaded."""
    parts: list[tuple[Registry[Any], str]] = [(eavesdroppers, policy.name)]
    if isinstance(policy, Pipeline):
        parts = [(schemes, policy.name), *((registered_stages, stage.name) for stage in policy.added)]
    for registry, name in dict.fromkeys(parts):  # a look-up reads what all installed packages declare
        if name not in registry:
            how = f"register its class with @tosc_env.register_{registry.kind}(...) or an entry point"
            raise InputError(f"a file holds names, and no {registry.kind} is registered as {name!r}: {how}.")


def check_fits(header: dict[str, Any], path: Path, spec: SystemSpec, data: str | None = None) -> None:
    """Raise CheckpointError when a checkpoint was made for other shapes, code length or data.

    Args:
        header: from :func:`read_header`.
        path: its file, for the message.
        spec: the system it is wanted for.
        data: the name of the data set it is wanted for; None accepts any of the same shapes.
    """
    stored = SystemSpec.from_plain(header["spec"])
    wanted = (
        ("image shape", stored.image_shape, spec.image_shape),
        ("number of outputs", stored.num_outputs, spec.num_outputs),
        ("code length in channel uses", stored.num_symbols, spec.num_symbols),
        ("data set", data_of(header["card"]), data) if data else ("", None, None),
    )
    for what, has, needs in wanted:
        if has != needs:
            raise CheckpointError(f"{path} was trained for the {what} {has!r}, but {needs!r} is asked for.")


def _around(policy: Pipeline, name: str, options: dict[str, Any], path: Path) -> Pipeline:
    """The scheme ``name`` with another's trained backbone, under the stages that were added to that one."""
    weights, backbone = defaults_of(name).weights, policy.backbone
    fits = weights is not None and len(policy.stages) == len(policy.added)
    if fits and policy.name != weights:
        fits = backbone.name == make_scheme(str(weights), policy.spec).backbone.name
    if not fits:
        raise CheckpointError(f"{path} holds {policy.name!r}, whose weights {name!r} does not take.")
    if backbone.name == name and not options:
        made: PrivacyScheme = backbone
    else:
        made = build(schemes, PrivacyScheme, name, {**options, "backbone": backbone}, policy.spec)
    return as_pipeline(made).with_weights_of(policy).with_stages(policy.added)


@contextmanager
def _no_larger_than(path: Path) -> Iterator[None]:
    """Refuse what is built meanwhile in this thread once it has far more tensors or numbers than the file.

    The options in a stranger's header would otherwise decide how much memory is taken, before any tensor is compared.
    """
    sizes = [math.prod(shape) for shape in read_shapes(path).values()]
    left = {"numbers": 4 * sum(sizes) + 2**24, "tensors": 4 * len(sizes) + 10_000}
    thread = threading.get_ident()

    def count(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        if tensor is None or threading.get_ident() != thread:
            return
        left["numbers"] -= tensor.numel()
        left["tensors"] -= 1
        if min(left.values()) < 0:
            raise CheckpointError(f"{path} has options for a far larger network than its tensors.")

    parameters, buffers = (
        register_module_parameter_registration_hook,
        register_module_buffer_registration_hook,
    )
    with parameters(count), buffers(count):
        yield


def _load_tensors(policy: Any, path: Path, name: str) -> None:
    stored, own = read_tensors(path), policy.state_dict()
    for tensor in sorted(own.keys() ^ stored.keys()):
        where = "lacks" if tensor in own else "has the unexpected"
        raise CheckpointError(f"{path} {where} tensor {tensor!r} of {name!r}; it fits another version.")
    for tensor, value in own.items():
        found = stored[tensor]
        alike = found.dtype == value.dtype or (found.is_floating_point() and value.is_floating_point())
        if value.shape != found.shape or not alike:
            has, needs = (f"{one.dtype} {list(one.shape)}" for one in (found, value))
            raise CheckpointError(f"{path}: the tensor {tensor!r} is {has}, but {name!r} needs {needs}.")
    policy.load_state_dict({tensor: stored[tensor].to(value.dtype) for tensor, value in own.items()})

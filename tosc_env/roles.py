"""Observation and action spaces of each role, and checks of actions.

==============  =====================================  =============================================
role            observation                            action
==============  =====================================  =============================================
transmitter     ``image`` [C, H, W], ``csi`` [1]       2n reals, I and Q interleaved
receiver        ``received`` [2n], ``csi`` [c]         the task's decision, ``Discrete(K)`` or bits
eavesdropper    ``received`` [2n], ``csi`` [c]         an image [C, H, W] in [0, 1]
==============  =====================================  =============================================

There may be several eavesdroppers: a *player* is ``"transmitter"``, ``"receiver"`` or the name of an adversary's
node, and its *agent* in PettingZoo is ``transmitter_0``, ``receiver_0``, ``eavesdropper_0``, ``eavesdropper_1`` and so
on.  ``csi`` describes a node's *own* link: the SNR in dB, then real and imaginary part of each fade; the transmitter's
is the legitimate link's SNR alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from torch import Tensor

from tosc_env.errors import InputError, unknown
from tosc_env.nodes import WIRETAP, Node
from tosc_env.options import check_dense

if TYPE_CHECKING:
    from tosc_env.game import Game


def agents_of(nodes: Sequence[Node] = WIRETAP) -> dict[str, str]:
    """The agent of each player: its name in the PettingZoo environments and in error messages."""
    adversaries = {node.name: f"eavesdropper_{k}" for k, node in enumerate(nodes[1:])}
    return {"transmitter": "transmitter_0", "receiver": "receiver_0", **adversaries}


def player_of(role: str, nodes: Sequence[Node] = WIRETAP) -> str:
    """The player of a role, an agent or a node's name; ``"eavesdropper"`` is the first of them."""
    agents = agents_of(nodes)
    known = {**{agent: player for player, agent in agents.items()}, "eavesdropper": nodes[1].name}
    known |= {player: player for player in agents}
    if not isinstance(role, str) or role not in known:
        raise unknown("role", role, agents)
    return known[role]


class PointsBox(spaces.Box):
    """A Box whose samples are points of a constellation, complex [M], I and Q interleaved in the last axis."""

    def __init__(self, points: np.ndarray, shape: Sequence[int], seed: int | None = None) -> None:
        self.points = np.stack([points.real, points.imag], axis=1).astype(np.float32)
        peak = float(max(1.0, np.abs(self.points).max()))
        super().__init__(-peak, peak, tuple(shape), np.float32, seed)

    def sample(self, mask: None = None, probability: None = None) -> np.ndarray:
        """Independent, uniformly drawn points."""
        count = int(np.prod(self.shape)) // 2
        choice = self.np_random.integers(len(self.points), size=count)
        return self.points[choice].reshape(self.shape)


def observation_space(game: Game, role: str, num_csi: int | None = None) -> spaces.Dict:
    """The observation space of a role for one message, all float32; ``num_csi`` None: as the game's nodes have it."""
    role = player_of(role, game.nodes)
    if role == "transmitter":
        return spaces.Dict({"image": ImageBox(game.source.image_shape), "csi": reals(1)})
    return spaces.Dict({"received": reals(2 * game.num_symbols), "csi": reals(num_csi or game.spec.num_csi)})


def action_space(game: Game, role: str, num_envs: int | None = None) -> spaces.Space[Any]:
    """The action space of a role for one message, or for one message per environment.

    The transmitter of a discrete game has a :class:`PointsBox`, as wide as the constellation's peak where that
    exceeds 1.
    """
    role = player_of(role, game.nodes)
    if role == "transmitter":
        shape = (2 * game.num_symbols,) if num_envs is None else (num_envs, 2 * game.num_symbols)
        if game.points is not None:
            return PointsBox(game.points.cpu().numpy(), shape)
        return spaces.Box(-1.0, 1.0, shape, np.float32)
    single = game.task.space() if role == "receiver" else ImageBox(game.source.image_shape)
    return single if num_envs is None else batch_space(single, num_envs)


class ImageBox(spaces.Box):
    """Images [C, H, W] in [0, 1]: a Box whose pickle holds no arrays of its bounds, which are larger than a game."""

    def __init__(self, shape: Sequence[int], seed: int | np.random.Generator | None = None) -> None:
        super().__init__(0.0, 1.0, tuple(shape), np.float32, seed)

    def __reduce__(self) -> Any:
        return ImageBox, (self.shape, self._np_random)


def reals(size: int) -> spaces.Box:
    """Any real numbers."""
    return spaces.Box(-np.inf, np.inf, (size,), np.float32)


def as_action(
    agent: str,
    action: object,
    space: spaces.Space[Any],
    *,
    batch: int | None = None,
    device: torch.device | str = "cpu",
    validate: bool = True,
) -> Tensor:
    """Convert an agent's action to the tensor that the game takes, with a leading row axis.

    A Box takes finite floating-point numbers (any precision, kept as float32) without regard to its bounds:
    the game normalises the transmitter's power, and the eavesdropper's images are clipped to [0, 1] here.
    Discrete takes whole numbers in its range, MultiBinary zeros and ones.

    Args:
        agent: named in every error.
        action: tensor, array or number, in the form of one element of ``space``, or of ``batch`` of them.
        validate: look at the values too, which waits once for the device; shape and type are always checked. Without
            it NaN counts as 0, and a number too large for float32 as the largest.
    """
    if not isinstance(space, (spaces.Box, spaces.Discrete, spaces.MultiBinary)):
        return _other_action(agent, action, space, batch, device)
    shape = tuple(space.shape or ()) if batch is None else (batch, *(space.shape or ()))
    kinds = {spaces.Discrete: "integers of shape", spaces.MultiBinary: "zeros and ones of shape"}
    wanted = f"{kinds.get(type(space), 'float32')} {shape}"
    tensor = _tensor(agent, action, wanted)
    if tuple(tensor.shape) != shape:
        raise InputError(f"{agent}: action has shape {tuple(tensor.shape)}; expected {wanted}.")
    if isinstance(space, spaces.Box):
        if not tensor.is_floating_point():
            raise InputError(f"{agent}: action has dtype {_dtype(tensor)}; expected {wanted}.")
        tensor = _real_action(agent, tensor.to(device, torch.float32), wanted, validate)
    else:
        whole = not (tensor.is_floating_point() or tensor.is_complex())
        if not whole or (tensor.dtype == torch.bool and isinstance(space, spaces.Discrete)):
            raise InputError(f"{agent}: action has dtype {_dtype(tensor)}; expected {wanted}.")
        tensor = tensor.to(device, torch.int64)
        low, count = (int(space.start), int(space.n)) if isinstance(space, spaces.Discrete) else (0, 2)
        wrong = (tensor < low) | (tensor >= low + count)
        if validate and bool(wrong.any()):
            value = int(tensor[wrong].flatten()[0]) if tensor.dim() else int(tensor)
            raise InputError(f"{agent}: action {value} is out of range; expected {low} to {low + count - 1}.")
        tensor = tensor - low
    # A single action is copied, as it costs nothing, so that its reuse changes no past round.
    return tensor if batch is not None else tensor.clone().unsqueeze(0)


def _real_action(agent: str, tensor: Tensor, wanted: str, validate: bool) -> Tensor:
    """Finite numbers, images clipped, in one pass over a valid batch of images."""
    image = agent.startswith("eavesdropper")
    if not validate:
        tensor = tensor.nan_to_num()
        return tensor.clamp(0.0, 1.0) if image else tensor
    low, high = torch.stack(tensor.aminmax()).tolist()
    if not (math.isfinite(low) and math.isfinite(high)):
        found = "NaN" if math.isnan(low) else "infinite numbers (as float32)"
        raise InputError(f"{agent}: action contains {found}; expected finite {wanted}.")
    return tensor.clamp(0.0, 1.0) if image and (low < 0.0 or high > 1.0) else tensor


def _tensor(agent: str, action: object, wanted: str) -> Tensor:
    """A tensor of its own memory where the action was an array, so that a caller may reuse the array."""
    check_dense(action, f"{agent}: action")
    if isinstance(action, Tensor):
        return action.detach()
    try:
        array = np.asarray(action)
        return torch.tensor(array) if array.dtype != object else torch.tensor(action)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{agent}: action is {type(action).__name__}; expected {wanted}.") from None


def _other_action(
    agent: str, action: object, space: spaces.Space[Any], batch: int | None, device: torch.device | str
) -> Tensor:
    """Actions of a task with a space of its own, checked by the space row by row."""
    check_dense(action, f"{agent}: action")
    rows = [action] if batch is None else list(action)  # type: ignore[call-overload]
    plain = [row.cpu().numpy() if isinstance(row, Tensor) else np.asarray(row) for row in rows]
    for row in plain:
        if not space.contains(row):
            raise InputError(f"{agent}: action {row!r} does not belong to {space}.")
    return torch.as_tensor(np.stack(plain), device=device)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")

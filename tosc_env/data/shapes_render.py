"""Drawing Shapes: signed distances turned into anti-aliased pixels, hundreds of images at a time.

A shape is a function of (u, v), the plane seen from the shape's own centre, turned and scaled so that the
shape fits the unit circle, with v pointing up.  It is negative inside, positive outside, and grows by about
one per unit near the border, so that clamping it over one pixel's width gives the covered fraction.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

COLOURS = {  # the first four are warm
    "red": (0.85, 0.12, 0.12),
    "orange": (0.95, 0.55, 0.10),
    "yellow": (0.95, 0.92, 0.15),
    "pink": (0.95, 0.45, 0.75),
    "green": (0.10, 0.70, 0.20),
    "cyan": (0.15, 0.85, 0.90),
    "blue": (0.12, 0.22, 0.85),
    "purple": (0.48, 0.12, 0.70),
}
TEXTURES = ("plain", "stripes", "checks", "blotches")
POSITIONS = tuple(
    f"{row} {column}" for row in ("top", "middle", "bottom") for column in ("left", "centre", "right")
)
SIZES = ("small", "medium", "large")
ATTRIBUTES = {"colour": tuple(COLOURS), "texture": TEXTURES, "position": POSITIONS, "size": SIZES}
_SURROUNDINGS = (  # one per class, dull, spread over hue and brightness
    (0.14, 0.20, 0.36),
    (0.72, 0.66, 0.52),
    (0.24, 0.42, 0.22),
    (0.58, 0.70, 0.80),
    (0.36, 0.16, 0.14),
    (0.10, 0.08, 0.20),
    (0.52, 0.36, 0.22),
    (0.32, 0.30, 0.52),
    (0.78, 0.58, 0.60),
    (0.46, 0.50, 0.44),
)
_AT_HOME = 0.7  # the fraction of images that show their class in its own surroundings
_RADII = (0.36, 0.47, 0.60)  # of the shape, where half the image is 1
_STEP = 0.34  # from the centre to the next grid cell


@dataclass(frozen=True)
class Scene:
    """N images: labels int64 [N], facts int64 [N, 4] (:data:`ATTRIBUTES`), nuisance uniform float32 [N, 15]."""

    labels: Tensor
    facts: Tensor
    nuisance: Tensor


def render(scene: Scene, size: int, generator: torch.Generator) -> Tensor:
    """The images of ``scene``, uint8 [N, 3, size, size]; ``generator`` gives blotches and pixel noise."""
    count = len(scene.labels)
    axis = (torch.arange(size, dtype=torch.float32) + 0.5) * (2 / size) - 1
    x, y = axis[None, None, :], -axis[None, :, None]
    random = scene.nuisance[:, :, None, None]
    cover = _coverage(scene, x, y, size)[:, None]
    ground = _background(scene, x, y, size, generator)
    shade = 0.8 + 0.2 * random[:, 0:1]
    palette = torch.tensor(list(COLOURS.values()))[scene.facts[:, 0]][:, :, None, None]
    ink = palette * shade + 0.12 * (random[:, 1:4] - 0.5)
    images = torch.lerp(ground, ink, cover)
    images *= 0.85 + 0.3 * random[:, 4:5]
    # Grey noise: one draw per pixel costs a third of one per channel, and draws dominate the time.
    images += 0.05 * torch.randn(count, 1, size, size, generator=generator)
    return images.clamp_(0, 1).mul_(255).round_().to(torch.uint8)


def _coverage(scene: Scene, x: Tensor, y: Tensor, size: int) -> Tensor:
    """The fraction [N, H, W] of each pixel that the shape covers."""
    random = scene.nuisance[:, :, None, None]
    jitter = 0.08 * (random[:, 5:7, 0] - 0.5)
    position = scene.facts[:, 2]
    centre_x = ((position % 3) - 1)[:, None, None] * _STEP + jitter[:, 0:1]
    centre_y = (1 - position // 3)[:, None, None] * _STEP + jitter[:, 1:2]
    radius = torch.tensor(_RADII)[scene.facts[:, 3]][:, None, None] * (0.96 + 0.08 * random[:, 7])
    angle = math.radians(12) * (2 * random[:, 8] - 1)
    cos, sin = torch.cos(angle) / radius, torch.sin(angle) / radius
    dx, dy = x - centre_x, y - centre_y
    u, v = dx * cos + dy * sin, dy * cos - dx * sin
    cover = torch.empty(len(scene.labels), size, size)
    for label, shape in enumerate(_SHAPES.values()):
        chosen = (scene.labels == label).nonzero()[:, 0]
        distance = shape(u[chosen], v[chosen]) * radius[chosen] * (size / 2)  # in pixels
        cover[chosen] = (0.5 - distance).clamp_(0, 1)
    return cover


def _background(scene: Scene, x: Tensor, y: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """A dull colour modulated by the texture: [N, 3, H, W]. Most images show their class before a colour of its own, so
    that symbols sent for the task tell of the image, as with natural ones."""
    random, texture = scene.nuisance, scene.facts[:, 1]
    variation = 0.25 * (random[:, 10:13] - 0.5)
    anything = 0.12 + 0.6 * random[:, 9:10] + variation
    own = torch.tensor(_SURROUNDINGS)[scene.labels] + 0.2 * (random[:, 9:10] - 0.5) + variation
    colour = torch.where(random[:, 14:15] < _AT_HOME, own, anything)
    ink = torch.tensor(list(COLOURS.values()))[scene.facts[:, 0]]
    near = (colour - ink).norm(dim=1, keepdim=True) < 0.25
    # The shapes' colours are saturated, so where a dull colour is close to one its complement is not.
    colour = torch.where(near, 0.95 - colour, colour)
    waves = torch.zeros(len(scene.labels), size, size)
    phase = random[:, 13, None, None]
    for which, pattern in ((1, _stripes), (2, _checks)):
        chosen = (texture == which).nonzero()[:, 0]
        waves[chosen] = pattern(x, y, phase[chosen])
    chosen = (texture == 3).nonzero()[:, 0]
    blotches = torch.rand(len(scene.labels), 8, 8, generator=generator)[chosen]
    waves[chosen] = 2 * blotches.repeat_interleave(size // 8, 1).repeat_interleave(size // 8, 2) - 1
    return colour[:, :, None, None] + 0.14 * waves[:, None]


def _wave(t: Tensor) -> Tensor:
    """A square wave of period 1 with soft edges, in [-1, 1]."""
    return ((t - t.floor() - 0.5).abs_() * 4 - 1).mul_(2.5).clamp_(-1, 1)


def _stripes(x: Tensor, y: Tensor, phase: Tensor) -> Tensor:
    return _wave((x + y) * 1.8 + phase)


def _checks(x: Tensor, y: Tensor, phase: Tensor) -> Tensor:
    return _wave(x * 2 + phase) * _wave(y * 2 + phase)


def _triangle(u: Tensor, v: Tensor) -> Tensor:
    v = v + 0.2
    return torch.maximum(u.abs() * 0.866 + v * 0.5, -v) - 0.58


def _cross(u: Tensor, v: Tensor) -> Tensor:
    u, v = u.abs(), v.abs()
    return torch.maximum(torch.maximum(u, v) - 0.95, torch.minimum(u, v) - 0.28)


def _star(u: Tensor, v: Tensor) -> Tensor:
    # The five lines through a pentagram's edges: inside are the points beyond at most one of them, so the
    # second largest of the five distances decides.
    first = second = torch.full_like(u, -9.0)
    for k in range(5):
        turn = math.pi / 2 + math.pi + 2 * math.pi * k / 5
        side = u * math.cos(turn) + v * math.sin(turn)
        second = torch.maximum(second, torch.minimum(first, side))
        first = torch.maximum(first, side)
    return second - 0.36


def _heart(u: Tensor, v: Tensor) -> Tensor:
    # A square standing on its corner with a disc on each of its two upper sides.
    u, v = u.abs(), v + 0.12
    corner = (u + v.abs()) * math.sqrt(0.5) - 0.6
    return torch.minimum(corner, torch.hypot(u - 0.424, v - 0.424) - 0.6)


def _hourglass(u: Tensor, v: Tensor) -> Tensor:
    u, v = u.abs(), v.abs()
    return torch.maximum(v - 0.85, (u - 0.9 * v - 0.08) * 0.74)


_SHAPES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "circle": lambda u, v: torch.hypot(u, v) - 0.92,
    "square": lambda u, v: torch.maximum(u.abs(), v.abs()) - 0.8,
    "triangle": _triangle,
    "diamond": lambda u, v: (u.abs() * 1.7 + v.abs() - 1) / 1.97,
    "cross": _cross,
    "star": _star,
    "ring": lambda u, v: (torch.hypot(u, v) - 0.72).abs() - 0.22,
    "crescent": lambda u, v: torch.maximum(torch.hypot(u, v) - 0.95, 0.75 - torch.hypot(u - 0.5, v)),
    "heart": _heart,
    "hourglass": _hourglass,
}
CLASS_NAMES = tuple(_SHAPES)

"""The perceptual loss of the article's attacker: squared differences of a pretrained VGG's first layers."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tosc_env.data import data_root
from tosc_env.errors import DataError, InputError
from tosc_env.io.checkpoint_files import sha256
from tosc_env.options import check_dense

LAYERS = {
    "vgg16-397923af.pth": ("features.0", "features.2", "features.5"),
    "vgg19_normalised_conv3_1.pth": ("0", "2", "5", "9"),
}
"""The convolutions that are used, by the file that holds their weights."""

SHAPES = ((3, 3, 1, 1), (64, 3, 3, 3), (64, 64, 3, 3), (128, 64, 3, 3))
"""Of their weights; channel-normalised VGG-19 alone begins with a 1x1 layer, in place of mean and std."""

FILES = tuple(LAYERS)
"""Weights that are understood, in the order in which they are looked for under the data root."""

IMAGENET = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
"""Mean and standard deviation of the channels."""


class PerceptualLoss(nn.Module):
    """Mean squared difference of the features after VGG's first three convolutions (and their ReLU).

    The article says "the first three layers"; here they are conv1_1, conv1_2 and conv2_1, each reduced to the
    mean over channels and pixels, and the three means added.

    The weights are those of the first of :data:`FILES` that is found under the data root; a DataError says that there
    is none, or that it is not what its name says.
    """

    mean: Tensor
    std: Tensor
    layers = ("conv1_1", "conv1_2", "conv2_1")
    reduction = "mean of each layer, added"

    def __init__(self) -> None:
        super().__init__()
        path = find_weights()
        self.file = path.name
        convolutions = _read(path)
        self.padding = "constant" if path.name == FILES[0] else "reflect"
        self.first = convolutions.pop(0) if len(convolutions) == 4 else None
        self.convolutions = nn.ModuleList(convolutions)
        self.register_buffer("mean", IMAGENET[0])
        self.register_buffer("std", IMAGENET[1])
        self.requires_grad_(False)

    def features(self, images: Tensor) -> list[Tensor]:
        """The three feature maps of images [B, C, H, W] in [0, 1]; the one channel of grey images is all three."""
        images = images.expand(-1, 3, -1, -1)
        x = self.first(images) if self.first is not None else (images - self.mean) / self.std
        found = []
        for i, convolution in enumerate(self.convolutions):
            if i == 2:
                x = F.max_pool2d(x, 2)
            x = F.relu(convolution(F.pad(x, (1, 1, 1, 1), mode=self.padding)))
            found.append(x)
        return found

    def forward(self, reconstruction: Tensor, images: Tensor) -> Tensor:
        pairs = zip(self.features(reconstruction), self.features(images), strict=True)
        return torch.stack([F.mse_loss(a.float(), b.float()) for a, b in pairs]).sum()


def find_weights() -> Path:
    """The weights that are used by default; raises DataError where there are none."""
    root = data_root()
    for name in FILES:
        if (root / name).is_file():
            return root / name
    raise DataError(
        f"a perceptual loss needs pretrained VGG weights, but neither {' nor '.join(FILES)} is under {root}: run "
        "'tosc data get vgg', set TOSC_DATA_DIR, or use perceptual_weight=0 (mean squared error alone)."
    )


def weights_digest() -> str | None:
    """The SHA-256 of the weights that are used by default; None where there are none."""
    try:
        path = find_weights()
    except DataError:
        return None
    return _digest(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _digest(path: Path, changed: int) -> str:
    return sha256(path)


def _read(path: Path) -> list[nn.Module]:
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for a damaged file; all mean the same here
        raise DataError(
            f"{path} is not a readable weight file ({type(error).__name__}): get it anew."
        ) from error
    layers: list[nn.Module] = []
    for name, shape in zip(reversed(LAYERS[path.name]), reversed(SHAPES), strict=False):
        held = tensors if isinstance(tensors, dict) else {}
        weight, bias = (held.get(f"{name}.{part}") for part in ("weight", "bias"))
        if not (_holds(weight, shape) and _holds(bias, shape[:1])):
            raise DataError(
                f"{path} has no layer {name!r}, a convolution of finite weights {list(shape)}; it is not the file its "
                "name says."
            )
        layer = nn.Conv2d(shape[1], shape[0], shape[2])
        layer.load_state_dict({"weight": weight, "bias": bias})
        layers.append(layer)
    return layers[::-1]


def _holds(found: Any, shape: tuple[int, ...]) -> bool:
    """Whether it is a plain tensor of that shape, of finite real numbers."""
    try:
        check_dense(found, "weights")
    except InputError:
        return False
    plain = isinstance(found, Tensor) and found.is_floating_point() and found.shape == shape
    return plain and bool(found.isfinite().all())

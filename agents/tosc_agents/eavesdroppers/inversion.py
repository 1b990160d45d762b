"""The article's attacker: a decoder network from symbols to images."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from tosc_agents.eavesdroppers.base import NeuralEavesdropper, attacker_inputs, input_width
from tosc_agents.learning.precision import Precision
from tosc_agents.networks import ImageDecoder, UNet
from tosc_agents.perceptual import PerceptualLoss
from tosc_env.options import Size, Weight, check_weight
from tosc_env.privacy.view import View
from tosc_env.types import SystemSpec


class Inversion(NeuralEavesdropper):
    """Black-box model inversion by a residual convolutional decoder.

    ::

        received [B, 2n], SNR -> linear -> 4x4 -> 8x8 -> 16x16 -> 32x32 (-> cropped) -> image [B, C, H, W]

    Loss: MSE + ``perceptual_weight`` x VGG term (:class:`~tosc_agents.perceptual.PerceptualLoss`), which costs PSNR.

    Args:
        perceptual_weight: weight of the VGG term, at least 0; above 0 it needs VGG weights under the data root.
        widths: channels of the decoder's four resolutions; None: :attr:`usual_widths`.
        steps, batch_size, learning_rate, precision: of its training.

    Example:
        >>> attacker = Inversion(SystemSpec((3, 32, 32), 10), widths=(16, 8, 8, 8)).eval()
        >>> attacker.reconstruct(torch.zeros(2, 128), torch.zeros(2, 1)).shape
        torch.Size([2, 3, 32, 32])
    """

    name = "inversion"
    usual_widths: ClassVar[tuple[int, ...]] = (192, 96, 48, 32)

    def __init__(
        self,
        spec: SystemSpec,
        *,
        perceptual_weight: Weight = 0.0,
        widths: tuple[Size, ...] | None = None,
        steps: int = 4000,
        batch_size: int = 250,
        learning_rate: float = 2e-3,
        precision: Precision = "auto",
    ) -> None:
        widths = self.usual_widths if widths is None else tuple(widths)
        options = {
            "perceptual_weight": check_weight(perceptual_weight, "perceptual_weight"),
            "widths": list(widths),
        }
        super().__init__(spec, steps, batch_size, learning_rate, precision, **options)
        self.network = self.build(input_width(spec), widths)

    def build(self, inputs: int, widths: tuple[int, ...]) -> nn.Module:
        """The network, from so many numbers to an image."""
        return ImageDecoder(inputs, self.spec.image_shape, widths=widths)

    @property
    def last(self) -> nn.Conv2d:
        """Its last layer."""
        return cast(ImageDecoder, self.network).convolutions[-1]  # type: ignore[return-value]

    def fit(self, view: View, *, generator: torch.Generator, progress: Any = None) -> dict[str, Any]:
        weight = self.options["perceptual_weight"]
        perceptual = PerceptualLoss().to(view.device) if weight else None
        self.to(view.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

        # Start at the mean image: the first steps then go into what the symbols say.
        with torch.no_grad():
            colour = view.statistics.channel_mean.clamp(0.01, 0.99)
            cast(Tensor, self.last.bias).copy_(torch.logit(colour))

        def step_loss(part: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            reception, images = view.sample(part)
            rebuilt = self.network(attacker_inputs(reception.received, reception.csi, self.spec))
            error = (rebuilt - images).square().mean()
            if perceptual is None:
                return error, {"mse": error.detach()}
            term = perceptual(rebuilt, images)
            return error + weight * term, {"mse": error.detach(), "perceptual": term.detach()}

        record = self.train_to_rebuild(view, step_loss, generator, progress)
        if perceptual is None:
            return record
        layers = list(perceptual.layers)
        return {**record, "vgg": perceptual.file, "layers": layers, "reduction": perceptual.reduction}

    def reconstruct(self, received: Tensor, csi: Tensor) -> Tensor:
        return self.network(attacker_inputs(received, csi, self.spec))


class InversionUNet(Inversion):
    """The same by a U-Net (:class:`~tosc_agents.networks.UNet`), which refines a picture of the symbols as a whole.

    Args:
        widths: channels of the U-Net at full resolution and at each halved one; None: :attr:`usual_widths`.
        perceptual_weight, steps, batch_size, learning_rate, precision: as of :class:`Inversion`.

    Example:
        >>> attacker = InversionUNet(SystemSpec((1, 28, 28), 10), widths=(8, 8)).eval()
        >>> attacker.reconstruct(torch.zeros(2, 128), torch.zeros(2, 1)).shape
        torch.Size([2, 1, 28, 28])
    """

    name = "inversion-unet"

    usual_widths = (24, 48, 96)

    def build(self, inputs: int, widths: tuple[int, ...]) -> nn.Module:
        return UNet(inputs, self.spec.image_shape, widths=widths)

    @property
    def last(self) -> nn.Conv2d:
        return cast(UNet, self.network).out

"""A stranger's scheme, and a zoo of what was trained of it."""

from pathlib import Path

import torch
from tosc_agents.zoo import Folder

import tosc_env

ZOO = Folder(Path(__file__).parent / "weights")


class Thumb(tosc_env.PrivacyScheme):
    def __init__(self, spec):
        super().__init__(spec)
        self.receiver = torch.nn.Linear(2 * spec.num_symbols, spec.num_outputs)

    def encode(self, images, context):
        return torch.nn.functional.adaptive_avg_pool2d(images - 0.5, 8).flatten(1)[
            :, : 2 * self.spec.num_symbols
        ]

    def decode(self, received, csi, context):
        return self.receiver(received)

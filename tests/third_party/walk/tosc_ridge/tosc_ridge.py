"""A stranger's attacker."""

import torch

import tosc_env


class Ridge(tosc_env.Eavesdropper):
    def __init__(self, spec):
        super().__init__(spec)
        self.register_buffer(
            "weight", torch.zeros(2 * spec.num_symbols + 1, torch.Size(spec.image_shape).numel())
        )

    def fit(self, view, *, generator, progress=None):
        heard, images = view.sample(torch.arange(view.num_images))
        inputs = torch.nn.functional.pad(heard.received, (0, 1), value=1.0)
        gram = inputs.T @ inputs + 0.1 * torch.eye(inputs.shape[1])
        self.weight = torch.linalg.solve(gram, inputs.T @ images.flatten(1))
        return {}

    def reconstruct(self, received, csi):
        inputs = torch.nn.functional.pad(received, (0, 1), value=1.0)
        return (inputs @ self.weight).clamp(0, 1).unflatten(1, self.spec.image_shape)

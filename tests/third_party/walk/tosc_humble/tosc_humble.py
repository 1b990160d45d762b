"""A stranger's objective."""

import tosc_env


class Humble(tosc_env.Objective):
    def __init__(self, spec, *, weight=0.01):
        super().__init__(spec, weight=weight)

    def loss(self, loss, trial, round_, task):
        size = trial.logits.square().mean()
        return loss + self.options["weight"] * size, {"size": size.detach()}

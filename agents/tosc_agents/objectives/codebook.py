"""The needs of a learned codebook besides the task: codewords near the features, and all of them in use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tosc_env import InputError, Objective, Round, SystemSpec, Task, Trial
from tosc_env.options import check_weight

NO_CODEBOOK = "the objective 'codebook' trains a scheme with a codebook, such as lbvq."


class Codebook(Objective):
    """A pull of codewords to the features that chose them, and of features to their codewords.

    ::

        loss = (loss so far) + |q - sg(z)|^2 + commitment * |sg(q) - z|^2

    (van den Oord et al., NeurIPS 2017), with sg the stopped gradient and a ``commitment`` of at least 0.  Before each
    epoch but those of the last tenth codewords that fell out of use are revived beside the busiest ones.

    >>> Codebook(SystemSpec((3, 32, 32), 10)).plain()
    {'name': 'codebook', 'commitment': 0.25}
    """

    name = "codebook"

    def __init__(self, spec: SystemSpec, *, commitment: float = 0.25) -> None:
        super().__init__(spec, commitment=check_weight(commitment, "commitment"))
        self.commitment = self.options["commitment"]

    def begin(self, scheme: Any, phase: str, epoch: int, epochs: int) -> None:
        if phase == "system" and epoch and epoch < 0.9 * epochs:
            backbone = getattr(scheme, "backbone", scheme)
            if not hasattr(backbone, "revive"):
                raise InputError(NO_CODEBOOK)
            backbone.revive()

    def loss(
        self, loss: Tensor, trial: Trial, round_: Round, task: Task
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        if trial.quantised is None:
            raise InputError(NO_CODEBOOK)
        features, codewords = trial.quantised
        fit = (codewords - features.detach()).square().sum(-1).mean()
        pull = (codewords.detach() - features).square().sum(-1).mean()
        return loss + fit + self.commitment * pull, {"distortion": fit.detach()}

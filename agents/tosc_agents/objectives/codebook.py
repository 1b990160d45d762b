"""What a learned codebook needs besides the task: codewords near the features, and all of them in use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tosc_env.errors import InputError
from tosc_env.schemes import Objective, PrivacyScheme, Trial
from tosc_env.tasks import Task
from tosc_env.types import Round, SystemSpec


class Codebook(Objective):
    """Moves codewords to the features that chose them, and features to their codewords.

    ::

        loss = (loss so far) + |q - sg(z)|^2 + commitment * |sg(q) - z|^2

    (van den Oord et al., NeurIPS 2017), with sg the stopped gradient.  Before each epoch codewords that fell out of use
    are revived beside the busiest ones; not in the last tenth, for one that is only just revived has not learnt what it
    stands for.

    Args:
        spec: the system's shapes.
        commitment: weight of the features' pull towards their codewords.

    Raises:
        InputError: in training, a scheme without a codebook.

    Example:
        >>> Codebook(SystemSpec((3, 32, 32), 10)).plain()
        {'name': 'codebook', 'commitment': 0.25}
    """

    name = "codebook"

    def __init__(self, spec: SystemSpec, *, commitment: float = 0.25) -> None:
        super().__init__(spec, commitment=commitment)
        self.commitment = commitment

    def begin(self, scheme: Any, phase: str, epoch: int, epochs: int) -> None:
        if phase == "system" and epoch and epoch < 0.9 * epochs:
            self._quantiser(scheme).revive()

    def loss(
        self, loss: Tensor, trial: Trial, round_: Round, task: Task
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        if trial.quantised is None:
            raise InputError("the objective 'codebook' trains a scheme with a codebook, such as lbvq.")
        features, chosen = trial.quantised
        fit = (chosen - features.detach()).square().sum(-1).mean()
        pull = (chosen.detach() - features).square().sum(-1).mean()
        return loss + fit + self.commitment * pull, {"distortion": fit.detach()}

    @staticmethod
    def _quantiser(scheme: PrivacyScheme) -> Any:
        backbone = getattr(scheme, "backbone", scheme)
        if not hasattr(backbone, "revive"):
            raise InputError("the objective 'codebook' trains a scheme with a codebook, such as lbvq.")
        return backbone

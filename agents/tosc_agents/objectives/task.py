"""The task's own loss."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from tosc_env import Objective, Round, SystemSpec, Task, Trial


class TaskLoss(Objective):
    """The task's own loss on the receiver's logits, and its score as ``accuracy``.

    >>> TaskLoss(SystemSpec((3, 32, 32), 10)).plain()
    {'name': 'task'}
    """

    name = "task"

    def __init__(self, spec: SystemSpec) -> None:
        super().__init__(spec)

    def loss(
        self, loss: Tensor, trial: Trial, round_: Round, task: Task
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        score = task.score(task.decide(trial.logits.detach()), round_.targets).mean()
        return loss + task.loss(trial.logits, round_.targets), {"accuracy": score}

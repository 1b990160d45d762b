"""An objective of your own: registered by ``tosc_env.register_objective``, here against a private attribute.

A training's objectives stand in a row, and each adds its term to the loss of those before it. An installed package
declares ``alike = "yourpackage:Alike"`` under the entry points ``tosc_env.objectives``, and
``tosc train deepjscc --objectives task alike:column=3`` knows it.

Example: python examples/extending/objective.py --attribute size --weight 2
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
import tyro
from torch import Tensor
from tosc_agents import LoopConfig, SchemeTraining, evaluate, fit_eavesdropper, fit_scheme

import tosc_env


@tosc_env.register_objective("alike")
class Alike(tosc_env.Objective):
    """A pull of an attribute's mean messages towards each other, which a linear attacker tells apart.

    Args:
        spec: the system's shapes.
        column: of the attribute among the source's.
        weight: of this term, at least 0.
    """

    name = "alike"

    def __init__(self, spec: tosc_env.SystemSpec, *, column: int = 0, weight: float = 1.0) -> None:
        super().__init__(spec, column=column, weight=weight)

    def loss(
        self, loss: Tensor, trial: tosc_env.Trial, round_: tosc_env.Round, task: tosc_env.Task
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        sent = trial.transmission.sent
        members = F.one_hot(round_.batch.attributes[:, self.options["column"]]).float()
        means = members.T @ sent / members.sum(0).clamp_min(1.0)[:, None]
        apart = (means - sent.mean(0)).square().sum(1).mean()
        return loss + self.options["weight"] * apart, {"apart": apart.detach()}


def main(attribute: str = "size", weight: float = 1.0, num_images: int = 1000, snr_db: float = 12.0) -> None:
    """Train the zoo's DeepJSCC two epochs more, for its task and then against a private attribute as well."""
    config = tosc_env.GameConfig("shapes", {"num_images": num_images}, snr_db=snr_db)
    game, test = config.game(half="system"), config.game(split="test")
    column = game.source.attribute_names.index(attribute)
    loop = LoopConfig(epochs=2, batch_size=100, learning_rate=0.02)
    for objectives in (["task"], ["task", {"name": "alike", "column": column, "weight": weight}]):
        # The zoo's weights are frozen until someone wants to train them.
        scheme = tosc_env.load_scheme("deepjscc", game).requires_grad_()
        fit_scheme(scheme, game, SchemeTraining(loop, flip=False, cutout=0), objectives=objectives)
        options = {"attributes": [attribute], "steps": 400, "width": 256, "batch_size": 100}
        attacker, _ = fit_eavesdropper("attribute", config.game(half="attacker"), scheme, options=options)
        found = evaluate(test, scheme, {"attacker": attacker}, snr_db=(snr_db,), seeds=1)
        figure = f"infer_{attribute}"
        guessed = found.leaks["attacker"][snr_db][figure].mean
        print(
            f"for {' and '.join(map(str, objectives))}: the receiver is right {found.accuracy[snr_db].mean:.1%} of the "
            f"time, {attribute} is guessed {guessed:.1%} (any constant answer: {found.chance[figure]:.1%})"
        )


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

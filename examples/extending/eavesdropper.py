"""An attacker of your own: registered by ``tosc_env.register_eavesdropper``, here with a guess of private attributes.

An attacker has one or more of ``reconstruct``, ``match`` and ``infer``; ``examples/custom_attacker.py`` rebuilds
images, this one infers. An installed package declares ``linear-probe = "yourpackage:LinearProbe"`` under the entry
points ``tosc_env.eavesdroppers``, and ``tosc attack ... --eavesdropper linear-probe`` knows it.

Example: python examples/extending/eavesdropper.py --queries 5000
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor
from tosc_agents import evaluate, fit_eavesdropper

import tosc_env


@tosc_env.register_eavesdropper("linear-probe")
class LinearProbe(tosc_env.Eavesdropper):
    """Ridge regression from what was heard to one column for each value of each attribute.

    Args:
        spec: the system's shapes.
        sizes: the attributes to infer, and how many values each has.
        ridge: added to the diagonal, above 0.
    """

    name = "linear-probe"

    def __init__(self, spec: tosc_env.SystemSpec, *, sizes: dict[str, int], ridge: float = 10.0) -> None:
        super().__init__(spec, sizes=sizes, ridge=ridge)
        # Which columns of the logits belong to which attribute.
        self.inferred = tuple(sizes.items())
        columns = sum(sizes.values())
        self.register_buffer("weight", torch.zeros(2 * spec.num_symbols, columns))
        self.register_buffer("offset", torch.zeros(columns))

    def fit(self, view: tosc_env.View, *, generator: torch.Generator, progress: Any = None) -> dict[str, Any]:
        """Everything comes from the view, which counts queries and denies what the threat model does not grant."""
        index = torch.arange(view.num_images, device=view.device)
        heard = view.sample(index)[0].received
        values, names = view.attributes(index), list(view.attribute_values)
        wanted = torch.cat([F.one_hot(values[:, names.index(n)], k) for n, k in self.inferred], dim=1).float()
        mean = heard.mean(0)
        gram = (heard - mean).T @ (heard - mean) + self.options["ridge"] * torch.eye(
            len(mean), device=view.device
        )
        self.weight = torch.linalg.solve(gram, (heard - mean).T @ (wanted - wanted.mean(0)))
        self.offset = wanted.mean(0) - mean @ self.weight
        return {"images": len(index)}

    def infer(self, received: Tensor, csi: Tensor) -> Tensor:
        return self.offset + received @ self.weight


def main(scheme: str = "deepjscc", queries: int = 2000, snr_db: float = 12.0) -> None:
    """Attack a scheme (a name in the zoo) with so many encoder queries on Shapes."""
    config = tosc_env.GameConfig("shapes", snr_db=snr_db)
    train, test = config.game(half="attacker"), config.game(split="test")
    target, threat = tosc_env.load_scheme(scheme, train), tosc_env.ThreatModel(queries=queries)
    values = dict(zip(train.source.attribute_names, train.source.attribute_values, strict=True))
    sizes = {name: len(values[name]) for name in ("size", "position")}
    attacker, record = fit_eavesdropper(
        "linear-probe", train, target, threat=threat, options={"sizes": sizes}
    )
    tosc_env.testing.check_eavesdropper(attacker)
    found = evaluate(test, target, {"probe": attacker}, snr_db=(snr_db,), seeds=1)
    print(f"threat model: {threat}; spent {record['queries']:,} queries")
    for name in sizes:
        figure = f"infer_{name}"
        right = found.leaks["probe"][snr_db][figure].mean
        print(
            f"{name}: right {right:.1%}, all values counting alike (any constant answer: {found.chance[figure]:.1%})"
        )


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)

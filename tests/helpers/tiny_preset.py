"""A preset of the experiments that takes seconds, for the tests."""

from dataclasses import replace

from tosc_agents.experiments import presets
from tosc_agents.experiments.attacks import EvaluationConfig


def tiny():
    plain = {"batch_size": 50, "flip": False, "cutout": 0}
    quick = presets.preset("quick")
    network = {"stem": 4, "widths": [4, 8, 8], "blocks": [0, 0, 0], "receiver_width": 16, "receiver_depth": 1}
    size = {"num_images": 200}
    return replace(
        quick,
        images=replace(quick.images, data_kwargs=size),
        network=network,
        recipes=presets.recipes(2, 1, 1, adversary_width=8, **plain),
        attackers=tuple(a for a in quick.attackers if a.key in ("linear", "match-query")),
        evaluation=EvaluationConfig((0.0, 12.0), seeds=2),
        faces=replace(quick.faces, data_kwargs={**quick.faces.data_kwargs, **size, "size": 16}),
        face_network=network,
        face_recipes=presets.recipes(1, 1, 1, adversary_width=8, **plain),
        face_attacker={"widths": [8, 8, 8, 8], "steps": 4, "batch_size": 50},
        folds=2,
        gender_epochs=1,
        timing={"batch_size": 50, "steps": 1, "repeats": 2},
    )

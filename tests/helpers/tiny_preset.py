"""A preset of the experiments that takes seconds, for the tests."""

from dataclasses import replace

from tosc_agents.experiments import presets
from tosc_agents.experiments.attacks import EvaluationConfig
from tosc_agents.experiments.systems import Systems

from tosc_env.game import GameConfig

FACE_NAMES = ["Mustache", "Smiling", "Wavy_Hair"]
FACE_NETWORK = {"stem": 4, "widths": [4, 8], "blocks": [0, 0], "receiver_width": 16, "receiver_depth": 1}
NETWORK = {"stem": 4, "widths": [4, 8, 8], "blocks": [0, 0, 0], "receiver_width": 16, "receiver_depth": 1}


def faces(num_images):
    """A task on three attributes of Shapes that are named like those of faces."""
    images = {"num_images": num_images, "size": 16, "binary_attributes": [*FACE_NAMES, "Male"]}
    return GameConfig("shapes", images, "attributes", {"names": FACE_NAMES}, num_symbols=16)


def tiny():
    plain = {"batch_size": 50, "flip": False, "cutout": 0}
    quick = presets.preset("quick")
    images, people, size = quick.images.setting, quick.faces.setting, {"num_images": 200}
    people = replace(people, data_kwargs={**people.data_kwargs, **size, "size": 16})
    return replace(
        quick,
        images=Systems(
            replace(images, data_kwargs=size), NETWORK, presets.recipes(2, 1, 1, adversary_width=8, **plain)
        ),
        attackers=tuple(a for a in quick.attackers if a.key in ("linear", "match-query")),
        evaluation=EvaluationConfig((0.0, 12.0), seeds=2),
        faces=Systems(people, NETWORK, presets.recipes(1, 1, 1, adversary_width=8, **plain)),
        face_attacker={"widths": [8, 8, 8, 8], "steps": 4, "batch_size": 50},
        folds=2,
        gender_epochs=1,
        timing={"batch_size": 50, "steps": 1, "repeats": 2},
    )

"""The size of each experiment: data, networks, trainings, attackers, seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tosc_agents.experiments.article import ATTRIBUTES, SNR_DB
from tosc_agents.experiments.attacks import Attacker, EvaluationConfig
from tosc_agents.experiments.methods import KEYS
from tosc_agents.experiments.systems import Recipe, Systems
from tosc_env.errors import unknown
from tosc_env.game import GameConfig

GENDER = "Male"
"""CelebA's name for the attribute that the article's figure 4 argues with."""

NOISY = ("label-only", "dp-0.05", "dp-0.1", "dp-0.9", "enc-rotation")
"""Methods that leave an attacker a label at most (a proof or measurements say so): it trains for less time."""

CLEAR = tuple(key for key in KEYS if key not in NOISY)


@dataclass(frozen=True)
class Preset:
    """One size of the whole.

    Attributes:
        told: what it is for.
        images, attackers, evaluation: of fig3 and table1.
        trainings: how many trainings, with seeds 0, 1, ..., each method of ``repeated`` (None: each) gets.
        faces: of table2, with so many ``folds``, and fig4, with the ``face_attacker`` and classifiers of gender that
            train for ``gender_epochs``.
        timing: batch size, steps, repeats and device of table1.
        repeated_attackers: keys of the attackers that later trainings face; None: all of them.
    """

    name: str
    told: str
    images: Systems
    attackers: tuple[Attacker, ...]
    evaluation: EvaluationConfig
    trainings: int
    faces: Systems
    face_attacker: Mapping[str, Any]
    folds: int
    gender_epochs: int
    timing: Mapping[str, Any]
    repeated: tuple[str, ...] | None = None
    repeated_attackers: tuple[str, ...] | None = None


def preset(name: str) -> Preset:
    """The preset of that name: ``quick``, ``cpu`` or ``article``; an InputError says that there is none.

    >>> preset("quick").images.setting.data
    'shapes'
    """
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return PRESETS[name]()


def recipes(
    baseline: int,
    warm: int,
    receiver: int,
    *,
    adversary_width: int | None = None,
    baseline_rate: float | None = None,
    **changes: Any,
) -> dict[str, Recipe]:
    """The trainings behind all methods, by key.

    Args:
        baseline, warm, receiver: epochs of the unprotected system, of those that start from its weights, of those that
            train a receiver behind its transmitter.
        adversary_width: of the simulated attackers; None: the usual one.
        baseline_rate: the baseline's learning rate, lower where images are few; None: the usual one.
        changes: of every recipe: batch size, augmentation.
    """
    width = {} if adversary_width is None else {"width": adversary_width}
    bottleneck = {"name": "bottleneck", **({"start": 1, "ramp": 4} if warm < 40 else {})}
    starved, milder = ({"name": "adversary", "weight": weight, **width} for weight in (2.0, 1.0))
    start = {"start": "baseline", **changes}
    behind = {**start, "receiver_only": True}
    laplace = {"epsilon": 0.1, "epsilon_range": [0.04, 1.0]}
    calibrated = {"mode": "calibrated", "constant": 1.0, "epsilon": 1.0, "epsilon_range": [0.3, 50.0]}
    return {
        "baseline": Recipe("deepjscc", {}, baseline, learning_rate=baseline_rate, **changes),
        # Two passes an epoch; and the bottleneck needs some epochs after its ramp.
        "ibal": Recipe("ibal", {}, warm + 2, objectives=("task", bottleneck, starved), **start),
        "vq": Recipe("lbvq", {}, warm, **start),
        "lbvq": Recipe("lbvq", {}, warm, objectives=("task", "codebook", milder), **start),
        "dp": Recipe("dp-laplace", laplace, receiver, **behind),
        "dp-calibrated": Recipe("dp-laplace", calibrated, receiver, **behind),
    }


def attackers(
    steps: Mapping[str, int],
    widths: Sequence[int],
    batch_size: int,
    matching: Mapping[str, Any] | None = None,
) -> tuple[Attacker, ...]:
    """The attackers that every method must face, and those that are made for some.

    Args:
        steps: at most, of ``mlp``, ``match``, ``label`` and ``decoder``; where there is a ``perceptual``, the article's
            attacker, the decoder with the VGG loss, is among them.
        widths: of the convolutional decoder.
        batch_size: of their training.
        matching: further options of ``match``.
    """
    mlp, match = steps["mlp"], steps["match"]
    batch = {"batch_size": batch_size}
    short, long = {"steps": mlp // 3, **batch}, {"steps": mlp, **batch}
    half = {"steps": mlp // 2, **batch}
    base = {"inversion-mlp": half, "label": half}
    both = {"base_attacks": list(base), "base_attack_kwargs": base}
    image = {
        "base_attacks": ["inversion-mlp"],
        "base_attack_kwargs": {"inversion-mlp": base["inversion-mlp"]},
    }
    cnn = {"widths": list(widths), **batch}
    matching = {**(matching or {}), **batch}
    open_methods = ("deepjscc", "ibal", "lbvq")
    found = [
        Attacker("linear", "linear"),
        Attacker("inversion-mlp", "inversion-mlp", long, CLEAR),
        Attacker("inversion-mlp", "inversion-mlp", short, NOISY),
        Attacker("inversion-mlp@12dB", "inversion-mlp", long, open_methods, 12.0),
        Attacker("inversion", "inversion", {**cnn, "steps": steps["decoder"]}, open_methods),
        Attacker("match", "match", {"steps": match, **matching}, CLEAR),
        Attacker("match", "match", {"steps": match // 3, **matching}, NOISY),
        Attacker("label", "label", {"steps": steps["label"], **batch}),
        Attacker("codebook", "codebook", both, ("vq", "lbvq")),
        Attacker("sorted", "sorted", both, ("enc-shuffle",)),
        Attacker("unshuffle", "unshuffle", image, ("enc-fixed",)),
    ]
    if "perceptual" in steps:
        vgg = {**cnn, "perceptual_weight": 1.0, "steps": steps["perceptual"]}
        found.append(Attacker("article", "inversion", vgg, open_methods))
    return tuple(found)


def _network(stem: int, widths: list[int]) -> dict[str, Any]:
    """A smaller network than the usual one."""
    return {"stem": stem, "widths": widths, "blocks": [1, 1, 1], "receiver_width": 192, "receiver_depth": 1}


def _quick() -> Preset:
    plain = {"flip": False, "cutout": 0, "batch_size": 125}
    network = _network(16, [32, 64, 96])
    names = list(ATTRIBUTES)
    faces = {"size": 64, "binary_attributes": [*names, GENDER], "num_images": 600}
    steps = {"mlp": 240, "match": 200, "label": 200, "decoder": 100}
    matching = {"towers": 1, "stem": 8, "widths": [24, 48, 96]}
    return Preset(
        "quick",
        "the embedded Shapes, minutes on two cores: shows that everything runs, and where it points",
        images=Systems(GameConfig("shapes"), network, recipes(12, 7, 6, adversary_width=128, **plain)),
        attackers=attackers(steps, (48, 32, 24, 16), 125, matching),
        evaluation=EvaluationConfig((0.0, 4.0, 12.0, 20.0), seeds=2),
        trainings=1,
        repeated=("deepjscc", "ibal", "lbvq"),
        faces=Systems(
            GameConfig("shapes", faces, "attributes", {"names": names}),
            {**network, "stem": 8},
            recipes(8, 4, 6, adversary_width=128, **plain),
        ),
        face_attacker={"widths": [32, 24, 16, 16], "steps": 40, "batch_size": 64},
        folds=3,
        gender_epochs=4,
        timing={"batch_size": 128, "steps": 4, "repeats": 3},
    )


def _cpu() -> Preset:
    steps = {"mlp": 3000, "match": 2400, "label": 2000, "decoder": 1000, "perceptual": 200}
    face_recipes = recipes(10, 4, 12, baseline_rate=0.1, batch_size=125)
    return Preset(
        "cpu",
        "CIFAR-10 and CelebA at what two cores do in a night",
        images=Systems(GameConfig("cifar10"), {}, recipes(60, 12, 20), shared_start=True),
        attackers=attackers(steps, (96, 48, 32, 16), 500),
        evaluation=EvaluationConfig(SNR_DB, seeds=3),
        trainings=3,
        repeated=("lbvq",),
        repeated_attackers=("linear", "inversion-mlp", "label"),
        faces=Systems(GameConfig("celeba"), _network(16, [32, 64, 128]), face_recipes, shared_start=True),
        face_attacker={"widths": [48, 32, 24, 16], "steps": 1000, "batch_size": 125},
        folds=5,
        gender_epochs=5,
        timing={"batch_size": 512, "steps": 3, "repeats": 3},
    )


def _article() -> Preset:
    steps = {"mlp": 10000, "match": 10000, "label": 10000, "decoder": 10000, "perceptual": 4000}
    return Preset(
        "article",
        "everything as long as the article trains, for a GPU",
        images=Systems(GameConfig("cifar10"), {}, recipes(200, 200, 60, batch_size=512)),
        attackers=attackers(steps, (256, 128, 64, 32), 500),
        evaluation=EvaluationConfig(SNR_DB, seeds=5, ssim_seeds=5),
        trainings=3,
        faces=Systems(GameConfig("celeba"), {}, recipes(60, 60, 40, batch_size=512)),
        face_attacker={"widths": [192, 96, 48, 32], "steps": 10000, "batch_size": 250},
        folds=5,
        gender_epochs=30,
        timing={"batch_size": 512, "steps": 20, "repeats": 5},
    )


PRESETS = {"quick": _quick, "cpu": _cpu, "article": _article}
"""By name."""

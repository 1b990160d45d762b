"""How much of each experiment is done: data, networks, trainings, attackers, seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tosc_agents.experiments.arms import KEYS
from tosc_agents.experiments.article import SNR_DB
from tosc_agents.experiments.attacks import Attacker, Measurement
from tosc_agents.experiments.trainings import Recipe
from tosc_env.errors import unknown
from tosc_env.game import GameConfig

FACES = ("Mustache", "Smiling", "Wavy_Hair")
"""The article's attributes, recognised by one model."""

NOISY = ("label-only", "dp-0.05", "dp-0.1", "dp-0.9", "enc-rotation")
"""Arms that leave an attacker a label at most (a proof or Part 2's measurements say so): it trains for less time."""

CLEAR = tuple(key for key in KEYS if key not in NOISY)


@dataclass(frozen=True)
class Preset:
    """One size of the whole.

    Attributes:
        name, told: what it is called, and what it is for.
        images, network, recipes, attackers, measured: of fig3 and table1.
        trainings: how many trainings, with seeds 0, 1, ..., each arm of ``repeated`` gets.
        repeated: keys of those arms; None: all of them.
        repeated_attackers: keys of the attackers that later trainings face; None: all of them.
        shared_start: later trainings start from the first one's baseline and do not train their own.
        faces, face_network, face_recipes, face_attacker: of table2 and fig4.
        folds: of table2's cross-validation.
        gender_epochs: of the classifiers of fig4.
        timing: table1's ``batch_size``, ``steps`` and ``repeats``, and whether the larger network is timed too.
    """

    name: str
    told: str
    images: GameConfig
    network: Mapping[str, Any]
    recipes: Mapping[str, Recipe]
    attackers: tuple[Attacker, ...]
    measured: Measurement
    trainings: int
    repeated: tuple[str, ...] | None
    repeated_attackers: tuple[str, ...] | None
    shared_start: bool
    faces: GameConfig
    face_network: Mapping[str, Any]
    face_recipes: Mapping[str, Recipe]
    face_attacker: Mapping[str, Any]
    folds: int
    gender_epochs: int
    timing: Mapping[str, Any] = field(default_factory=dict)


def preset(name: str) -> Preset:
    """The preset of that name: ``quick``, ``cpu`` or ``article``.

    Raises:
        InputError: there is none.

    >>> preset("quick").images.data
    'shapes'
    """
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return PRESETS[name]()


def recipes(
    baseline: int, warm: int, receiver: int, *, adversary_width: int | None = None, **changes: Any
) -> dict[str, Recipe]:
    """The trainings behind all arms, by key.

    Args:
        baseline: epochs of the unprotected system.
        warm: epochs of those that start from its weights.
        receiver: epochs of those that train a receiver behind its transmitter.
        adversary_width: of the simulated attackers; None: the usual one.
        changes: of every recipe: batch size, augmentation.
    """
    width = {} if adversary_width is None else {"width": adversary_width}
    bottleneck = {"name": "bottleneck", **({"start": 1, "ramp": 4} if warm < 40 else {})}
    starved, milder = ({"name": "adversary", "weight": weight, **width} for weight in (2.0, 1.0))
    found = {
        "baseline": Recipe("deepjscc", {}, baseline),
        # Two passes an epoch; and the bottleneck needs some epochs after its ramp.
        "ibal": Recipe("ibal", {}, warm + 2, start="baseline", objectives=("task", bottleneck, starved)),
        "vq": Recipe("lbvq", {}, warm, start="baseline"),
        "lbvq": Recipe("lbvq", {}, warm, start="baseline", objectives=("task", "codebook", milder)),
        "dp": Recipe(
            "dp-laplace",
            {"epsilon": 0.1, "epsilon_range": [0.04, 1.0]},
            receiver,
            start="baseline",
            receiver_only=True,
        ),
        "dp-calibrated": Recipe(
            "dp-laplace",
            {"mode": "calibrated", "constant": 1.0, "epsilon": 1.0, "epsilon_range": [0.3, 50.0]},
            receiver,
            start="baseline",
            receiver_only=True,
        ),
    }
    return {key: recipe.at(**changes) for key, recipe in found.items()}


def attackers(
    *,
    mlp: int,
    restarts: int,
    match: int,
    label: int,
    decoder: int,
    widths: tuple[int, ...],
    perceptual: int,
    batch_size: int,
) -> tuple[Attacker, ...]:
    """The attackers that every arm must face, and those that are made for some.

    Args:
        mlp, match, label, decoder: epochs of each kind.
        restarts: initialisations of the inversions.
        widths: of the convolutional decoder.
        perceptual: epochs of the article's attacker, the decoder with the VGG loss; 0: without it.
        batch_size: of their training.
    """
    short = {"epochs": max(2, mlp // 3), "restarts": 1, "batch_size": batch_size}
    long = {"epochs": mlp, "restarts": restarts, "batch_size": batch_size}
    behind = {"epochs": mlp // 2 + 1, "restarts": 1, "batch_size": batch_size}
    open_arms = ("deepjscc", "ibal", "lbvq")
    cnn = {"widths": list(widths), "restarts": 1, "batch_size": batch_size}
    found = [
        Attacker("linear", "linear"),
        Attacker("inversion-mlp", "inversion-mlp", long, CLEAR),
        Attacker("inversion-mlp", "inversion-mlp", short, NOISY),
        Attacker("inversion-mlp@12dB", "inversion-mlp", long, open_arms, 12.0),
        Attacker("inversion", "inversion", {**cnn, "epochs": decoder}, open_arms),
        Attacker("match", "match", {"epochs": match, "batch_size": batch_size}, CLEAR),
        Attacker("match", "match", {"epochs": max(2, match // 3), "batch_size": batch_size}, NOISY),
        Attacker("label", "label", {"epochs": label, "batch_size": batch_size}),
        Attacker("match-query", "match-query", {}, ("enc-shuffle", "enc-rotation")),
        Attacker(
            "codebook",
            "codebook",
            {"bases": ["inversion-mlp", "label"], "base_kwargs": behind},
            ("vq", "lbvq"),
        ),
        Attacker(
            "sorted",
            "sorted",
            {"bases": ["inversion-mlp", "label"], "base_kwargs": behind},
            ("enc-shuffle",),
        ),
        Attacker(
            "unshuffle", "unshuffle", {"bases": ["inversion-mlp"], "base_kwargs": behind}, ("enc-fixed",)
        ),
    ]
    if perceptual:
        loss = {"perceptual_weight": 1.0}
        found.append(Attacker("article", "inversion", {**cnn, **loss, "epochs": perceptual}, open_arms))
    return tuple(found)


def _gently(found: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """With a lower learning rate for the baseline, as a few thousand images need."""
    return {**found, "baseline": found["baseline"].at(learning_rate=0.1)}


def _quick() -> Preset:
    plain = {"flip": False, "cutout": 0, "batch_size": 125}
    network = {
        "stem": 16,
        "widths": [32, 64, 96],
        "blocks": [1, 1, 1],
        "receiver_width": 192,
        "receiver_depth": 1,
    }
    faces = GameConfig(
        "shapes",
        {"size": 64, "binary_attributes": list(FACES), "num_images": 1500},
        "attributes",
        {"names": list(FACES)},
    )
    return Preset(
        "quick",
        "the embedded Shapes, minutes on two cores: shows that everything runs, and where it points",
        images=GameConfig("shapes"),
        network=network,
        recipes=recipes(14, 8, 8, adversary_width=128, **plain),
        attackers=attackers(
            mlp=9,
            restarts=1,
            match=8,
            label=8,
            decoder=3,
            widths=(48, 32, 24, 16),
            perceptual=0,
            batch_size=125,
        ),
        measured=Measurement(SNR_DB, seeds=2),
        trainings=1,
        repeated=("deepjscc", "ibal", "lbvq"),
        repeated_attackers=None,
        shared_start=False,
        faces=faces,
        face_network={**network, "stem": 8},
        face_recipes=recipes(8, 4, 6, adversary_width=128, **plain),
        face_attacker={"widths": [32, 24, 16, 16], "restarts": 1, "epochs": 3, "batch_size": 125},
        folds=3,
        gender_epochs=4,
        timing={"batch_size": 128, "steps": 4, "repeats": 3, "large": False},
    )


def _cpu() -> Preset:
    face_network = {
        "stem": 16,
        "widths": [32, 64, 128],
        "blocks": [1, 1, 1],
        "receiver_width": 192,
        "receiver_depth": 1,
    }
    return Preset(
        "cpu",
        "CIFAR-10 and CelebA at what two cores do in a night",
        images=GameConfig("cifar10"),
        network={},
        recipes=recipes(60, 12, 20),
        attackers=attackers(
            mlp=24,
            restarts=1,
            match=6,
            label=15,
            decoder=8,
            widths=(96, 48, 32, 16),
            perceptual=3,
            batch_size=500,
        ),
        measured=Measurement(SNR_DB, seeds=3),
        trainings=3,
        repeated=("lbvq",),
        repeated_attackers=("linear", "inversion-mlp", "label"),
        shared_start=True,
        faces=GameConfig("celeba"),
        face_network=face_network,
        face_recipes=_gently(recipes(10, 4, 12, batch_size=125)),
        face_attacker={"widths": [48, 32, 24, 16], "restarts": 1, "epochs": 5, "batch_size": 125},
        folds=5,
        gender_epochs=5,
        timing={"batch_size": 512, "steps": 3, "repeats": 3, "large": True},
    )


def _article() -> Preset:
    return Preset(
        "article",
        "everything as long as the article trains, for a GPU",
        images=GameConfig("cifar10"),
        network={},
        recipes=recipes(200, 200, 60, batch_size=512),
        attackers=attackers(
            mlp=60,
            restarts=3,
            match=60,
            label=40,
            decoder=40,
            widths=(256, 128, 64, 32),
            perceptual=40,
            batch_size=500,
        ),
        measured=Measurement(SNR_DB, seeds=5, ssim_seeds=5),
        trainings=3,
        repeated=None,
        repeated_attackers=None,
        shared_start=False,
        faces=GameConfig("celeba"),
        face_network={},
        face_recipes=recipes(60, 60, 40, batch_size=512),
        face_attacker={"widths": [192, 96, 48, 32], "restarts": 2, "epochs": 40, "batch_size": 250},
        folds=5,
        gender_epochs=30,
        timing={"batch_size": 512, "steps": 20, "repeats": 5, "large": True},
    )


PRESETS = {"quick": _quick, "cpu": _cpu, "article": _article}
"""By name."""

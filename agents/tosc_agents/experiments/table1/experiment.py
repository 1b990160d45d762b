"""The article's complexity table, measured here: what every scheme costs, in one run, beside the article's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tosc_agents.backbones.cnn import LARGE_NETWORK
from tosc_agents.experiments.jobs import Job, RunCache
from tosc_agents.experiments.methods import KEYS, method
from tosc_agents.experiments.table1.costs import Place, TimedInference, TimedTraining, machine
from tosc_agents.experiments.trainings import Recipe
from tosc_env.errors import InputError
from tosc_env.game import GameConfig

BASELINE = "deepjscc"
"""What ratios are to."""

ONE_BUDGET = {"dp": "dp-0.1", "dp-calibrated": "dp-cal-0.1"}
"""The method that stands for all budgets of a training: another number costs the same."""

LARGE = (BASELINE, "ibal", "lbvq")
"""The methods that are measured with :data:`~tosc_agents.backbones.cnn.LARGE_NETWORK` too."""

OF_A_STEP = ("scheme", "options", "objectives", "receiver_only", "optimizer", "flip", "cutout", "pad")
"""What of a recipe a step's cost depends on."""


def distinct(methods: Sequence[str]) -> list[str]:
    """The methods that differ in what they cost, the baseline always among them, in the order of every table.

    >>> distinct(["lbvq", "dp-0.05", "dp-0.9", "dp-cal-0.05"])
    ['deepjscc', 'dp-0.1', 'dp-cal-0.1', 'lbvq']
    """
    found = {ONE_BUDGET.get(method(key).training, key) for key in (BASELINE, *methods)}
    return [key for key in (*KEYS, *sorted(found - set(KEYS))) if key in found]


def plan(
    setting: GameConfig,
    network: Mapping[str, Any],
    recipes: Mapping[str, Recipe],
    *,
    methods: Sequence[str],
    batch_size: int,
    steps: int,
    repeats: int,
    large: bool,
    device: str = "cpu",
) -> Job:
    """The one job of the table: everything in it is measured in one run.

    Its result has the run's circumstances; ``trainings``: for each, ``seconds`` per step of each pass in each repeat;
    ``schemes``: for each, what :func:`~tosc_agents.complexity.complexity` counts and seconds per image. Keys are
    ``small`` or ``large``, the network, then a training's or a method's key; a training named ``... whole`` is that of
    a scheme whose receiver alone is trained here.

    Args:
        setting: whose system's half of the training images is trained on.
        network: options that all schemes' networks share.
        recipes: what is trained, by training.
        methods: keys of those measured; see :func:`distinct`.
        batch_size: images per step; all there are, where there are fewer.
        steps: steps of each pass that are timed in each repeat.
        repeats: rounds through all schemes in turn.
        large: measure :data:`LARGE` with the larger network, too.
        device: where it is measured: seconds of another device are another job's.

    Raises:
        InputError: an unknown method, or a number below 1.
    """
    for name, value in (("batch_size", batch_size), ("steps", steps), ("repeats", repeats)):
        if value < 1:
            raise InputError(f"{name} must be at least 1, not {value}.")
    keys = distinct(methods)
    plain = {key: asdict(recipes[key]) for key in dict.fromkeys(method(key).training for key in keys)}
    inputs = {
        "version": 1,
        "setting": setting.plain(),
        "network": dict(network),
        "methods": keys,
        "recipes": {key: {name: one[name] for name in OF_A_STEP} for key, one in plain.items()},
        "batch_size": batch_size,
        "steps": steps,
        "repeats": repeats,
        "large": dict(LARGE_NETWORK) if large else None,
        "device": device,
    }

    def work(cache: RunCache, folder: Path) -> dict[str, Any]:
        source = setting.source(split="train", half="system", device=cache.device)
        place = Place(setting, source, min(batch_size, len(source)))
        networks = {"small": (network, keys)}
        if large:
            networks["large"] = ({**network, **LARGE_NETWORK}, [key for key in LARGE if key in keys])
        trainings: dict[str, TimedTraining] = {}
        schemes: dict[str, TimedInference] = {}
        for size, (options, own) in networks.items():
            for key in own:
                training = method(key).training
                recipe = recipes[training]
                schemes[f"{size} {key}"] = TimedInference(place, method(key), recipe, options)
                name = f"{size} {training}"
                if name not in trainings:
                    trainings[name] = TimedTraining(place, recipe, options)
                    if recipe.receiver_only:
                        trainings[f"{name} whole"] = TimedTraining(place, recipe, options, whole=True)
        return {
            **_timed(cache, place, trainings, schemes, steps, repeats),
            "data": source.name,
            "provenance": source.provenance,
            "images": len(source),
            "batch_size": place.batch_size,
            "steps": steps,
            "repeats": repeats,
            "steps_per_epoch": place.steps_per_epoch,
            **machine(cache.device, place.precision),
        }

    return Job("table1", inputs, work)


def _timed(
    cache: RunCache,
    place: Place,
    trainings: Mapping[str, TimedTraining],
    schemes: Mapping[str, TimedInference],
    steps: int,
    repeats: int,
) -> dict[str, Any]:
    """Count, then time all trainings and all schemes in turn, ``repeats`` times."""
    trained: dict[str, dict[str, Any]] = {
        name: {"receiver_only": one.receiver_only, "seconds": {part: [] for part in one.passes}}
        for name, one in trainings.items()
    }
    sent: dict[str, dict[str, Any]] = {
        name: {**asdict(one.complexity()), "training": method(name.split(" ")[1]).training}
        | {"seconds_per_image": [], "seconds_batch1": []}
        for name, one in schemes.items()
    }
    done, total = 0, (repeats + 1) * (len(trainings) + len(schemes))
    with cache.progress(f"time {len(schemes)} schemes on {place.source.name}") as progress:
        for repeat in range(repeats + 1):
            # The round before the first is one step long and not counted: it finds kernels and fills caches.
            length = steps if repeat else 1
            for name, timed in trainings.items():
                for part, seconds in timed.seconds(length).items():
                    if repeat:
                        trained[name]["seconds"][part].append(seconds)
                progress(done := done + 1, total, {"repeat": repeat})
            for name, scheme in schemes.items():
                single, batch = scheme.seconds(length)
                if repeat:
                    sent[name]["seconds_batch1"].append(single)
                    sent[name]["seconds_per_image"].append(batch)
                progress(done := done + 1, total, {"repeat": repeat})
    return {"trainings": trained, "schemes": sent}

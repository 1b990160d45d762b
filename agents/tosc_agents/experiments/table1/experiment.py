"""The article's complexity table, measured here: what every scheme costs, in one run, beside the article's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tosc_agents.backbones.cnn import LARGE_NETWORK
from tosc_agents.experiments.arms import KEYS, arm
from tosc_agents.experiments.cells import Cell, Work
from tosc_agents.experiments.findings import Findings
from tosc_agents.experiments.presets import recipes as usual_recipes
from tosc_agents.experiments.table1.costs import Place, TimedInference, TimedTraining, machine
from tosc_agents.experiments.table1.findings import NAME, findings
from tosc_agents.experiments.trainings import Recipe
from tosc_env.errors import InputError
from tosc_env.game import GameConfig

BASELINE = "deepjscc"
"""What ratios are to."""

ONE_BUDGET = {"dp": "dp-0.1", "dp-calibrated": "dp-cal-0.1"}
"""The arm that stands for all budgets of a training: another number costs the same."""

LARGE = (BASELINE, "ibal", "lbvq")
"""The arms that are measured with :data:`~tosc_agents.backbones.cnn.LARGE_NETWORK` too."""


def distinct(arms: Sequence[str]) -> list[str]:
    """The arms that differ in what they cost, the baseline always among them, in the order of every table.

    >>> distinct(["lbvq", "dp-0.05", "dp-0.9", "dp-cal-0.05"])
    ['deepjscc', 'dp-0.1', 'dp-cal-0.1', 'lbvq']
    """
    found = {ONE_BUDGET.get(arm(key).training, key) for key in (BASELINE, *arms)}
    return [key for key in (*KEYS, *sorted(found - set(KEYS))) if key in found]


def plan(
    setting: GameConfig,
    network: Mapping[str, Any],
    *,
    arms: Sequence[str],
    batch_size: int,
    steps: int,
    repeats: int,
    large: bool,
    recipes: Mapping[str, Recipe] | None = None,
    device: str = "cpu",
) -> Cell:
    """The one cell of the table: everything in it is measured in one run.

    Args:
        setting: whose system's half of the training images is trained on.
        network: options that all schemes' networks share.
        arms: keys of the arms; see :func:`distinct`.
        batch_size: images per step; all there are, where there are fewer.
        steps: steps of each pass that are timed in each repeat.
        repeats: rounds through all schemes in turn.
        large: measure :data:`LARGE` with the larger network, too.
        recipes: what is trained, by training; None: as all presets do, but for epochs and batches.
        device: where it is measured: seconds of another device are another cell's.

    Raises:
        InputError: an unknown arm, or a number below 1.
    """
    for name, value in (("batch_size", batch_size), ("steps", steps), ("repeats", repeats)):
        if value < 1:
            raise InputError(f"{name} must be at least 1, not {value}.")
    keys = distinct(arms)
    chosen = usual_recipes(1, 1, 1) if recipes is None else recipes
    trained = {arm(key).training: chosen[arm(key).training] for key in keys}
    inputs = {
        "version": 1,
        "setting": setting.plain(),
        "network": dict(network),
        "arms": keys,
        "recipes": {key: _of_a_step(recipe) for key, recipe in trained.items()},
        "batch_size": batch_size,
        "steps": steps,
        "repeats": repeats,
        "large": dict(LARGE_NETWORK) if large else None,
        "device": device,
    }

    def work(work: Work) -> dict[str, Any]:
        source = setting.source(split="train", half="system", device=work.device)
        place = Place(setting, source, min(batch_size, len(source)))
        measured = measure(work, place, dict(network), keys, trained, steps, repeats, large)
        return {
            **measured,
            "data": source.name,
            "provenance": source.provenance,
            "images": len(source),
            "batch_size": place.batch_size,
            "steps": steps,
            "repeats": repeats,
            "steps_per_epoch": place.steps_per_epoch,
            **machine(work.device, place.precision),
        }

    return Cell(NAME, inputs, work)


def present(result: dict[str, Any], *, folder: Path, notes: list[str]) -> Findings:
    """The rows, the table and the sentences about a finished cell's result; it has no pictures for the folder."""
    return findings(result, baseline=BASELINE, notes=notes)


def measure(
    work: Work,
    place: Place,
    network: Mapping[str, Any],
    keys: Sequence[str],
    recipes: Mapping[str, Recipe],
    steps: int,
    repeats: int,
    large: bool,
) -> dict[str, Any]:
    """Count, then time all trainings and all schemes in turn, ``repeats`` times.

    Returns:
        ``trainings``: for each, ``seconds`` per step of each pass in each repeat; ``schemes``: for each, what
        :func:`~tosc_agents.complexity.complexity` counts and seconds per image. Keys are ``small`` or ``large``, the
        network, then a training's or an arm's key; a training named ``... whole`` is that of a scheme whose receiver
        alone is trained here.
    """
    networks = {"small": (network, keys)}
    if large:
        networks["large"] = ({**network, **LARGE_NETWORK}, [key for key in LARGE if key in keys])
    trainings: dict[str, TimedTraining] = {}
    schemes: dict[str, TimedInference] = {}
    for size, (options, own) in networks.items():
        for key in own:
            training = arm(key).training
            recipe = recipes[training]
            schemes[f"{size} {key}"] = TimedInference(place, arm(key), recipe, options)
            if f"{size} {training}" not in trainings:
                trainings[f"{size} {training}"] = TimedTraining(place, recipe, options)
                if recipe.receiver_only:
                    trainings[f"{size} {training} whole"] = TimedTraining(place, recipe, options, whole=True)
    record: dict[str, Any] = {
        "trainings": {
            name: {"receiver_only": one.receiver_only, "seconds": {part: [] for part in one.passes}}
            for name, one in trainings.items()
        },
        "schemes": {
            name: {**asdict(one.complexity()), "training": arm(name.split(" ")[1]).training}
            | {"seconds_per_image": [], "seconds_batch1": []}
            for name, one in schemes.items()
        },
    }
    total = (repeats + 1) * (len(trainings) + len(schemes))
    with work.progress(f"time {len(schemes)} schemes on {place.source.name}") as progress:
        done = 0
        for repeat in range(repeats + 1):
            # The round before the first is one step long and not counted: it finds kernels and fills caches.
            length = steps if repeat else 1
            for name, timed in trainings.items():
                for part, seconds in timed.seconds(length).items():
                    if repeat:
                        record["trainings"][name]["seconds"][part].append(seconds)
                progress(done := done + 1, total, {"repeat": repeat})
            for name, scheme in schemes.items():
                single, batch = scheme.seconds(length)
                if repeat:
                    record["schemes"][name]["seconds_batch1"].append(single)
                    record["schemes"][name]["seconds_per_image"].append(batch)
                progress(done := done + 1, total, {"repeat": repeat})
    return record


def _of_a_step(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe a step's cost depends on."""
    plain = recipe.plain()
    told = ("scheme", "options", "objectives", "receiver_only", "optimizer", "flip", "cutout", "pad")
    return {k: plain[k] for k in told}

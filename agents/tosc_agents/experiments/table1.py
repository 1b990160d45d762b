"""The article's complexity table, measured here: what every scheme costs, in one run, beside the article's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from tosc_agents.experiments import article
from tosc_agents.experiments.costs import Place, TimedInference, TimedTraining, machine
from tosc_agents.experiments.jobs import Job, RunCache
from tosc_agents.experiments.measurements import REPEATS, knob
from tosc_agents.experiments.methods import KEYS, label, method
from tosc_agents.experiments.sections import Plot, Section, Table
from tosc_agents.experiments.systems import source_of
from tosc_agents.experiments.trainings import Recipe
from tosc_agents.training.evaluate import Figure
from tosc_env.errors import InputError
from tosc_env.game import GameConfig

BASELINE = "deepjscc"
"""What ratios are to."""

ONE_BUDGET = {"dp": "dp-0.1", "dp-calibrated": "dp-cal-0.1"}
"""The method that stands for all budgets of a training: another number costs the same."""

OF_A_STEP = ("scheme", "options", "objectives", "receiver_only", "optimizer", "flip", "cutout", "pad")
"""What of a recipe a step's cost depends on."""

COUNTS = ("macs", "parameters", "training_parameters")
EPOCH, IMAGE, SINGLE = "seconds_per_epoch", "seconds_per_image", "seconds_batch1"


def distinct(methods: Sequence[str]) -> list[str]:
    """The methods that differ in what they cost, the baseline always among them, in the order of every table.

    >>> distinct(["lbvq", "dp-0.05", "dp-0.9", "dp-cal-0.05"])
    ['deepjscc', 'dp-0.1', 'dp-cal-0.1', 'lbvq']
    """
    found = {ONE_BUDGET.get(method(key).training, key) for key in (BASELINE, *methods)}
    return [key for key in (*KEYS, *sorted(found - set(KEYS))) if key in found]


class Table1:
    """The one job of the table: everything in it is measured in one run, scheme after scheme in turn.

    Args:
        setting: whose system's half of the training images is trained on.
        network: options that all schemes' networks share.
        recipes: what is trained, by training.
        methods: keys of those measured; see :func:`distinct`.
        batch_size: images per step; all there are, where there are fewer.
        steps: steps of each pass that are timed in each repeat.
        repeats: rounds through all schemes in turn.
        device: where it is measured: seconds of another device are another job's.

    Raises:
        InputError: an unknown method, or a number below 1.
    """

    def __init__(
        self,
        setting: GameConfig,
        network: Mapping[str, Any],
        recipes: Mapping[str, Recipe],
        *,
        methods: Sequence[str],
        batch_size: int,
        steps: int,
        repeats: int,
        device: str = "cpu",
    ) -> None:
        for name, value in (("batch_size", batch_size), ("steps", steps), ("repeats", repeats)):
            if value < 1:
                raise InputError(f"{name} must be at least 1, not {value}.")
        self.setting, self.network, self.recipes = setting, network, recipes
        self.keys = distinct(methods)
        self.size = {"batch_size": batch_size, "steps": steps, "repeats": repeats}
        trainings = dict.fromkeys(method(key).training for key in self.keys)
        plain = {key: asdict(recipes[key]) for key in trainings}
        inputs = {
            "version": 2,
            "setting": setting.plain(),
            "data": source_of(setting, "train", "system").identity(),
            "network": dict(network),
            "methods": self.keys,
            "recipes": {key: {name: one[name] for name in OF_A_STEP} for key, one in plain.items()},
            **self.size,
            "device": device,
        }
        self.jobs = [Job("table1", inputs, self._measure)]

    def _measure(self, cache: RunCache, folder: Path) -> dict[str, Any]:
        """Count, then time all trainings and all schemes in turn."""
        source = source_of(self.setting, "train", "system", cache.device)
        place = Place(self.setting, source, min(self.size["batch_size"], len(source)))
        recipes = {key: self.recipes[method(key).training] for key in self.keys}
        schemes = {key: TimedInference(place, method(key), recipes[key], self.network) for key in self.keys}
        trainings = {
            method(key).training: TimedTraining(place, recipe, self.network)
            for key, recipe in recipes.items()
        }
        trained: dict[str, list[float]] = {key: [] for key in trainings}
        sent: dict[str, dict[str, list[float]]] = {key: {SINGLE: [], IMAGE: []} for key in schemes}
        total = (self.size["repeats"] + 1) * (len(trainings) + len(schemes))
        done = 0
        with cache.progress(f"time {len(schemes)} schemes on {source.name}") as progress:
            for repeat in range(self.size["repeats"] + 1):
                # The round before the first is one step long and not counted: it finds kernels and fills caches.
                length = self.size["steps"] if repeat else 1
                for key, training in trainings.items():
                    epoch = place.steps_per_epoch * sum(training.seconds(length).values())
                    trained[key] += [epoch] if repeat else []
                    progress(done := done + 1, total, {"repeat": repeat})
                for key, scheme in schemes.items():
                    for name, seconds in zip((SINGLE, IMAGE), scheme.seconds(length), strict=True):
                        sent[key][name] += [seconds] if repeat else []
                    progress(done := done + 1, total, {"repeat": repeat})
        return {
            "schemes": {
                key: {**asdict(one.complexity()), **sent[key], EPOCH: trained[method(key).training]}
                for key, one in schemes.items()
            },
            "provenance": source.provenance,
            "images": len(source),
            "steps_per_epoch": place.steps_per_epoch,
            **self.size,
            "batch_size": place.batch_size,
            **machine(cache.device, place.precision),
        }

    def rows(self, cache: RunCache) -> list[dict[str, Any]]:
        """Counts, and medians of seconds over the repeats with the 95 % interval of the repeats' mean."""
        if not cache.finished(self.jobs[0]):
            return []
        rows: list[dict[str, Any]] = []
        for key, scheme in cache.result(self.jobs[0])["schemes"].items():
            at = {"experiment": "table1", "method": key, "knob": knob(key)}
            rows += [{**at, "metric": name, "value": scheme[name]} for name in COUNTS]
            for name in (EPOCH, IMAGE, SINGLE):
                seconds = scheme[name]
                spread = {"interval": Figure.of(seconds).interval, "samples": len(seconds), "over": REPEATS}
                rows.append({**at, "metric": name, "value": median(seconds), **spread})
        return rows

    def section(self, cache: RunCache, folder: Path) -> Section:
        """Notes that a reader needs to use the figures."""
        result = cache.result(self.jobs[0])
        notes = [
            f"Measured on {result['device']} ({result['processor']}, {result['cores']} cores), {result['threads']} "
            f"threads of torch {result['torch']}, {result['precision']}, batches of {result['batch_size']} images. "
            f"All schemes took turns {result['repeats']} times within one run; seconds are medians.",
            f"Seconds per epoch are extrapolated from {result['steps']} steps of each pass per turn to the "
            f"{result['steps_per_epoch']} steps that a pass over the {result['images']:,} images has, with every pass "
            "of a simulated adversary. Who has no training of its own has the baseline's; of DP the receiver alone is "
            "trained, and one budget stands for all.",
            "Transmitter and receiver are timed, the channel between them is not. FLOPs are counted as "
            "multiply-accumulates, as the article most likely does.",
        ]
        return Section("Table 1: what each scheme costs", result["provenance"], notes, details=result)

    @staticmethod
    def show(table: pd.DataFrame, folder: Path) -> tuple[list[Plot], list[Table]]:
        """Ours beside the article's, with ratios to the baseline."""
        value = {(row.method, row.metric): row.value for row in table.itertuples()}
        lines = []
        for key in table.method.unique():
            line = {
                "scheme": label(key),
                "GMAC": f"{value[key, 'macs'] / 1e9:.3f}",
                "M parameters": f"{value[key, 'parameters'] / 1e6:.2f}",
                "in training": f"{value[key, 'training_parameters'] / 1e6:.2f}",
                "s per epoch": f"{value[key, EPOCH]:.3g}",
                "epoch ×": f"{value[key, EPOCH] / value[BASELINE, EPOCH]:.2f}",
                "ms for one image": f"{1e3 * value[key, SINGLE]:.3g}",
                "image ×": f"{value[key, SINGLE] / value[BASELINE, SINGLE]:.2f}",
                "ms per image in a batch": f"{1e3 * value[key, IMAGE]:.3g}",
            }
            lines.append(line | _printed(key))
        caption = (
            "Seconds compare machines: compare ratios, which are to DeepJSCC. The article's figures are repeated for "
            "each of our schemes that goes by its name."
        )
        title = "What each scheme costs, beside the article's complexity table"
        return [], [Table(title, pd.DataFrame(lines).fillna(""), caption)]


def _printed(key: str) -> dict[str, str]:
    """The article's figures for a scheme, with ratios to its DeepJSCC; none if it does not have the scheme."""
    printed = article.COMPLEXITY.get(article.complexity_key(method(key).article or ""))
    first = article.COMPLEXITY["DeepJSCC"]
    if printed is None:
        return {}
    return {
        "article: GFLOPs": f"{printed.gflops:g}",
        "article: M parameters": f"{printed.mparameters:g}",
        "article: epoch ×": f"{printed.seconds_per_epoch / first.seconds_per_epoch:.2f}",
        "article: image ×": f"{printed.seconds_per_image / first.seconds_per_image:.2f}",
    }

"""The article's complexity table, measured here: what every scheme costs, beside the article's figures.

Costs are counted, and timed in turn in one run, so that a slow moment of the machine hits all alike.
"""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch
from torch.utils.benchmark import Timer
from torch.utils.benchmark.utils.timer import timer

from tosc_agents.complexity import Complexity, complexity
from tosc_agents.experiments import article
from tosc_agents.experiments.jobs import Job, RunCache
from tosc_agents.experiments.measurements import REPEATS, by_scheme, written
from tosc_agents.experiments.methods import KEYS, Method, method
from tosc_agents.experiments.presets import Preset
from tosc_agents.experiments.report import Plot, Section, Table, notes
from tosc_agents.experiments.systems import Recipe, source_of
from tosc_agents.learning.loop import Step
from tosc_agents.learning.precision import Precision, autocast, resolve_precision
from tosc_agents.learning.seeding import weights_from
from tosc_agents.training.evaluate import Figure
from tosc_agents.training.fit_receiver import ReceiverTrainee
from tosc_agents.training.fit_scheme import Trainee
from tosc_env.data.base import Source
from tosc_env.exchange import rollout
from tosc_env.game import Game, GameConfig
from tosc_env.pipeline import Pipeline, make_scheme

BASELINE = "deepjscc"
"""What ratios are to."""

ONE_BUDGET = {"dp": "dp-0.1", "dp-calibrated": "dp-cal-0.1"}
"""The method that stands for all budgets of a training: another number costs the same."""

OF_A_STEP = ("scheme", "options", "objectives", "receiver_only", "optimizer", "flip", "cutout", "pad")
"""What of a recipe a step's cost depends on."""

COUNTS = ("macs", "parameters", "training_parameters")
EPOCH, IMAGE, SINGLE = "seconds_per_epoch", "seconds_per_image", "seconds_batch1"

SINGLES = 20
"""Images sent one by one for each step that is timed: one image takes far less time than a step."""

COPIES = 3
"""Outputs of the transmitter kept of each image where a receiver alone is trained, as ``fit_receiver`` does."""

SHARE = 1e-6
"""The share of the learning rate at which timed steps are taken: a small one, whatever the scheme."""

CAPTION = (
    "Seconds compare machines: compare ratios, which are to DeepJSCC. The article's figures are repeated for each of "
    "our schemes that goes by its name."
)


def distinct(methods: Sequence[str]) -> list[str]:
    """The methods that differ in what they cost, the baseline always among them, in the order of every table.

    >>> distinct(["lbvq", "dp-0.05", "dp-0.9", "dp-cal-0.05"])
    ['deepjscc', 'dp-0.1', 'dp-cal-0.1', 'lbvq']
    """
    found = {ONE_BUDGET.get(method(key).training, key) for key in (BASELINE, *methods)}
    return [key for key in (*KEYS, *sorted(found - set(KEYS))) if key in found]


class Table1:
    """The one job of the table: everything in it is measured in one run, scheme after scheme in turn.

    Steps of the recipes are taken on the system's half of the training images. Seconds of another device are another
    job's.
    """

    def __init__(self, preset: Preset, methods: Sequence[str]) -> None:
        self.systems, self.keys, self.size = preset.images, distinct(methods), preset.timing
        recipes = {
            key: asdict(self.systems.recipes[key]) for key in {method(key).training for key in self.keys}
        }
        inputs = {
            "version": 2,
            "setting": self.systems.setting.plain(),
            "data": source_of(self.systems.setting, "train", "system").identity(),
            "network": dict(self.systems.network),
            "methods": self.keys,
            "recipes": {key: {name: one[name] for name in OF_A_STEP} for key, one in recipes.items()},
            **self.size,
        }
        self.jobs = [Job("table1", inputs, self._measure)]

    def _measure(self, cache: RunCache, folder: Path) -> dict[str, Any]:
        """Count, then time all trainings and all schemes in turn."""
        network, setting = self.systems.network, self.systems.setting
        source = source_of(setting, "train", "system", cache.device)
        place = Place(setting, source, min(self.size["batch_size"], len(source)))
        recipes = {key: self.systems.recipes[method(key).training] for key in self.keys}
        schemes = {key: TimedInference(place, method(key), recipes[key], network) for key in self.keys}
        trainings = {
            method(key).training: TimedTraining(place, recipe, network) for key, recipe in recipes.items()
        }
        timed: list[tuple[str, TimedTraining | TimedInference]] = [*trainings.items(), *schemes.items()]
        seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
        total = (self.size["repeats"] + 1) * len(timed)
        done = 0
        with cache.progress(f"time {len(schemes)} schemes on {source.name}") as progress:
            for repeat in range(self.size["repeats"] + 1):
                for key, one in timed:
                    # The round before the first is one step long and not counted: it finds kernels and fills caches.
                    found = one.seconds(self.size["steps"] if repeat else 1)
                    if isinstance(one, TimedTraining):
                        found = {EPOCH: place.steps_per_epoch * sum(found.values())}
                    for name, value in found.items():
                        seconds[key, name] += [value] if repeat else []
                    progress(done := done + 1, total, {"repeat": repeat})
        return {
            "schemes": {
                key: {
                    **asdict(one.complexity()),
                    **{name: seconds[key, name] for name in (SINGLE, IMAGE)},
                    EPOCH: seconds[method(key).training, EPOCH],
                }
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
            at = {"experiment": "table1", "method": key}
            rows += [{**at, "metric": name, "value": scheme[name]} for name in COUNTS]
            for name in (EPOCH, IMAGE, SINGLE):
                spread = {"interval": Figure.of(scheme[name]).interval, "samples": len(scheme[name])}
                rows.append({**at, "metric": name, "value": median(scheme[name]), **spread, "over": REPEATS})
        return rows

    def section(self, cache: RunCache, folder: Path) -> Section:
        """Notes that a reader needs to use the figures."""
        result = cache.result(self.jobs[0])
        return Section("Table 1: what each scheme costs", result["provenance"], notes("table1", **result))

    @staticmethod
    def show(table: pd.DataFrame, folder: Path) -> tuple[list[Plot], list[Table]]:
        """Ours beside the article's, with ratios to the baseline."""
        ours = table.pivot(index="method", columns="metric", values="value")
        names = [(method(key).article or "").partition("-")[0] for key in ours.index]  # whatever the budget
        theirs = article.COMPLEXITY.reindex(columns=names).T.set_axis(ours.index)
        ratio, their_ratio = ours / ours.loc[BASELINE], theirs / article.COMPLEXITY["DeepJSCC"]
        columns = {
            "GMAC": (ours["macs"] / 1e9, ".3f"),
            "M parameters": (ours["parameters"] / 1e6, ".2f"),
            "in training": (ours["training_parameters"] / 1e6, ".2f"),
            "s per epoch": (ours[EPOCH], ".3g"),
            "epoch ×": (ratio[EPOCH], ".2f"),
            "ms for one image": (1e3 * ours[SINGLE], ".3g"),
            "image ×": (ratio[SINGLE], ".2f"),
            "ms per image in a batch": (1e3 * ours[IMAGE], ".3g"),
            "article: GFLOPs": (theirs["gflops"], "g"),
            "article: M parameters": (theirs["mparameters"], "g"),
            "article: epoch ×": (their_ratio[EPOCH], ".2f"),
            "article: image ×": (their_ratio[IMAGE], ".2f"),
        }
        told = {name: written(values, f"{{:{form}}}") for name, (values, form) in columns.items()}
        title = "What each scheme costs, beside the article's complexity table"
        return [], [Table(title, by_scheme(pd.DataFrame(told)), CAPTION)]


@dataclass(frozen=True)
class Place:
    """The place where everything that is compared runs: the task and channel, the images of a training on their device,
    images per training step and per batch at inference, the precision of matrix products and convolutions.
    """

    setting: GameConfig
    source: Source
    batch_size: int
    precision: Precision = "auto"

    @property
    def steps_per_epoch(self) -> int:
        """As the training loop counts them."""
        return max(1, len(self.source) // self.batch_size)

    def game(self, scheme: Pipeline) -> Game:
        """The game that a scheme plays."""
        return Game(self.source, self.setting, constellation=scheme.constellation)

    def scheme(self, name: str, options: Mapping[str, Any]) -> Pipeline:
        """A fresh scheme on the device."""
        with weights_from(0):
            scheme = make_scheme(name, Game(self.source, self.setting).spec, **options)
        return scheme.to(self.source.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class TimedTraining:
    """The real step of a training, on the real images, taken a few times.

    Attributes:
        passes: names of the passes over the images that make an epoch. Where a receiver alone is trained, these leave
            the transmitter out, whose outputs are computed once for all epochs.
    """

    def __init__(self, place: Place, recipe: Recipe, network: Mapping[str, Any]) -> None:
        self._place, device = place, place.source.device
        scheme = place.scheme(recipe.scheme, {**network, **recipe.options})
        with weights_from(0):
            objectives = recipe.made(scheme.spec)
        game = place.game(scheme)
        self._generator = torch.Generator(device).manual_seed(0)
        config = recipe.config(place.batch_size, epochs=1, precision=place.precision)
        if recipe.receiver_only:
            scheme.backbone.transmitter = torch.nn.Identity()
            shape = (COPIES, len(place.source), 2 * place.setting.num_symbols)
            outputs = torch.randn(shape, generator=self._generator, device=device)
            self._trainee: Trainee = ReceiverTrainee(scheme, objectives, game, config, self._generator)
            self._trainee.outputs = outputs
        else:
            self._trainee = Trainee(scheme, objectives, game, config, self._generator)
        self.passes = self._trainee.passes
        self._step = Step(self._trainee.train(), self._trainee, config.loop)

    def seconds(self, steps: int) -> dict[str, float]:
        """Seconds per step of each pass, by its name, over ``steps`` steps of it."""
        place, device, found = self._place, self._place.source.device, {}
        for name in self.passes:
            self._trainee.begin(name, 0, 1)
            order = torch.randperm(len(place.source), generator=self._generator, device=device)
            batches = [order.roll(-i * place.batch_size)[: place.batch_size] for i in range(steps)]
            start = timer()
            for i, index in enumerate(batches):
                self._step(index, i, SHARE)
            found[name] = (timer() - start) / steps
        self._step.checks.synchronize()
        return found


class TimedInference:
    """A scheme's transmitter and receiver on one image and on a batch; the air between them is not timed.

    A method's privacy budget is a number that costs nothing, and stays as it was trained.
    """

    def __init__(self, place: Place, one: Method, recipe: Recipe, network: Mapping[str, Any]) -> None:
        own = {} if recipe.scheme != one.scheme else recipe.options
        options = {k: v for k, v in one.options.items() if k != "epsilon"}
        self._scheme = place.scheme(one.scheme, {**network, **own, **options}).eval()
        self._place, self._recipe = place, recipe
        self._single, self._batch = (self._call(size) for size in (1, place.batch_size))

    def complexity(self) -> Complexity:
        """Count what can be counted."""
        with weights_from(0):
            return complexity(self._scheme, self._recipe.made(self._scheme.spec))

    def seconds(self, batches: int) -> dict[str, float]:
        """Seconds per image: of one image sent by itself, and within a batch."""
        single, batch = self._timed(self._single, SINGLES * batches), self._timed(self._batch, batches)
        return {SINGLE: single, IMAGE: batch / self._place.batch_size}

    @torch.no_grad()
    def _call(self, size: int) -> Callable[[], None]:
        source, scheme = self._place.source, self._scheme
        generator = torch.Generator(source.device).manual_seed(0)
        index = torch.arange(size, device=source.device) % len(source)
        game = self._place.game(scheme)
        exchange = next(rollout(game, scheme, generator=generator, index=index, batch_size=size))
        images, context = exchange.round.batch.images, exchange.context
        reception = exchange.transmission.receiver

        def call() -> None:
            scheme.encode(images, context)
            scheme.decode(reception.received, reception.csi, context)

        return call

    @torch.no_grad()
    def _timed(self, call: Callable[[], None], times: int) -> float:
        # It calls twice before it counts: weights and kernels are in the caches again, after another scheme's turn.
        timed = Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
        with autocast(self._place.precision, self._place.source.device):
            return float(timed.timeit(times).mean)


def machine(device: torch.device, precision: Precision = "auto") -> dict[str, Any]:
    """The machine that seconds depend on, as plain values; the processor's name as the system reports it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "precision": resolve_precision(precision, device),
        "torch": torch.__version__,
    }

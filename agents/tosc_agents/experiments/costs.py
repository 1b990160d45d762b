"""The costs of schemes: counted, and timed in turn in one run, so that a slow moment of the machine hits all alike."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tosc_agents.complexity import Complexity, complexity
from tosc_agents.experiments.methods import Method
from tosc_agents.experiments.trainings import Recipe
from tosc_agents.learning.loop import Step
from tosc_agents.learning.precision import Precision, autocast, resolve_precision
from tosc_agents.learning.seeding import weights_from
from tosc_agents.training.fit_receiver import ReceiverTrainee
from tosc_agents.training.fit_scheme import Trainee
from tosc_env.data.base import Source
from tosc_env.exchange import rollout
from tosc_env.game import Game, GameConfig
from tosc_env.pipeline import Pipeline, make_scheme

SINGLES = 20
"""Images sent one by one for each step that is timed: one image takes far less time than a step."""

COPIES = 3
"""Outputs of the transmitter kept of each image where a receiver alone is trained, as ``fit_receiver`` does."""

SHARE = 1e-6
"""The share of the learning rate at which timed steps are taken: a small one, whatever the scheme."""


@dataclass(frozen=True)
class Place:
    """The place where everything that is compared runs.

    Attributes:
        setting: task, channel, code length, SNR.
        source: the images of a training, on their device.
        batch_size: images per training step and per batch at inference.
        precision: of matrix products and convolutions.
    """

    setting: GameConfig
    source: Source
    batch_size: int
    precision: Precision = "auto"

    @property
    def device(self) -> torch.device:
        """The images' device, where networks run too."""
        return self.source.device

    @property
    def steps_per_epoch(self) -> int:
        """As the training loop counts them."""
        return max(1, len(self.source) // self.batch_size)

    def scheme(self, name: str, options: Mapping[str, Any]) -> Pipeline:
        """A fresh scheme on the device."""
        with weights_from(0):
            scheme = make_scheme(name, Game(self.source, self.setting).spec, **options)
        return scheme.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class TimedTraining:
    """The real step of a training, on the real images, taken a few times.

    Args:
        place: where.
        recipe: what is trained.
        network: options that all schemes' networks share.

    Attributes:
        passes: names of the passes over the images that make an epoch. Where a receiver alone is trained, these leave
            the transmitter out, whose outputs are computed once for all epochs.
    """

    def __init__(self, place: Place, recipe: Recipe, network: Mapping[str, Any]) -> None:
        self._place = place
        scheme = place.scheme(recipe.scheme, {**network, **recipe.options})
        with weights_from(0):
            objectives = recipe.made(scheme.spec)
        game = Game(place.source, place.setting, constellation=scheme.constellation)
        self._generator = torch.Generator(place.device).manual_seed(0)
        config = recipe.config(place.batch_size, epochs=1, precision=place.precision)
        if recipe.receiver_only:
            scheme.backbone.transmitter = torch.nn.Identity()
            shape = (COPIES, len(place.source), 2 * place.setting.num_symbols)
            outputs = torch.randn(shape, generator=self._generator, device=place.device)
            self._trainee: Trainee = ReceiverTrainee(scheme, objectives, game, config, self._generator)
            self._trainee.outputs = outputs
        else:
            self._trainee = Trainee(scheme, objectives, game, config, self._generator)
        self.passes = self._trainee.passes
        self._step = Step(self._trainee.train(), self._trainee, config.loop)

    def seconds(self, steps: int) -> dict[str, float]:
        """Seconds per step of each pass, by its name, over ``steps`` steps of it."""
        place, found = self._place, {}
        for name in self.passes:
            self._trainee.begin(name, 0, 1)
            order = torch.randperm(len(place.source), generator=self._generator, device=place.device)
            batches = [order.roll(-i * place.batch_size)[: place.batch_size] for i in range(steps)]
            start = now(place.device)
            for i, index in enumerate(batches):
                self._step(index, i, SHARE)
            found[name] = (now(place.device) - start) / steps
        self._step.checks.synchronize()
        return found


class TimedInference:
    """A scheme's transmitter and receiver on one image and on a batch; the air between them is not timed.

    Args:
        place: where.
        one: the method. Its privacy budget is a number that costs nothing, and stays as it was trained.
        recipe: of the method's training.
        network: options that all schemes' networks share.
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

    def seconds(self, batches: int) -> tuple[float, float]:
        """Seconds per image: of one image sent by itself, and within a batch."""
        single = self._timed(self._single, SINGLES * batches)
        return single, self._timed(self._batch, batches) / self._place.batch_size

    @torch.no_grad()
    def _call(self, size: int) -> Callable[[], None]:
        place, scheme = self._place, self._scheme
        game = Game(place.source, place.setting, constellation=scheme.constellation)
        generator = torch.Generator(place.device).manual_seed(0)
        index = torch.arange(size, device=place.device) % len(place.source)
        exchange = next(rollout(game, scheme, generator=generator, index=index, batch_size=size))
        images, context = exchange.round.batch.images, exchange.context
        reception = exchange.transmission.receiver

        def call() -> None:
            scheme.encode(images, context)
            scheme.decode(reception.received, reception.csi, context)

        return call

    @torch.no_grad()
    def _timed(self, call: Callable[[], None], times: int) -> float:
        with autocast(self._place.precision, self._place.device):
            call()  # finds its weights and kernels in the caches again, after another scheme's turn
            start = now(self._place.device)
            for _ in range(times):
                call()
            return (now(self._place.device) - start) / times


def now(device: torch.device) -> float:
    """Seconds of a clock that is read when the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


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

"""The trained systems of one data set, as jobs: trained here, or given as checkpoints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from tosc_agents.backbones.cnn import NETWORK
from tosc_agents.experiments.jobs import Job, RunCache
from tosc_agents.experiments.methods import BUDGETS
from tosc_agents.experiments.trainings import SCHEME, Recipe, train_recipe
from tosc_agents.learning.seeding import weights_from
from tosc_agents.training.calibrate import calibrate, unseen
from tosc_agents.training.evaluate import evaluate
from tosc_env.data import make_source
from tosc_env.data.base import Source
from tosc_env.errors import CheckpointError, unknown
from tosc_env.game import Game, GameConfig
from tosc_env.io.checkpoint_files import card_path, read_header, sha256
from tosc_env.io.checkpoints import load_checkpoint
from tosc_env.io.files import replacing
from tosc_env.pipeline import make_scheme
from tosc_env.schemes import make_objectives
from tosc_env.types import SystemSpec

CALIBRATED, RIVAL = "dp-calibrated", "lbvq"
POINTS = 3.5
"""Percentage points that the calibrated noise lies under LBVQ at the smallest budget."""


@dataclass(frozen=True)
class Systems:
    """The systems that are trained on one data set, and their recipes.

    Attributes:
        setting: data, task, channel, code length and SNR.
        network: options that all schemes' networks share.
        recipes: by training key; ``dp-calibrated`` is trained over a range of noise and then fitted.
        given: checkpoints to take instead of training, by (training key, seed).
        shared_start: warm starts are from seed 0's training, whatever their own seed.
    """

    setting: GameConfig
    network: Mapping[str, Any]
    recipes: Mapping[str, Recipe]
    given: Mapping[tuple[str, int], Path] = field(default_factory=dict)
    shared_start: bool = False

    def training(self, key: str, seed: int = 0) -> Job:
        """The job whose file ``scheme.safetensors`` is that system, trained and, where that belongs to it, fitted."""
        if key not in self.recipes:
            raise unknown("training", key, self.recipes)
        trained = self.trained(key, seed)
        return self._calibrated(trained, seed) if key == CALIBRATED else trained

    def trained(self, key: str, seed: int) -> Job:
        """The training alone, before anything is fitted to it."""
        recipe, setting = self.recipes[key], self.setting
        given = self.given.get((key, seed))
        name = f"train-{key}-{setting.data}-seed{seed}"
        inputs = {"version": 1, "data": images_of(setting), "setting": setting.plain()}
        if given is not None:
            inputs |= {"recipe": asdict(recipe), "network": dict(self.network), "seed": seed}
            inputs["given"] = {"file": given.name, "sha256": sha256(given), "card": sha256(card_path(given))}
            return Job(name, inputs, lambda _, folder: self._adopt(folder, given, recipe))
        origin = 0 if self.shared_start else seed
        start = self.training(recipe.start, origin) if recipe.start else None

        def images(device: torch.device) -> tuple[Source, Source]:
            return source_of(setting, "train", "system"), source_of(setting, "test", None)

        return training_job(name, inputs, recipe, setting, self.network, seed, start, images)

    def _calibrated(self, trained: Job, seed: int) -> Job:
        rival = self.training(RIVAL, seed)
        setting = self.setting
        where = {"split": "train", "half": None, **unseen(setting.data)}

        def work(cache: RunCache, folder: Path) -> dict[str, Any]:
            images = source_of(setting, where["split"], where["half"], cache.device)
            scheme = load_checkpoint(cache.file(rival, SCHEME), device=cache.device).policy
            game = Game(images, setting, constellation=scheme.constellation)
            snr_db = float(setting.snr_db)  # type: ignore[arg-type]
            mark = evaluate(game, scheme, {}, snr_db=(snr_db,), with_floors=False).accuracy[snr_db]
            output = folder / SCHEME
            calibration = calibrate(
                cache.file(trained, SCHEME),
                Game(images, setting),
                mark.mean - POINTS / 100,
                output,
                budgets=BUDGETS,
                told={"rival": RIVAL, "points": POINTS},
                nearest=True,
            )
            return {"given": None, **_told(output), "calibration": calibration}

        inputs = {"version": 2, "points": POINTS, "rival": RIVAL, "budgets": list(BUDGETS)}
        inputs["data"] = source_of(setting, where["split"], where["half"]).identity()
        return Job(f"calibrate-{CALIBRATED}-{self.setting.data}-seed{seed}", inputs, work, (trained, rival))

    def _adopt(self, folder: Path, given: Path, recipe: Recipe) -> dict[str, Any]:
        """Take a checkpoint that somebody trained for the same task, and say so in the result."""
        header = read_header(given)
        held = " + ".join([header["name"], *(stage["name"] for stage in header["stages"])])
        if header["kind"] != "scheme" or held != recipe.scheme:
            raise CheckpointError(f"{given} holds {held!r}, where {recipe.scheme!r} is asked for.")
        theirs = header["card"].get("setting")
        wanted = self.setting.plain()
        if not isinstance(theirs, dict) or any(theirs.get(k) != v for k, v in wanted.items()):
            raise CheckpointError(f"{given} was trained in the setting {theirs}, not in {wanted}.")
        spec = SystemSpec.from_plain(header["spec"])
        told = header["card"].get("training", {}).get("objectives")
        with weights_from(0):
            usual = make_scheme(recipe.scheme, spec, **{**self.network, **recipe.options}).options
            trained, meant = (
                [o.plain() for o in made] for made in (make_objectives(told, spec), recipe.made(spec))
            )
        asked = {k: usual[k] for k in usual if k in recipe.options or k in NETWORK}
        other = {k: header["options"].get(k) for k, v in asked.items() if header["options"].get(k) != v}
        if other:
            wanted = {k: asked[k] for k in other}
            raise CheckpointError(f"{given} has the options {other}, where {wanted} are asked for.")
        if trained != meant:
            # Only those that differ: the whole lists are long.
            old, new = (
                [one for one in ours if one not in others]
                for ours, others in ((trained, meant), (meant, trained))
            )
            raise CheckpointError(f"{given} was trained for {old}, where {new} is asked for.")
        output = folder / SCHEME
        for source, copy in ((given, output), (card_path(given), card_path(output))):
            with replacing(copy) as part:
                shutil.copyfile(source, part)
        return {"given": given.name, **_told(output)}


def training_job(
    name: str,
    inputs: Mapping[str, Any],
    recipe: Recipe,
    setting: GameConfig,
    network: Mapping[str, Any],
    seed: int,
    start: Job | None,
    images: Callable[[torch.device], tuple[Source, Source | None]],
) -> Job:
    """The job whose file ``scheme.safetensors`` is what a recipe trains, and whose result has what its card says.

    Args:
        name, inputs: of the job; what is trained belongs to its inputs anyway.
        recipe, setting, network, seed: see :func:`~tosc_agents.experiments.trainings.train_recipe`.
        start: the training that it goes on from.
        images: to train on, and to test for the card or None.
    """

    def work(cache: RunCache, folder: Path) -> dict[str, Any]:
        train, test = images(cache.device)
        with cache.progress(name) as progress:
            path = train_recipe(
                recipe,
                setting,
                train,
                network=network,
                start=cache.file(start, SCHEME) if start else None,
                folder=folder,
                seed=seed,
                device=cache.device,
                progress=progress,
                test=test,
            )
        return {"given": None, **_told(path)}

    trained = {"recipe": asdict(recipe), "network": dict(network), "seed": seed}
    return Job(name, {**inputs, **trained}, work, (start,) if start else ())


@lru_cache(maxsize=8)
def _source(data: str, options: str, split: str, half: str | None, device: str) -> Source:
    if device != "cpu":
        return _source(data, options, split, half, "cpu").to(device)
    return make_source(data, split=split, half=half, **json.loads(options))


def source_of(
    setting: GameConfig, split: str, half: str | None, device: torch.device | str = "cpu"
) -> Source:
    """The setting's images, read once per process: the same object each time, by which schemes remember them."""
    options = json.dumps(dict(setting.data_kwargs), sort_keys=True)
    return _source(setting.data, options, split, half, str(device))


def images_of(setting: GameConfig) -> dict[str, Any]:
    """The identities of the images that a setting's name stands for on this machine, by part, for a job's inputs."""
    parts = {"system": ("train", "system"), "attacker": ("train", "attacker"), "test": ("test", None)}
    return {name: source_of(setting, *part).identity() for name, part in parts.items()}


def _told(path: Path) -> dict[str, Any]:
    """The facts on a checkpoint's card, for the job's result."""
    card = read_header(path)["card"]
    kept = [
        "training",
        "test_accuracy",
        "codeword_usage",
        "complexity",
        "calibration",
        "commit",
        "data",
        "device",
    ]
    return {"card": {key: card[key] for key in kept if key in card}}

"""The trained systems of one data set, as jobs: trained here as recipes say, or given as checkpoints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from tosc_agents.backbones.cnn import NETWORK
from tosc_agents.experiments.jobs import Job, RunCache
from tosc_agents.experiments.methods import BUDGETS, Method
from tosc_agents.keys import SecretKey
from tosc_agents.learning.loop import LoopConfig
from tosc_agents.learning.progress import Progress
from tosc_agents.learning.seeding import weights_from
from tosc_agents.learning.state import kept_identity
from tosc_agents.training.calibrate import calibrate, unseen
from tosc_agents.training.card import scheme_card
from tosc_agents.training.evaluate import evaluate
from tosc_agents.training.fit_receiver import fit_receiver
from tosc_agents.training.fit_scheme import SchemeTraining, fit_scheme, usual_objectives
from tosc_agents.training.warm_start import WarmStart, freeze
from tosc_env.data import make_source
from tosc_env.data.base import Source
from tosc_env.errors import CheckpointError, InputError, unknown
from tosc_env.game import Game, GameConfig
from tosc_env.io.checkpoint_files import card_path, read_header, sha256
from tosc_env.io.checkpoints import load_checkpoint, save_checkpoint
from tosc_env.io.files import replacing_all
from tosc_env.pipeline import Pipeline, make_scheme
from tosc_env.schemes import Objective, defaults_of, make_objectives
from tosc_env.types import SystemSpec

SCHEME = "scheme.safetensors"
"""The file in which a training leaves its result."""

KEY = SecretKey(bytes(range(32)))
"""The experiments' key: public, so that anyone gets the same figures; no attacker is told it."""

CALIBRATED, RIVAL = "dp-calibrated", "lbvq"
POINTS = 3.5
"""Percentage points that the calibrated noise lies under LBVQ at the smallest budget."""

TOLD = (
    "training",
    "test_accuracy",
    "codeword_usage",
    "complexity",
    "calibration",
    "commit",
    "data",
    "device",
)
"""What of a checkpoint's card is in the result of its job."""


@dataclass(frozen=True)
class Recipe:
    """The training of one system.

    Attributes:
        scheme, options: what is trained; the networks' sizes come from the preset.
        epochs: passes over the training images.
        start: the training whose weights it starts from, or None.
        receiver_only: leave the transmitter as the start has it and train the rest
            (:func:`~tosc_agents.training.fit_receiver.fit_receiver`).
        objectives: names or dictionaries of ``name`` and options; None: what the scheme's name stands for.
        batch_size, learning_rate, optimizer: None: what the scheme's name stands for.
        flip, cutout, pad: augmentation.
    """

    scheme: str
    options: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 60
    start: str | None = None
    receiver_only: bool = False
    objectives: Sequence[Any] | None = None
    batch_size: int = 256
    learning_rate: float | None = None
    optimizer: str | None = None
    flip: bool = True
    cutout: int = 8
    pad: int = 4

    def made(self, spec: SystemSpec) -> list[Objective]:
        """The objectives as objects, fresh ones each time."""
        if self.objectives is None:
            return usual_objectives(self.scheme, spec)
        return make_objectives(self.objectives, spec)

    def config(self, batch_size: int, **loop: Any) -> SchemeTraining:
        """The settings of the training loop; ``loop`` are further arguments of its :class:`LoopConfig`."""
        chosen = {k: v for k in ("optimizer", "learning_rate") if (v := getattr(self, k)) is not None}
        loop |= {"batch_size": batch_size, **defaults_of(self.scheme).training, **chosen}
        return SchemeTraining(LoopConfig(**loop), pad=self.pad, flip=self.flip, cutout=self.cutout)


def load_method(path: Path, method: Method, device: torch.device | str = "cpu") -> Pipeline:
    """The method's scheme playing with the weights of a training, with the experiments' key where it takes one.

    The same object each time: it remembers what its encoder made of each image, and so a method's attackers and
    measurements have it encoded once per process. Whoever wants to change it copies it. A CheckpointError says that
    there are no such weights, or that they are of a scheme that the method does not play with.
    """
    return _load(path, sha256(path), method.scheme, json.dumps(dict(method.options)), str(device))


# As many as there are methods: each is measured before the first of them is attacked.
@lru_cache(maxsize=16)
def _load(path: Path, digest: str, scheme: str, options: str, device: str) -> Pipeline:
    loaded = load_checkpoint(path, device=device, kind="scheme", name=scheme, options=json.loads(options))
    return loaded.policy.use_key(KEY) if loaded.policy.keyed else loaded.policy


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

    @property
    def snr_db(self) -> float:
        """Where all is trained, in dB."""
        return float(self.setting.snr_db)  # type: ignore[arg-type]

    def recipe(self, key: str) -> Recipe:
        """The recipe of a training; an InputError says that there is none."""
        if key not in self.recipes:
            raise unknown("training", key, self.recipes)
        return self.recipes[key]

    def training(self, key: str, seed: int = 0) -> Job:
        """The job whose file ``scheme.safetensors`` is that system, trained and, where that belongs to it, fitted."""
        trained = self.trained(key, seed)
        return self._calibrated(trained, seed) if key == CALIBRATED else trained

    def trained(self, key: str, seed: int) -> Job:
        """The training alone, before anything is fitted to it."""
        recipe, setting = self.recipe(key), self.setting
        given = self.given.get((key, seed))
        name = f"train-{key}-{named(setting)}-seed{seed}"
        inputs = {"version": 1, "data": images_of(setting), "setting": setting.plain()}
        if given is not None:
            inputs |= {"recipe": asdict(recipe), "network": dict(self.network), "seed": seed}
            inputs["given"] = {"file": given.name, "sha256": sha256(given), "card": sha256(card_path(given))}
            return Job(name, inputs, lambda _, folder: self._adopt(folder, given, recipe))
        start = self.training(recipe.start, 0 if self.shared_start else seed) if recipe.start else None

        def images(device: torch.device) -> tuple[Source, Source]:
            return source_of(setting, "train", "system", device), source_of(setting, "test", None, device)

        return self.training_job(name, inputs, recipe, seed, start, images)

    def train(
        self,
        recipe: Recipe,
        train: Source,
        test: Source | None,
        folder: Path,
        *,
        seed: int,
        start: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Follow a recipe, from a checkpoint where it names a start, and write :data:`SCHEME` into the folder; a run
        found there goes on. How well it does on the ``test`` images goes into the card.
        """
        state, setting = folder / "training.run", self.setting
        # A receiver that has met one noise level alone is told that one, whatever the link's is.
        options = {"told_snr_db": self.snr_db, **self.network, **recipe.options}
        game = Game(train, setting)
        with weights_from(seed):
            scheme = make_scheme(recipe.scheme, game.spec, **options)
            objectives = recipe.made(game.spec)
        scheme.to(train.device)
        game = game.with_rules(constellation=scheme.constellation)
        warm = None if start is None else WarmStart(start)
        if warm is not None:
            told = warm.load(scheme)
            if any(name.startswith("backbone.transmitter.") for name in warm.fresh):
                raise InputError(
                    f"the recipe goes on from the whole transmitter of its start, but it {told}."
                )
        frozen = freeze(scheme, ("transmitter",)) if recipe.receiver_only else []
        config = recipe.config(min(recipe.batch_size, len(train)), epochs=recipe.epochs)
        fit = fit_receiver if recipe.receiver_only else fit_scheme
        how: dict[str, Any] = {"seed": seed, "state_path": state, "progress": progress}
        figures = fit(scheme, game, config, objectives=objectives, **how)
        scheme.eval()
        found = None
        if test is not None:
            tested = Game(test, setting, constellation=scheme.constellation)
            found = evaluate(tested, scheme, {}, snr_db=(self.snr_db,))
        made: dict[str, Any] = {"objectives": objectives, "seed": seed, "identity": kept_identity(state)}
        made |= {"start": warm, "frozen": frozen, "found": found}
        card = scheme_card(scheme, game, setting, config, figures, **made)
        save_checkpoint(folder / SCHEME, scheme, card)
        state.unlink(missing_ok=True)

    def training_job(
        self,
        name: str,
        inputs: Mapping[str, Any],
        recipe: Recipe,
        seed: int,
        start: Job | None,
        images: Callable[[torch.device], tuple[Source, Source | None]],
    ) -> Job:
        """The job that follows a recipe on images to train on and to test, and tells what its card says."""

        def work(cache: RunCache, folder: Path) -> dict[str, Any]:
            train, test = images(cache.device)
            with cache.progress(name) as progress:
                before = cache.file(start, SCHEME) if start else None
                self.train(recipe, train, test, folder, seed=seed, start=before, progress=progress)
            return _told(folder)

        trained = {"recipe": asdict(recipe), "network": dict(self.network), "seed": seed}
        return Job(name, {**inputs, **trained}, work, (start,) if start else ())

    def _calibrated(self, trained: Job, seed: int) -> Job:
        rival, setting = self.training(RIVAL, seed), self.setting
        part = {"split": "train", "half": None, **unseen(setting.data)}

        def work(cache: RunCache, folder: Path) -> dict[str, Any]:
            images = source_of(setting, **part, device=cache.device)
            scheme = load_checkpoint(cache.file(rival, SCHEME), device=cache.device).policy
            game = Game(images, setting, constellation=scheme.constellation)
            found = evaluate(game, scheme, {}, snr_db=(self.snr_db,), with_floors=False)
            calibration = calibrate(
                cache.file(trained, SCHEME),
                Game(images, setting),
                found.accuracy[self.snr_db].mean - POINTS / 100,
                folder / SCHEME,
                budgets=BUDGETS,
                told={"rival": RIVAL, "points": POINTS},
                nearest=True,
            )
            return {**_told(folder), "calibration": calibration}

        inputs = {"version": 2, "points": POINTS, "rival": RIVAL, "budgets": list(BUDGETS)}
        inputs["data"] = source_of(setting, **part).identity()
        return Job(f"calibrate-{CALIBRATED}-{named(setting)}-seed{seed}", inputs, work, (trained, rival))

    def _adopt(self, folder: Path, given: Path, recipe: Recipe) -> dict[str, Any]:
        """Take a checkpoint that somebody trained for the same task, and say so in the result."""
        header = read_header(given)
        card, options = header["card"], header["options"]
        held = " + ".join([header["name"], *(stage["name"] for stage in header["stages"])])
        if header["kind"] != "scheme" or held != recipe.scheme:
            raise CheckpointError(f"{given} holds {held!r}, where {recipe.scheme!r} is asked for.")
        theirs, wanted = card.get("setting"), self.setting.plain()
        if not isinstance(theirs, dict) or any(theirs.get(k) != v for k, v in wanted.items()):
            raise CheckpointError(f"{given} was trained in the setting {theirs}, not in {wanted}.")
        spec = SystemSpec.from_plain(header["spec"])
        with weights_from(0):
            usual = make_scheme(recipe.scheme, spec, **{**self.network, **recipe.options}).options
            told = make_objectives(card.get("training", {}).get("objectives"), spec)
            trained, meant = ([one.plain() for one in made] for made in (told, recipe.made(spec)))
        asked = {k: usual[k] for k in usual if k in recipe.options or k in NETWORK}
        if other := {k: options.get(k) for k, v in asked.items() if options.get(k) != v}:
            wanted = {k: asked[k] for k in other}
            raise CheckpointError(f"{given} has the options {other}, where {wanted} are asked for.")
        if trained != meant:
            # Only those that differ: the whole lists are long.
            old, new = [o for o in trained if o not in meant], [o for o in meant if o not in trained]
            raise CheckpointError(f"{given} was trained for {old}, where {new} is asked for.")
        output = folder / SCHEME
        with replacing_all(output, card_path(output)) as parts:
            for source, part in zip((given, card_path(given)), parts, strict=True):
                shutil.copyfile(source, part)
        return {**_told(folder), "given": given.name}


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


def named(setting: GameConfig) -> str:
    """What jobs on a setting are called: its data set, and the task where that is not the data set's own.

    >>> named(GameConfig("shapes")), named(GameConfig("shapes", task="attributes"))
    ('shapes', 'shapes-attributes')
    """
    usual = setting.task == GameConfig(setting.data).task
    return setting.data if usual else f"{setting.data}-{setting.task}"


def images_of(setting: GameConfig) -> dict[str, Any]:
    """The identities of the images that a setting's name stands for on this machine, by part, for a job's inputs."""
    parts = {"system": ("train", "system"), "attacker": ("train", "attacker"), "test": ("test", None)}
    return {name: source_of(setting, *part).identity() for name, part in parts.items()}


def _told(folder: Path) -> dict[str, Any]:
    """The facts on the card of a training's checkpoint, for the job's result."""
    card = read_header(folder / SCHEME)["card"]
    return {"given": None, "card": {key: card[key] for key in TOLD if key in card}}

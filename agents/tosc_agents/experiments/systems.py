"""The trained systems of one data set, as cells: trained here, or given as checkpoints."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tosc_agents.experiments.arms import BUDGETS, Arm
from tosc_agents.experiments.cells import Cell, Work
from tosc_agents.experiments.trainings import SCHEME, Recipe, load_arm, train_recipe
from tosc_agents.schemes.deepjscc import DeepJSCC
from tosc_agents.setting import Setting
from tosc_agents.training.calibrate import calibrate
from tosc_agents.training.evaluate import evaluate
from tosc_agents.training.warm_start import known_options
from tosc_env.checkpoints import load_checkpoint, read_header, save_checkpoint
from tosc_env.data.base import Batch, Source
from tosc_env.errors import CheckpointError, unknown
from tosc_env.files import replacing
from tosc_env.game import Round
from tosc_env.policies import Context, PrivacyScheme, SystemSpec, make_scheme
from tosc_env.senders import SchemeSender

CALIBRATED, RIVAL = "dp-calibrated", "lbvq"
POINTS = 3.5
"""Percentage points that the calibrated noise lies under LBVQ at the smallest budget (FACTS.md section 2)."""

FEATURES = "features.safetensors"

PARTS = (("system", "train", "system"), ("attacker", "train", "attacker"), ("test", "test", None))
"""The images of each side: name, split, half."""


@dataclass(frozen=True)
class Systems:
    """What is trained on one data set, and how.

    Attributes:
        setting: data, task, channel, code length, SNR.
        network: options that all schemes' networks share.
        recipes: by training key; ``dp-calibrated`` is trained over a range of noise and then fitted.
        given: checkpoints to take instead of training, by (training key, seed).
        shared_start: warm starts are from seed 0's training, whatever their own seed.
    """

    setting: Setting
    network: Mapping[str, Any]
    recipes: Mapping[str, Recipe]
    given: Mapping[tuple[str, int], Path] = field(default_factory=dict)
    shared_start: bool = False

    def training(self, key: str, seed: int = 0) -> Cell:
        """The cell whose file ``scheme.safetensors`` is that system, trained and, where that belongs to it, fitted."""
        if key not in self.recipes:
            raise unknown("training", key, self.recipes)
        trained = self.trained(key, seed)
        return self._calibrated(trained, seed) if key == CALIBRATED else trained

    def trained(self, key: str, seed: int) -> Cell:
        """The training alone, before anything is fitted to it."""
        recipe = self.recipes[key]
        given = self.given.get((key, seed))
        name = f"train-{key}-{self.setting.data}-seed{seed}"
        inputs = {
            "version": 1,
            "data": images_of(self.setting),
            "setting": self.setting.plain(),
            "network": dict(self.network),
            "recipe": recipe.plain(),
            "seed": seed,
        }
        if given is not None:
            inputs["given"] = {"file": given.name, "sha256": _digest(given)}
            return Cell(name, inputs, lambda work: _adopt(work, given, recipe, self.setting, self.network))
        start = (
            None if recipe.start is None else self.training(recipe.start, 0 if self.shared_start else seed)
        )

        def work(work: Work) -> dict[str, Any]:
            train = source_of(self.setting, "train", "system")
            with work.progress(f"train {key} on {self.setting.data}, seed {seed}") as progress:
                path = train_recipe(
                    recipe,
                    self.setting,
                    train,
                    network=self.network,
                    start=None if start is None else work.file(start, SCHEME),
                    folder=work.folder,
                    seed=seed,
                    device=work.device,
                    progress=progress,
                    test=source_of(self.setting, "test", None),
                )
            return {"given": None, **_told(path)}

        return Cell(name, inputs, work, () if start is None else (start,))

    def _calibrated(self, trained: Cell, seed: int) -> Cell:
        rival = self.training(RIVAL, seed)
        setting = self.setting

        def work(work: Work) -> dict[str, Any]:
            test = source_of(setting, "test", None).to(work.device)
            scheme = load_checkpoint(work.file(rival, SCHEME), device=work.device).policy
            assert isinstance(scheme, PrivacyScheme)
            mark = evaluate(
                setting.game_on(test, constellation=scheme.constellation),
                SchemeSender(scheme),
                {},
                scheme=scheme,
                snr_db=(float(setting.snr_db),),
                with_floors=False,
            ).accuracy[float(setting.snr_db)]
            output = work.folder / SCHEME
            calibration = calibrate(
                work.file(trained, SCHEME),
                setting.game_on(test),
                mark.mean - POINTS / 100,
                output,
                budgets=BUDGETS,
                told={"rival": RIVAL, "points": POINTS},
                nearest=True,
            )
            return {"given": None, **_told(output), "calibration": calibration}

        inputs = {"version": 1, "points": POINTS, "rival": RIVAL, "budgets": list(BUDGETS)}
        return Cell(f"calibrate-{CALIBRATED}-{self.setting.data}-seed{seed}", inputs, work, (trained, rival))

    def features(self, arm: Arm, seed: int = 0) -> Cell:
        """The cell with what the arm's transmitter remembers of every image, computed once for all attackers."""
        trained = self.training(arm.training, seed)
        setting = self.setting

        def work(work: Work) -> dict[str, Any]:
            scheme = load_arm(work.file(trained, SCHEME), arm, work.device)
            parts = {
                name: remembered(scheme, source_of(setting, split, half).to(work.device)).cpu()
                for name, split, half in PARTS[1:]
            }
            from safetensors.torch import save

            with replacing(work.folder / FEATURES) as part:
                part.write_bytes(save(parts))
            return {name: list(value.shape) for name, value in parts.items()}

        # Arms of one scheme and training differ only in what is done to these.
        name = f"features-{arm.training}-{arm.scheme}-{setting.data}-seed{seed}"
        return Cell(name, {"version": 1, "scheme": arm.scheme}, work, (trained,))


class RememberedSender(SchemeSender):
    """A scheme at its transmitter, whose network has already seen every image of one source.

    What is prepared comes from memory, by the image's place in that source; images from elsewhere, such as the
    candidates that an attacker has encoded, go through the scheme itself, as do all where nothing is remembered.
    """

    def __init__(self, scheme: PrivacyScheme, known: Tensor) -> None:
        super().__init__(scheme)
        self.known = known

    def __call__(self, round_: Round, generator: torch.Generator | None) -> Tensor:
        return super().emit(super().prepare(round_.batch), round_, generator)

    def prepare(self, batch: Batch) -> Tensor:
        return self.known[batch.index] if self.known.numel() else super().prepare(batch)

    def emit(self, prepared: Tensor, round_: Round, generator: torch.Generator | None) -> Tensor:
        symbols = self.known.numel() and not _has_features(self.scheme)
        return prepared if symbols else super().emit(prepared, round_, generator)


@torch.no_grad()
def remembered(scheme: PrivacyScheme, source: Source, batch_size: int = 500) -> Tensor:
    """What :class:`RememberedSender` takes: symbols [N, 2n] of a scheme that has nothing to add, else features.

    Nothing, [N, 0], of a random scheme that does not separate what is random from its network.
    """
    if scheme.stochastic and not _has_features(scheme):
        return torch.empty(len(source), 0, device=source.device)
    found = []
    setting_snr = torch.zeros(batch_size, device=source.device)
    message = torch.zeros(batch_size, 3, dtype=torch.int64, device=source.device)
    for part in torch.arange(len(source), device=source.device).split(batch_size):
        images = source.gather(part).images
        if _has_features(scheme):
            found.append(scheme.features(images))
        else:
            count = len(part)
            found.append(scheme.encode(images, Context(setting_snr[:count], message[:count])).float())
    return torch.cat(found)


def _has_features(scheme: PrivacyScheme) -> bool:
    return type(scheme).features is not PrivacyScheme.features


@lru_cache(maxsize=8)
def _source(data: str, options: str, split: str, half: str | None) -> Source:
    import json

    return Setting(data, json.loads(options)).source(split=split, half=half)


def source_of(setting: Setting, split: str, half: str | None) -> Source:
    """The setting's images on the CPU, read once per process."""
    import json

    return _source(setting.data, json.dumps(setting.data_options, sort_keys=True), split, half)


def images_of(setting: Setting) -> dict[str, Any]:
    """Which images a setting's name stands for on this machine, for a cell's inputs: provenance and how many."""
    parts = {name: source_of(setting, split, half) for name, split, half in PARTS}
    return {name: [source.provenance, len(source)] for name, source in parts.items()}


def _told(path: Path) -> dict[str, Any]:
    """What a checkpoint's card says, for the cell's result."""
    card = read_header(path)["card"]
    kept = (
        "training",
        "test_accuracy",
        "codeword_usage",
        "complexity",
        "calibration",
        "commit",
        "data",
        "device",
    )
    return {"card": {key: card[key] for key in kept if key in card}}


def _adopt(
    work: Work, given: Path, recipe: Recipe, setting: Setting, network: Mapping[str, Any]
) -> dict[str, Any]:
    """Take a checkpoint that somebody trained for the same task, and say so in the result."""
    header = read_header(given)
    if header["kind"] != "scheme" or header["name"] != recipe.scheme:
        raise CheckpointError(f"{given} holds {header['name']!r}, where {recipe.scheme!r} is asked for.")
    theirs = header["card"].get("setting")
    wanted = setting.plain()
    if not isinstance(theirs, dict) or any(theirs.get(k) != v for k, v in wanted.items()):
        raise CheckpointError(f"{given} was trained in the setting {theirs}, not in {wanted}.")
    spec = SystemSpec.from_plain(header["spec"])
    usual = make_scheme(recipe.scheme, spec, **{**network, **recipe.options}).options
    asked = {
        k: usual[k] for k in usual if k in recipe.options or k in known_options(DeepJSCC) - {"told_snr_db"}
    }
    other = {k: header["options"].get(k) for k, v in asked.items() if header["options"].get(k) != v}
    if other:
        wanted = {k: asked[k] for k in other}
        raise CheckpointError(f"{given} has the options {other}, where {wanted} are asked for.")
    if "borrowed" in header:
        # Written whole: what it borrows does not lie beside it here.
        save_checkpoint(work.folder / SCHEME, load_checkpoint(given).policy, header["card"])
    else:
        with replacing(work.folder / SCHEME) as part:
            shutil.copyfile(given, part)
    return {"given": given.name, **_told(work.folder / SCHEME)}


def _digest(path: Path) -> str:
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}.")
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""The training of the systems under comparison: recipes, and one function that follows them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from tosc_agents.experiments.methods import Method
from tosc_agents.keys import SecretKey
from tosc_agents.learning.loop import LoopConfig
from tosc_agents.learning.progress import Progress
from tosc_agents.learning.seeding import weights_from
from tosc_agents.learning.state import kept_identity
from tosc_agents.training.card import scheme_card
from tosc_agents.training.evaluate import evaluate
from tosc_agents.training.fit_receiver import fit_receiver
from tosc_agents.training.fit_scheme import SchemeTraining, fit_scheme, usual_objectives
from tosc_agents.training.warm_start import WarmStart, freeze
from tosc_env.data.base import Source
from tosc_env.errors import InputError
from tosc_env.game import Game, GameConfig
from tosc_env.io.checkpoint_files import sha256
from tosc_env.io.checkpoints import load_checkpoint, save_checkpoint
from tosc_env.pipeline import Pipeline, make_scheme
from tosc_env.schemes import Objective, defaults_of, make_objectives
from tosc_env.types import SystemSpec

SCHEME = "scheme.safetensors"
"""The file in which a training leaves its result."""

KEY = SecretKey(bytes(range(32)))
"""The experiments' key: public, so that anyone gets the same figures; no attacker is told it."""


@dataclass(frozen=True)
class Recipe:
    """The training of one system.

    Attributes:
        scheme, options: what is trained; the networks' sizes come from the preset.
        epochs: passes over the training images.
        start: the training whose weights it starts from, or None.
        receiver_only: leave the transmitter as the start has it and train the rest
            (:func:`~tosc_agents.training.fit_receiver.fit_receiver`).
        objectives: what it is trained for, as names or dictionaries of ``name`` and options; None: what the scheme's
            name stands for.
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


def train_recipe(
    recipe: Recipe,
    setting: GameConfig,
    train: Source,
    *,
    network: Mapping[str, Any],
    start: Path | None,
    folder: Path,
    seed: int,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    test: Source | None = None,
) -> Path:
    """Train as the recipe says and write :data:`SCHEME` into the folder; a run found there goes on.

    Args:
        recipe: what to train and for how long.
        setting: task, channel, code length and SNR.
        train: the images, on any device; not necessarily a split of the setting's data set.
        network: options of the networks that every scheme shares.
        start: the checkpoint to start from, where the recipe names a start.
        folder: for the result and the state of an interrupted run.
        seed: of the weights and of everything random.
        device: where to train.
        progress: told how far it is.
        test: images whose accuracy goes into the card; None: none does.
    """
    output, state = folder / SCHEME, folder / "training.run"
    train = train.to(device)
    options = {**network, **recipe.options}
    if isinstance(setting.snr_db, int | float):
        # A receiver that has met one noise level alone is told that one, whatever the link's is.
        options = {"told_snr_db": float(setting.snr_db), **options}
    game = Game(train, setting)
    with weights_from(seed):
        scheme = make_scheme(recipe.scheme, game.spec, **options)
        objectives = recipe.made(game.spec)
    scheme.to(device)
    game = game.with_rules(constellation=scheme.constellation)
    warm = None if start is None else WarmStart(start)
    if warm is not None:
        told = warm.load(scheme)
        if any(name.startswith("backbone.transmitter.") for name in warm.fresh):
            raise InputError(f"the recipe goes on from the whole transmitter of its start, but it {told}.")
    frozen = freeze(scheme, ("transmitter",)) if recipe.receiver_only else []
    config = recipe.config(min(recipe.batch_size, len(train)), epochs=recipe.epochs)
    fit = fit_receiver if recipe.receiver_only else fit_scheme
    figures = fit(scheme, game, config, objectives=objectives, seed=seed, state_path=state, progress=progress)
    scheme.eval()
    found = None
    if test is not None:
        on = Game(test.to(device), setting, constellation=scheme.constellation)
        levels = (float(setting.snr_db),) if isinstance(setting.snr_db, int | float) else (12.0,)
        found = evaluate(on, scheme, {}, snr_db=levels)
    card = scheme_card(
        scheme,
        game,
        setting,
        config,
        figures,
        objectives=objectives,
        seed=seed,
        identity=kept_identity(state),
        start=warm,
        frozen=frozen,
        found=found,
    )
    save_checkpoint(output, scheme, card)
    state.unlink(missing_ok=True)
    return output


def load_method(path: Path, method: Method, device: torch.device | str = "cpu") -> Pipeline:
    """The method's scheme playing with the weights of a training, with the experiments' key where it takes one.

    The same object each time: it remembers what its encoder made of each image, and so a method's attackers and
    measurements have it encoded once per process. Whoever wants to change it copies it.

    Raises:
        CheckpointError: there are no such weights, or they are of a scheme that the method does not play with.
    """
    return _load(path, sha256(path), method.scheme, json.dumps(dict(method.options)), str(device))


# As many as there are methods: each is measured before the first of them is attacked.
@lru_cache(maxsize=16)
def _load(path: Path, digest: str, scheme: str, options: str, device: str) -> Pipeline:
    loaded = load_checkpoint(path, device=device, kind="scheme", name=scheme, options=json.loads(options))
    return loaded.policy.use_key(KEY) if loaded.policy.keyed else loaded.policy

"""How the systems under comparison are trained: recipes, and one function that follows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from tosc_agents.experiments.arms import Arm
from tosc_agents.keys import SecretKey
from tosc_agents.learning.loop import LoopConfig
from tosc_agents.learning.progress import Progress
from tosc_agents.learning.seeding import weights_from
from tosc_agents.setting import Setting
from tosc_agents.training.card import scheme_card
from tosc_agents.training.evaluate import evaluate
from tosc_agents.training.fit_receiver import fit_receiver
from tosc_agents.training.fit_scheme import SchemeTraining, fit_scheme
from tosc_agents.training.warm_start import WarmStart, freeze, known_options
from tosc_env.checkpoints import load_checkpoint, save_checkpoint
from tosc_env.data.base import Source
from tosc_env.errors import InputError
from tosc_env.policies import PrivacyScheme, make_scheme, schemes
from tosc_env.senders import SchemeSender

SCHEME = "scheme.safetensors"
"""The file in which a training leaves its result."""

KEY = SecretKey(bytes(range(32)))
"""The experiments' key: public, so that anyone gets the same figures; no attacker is told it."""


@dataclass(frozen=True)
class Recipe:
    """How one system is trained.

    Attributes:
        scheme, options: what is trained; the networks' sizes come from the preset.
        epochs: passes over the training images.
        start: the training whose weights it starts from, or None.
        receiver_only: leave the transmitter as the start has it and train the rest
            (:func:`~tosc_agents.training.fit_receiver.fit_receiver`).
        batch_size, learning_rate, optimizer: None: what the scheme recommends.
        flip, cutout, pad: augmentation.
    """

    scheme: str
    options: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 60
    start: str | None = None
    receiver_only: bool = False
    batch_size: int = 256
    learning_rate: float | None = None
    optimizer: str | None = None
    flip: bool = True
    cutout: int = 8
    pad: int = 4

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "options": dict(self.options)}

    def at(self, **changes: Any) -> Recipe:
        """The same with changes, such as another number of epochs."""
        return replace(self, **changes)


def train_recipe(
    recipe: Recipe,
    setting: Setting,
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
    factory = schemes[recipe.scheme]
    options = {**network, **recipe.options}
    if isinstance(setting.snr_db, int | float) and "told_snr_db" in known_options(factory):
        # A receiver that has met one noise level alone is told that one, whatever the link's is.
        options = {"told_snr_db": float(setting.snr_db), **options}
    spec = setting.game_on(train).spec
    with weights_from(seed):
        scheme = make_scheme(recipe.scheme, spec, **options)
    scheme.to(device)
    game = setting.game_on(train, constellation=scheme.constellation)
    warm = None if start is None else WarmStart(start)
    if warm is not None:
        told = warm.load(scheme)
        if any(name.startswith("transmitter.") for name in warm.fresh):
            raise InputError(f"the recipe goes on from the whole transmitter of its start, but it {told}.")
    frozen = freeze(scheme, ("transmitter",)) if recipe.receiver_only else []
    chosen = {k: getattr(recipe, k) for k in ("optimizer", "learning_rate")}
    plain = {**scheme.training_defaults, **{k: v for k, v in chosen.items() if v is not None}}
    batch_size = min(recipe.batch_size, len(train))
    config = SchemeTraining(
        LoopConfig(epochs=recipe.epochs, batch_size=batch_size, **plain),
        pad=recipe.pad,
        flip=recipe.flip,
        cutout=recipe.cutout,
    )
    fit = fit_receiver if recipe.receiver_only else fit_scheme
    trained = fit(scheme, game, config, seed=seed, state_path=state, progress=progress)
    scheme.eval()
    found = None
    if test is not None:
        on = setting.game_on(test.to(device), constellation=scheme.constellation)
        levels = (float(setting.snr_db),) if isinstance(setting.snr_db, int | float) else (12.0,)
        found = evaluate(on, SchemeSender(scheme), {}, scheme=scheme, snr_db=levels)
    card = scheme_card(
        scheme, game, setting, config, trained, seed=seed, start=warm, frozen=frozen, found=found
    )
    save_checkpoint(output, scheme, card)
    state.unlink(missing_ok=True)
    return output


def load_arm(path: Path, arm: Arm, device: torch.device | str = "cpu") -> PrivacyScheme:
    """The arm's scheme playing with the weights of a training, with the experiments' key where it takes one."""
    options = dict(arm.options)
    if "key" in known_options(schemes[arm.scheme]):
        options["key"] = KEY
    loaded = load_checkpoint(path, device=device, kind="scheme", name=arm.scheme, options=options)
    assert isinstance(loaded.policy, PrivacyScheme)
    return loaded.policy

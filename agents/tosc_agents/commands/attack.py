"""``tosc attack``: train eavesdroppers against a checkpoint, or against symbols recorded elsewhere."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro

from tosc_agents.commands.common import (
    load_scheme,
    parse_options,
    parse_parts,
    snr_choices,
    system_of,
    tell_guarantee,
    use_key_file,
)
from tosc_agents.leaks import describe, strongest, unprotected
from tosc_agents.learning.progress import show_progress
from tosc_agents.pictures import attack_picture
from tosc_agents.records import print_evaluation, provenance, write_results
from tosc_agents.training.evaluate import evaluate
from tosc_agents.training.fit_eavesdropper import fit_eavesdropper
from tosc_env.attackers import Eavesdropper, eavesdroppers
from tosc_env.devices import resolve_device
from tosc_env.errors import DataError, InputError, unknown
from tosc_env.game import Game, GameConfig
from tosc_env.io.checkpoint_files import sha256
from tosc_env.io.checkpoints import load_checkpoint, save_checkpoint
from tosc_env.pipeline import Pipeline
from tosc_env.privacy.oracle import Recorded
from tosc_env.privacy.threat import ThreatModel
from tosc_env.privacy.view import View


@dataclass
class Attack:
    """Train attackers against a scheme's checkpoint and measure what they get on the test images.

    The target may also be a .npz of noiseless symbols recorded elsewhere: arrays train_second_half [N/2, 2n]
    and test [M, 2n], in the order of the data set's images.

    Example: tosc attack runs/deepjscc-cifar10-12dB.safetensors --eavesdropper linear inversion match
    """

    target: Annotated[Path, tyro.conf.Positional]
    """A scheme's checkpoint, or a .npz of recorded symbols."""
    play: str | None = None
    """Another scheme that plays with the checkpoint's weights, e.g. encryption with those of deepjscc."""
    scheme_kwargs: tuple[str, ...] = ()
    """Options that the scheme's weights leave open, as name=value, e.g. epsilon=5 or mode=shuffle."""
    stages: tuple[str, ...] = ()
    """More stages between the scheme and the channel, as NAME or NAME:option=value,option=value, e.g. keyed
    laplace:epsilon=20."""
    key_file: Path | None = None
    """The secret key of a keyed scheme (64 hexadecimal digits); made there if there is none; by default
    secret.key in the output folder."""
    eavesdropper: tuple[str, ...] = ("mean-image", "linear", "inversion-mlp", "inversion", "match", "label")
    """Registered eavesdroppers ('tosc list'), each with the same settings for every scheme."""
    all: bool = False
    """Every registered eavesdropper that the threat model allows and the scheme gives something to attack."""
    eavesdropper_kwargs: tuple[str, ...] = ()
    """Options for every attacker that has them, as name=value, e.g. epochs=10; or for one, as inversion.epochs=10."""
    snr_db: tuple[float, ...] = ()
    """Es/N0 in dB of both links, for training the attackers and for testing; by default the scheme's."""
    eavesdropper_snr_db: tuple[float, ...] = ()
    """Es/N0 in dB of the eavesdropper's link where it is another, paired with --snr-db."""
    images: Literal["other-half", "same-half"] = "other-half"
    """The attackers' training images: the half that the system was not trained on, or the one it was."""
    attacker_data: str | None = None
    """Another data set of the same image size as the attackers' training images."""
    labels: bool = True
    """Whether those images come with labels and attributes."""
    queries: int | None = None
    """Encoder queries the attacker may spend; by default as many as it likes."""
    candidate_queries: bool = True
    """Whether the candidates of a re-identification may be encoded too."""
    codebook: bool = True
    """Whether the attackers know a discrete scheme's codebook and constellation."""
    unkeyed_encoder: bool = True
    """Whether the attackers have the encoder of a keyed scheme without its key."""
    keys: Literal["with-pairs", "without-pairs", "with-key"] = "with-pairs"
    """Of a keyed scheme: pairs of images and encrypted symbols, none, or the key itself."""
    csi: bool = True
    """Whether the attackers know their link's SNR and fading."""
    receptions: int = 1
    """How many transmissions of the same image the attackers overhear."""
    ceiling: Path | None = None
    """results.json of an attack on the unprotected scheme, shown beside; by default the zoo's."""
    data: str = "cifar10"
    """The data set of recorded symbols (a checkpoint knows its own)."""
    seeds: int = 3
    """Draws of the channel's noise in the test."""
    ssim: bool = True
    """Whether to compute SSIM, which takes longer than most attackers."""
    seed: int = 0
    """Of the attackers' training."""
    device: str = "cpu"
    """Where to train, e.g. cuda:0."""
    output: Path | None = None
    """Folder for weights, results and picture; by default runs/attack-TARGET."""

    def run(self) -> int:
        """Fit each attacker, measure all on the same receptions, write everything."""
        device = resolve_device(self.device)
        for name in self.eavesdropper:
            if name not in eavesdroppers:
                raise unknown("eavesdropper", name, eavesdroppers)
        options = parse_options(self.eavesdropper_kwargs)
        for key in options:
            if "." in key and key.split(".")[0] not in eavesdroppers:
                raise unknown("eavesdropper", key.split(".")[0], eavesdroppers)
        threat = self._threat()
        folder = self.output or Path("runs") / f"attack-{self.target.stem}"
        setting, origin, senders = self._target(device, folder)
        train, test = self._games(setting, senders, device)
        tell_guarantee(senders[1], self.receptions)
        fitted: dict[str, Eavesdropper] = {}
        records: dict[str, Any] = {}
        identity = {
            "file": self.target.name,
            "sha256": sha256(self.target),
            "setting": setting.plain(),
            "options": senders[1].options,
            "composition": senders[1].composition,
            "key": senders[1].key_fingerprint,
            "attacker_data": self.attacker_data,
        }
        for name in self._names(threat, senders[0], train):
            wanted = {
                "options": _applicable(name, options),
                "threat_model": threat.plain(),
                "snr_db": (train.eavesdropper_snr_db or train.snr_db).plain(),
                "seed": self.seed,
                "target": identity,
            }
            # One with an encoder in its hands cannot be put away and taken out again.
            queries = "candidate_queries" in eavesdroppers[name].needs  # type: ignore[attr-defined]
            path = folder / f"{name}.safetensors"
            finished = None if queries else _finished(path, wanted, device)
            if finished is not None:
                print(f"{name}: trained before with the same settings, taken from {folder}")
                fitted[name], records[name] = finished
                continue
            with show_progress(f"fit {name}") as progress:
                fitted[name], records[name] = fit_eavesdropper(
                    name,
                    train,
                    senders[0],
                    threat=threat,
                    options=_applicable(name, options),
                    seed=self.seed,
                    progress=progress,
                    state_path=folder / f"{name}.run",
                    identity={"target": identity},
                )
            records[name] |= {"asked": wanted}
            self._save(folder, fitted[name], records[name], train, setting, senders[0], device)
        levels = self.snr_db or train.snr_db.choices or (train.snr_db.low, train.snr_db.high)
        # Recorded symbols have no encoder to ask; that the candidates are among the records does as well.
        recorded = isinstance(senders[1], Recorded)
        found = evaluate(
            test,
            senders[1],
            fitted,
            snr_db=levels,
            eavesdropper_snr_db=self.eavesdropper_snr_db or None,
            seeds=self.seeds,
            with_ssim=self.ssim,
            threat=replace(threat, candidate_queries=self.candidate_queries and recorded),
        )
        top = strongest(found)
        record = {
            "target": self.target.name,
            "system": origin,
            "channel_uses": train.num_symbols,
            "threat_model": threat.plain(),
            "guarantee": senders[1].guarantee(self.receptions),
            "attackers": records,
            **provenance(test.source, device),
            "results": found.plain(),
            "strongest": {f"{snr:g}": {k: v.plain() for k, v in by.items()} for snr, by in top.items()},
        }
        note = f"{test.source.provenance} Attackers: {threat}; {self.seeds} seeds of channel noise."
        lines = describe(found, top, unprotected(self.ceiling, test.source.name))
        write_results(folder, record, found, "\n".join([note, "", *(f"* {line}" for line in lines)]))
        attack_picture(folder / "picture.png", test, senders[1], fitted, levels[0], threat=threat)
        print_evaluation(str(self.target), found, note)
        for line in lines:
            print(line)
        print(f"results, weights and picture are in {folder}")
        return 0

    def _threat(self) -> ThreatModel:
        return ThreatModel(
            images=self.images if self.attacker_data is None else "other-data",
            labels=self.labels,
            queries=self.queries,
            candidate_queries=self.candidate_queries,
            codebook=self.codebook,
            unkeyed_encoder=self.unkeyed_encoder,
            keys=self.keys,
            csi=self.csi,
            receptions=self.receptions,
        )

    def _names(self, threat: ThreatModel, sender: Pipeline, train: Game) -> list[str]:
        """The attackers to run; says of each that ``--all`` leaves out why."""
        if not self.all:
            return list(dict.fromkeys(self.eavesdropper))
        names = []
        for name in eavesdroppers:
            cls: Any = eavesdroppers[name]
            denied = threat.grants(getattr(cls, "needs", {}))
            idle = (
                None
                if denied
                else cls.nothing_to_attack(View(train, sender, threat, torch.Generator(train.device)))
            )
            if denied or idle:
                print(f"{name}: left out, {f'the threat model says {denied}' if denied else idle}")
                continue
            names.append(name)
        return names

    def _target(
        self, device: torch.device, folder: Path
    ) -> tuple[GameConfig, dict[str, Any], tuple[Pipeline, Pipeline]]:
        """The target's setting, what a record says of it, and who sends the training and the test images."""
        if self.target.suffix == ".npz":
            if self.play or self.scheme_kwargs or self.stages or self.key_file:
                raise InputError(
                    f"the symbols in {self.target} are attacked as they are; --play, --scheme-kwargs, --stages and "
                    "--key-file belong to a checkpoint."
                )
            first, second = (Recorded(symbols.to(device)) for symbols in _recorded(self.target))
            setting = GameConfig(self.data, num_symbols=first.spec.num_symbols)
            record = {"recorded_symbols": self.target.name, "setting": setting.plain()}
            return setting, record, (first, second)
        options = parse_options(self.scheme_kwargs)
        scheme, setting, loaded = load_scheme(
            self.target, device, name=self.play, options=options, stages=parse_parts(self.stages)
        )
        # Kept, so that a resumed attack meets the same key.
        kept = folder / "secret.key" if scheme.keyed and "key" not in options else None
        use_key_file(scheme, self.key_file or kept)
        return setting, system_of(scheme, loaded.card), (scheme, scheme)

    def _games(
        self, setting: GameConfig, senders: tuple[Pipeline, Pipeline], device: torch.device
    ) -> tuple[Game, Game]:
        """On the attackers' own images, and on the test images."""
        heard = snr_choices(self.eavesdropper_snr_db) if self.eavesdropper_snr_db else None
        if heard is not None and len(self.eavesdropper_snr_db) != len(self.snr_db):
            raise InputError(
                f"--eavesdropper-snr-db pairs with --snr-db, but there are {len(self.eavesdropper_snr_db)} and "
                f"{len(self.snr_db)} values."
            )
        snr = snr_choices(self.snr_db) if self.snr_db else setting.snr_db
        rules: dict[str, Any] = {"snr_db": snr, "constellation": senders[0].constellation, "device": device}
        own = (
            setting
            if self.attacker_data is None
            else replace(setting, data=self.attacker_data, data_kwargs={})
        )
        half = None if self.attacker_data else "attacker" if self.images == "other-half" else "system"
        train = own.game(half=half, eavesdropper_snr_db=heard, **rules)
        test = setting.game(split="test", **rules)
        if train.source.image_shape != test.source.image_shape:
            raise InputError(
                f"{self.attacker_data} images have the shape {train.source.image_shape}, the target's "
                f"{test.source.image_shape}."
            )
        for sender, game in zip(senders, (train, test), strict=True):
            if isinstance(sender, Recorded) and len(sender.symbols) != len(game.source):
                raise DataError(
                    f"{self.target} has {len(sender.symbols)} recorded messages where {game.source.name} has "
                    f"{len(game.source)} images ({game.source.split})."
                )
        return train, test

    def _save(
        self,
        folder: Path,
        attacker: Eavesdropper,
        record: dict[str, Any],
        train: Game,
        setting: GameConfig,
        target: Pipeline,
        device: torch.device,
    ) -> None:
        snr = train.eavesdropper_snr_db or train.snr_db
        card = {
            **provenance(train.source, device),
            "against": target.name,
            "composition": target.composition,
            "labels": list(train.task.labels),
            "setting": setting.plain(),
            "training": record,
            "valid_snr_db": [snr.low, snr.high],
        }
        save_checkpoint(folder / f"{attacker.name}.safetensors", attacker, card)


def _finished(
    path: Path, wanted: dict[str, Any], device: torch.device
) -> tuple[Eavesdropper, dict[str, Any]] | None:
    """An attacker that an earlier, interrupted or smaller run of the same command has finished."""
    if not path.exists():
        return None
    loaded = load_checkpoint(path, device=device, kind="eavesdropper")
    record = loaded.card.get("training", {})
    if record.get("asked") != json.loads(json.dumps(wanted)):  # as a card holds it: lists, no tuples
        raise InputError(
            f"{path} was trained with other settings or against another target; choose another --output."
        )
    if not loaded.policy.state_dict():
        return None  # what it learnt is in no tensor of its state, so its file holds nothing: fitted again
    return loaded.policy, record


def _applicable(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that an attacker has (``epochs`` means nothing to a closed form), and its very own."""
    import inspect

    own = {
        key.removeprefix(f"{name}."): value for key, value in options.items() if key.startswith(f"{name}.")
    }
    shared = {key: value for key, value in options.items() if "." not in key}
    known = inspect.signature(eavesdroppers[name]).parameters
    if "base_kwargs" in known:
        # An attacker with others behind it hands the options on to those that have them.
        bases = own.get("bases", known["bases"].default)
        theirs = {k: v for base in bases for k, v in _applicable(base, shared).items()}
        own["base_kwargs"] = {**theirs, **own.get("base_kwargs", {})}
    if not any(p.kind is p.VAR_KEYWORD for p in known.values()):
        shared = {key: value for key, value in shared.items() if key in known}
    return {**shared, **own}


def _recorded(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    if not path.is_file():
        raise DataError(f"no recorded symbols at {path}.")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = [torch.from_numpy(file[key]).float() for key in ("train_second_half", "test")]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} does not hold the arrays train_second_half and test: {error}.") from None
    if any(a.dim() != 2 or a.shape[1] % 2 for a in arrays):
        raise DataError(f"{path}: symbols must be [N, 2n], not {[list(a.shape) for a in arrays]}.")
    return arrays[0], arrays[1]

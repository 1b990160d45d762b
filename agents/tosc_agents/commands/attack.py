"""``tosc attack``: train eavesdroppers against a checkpoint, or against symbols recorded elsewhere."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro

from tosc_agents.commands.common import load_scheme, parse_options, snr_choices
from tosc_agents.learning.progress import show_progress
from tosc_agents.pictures import attack_picture
from tosc_agents.records import print_evaluation, provenance, write_results
from tosc_agents.setting import Setting
from tosc_agents.training.evaluate import evaluate
from tosc_agents.training.fit_eavesdropper import fit_eavesdropper
from tosc_env.checkpoints import load_checkpoint, save_checkpoint
from tosc_env.devices import resolve_device
from tosc_env.errors import DataError, InputError, unknown
from tosc_env.game import Game
from tosc_env.policies import Eavesdropper, PrivacyScheme, eavesdroppers
from tosc_env.threat import RecordedSender, SchemeSender, Sender, ThreatModel


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
    """Another scheme that plays with the checkpoint's weights, e.g. label-only with those of deepjscc."""
    eavesdropper: tuple[str, ...] = ("mean-image", "linear", "inversion-mlp", "inversion", "match")
    """Registered eavesdroppers ('tosc list'), each with the same settings for every scheme."""
    eavesdropper_options: tuple[str, ...] = ()
    """Options for every attacker that has them, as name=value, e.g. epochs=10."""
    snr_db: tuple[float, ...] = ()
    """Es/N0 in dB of both links, for training the attackers and for testing; by default the scheme's."""
    eavesdropper_snr_db: tuple[float, ...] = ()
    """Es/N0 in dB of the eavesdropper's link where it is another, paired with --snr-db."""
    candidate_queries: bool = True
    """Measure re-identification by encoding the candidates too (reid_query), a threat model of its own."""
    queries: int | None = None
    """Encoder queries the attacker may spend; by default as many as it likes."""
    csi: bool = True
    """Whether the attackers know their link's SNR and fading."""
    data: str = "cifar10"
    """The data set of recorded symbols (a checkpoint knows its own)."""
    seeds: int = 3
    """Draws of the channel's noise in the test."""
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
        options = parse_options(self.eavesdropper_options)
        threat = ThreatModel(queries=self.queries, csi=self.csi)
        train, test, senders, scheme, origin = self._target(device)
        folder = self.output or Path("runs") / f"attack-{self.target.stem}"
        fitted: dict[str, Eavesdropper] = {}
        records: dict[str, Any] = {}
        target = {"file": self.target.name, "sha256": _digest(self.target), "play": self.play}
        for name in self.eavesdropper:
            wanted = {
                "options": _applicable(name, options),
                "threat_model": threat.plain(),
                "snr_db": (train.eavesdropper_snr_db or train.snr_db).plain(),
                "seed": self.seed,
                "target": target,
            }
            finished = _finished(folder / f"{name}.safetensors", wanted, device)
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
                    identity={"target": target},
                )
            records[name] |= {"asked": wanted}
            self._save(folder, fitted[name], records[name], train, origin, device)
        levels = self.snr_db or train.snr_db.choices or (train.snr_db.low, train.snr_db.high)
        found = evaluate(
            test,
            senders[1],
            fitted,
            scheme=scheme,
            snr_db=levels,
            eavesdropper_snr_db=self.eavesdropper_snr_db or None,
            seeds=self.seeds,
            threat=replace(threat, candidate_queries=self.candidate_queries),
        )
        record = {
            "target": self.target.name,
            "system": origin,
            "channel_uses": train.num_symbols,
            "attackers": records,
            **provenance(test.source, device),
            "results": found.plain(),
        }
        note = f"{test.source.provenance} Attackers: {threat}; {self.seeds} seeds of channel noise."
        write_results(folder, record, found, note)
        attack_picture(folder / "picture.png", test, senders[1], fitted, levels[0])
        print_evaluation(str(self.target), found, note)
        print(f"results, weights and picture are in {folder}")
        return 0

    def _target(
        self, device: torch.device
    ) -> tuple[Game, Game, tuple[Sender, Sender], PrivacyScheme | None, dict[str, Any]]:
        heard = snr_choices(self.eavesdropper_snr_db) if self.eavesdropper_snr_db else None
        if heard is not None and len(self.eavesdropper_snr_db) != len(self.snr_db):
            raise InputError(
                f"--eavesdropper-snr-db pairs with --snr-db, but there are {len(self.eavesdropper_snr_db)} and "
                f"{len(self.snr_db)} values."
            )
        if self.target.suffix == ".npz":
            symbols = _recorded(self.target)
            setting = Setting(self.data, num_symbols=symbols[0].shape[1] // 2)
            origin: dict[str, Any] = {"recorded_symbols": self.target.name, "setting": setting.plain()}
            scheme, constellation = None, None
            senders: tuple[Sender, Sender] = (
                RecordedSender(symbols[0].to(device)),
                RecordedSender(symbols[1].to(device)),
            )
        else:
            scheme, setting, loaded = load_scheme(self.target, device, self.play)
            constellation = scheme.constellation
            origin = {"scheme": scheme.name, "options": scheme.options, "card": loaded.card}
            senders = (SchemeSender(scheme), SchemeSender(scheme))
        snr = snr_choices(self.snr_db) if self.snr_db else setting.snr_db
        rules: dict[str, Any] = {"snr_db": snr, "constellation": constellation, "device": device}
        train = setting.game(half="attacker", eavesdropper_snr_db=heard, **rules)
        test = setting.game(split="test", **rules)
        for sender, game in zip(senders, (train, test), strict=True):
            if isinstance(sender, RecordedSender) and len(sender.symbols) != len(game.source):
                raise DataError(
                    f"{self.target} has {len(sender.symbols)} recorded messages where {game.source.name} has "
                    f"{len(game.source)} images ({game.source.split})."
                )
        return train, test, senders, scheme, origin

    def _save(
        self,
        folder: Path,
        attacker: Eavesdropper,
        record: dict[str, Any],
        train: Game,
        origin: dict[str, Any],
        device: torch.device,
    ) -> None:
        snr = train.eavesdropper_snr_db or train.snr_db
        card = {
            **provenance(train.source, device),
            "against": origin.get("scheme", self.target.name),
            "labels": list(train.task.labels),
            "setting": origin.get("setting") or origin["card"]["setting"],
            "training": record,
            "valid_snr_db": [snr.low, snr.high],
        }
        save_checkpoint(folder / f"{attacker.name}.safetensors", attacker, card)


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _finished(
    path: Path, wanted: dict[str, Any], device: torch.device
) -> tuple[Eavesdropper, dict[str, Any]] | None:
    """An attacker that an earlier, interrupted or smaller run of the same command has finished."""
    if not path.exists():
        return None
    loaded = load_checkpoint(path, device=device, kind="eavesdropper")
    record = loaded.card.get("training", {})
    if record.get("asked") != wanted:
        raise InputError(
            f"{path} was trained with other settings or against another target; choose another --output."
        )
    assert isinstance(loaded.policy, Eavesdropper)
    return loaded.policy, record


def _applicable(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that an attacker has: ``epochs`` means nothing to a closed form."""
    import inspect

    known = inspect.signature(eavesdroppers[name]).parameters
    if any(p.kind is p.VAR_KEYWORD for p in known.values()):
        return options
    return {key: value for key, value in options.items() if key in known}


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

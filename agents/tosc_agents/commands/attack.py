"""``tosc attack``: train eavesdroppers against a checkpoint, or against symbols recorded elsewhere."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro

from tosc_agents.commands.common import load_scheme, parse_options, snr_choices
from tosc_agents.learning.progress import show_progress
from tosc_agents.pictures import attack_picture
from tosc_agents.records import markdown, print_evaluation, provenance, rows, write_csv, write_json
from tosc_agents.setting import Setting
from tosc_agents.training.evaluate import evaluate
from tosc_agents.training.fit_eavesdropper import fit_eavesdropper
from tosc_env.checkpoints import save_checkpoint
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
    eavesdropper: tuple[str, ...] = ("mean-image", "linear", "inversion-mlp", "inversion", "match")
    """Registered eavesdroppers ('tosc list'), each with the same settings for every scheme."""
    eavesdropper_options: tuple[str, ...] = ()
    """Options for every attacker that has them, as name=value, e.g. epochs=10."""
    snr_db: tuple[float, ...] = ()
    """Es/N0 in dB of both links, for training the attackers and for testing; by default the scheme's."""
    eavesdropper_snr_db: tuple[float, ...] = ()
    """Es/N0 in dB of the eavesdropper's link where it is another, paired with --snr-db."""
    queries: int | None = None
    """Encoder queries the attacker may spend; by default as many as it likes."""
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
        threat = ThreatModel(queries=self.queries)
        train, test, senders, scheme, origin = self._target(device)
        folder = self.output or Path("runs") / f"attack-{self.target.stem}"
        fitted: dict[str, Eavesdropper] = {}
        records = {}
        for name in self.eavesdropper:
            with show_progress(f"fit {name}") as progress:
                fitted[name], records[name] = fit_eavesdropper(
                    name,
                    train,
                    senders[0],
                    threat=threat,
                    options=_applicable(name, options),
                    seed=self.seed,
                    progress=progress,
                )
            self._save(folder, fitted[name], records[name], train, origin, device)
        levels = self.snr_db or (float(train.snr_db.low),)
        found = evaluate(
            test,
            senders[1],
            fitted,
            scheme=scheme,
            snr_db=levels,
            eavesdropper_snr_db=self.eavesdropper_snr_db or None,
            seeds=self.seeds,
        )
        record = {
            "target": self.target.name,
            "system": origin,
            "channel_uses": train.num_symbols,
            "attackers": records,
            **provenance(test.source, device),
            "results": found.plain(),
        }
        write_json(folder / "results.json", record)
        write_csv(folder / "results.csv", rows(found))
        note = f"{test.source.provenance} Attackers: {threat}; {self.seeds} seeds of channel noise."
        (folder / "results.md").write_text(f"{markdown(found)}\n{note}\n", encoding="utf-8")
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
            scheme, setting, loaded = load_scheme(self.target, device)
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

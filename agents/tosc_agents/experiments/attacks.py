"""Measuring one arm, and training one attacker against it, as cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tosc_agents.experiments.arms import KEYS, Arm
from tosc_agents.experiments.cells import Cell, Work
from tosc_agents.experiments.findings import NOISE, Row
from tosc_agents.experiments.systems import Systems, images_of, source_of
from tosc_agents.experiments.trainings import SCHEME, load_arm
from tosc_agents.records import provenance
from tosc_agents.training.evaluate import CANDIDATES, chance, evaluate, floors
from tosc_agents.training.fit_eavesdropper import fit_eavesdropper
from tosc_env.attackers import Eavesdropper
from tosc_env.game import Game
from tosc_env.io.checkpoints import load_checkpoint, save_checkpoint
from tosc_env.privacy.threat import ThreatModel

ATTACKER = "attacker.safetensors"
BASELINE = "deepjscc"

THREAT = ThreatModel(unkeyed_encoder=True, candidate_queries=True)
"""Every attacker's: images of the other half with labels, unlimited queries, candidates encoded on demand, the encoder
with and without its key (never the key itself), the codebook, its own CSI."""


@dataclass(frozen=True)
class Attacker:
    """An attacker with its settings, the same for every arm that it is pointed at.

    Attributes:
        key: what tables call it.
        eavesdropper, options: what is trained.
        arms: keys of those it is pointed at; None: all.
        train_snr_db: None: over all SNRs of the test, told its own; a number: at that one alone; several: over those.
    """

    key: str
    eavesdropper: str
    options: Mapping[str, Any] = field(default_factory=dict)
    arms: tuple[str, ...] | None = None
    train_snr_db: float | tuple[float, ...] | None = None

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "key": self.key,
            "eavesdropper": self.eavesdropper,
            "options": dict(self.options),
            "train_snr_db": list(t) if isinstance(t := self.train_snr_db, tuple) else t,
        }


@dataclass(frozen=True)
class Measurement:
    """What arms and attackers are measured with.

    Attributes:
        snr_db: of both links, one after the other.
        seeds: draws of the channel's noise.
        ssim_seeds: of these, for how many SSIM is computed.
    """

    snr_db: tuple[float, ...]
    seeds: int = 3
    ssim_seeds: int = 1

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        return {"snr_db": list(self.snr_db), "seeds": self.seeds, "ssim_seeds": self.ssim_seeds}


def arm_cell(systems: Systems, arm: Arm, seed: int, measured: Measurement) -> Cell:
    """Accuracy of the arm's receiver, and re-identification by whoever has the candidates encoded, over the SNRs."""
    trained = systems.training(arm.training, seed)
    setting = systems.setting

    def work(work: Work) -> dict[str, Any]:
        scheme = load_arm(work.file(trained, SCHEME), arm, work.device)
        test = source_of(setting, "test", None, work.device)
        found = evaluate(
            Game(test, setting, constellation=scheme.constellation),
            scheme,
            {},
            snr_db=measured.snr_db,
            seeds=measured.seeds,
            with_floors=False,
            threat=THREAT,
        )
        return {
            "evaluation": found.plain(),
            "guarantee": scheme.guarantee(),
            "bits": scheme.bits,
            "channel_uses": setting.num_symbols,
        }

    name = f"measure-{arm.key}-{setting.data}-seed{seed}"
    inputs = {"version": 1, "arm": _plain(arm), "measured": measured.plain()}
    return Cell(name, inputs, work, (trained,))


def attack_cell(systems: Systems, arm: Arm, attacker: Attacker, seed: int, measured: Measurement) -> Cell:
    """One attacker, trained against one arm on the attacker's half and measured on the test images."""
    trained = systems.training(arm.training, seed)
    setting = systems.setting

    def work(work: Work) -> dict[str, Any]:
        scheme = load_arm(work.file(trained, SCHEME), arm, work.device)
        heard: Any = attacker.train_snr_db
        snr = list(measured.snr_db) if heard is None else list(heard) if isinstance(heard, tuple) else heard
        own = source_of(setting, "train", "attacker", work.device)
        train = Game(own, setting, snr_db=snr, constellation=scheme.constellation)
        shown = source_of(setting, "test", None, work.device)
        test = Game(shown, setting, constellation=scheme.constellation)
        path = work.folder / ATTACKER
        finished = _fitted(path, work)
        if finished is None:
            with work.progress(
                f"{attacker.key} against {arm.key} on {setting.data}, seed {seed}"
            ) as progress:
                fitted, record = fit_eavesdropper(
                    attacker.eavesdropper,
                    train,
                    scheme,
                    threat=THREAT,
                    options=dict(attacker.options),
                    seed=seed,
                    progress=progress,
                    state_path=work.folder / "attacker.run",
                    identity={"arm": arm.key},
                )
            card = {
                **provenance(own, work.device),
                "against": scheme.name,
                "composition": scheme.composition,
                "labels": list(train.task.labels),
                "setting": setting.plain(),
                "training": record,
                "valid_snr_db": [train.snr_db.low, train.snr_db.high],
            }
            save_checkpoint(path, fitted, card)
        else:
            fitted, record = finished
        found = evaluate(
            test,
            scheme,
            {attacker.key: fitted},
            snr_db=measured.snr_db,
            seeds=measured.seeds,
            ssim_seeds=measured.ssim_seeds,
            with_floors=False,
            threat=ThreatModel(candidate_queries=False),
        )
        # The arm's own cell has its accuracy, which would be counted once more here.
        return {"evaluation": {**found.plain(), "accuracy": {}}, "training": record}

    name = f"attack-{arm.key}-{attacker.key}-{setting.data}-seed{seed}"
    inputs = {
        "version": 1,
        "arm": _plain(arm),
        "attacker": attacker.plain(),
        "measured": measured.plain(),
        "threat": THREAT.plain(),
        "seed": seed,
    }
    return Cell(name, inputs, work, (trained,))


def _fitted(path: Path, work: Work) -> tuple[Eavesdropper, dict[str, Any]] | None:
    """An attacker that was fitted before its measurement was interrupted; the cell's folder is of these settings."""
    if not path.exists():
        return None
    loaded = load_checkpoint(path, device=work.device, kind="eavesdropper")
    assert isinstance(loaded.policy, Eavesdropper)
    # One with an encoder in its hands holds nothing that a file could keep: it is fitted again, as is one whose card
    # was still to be written.
    return (loaded.policy, loaded.card["training"]) if loaded.card and loaded.policy.state_dict() else None


def floors_cell(systems: Systems) -> Cell:
    """What knowing nothing, and knowing the class, gives on the test images; how often a constant answer is right."""
    setting = systems.setting

    def work(work: Work) -> dict[str, Any]:
        game = Game(source_of(setting, "test", None, work.device), setting)
        return {
            "floors": floors(game),
            "chance": {**chance(game), "reid": 1.0 / min(CANDIDATES, len(game.source))},
            "images": len(game.source),
            "provenance": game.source.provenance,
        }

    return Cell(
        f"floors-{setting.data}", {"version": 2, "setting": setting.plain(), "data": images_of(setting)}, work
    )


def rows_of(experiment: str, arm: str, evaluation: Mapping[str, Any]) -> list[Row]:
    """The rows of an evaluation's plain values, whose intervals are over the channel's noise."""
    seeds = int(evaluation["seeds"])
    rows = [
        _row(experiment, arm, "accuracy", figure, seeds, float(snr), None)
        for snr, figure in evaluation["accuracy"].items()
    ]
    for attacker, by_snr in evaluation["leaks"].items():
        for snr, figures in by_snr.items():
            rows += [
                _row(experiment, arm, name, figure, seeds, float(snr), attacker)
                for name, figure in figures.items()
            ]
    return rows


def _row(
    experiment: str,
    arm: str,
    name: str,
    figure: Mapping[str, Any],
    seeds: int,
    snr: float,
    attacker: str | None,
) -> Row:
    interval = figure["interval95"]
    samples = 1 if interval is None else seeds
    return Row(
        experiment,
        arm,
        name,
        figure["mean"],
        float("nan") if interval is None else interval,
        samples,
        NOISE,
        snr,
        attacker,
    )


def _plain(arm: Arm) -> dict[str, Any]:
    return {"key": arm.key, "scheme": arm.scheme, "options": dict(arm.options)}


def pointed_at(attackers: Sequence[Attacker], arm: Arm) -> list[Attacker]:
    """The attackers that an arm must face; a registered arm faces those of the unprotected scheme."""
    key = arm.key if arm.key in KEYS else BASELINE
    return [a for a in attackers if a.arms is None or key in a.arms]

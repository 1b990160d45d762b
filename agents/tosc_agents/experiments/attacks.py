"""Measuring one method, and training one attacker against it, as jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tosc_agents.experiments.jobs import Job, RunCache
from tosc_agents.experiments.methods import KEYS, Method
from tosc_agents.experiments.sections import Measurement
from tosc_agents.experiments.systems import Systems, images_of, source_of
from tosc_agents.experiments.trainings import SCHEME, load_method
from tosc_agents.learning.seeding import weights_from
from tosc_agents.records import provenance
from tosc_agents.training.evaluate import CANDIDATES, chance, evaluate, floors
from tosc_agents.training.fit_eavesdropper import (
    attack_identity,
    finished_attacker,
    fit_eavesdropper,
    forget_run,
    without_identity,
)
from tosc_env.attackers import make_eavesdropper
from tosc_env.game import Game
from tosc_env.io.checkpoints import save_checkpoint
from tosc_env.privacy.threat import ThreatModel

ATTACKER = "attacker.safetensors"
BASELINE = "deepjscc"

THREAT = ThreatModel(unkeyed_encoder=True, candidate_queries=True)
"""Every attacker's: images of the other half with labels, unlimited queries, candidates encoded on demand, the encoder
with and without its key (never the key itself), the codebook, its own CSI."""


@dataclass(frozen=True)
class Attacker:
    """An attacker with its settings, the same for every method that it is pointed at.

    Attributes:
        key: what tables call it.
        eavesdropper, options: what is trained.
        methods: keys of those it is pointed at; None: all.
        train_snr_db: None: over all SNRs of the test, told its own; a number: at that one alone; several: over those.
    """

    key: str
    eavesdropper: str
    options: Mapping[str, Any] = field(default_factory=dict)
    methods: tuple[str, ...] | None = None
    train_snr_db: float | tuple[float, ...] | None = None

    def plain(self) -> dict[str, Any]:
        """As plain values, whomever it is pointed at."""
        return {name: value for name, value in asdict(self).items() if name != "methods"}


@dataclass(frozen=True)
class EvaluationConfig:
    """What methods and attackers are measured with.

    Attributes:
        snr_db: of both links, one after the other.
        seeds: draws of the channel's noise.
        ssim_seeds: of these, for how many SSIM is computed.
    """

    snr_db: tuple[float, ...]
    seeds: int = 3
    ssim_seeds: int = 1


def evaluation_job(systems: Systems, method: Method, seed: int, config: EvaluationConfig) -> Job:
    """Accuracy of the method's receiver, and re-identification by whoever has the candidates encoded, over the SNRs."""
    trained = systems.training(method.training, seed)
    setting = systems.setting

    def work(cache: RunCache, folder: Path) -> dict[str, Any]:
        scheme = load_method(cache.file(trained, SCHEME), method, cache.device)
        test = source_of(setting, "test", None, cache.device)
        found = evaluate(
            Game(test, setting, constellation=scheme.constellation),
            scheme,
            {},
            snr_db=config.snr_db,
            seeds=config.seeds,
            with_floors=False,
            threat=THREAT,
        )
        return {
            "evaluation": found.plain(),
            "guarantee": scheme.guarantee(),
            "bits": scheme.bits,
            "channel_uses": setting.num_symbols,
        }

    name = f"measure-{method.key}-{setting.data}-seed{seed}"
    return Job(name, {"version": 1, "method": method.plain(), "config": asdict(config)}, work, (trained,))


def attack_job(
    systems: Systems, method: Method, attacker: Attacker, seed: int, config: EvaluationConfig
) -> Job:
    """One attacker, trained against one method on the attacker's half and measured on the test images."""
    trained = systems.training(method.training, seed)
    setting = systems.setting

    def work(cache: RunCache, folder: Path) -> dict[str, Any]:
        scheme = load_method(cache.file(trained, SCHEME), method, cache.device)
        heard: Any = config.snr_db if attacker.train_snr_db is None else attacker.train_snr_db
        snr = list(heard) if isinstance(heard, tuple) else heard
        own = source_of(setting, "train", "attacker", cache.device)
        train = Game(own, setting, snr_db=snr, constellation=scheme.constellation)
        test = Game(
            source_of(setting, "test", None, cache.device), setting, constellation=scheme.constellation
        )
        path, state = folder / ATTACKER, folder / "attacker.run"
        with weights_from(seed):
            fresh = make_eavesdropper(attacker.eavesdropper, train.spec, **attacker.options)
        known = attack_identity(fresh.to(cache.device), train, scheme, threat=THREAT, seed=seed)
        # Fitted, perhaps, before its measurement was interrupted.
        finished = finished_attacker(path, known, device=cache.device)
        if finished is None:
            title = f"{attacker.key} against {method.key} on {setting.data}, seed {seed}"
            with cache.progress(title) as progress:
                fitted, record = fit_eavesdropper(
                    fresh,
                    train,
                    scheme,
                    threat=THREAT,
                    seed=seed,
                    progress=progress,
                    state_path=state,
                )
            card = {
                **provenance(own, cache.device),
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
        forget_run(state)
        found = evaluate(
            test,
            scheme,
            {attacker.key: fitted},
            **asdict(config),
            with_floors=False,
            threat=ThreatModel(candidate_queries=False),
        )
        # The method's own job has its accuracy, which would be counted once more here.
        return {"evaluation": {**found.plain(), "accuracy": {}}, "training": without_identity(record)}

    name = f"attack-{method.key}-{attacker.key}-{setting.data}-seed{seed}"
    inputs = {
        "version": 1,
        "method": method.plain(),
        "attacker": attacker.plain(),
        "config": asdict(config),
        "threat": THREAT.plain(),
        "seed": seed,
    }
    return Job(name, inputs, work, (trained,))


def floors_job(systems: Systems) -> Job:
    """What knowing nothing, and knowing the class, gives on the test images; how often a constant answer is right."""
    setting = systems.setting

    def work(cache: RunCache, folder: Path) -> dict[str, Any]:
        game = Game(source_of(setting, "test", None, cache.device), setting)
        return {
            "floors": floors(game),
            "chance": {**chance(game), "reid": 1.0 / min(CANDIDATES, len(game.source))},
            "images": len(game.source),
            "provenance": game.source.provenance,
        }

    inputs = {"version": 2, "setting": setting.plain(), "data": images_of(setting)}
    return Job(f"floors-{setting.data}", inputs, work)


def measurements_of(experiment: str, method: str, evaluation: Mapping[str, Any]) -> list[Measurement]:
    """Those in an evaluation's plain values, whose intervals are over the channel's noise."""
    by_attacker = {None: {snr: {"accuracy": value} for snr, value in evaluation["accuracy"].items()}}
    return [
        Measurement.of(
            experiment, method, name, value, int(evaluation["seeds"]), snr_db=float(snr), attacker=attacker
        )
        for attacker, by_snr in (by_attacker | evaluation["leaks"]).items()
        for snr, figures in by_snr.items()
        for name, value in figures.items()
    ]


def pointed_at(attackers: Sequence[Attacker], method: Method) -> list[Attacker]:
    """The attackers that a method must face; a registered one faces those of the unprotected scheme."""
    key = method.key if method.key in KEYS else BASELINE
    return [a for a in attackers if a.methods is None or key in a.methods]

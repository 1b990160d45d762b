"""Measuring one method, training one attacker against it, as jobs; and pictures of what attackers make of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tosc_agents.experiments.article import TRAINING_SNR_DB
from tosc_agents.experiments.jobs import Job, RunCache
from tosc_agents.experiments.methods import KEYS, Method, label, method
from tosc_agents.experiments.systems import SCHEME, Systems, images_of, load_method, named, source_of
from tosc_agents.learning.seeding import weights_from
from tosc_agents.perceptual import weights_digest
from tosc_agents.pictures import rebuild
from tosc_agents.records import provenance, rising, trainings
from tosc_agents.training.evaluate import CANDIDATES, chance, evaluate, floors
from tosc_agents.training.fit_eavesdropper import (
    attack_identity,
    finished_attacker,
    fit_eavesdropper,
    forget_run,
    without_identity,
)
from tosc_env.attackers import Eavesdropper, make_eavesdropper
from tosc_env.game import Game, GameConfig
from tosc_env.io.checkpoints import load_checkpoint, save_checkpoint
from tosc_env.pipeline import Pipeline
from tosc_env.privacy.threat import ThreatModel
from tosc_env.rendering.viewer import comparison_grid

ATTACKER = "attacker.safetensors"
BASELINE = "deepjscc"
COUNT = 8
"""Images in a row of a picture."""

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
    """Settings of the evaluation: the SNRs of both links, one after the other, draws of the channel's noise, and for
    how many of these SSIM is computed.
    """

    snr_db: tuple[float, ...]
    seeds: int = 3
    ssim_seeds: int = 1


def games(setting: GameConfig, scheme: Pipeline, device: torch.device) -> tuple[Game, Game]:
    """What a scheme plays on the attacker's half of the training images, and on the test's."""
    own, test = (
        Game(source_of(setting, split, half, device), setting, constellation=scheme.constellation)
        for split, half in (("train", "attacker"), ("test", None))
    )
    return own, test


def evaluation_job(systems: Systems, method: Method, seed: int, config: EvaluationConfig) -> Job:
    """Accuracy of the method's receiver, and re-identification by whoever has the candidates encoded, over the SNRs."""
    trained, setting = systems.training(method.training, seed), systems.setting

    def work(cache: RunCache, folder: Path) -> dict[str, Any]:
        scheme = load_method(cache.file(trained, SCHEME), method, cache.device)
        own, test = games(setting, scheme, cache.device)
        heard = own.with_rules(snr_db=list(config.snr_db))
        query, _ = fit_eavesdropper("match-query", heard, scheme, threat=THREAT)
        how: dict[str, Any] = {"snr_db": config.snr_db, "seeds": config.seeds, "with_floors": False}
        found = evaluate(test, scheme, {"match-query": query}, threat=THREAT, **how)
        told = {"guarantee": scheme.guarantee(), "bits": scheme.bits, "channel_uses": setting.num_symbols}
        return {"evaluation": found.plain(), **told}

    name = f"measure-{method.key}-{named(setting)}-seed{seed}"
    return Job(name, _inputs(method, config), work, (trained,))


def _inputs(method: Method, config: EvaluationConfig) -> dict[str, Any]:
    return {"version": 2, "method": method.plain(), "config": asdict(config), "threat": THREAT.plain()}


def attack_job(
    systems: Systems, method: Method, attacker: Attacker, seed: int, config: EvaluationConfig
) -> Job:
    """One attacker, trained against one method on the attacker's half and measured on the test images."""
    trained, setting = systems.training(method.training, seed), systems.setting

    def work(cache: RunCache, folder: Path) -> dict[str, Any]:
        scheme = load_method(cache.file(trained, SCHEME), method, cache.device)
        heard: Any = config.snr_db if attacker.train_snr_db is None else attacker.train_snr_db
        own, test = games(setting, scheme, cache.device)
        train = own.with_rules(snr_db=list(heard) if isinstance(heard, tuple) else heard)
        path, state = folder / ATTACKER, folder / "attacker.run"
        with weights_from(seed):
            fresh = make_eavesdropper(attacker.eavesdropper, train.spec, **attacker.options)
        known = attack_identity(fresh.to(cache.device), train, scheme, threat=THREAT, seed=seed)
        # Fitted, perhaps, before its measurement was interrupted.
        finished = finished_attacker(path, known, device=cache.device)
        if finished is None:
            title = f"{attacker.key} against {method.key} on {setting.data}, seed {seed}"
            with cache.progress(title) as progress:
                how: dict[str, Any] = {"seed": seed, "progress": progress, "state_path": state}
                finished = fit_eavesdropper(fresh, train, scheme, threat=THREAT, **how)
            card = {
                **provenance(train.source, cache.device),
                "against": scheme.name,
                "composition": scheme.composition,
                "labels": list(train.task.labels),
                "setting": setting.plain(),
                "training": finished[1],
                "valid_snr_db": [train.snr_db.low, train.snr_db.high],
            }
            save_checkpoint(path, finished[0], card)
        fitted, record = finished
        forget_run(state)
        listening = {attacker.key: fitted}
        found = evaluate(test, scheme, listening, **asdict(config), with_floors=False, threat=THREAT)
        # The method's own job has its accuracy, which would be counted once more here.
        return {"evaluation": {**found.plain(), "accuracy": {}}, "training": without_identity(record)}

    name = f"attack-{method.key}-{attacker.key}-{named(setting)}-seed{seed}"
    inputs = {**_inputs(method, config), "attacker": attacker.plain(), "seed": seed}
    if attacker.options.get("perceptual_weight"):
        inputs["vgg"] = weights_digest()
    return Job(name, inputs, work, (trained,))


def cut_short(cache: RunCache, jobs: Sequence[Job]) -> dict[str, int]:
    """How many attackers were trained in these jobs, and how many of these still rose when their limit ended them."""
    records = [cache.result(job)["training"] for job in jobs if cache.finished(job)]
    trained = [one for one in records if len(trainings({"": one})) > 1]
    return {"trained": len(trained), "rose": sum(bool(rising({"": one})) for one in trained)}


def floors_job(systems: Systems) -> Job:
    """The floors on the test images: knowing nothing, knowing the class, and how often a constant answer is right."""
    setting = systems.setting

    def work(cache: RunCache, folder: Path) -> dict[str, Any]:
        game = Game(source_of(setting, "test", None, cache.device), setting)
        return {
            "floors": floors(game),
            "chance": {**chance(game), "reid_match": 1.0 / min(CANDIDATES, len(game.source))},
            "images": len(game.source),
            "provenance": game.source.provenance,
        }

    inputs = {"version": 2, "setting": setting.plain(), "data": images_of(setting)}
    return Job(f"floors-{named(setting)}", inputs, work)


def pointed_at(attackers: Sequence[Attacker], one: Method) -> list[Attacker]:
    """The attackers that a method must face; a registered one faces those of the unprotected scheme."""
    key = one.key if one.key in KEYS else BASELINE
    return [a for a in attackers if a.methods is None or key in a.methods]


def rebuilt_grid(
    path: Path,
    setting: GameConfig,
    shown: Mapping[str, tuple[Job, Job, str]],
    cache: RunCache,
    *,
    index: Tensor | None = None,
) -> None:
    """A picture of test images in the first row, then for each method what its attacker makes of the same ones, at the
    SNR of the training.

    ``shown`` has by the method's key the jobs of its training and of the attack, and a note under its name. ``index``
    says which images, int64; None: the first :data:`COUNT`.
    """
    device, snr_db = cache.device, TRAINING_SNR_DB
    source = source_of(setting, "test", None, device)
    index = torch.arange(min(COUNT, len(source)), device=device) if index is None else index
    rows: dict[str, Tensor] = {}
    for key, (training, attack, _) in shown.items():
        scheme = load_method(cache.file(training, SCHEME), method(key), device)
        attacker = load_checkpoint(cache.file(attack, ATTACKER), device=device, kind="eavesdropper").policy
        assert isinstance(attacker, Eavesdropper)
        game = Game(source, setting, snr_db=snr_db, constellation=scheme.constellation)
        rows |= rebuild(game, scheme, {label(key): attacker}, index=index)
    notes = {label(key): note for key, (_, _, note) in shown.items()}
    title = f"{source.name}, {snr_db:g} dB: originals, and what an attacker rebuilds from the symbols"
    comparison_grid(source.gather(index).images, rows, path, columns=len(index), title=title, notes=notes)

"""The article's Figure 3: accuracy and the attacker's PSNR over the SNR, and what the article could not see."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tosc_agents.experiments.attacks import (
    THREAT,
    attack_job,
    evaluation_job,
    floors_job,
    measurements_of,
    pointed_at,
)
from tosc_agents.experiments.fig3.section import present
from tosc_agents.experiments.jobs import Job, RunCache
from tosc_agents.experiments.methods import Method, method
from tosc_agents.experiments.presets import Preset
from tosc_agents.experiments.sections import Measurement, Section, over_trainings
from tosc_agents.experiments.systems import Systems


@dataclass(frozen=True)
class Fig3:
    """The jobs behind the figure, and what becomes of them.

    Attributes:
        preset: attackers, SNRs, seeds.
        systems: the trained systems.
        methods: keys of those that are drawn.
    """

    preset: Preset
    systems: Systems
    methods: tuple[str, ...]

    def seeds(self, one: Method) -> range:
        """The trainings of a method."""
        repeated = self.preset.repeated
        return range(self.preset.trainings if repeated is None or one.key in repeated else 1)

    def jobs_of(self, one: Method, seed: int) -> list[Job]:
        """The method's own measurement and its attackers'."""
        config, later = self.preset.evaluation, self.preset.repeated_attackers
        attacks = [
            attack_job(self.systems, one, attacker, seed, config)
            for attacker in pointed_at(self.preset.attackers, one)
            if not seed or later is None or attacker.key in later
        ]
        return [evaluation_job(self.systems, one, seed, config), *attacks]

    @property
    def jobs(self) -> list[Job]:
        """All of them: first trainings before repeated ones, cheap things before dear ones."""
        chosen = [method(key) for key in self.methods]
        first = [self.jobs_of(one, 0) for one in chosen]
        attacks = [job for jobs in first for job in jobs[1:]]
        later = [job for one in chosen for seed in self.seeds(one)[1:] for job in self.jobs_of(one, seed)]
        return [floors_job(self.systems), *(jobs[0] for jobs in first), *attacks, *later]

    def measurements(self, cache: RunCache) -> list[Measurement]:
        """All that is finished, joined over the trainings where there are several."""
        return over_trainings(
            m
            for key in self.methods
            for seed in self.seeds(method(key))
            for job in self.jobs_of(method(key), seed)
            if cache.finished(job)
            for m in measurements_of("fig3", key, cache.result(job)["evaluation"])
        )

    def section(self, cache: RunCache, folder: Path) -> Section:
        """Plots, tables and sentences, of all that is finished."""
        known = cache.result(floors_job(self.systems))
        cards = self._cards(cache)
        notes = [
            f"Data: {known['provenance']}",
            f"{known['images']:,} test images; attackers: {THREAT}; trained on their half of the training images.",
            f"{self.systems.setting.num_symbols} complex channel uses (128 reals) per message over AWGN; trained at "
            f"{self.systems.setting.snr_db:g} dB; both links have the SNR shown.",
            *self._trainings(cards),
        ]
        missing = [job.name for job in self.jobs if not cache.finished(job)]
        if missing:
            notes.append(f"Not finished, and so not drawn: {', '.join(missing)}.")
        found = present(
            self.measurements(cache), known["floors"], known["chance"], folder, self.methods, notes
        )
        found.details |= {
            "trainings": cards,
            "attackers": [attacker.plain() for attacker in self.preset.attackers],
            "threat_model": THREAT.plain(),
        }
        return found

    def _cards(self, cache: RunCache) -> dict[str, Any]:
        keys = dict.fromkeys(
            (method(key).training, seed) for key in self.methods for seed in self.seeds(method(key))
        )
        jobs = {f"{key}, seed {seed}": self.systems.training(key, seed) for key, seed in keys}
        return {name: cache.result(job) for name, job in jobs.items() if cache.finished(job)}

    def _trainings(self, cards: dict[str, Any]) -> list[str]:
        """Which training had how many epochs, and which of them was given or differs from the preset."""
        told = []
        for name, result in cards.items():
            training, recipe = result["card"]["training"], self.systems.recipes[name.split(",")[0]]
            epochs, warm = training["loop"]["epochs"], training.get("warm_start")
            start = f", started from weights of {warm['scheme']}" if warm else ""
            part = f", {' and '.join(training['frozen'])} frozen" if training.get("frozen") else ""
            given = f", given as {result['given']}" if result["given"] else ""
            differs = "" if epochs == recipe.epochs else f" (the preset says {recipe.epochs})"
            told.append(f"{name}: {epochs} epochs{differs}{start}{part}{given}")
        notes = [f"Trainings: {'; '.join(told)}."]
        if self.systems.shared_start and any(name.endswith("seed 1") for name in cards):
            notes.append(
                "Where an interval is over trainings, all of them started from one and the same baseline: it says how "
                "figures vary between warm starts, which is less than between trainings from the very beginning."
            )
        return notes

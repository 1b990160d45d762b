"""The article's Figure 3: accuracy and the attacker's PSNR over the SNR, and what the article could not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tosc_agents.experiments.arms import Arm, arm
from tosc_agents.experiments.attacks import THREAT, arm_cell, attack_cell, floors_cell, pointed_at, rows_of
from tosc_agents.experiments.cells import Cell, Store
from tosc_agents.experiments.fig3.figures import present
from tosc_agents.experiments.findings import Findings, Row, over_trainings
from tosc_agents.experiments.presets import Preset
from tosc_agents.experiments.systems import Systems

NAME = "fig3"


@dataclass(frozen=True)
class Fig3:
    """The cells behind the figure, and what becomes of them.

    Attributes:
        preset: attackers, SNRs, seeds.
        systems: the trained systems.
        arms: keys of the arms that are drawn.
    """

    preset: Preset
    systems: Systems
    arms: tuple[str, ...]

    def seeds(self, one: Arm) -> range:
        """The trainings of an arm."""
        repeated = self.preset.repeated
        return range(self.preset.trainings if repeated is None or one.key in repeated else 1)

    def cells_of(self, one: Arm, seed: int) -> list[Cell]:
        """The arm's own measurement and its attackers'."""
        measured, later = self.preset.measured, self.preset.repeated_attackers
        attacks = [
            attack_cell(self.systems, one, attacker, seed, measured)
            for attacker in pointed_at(self.preset.attackers, one)
            if not seed or later is None or attacker.key in later
        ]
        return [arm_cell(self.systems, one, seed, measured), *attacks]

    @property
    def cells(self) -> list[Cell]:
        """All of them: first trainings before repeated ones, cheap things before dear ones."""
        chosen = [arm(key) for key in self.arms]
        first = [self.cells_of(one, 0) for one in chosen]
        measured = [cells[0] for cells in first]
        attacks = [cell for cells in first for cell in cells[1:]]
        later = [c for one in chosen for seed in self.seeds(one) if seed for c in self.cells_of(one, seed)]
        return [floors_cell(self.systems), *measured, *attacks, *later]

    def rows(self, store: Store) -> list[Row]:
        """All figures, joined over the trainings where there are several."""
        found: list[Row] = []
        for key in self.arms:
            per_seed = []
            for seed in self.seeds(arm(key)):
                cells = [cell for cell in self.cells_of(arm(key), seed) if store.finished(cell)]
                per_seed.append(
                    [row for cell in cells for row in rows_of(NAME, key, store.result(cell)["evaluation"])]
                )
            found += over_trainings(per_seed)
        return found

    def findings(self, store: Store, folder: Path) -> Findings:
        """Pictures, tables and sentences, of all that is finished."""
        known = store.result(floors_cell(self.systems))
        notes = [
            f"Data: {known['provenance']}",
            f"{known['images']:,} test images; attackers: {THREAT}; trained on their half of the training images.",
            f"{self.systems.setting.num_symbols} complex channel uses (128 reals) per message over AWGN; trained at "
            f"{self.systems.setting.snr_db:g} dB; both links have the SNR shown.",
            *self._trainings(store),
            *self._unfinished(store),
        ]
        details = {
            "floors": known["floors"],
            "chance": known["chance"],
            "trainings": self._cards(store),
            "attackers": [attacker.plain() for attacker in self.preset.attackers],
            "threat_model": THREAT.plain(),
        }
        return present(
            self.rows(store),
            floors=known["floors"],
            chance=known["chance"],
            folder=folder,
            arms=self.arms,
            notes=notes,
            details=details,
        )

    def _cards(self, store: Store) -> dict[str, Any]:
        keys = dict.fromkeys((arm(key).training, seed) for key in self.arms for seed in self.seeds(arm(key)))
        cells = {f"{key}, seed {seed}": self.systems.training(key, seed) for key, seed in keys}
        return {name: store.result(cell) for name, cell in cells.items() if store.finished(cell)}

    def _trainings(self, store: Store) -> list[str]:
        """Which training had how many epochs, and which of them was given or differs from the preset."""
        told = []
        for name, result in self._cards(store).items():
            training, recipe = result["card"]["training"], self.systems.recipes[name.split(",")[0]]
            epochs, warm = training["loop"]["epochs"], training.get("warm_start")
            start = f", started from weights of {warm['scheme']}" if warm else ""
            part = f", {' and '.join(training['frozen'])} frozen" if training.get("frozen") else ""
            given = f", given as {result['given']}" if result["given"] else ""
            differs = "" if epochs == recipe.epochs else f" (the preset says {recipe.epochs})"
            told.append(f"{name}: {epochs} epochs{differs}{start}{part}{given}")
        notes = [f"Trainings: {'; '.join(told)}."]
        if self.systems.shared_start and any(name.endswith("seed 1") for name in self._cards(store)):
            notes.append(
                "Where an interval is over trainings, all of them started from one and the same baseline: it says how "
                "figures vary between warm starts, which is less than between trainings from the very beginning."
            )
        return notes

    def _unfinished(self, store: Store) -> Sequence[str]:
        names = [cell.name for cell in self.cells if not store.finished(cell)]
        return [f"Not finished, and so not drawn: {', '.join(names)}."] if names else []

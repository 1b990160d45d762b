"""The rows, found again by what they measure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from tosc_agents.experiments import article
from tosc_agents.experiments.arms import ARMS, arm
from tosc_agents.experiments.findings import Row, pick, strongest
from tosc_agents.experiments.statements.comparing import LEAK, Absent, label
from tosc_agents.leaks import LEAKS
from tosc_env.errors import InputError

ALL = tuple(one.key for one in ARMS if one.article is not None)
"""The article's schemes; those of ours that it has no name for are not among its statements."""
HONEST, CALIBRATED = ("dp-0.05", "dp-0.1", "dp-0.9"), ("dp-cal-0.05", "dp-cal-0.1", "dp-cal-0.9")
"""DP at the article's budgets, from the least: true to its budget, and with the fitted noise."""
ENCRYPTION = ("enc-fixed", "enc-shuffle")
"""Both readings of the article's key-guided shuffling."""
BASELINE = "deepjscc"
TRAINED_DB = article.TRAINING_SNR_DB


class Measured:
    """The rows of all experiments.

    Args:
        rows: of any experiments, each figure once per arm, SNR and attacker.
        floor_db: PSNR of the mean image on fig3's test images; None when it was not measured.

    Raises:
        InputError: a mean is not a finite number, or a figure is there twice.
    """

    def __init__(self, rows: Iterable[Row], floor_db: float | None) -> None:
        self._of: dict[str, list[Row]] = {}
        seen: set[tuple[object, ...]] = set()
        for row in rows:
            what = f"{row.figure} of {label(row)} in {row.experiment}"
            if not math.isfinite(row.mean):
                raise InputError(f"{what} must be a finite number, not {row.mean!r}.")
            key = (row.experiment, row.arm, row.figure, row.snr_db, row.attacker)
            if key in seen:
                raise InputError(f"{what} is there twice, at SNR {row.snr_db} by attacker {row.attacker}.")
            seen.add(key)
            self._of.setdefault(row.experiment, []).append(row)
        if floor_db is not None and not math.isfinite(floor_db):
            raise InputError(f"floor_db must be a finite number of dB or None, not {floor_db!r}.")
        self._floor = floor_db

    @property
    def fig3(self) -> list[Row]:
        """The rows of fig3."""
        return self._of.get("fig3", [])

    @property
    def floor(self) -> float:
        """The mean image's PSNR in dB.

        Raises:
            Absent: it was not measured.
        """
        if self._floor is None:
            raise Absent("fig3's mean-image floor")
        return self._floor

    def snrs(self, above_db: float = -math.inf) -> list[float]:
        """The SNRs above a limit at which fig3 measured any accuracy, in dB, rising; at least one.

        Raises:
            Absent: there is none.
        """
        rows = pick(self.fig3, "accuracy")
        found = sorted({row.snr_db for row in rows if row.snr_db is not None and row.snr_db > above_db})
        if not found:
            raise Absent(
                f"fig3's accuracy above {above_db:g} dB" if above_db > -math.inf else "fig3's accuracy"
            )
        return found

    def accuracy(self, key: str, snr_db: float) -> Row:
        """The accuracy of an arm in fig3."""
        found = pick(self.fig3, "accuracy", arm=key, snr_db=snr_db)
        if not found:
            raise Absent(f"fig3's accuracy of {arm(key).label} at {snr_db:g} dB")
        return found[0]

    def leak(self, key: str, snr_db: float, kind: str = "psnr_db") -> Row:
        """What the strongest attacker of fig3 has of an arm.

        Args:
            kind: ``psnr_db``, counted in dB above the floor and at least 0, or ``reid``, a share.
        """
        figures: Sequence[str] = LEAKS[kind]
        found = strongest(self.fig3, arm=key, snr_db=snr_db, figures=figures)
        if found is None:
            raise Absent(f"fig3's {' or '.join(figures)} of {arm(key).label} at {snr_db:g} dB")
        if kind != "psnr_db":
            return found
        return replace(found, figure=LEAK, mean=max(0.0, found.mean - self.floor))

    def one(self, experiment: str, figure: str, key: str | None = None) -> Row:
        """The largest row of a figure over its attackers, of a table or of the faces.

        Args:
            experiment: ``table1``, ``table2`` or ``fig4``, whose figures are for one SNR: rows for another than the
                training's are passed over.
            figure: of the row.
            key: of the arm; None for a figure that belongs to none, such as a chance.
        """
        found = [
            row
            for row in pick(self._of.get(experiment, []), figure, arm=key)
            if row.snr_db is None or row.snr_db == TRAINED_DB
        ]
        if not found:
            whose = "" if key is None else f" of {arm(key).label}"
            raise Absent(f"{experiment}'s {figure}{whose}")
        return max(found, key=lambda row: row.mean)

"""The measurements, found again by what they measure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from tosc_agents.experiments import article
from tosc_agents.experiments.methods import KEYS, METHODS, method, others
from tosc_agents.experiments.sections import Measurement, pick, strongest
from tosc_agents.leaks import LEAKS
from tosc_env.errors import InputError

ALL = tuple(one.key for one in METHODS if one.article is not None)
"""The article's schemes; those of ours that it has no name for are no part of its claims."""
HONEST, CALIBRATED = ("dp-0.05", "dp-0.1", "dp-0.9"), ("dp-cal-0.05", "dp-cal-0.1", "dp-cal-0.9")
"""DP at the article's budgets, from the least: true to its budget, and with the fitted noise."""
ENCRYPTION = ("enc-fixed", "enc-shuffle")
"""Both readings of the article's key-guided shuffling."""
BASELINE = "deepjscc"
TRAINED_DB = article.TRAINING_SNR_DB
LEAK = "leak_db"
"""A figure that is made from a measured one: PSNR above the floor."""


class Absent(Exception):
    """A measurement that a criterion needs was not made; the message names it."""


def label(m: Measurement) -> str:
    """The name of its method in plots."""
    return method(m.method).label if m.method in (*KEYS, *others) else m.method


class Results:
    """The measurements of all experiments.

    Args:
        measurements: of any experiments, each figure once per method, SNR and attacker.
        floor_db: PSNR of the mean image on fig3's test images; None when it was not measured.

    Raises:
        InputError: a mean is not a finite number, or a figure is there twice.
    """

    def __init__(self, measurements: Iterable[Measurement], floor_db: float | None) -> None:
        self._of: dict[str, list[Measurement]] = {}
        seen: set[tuple[object, ...]] = set()
        for m in measurements:
            what = f"{m.figure} of {label(m)} in {m.experiment}"
            if not math.isfinite(m.mean):
                raise InputError(f"{what} must be a finite number, not {m.mean!r}.")
            key = (m.experiment, m.method, m.figure, m.snr_db, m.attacker)
            if key in seen:
                raise InputError(f"{what} is there twice, at SNR {m.snr_db} by attacker {m.attacker}.")
            seen.add(key)
            self._of.setdefault(m.experiment, []).append(m)
        if floor_db is not None and not math.isfinite(floor_db):
            raise InputError(f"floor_db must be a finite number of dB or None, not {floor_db!r}.")
        self._floor = floor_db

    @property
    def fig3(self) -> list[Measurement]:
        """Those of fig3."""
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
        accuracies = pick(self.fig3, "accuracy")
        found = sorted({m.snr_db for m in accuracies if m.snr_db is not None and m.snr_db > above_db})
        if not found:
            where = f" above {above_db:g} dB" if above_db > -math.inf else ""
            raise Absent(f"fig3's accuracy{where}")
        return found

    def accuracy(self, key: str, snr_db: float = TRAINED_DB) -> Measurement:
        """The accuracy of a method in fig3."""
        found = pick(self.fig3, "accuracy", method=key, snr_db=snr_db)
        if not found:
            raise Absent(f"fig3's accuracy of {method(key).label} at {snr_db:g} dB")
        return found[0]

    def leak(self, key: str, snr_db: float = TRAINED_DB, kind: str = "psnr_db") -> Measurement:
        """What the strongest attacker of fig3 has of a method: ``psnr_db`` above the floor, at least 0; or ``reid``."""
        figures = LEAKS[kind]
        found = strongest(self.fig3, method=key, snr_db=snr_db, figures=figures)
        if found is None:
            raise Absent(f"fig3's {' or '.join(figures)} of {method(key).label} at {snr_db:g} dB")
        if kind != "psnr_db":
            return found
        return replace(found, figure=LEAK, mean=max(0.0, found.mean - self.floor))

    def one(self, experiment: str, figure: str, key: str | None = None) -> Measurement:
        """The largest measurement of a figure over its attackers, in ``table1``, ``table2`` or ``fig4``.

        Their figures are for one SNR; those for another than the training's are passed over. ``key`` is the method's;
        None for a figure that belongs to none, such as a chance.
        """
        found = pick(self._of.get(experiment, []), figure, method=key)
        found = [m for m in found if m.snr_db in (None, TRAINED_DB)]
        if not found:
            whose = "" if key is None else f" of {method(key).label}"
            raise Absent(f"{experiment}'s {figure}{whose}")
        return max(found, key=lambda m: m.mean)

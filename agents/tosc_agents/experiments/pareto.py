"""The privacy-utility plane: one point per scheme and SNR, and the front that nothing else beats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tosc_agents.experiments.findings import Row, pick, strongest
from tosc_env.errors import InputError


@dataclass(frozen=True)
class Point:
    """One scheme at one SNR.

    Attributes:
        arm: key of the :class:`~tosc_agents.experiments.arms.Arm`.
        snr_db: of both links.
        utility: what the receiver has of it, more is better; a share.
        leak: what the strongest attacker has of it, less is better; in the leak's own unit.
    """

    arm: str
    snr_db: float
    utility: float
    leak: float


def front(points: Iterable[Point]) -> list[Point]:
    """The points that no other dominates, by rising leak (and so by rising utility).

    One point dominates another when it has at least the utility and at most the leak, and one of the two strictly.
    Points that coincide in both do not dominate each other and all stay; the same point twice stays once.

    Raises:
        InputError: a utility or a leak is nan, which has no place in an order.

    Example:
        >>> a, b, c = Point("a", 12, 0.9, 1.7), Point("b", 12, 0.8, 0.5), Point("c", 12, 0.7, 0.6)
        >>> [point.arm for point in front([a, b, c])]
        ['b', 'a']
    """
    distinct = list(dict.fromkeys(points))
    for point in distinct:
        if math.isnan(point.utility) or math.isnan(point.leak):
            raise InputError(f"utility and leak must be numbers, not those of {point}.")
    kept: list[Point] = []
    # With the leak rising, and the utility falling within the same leak, whoever was kept last has the most utility.
    for point in sorted(distinct, key=lambda p: (p.leak, -p.utility, p.arm, p.snr_db)):
        last = kept[-1] if kept else None
        if (
            last is None
            or point.utility > last.utility
            or (point.utility, point.leak) == (last.utility, last.leak)
        ):
            kept.append(point)
    return kept


def points_of(
    rows: Iterable[Row], *, arms: Sequence[str], snr_db: float, figures: Sequence[str], floor: float = 0.0
) -> list[Point]:
    """Accuracy against the strongest attacker's leak, a point for each arm.

    Args:
        rows: of one experiment.
        arms: keys of those wanted, in the order of the result; an arm without accuracy or without any attacker at
            this SNR is left out.
        snr_db: of both links.
        figures: those that measure the one leak, such as ``("psnr_db",)``.
        floor: what knowing nothing gives, in the figures' unit; a leak below it counts as 0, since an attacker
            below the floor is broken, not defeated.

    Raises:
        InputError: an arm's accuracy is there twice, or the floor is not a finite number.

    Example:
        >>> accuracy = Row("fig3", "lbvq", "accuracy", 0.86, snr_db=12.0)
        >>> psnr = Row("fig3", "lbvq", "psnr_db", 13.25, snr_db=12.0, attacker="codebook")
        >>> points_of([accuracy, psnr], arms=["lbvq", "ibal"], snr_db=12.0, figures=["psnr_db"], floor=12.75)
        [Point(arm='lbvq', snr_db=12.0, utility=0.86, leak=0.5)]
    """
    if not math.isfinite(floor):
        raise InputError(f"floor must be a finite number, not {floor!r}.")
    rows = list(rows)
    points = []
    for arm in arms:
        accuracy = pick(rows, "accuracy", arm=arm, snr_db=snr_db)
        if len(accuracy) > 1:
            raise InputError(
                f"the accuracy of {arm} at {snr_db:g} dB must be there once, not {len(accuracy)} times."
            )
        worst = strongest(rows, arm=arm, snr_db=snr_db, figures=figures)
        if accuracy and worst is not None:
            # max(nan, 0) would depend on the order of its arguments; a nan is for the front to refuse.
            leak = worst.mean - floor
            points.append(Point(arm, snr_db, accuracy[0].mean, 0.0 if leak < 0 else leak))
    return points

"""The privacy-utility plane: one point per method and SNR, and the front that nothing else beats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tosc_agents.experiments.sections import Measurement, pick, strongest


@dataclass(frozen=True)
class Point:
    """One method at one SNR.

    Attributes:
        method: key of the :class:`~tosc_agents.experiments.methods.Method`.
        snr_db: of both links.
        utility: what the receiver has of it, more is better; a share.
        leak: what the strongest attacker has of it, less is better; in the leak's own unit.
    """

    method: str
    snr_db: float
    utility: float
    leak: float


def front(points: Iterable[Point]) -> list[Point]:
    """The points that no other dominates, by rising leak (and so by rising utility).

    One point dominates another when it has at least the utility and at most the leak, and one of the two strictly.
    Points that coincide in both do not dominate each other and all stay; the same point twice stays once.

    Example:
        >>> a, b, c = Point("a", 12, 0.9, 1.7), Point("b", 12, 0.8, 0.5), Point("c", 12, 0.7, 0.6)
        >>> [point.method for point in front([a, b, c])]
        ['b', 'a']
    """
    kept: list[Point] = []
    # With the leak rising, and the utility falling within the same leak, whoever was kept last has the most utility.
    for point in sorted(set(points), key=lambda p: (p.leak, -p.utility, p.method, p.snr_db)):
        last = kept[-1] if kept else point
        coincident = (point.utility, point.leak) == (last.utility, last.leak)
        if coincident or point.utility > last.utility:
            kept.append(point)
    return kept


def points_of(
    measurements: Sequence[Measurement],
    *,
    methods: Sequence[str],
    snr_db: float,
    figures: Sequence[str],
    floor: float = 0.0,
) -> list[Point]:
    """Accuracy against the strongest attacker's leak, a point for each method.

    Args:
        measurements: of one experiment, accuracy once per method and SNR.
        methods: keys of those wanted, in the order of the result; a method without accuracy or without any attacker at
            this SNR is left out.
        snr_db: of both links.
        figures: those that measure the one leak, such as ``("psnr_db",)``.
        floor: what knowing nothing gives, in the figures' unit; a leak below it counts as 0, since an attacker
            below the floor is broken, not defeated.

    Example:
        >>> accuracy = Measurement("fig3", "lbvq", "accuracy", 0.86, snr_db=12.0)
        >>> psnr = Measurement("fig3", "lbvq", "psnr_db", 13.25, snr_db=12.0, attacker="codebook")
        >>> points_of([accuracy, psnr], methods=["lbvq", "ibal"], snr_db=12.0, figures=["psnr_db"], floor=12.75)
        [Point(method='lbvq', snr_db=12.0, utility=0.86, leak=0.5)]
    """
    points = []
    for key in methods:
        accuracy = pick(measurements, "accuracy", method=key, snr_db=snr_db)
        worst = strongest(measurements, method=key, snr_db=snr_db, figures=figures)
        if accuracy and worst is not None:
            points.append(Point(key, snr_db, accuracy[0].mean, max(0.0, worst.mean - floor)))
    return points

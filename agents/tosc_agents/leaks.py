"""Privacy is what the strongest attacker leaves: the worst of each leak, with floor and ceiling."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tosc_agents.training.evaluate import Evaluation
from tosc_env.errors import DataError

LEAKS = {
    "psnr_db": ("psnr_db",),
    "reid": ("reid_pixels", "reid_match", "reid_query"),
    "label": ("infer_label",),
}
"""The three leaks, and the figures that measure each; private attributes follow by their names."""


@dataclass(frozen=True)
class Strongest:
    """The worst case of one leak: who got it, by which figure, and how much."""

    attacker: str
    figure: str
    value: float

    def plain(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


def strongest(evaluation: Evaluation) -> dict[float, dict[str, Strongest]]:
    """By the eavesdropper's SNR and leak, the attacker that got most."""
    table: dict[float, dict[str, Strongest]] = {}
    for attacker, by_snr in evaluation.leaks.items():
        for snr, figures in by_snr.items():
            for figure, value in figures.items():
                leak = _leak_of(figure)
                if leak is None:
                    continue
                found = Strongest(attacker, figure, value.mean)
                best = table.setdefault(snr, {}).get(leak)
                if best is None or found.value > best.value:
                    table[snr][leak] = found
    return table


def _leak_of(figure: str) -> str | None:
    for leak, figures in LEAKS.items():
        if figure in figures:
            return leak
    return figure.removeprefix("infer_") if figure.startswith("infer_") else None


def unprotected(results: Path | None, data: str) -> dict[str, dict[str, float]]:
    """What the unprotected scheme leaks, by SNR and leak: the ceiling beside which others are shown.

    Args:
        results: ``results.json`` of an attack on it; None: what the zoo's cards say of ``deepjscc``.
        data: the name of the data set.

    Raises:
        DataError: the file is not one of those.
    """
    if results is not None:
        try:
            found = json.loads(results.read_text(encoding="utf-8"))["strongest"]
            return {snr: {leak: float(row["value"]) for leak, row in by.items()} for snr, by in found.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{results} is not the results.json of an attack: {error!r}.") from None
    from tosc_agents.zoo import ZOO
    from tosc_env.zoos import UNPROTECTED

    ceiling: dict[str, dict[str, float]] = {}

    def take(snr: str, leak: str, value: float) -> None:
        known = ceiling.setdefault(snr, {})
        known[leak] = max(known.get(leak, value), value)

    for header in ZOO.headers().values():
        card = header["card"]
        if card["data"]["name"] != data:
            continue
        for snr, row in card.get("leaks", {}).items():
            if header["kind"] == "scheme" and header["name"] == "deepjscc" and not header["stages"]:
                for leak, best in row.items():
                    take(snr, leak, best["value"])
            elif card.get("composition") == UNPROTECTED and "psnr_db" in row:
                take(snr, "psnr_db", row["psnr_db"])
    return ceiling


def describe(
    evaluation: Evaluation, top: dict[float, dict[str, Strongest]], ceiling: dict[str, dict[str, float]]
) -> list[str]:
    """The strongest attackers in words, a line per SNR and leak, with what knowing nothing and everything gives."""
    floor = evaluation.floors["mean-image"]["psnr_db"]
    lines = []
    for snr, by_leak in top.items():
        above = ceiling.get(f"{snr:g}", {})
        for leak, best in by_leak.items():
            if leak == "psnr_db":
                told = f"{best.value:.2f} dB, a leak of {best.value - floor:.2f} dB above the floor {floor:.2f} dB"
                if "psnr_db" in above:
                    whole = above["psnr_db"] - floor
                    told += f" (unprotected {whole:.2f} dB: {max(0.0, best.value - floor) / whole:.0%} of it)"
                name = "PSNR"
            else:
                chance = evaluation.chance.get(leak)
                if leak == "reid":
                    chance = 1.0 / min(1000, evaluation.images)
                told = f"{best.value:.1%} by {best.figure}"
                if chance is not None:
                    told += f" (chance {chance:.1%})"
                if leak in above:
                    told += f" (unprotected {above[leak]:.1%})"
                name = "re-identification" if leak == "reid" else f"inference of {leak}"
            lines.append(f"strongest at {snr:g} dB in {name}: {best.attacker}, {told}")
    return lines

"""Privacy is what the strongest attacker leaves: the worst of each leak, with floor and ceiling."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tosc_agents.training.evaluate import CANDIDATES, Evaluation
from tosc_env.errors import DataError, InputError
from tosc_env.privacy.threat import ThreatModel

LEAKS = {
    "psnr_db": ("psnr_db",),
    "reid": ("reid_pixels", "reid_match", "reid_query"),
    "label": ("infer_label",),
}
"""The three leaks, and the figures that measure each; private attributes follow by their names."""

CardLeaks = dict[str, dict[str, dict[str, Any]]]
"""What a scheme's card says: by SNR and leak the strongest attacker, what it got and what it had, such as
``{"12": {"psnr_db": {"attacker": "codebook", "figure": "psnr_db", "value": 13.25, "floor": 12.73, "above_floor": 0.52,
"threat_model": "images: other-half; ..."}}}``; other leaks have a ``chance`` in place of floors."""


@dataclass(frozen=True)
class Strongest:
    """The worst case of one leak.

    Attributes:
        attacker, figure, value: who got it, by which figure, and how much.
        floor: of a PSNR, what the mean image gives.
        chance: of any other leak, what guessing gives, where it is known.
    """

    attacker: str
    figure: str
    value: float
    floor: float | None = None
    chance: float | None = None

    def plain(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        told = {name: value for name, value in asdict(self).items() if value is not None}
        return told if self.floor is None else told | {"above_floor": self.value - self.floor}


def strongest(evaluation: Evaluation) -> dict[float, dict[str, Strongest]]:
    """By the eavesdropper's SNR and leak, the attacker that got most."""
    floor = evaluation.floors.get("mean-image", {}).get("psnr_db")
    chance = {"reid": 1.0 / min(CANDIDATES, evaluation.images), **evaluation.chance}
    table: dict[float, dict[str, Strongest]] = {}
    for attacker, by_snr in evaluation.leaks.items():
        for snr, figures in by_snr.items():
            for figure, value in figures.items():
                leak = _leak_of(figure)
                best = table.setdefault(snr, {}).get(leak or "")
                if leak is not None and (best is None or value.mean > best.value):
                    against = floor if leak == "psnr_db" else None
                    table[snr][leak] = Strongest(attacker, figure, value.mean, against, chance.get(leak))
    return table


def _leak_of(figure: str) -> str | None:
    for leak, figures in LEAKS.items():
        if figure in figures:
            return leak
    return figure.removeprefix("infer_") if figure.startswith("infer_") else None


def unprotected(data: str) -> dict[str, dict[str, float]]:
    """What the unprotected scheme leaks on a data set, by SNR and leak: the ceiling beside which others are shown.

    It is the most that the zoo's cards tell of, those of ``deepjscc`` and those of attackers on it.
    """
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


def describe(top: dict[float, dict[str, Strongest]], ceiling: dict[str, dict[str, float]]) -> list[str]:
    """The strongest attackers in words, a line per SNR and leak, with what knowing nothing and everything gives."""
    lines = []
    for snr, by_leak in top.items():
        above = ceiling.get(f"{snr:g}", {})
        for leak, best in by_leak.items():
            name = {"psnr_db": "PSNR", "reid": "re-identification"}.get(leak, f"inference of {leak}")
            if best.floor is not None:
                more = best.value - best.floor
                told = f"{best.value:.2f} dB, a leak of {more:.2f} dB above the floor {best.floor:.2f} dB"
                if leak in above:
                    whole = above[leak] - best.floor
                    told += f" (unprotected {whole:.2f} dB: {max(0.0, more) / whole:.0%} of it)"
            else:
                told = f"{best.value:.1%} by {best.figure}"
                if best.chance is not None:
                    told += f" (chance {best.chance:.1%})"
                if leak in above:
                    told += f" (unprotected {above[leak]:.1%})"
            lines.append(f"strongest at {snr:g} dB in {name}: {best.attacker}, {told}")
    return lines


def leaks_of_attacks(paths: Iterable[Path], header: Mapping[str, Any]) -> CardLeaks:
    """The leaks in the ``results.json`` of one or several ``tosc attack``, the strongest attacker of each.

    Args:
        paths: of the files.
        header: of the scheme's checkpoint, which the attacks must have been made on.

    Raises:
        DataError: one is no such file.
        InputError: one is of an attack on another scheme, data set, options or stages.
    """
    found: CardLeaks = {}
    for path in paths:
        for snr, by_leak in _leaks_of_attack(path, header).items():
            row = found.setdefault(snr, {})
            for leak, best in by_leak.items():
                if leak not in row or best["value"] > row[leak]["value"]:
                    row[leak] = best
    return dict(sorted(found.items(), key=lambda item: float(item[0])))


def _leaks_of_attack(path: Path, header: Mapping[str, Any]) -> CardLeaks:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        system, own = record["system"], header["options"]
        for what, attacked, wanted in (
            ("scheme", system["scheme"], header["name"]),
            ("data set", record["data"]["name"], header["card"]["data"]["name"]),
            ("list of stages", system["stages"], header["stages"]),
            *(
                (f"option {key!r}", system["options"][key], own[key])
                for key in own
                if key in system["options"]
            ),
        ):
            if attacked != wanted:
                raise InputError(f"{path} is of an attack on the {what} {attacked!r}, not {wanted!r}.")
        threat = ThreatModel(**record["threat_model"])
        # Whoever encodes candidates was allowed to, whatever the others were.
        asked = replace(threat, candidate_queries=True)
        return {
            snr: {
                leak: {**best, "threat_model": str(asked if best["figure"] == "reid_query" else threat)}
                for leak, best in by_leak.items()
            }
            for snr, by_leak in record["strongest"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise DataError(f"{path} is not the results.json of 'tosc attack': {error!r}.") from None

"""The strongest attacker of each leak, which is what privacy is measured by, with floor and ceiling."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tosc_agents.training.evaluate import CANDIDATES, Evaluation
from tosc_env import GameConfig
from tosc_env.errors import DataError, InputError
from tosc_env.identity import plain
from tosc_env.privacy.threat import ThreatModel

LEAKS = {
    "psnr_db": ("psnr_db",),
    "reid": ("reid_pixels", "reid_match", "reid_query"),
    "label": ("infer_label",),
}
"""The three leaks, and the figures that measure each; private attributes follow by their names."""

CardLeaks = dict[str, dict[str, dict[str, Any]]]
"""Leaks in a scheme's card: by SNR and leak the strongest attacker, what it got and what it had, such as
``{"12": {"psnr_db": {"attacker": "codebook", "figure": "psnr_db", "value": 13.25, "floor": 12.73, "above_floor": 0.52,
"threat_model": "images: other-half; ..."}}}``; other leaks have a ``chance`` in place of floors."""


def strongest(evaluation: Evaluation) -> CardLeaks:
    """The attacker that got most, by the eavesdropper's SNR and leak; without threat models."""
    floor = evaluation.floors.get("mean-image", {}).get("psnr_db")
    chance = {**dict.fromkeys(LEAKS["reid"], 1.0 / evaluation.candidates), **evaluation.chance}
    table: CardLeaks = {}
    for attacker, by_snr in evaluation.leaks.items():
        for snr, figures in by_snr.items():
            row = table.setdefault(f"{snr:g}", {})
            for figure, found in figures.items():
                leak, value = _leak_of(figure), found.mean
                # What is no number was not measured: it is nobody's best, and hides nobody else's.
                if leak is None or not math.isfinite(value) or (leak in row and value <= row[leak]["value"]):
                    continue
                row[leak] = {"attacker": attacker, "figure": figure, "value": value}
                if leak == "psnr_db" and floor is not None:
                    row[leak] |= {"floor": floor, "above_floor": value - floor}
                elif figure in chance:
                    row[leak]["chance"] = chance[figure]
    return table


def _leak_of(figure: str) -> str | None:
    for leak, figures in LEAKS.items():
        if figure in figures:
            return leak
    return figure.removeprefix("infer_") if figure.startswith("infer_") else None


def leak_title(leak: str) -> str:
    """A leak in words.

    >>> [leak_title(leak) for leak in ("psnr_db", "reid", "label")]
    ['PSNR', 're-identification', 'inference of label']
    """
    return {"psnr_db": "PSNR", "reid": "re-identification"}.get(leak, f"inference of {leak}")


def unprotected(setting: GameConfig, threat: ThreatModel, top: CardLeaks) -> dict[str, dict[str, float]]:
    """The leaks of the unprotected scheme, by SNR and leak: the ceiling beside which those of ``top`` are shown.

    It is the most that the zoo's cards tell of, those of ``deepjscc`` and those of attackers on it, with the same
    images, task, channel and length, of attackers that had the same, where chance gives as much.
    """
    from tosc_agents.zoo import ZOO
    from tosc_env.zoos import UNPROTECTED

    ceiling: dict[str, dict[str, float]] = {}
    for header in ZOO.headers().values():
        card = header["card"]
        if _terms(card["setting"]) != _terms(setting.plain()):
            continue
        bare = header["kind"] == "scheme" and header["name"] == "deepjscc" and not header["stages"]
        attacked = header["kind"] == "eavesdropper" and card["composition"] == UNPROTECTED
        for snr, row in card.get("leaks", {}).items():
            found = row if bare else {}
            if attacked and "psnr_db" in row:
                theirs = str(ThreatModel(**card["training"]["threat_model"]))
                found = {"psnr_db": {"figure": "psnr_db", "value": row["psnr_db"], "threat_model": theirs}}
            for leak, best in found.items():
                ours = top.get(snr, {}).get(leak)
                queried = best["figure"] == "reid_query" and not threat.candidate_queries
                alike = _means(best["threat_model"]) == _means(str(threat)) and not queried
                if ours is not None and alike and best.get("chance") == ours.get("chance"):
                    known = ceiling.setdefault(snr, {})
                    known[leak] = max(known.get(leak, best["value"]), best["value"])
    return ceiling


def _terms(setting: Mapping[str, Any]) -> dict[str, Any]:
    """What a setting says of a game, but for its SNRs and where its images lie."""
    told = {key: value for key, value in setting.items() if not key.endswith("snr_db")}
    data = {key: value for key, value in setting["data_kwargs"].items() if key != "path"}
    return plain({**told, "data_kwargs": data})


def _means(threat: str) -> set[str]:
    """What a threat model says (:meth:`ThreatModel.__str__`) that matters against a scheme without key or codebook."""
    others = ("candidate queries", "unkeyed encoder", "codebook", "key", "no pairs")
    return {one for one in threat.split("; ") if not one.startswith(others)}


def describe(top: CardLeaks, ceiling: dict[str, dict[str, float]]) -> list[str]:
    """The strongest attackers in words, a line per SNR and leak, with what knowing nothing and everything gives."""
    lines = []
    for snr, by_leak in top.items():
        for leak, best in by_leak.items():
            value, most = best["value"], ceiling.get(snr, {}).get(leak)
            if "floor" in best:
                gain, floor = best["above_floor"], best["floor"]
                got = f"{value:.2f} dB, a leak of {gain:.2f} dB above the floor {floor:.2f} dB"
                if most is not None:
                    whole = most - floor
                    share = max(0.0, gain) / whole if whole > 0 else 2.0
                    got += f" (unprotected {whole:.2f} dB{f': {share:.0%} of it' if share <= 1 else ''})"
            else:
                got = f"{value:.1%} by {best['figure']}"
                got += f" (chance {best['chance']:.1%})" if "chance" in best else ""
                got += "" if most is None else f" (unprotected {most:.1%})"
            lines.append(f"strongest at {snr} dB in {leak_title(leak)}: {best['attacker']}, {got}")
    return lines


def leaks_of_attacks(paths: Iterable[Path], header: Mapping[str, Any], weights: str) -> CardLeaks:
    """The leaks in the ``results.json`` of one or several ``tosc attack``, the strongest attacker of each.

    Args:
        paths: of the files.
        header: of the scheme's checkpoint, which the attacks must have been made on.
        weights: the digest of its weights (:func:`tosc_env.identity.describe_module`).

    Raises:
        DataError: one is no such file.
        InputError: one is of an attack on another scheme, data set, options or stages.
    """
    found: CardLeaks = {}
    for path in paths:
        try:
            by_snr = _leaks_of_attack(path, json.loads(path.read_text(encoding="utf-8")), header, weights)
        except InputError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(f"{path} is not the results.json of 'tosc attack': {error!r}.") from None
        for snr, by_leak in by_snr.items():
            row = found.setdefault(snr, {})
            for leak, best in by_leak.items():
                if leak not in row or best["value"] > row[leak]["value"]:
                    row[leak] = best
    return dict(sorted(found.items(), key=lambda item: float(item[0])))


def _leaks_of_attack(path: Path, record: Any, header: Mapping[str, Any], weights: str) -> CardLeaks:
    system, own = record["system"], header["options"]
    both = [key for key in own if key in system["options"]]
    for what, attacked, wanted in (
        ("scheme", system["scheme"], header["name"]),
        ("data set", record["data"]["name"], header["card"]["data"]["name"]),
        ("list of stages", system["stages"], header["stages"]),
        ("weights", record["attacked"]["system"]["weights"], weights),
        *((f"option {key!r}", system["options"][key], own[key]) for key in both),
    ):
        if attacked != wanted:
            raise InputError(f"{path} is of an attack on the {what} {attacked!r}, not {wanted!r}.")
    threat = ThreatModel(**record["threat_model"])
    # Whoever encodes candidates was allowed to, whatever the others were.
    some = CANDIDATES if threat.queries is not None and threat.candidates is None else threat.candidates
    querying = replace(threat, candidate_queries=True, candidates=some)
    found: CardLeaks = {}
    for snr, by_leak in record["strongest"].items():
        if not all(map(math.isfinite, (float(snr), *(best["value"] for best in by_leak.values())))):
            raise ValueError(f"a figure at {snr} dB is not finite")
        for leak, best in by_leak.items():
            means = str(querying if best["figure"] == "reid_query" else threat)
            found.setdefault(snr, {})[leak] = {**best, "threat_model": means}
    return found

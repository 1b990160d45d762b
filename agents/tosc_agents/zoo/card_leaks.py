"""What a scheme's card says of its leaks: the strongest attacker of each, at each SNR, and what that attacker had.

::

    {"12": {"psnr_db": {"attacker": "codebook", "figure": "psnr_db", "value": 13.25, "floor": 12.73,
                        "above_floor": 0.52, "threat_model": "images: other-half; ..."},
            "reid":    {"attacker": "match-query", "figure": "reid_query", "value": 0.98, "chance": 0.001, ...},
            "label":   {"attacker": "label", "figure": "infer_label", "value": 0.86, "chance": 0.1, ...}}}
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tosc_agents.experiments.findings import TRAININGS
from tosc_agents.leaks import strongest
from tosc_agents.training.evaluate import CANDIDATES, Evaluation, Figure
from tosc_env.errors import DataError, InputError, unknown
from tosc_env.privacy.threat import ThreatModel

Leaks = dict[str, dict[str, dict[str, Any]]]
"""By SNR and leak (``psnr_db``, ``reid``, ``label`` or a private attribute), the strongest attacker."""


def leaks_from_rows(
    rows: Iterable[Mapping[str, Any]],
    arm: str,
    floors: Mapping[str, Mapping[str, float]],
    *,
    chance: Mapping[str, float] | None = None,
    candidates: int = CANDIDATES,
    threat: ThreatModel | None = None,
) -> Leaks:
    """The leaks of one arm, from an experiment's rows on one data set.

    Args:
        rows: :meth:`Row.plain() <tosc_agents.experiments.findings.Row.plain>`; those of other arms, without an
            attacker or without an SNR are passed over. A mean over several trainings is told as such.
        arm: whose.
        floors: as :func:`~tosc_agents.training.evaluate.floors` gives them: PSNR of the ``mean-image`` at least.
        chance: how often the best constant answer is right, for the label and the private attributes.
        candidates: among how many images an attacker had to find the right one.
        threat: what the attackers had. Whoever encodes candidates (``reid_query``) is told to do so in any case.

    Raises:
        InputError: no row of that arm, or no floor.

    Example:
        >>> row = {"arm": "lbvq", "figure": "psnr_db", "mean": 13.25, "snr_db": 12.0, "attacker": "codebook"}
        >>> found = leaks_from_rows([row], "lbvq", {"mean-image": {"psnr_db": 12.75}})
        >>> {key: found["12"]["psnr_db"][key] for key in ("attacker", "value", "above_floor")}
        {'attacker': 'codebook', 'value': 13.25, 'above_floor': 0.5}
    """
    table: dict[str, dict[float, dict[str, Figure]]] = {}
    trainings: dict[tuple[str, float, str], int] = {}
    arms = set()
    for row in rows:
        if row["attacker"] is None or row["snr_db"] is None:
            continue
        arms.add(row["arm"])
        if row["arm"] == arm:
            attacker, snr, figure = row["attacker"], float(row["snr_db"]), row["figure"]
            table.setdefault(attacker, {}).setdefault(snr, {})[figure] = Figure(float(row["mean"]), math.nan)
            if row.get("over") == TRAININGS:
                trainings[attacker, snr, figure] = row["samples"]
    if not table:
        raise unknown("arm with attackers", arm, arms)
    if "psnr_db" not in floors.get("mean-image", {}):
        raise InputError(f"a leak is a PSNR above the mean image's, but the floors are {dict(floors)}.")
    found = Evaluation({}, table, {name: dict(floor) for name, floor in floors.items()}, images=0, seeds=0)
    floor = floors["mean-image"]["psnr_db"]
    rates = {"reid": 1.0 / candidates, **(chance or {})}
    leaks: Leaks = {}
    for snr, by_leak in sorted(strongest(found).items()):
        for leak, best in by_leak.items():
            told = best.plain()
            if leak == "psnr_db":
                told |= {"floor": floor, "above_floor": best.value - floor}
            elif leak in rates:
                told["chance"] = rates[leak]
            several = trainings.get((best.attacker, snr, best.figure))
            if several is not None:
                told["mean_of_trainings"] = several
            had = threat or ThreatModel()
            if best.figure == "reid_query":
                had = replace(had, candidate_queries=True)
            leaks.setdefault(f"{snr:g}", {})[leak] = told | {"threat_model": str(had)}
    return leaks


def leaks_from_file(path: Path, header: Mapping[str, Any], *, arm: str, experiment: str = "fig3") -> Leaks:
    """The leaks in the ``results.json`` of ``tosc attack`` or of ``tosc reproduce``.

    Args:
        path: of the file.
        header: of the scheme's checkpoint, which an attack must have been made on.
        arm, experiment: of a report, which rows are meant.

    Raises:
        DataError: it is neither.
        InputError: an attack on another scheme, data set or options; a report without that experiment or arm.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if "findings" in record:
            return _of_report(path, record, header, arm, experiment)
        return _of_attack(path, record, header)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise DataError(
            f"{path} is not the results.json of 'tosc attack' or 'tosc reproduce': {error!r}."
        ) from None


def merged(parts: Iterable[Leaks]) -> Leaks:
    """The stronger attacker of each leak and SNR, of several files."""
    found: Leaks = {}
    for part in parts:
        for snr, by_leak in part.items():
            row = found.setdefault(snr, {})
            for leak, best in by_leak.items():
                if leak not in row or best["value"] > row[leak]["value"]:
                    row[leak] = best
    return dict(sorted(found.items(), key=lambda item: float(item[0])))


def _of_attack(path: Path, record: dict[str, Any], header: Mapping[str, Any]) -> Leaks:
    system, results = record["system"], record["results"]
    own, theirs = header["options"], system["options"]
    wanted = {"scheme": header["name"], "data set": header["card"]["data"]["name"]}
    attacked = {"scheme": system["scheme"], "data set": record["data"]["name"]}
    wanted["list of stages"], attacked["list of stages"] = header["stages"], system["stages"]
    wanted |= {f"option {key!r}": own[key] for key in own if key in theirs}
    attacked |= {f"option {key!r}": theirs[key] for key in theirs if key in own}
    for what, value in wanted.items():
        if attacked[what] != value:
            raise InputError(f"{path} is of an attack on the {what} {attacked[what]!r}, not {value!r}.")
    rows = [
        {"arm": "it", "attacker": attacker, "snr_db": float(snr), "figure": figure, "mean": value["mean"]}
        for attacker, by_snr in results["leaks"].items()
        for snr, figures in by_snr.items()
        for figure, value in figures.items()
    ]
    return leaks_from_rows(
        rows,
        "it",
        results["floors"],
        chance=results["chance"],
        candidates=results["candidates"],
        threat=ThreatModel(**record["threat_model"]),
    )


def _of_report(
    path: Path, record: dict[str, Any], header: Mapping[str, Any], arm: str, experiment: str
) -> Leaks:
    found = [one for one in record["findings"] if one["experiment"] == experiment]
    if not found:
        raise InputError(
            f"{path} has no experiment {experiment!r}; it has {', '.join(f['experiment'] for f in record['findings'])}."
        )
    details = found[0]["details"]
    wanted = header["card"]["data"]["name"]
    data = {training["card"]["data"]["name"] for training in details["trainings"].values()}
    if wanted not in data:
        raise InputError(
            f"{path}: {experiment} was run on {', '.join(sorted(data)) or 'nothing'}, the scheme's data set is "
            f"{wanted}."
        )
    return leaks_from_rows(
        found[0]["rows"],
        arm,
        details["floors"],
        chance=details["chance"],
        threat=ThreatModel(**details["threat_model"]),
    )

"""The records beside this file, and the tables and the figure that are made from them.

python docs/results/tables.py record NAME FOLDER  # records/NAME.json, from what tosc attack --curves wrote to FOLDER
python docs/results/tables.py write               # attackers.md and bits.svg, from all records
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from tosc_agents.records import markdown_table, write_text
from tosc_agents.training.identification import Curve

HERE = Path(__file__).parent
RECORDS = HERE / "records"
LEAKS = {
    "PSNR above the mean image, dB": ("psnr_db",),
    "re-identification among {candidates}": ("reid_match", "reid_query", "reid_pixels"),
    "label, balanced accuracy": ("infer_label",),
}
"""The tables of leaks, and the figures that go into each; of several the first that an attacker has."""

COMPARED = {
    "accuracy": "accuracy",
    "psnr_db": "PSNR leak, dB",
    "reid_match": "re-identification, learned",
    "reid_query": "candidates encoded",
    "infer_label": "label, balanced accuracy",
}
"""What is set beside the figures of before."""


def record_of(folder: Path) -> dict[str, Any]:
    """A small record of what ``tosc attack`` wrote to a folder: one system under one threat model."""
    whole = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    found, system = whole["results"], whole["system"]
    setting = whole["attacked"]["setting"]
    (snr_db,) = found["accuracy"]
    attackers = {}
    for name, trained in whole["attackers"].items():
        figures = {key: round(value["mean"], 4) for key, value in found["leaks"][name][snr_db].items()}
        parts = [trained["fit"], *(one for one in trained["fit"].values() if isinstance(one, Mapping))]
        fits = [one for one in parts if "stopped_by" in one]
        fit: dict[str, Any] = {}
        if fits:
            held = {key: round(value, 4) for key, value in fits[0].items() if key.startswith("held_out_")}
            fit = {**held, "steps": fits[0]["steps"], "stopped_by": fits[0]["stopped_by"]}
            if (rise := fits[0].get("rise_per_100_steps")) is not None:
                fit["rise_per_100_steps"] = round(rise, 5)
        bits = Curve(**_sizes(whole["curves"][name])).bits() if name in whole.get("curves", {}) else {}
        rounded = {kind: {n: round(bit, 2) for n, bit in curve.items()} for kind, curve in bits.items()}
        attackers[name] = {
            **figures,
            **fit,
            "seconds": trained["seconds"],
            **({"bits": rounded} if bits else {}),
        }
    return {
        "system": system["scheme"],
        "options": system["options"],
        "stages": system["stages"],
        "data": setting["data"],
        "channel": setting["channel"],
        "snr_db": float(snr_db),
        "threat_model": whole["threat_model"],
        "proven": whole["guarantee"],
        "accuracy": {key: round(value, 4) for key, value in found["accuracy"][snr_db].items()},
        "floors_db": {name: round(floor["psnr_db"], 2) for name, floor in found["floors"].items()},
        "test_images": found["test_images"],
        "candidates": found["candidates"],
        "seeds": found["seeds"],
        "commit": whole["commit"],
        "attackers": attackers,
    }


def _sizes(curve: Mapping[str, Mapping[str, float]]) -> dict[str, dict[int, float]]:
    return {kind: {int(size): share for size, share in shares.items()} for kind, shares in curve.items()}


def dumped(record: dict[str, Any]) -> str:
    """A record as JSON with a line for each field and each attacker."""
    fields = [f'"{key}": {json.dumps(value)}' for key, value in record.items() if key != "attackers"]
    lines = ",\n".join(f'  "{name}": {json.dumps(one)}' for name, one in record["attackers"].items())
    return "{\n" + ",\n".join(fields) + ',\n"attackers": {\n' + lines + "\n}}\n"


def records() -> dict[str, dict[str, Any]]:
    """All records by name."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RECORDS.glob("*.json"))
    }


def frame() -> pd.DataFrame:
    """A row for each record and attacker, with the fields of both."""
    rows = [
        {
            **{key: value for key, value in record.items() if key != "attackers"},
            "name": name,
            "attacker": who,
            **one,
        }
        for name, record in records().items()
        for who, one in record["attackers"].items()
    ]
    return pd.DataFrame(rows)


def page() -> str:
    """attackers.md: for each data set the leaks to every attacker from every system, and how each was trained."""
    told = frame()
    lines = ["# Every attacker against every system", ""]
    lines += [
        "Written by `python docs/results/tables.py write` from [records](records); [attacks.sh](attacks.sh) has the",
        "command of each. All at the SNR that the heading names; means over the draws of the channel's noise that a",
        "record names; one training of each attacker, with seed 0. A figure in *italics* is of an attacker that its",
        "limit of steps stopped while its held-out figure rose: it says what was found, not what can be found. Empty:",
        "nothing there for this attacker, or not run.",
    ]
    for (data, snr_db), part in told.groupby(["data", "snr_db"], sort=True):
        accuracy = {name: one.iloc[0].accuracy["mean"] for name, one in part.groupby("name", sort=False)}
        lines += ["", f"## {data}, {snr_db:g} dB"]
        for title, figures in LEAKS.items():
            cells = {name: _cells(one, figures) for name, one in part.groupby("name", sort=False)}
            attackers = [
                who for who in dict.fromkeys(part.attacker) if any(who in column for column in cells.values())
            ]
            heading = title.format(candidates=f"{part.iloc[0].candidates:,}")
            table = [[who, *(column.get(who, "") for column in cells.values())] for who in attackers]
            if figures == ("psnr_db",):
                table.insert(0, ["*accuracy*", *(f"*{accuracy[name]:.1%}*" for name in cells)])
            names = [name.removesuffix(f"-{data}") for name in cells]
            lines += ["", f"### {heading}", "", *markdown_table([heading, *names], table)]
        lines += ["", "### Trainings", "", *_trainings(part, data)]
    lines += ["", "## Before and now", "", *_before_and_now(told)]
    return "\n".join(lines) + "\n"


def _before_and_now(told: pd.DataFrame) -> list[str]:
    """The strongest attackers' figures that before.json has from the attackers of before, beside today's."""
    rows = []
    for name, old in json.loads((HERE / "before.json").read_text(encoding="utf-8")).items():
        now = told[told.name == name]
        if now.empty:
            continue
        best = {figure: now[figure].max() for figure in old if figure in now and figure != "accuracy"}
        best |= {"accuracy": now.iloc[0].accuracy["mean"]}
        best["psnr_db"] -= now.iloc[0].floors_db["mean-image"]
        cells = [_pair(figure, old[figure], best.get(figure)) if figure in old else "" for figure in COMPARED]
        rows.append([name, *cells])
    return markdown_table(["system", *COMPARED.values()], rows)


def _pair(figure: str, old: float, new: Any) -> str:
    forms = ("{:.2f}" if figure == "psnr_db" else "{:.1%}").format
    return f"{forms(old)} → {'not run' if _missing(new) else forms(new)}"


def _cells(part: pd.DataFrame, figures: tuple[str, ...]) -> dict[str, str]:
    """What each attacker of one system got."""
    cells = {}
    for row in part.to_dict("records"):
        value = next((row[name] for name in figures if not _missing(row.get(name))), None)
        if value is None:
            continue
        text = f"{value - row['floors_db']['mean-image']:.2f}" if figures == ("psnr_db",) else f"{value:.1%}"
        cells[row["attacker"]] = f"*{text}*" if _rising(row) else text
    return cells


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _rising(row: Mapping[str, Any]) -> bool:
    rise = row.get("rise_per_100_steps")
    return row.get("stopped_by") == "limit" and (_missing(rise) or rise > 0)


def _trainings(part: pd.DataFrame, data: str) -> list[str]:
    headings = [
        "system, attacker",
        "held-out figure",
        "test",
        "steps",
        "stopped by",
        "rise in 100 steps",
        "seconds",
    ]
    rows = []
    for row in part.to_dict("records"):
        held = next((key for key in row if key.startswith("held_out_") and not _missing(row[key])), None)
        if held is None:
            continue
        test = {"held_out_top1": "reid_match", "held_out_psnr_db": "psnr_db"}.get(held)
        figure = row.get(test) if test else None
        rise = row.get("rise_per_100_steps")
        rows.append(
            [
                f"{row['name'].removesuffix(f'-{data}')}, {row['attacker']}",
                f"{held.removeprefix('held_out_')} {row[held]:.4g}",
                "" if _missing(figure) else f"{figure:.4g}",
                f"{row['steps']:.0f}",
                row["stopped_by"],
                "" if _missing(rise) else f"{rise:.2g}",
                f"{row['seconds']:.0f}",
            ]
        )
    return markdown_table(headings, rows)


def draw(path: Path) -> None:
    """bits.svg: the most that any attacker gains over chance, in bits, by the number of candidates."""
    from matplotlib.figure import Figure

    told = [
        (name, record)
        for name, record in records().items()
        if any("bits" in a for a in record["attackers"].values())
    ]
    sets = list(dict.fromkeys(record["data"] for _, record in told))
    figure = Figure(figsize=(11, 4.2 * len(sets)), layout="constrained")
    axes = figure.subplots(len(sets), 2, squeeze=False, sharey="row")
    for row, data in zip(axes, sets, strict=True):
        for axis, kind in zip(row, ("overall", "within_class"), strict=True):
            mine = [(name, record) for name, record in told if record["data"] == data]
            for place, (name, record) in enumerate(mine):
                curves = [
                    a["bits"][kind] for a in record["attackers"].values() if a.get("bits", {}).get(kind)
                ]
                sizes = sorted({int(n) for curve in curves for n in curve})
                best = [max(max(curve.get(str(n), 0.0), 0.0) for curve in curves) for n in sizes]
                colour = f"C{place}"
                axis.plot(
                    sizes, best, color=colour, marker="o", markersize=3, label=name.removesuffix(f"-{data}")
                )
                if bound := proven(record):
                    axis.plot(
                        sizes, [bound(n, kind) for n in sizes], color=colour, linestyle=":", linewidth=1
                    )
            axis.plot(
                sizes,
                [math.log2(n) for n in sizes],
                color="black",
                linestyle="--",
                linewidth=1,
                label="certainty",
            )
            axis.set(
                xscale="log", xlabel="candidates", title=f"{data}, {kind.replace('_', ' ')}", ylabel="bits"
            )
        row[1].legend(loc="upper left", fontsize=8, title="dotted: proven bound", title_fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def proven(record: Mapping[str, Any]) -> Callable[[int, str], float] | None:
    """The most bits that any attacker can gain of one message, by candidates and kind; None where nothing is proven."""
    if record["system"] == "label-only":
        # As many messages as classes: log2 of their number (maximal leakage); within the class all send the same one.
        return lambda n, kind: 0.0 if kind == "within_class" else min(math.log2(n), math.log2(10))
    stages = [record["options"], *(stage for stage in record["stages"] if isinstance(stage, Mapping))]
    for one in stages:
        if one.get("mode") == "rotation" and one.get("lifetime") == "per_message":
            # Of an ideal rotation: messages of equal energy look alike. Ours is a keyed, pseudorandom one.
            return lambda n, kind: 0.0
        epsilon = one.get("epsilon")
        if epsilon is not None and one.get("mode") != "calibrated":
            # P(first among n) <= e^eps / (e^eps + n - 1), by the definition of epsilon-DP.
            return lambda n, kind: math.log2(n) - math.log2(1 + (n - 1) * math.exp(-epsilon))
    return None


def main(arguments: list[str]) -> int:
    """Run a command of the head of this file."""
    match arguments:
        case ["record", name, folder]:
            write_text(RECORDS / f"{name}.json", dumped(record_of(Path(folder))))
        case ["write"]:
            write_text(HERE / "attackers.md", page())
            draw(HERE / "bits.svg")
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

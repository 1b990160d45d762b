"""The zoo's cards as one page of Markdown, written from the files and never by hand: python -m tosc_agents.zoo.cards"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from tosc_agents.leaks import LEAKS, CardLeaks, leak_title
from tosc_agents.records import markdown_table, write_text
from tosc_agents.zoo import WEIGHTS
from tosc_agents.zoo.pack import ATTACKER_LIMIT, ZOO_LIMIT
from tosc_env.data import data_set
from tosc_env.io.checkpoint_files import read_header, read_tensors
from tosc_env.privacy.threat import ThreatModel
from tosc_env.schemes import named


def render(folder: Path = WEIGHTS) -> str:
    """The page, for all checkpoints in a folder."""
    headers = {path: read_header(path) for path in sorted(folder.glob("*.safetensors"))}
    groups: dict[str, dict[Path, dict[str, Any]]] = {}
    for path, header in headers.items():
        name, shape = header["card"]["data"]["name"], "x".join(map(str, header["spec"]["image_shape"]))
        groups.setdefault(f"{name}, {shape}", {})[path] = header
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = {"part": _part, "millions": _millions, "start": _start, "range": _range, "snr": _snr}
    environment.filters |= {**filters, "by_snr": _by_snr}
    return environment.get_template("cards.md").render(
        groups=groups,
        files=len(headers),
        size=sum(path.stat().st_size for path in headers),
        limit=ZOO_LIMIT,
        parameters=ATTACKER_LIMIT,
        terms=lambda title: data_set(title.partition(",")[0]).terms,
        leaks=_leaks,
        table_of_attackers=_attackers,
    )


def _leaks(leaks: CardLeaks | None) -> str:
    """A row for each leak, a column for each SNR, and the threat models beneath."""
    if not leaks:
        return "Leaks: not measured on these weights."
    leaks = dict(sorted(leaks.items(), key=lambda item: float(item[0])))
    there = {leak for by_leak in leaks.values() for leak in by_leak}
    names = [leak for leak in LEAKS if leak in there] + sorted(there - LEAKS.keys())
    threats = list(dict.fromkeys(best["threat_model"] for by in leaks.values() for best in by.values()))
    rows = [
        [leak_title(name), *(_leak(by_leak.get(name), threats) for by_leak in leaks.values())]
        for name in names
    ]
    return _with_threats(markdown_table(["leak", *(f"{snr} dB" for snr in leaks)], rows), threats)


def _leak(best: Mapping[str, Any] | None, threats: Sequence[str]) -> str:
    if best is None:
        return ""
    several = f", mean of {best['mean_of_trainings']} trainings" if "mean_of_trainings" in best else ""
    by = f"by `{best['attacker']}` ({_mark(threats.index(best['threat_model']))}{several})"
    if "above_floor" in best:
        return f"{best['value']:.2f} dB ({best['above_floor']:+.2f}) {by}"
    chance = f" ({best['chance']:.1%})" if "chance" in best else ""
    return f"{best['value']:.1%}{chance} {by}"


def _attackers(group: Mapping[Path, Mapping[str, Any]]) -> str:
    headers = {path: header for path, header in group.items() if header["kind"] == "eavesdropper"}
    told = {path: str(ThreatModel(**h["card"]["training"]["threat_model"])) for path, h in headers.items()}
    threats, rows = list(dict.fromkeys(told.values())), []
    for path, header in headers.items():
        card, training = header["card"], header["card"]["training"]
        stages = ", ".join(map(_part, card["composition"]["stages"]))
        target = f"`{card['against']}`{f' with {stages}' if stages else ''}"
        row = {
            "file": f"`{path.stem}`",
            "attacker": f"`{header['name']}` against {target}",
            "values": f"{_millions(path)} M",
            "steps": str(training["fit"].get("steps", "")),
            "seed": str(training["seed"]),
            "for": _range(card["valid_snr_db"]),
            "PSNR dB": _by_snr({snr: leak["psnr_db"] for snr, leak in card["leaks"].items()}, "{:.2f}"),
            "floor dB": f"{card['floors']['mean-image']['psnr_db']:.2f}",
            "threat": _mark(threats.index(told[path])),
            "commit": f"`{card['commit']}`",
        }
        rows.append(row)
    return _with_threats(markdown_table(list(rows[0]), [list(row.values()) for row in rows]), threats)


def _with_threats(table: Sequence[str], threats: Sequence[str]) -> str:
    told = (f"Threat model ({_mark(i)}): {threat}.  " for i, threat in enumerate(threats))
    return "\n".join([*table, "", *told])


def _millions(path: Path) -> str:
    """Millions of values that the weights are."""
    return f"{sum(tensor.numel() for tensor in read_tensors(path).values()) / 1e6:.2f}"


def _start(training: Mapping[str, Any]) -> str:
    """``from `deepjscc`'s weights (24 epochs, seed 0), then``, of a training that started from another."""
    start = training.get("warm_start")
    if not start:
        return ""
    before = f" ({_start(start)}{start['epochs']} epochs, seed {start['seed']})" if "epochs" in start else ""
    return f"from `{start['scheme']}`'s weights{before}, then "


def _part(part: Any) -> str:
    """A stage or an objective: ``laplace (epsilon=20)``."""
    name, options = named("part", part)
    shown = ", ".join(f"{k}={_shown(v)}" for k, v in options.items() if v is not None)
    return f"`{name}` ({shown})" if shown else f"`{name}`"


def _shown(value: Any) -> str:
    """A plain value, its floats in four digits."""
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _range(valid_snr_db: Sequence[float]) -> str:
    low, high = valid_snr_db
    return f"{low:g} dB" if low == high else f"{low:g} to {high:g} dB"


def _snr(value: Any) -> str:
    return f"{value:g} dB" if isinstance(value, int | float) else f"{value} dB"


def _by_snr(table: Mapping[str, float], form: str) -> str:
    """``0 dB: 86.1%, 4 dB: ...``, in the order of the SNRs."""
    ordered = sorted(table.items(), key=lambda item: float(item[0]))
    return ", ".join(f"{snr} dB: {form.format(value)}" for snr, value in ordered)


def _mark(index: int) -> str:
    return "abcdefghijklmnopqrstuvwxyz"[index]


if __name__ == "__main__":
    write_text("docs/zoo.md", render())

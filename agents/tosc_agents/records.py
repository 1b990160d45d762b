"""What every result says about how it was obtained, and how results are written: JSON, CSV, a table."""

from __future__ import annotations

import csv
import json
import math
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tosc_agents.training.evaluate import Evaluation, Figure
from tosc_env.data.base import Source
from tosc_env.io.files import replacing

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("psnr_db", "ssim", "psnr_clipped_db", "reid_pixels", "reid_match", "reid_query")
"""An attacker's figures, in the order in which tables show them."""


def provenance(source: Source, device: torch.device) -> dict[str, Any]:
    """Data and where it came from, device, versions and commit."""
    return {
        "data": {"name": source.name, "provenance": source.provenance, "images": len(source)},
        "device": str(device),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "commit": commit(),
    }


def commit() -> str:
    """The commit of the checkout this code runs from, or ``unknown`` outside of one."""
    folder = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def write_json(path: str | os.PathLike[str], record: dict[str, Any]) -> None:
    """Write plain values, indented, whole or not at all."""
    write_text(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text, whole or not at all."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def columns(evaluation: Evaluation) -> tuple[str, ...]:
    """:data:`COLUMNS`, and what was inferred (``infer_label``, ``infer_`` and an attribute)."""
    found = {name for by in evaluation.leaks.values() for row in by.values() for name in row}
    return *COLUMNS, *sorted(name for name in found if name.startswith("infer_"))


def rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One flat row for each attacker and SNR, with means and intervals."""
    table: list[dict[str, Any]] = []
    for name, by_snr in evaluation.leaks.items():
        for snr, figures in by_snr.items():
            row: dict[str, Any] = {"attacker": name, "eavesdropper_snr_db": snr}
            for column in columns(evaluation):
                if column in figures:
                    row[column], row[f"{column}_interval95"] = figures[column].mean, figures[column].interval
            table.append(row)
    return table


def write_csv(path: str | os.PathLike[str], table: Sequence[dict[str, Any]]) -> None:
    """Write rows with the union of their columns, whole or not at all."""
    names = list(dict.fromkeys(key for row in table for key in row))
    with replacing(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(table)


def describe_usage(usage: Sequence[float]) -> str:
    """How a discrete scheme used its codewords, in one sentence.

    >>> describe_usage([0.5, 0.5, 0.0, 0.0])
    '2 of 4 codewords used, 1.00 of 2 bits per symbol'
    """
    used = sum(share > 0.01 / len(usage) for share in usage)
    entropy = -sum(share * math.log2(share) for share in usage if share > 0)
    return (
        f"{used} of {len(usage)} codewords used, {entropy:.2f} of {math.log2(len(usage)):g} bits per symbol"
    )


LEGEND = (
    "SNR and PSNR in dB; clipped: PSNR on the clipped scale of published code; pixels, match, query: "
    "re-identification by nearest reconstruction, learned, and by encoding the candidates."
)


def print_evaluation(title: str, evaluation: Evaluation, note: str) -> None:
    """The table a person reads: accuracy by SNR, then each attacker, with the floors beneath."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if evaluation.accuracy:
        told = ", ".join(f"{f.mean:.1%} at {snr:g} dB" for snr, f in evaluation.accuracy.items())
        console.print(f"[bold]{title}[/bold]: accuracy {told}")
    table = Table(
        title=None if evaluation.accuracy else title, caption=f"{LEGEND}\n{note}", caption_justify="left"
    )
    table.add_column("attacker", no_wrap=True)
    shown = columns(evaluation)
    inferred = [name.removeprefix("infer_") for name in shown[len(COLUMNS) :]]
    for heading in ("SNR", "PSNR", "SSIM", "clipped", "pixels", "match", "query"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows(evaluation):
        cells = [_cell(row, column) for column in COLUMNS]
        table.add_row(row["attacker"], f"{row['eavesdropper_snr_db']:g}", *cells)
    for name, floor in evaluation.floors.items():
        table.add_row(f"({name})", "", f"{floor['psnr_db']:.2f}", f"{floor['ssim']:.3f}", style="dim")
    console.print(table)
    if inferred:
        console.print(_inferred(evaluation, inferred))


def _inferred(evaluation: Evaluation, names: Sequence[str]) -> Table:
    """How often each attacker was right about the label and the private attributes."""
    from rich.table import Table

    table = Table(title="inferred")
    table.add_column("attacker", no_wrap=True)
    for heading in ("SNR", *names):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows(evaluation):
        if any(f"infer_{name}" in row for name in names):
            cells = [_cell(row, f"infer_{name}") for name in names]
            table.add_row(row["attacker"], f"{row['eavesdropper_snr_db']:g}", *cells)
    table.add_row("(constant)", "", *(_percent(evaluation.chance.get(name)) for name in names), style="dim")
    return table


def _cell(row: dict[str, Any], column: str, *, interval: bool = False) -> str:
    if column not in row:
        return ""
    value, half = row[column], row[f"{column}_interval95"]
    percent = column.startswith(("reid", "infer"))
    digits, scale = (1, 100) if percent else (3, 1) if column == "ssim" else (2, 1)
    spread = f" ± {half * scale:.{digits}f}" if interval and not math.isnan(half) else ""
    return f"{value * scale:.{digits}f}{spread}{'%' if percent else ''}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share * 100:.1f}%"


def _accuracy(figure: Figure) -> str:
    spread = "" if math.isnan(figure.interval) else f" ± {figure.interval * 100:.2f}"
    return f"{figure.mean * 100:.2f}{spread}%"


def markdown(evaluation: Evaluation) -> str:
    """The same in Markdown, with 95 % intervals over the seeds."""
    lines = []
    if evaluation.accuracy:
        snrs = " | ".join(f"{snr:g} dB" for snr in evaluation.accuracy)
        told = " | ".join(_accuracy(figure) for figure in evaluation.accuracy.values())
        rule = "|---" + "|---:" * len(evaluation.accuracy) + "|"
        lines += [f"| SNR | {snrs} |", rule, f"| accuracy | {told} |", ""]
    if not evaluation.leaks:
        return "\n".join(lines) + "\n"
    shown = columns(evaluation)
    inferred = shown[len(COLUMNS) :]
    lines += [
        "| attacker | SNR dB | PSNR dB | SSIM | PSNR clipped dB | re-id pixels | re-id match | re-id query |"
        + "".join(f" {name.removeprefix('infer_')} |" for name in inferred),
        "|---|---:|---:|---:|---:|---:|---:|---:|" + "---:|" * len(inferred),
    ]
    for row in rows(evaluation):
        cells = [_cell(row, column, interval=True) for column in shown]
        lines.append(f"| {row['attacker']} | {row['eavesdropper_snr_db']:g} | {' | '.join(cells)} |")
    for name, floor in evaluation.floors.items():
        lines.append(
            f"| *{name} (floor)* | | {floor['psnr_db']:.2f} | {floor['ssim']:.3f} | | | | |"
            + " |" * len(inferred)
        )
    if inferred:
        told = " | ".join(_percent(evaluation.chance.get(name.removeprefix("infer_"))) for name in inferred)
        lines.append(f"| *best constant answer* | | | | | | | | {told} |")
    return "\n".join(lines) + "\n"


def write_results(folder: Path, record: dict[str, Any], evaluation: Evaluation, note: str) -> None:
    """``results.json``, ``results.csv`` and ``results.md`` of an evaluation, each whole or not at all."""
    write_json(folder / "results.json", record)
    write_csv(folder / "results.csv", rows(evaluation))
    write_text(folder / "results.md", f"{markdown(evaluation)}\n{note}\n")

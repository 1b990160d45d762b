"""Provenance of results, and the forms they are written in: JSON, CSV, a table."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tosc_agents.training.evaluate import Evaluation, Figure
from tosc_agents.training.identification import Curve
from tosc_env.data.base import Source
from tosc_env.errors import printable
from tosc_env.io.files import replacing

ESCAPED = "backslashreplace"
"""What is written for half a character, which the name of a folder may hold, and UTF-8 does not."""

UNSEEN = "not seen"
"""How fast a figure rose that was looked at once."""

RESULTS = "results.json"
"""The record's name in a folder of results."""

HEADINGS = {
    "psnr_db": "PSNR dB",
    "ssim": "SSIM",
    "psnr_clipped_db": "PSNR clipped dB",
    "reid_pixels": "re-id pixels",
    "reid_match": "re-id match",
    "reid_query": "re-id query",
}
"""An attacker's figures, in the order in which tables show them, and what these call them."""


INFERRED = {"infer": "", "auc": " AUC", "plain": " plain"}
"""The figures of what is inferred, the balanced accuracy first, and what tables call them behind its name."""


def provenance(source: Source, device: torch.device) -> dict[str, Any]:
    """Data and where it came from, device, versions and commit."""
    return {
        "data": {
            "name": source.name,
            "provenance": source.provenance,
            "images": len(source),
            "sha256": source.sha256,
        },
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
    """Write plain values, indented, whole or not at all; what is not finite, which JSON cannot say, as null."""
    write_text(path, json.dumps(finite(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def finite(value: Any) -> Any:
    """Plain values as JSON has them: what is not finite is None."""
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text, whole or not at all; what is no UTF-8, as names of files may be, in JSON's escapes."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8", errors=ESCAPED)


def columns(evaluation: Evaluation) -> tuple[str, ...]:
    """:data:`HEADINGS`, and the figures of the label and each attribute that was inferred."""
    found = {name for by in evaluation.leaks.values() for row in by.values() for name in row}
    inferred = sorted(name.removeprefix("infer_") for name in found if name.startswith("infer_"))
    return *HEADINGS, *(f"{figure}_{name}" for name in inferred for figure in INFERRED)


def rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One flat row for each attacker and SNR, with means and intervals, and the number of candidates among which
    messages were identified; without attackers, one for each SNR."""
    table: list[dict[str, Any]] = []
    for name, by_snr in (evaluation.leaks or {"": {snr: {} for snr in evaluation.accuracy}}).items():
        for snr, leaks in by_snr.items():
            receiver = evaluation.receiver_snr_db.get(snr, snr)
            row: dict[str, Any] = {"attacker": name, "snr_db": receiver, "eavesdropper_snr_db": snr}
            figures = {"accuracy": evaluation.accuracy.get(receiver), **leaks}
            for column in ("accuracy", *columns(evaluation)):
                if figure := figures.get(column):
                    row |= {column: figure.mean, f"{column}_interval95": figure.interval}
            if name:
                row["candidates"] = evaluation.candidates
            table.append(row)
    return table


def write_csv(path: str | os.PathLike[str], table: Sequence[dict[str, Any]]) -> None:
    """Write rows with the union of their columns, whole or not at all; see :func:`inert`."""
    import pandas as pd

    cells = pd.DataFrame(table, dtype=object).map(inert).rename(columns=inert)
    write_text(path, cells.to_csv(index=False, lineterminator="\n"))


def inert(cell: Any) -> Any:
    """A CSV cell that no spreadsheet runs: a name that begins as a formula does gets an apostrophe before it.

    >>> inert("=1+1"), inert("lbvq"), inert(-0.5)
    ("'=1+1", 'lbvq', -0.5)
    """
    formula = isinstance(cell, str) and cell.lstrip().startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠"))
    return f"'{cell}" if formula else cell


def describe_usage(usage: Sequence[float]) -> str:
    """The use that a discrete scheme made of its codewords, in one sentence.

    >>> describe_usage([0.5, 0.5, 0.0, 0.0])
    '2 of 4 codewords used, 1.00 of 2 bits per symbol'
    """
    used = sum(share > 0.01 / len(usage) for share in usage)
    entropy = -sum(share * math.log2(share) for share in usage if share > 0)
    return (
        f"{used} of {len(usage)} codewords used, {entropy:.2f} of {math.log2(len(usage)):g} bits per symbol"
    )


def legend(evaluation: Evaluation) -> str:
    """The meaning of the columns, and among how many candidates a message's image was to be found."""
    return (
        "PSNR clipped: on the clipped scale of published code. Re-id, among "
        f"{evaluation.candidates:,} candidates: pixels, by nearest reconstruction; match, learned; query, by encoding "
        "them."
    )


def accuracies(evaluation: Evaluation) -> str:
    """The accuracy at each SNR, and what the best constant answer gets: ``accuracy 48.6% at 12 dB (chance 33.3%)``."""
    shares = ", ".join(f"{f.mean:.1%} at {snr:g} dB" for snr, f in evaluation.accuracy.items())
    chance = evaluation.chance.get("plain_label")
    beside = "" if chance is None or evaluation.answers else f" (chance {chance:.1%})"
    return f"{evaluation.measure} {shares}{beside}"


def plain_console() -> Any:
    """The terminal, on which text is text: nothing in a name is a style or a picture."""
    from rich.console import Console

    return Console(markup=False, emoji=False)


def print_evaluation(title: str, evaluation: Evaluation, note: str) -> None:
    """Print the tables a person reads: accuracy by SNR, each attacker with the floors beneath, what was inferred."""
    from rich.table import Table
    from rich.text import Text

    console = plain_console()
    if evaluation.accuracy:
        console.print(Text.assemble((title, "bold"), f": {accuracies(evaluation)}"))
    inferred = columns(evaluation)[len(HEADINGS) :]
    for part, caption in ((tuple(HEADINGS), f"{legend(evaluation)}\n{note}"), (inferred, None)):
        if part:
            headings, *lines = _leaks(evaluation, part, interval=False)
            heading = None if evaluation.accuracy else title
            table = Table(title=heading, caption=caption, caption_justify="left")
            for place, name in enumerate(headings):
                # As narrow as they get, so that all stand beside one another in 80 columns.
                justify: Any = "right" if place else "left"
                table.add_column(name.replace(" ", "\n"), justify=justify, no_wrap=True)
            for line in lines:
                table.add_row(*line)
            console.print(table)


def markdown(evaluation: Evaluation) -> str:
    """The same in Markdown, with 95 % intervals over the seeds."""
    tables = []
    if evaluation.accuracy:
        snrs = ["SNR", *(f"{snr:g} dB" for snr in evaluation.accuracy)]
        lines = [[evaluation.measure, *(_figure(f, 2, "%") for f in evaluation.accuracy.values())]]
        for name in next(iter(evaluation.answers.values()), {}):
            lines.append([_heading(name), *(_figure(by[name], 2, "%") for by in evaluation.answers.values())])
        tables.append([snrs, *lines])
    if evaluation.leaks:
        tables.append(_leaks(evaluation, columns(evaluation), interval=True))
    return "\n".join("\n".join(markdown_table(lines[0], lines[1:])) + "\n" for lines in tables)


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown, all columns but the first set flush right."""
    lines = [[_as_markdown(cell).replace("|", r"\|") for cell in line] for line in (headings, *rows)]
    heading, *rest = (f"| {' | '.join(line)} |" for line in lines)
    return [heading, f"|---{'|---:' * (len(headings) - 1)}|", *rest]


def _as_markdown(text: str) -> str:
    """A text in one line without codes, in which nothing is HTML."""
    return printable(" ".join(text.split())).replace("<", "&lt;")


def _leaks(evaluation: Evaluation, part: Sequence[str], *, interval: bool) -> list[list[str]]:
    """Headings and a row for each attacker and SNR that has some of these columns, then floors and chances."""
    found = [
        (attacker, f"{snr:g}", {name: _leak(figures[name], name, interval) for name in figures})
        for attacker, by_snr in evaluation.leaks.items()
        for snr, figures in by_snr.items()
    ]
    for name, floor in evaluation.floors.items():
        known: dict[str, float] = {column: floor[column] for column in ("psnr_db", "ssim") if column in floor}
        cells = {column: _leak(Figure(value, math.nan), column, False) for column, value in known.items()}
        found.append((f"{name} (floor)", "", cells))
    chances = {figure: f"{share:.1%}" for figure, share in evaluation.chance.items()}
    found.append(("best constant answer", "", chances))
    lines = [[who, snr, *(cells.get(column, "") for column in part)] for who, snr, cells in found]
    return [["attacker", "SNR dB", *map(_heading, part)], *(line for line in lines if any(line[2:]))]


def _heading(column: str) -> str:
    figure, _, name = column.partition("_")
    return HEADINGS.get(column) or name + INFERRED[figure]


def _leak(figure: Figure, column: str, interval: bool) -> str:
    digits, unit = (1, "%") if column.startswith(("reid", *INFERRED)) else (3 if column == "ssim" else 2, "")
    return _figure(figure if interval else Figure(figure.mean, math.nan), digits, unit)


def _figure(figure: Figure, digits: int, unit: str) -> str:
    """``14.25 ± 0.12``, ``50.0%``."""
    scale = 100 if unit == "%" else 1
    spread = "" if math.isnan(figure.interval) else f" ± {figure.interval * scale:.{digits}f}"
    return f"{figure.mean * scale:.{digits}f}{spread}{unit}"


def trainings(records: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Headings and a row for each training in the records of attacks: how long it took, and what ended it.

    A curve that still rose when a limit ended it is no result: its rise in the last hundred steps at the full rate is
    told.

    >>> fit = {"steps": 900, "stopped_by": "validation", "held_out_top1": 0.5, "best_step": 800}
    >>> trainings({"match": {"fit": fit, "seconds": 12.34}})[1]
    ['match', '900', 'validation', 'held_out_top1 0.5', '', '12.3']
    """
    lines = [["attacker", "steps", "stopped by", "held out", "still rising, per 100 steps", "seconds"]]
    for name, record in records.items():
        fit = record["fit"]
        parts = {name: fit} | {f"{name}/{part}": one for part, one in fit.items() if isinstance(one, Mapping)}
        for who, one in parts.items():
            if "stopped_by" not in one:
                continue
            # The figure that stopped it; what is told of each answer besides is no number.
            held = ((key, v) for key, v in one.items() if key.startswith("held_out_"))
            figure, value = next((key, v) for key, v in held if not isinstance(v, Mapping))
            rise = one.get("rise_per_100_steps")
            rose = UNSEEN if rise is None else f"{rise:.2g}"
            seconds = f"{record['seconds']:.1f}" if who == name else ""
            told = f"{figure} {value:.4g}", rose if one["stopped_by"] == "limit" else "", seconds
            lines.append([who, str(one["steps"]), one["stopped_by"], *told])
    return lines


def rising(records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence for each training whose figure still rose, or may have, when its limit ended it."""
    return [
        f"{who} was stopped by its limit of {steps} steps ({held}, rising by {rise} in 100): more find more."
        if rise != UNSEEN
        else f"{who} was stopped by its limit of {steps} steps ({held}), too few to see whether it still rose."
        for who, steps, _, held, rise, _ in trainings(records)[1:]
        if rise and (rise == UNSEEN or float(rise) > 0)
    ]


def bits(curves: Mapping[str, Mapping[str, dict[int, float]]]) -> list[list[str]]:
    """Headings and a row for each attacker's curves, the gain over chance in bits.

    >>> bits({"match": {"overall": {10: 0.8, 20: 0.4}, "within_class": {10: 0.1}}})[1:]
    [['match', '3.00', '3.00'], ['match, within the class', '0.00', '']]
    """
    sizes = next(iter(curves.values()), {}).get("overall", {})
    lines = [["bits above chance among", *(f"{size:,}" for size in sizes)]]
    for name, curve in curves.items():
        for who, found in zip(
            (name, f"{name}, within the class"), Curve(**curve).bits().values(), strict=True
        ):
            if found:
                lines.append([who, *(f"{found[size]:z.2f}" if size in found else "" for size in sizes)])
    return lines


def write_results(
    folder: Path, record: dict[str, Any], evaluation: Evaluation, note: str, title: str
) -> None:
    """Write ``results.json``, ``results.csv`` and ``results.md`` of an evaluation, each whole or not at all."""
    write_json(folder / RESULTS, record)
    write_csv(folder / "results.csv", rows(evaluation))
    title, note = _as_markdown(title), "\n".join(map(_as_markdown, note.split("\n")))
    note = f"{legend(evaluation)} {note}" if evaluation.leaks else note
    told = [trainings(record.get("attackers", {})), bits(record.get("curves", {}))]
    tables = "".join("\n".join(markdown_table(one[0], one[1:])) + "\n\n" for one in told if len(one) > 1)
    write_text(folder / "results.md", f"# {title}\n\n{markdown(evaluation)}\n{tables}{note}\n")

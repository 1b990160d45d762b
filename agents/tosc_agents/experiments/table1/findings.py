"""What the report says about the costs of the schemes: rows, the table beside the article's, sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from tosc_agents.experiments import article
from tosc_agents.experiments.arms import arm
from tosc_agents.experiments.findings import Findings, Row, Table
from tosc_agents.training.evaluate import Figure

NAME = "table1"

REPEATS = "repeats"
"""What the samples of seconds differ in."""

EPOCH, WHOLE, IMAGE, SINGLE = (
    "seconds_per_epoch",
    "seconds_per_epoch_whole",
    "seconds_per_image",
    "seconds_batch1",
)
BLANK: Sequence[float | None] = [None] * 6

COUNTS = ("macs", "parameters", "training_parameters")

COLUMNS = (
    "scheme",
    "GMAC",
    "article: GFLOPs",
    "M parameters",
    "in training",
    "article: M parameters",
    "s per epoch",
    "epoch: × DeepJSCC",
    "article: s per epoch",
    "article: epoch ×",
    "ms for one image",
    "image: × DeepJSCC",
    "article: ms",
    "article: image ×",
    "ms per image in a batch",
)


def findings(result: dict[str, Any], *, baseline: str, notes: Sequence[str]) -> Findings:
    """Of a finished measurement; ratios are to the arm ``baseline`` with the smaller network."""
    rows = rows_of(result)
    return Findings(
        NAME,
        "Table 1: what each scheme costs",
        notes=[*notes, *sentences(result, rows)],
        rows=rows,
        tables=[table(result, rows, baseline)],
        details=dict(result),
    )


def rows_of(result: Mapping[str, Any]) -> list[Row]:
    """A row for each figure of each scheme; those with the larger network are named ``large_`` and the figure.

    Seconds are medians over the repeats, with the 95 % interval of the repeats' mean.
    """
    found = []
    for name, scheme in result["schemes"].items():
        size, key = name.split(" ")
        prefix = "" if size == "small" else f"{size}_"
        found += [Row(NAME, key, prefix + figure, scheme[figure]) for figure in COUNTS]
        times = {EPOCH: epochs(result, f"{size} {scheme['training']}")}
        if f"{size} {scheme['training']} whole" in result["trainings"]:
            times[WHOLE] = epochs(result, f"{size} {scheme['training']} whole")
        times |= {figure: scheme[figure] for figure in (IMAGE, SINGLE)}
        for figure, seconds in times.items():
            interval = Figure.of(seconds).interval
            found.append(Row(NAME, key, prefix + figure, median(seconds), interval, len(seconds), REPEATS))
    return found


def epochs(result: Mapping[str, Any], training: str) -> list[float]:
    """Seconds per epoch in each repeat: all passes, from the steps that were timed to those of an epoch."""
    passes = result["trainings"][training]["seconds"].values()
    return [result["steps_per_epoch"] * sum(parts) for parts in zip(*passes, strict=True)]


def table(result: Mapping[str, Any], rows: Sequence[Row], baseline: str) -> Table:
    """Ours beside the article's."""
    value = {(row.arm, row.figure): row.mean for row in rows}
    lines: list[Sequence[str | float | None]] = []
    for name in result["schemes"]:
        size, key = name.split(" ")
        prefix = "" if size == "small" else f"{size}_"
        macs, used, trained, epoch, single, batch = (
            value[key, prefix + figure] for figure in (*COUNTS, EPOCH, SINGLE, IMAGE)
        )
        # The article's DeepJSCC is of the smaller kind; its IBAL and LBVQ look like the larger.
        printed = BLANK if (size, key) == ("large", baseline) else _printed(key, baseline)
        lines.append(
            (
                arm(key).label + ("" if size == "small" else ", larger network"),
                round(macs / 1e9, 4),
                printed[0],
                round(used / 1e6, 3),
                round(trained / 1e6, 3),
                printed[1],
                _short(epoch),
                round(epoch / value[baseline, EPOCH], 2),
                *printed[2:4],
                _short(1e3 * single),
                round(single / value[baseline, SINGLE], 2),
                *printed[4:6],
                _short(1e3 * batch),
            )
        )
    return Table(
        "What each scheme costs, beside the article's complexity table",
        COLUMNS,
        lines,
        "Seconds compare machines: compare ratios. Every ratio is to DeepJSCC with the smaller network. The article's "
        "figures are repeated for each of our schemes that goes by its name, whatever the network's size.",
    )


def _printed(key: str, baseline: str) -> Sequence[float | None]:
    """The article's GFLOPs, M parameters, seconds per epoch with their ratio, ms per image with theirs; or blanks."""
    printed, first = (
        article.COMPLEXITY.get(article.complexity_key(arm(one).article or "")) for one in (key, baseline)
    )
    if printed is None or first is None:
        return BLANK
    return [
        printed.gflops,
        printed.mparameters,
        printed.seconds_per_epoch,
        round(printed.seconds_per_epoch / first.seconds_per_epoch, 2),
        1e3 * printed.seconds_per_image,
        round(printed.seconds_per_image / first.seconds_per_image, 2),
    ]


def sentences(result: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    """What a reader must know to use the figures."""
    steps, repeats, whole = result["steps"], result["repeats"], result["steps_per_epoch"]
    told = [
        f"Data: {result['provenance']}",
        f"Measured on {result['device']} ({result['processor']}, {result['cores']} cores), {result['threads']} "
        f"threads of torch {result['torch']}, {result['precision']}, batches of {result['batch_size']} images. All "
        f"schemes took turns {repeats} times within one run; seconds are medians.",
        f"Seconds per epoch are extrapolated from {steps} steps of each pass per turn to the {whole} steps that a "
        f"pass over the {result['images']:,} images has, with every pass of a simulated adversary.",
        "Transmitter and receiver are timed, the channel between them is not. FLOPs are counted as "
        "multiply-accumulates, as the article most likely does.",
    ]
    shared = [arm(row.arm).label for row in rows if row.figure == EPOCH and _plays_with_the_baseline(row.arm)]
    if shared:
        told.append(f"{', '.join(shared)}: no training of their own; the epoch is the baseline's.")
    value = {(row.arm, row.figure): row.mean for row in rows}
    for row in rows:
        if row.figure == WHOLE:
            told.append(
                f"{arm(row.arm).label} stands for all budgets. Its receiver alone is trained here, on outputs of the "
                f"baseline's transmitter that are computed once: {_short(value[row.arm, EPOCH])} s per epoch. Trained "
                f"whole, as the article's seconds suggest, it takes {_short(row.mean)} s."
            )
    spread = max(max(s) / min(s) for one in result["trainings"].values() for s in one["seconds"].values())
    told.append(f"The slowest turn of a training took at most {spread:.2f} times as long as its fastest.")
    return told


def _plays_with_the_baseline(key: str) -> bool:
    return arm(key).training == "baseline" and arm(key).scheme != "deepjscc"


def _short(seconds: float) -> float:
    """Three significant digits.

    >>> _short(12.3456), _short(0.00123456)
    (12.3, 0.00123)
    """
    return float(f"{seconds:.3g}")

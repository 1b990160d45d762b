"""What the report says about the costs of the schemes: measurements, the table beside the article's, sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from tosc_agents.experiments import article
from tosc_agents.experiments.methods import method
from tosc_agents.experiments.sections import Measurement, Section, Table
from tosc_agents.experiments.table1.experiment import BASELINE
from tosc_agents.training.evaluate import Figure

REPEATS = "repeats"
"""What the samples of seconds differ in."""

EPOCH, IMAGE, SINGLE = "seconds_per_epoch", "seconds_per_image", "seconds_batch1"
WHOLE = f"{EPOCH}_whole"
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


def section(result: dict[str, Any]) -> Section:
    """Of a finished measurement; ratios are to the baseline with the smaller network."""
    measurements = measurements_of(result)
    return Section(
        "table1",
        "Table 1: what each scheme costs",
        notes=sentences(result, measurements),
        measurements=measurements,
        tables=[table(result, measurements)],
        details=dict(result),
    )


def measurements_of(result: Mapping[str, Any]) -> list[Measurement]:
    """Each figure of each scheme; those with the larger network are named ``large_`` and the figure.

    Seconds are medians over the repeats, with the 95 % interval of the repeats' mean.
    """
    found = []
    for name, scheme in result["schemes"].items():
        size, key = name.split(" ")
        prefix = "" if size == "small" else f"{size}_"
        found += [Measurement("table1", key, prefix + figure, scheme[figure]) for figure in COUNTS]
        times = {EPOCH: epochs(result, f"{size} {scheme['training']}")}
        if f"{size} {scheme['training']} whole" in result["trainings"]:
            times[WHOLE] = epochs(result, f"{size} {scheme['training']} whole")
        times |= {figure: scheme[figure] for figure in (IMAGE, SINGLE)}
        for figure, seconds in times.items():
            spread = Figure.of(seconds).interval, len(seconds), REPEATS
            found.append(Measurement("table1", key, prefix + figure, median(seconds), *spread))
    return found


def epochs(result: Mapping[str, Any], training: str) -> list[float]:
    """Seconds per epoch in each repeat: all passes, from the steps that were timed to those of an epoch."""
    passes = result["trainings"][training]["seconds"].values()
    return [result["steps_per_epoch"] * sum(parts) for parts in zip(*passes, strict=True)]


def table(result: Mapping[str, Any], measurements: Sequence[Measurement]) -> Table:
    """Ours beside the article's."""
    value = {(m.method, m.figure): m.mean for m in measurements}
    lines = []
    for name in result["schemes"]:
        size, key = name.split(" ")
        prefix = "" if size == "small" else f"{size}_"
        mine = {figure: value[key, prefix + figure] for figure in (*COUNTS, EPOCH, SINGLE, IMAGE)}
        # The article's DeepJSCC is of the smaller kind; its IBAL and LBVQ look like the larger.
        printed = {} if (size, key) == ("large", BASELINE) else _printed(key)
        told: dict[str, str | float | None] = {
            "scheme": method(key).label + ("" if size == "small" else ", larger network"),
            "GMAC": round(mine["macs"] / 1e9, 4),
            "M parameters": round(mine["parameters"] / 1e6, 3),
            "in training": round(mine["training_parameters"] / 1e6, 3),
            "s per epoch": _short(mine[EPOCH]),
            "epoch: × DeepJSCC": round(mine[EPOCH] / value[BASELINE, EPOCH], 2),
            "ms for one image": _short(1e3 * mine[SINGLE]),
            "image: × DeepJSCC": round(mine[SINGLE] / value[BASELINE, SINGLE], 2),
            "ms per image in a batch": _short(1e3 * mine[IMAGE]),
            **{f"article: {what}": figure for what, figure in printed.items()},
        }
        lines.append([told.get(column) for column in COLUMNS])
    return Table(
        "What each scheme costs, beside the article's complexity table",
        COLUMNS,
        lines,
        "Seconds compare machines: compare ratios. Every ratio is to DeepJSCC with the smaller network. The article's "
        "figures are repeated for each of our schemes that goes by its name, whatever the network's size.",
    )


def _printed(key: str) -> dict[str, float]:
    """What the article has of a scheme, with ratios to its DeepJSCC; nothing where it does not have the scheme."""
    printed, first = (
        article.COMPLEXITY.get(article.complexity_key(method(one).article or "")) for one in (key, BASELINE)
    )
    if printed is None or first is None:
        return {}
    return {
        "GFLOPs": printed.gflops,
        "M parameters": printed.mparameters,
        "s per epoch": printed.seconds_per_epoch,
        "epoch ×": round(printed.seconds_per_epoch / first.seconds_per_epoch, 2),
        "ms": 1e3 * printed.seconds_per_image,
        "image ×": round(printed.seconds_per_image / first.seconds_per_image, 2),
    }


def sentences(result: Mapping[str, Any], measurements: Sequence[Measurement]) -> list[str]:
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
    timed = [method(m.method) for m in measurements if m.figure == EPOCH]
    shared = [one.label for one in timed if one.training == "baseline" and one.scheme != "deepjscc"]
    if shared:
        told.append(f"{', '.join(shared)}: no training of their own; the epoch is the baseline's.")
    value = {(m.method, m.figure): m.mean for m in measurements}
    for m in measurements:
        if m.figure == WHOLE:
            told.append(
                f"{method(m.method).label} stands for all budgets. Its receiver alone is trained here, on outputs of "
                f"the baseline's transmitter that are computed once: {_short(value[m.method, EPOCH])} s per epoch. "
                f"Trained whole, as the article's seconds suggest, it takes {_short(m.mean)} s."
            )
    spread = max(max(s) / min(s) for one in result["trainings"].values() for s in one["seconds"].values())
    told.append(f"The slowest turn of a training took at most {spread:.2f} times as long as its fastest.")
    return told


def _short(seconds: float) -> float:
    """Three significant digits.

    >>> _short(12.3456), _short(0.00123456)
    (12.3, 0.00123)
    """
    return float(f"{seconds:.3g}")

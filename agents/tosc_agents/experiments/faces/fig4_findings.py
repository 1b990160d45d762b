"""What figure 4's cells found: rows, a table and sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tosc_agents.experiments import article
from tosc_agents.experiments.arms import Arm
from tosc_agents.experiments.attacks import THREAT, rows_of
from tosc_agents.experiments.faces.gender import ClassifierTraining
from tosc_agents.experiments.findings import NOISE, Findings, Row, Table, pick
from tosc_env.game import GameConfig

ORIGINAL, CONSTANT = "original", "constant"
"""Stand in the place of an arm: the real images, and the best constant answer."""


class Asked(Protocol):
    """What was asked of :class:`~tosc_agents.experiments.faces.fig4.Fig4`, as its findings repeat it."""

    setting: GameConfig
    stand_in: str | None
    arms: tuple[Arm, ...]
    snr_db: float
    classifier: ClassifierTraining
    attribute: str
    seeds: int


def findings(
    figure: Asked,
    results: Mapping[str, Mapping[str, Any]],
    original: Mapping[str, Any],
    floors: Mapping[str, Any],
    notes: Sequence[str],
) -> Findings:
    """Of the results by arm (``rebuilding``, ``recognising``, ``reading``), the real images and the floors."""
    chance = floors["chance"][figure.attribute]
    rows = [
        Row("fig4", ORIGINAL, "gender_original", original["accuracy"]),
        Row("fig4", CONSTANT, f"chance_{figure.attribute}", chance),
    ]
    for key, result in results.items():
        for what in ("rebuilding", "reading"):
            rows += rows_of("fig4", key, result[what]["evaluation"])
        read = result["recognising"]
        rows += [_row(figure, key, name, read[name], read["seeds"]) for name in ("from_image", "adaptive")]
    found = Findings("fig4", "What an attacker makes of faces", rows=rows)
    found.notes = [*_notes(figure, original), *notes]
    found.tables = [_table(figure, rows, original, floors)]
    found.details = {
        "setting": figure.setting.plain(),
        "stand_in": figure.stand_in is not None,
        "attribute": figure.attribute,
        "snr_db": figure.snr_db,
        "test_images": original["images"],
        "training_images": original["training_images"],
        "floors": floors["floors"],
        "chance": chance,
        "classifier": figure.classifier.plain(),
        "threat_model": THREAT.plain(),
        "attackers": {
            key: {what: result[what]["training"] for what in ("rebuilding", "reading")}
            for key, result in results.items()
        },
    }
    return found


def _row(figure: Asked, key: str, name: str, value: Mapping[str, Any], seeds: int) -> Row:
    interval = math.nan if value["interval95"] is None else value["interval95"]
    samples = seeds if value["interval95"] is not None else 1
    return Row(
        "fig4", key, f"gender_{name}", value["mean"], interval, samples, NOISE, figure.snr_db, "inversion"
    )


def _table(
    figure: Asked, rows: Sequence[Row], original: Mapping[str, Any], floors: Mapping[str, Any]
) -> Table:
    what = "gender" if figure.stand_in is None else figure.attribute
    columns = (
        "scheme",
        "PSNR, dB",
        "SSIM",
        f"{what} from the image, %",
        f"{what}, adaptive, %",
        f"{what} from the symbols, %",
    )
    figures = ("psnr_db", "ssim", "gender_from_image", "gender_adaptive", f"infer_{figure.attribute}")
    lines: list[list[str | float | None]] = []
    for arm in figure.arms:
        found = [pick(rows, name, arm=arm.key)[0] for name in figures]
        lines.append([arm.label, *(_text(row) for row in found)])
    lines.append(["(original images)", None, None, f"{original['accuracy'] * 100:.1f}", None, None])
    guess = f"{floors['chance'][figure.attribute] * 100:.1f}"
    mean = floors["floors"]["mean-image"]
    lines.append(["(knowing nothing)", f"{mean['psnr_db']:.2f}", f"{mean['ssim']:.3f}", guess, guess, guess])
    return Table(
        f"The attacker's images at {figure.snr_db:g} dB, and what they betray",
        columns,
        lines,
        f"Mean and 95 % interval over {figure.seeds} draws of the channel's noise (SSIM: one draw). From the image: a "
        "classifier of real images looks at the reconstruction, as the article argues. Adaptive: one trained on such "
        "reconstructions. From the symbols: no image is made. Knowing nothing: the mean image, and the most frequent "
        "answer.",
    )


def _notes(figure: Asked, original: Mapping[str, Any]) -> list[str]:
    notes = [] if figure.stand_in is None else [figure.stand_in]
    notes += [
        f"Attackers: {THREAT}; trained on {original['training_images']:,} images that the systems have not seen, "
        f"tested at {figure.snr_db:g} dB on {original['images']:,} others. The one that rebuilds images is trained "
        f"over {', '.join(f'{snr:g}' for snr in article.SNR_DB)} dB and told its SNR; the one that "
        f"reads symbols, and the adaptive classifier, at {figure.snr_db:g} dB.",
        f"Recognising {figure.attribute} in the original test images succeeds in {original['accuracy']:.1%}: the "
        "ceiling of the classifier that looks at reconstructions.",
        "That a classifier of real images errs on blurred ones does not show that the attribute is hidden: the "
        "adaptive classifier and the attacker that reads the symbols show what is really left.",
    ]
    return notes


def _text(row: Row) -> str:
    digits, scale = {"psnr_db": (2, 1), "ssim": (3, 1)}.get(row.figure, (1, 100))
    spread = "" if math.isnan(row.interval) else f" ± {row.interval * scale:.{digits}f}"
    return f"{row.mean * scale:.{digits}f}{spread}"

"""What figure 4's jobs found: measurements, a table and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tosc_agents.experiments import article
from tosc_agents.experiments.attacks import ATTACKER, THREAT, measurements_of
from tosc_agents.experiments.faces.data import GENDER
from tosc_agents.experiments.faces.fig4 import SNR_DB, Fig4
from tosc_agents.experiments.faces.gender import shown
from tosc_agents.experiments.grids import COUNT, grid
from tosc_agents.experiments.jobs import RunCache
from tosc_agents.experiments.sections import Measurement, Plot, Section, Table, pick
from tosc_agents.experiments.systems import source_of
from tosc_agents.experiments.trainings import SCHEME

ORIGINAL, CONSTANT = "original", "constant"
"""Stand in the place of a method: the real images, and the best constant answer."""


def section(figure: Fig4, cache: RunCache, folder: Path) -> Section:
    """Measurements, table and plot (into ``folder``; it shows people where the data does), once all is finished."""
    results = {
        one.key: {
            "rebuilding": cache.result(figure.rebuilding[one.key]),
            "recognising": cache.result(figure.recognising[one.key]),
            "reading": cache.result(figure.reading[one.key]),
        }
        for one in figure.methods
    }
    original, floors = cache.result(figure.original), cache.result(figure.floors)
    chance = floors["chance"][GENDER]
    measurements = [
        Measurement("fig4", ORIGINAL, "gender_original", original["accuracy"]),
        Measurement("fig4", CONSTANT, f"chance_{GENDER}", chance),
    ]
    for key, result in results.items():
        for what in ("rebuilding", "reading"):
            measurements += measurements_of("fig4", key, result[what]["evaluation"])
        read = result["recognising"]
        for name in ("from_image", "adaptive"):
            at: dict[str, Any] = {"snr_db": SNR_DB, "attacker": "inversion"}
            figures = read[name], read["seeds"]
            measurements.append(Measurement.of("fig4", key, f"gender_{name}", *figures, **at))
    return Section(
        "fig4",
        "What an attacker makes of faces",
        _notes(figure, original),
        measurements,
        [_table(figure, measurements, original, floors)],
        [_plot(figure, cache, folder, results)],
        details={
            "setting": figure.setting.plain(),
            "stand_in": figure.stand_in is not None,
            "attribute": GENDER,
            "snr_db": SNR_DB,
            "test_images": original["images"],
            "training_images": original["training_images"],
            "floors": floors["floors"],
            "chance": chance,
            "classifier": asdict(figure.classifier),
            "threat_model": THREAT.plain(),
            "attackers": {
                key: {what: result[what]["training"] for what in ("rebuilding", "reading")}
                for key, result in results.items()
            },
        },
    )


def _table(
    figure: Fig4, measurements: Sequence[Measurement], original: Mapping[str, Any], floors: Mapping[str, Any]
) -> Table:
    what = "gender" if figure.stand_in is None else GENDER
    columns = {
        "psnr_db": "PSNR, dB",
        "ssim": "SSIM",
        "gender_from_image": f"{what} from the image, %",
        "gender_adaptive": f"{what}, adaptive, %",
        f"infer_{GENDER}": f"{what} from the symbols, %",
    }
    form = {"psnr_db": (2, 1.0), "ssim": (3, 1.0)}
    lines: list[list[str | float | None]] = []
    for method in figure.methods:
        found = [pick(measurements, name, method=method.key)[0] for name in columns]
        lines.append([method.label, *(m.text(*form.get(m.figure, (1, 100.0))) for m in found)])
    lines.append(["(original images)", None, None, f"{original['accuracy'] * 100:.1f}", None, None])
    guess = f"{floors['chance'][GENDER] * 100:.1f}"
    mean = floors["floors"]["mean-image"]
    lines.append(["(knowing nothing)", f"{mean['psnr_db']:.2f}", f"{mean['ssim']:.3f}", guess, guess, guess])
    return Table(
        f"The attacker's images at {SNR_DB:g} dB, and what they betray",
        ["scheme", *columns.values()],
        lines,
        f"Mean and 95 % interval over {figure.seeds} draws of the channel's noise (SSIM: one draw). From the image: a "
        "classifier of real images looks at the reconstruction, as the article argues. Adaptive: one trained on such "
        "reconstructions. From the symbols: no image is made. Knowing nothing: the mean image, and the most frequent "
        "answer.",
    )


def _notes(figure: Fig4, original: Mapping[str, Any]) -> list[str]:
    return [
        *([] if figure.stand_in is None else [figure.stand_in]),
        f"Attackers: {THREAT}; trained on {original['training_images']:,} images that the systems have not seen, "
        f"tested at {SNR_DB:g} dB on {original['images']:,} others. The one that rebuilds images is trained "
        f"over {', '.join(f'{snr:g}' for snr in article.SNR_DB)} dB and told its SNR; the one that "
        f"reads symbols, and the adaptive classifier, at {SNR_DB:g} dB.",
        f"Recognising {GENDER} in the original test images succeeds in {original['accuracy']:.1%}: the "
        "ceiling of the classifier that looks at reconstructions.",
        "That a classifier of real images errs on blurred ones does not show that the attribute is hidden: the "
        "adaptive classifier and the attacker that reads the symbols show what is really left.",
    ]


def _plot(figure: Fig4, cache: RunCache, folder: Path, results: Mapping[str, Any]) -> Plot:
    test = source_of(figure.setting, "test", None, cache.device)
    paths, notes = {}, {}
    for one in figure.methods:
        training, attack = figure.systems.training(one.training), figure.rebuilding[one.key]
        paths[one.key] = cache.folder_of(training) / SCHEME, cache.folder_of(attack) / ATTACKER
        figures = results[one.key]["rebuilding"]["evaluation"]["leaks"]["inversion"][f"{SNR_DB:g}"]
        notes[one.key] = f"{figures['psnr_db']['mean']:.1f} dB, SSIM {figures['ssim']['mean']:.2f}"
    return grid(
        folder / "fig4.png",
        figure.setting,
        test,
        paths,
        snr_db=SNR_DB,
        index=shown(test, GENDER, min(COUNT, len(test))),
        notes=notes,
        title="What an attacker rebuilds",
        caption=f"The same test images in each row, of each value of {GENDER} in turn; PSNR and SSIM are "
        f"means over all {len(test):,} test images.",
        faces=figure.stand_in is None,
    )
